"""An event as the listener checks it and as readers of the journal get it. Without Arrow: what does not write columns need not load it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from metlog.event import ENV_VERSION, MAX_WEIGHT
from metlog.journal.segment import Clock, Record

__all__ = ["FIRST", "LAST", "WRONG", "Row", "correct", "decode", "micros", "pieces_of", "rows_of"]

_INT64: Final = 2**63 - 1
_Count = Annotated[int, Meta(ge=0, le=_INT64)]


def _no_type() -> str:
    raise ValueError("an event needs a `type`")


class Row(Struct, gc=False):
    """An event as the listener checks it: as `metlog.event.Event`, limited to what a column can hold, and with a timestamp
    that may be missing (then it is `received_at`, so that every reader of the journal finds the same one)."""

    timestamp: Annotated[datetime, Meta(tz=True)] | UnsetType = UNSET
    type: str = msgspec.field(default_factory=_no_type)
    tokens: tuple[str, ...] = ()
    logger: str = ""
    severity: Annotated[int, Meta(ge=0, le=7)] = 6
    payload: str = ""
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    weight: Annotated[float, Meta(gt=0, le=MAX_WEIGHT)] = 1.0
    env_version: str = ENV_VERSION
    pid: _Count = 0
    hostname: str = ""
    stream: str = ""
    seq: _Count = 0


decode: Final[Callable[[bytes], list[Row]]] = msgspec.json.Decoder(Row).decode_lines

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """Microseconds since the epoch; a time without an offset is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def correct(timestamp: datetime | UnsetType, received_at: int, clock: Clock) -> tuple[int, int | None]:
    """The timestamp that an event gets and, when that is not the client's, what the client claimed; microseconds."""
    if timestamp is UNSET:
        return received_at, None
    claim = micros(timestamp)
    if received_at - clock.past * 1_000_000 <= claim <= received_at + clock.future * 1_000_000:
        return claim, None
    return received_at, min(max(claim, FIRST), LAST)


FIRST: Final = micros(datetime.min)  # noqa: DTZ901 - taken as UTC
LAST: Final = micros(datetime.max)  # noqa: DTZ901 - taken as UTC


def pieces_of(record: Record, size: int) -> Iterator[Record]:
    """The record in parts of about `size` bytes of whole lines, so that it need not be decoded at once."""
    events = record.events
    if len(events) <= size:
        yield record
        return
    start = 0
    while start < len(events):
        end = events.rfind(b"\n", start, start + size) + 1
        if end <= start:  # a longer line
            end = events.find(b"\n", start) + 1 or len(events)
        part = events[start:end]
        yield record._replace(events=part, count=part.count(b"\n") + (not part.endswith(b"\n")))
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
    for line in events.splitlines():
        try:
            rows += decode(line)
        except WRONG as error:
            bad.append((line, f"journaled, but no event to this release: {error}"))
    return rows, bad
