"""Columns of the view `events`, and the events of journal records as these columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from metlog.event import ONE
from metlog.journal.routing import AnyRoute
from metlog.journal.rows import FIRST, LAST, pieces_of
from metlog.journal.segment import Clock, Record
from metlog.lake.pieces import TIME, TOKENS, chain_of, read

__all__ = ["DATED_SCHEMA", "UNCOMMITTED_SCHEMA", "SCHEMA", "chain_of", "tables"]

SCHEMA: Final = pa.schema(
    [
        pa.field("timestamp", TIME, nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("tokens", TOKENS, nullable=False),
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
        pa.field("received_at", TIME, nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("claimed_timestamp", TIME),
    ]
)
"""Schema of the Parquet files. `date`, the UTC day of `timestamp`, is the folder's name."""

DATED_SCHEMA: Final = SCHEMA.append(pa.field("date", pa.date32(), nullable=False))
"""Schema of the data set as a whole."""

UNCOMMITTED_SCHEMA: Final = DATED_SCHEMA.append(pa.field("log", pa.string())).append(pa.field("log_offset", pa.int64()))
"""Schema of the events that are in no file yet. `log`: the partition that an event was read from (`metlog.lake.chains.chain_of`), and
its offset there; null for all others."""

CHUNK_BYTES: Final = 1 << 20
"""Bytes of JSON that are decoded at once, a longer event aside."""


def tables(
    records: Iterable[Record],
    clock: Clock,
    route: AnyRoute,
    *,
    rows: int = 5000,
    size: int = CHUNK_BYTES,
    bad: list[tuple[bytes, str, str]] | None = None,
) -> Iterator[pa.Table]:
    """The events of journal records as tables of about `rows` rows or `size` bytes of JSON with UNCOMMITTED_SCHEMA, in the order of the
    journal. `bad` gets what cannot be decoded, with its source and the reason.

    So many rows stay in the processor's cache between decoding and the columns; with fewer, Arrow's calls begin to cost. Decoded JSON takes
    up to 25 times its bytes, so it is the bytes of a table that bound its memory.
    """
    chunk: list[Record] = []
    count = taken = 0
    for record in records:
        for piece in pieces_of(record, size):
            if chunk and taken + len(piece.lines) > size:
                yield from _table(chunk, clock, route, bad)
                chunk, count, taken = [], 0, 0
            chunk.append(piece)
            count += piece.count
            taken += len(piece.lines)
            if count >= rows:
                yield from _table(chunk, clock, route, bad)
                chunk, count, taken = [], 0, 0
    if chunk:
        yield from _table(chunk, clock, route, bad)


def _table(
    records: Sequence[Record], clock: Clock, route: AnyRoute, bad: list[tuple[bytes, str, str]] | None
) -> Iterator[pa.Table]:
    piece = read(records, route, bad)
    rows, count = piece.rows, len(piece.rows)
    if not count:
        return
    shared = _Expanded(piece.shared.counts, count)
    origin = piece.shared
    received_at = shared.column(origin.received_at, pa.int64())
    times, claims = _times(piece.claimed, received_at, clock)
    columns = [
        times,
        pa.array([row.type for row in rows], pa.string()),
        piece.tokens,
        shared.column(origin.logger, pa.string()),
        _bytes([row.severity for row in rows]),
        pa.array([row.payload for row in rows], pa.string()),
        _lines(piece.fields),
        _weights([row.weight for row in rows]),
        shared.column(origin.env_version, pa.string()),
        shared.column(origin.pid, pa.int64()),
        shared.column(origin.hostname, pa.string()),
        shared.column(origin.stream, pa.string()),
        pa.array([row.seq for row in rows], pa.int64()),
        received_at.cast(TIME),
        shared.column(origin.source, pa.string()),
        claims,
        _days(times),
        pa.array(piece.logs, pa.string()) if piece.logs else pa.nulls(count, pa.string()),
        pa.array(piece.offsets, pa.int64()) if piece.offsets else pa.nulls(count, pa.int64()),
    ]
    yield pa.Table.from_arrays(columns, schema=UNCOMMITTED_SCHEMA)


class _Expanded:
    """Columns of values that come again, made of one value for each run of rows."""

    def __init__(self, counts: Sequence[int], rows: int) -> None:
        self._rows = rows
        self._ends = pa.array(accumulate(counts), pa.int32()) if len(counts) < rows else None

    def column(self, values: Sequence[Any], kind: pa.DataType) -> pa.Array:
        """The column. One that is the same all through is not made value by value."""
        if values.count(values[0]) == len(values):
            return pa.repeat(pa.scalar(values[0], kind), self._rows)
        runs = pa.array(values, kind)
        return runs if self._ends is None else pc.run_end_decode(pa.RunEndEncodedArray.from_arrays(self._ends, runs))


def _bytes(values: Sequence[int]) -> pa.Array:
    return pa.Array.from_buffers(pa.int8(), len(values), [None, pa.py_buffer(bytes(values))])


def _days(times: pa.Array) -> pa.Array:
    bounds = pc.min_max(times)
    first, last = (bounds[end].cast(pa.date32()) for end in ("min", "max"))
    return pa.repeat(first, len(times)) if first == last else times.cast(pa.date32())


def _weights(values: Sequence[float]) -> pa.Array:
    if values.count(ONE) == len(values):
        return pa.repeat(pa.scalar(ONE, pa.float64()), len(values))
    return pa.array(values, pa.float64())


def _lines(text: bytes) -> pa.Array:
    """A column of the lines of a text."""
    return pc.split_pattern(pa.array([text[:-1]], pa.binary()).cast(pa.string()), "\n").values


def _times(claimed: pa.Array, received_at: pa.Array, clock: Clock) -> tuple[pa.Array, pa.Array]:
    """As `correct`, for columns."""
    claimed = pc.min_element_wise(pc.max_element_wise(pc.coalesce(claimed, received_at), FIRST), LAST)
    ahead = pc.subtract(claimed, received_at)
    bounds = pc.min_max(ahead)
    least, most = -clock.past * 1_000_000, clock.future * 1_000_000
    if least <= bounds["min"].as_py() and bounds["max"].as_py() <= most:
        return claimed.cast(TIME), pa.nulls(len(claimed), TIME)
    credible = pc.and_(pc.greater_equal(ahead, least), pc.less_equal(ahead, most))
    return (
        pc.if_else(credible, claimed, received_at).cast(TIME),
        pc.if_else(credible, pa.scalar(None, pa.int64()), claimed).cast(TIME),
    )
