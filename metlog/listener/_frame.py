"""What has been found in one frame: good lines, numbers of the streams, and rejected pieces; with its limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from metlog.encoders.wire import is_encoding_error
from metlog.journal.rows import Row
from metlog.journal.segment import record_parts, source_bytes
from metlog.listener.accounting import ClientReport, SeqRuns, summarize

__all__ = [
    "LIMITS", "NESTING", "Amend", "Frame", "Invalid", "Limits", "Rejects", "TooManyEvents", "Validated", "check_depth", "opening_marks",
    "reason_of", "too_deep",
]  # fmt: skip

NESTING: Final = 100
"""Objects and arrays within each other that an event may have. Every later reader must be able to decode it, however small its
stack: one event that cannot be decoded would hold up all others."""

_BYTES_A_REJECT: Final = 256
"""A frame may have another rejected piece looked at for so many bytes."""
_OPENERS: Final = bytes.maketrans(b"[", b"{")
_BRACES: Final = bytes.maketrans(b"[]", b"{}")
_NO_OPENER: Final = bytes(set(range(256)) - set(b"{[\n"))
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"{}[]"))
_TOO_DEEP: Final = b"{" * (NESTING + 1)
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)

Amend = Callable[[bytes, Sequence[Row]], bytes]
"""Returns the lines to journal in place of checked ones; called with some lines and their events."""


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of one frame beyond its bytes."""

    events: int = 1 << 62
    values: int = 32_768
    """Values within one event: members of objects, items of arrays. No datagram of JSON can hold more."""
    rejects: int = 16
    """Pieces that are reported one by one; more of them become one with a count. 0: the first ends the work."""


LIMITS: Final = Limits()


class TooManyEvents(ValueError):
    """A frame has more events than its limit."""


class Invalid(NamedTuple):
    """A piece of input that is no event, for the dead letters."""

    data: bytes
    reason: str
    """One of a bounded number of texts, with the detail after `: `."""
    position: int = -1
    """Place among the events of its frame, from 0; -1: the frame as a whole."""


class Validated(NamedTuple):
    """Checked input of one source."""

    body: bytes
    """The good events as JSON, one a line, without the tail; as received where that was good JSON."""
    count: int  # type: ignore[assignment]  # hides tuple.count
    runs: SeqRuns = SeqRuns()
    """The streams and numbers of the good events."""
    invalid: Sequence[Invalid] = ()
    tail: bytes = b""
    """What each line ends in before its line feed."""
    members: int = -1
    """As in a record of the journal (`metlog.journal.segment`)."""

    @property
    def lines(self) -> bytes:
        """The good events as JSON, one a line."""
        return self.body.replace(b"\n", self.tail + b"\n") if self.tail else self.body

    def record(self, received_at: int, source: str, key: str = "") -> bytes:
        """The record of the journal. `received_at`: microseconds since the epoch."""
        return b"".join(self.parts(received_at, source, key))

    def parts(self, received_at: int, source: str, key: str = "") -> tuple[bytes, ...]:
        """The record of the journal in pieces, which are joined with those of others."""
        return record_parts(
            received_at, self.count, source_bytes(source), key.encode(), self.body, self.tail, self.members
        )  # fmt: skip


class Rejects:
    """The rejected pieces of one frame, bounded in number and in work."""

    def __init__(self, size: int, limits: Limits = LIMITS) -> None:
        """`size`: bytes of the frame."""
        self._most = limits.rejects
        self._left = limits.rejects + size // _BYTES_A_REJECT if limits.rejects else 1
        self._found: list[Invalid] = []
        self._unread = b""

    def add(self, data: bytes, reason: str, position: int = -1) -> None:
        self._found.append(Invalid(data, reason, position))
        self._left -= 1

    @property
    def count(self) -> int:
        return len(self._found)

    @property
    def exhausted(self) -> bool:
        """Whether the rest of the frame is not worth the work."""
        return self._left <= 0

    def skip(self, rest: bytes) -> None:
        """Gives up the rest of the frame, which was not looked at."""
        self._unread = rest

    def report(self, separator: bytes = b"\n") -> list[Invalid]:
        """The pieces, or, when they are too many, one with all of them and their number."""
        if not self._unread and len(self._found) <= max(self._most, 1):
            return self._found
        if not self._most:
            return self._found[:1]
        data = separator.join([item.data for item in self._found] + ([self._unread] if self._unread else []))
        more = " and a rest that was not read" if self._unread else ""
        return [Invalid(data, f"many bad pieces: {len(self._found)}{more}; the first is {self._found[0].reason}")]


class Frame:
    """What has been found in one frame."""

    def __init__(self, size: int, limits: Limits, amend: Amend | None) -> None:
        self.limits = limits
        self.rejects = Rejects(size, limits)
        self.counted_values = 0
        self._amend = amend
        self._lines: list[bytes] = []
        self._runs: list[tuple[str, int, int]] = []
        self._reports: list[ClientReport] = []
        self._count = 0

    @property
    def position(self) -> int:
        """Place of the next event."""
        return self._count + self.rejects.count

    def accept(self, lines: bytes, rows: Sequence[Row]) -> None:
        """Takes checked lines with their events. Raises TooManyEvents."""
        self._count += len(rows)
        if self._count > self.limits.events:
            raise TooManyEvents(f"more than {self.limits.events} events")
        self._lines.append(lines if self._amend is None else self._amend(lines, rows))
        runs, reports = summarize(rows)
        self._runs += runs
        self._reports += reports

    def reject(self, data: bytes, reason: str) -> None:
        self.rejects.add(data, reason, self.position)

    def result(self, separator: bytes) -> Validated:
        lines = self._lines[0] if len(self._lines) == 1 else b"".join(self._lines)
        runs = SeqRuns(self._runs, self._reports)
        return Validated(lines, self._count, runs, self.rejects.report(separator))


def opening_marks(data: bytes) -> bytes:
    """What opens in some lines of JSON, all as `{`, and the ends of the lines."""
    return data.translate(_OPENERS, _NO_OPENER)


def too_deep(data: bytes, marks: bytes) -> bool:
    """Whether a line of JSON is nested too deeply. `marks`: its `opening_marks`, which tell it of nearly all."""
    if _TOO_DEEP not in marks:
        return False
    brackets = _STRING.sub(b"", data).translate(_BRACES, _NO_BRACKET)
    for _ in range(NESTING):
        if not brackets:
            return False
        brackets = brackets.replace(b"{}", b"")
    return bool(brackets)


def check_depth(data: bytes) -> None:
    """Raises RecursionError, as the decoder does at the end of its stack, for JSON that is nested too deeply."""
    if too_deep(data, opening_marks(data)):
        raise RecursionError


def reason_of(error: BaseException, malformed: str = "not JSON") -> str:
    """Why a decoder refused something, for the dead letters."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if is_encoding_error(error):
        return "not UTF-8"
    if isinstance(error, msgspec.ValidationError):
        return f"not an event: {str(error).replace('$[0]', '$')}"
    if isinstance(error, msgspec.DecodeError):
        return f"{malformed}: {error}"
    return f"not an event: {error}"
