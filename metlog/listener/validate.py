"""Frames to checked events: what is good as JSON lines for the journal, what is bad with its reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from metlog.encoders.wire import is_utf8, unsigned
from metlog.event import Event
from metlog.journal.rows import Row, decode
from metlog.values import plain, sanitize

__all__ = ["Invalid", "Validated", "validate", "validate_events"]

_OPENS_JSON: Final = frozenset(b"{ \t\r\n")
_ARRAYS: Final = frozenset([*range(0x90, 0xA0), 0xDC, 0xDD])
_MAPS: Final = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])

_unpack_row: Final = msgspec.msgpack.Decoder(Row).decode
_unpack_array: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode

NESTING: Final = 100
"""Objects and arrays within each other that an event may have. Whoever reads it later, with however deep a stack, must be
able to: one event that a reader cannot decode would be in the way of all others."""
_TOO_DEEP: Final = b"{" * (NESTING + 1)
_OPENERS: Final = bytes.maketrans(b"[", b"{")
_NEITHER: Final = bytes(set(range(256)) - set(b"{[\n"))
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKETS: Final = re.compile(rb"[\[\]{}]")

# What a decoder raises for input that is wrong. RecursionError: nested deeper than the interpreter's stack allows.
_WRONG: Final = (msgspec.DecodeError, ValueError, TypeError, OverflowError, RecursionError)


class Invalid(NamedTuple):
    """What could not be taken."""

    data: bytes
    reason: str
    """One of a bounded number of texts, with the detail after `: `."""


class Validated(NamedTuple):
    """The outcome for some frames of one source."""

    lines: bytes
    """The good events, JSON, one a line; as received where the whole frame was good JSON."""
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody asks it for
    invalid: list[Invalid]
    rows: Sequence[Row]
    """The good events, decoded."""


def validate(frames: Sequence[bytes]) -> Validated:
    """Checks frames; cheap when all is well, line by line when not."""
    data = frames[0] if len(frames) == 1 else b"".join([f if f.endswith(b"\n") else f + b"\n" for f in frames])
    if data[:1] == b"{" and is_utf8(data):
        try:
            rows = decode(data)
        except _WRONG:
            pass
        else:
            if not data.endswith(b"\n"):
                data += b"\n"
            # One event, one line: else a frame cut off in the middle could swallow the one that follows it.
            marks = data.translate(_OPENERS, _NEITHER)  # what opens, and the ends of the lines
            # A blank line would make up for a line of two.
            if len(rows) == marks.count(b"\n") and b"\n\n" not in marks and _TOO_DEEP not in marks:
                return Validated(data, len(rows), [], rows)
    lines: list[bytes] = []
    invalid: list[Invalid] = []
    good: list[Row] = []
    for frame in frames:
        _check_frame(frame, lines, invalid, good)
    return Validated(b"".join(lines), len(lines), invalid, good)


def validate_events(events: Sequence[Event]) -> Validated:
    """The lines of events that were built here; raises ValueError for one that JSON or a column cannot hold."""
    lines = []
    rows: list[Row] = []
    for index, event in enumerate(events):
        try:
            line = _encode(event) + b"\n"
            rows += decode(line)
            _check_depth(line)
        except _WRONG as error:
            raise ValueError(f"event {index}: {_reason(error)}") from error
        lines.append(line)
    return Validated(b"".join(lines), len(lines), [], rows)


def _check_frame(frame: bytes, lines: list[bytes], invalid: list[Invalid], good: list[Row]) -> None:
    frame = unsigned(frame)
    first = frame[0] if frame else -1
    if first in _OPENS_JSON:
        for line in frame.split(b"\n"):
            if line and not line.isspace():
                _check_line(line, lines, invalid, good)
    elif first in _ARRAYS:
        try:
            items: list[Any] = _unpack_array(frame)
        except _WRONG as error:
            invalid.append(Invalid(frame, _reason(error, "not MessagePack")))
            return
        for item in items:
            _check_packed(bytes(item), lines, invalid, good)
    elif first in _MAPS:
        _check_packed(frame, lines, invalid, good)
    elif first < 0:
        invalid.append(Invalid(frame, "empty"))
    else:
        invalid.append(Invalid(frame, "neither JSON lines nor MessagePack"))


def _check_line(line: bytes, lines: list[bytes], invalid: list[Invalid], good: list[Row]) -> None:
    try:
        line.decode()  # a key that is no field of an event is skipped by the decoder, with whatever it holds
        found = decode(line)
        _check_depth(line)
    except _WRONG as error:
        invalid.append(Invalid(line, _reason(error, "not JSON")))
        return
    if len(found) == 1:
        lines.append(line + b"\n")
        good += found
    else:
        invalid.append(Invalid(line, "more than one event on a line"))


def _check_packed(data: bytes, lines: list[bytes], invalid: list[Invalid], good: list[Row]) -> None:
    """One MessagePack event, as JSON from here on: one format in the journal. What JSON cannot say is said as the encoders do."""
    try:
        row = _unpack_row(data)
        try:
            line = _encode(row)
            if b"null" in line and _odd(row):  # what NaN and infinity become without a word
                line = _encode(_said(row))
        except TypeError:  # an extension type
            line = _encode(_said(row))
        found = decode(line)
        _check_depth(line)
    except _WRONG as error:
        invalid.append(Invalid(data, _reason(error, "not MessagePack")))
        return
    lines.append(line + b"\n")
    good += found


def _check_depth(line: bytes) -> None:
    """Raises RecursionError, as the decoder does when the stack ends, for JSON that is nested deeper than is taken."""
    if _TOO_DEEP not in line.translate(_OPENERS, _NEITHER):
        return
    depth = 0
    for bracket in _BRACKETS.findall(_STRING.sub(b"", line)):
        depth += 1 if bracket in b"{[" else -1
        if depth > NESTING:
            raise RecursionError


def _odd(row: Row) -> bool:
    try:
        return not plain(row.fields)
    except RecursionError:
        return True


def _said(row: Row) -> Row:
    row.fields = sanitize(Event(type="", fields=row.fields))[0].fields
    return row


def _reason(error: BaseException, malformed: str = "not JSON") -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if isinstance(error, msgspec.ValidationError):
        return f"not an event: {str(error).replace('$[0]', '$')}"
    if isinstance(error, msgspec.DecodeError):
        return f"{malformed}: {error}"
    return f"not an event: {error}"
