"""Lines as metlog's own clients write them: decoded without what all of them end in."""

from __future__ import annotations

from typing import Final

from metlog.encoders.wire import is_utf8
from metlog.event import OWN_TYPES
from metlog.journal.rows import WRONG
from metlog.journal.tails import cut, decode_heads, origin_of
from metlog.listener._frame import NESTING, Limits, Validated, opening_marks, too_deep
from metlog.listener.accounting import SeqRuns, runs_of

__all__ = ["validate_usual"]

_SHALLOW: Final = 2 * NESTING + len(b'{"type":"","fields":')
"""A line of so many bytes cannot open and close more objects and arrays than an event may have: only `fields` holds any."""


def validate_usual(data: bytes, limits: Limits) -> Validated | None:
    """Checks lines, each ended by a line feed, of a stream. None when there is anything odd about them: then nothing is known of them."""
    lines = cut(data)
    origin = origin_of(lines.tail) if lines is not None else None
    if lines is None or origin is None or not is_utf8(lines.body):
        return None
    heads = lines.body.replace(b"\n", b"}\n")
    try:
        rows = decode_heads(heads)
    except WRONG:
        return None
    # Each line begins and ends in a brace, so that as many events as lines are one event a line.
    if len(rows) != lines.count or len(rows) > limits.events:
        return None
    if lines.longest > _SHALLOW and too_deep(heads, opening_marks(heads)):
        return None
    if not OWN_TYPES.isdisjoint({row.type for row in rows}):
        return None
    runs = SeqRuns(runs_of(origin.stream, [row.seq for row in rows]))
    return Validated(lines.body, len(rows), runs, (), lines.tail, sum(map(len, [row.fields for row in rows])))
