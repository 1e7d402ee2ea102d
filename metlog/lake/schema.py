"""Columns of the view `events`, and the events of journal records as these columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET

from metlog.journal.offsets import Partition, clean_source, run_of
from metlog.journal.routing import Route
from metlog.journal.rows import FIRST, LAST, WRONG, Row, micros, pieces_of, rows_of
from metlog.journal.segment import Clock, Record

__all__ = ["COLUMNS", "DATED_SCHEMA", "UNCOMMITTED_SCHEMA", "SCHEMA", "chain_of", "tables"]

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

DATED_SCHEMA: Final = SCHEMA.append(pa.field("date", pa.date32(), nullable=False))
"""Schema of the data set as a whole."""

UNCOMMITTED_SCHEMA: Final = DATED_SCHEMA.append(pa.field("log", pa.string())).append(pa.field("log_offset", pa.int64()))
"""Schema of the events that are in no file yet. `log`: the partition that an event was read from (`metlog.lake.chains.chain_of`), and
its offset there; null for all others."""

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


CHUNK_BYTES: Final = 1 << 20
"""Bytes of JSON that are decoded at once, a longer event aside."""


def tables(
    records: Iterable[Record],
    clock: Clock,
    route: Route,
    *,
    rows: int = 3000,
    size: int = CHUNK_BYTES,
    bad: list[tuple[bytes, str, str]] | None = None,
) -> Iterator[pa.Table]:
    """The events of journal records as tables of about `rows` rows or `size` bytes of JSON with UNCOMMITTED_SCHEMA, in the order of the
    journal. `bad` gets what cannot be decoded, with its source and the reason.

    So many rows stay in the processor's cache between decoding and the columns; ten times as many take twice as long. Decoded JSON takes up
    to 25 times its bytes, so it is the bytes of a table that bound its memory.
    """
    chunk: list[Record] = []
    count = taken = 0
    for record in records:
        for piece in pieces_of(record, size):
            if chunk and taken + len(piece.events) > size:
                yield from _table(chunk, clock, route, bad)
                chunk, count, taken = [], 0, 0
            chunk.append(piece)
            count += piece.count
            taken += len(piece.events)
            if count >= rows:
                yield from _table(chunk, clock, route, bad)
                chunk, count, taken = [], 0, 0
    if chunk:
        yield from _table(chunk, clock, route, bad)


class _Stored(Row, gc=False, kw_only=True):
    """An event as it stands in the journal, where it has been checked: its time is read by Arrow, a column at once."""

    timestamp: str | None = None  # type: ignore[assignment]


_decode_stored: Final[Callable[[bytes], list[_Stored]]] = msgspec.json.Decoder(_Stored).decode_lines


class _Piece(NamedTuple):
    """Events of some records, and for each of them what its record says."""

    rows: Sequence[Row]
    claimed: pa.Array
    """What the clients' clocks said: microseconds since the epoch, or null."""
    received: Sequence[int]
    sources: Sequence[str]
    logs: Sequence[str | None]
    offsets: Sequence[int | None]


