"""One way in for every input: bytes become checked events as JSON lines for the journal, and rejects with their reasons.

The work is linear in the bytes, and for the worst input near that for good input: a frame is bounded in bytes, in events, in the
values of an event, and in the pieces that are rejected one by one; no more than some 64 KB are decoded at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Final, Literal

import msgspec

from metlog.encoders.wire import is_msgpack, unsigned
from metlog.event import Event
from metlog.journal.rows import WRONG, decode
from metlog.listener._frame import (
    LIMITS,
    NESTING,
    Amend,
    Frame,
    Invalid,
    Limits,
    Rejects,
    TooManyEvents,
    Validated,
    check_depth,
    opening_marks,
    reason_of,
    too_deep,
)
from metlog.listener._heads import validate_usual
from metlog.listener._json_lines import BLOCK, check_block, check_json, check_values
from metlog.listener._msgpack import check_msgpack
from metlog.listener.accounting import SeqRuns, summarize

__all__ = [
    "LIMITS", "NESTING", "Amend", "Invalid", "Limits", "Rejects", "TooManyEvents", "Validated", "reason_of", "validate",
    "validate_events", "validate_frames", "validate_parsed",
]  # fmt: skip

Kind = Literal["json", "msgpack", "auto"]

_OPENS_JSON: Final = frozenset(b"{ \t\r\n")
_LAST_BYTE: Final = itemgetter(-1)
_LINE_FEED: Final = {ord("\n")}
_encode: Final = msgspec.json.Encoder().encode
_encode_lines: Final = msgspec.json.Encoder().encode_lines


def validate(data: bytes, kind: Kind = "auto", limits: Limits = LIMITS, amend: Amend | None = None) -> Validated:
    """Checks one frame: JSON, one event a line, or MessagePack, an event or an array of events; `auto` tells them apart by the
    first byte. The signature of a signed frame is passed over unchecked.

    Raises TooManyEvents beyond `limits.events`; everything else that is wrong is in `invalid`.
    """
    if kind != "msgpack" and amend is None and len(data) <= BLOCK:
        usual = validate_usual(data, limits)
        if usual is not None:
            return usual
    found = Frame(len(data), limits, amend)
    data = unsigned(data)
    if kind == "msgpack" or (kind == "auto" and is_msgpack(data)):
        check_msgpack(data, found)
        return found.result(b"")
    if not data:
        found.rejects.add(data, "empty")
    elif kind == "auto" and data[0] not in _OPENS_JSON:
        found.rejects.add(data, "neither JSON lines nor MessagePack")
    else:
        check_json(data, found)
    return found.result(b"\n")


def validate_frames(frames: Sequence[bytes], limits: Limits = LIMITS) -> Validated:
    """Checks the frames of one source, at once when all of them are small and good JSON, else each by itself."""
    if len(frames) == 1:
        return validate(frames[0], "auto", limits)
    joined = b"".join(frames if _ended(frames) else [frame.removesuffix(b"\n") + b"\n" for frame in frames])
    if max(map(len, frames)) <= BLOCK:
        usual = validate_usual(joined, limits)
        if usual is not None:
            return usual
        found = Frame(len(joined), limits, None)
        if check_block(joined, found):
            return found.result(b"\n")
    parts = [validate(frame, "auto", limits) for frame in frames]
    runs = [run for part in parts for run in part.runs.runs]
    reports = [report for part in parts for report in part.runs.reports]
    invalid = [item for part in parts for item in part.invalid]
    lines = b"".join([part.lines for part in parts])
    return Validated(lines, sum(part.count for part in parts), SeqRuns(runs, reports), invalid)


def _ended(frames: Sequence[bytes]) -> bool:
    """Whether each frame ends in a line feed."""
    return all(frames) and set(map(_LAST_BYTE, frames)) == _LINE_FEED


def validate_parsed(events: Sequence[Event]) -> Validated:
    """The lines of events that an input's parser made of another protocol's messages. Their types are right by construction, so they
    are decoded again only where a value from outside may be nested too deeply or has too many values."""
    lines = _encode_lines(events)
    if len(lines) > BLOCK or too_deep(lines, opening_marks(lines)):
        return validate(lines, "json")
    return Validated(lines, len(events), summarize(events))


def validate_events(events: Sequence[Event]) -> Validated:
    """The lines of events that were built in this process; raises ValueError for one that JSON or a column cannot hold."""
    found = Frame(0, LIMITS, None)
    for index, event in enumerate(events):
        try:
            line = _encode(event) + b"\n"
            check_values(line, LIMITS.values)
            rows = decode(line)
            check_depth(line)
        except WRONG as error:
            raise ValueError(f"event {index}: {reason_of(error)}") from error
        found.accept(line, rows)
    return found.result(b"\n")
