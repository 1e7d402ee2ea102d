"""Columns of the view `events`, and the events of journal records as these columns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
import pyarrow as pa
from msgspec import Meta, Struct

from metlog.event import ENV_VERSION
from metlog.lake.routing import Route
from metlog.lake.segment import Clock, Record

__all__ = ["COLUMNS", "FRESH_SCHEMA", "SCHEMA", "Row", "correct", "decode", "rows_of", "tables"]

_TIME: Final = pa.timestamp("us", tz="UTC")

SCHEMA: Final = pa.schema(
    [
        pa.field("timestamp", _TIME, nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("tokens", pa.list_(pa.string()), nullable=False),
        pa.field("logger", pa.string(), nullable=False),
        pa.field("severity", pa.int8(), nullable=False),
        pa.field("payload", pa.string(), nullable=False),
        pa.field("fields", pa.string(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
        pa.field("env_version", pa.string(), nullable=False),
        pa.field("pid", pa.int64(), nullable=False),
        pa.field("hostname", pa.string(), nullable=False),
        pa.field("stream", pa.string(), nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("received_at", _TIME, nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("claimed_timestamp", _TIME),
    ]
)
"""Schema of the Parquet files. `date`, the UTC day of `timestamp`, is the folder's name."""

FRESH_SCHEMA: Final = SCHEMA.append(pa.field("date", pa.date32(), nullable=False))
"""Schema of the events that are in no file yet."""

COLUMNS: Final[dict[str, str]] = {
    "timestamp": "TIMESTAMPTZ",
    "type": "VARCHAR",
    "tokens": "VARCHAR[]",
    "logger": "VARCHAR",
    "severity": "TINYINT",
    "payload": "VARCHAR",
    "fields": "JSON",
    "weight": "DOUBLE",
    "env_version": "VARCHAR",
    "pid": "BIGINT",
    "hostname": "VARCHAR",
    "stream": "VARCHAR",
    "seq": "BIGINT",
    "received_at": "TIMESTAMPTZ",
    "source": "VARCHAR",
    "claimed_timestamp": "TIMESTAMPTZ",
    "date": "DATE",
}
"""Columns of the view `events` with their SQL types (DuckDB's names), in order."""

_INT64: Final = 2**63 - 1
_Int64 = Annotated[int, Meta(ge=-_INT64, le=_INT64)]


def _no_type() -> str:
    raise ValueError("an event needs a `type`")


class Row(Struct, gc=False):
    """An event as the listener checks it: as `metlog.event.Event`, limited to what a column can hold, and with a timestamp
    that may be missing (then it is `received_at`, so that every reader of the journal finds the same one)."""

    timestamp: datetime | None = None
    type: str = msgspec.field(default_factory=_no_type)
    tokens: tuple[str, ...] = ()
    logger: str = ""
    severity: Annotated[int, Meta(ge=0, le=7)] = 6
    payload: str = ""
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    weight: Annotated[float, Meta(gt=0, le=sys.float_info.max)] = 1.0
    env_version: str = ENV_VERSION
    pid: _Int64 = 0
    hostname: str = ""
    stream: str = ""
    seq: _Int64 = 0


decode: Final[Callable[[bytes], list[Row]]] = msgspec.json.Decoder(Row).decode_lines

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY: Final = 86_400_000_000


def micros(moment: datetime) -> int:
    """Microseconds since the epoch; a time without a zone is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def correct(timestamp: datetime | None, received_at: int, clock: Clock) -> tuple[int, int | None]:
    """The timestamp that an event gets and, when that is not the client's, what the client claimed; microseconds."""
    if timestamp is None:
        return received_at, None
    claim = micros(timestamp)
    if received_at - clock.past * 1_000_000 <= claim <= received_at + clock.future * 1_000_000:
        return claim, None
    return received_at, min(max(claim, _FIRST), _LAST)


_FIRST: Final = micros(datetime.min)  # noqa: DTZ901 - taken as UTC
_LAST: Final = micros(datetime.max)  # noqa: DTZ901 - taken as UTC


_WRONG: Final = (msgspec.DecodeError, ValueError, TypeError, OverflowError, RecursionError)


def rows_of(events: bytes) -> tuple[list[Row], list[tuple[bytes, str]]]:
    """A record's events, and the lines that are none with the reason.

    What was journaled was checked, so that there are such lines only where another release checked it: one of them must
    not keep every output from what comes after it."""
    try:
        return decode(events), []
    except _WRONG:
        pass
    rows: list[Row] = []
    bad: list[tuple[bytes, str]] = []
    for line in events.splitlines():
        try:
            rows += decode(line)
        except _WRONG as error:
            bad.append((line, f"journaled, but no event to this release: {error}"))
    return rows, bad


def tables(
    records: Iterable[Record],
    clock: Clock,
    route: Route,
    *,
    rows: int = 20_000,
    bad: list[tuple[bytes, str, str]] | None = None,
) -> Iterator[pa.Table]:
    """The events of journal records as tables of about `rows` rows with FRESH_SCHEMA, in the order of the journal. `bad`
    gets what cannot be decoded, with its source and the reason."""
    chunk: list[tuple[Record, list[Row]]] = []
    size = 0
    for record in records:
        events, wrong = rows_of(record.events)
        if wrong and bad is not None:
            bad += [(line, record.source, reason) for line, reason in wrong]
        if not route.takes_all:
            events = [event for event in events if route.takes(event)]
        if events:
            chunk.append((record, events))
            size += len(events)
        if size >= rows:
            yield _table(chunk, clock)
            chunk, size = [], 0
    if chunk:
        yield _table(chunk, clock)


def _table(chunk: list[tuple[Record, list[Row]]], clock: Clock) -> pa.Table:
    rows = [row for _, events in chunk for row in events]
    times: list[int] = []
    claims: list[int | None] = []
    received: list[int] = []
    sources: list[str] = []
    for record, events in chunk:
        for row in events:
            moment, claim = correct(row.timestamp, record.received_at, clock)
            times.append(moment)
            claims.append(claim)
        received += [record.received_at] * len(events)
        sources += [record.source] * len(events)
    encode = msgspec.json.encode
    columns = [
        pa.array(times, _TIME),
        pa.array([row.type for row in rows], pa.string()),
        pa.array([row.tokens for row in rows], pa.list_(pa.string())),
        pa.array([row.logger for row in rows], pa.string()),
        pa.array([row.severity for row in rows], pa.int8()),
        pa.array([row.payload for row in rows], pa.string()),
        pa.array([encode(row.fields) for row in rows], pa.string()),
        pa.array([row.weight for row in rows], pa.float64()),
        pa.array([row.env_version for row in rows], pa.string()),
        pa.array([row.pid for row in rows], pa.int64()),
        pa.array([row.hostname for row in rows], pa.string()),
        pa.array([row.stream for row in rows], pa.string()),
        pa.array([row.seq for row in rows], pa.int64()),
        pa.array(received, _TIME),
        pa.array(sources, pa.string()),
        pa.array(claims, _TIME),
        pa.array([moment // _DAY for moment in times], pa.int32()).cast(pa.date32()),
    ]
    return pa.Table.from_arrays(columns, schema=FRESH_SCHEMA)


def day(number: int) -> date:
    """The date that a number of days since the epoch stands for."""
    return date(1970, 1, 1) + timedelta(days=number)