def _read(records: Sequence[Record], bad: list[tuple[bytes, str, str]] | None) -> _Piece:
    """Decodes records together; one by one when some of it is not as it usually is."""
    counts = [record.count for record in records]
    try:
        rows: Sequence[Row] = _decode_stored(b"".join([record.events for record in records]))
        claimed = pa.array([row.timestamp for row in rows], pa.string()).cast(_TIME).cast(pa.int64())
    except (*WRONG, pa.ArrowInvalid):  # a form of RFC 3339 that Arrow does not read: nanoseconds, a small t
        rows = []
    if len(rows) != sum(counts):
        rows, counts = [], []
        for record in records:
            events, wrong = rows_of(record.events)
            rows += events
            counts.append(len(events))
            if wrong and bad is not None:
                bad += [(line, record.source, reason) for line, reason in wrong]
        claimed = pa.array([None if row.timestamp is UNSET else micros(row.timestamp) for row in rows], pa.int64())
    received: list[int] = []
    sources: list[str] = []
    logs: list[str | None] = []
    offsets: list[int | None] = []
    for record, count in zip(records, counts, strict=True):
        received += [record.received_at] * count
        sources += [clean_source(record.source)] * count
        run = run_of(record.source)
        logs += [chain_of(run.partition) if run is not None else None] * count
        if run is None:
            offsets += [None] * count
        elif run.each == 1:
            offsets += range(run.first, run.first + count)
        else:
            offsets += [run.first + index // run.each for index in range(count)]
    return _Piece(rows, claimed, received, sources, logs, offsets)


def chain_of(partition: Partition) -> str:
    """The name of a partition in the data set: what the names of its files begin with, after `kafka-`."""
    return f"{partition.topic}-{partition.ident}-{partition.number}"


def _table(
    records: Sequence[Record], clock: Clock, route: Route, bad: list[tuple[bytes, str, str]] | None
) -> Iterator[pa.Table]:
    rows, claimed, received, sources, logs, offsets = _read(records, bad)
    if not route.takes_all:
        taken = [route.takes(row) for row in rows]
        rows, received, sources = [*compress(rows, taken)], [*compress(received, taken)], [*compress(sources, taken)]
        logs, offsets = [*compress(logs, taken)], [*compress(offsets, taken)]
        claimed = claimed.filter(pa.array(taken, pa.bool_()))
    if not rows:
        return
    received_at = pa.array(received, pa.int64())
    times, claims = _times(claimed, received_at, clock)
    columns = [
        times,
        _text([row.type for row in rows]),
        pa.array([row.tokens for row in rows], pa.list_(pa.string())),
        _text([row.logger for row in rows]),
        pa.array([row.severity for row in rows], pa.int8()),
        pa.array([row.payload for row in rows], pa.string()),
        _json([row.fields for row in rows]),
        pa.array([row.weight for row in rows], pa.float64()),
        _text([row.env_version for row in rows]),
        pa.array([row.pid for row in rows], pa.int64()),
        _text([row.hostname for row in rows]),
        _text([row.stream for row in rows]),
        pa.array([row.seq for row in rows], pa.int64()),
        received_at.cast(_TIME),
        _text(sources),
        claims,
        times.cast(pa.date32()),
        pa.array(logs, pa.string()),
        pa.array(offsets, pa.int64()),
    ]
    yield pa.Table.from_arrays(columns, schema=UNCOMMITTED_SCHEMA)


_encode_lines: Final = msgspec.json.Encoder().encode_lines


def _text(values: Sequence[str]) -> pa.Array:
    """A column of texts; one that is the same all through, as most are, is not converted value by value."""
    first = values[0]
    if values.count(first) == len(values):
        return pa.repeat(pa.scalar(first, pa.string()), len(values))
    return pa.array(values, pa.string())


def _json(values: Sequence[dict[str, Any]]) -> pa.Array:
    """A column of JSON texts: encoded at once, and cut at the line feeds, which JSON text has none of."""
    lines = pa.array([_encode_lines(values)[:-1]], pa.binary()).cast(pa.string())
    return pc.split_pattern(lines, "\n").values


def _times(claimed: pa.Array, received_at: pa.Array, clock: Clock) -> tuple[pa.Array, pa.Array]:
    """As `correct`, for columns."""
    claimed = pc.coalesce(claimed, received_at)
    ahead = pc.subtract(claimed, received_at)
    bounds = pc.min_max(ahead)
    least, most = -clock.past * 1_000_000, clock.future * 1_000_000
    if least <= bounds["min"].as_py() and bounds["max"].as_py() <= most:
        return claimed.cast(_TIME), pa.nulls(len(claimed), _TIME)
    credible = pc.and_(pc.greater_equal(ahead, least), pc.less_equal(ahead, most))
    sayable = pc.min_element_wise(pc.max_element_wise(claimed, FIRST), LAST)
    return (
        pc.if_else(credible, claimed, received_at).cast(_TIME),
        pc.if_else(credible, pa.scalar(None, pa.int64()), sayable).cast(_TIME),
    )
