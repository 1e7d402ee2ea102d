"""An event as the listener checks it and as readers of the journal get it. Without Arrow: what does not write columns need not load it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import NODEFAULT, UNSET, UnsetType, defstruct, structs

from metlog.event import Event
from metlog.journal.offsets import source_after
from metlog.journal.segment import FIRST, LAST, Clock, Record

__all__ = ["FIRST", "LAST", "WRONG", "Row", "correct", "declaration", "decode", "micros", "pieces_of", "rows_of"]


def declaration(field: structs.FieldInfo) -> tuple[str, Any] | tuple[str, Any, Any]:
    """A field of `Event` as a field of `Row`: same type and bounds, with a plain default in place of the factory."""
    if field.name == "timestamp":
        return field.name, field.type | UnsetType, UNSET
    if field.name == "type":
        return field.name, field.type
    if field.name == "fields":
        return field.name, field.type, msgspec.field(default_factory=dict)
    default = field.default if field.default is not NODEFAULT else field.default_factory()
    return field.name, field.type, default


if TYPE_CHECKING:

    class Row(Event):
        """An event as the listener checks it."""

        timestamp: datetime | UnsetType = UNSET  # type: ignore[assignment]  # may be missing

else:
    Row = defstruct(
        "Row",
        [declaration(field) for field in structs.fields(Event)],
        module=__name__,
        namespace={
            "__doc__": """An event as the listener checks it, generated from `metlog.event.Event`: the same fields, types and bounds.

    `type` must be there. `timestamp` may be missing: then it is the record's `received_at`, so that every reader of the
    journal finds the same one. What is left out is a plain default, which decodes faster than the event's factories."""
        },
        gc=False,
        kw_only=True,
    )


decode: Final[Callable[[bytes], list[Row]]] = msgspec.json.Decoder(Row).decode_lines

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Microseconds since the epoch; a time without an offset is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def correct(timestamp: datetime | UnsetType, received_at: int, clock: Clock) -> tuple[int, int | None]:
    """The timestamp that an event gets and, when that is not the client's, what the client claimed; microseconds. A time that UTC cannot
    say (the year 1 east of Greenwich) is the nearest that it can."""
    if timestamp is UNSET:
        return received_at, None
    claim = min(max(micros(timestamp), FIRST), LAST)  # an offset of its own may put it beyond
    if received_at - clock.past * 1_000_000 <= claim <= received_at + clock.future * 1_000_000:
        return claim, None
    return received_at, claim


def pieces_of(record: Record, size: int) -> Iterator[Record]:
    """The record in parts of about `size` bytes of whole lines, so that it need not be decoded at once."""
    if len(record.lines) <= size:
        yield record
        return
    events = record.lines
    start = before = 0
    while start < len(events):
        end = events.rfind(b"\n", start, start + size) + 1
        if end <= start:  # a longer line
            end = events.find(b"\n", start) + 1 or len(events)
        part = events[start:end]
        count = part.count(b"\n") + (not part.endswith(b"\n"))
        yield record._replace(source=source_after(record.source, before), lines=part, count=count, members=-1)
        before += count
        start = end


WRONG: Final = (msgspec.DecodeError, ValueError, TypeError, OverflowError, RecursionError)


def rows_of(events: bytes) -> tuple[list[Row], list[tuple[bytes, str]]]:
    """A record's events, and the lines that are none with the reason.

    What was journaled was checked, so that there are such lines only where another release checked it: one of them must
    not keep every output from what comes after it."""
    try:
        return decode(events), []
    except WRONG:
        pass
    rows: list[Row] = []
    bad: list[tuple[bytes, str]] = []
    for line in events.split(b"\n"):
        try:
            rows += decode(line)
        except WRONG as error:
            bad.append((line, f"journaled, but no event to this release: {error}"))
    return rows, bad
