"""A sealed segment to Parquet files: the same segment gives the same files under the same names, however often it is written."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from datetime import date
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metlog.journal import failpoints
from metlog.journal.folder import Folder, write_all
from metlog.journal.offsets import Partition, Spans, first_only
from metlog.journal.routing import Route
from metlog.journal.segment import Scan, SegmentName, scan
from metlog.lake.chains import Chains
from metlog.lake.schema import SCHEMA, UNCOMMITTED_SCHEMA, chain_of, tables
from metlog.lake.storage import Storage

__all__ = [
    "PARQUET",
    "LakeWriter",
    "SegmentRows",
    "file_name",
    "read_segment",
    "segment_of",
    "write_rows",
    "write_segment",
]

PARQUET: Final = ".parquet"

_DICTIONARY: Final = [
    "tokens.list.element" if name == "tokens" else name
    for name in SCHEMA.names
    if name not in {"timestamp", "fields", "seq"}
]
"""Columns whose values come again; for the others, making a dictionary is work for nothing, and a larger file."""


def file_name(segment: SegmentName) -> str:
    """Name of a segment's file in the folder of a day."""
    return f"{segment}{PARQUET}"


def segment_of(name: str) -> SegmentName | None:
    """The segment that a Parquet file was written from; None for a file of another origin (a compaction, an import)."""
    return SegmentName.parse(name.removesuffix(PARQUET))


def write_segment(
    journal: Folder,
    segment: SegmentName,
    events: Folder,
    route: Route,
    *,
    level: int = 3,
    check: Callable[[], None] = lambda: None,
) -> tuple[int, Scan]:
    """Writes a sealed segment's events into `events/date=…/`, durable when it returns, all of them under the segment's name. Returns
    their number, and what was damaged in the segment."""
    read = read_segment(journal, segment, route, check=check)
    write_rows(segment, events, read.rows, level)
    return read.rows.num_rows, read.scan


def write_rows(segment: SegmentName, events: Folder, rows: pa.Table, level: int = 3) -> None:
    """Writes a segment's events into `events/date=…/`, durable when it returns."""
    for day, part in by_day(rows):
        with events.sub(f"date={day.isoformat()}", create=True) as folder:
            _write(folder, file_name(segment), encode(part, level))


class SegmentRows(NamedTuple):
    """The events of a segment as a table with UNCOMMITTED_SCHEMA, and what else was found in it."""

    rows: pa.Table
    scan: Scan
    seen: dict[Partition, Spans]
    """Of events that were read from a partitioned log: their offsets."""


def read_segment(
    journal: Folder,
    segment: SegmentName,
    route: Route,
    *,
    bad: list[tuple[bytes, str, str]] | None = None,
    check: Callable[[], None] = lambda: None,
) -> SegmentRows:
    """Reads a sealed segment's events that a route takes. `bad` as for `metlog.lake.schema.tables`. `check` is called every some
    thousand events, and may raise."""
    clock, records = scan(journal, segment)
    seen: dict[Partition, Spans] = {}
    parts = []
    for part in tables(first_only(records, seen), clock, route, bad=bad):
        check()
        parts.append(part)
    return SegmentRows(pa.concat_tables(parts) if parts else UNCOMMITTED_SCHEMA.empty_table(), records, seen)


def by_day(rows: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    """The rows of each day, without what only fresh events have."""
    days: list[date] = sorted(pc.unique(rows["date"]).to_pylist())
    for day in days:
        yield day, rows if len(days) == 1 else rows.filter(pc.equal(rows["date"], pa.scalar(day)))


def encode(rows: pa.Table, level: int) -> memoryview:
    """The Parquet file of some rows with UNCOMMITTED_SCHEMA."""
    buffer = io.BytesIO()
    table = rows.select(SCHEMA.names).cast(SCHEMA.with_metadata(rows.schema.metadata))
    pq.write_table(table, buffer, compression="zstd", compression_level=level, use_dictionary=_DICTIONARY)
    return buffer.getbuffer()


def _write(folder: Folder, name: str, content: memoryview) -> None:
    temporary = f".{name}.tmp"
    descriptor = folder.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        failpoints.point("lake.write")
        write_all(descriptor, content)
        failpoints.point("lake.fsync")
        os.fsync(descriptor)
    except BaseException:
        folder.unlink(temporary, missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    failpoints.point("lake.rename")
    folder.rename(temporary, name)
    failpoints.point("lake.sync")
    folder.sync()


class LakeWriter:
    """Writes segments into a data set: its own events under the segment's name, those of a partitioned log into their chains."""

    def __init__(self, storage: Storage, level: int, events: Folder | None = None) -> None:
        """`events`: the folder `events` of a data set that is a local folder."""
        self._storage = storage
        self._level = level
        self._events = events
        self.chains = Chains(storage, lambda rows: encode(rows, level))

    def describe(self) -> str:
        return f"{self._storage.describe()}/events"

    def write(self, segment: SegmentName, read: SegmentRows) -> None:
        """Writes a segment's events; durable when it returns. Raises OSError; may be called again."""
        own = read.rows.filter(pc.is_null(read.rows["log"])) if read.seen else read.rows
        if self._events is not None:
            write_rows(segment, self._events, own, self._level)
        else:
            for day, rows in by_day(own):
                # A name that is taken holds the same events: nobody else makes a segment of this name.
                path = f"events/date={day.isoformat()}/{file_name(segment)}"
                self._storage.create(path, encode(rows, self._level))
        for partition, spans in read.seen.items():
            chain = chain_of(partition)
            for day, rows in by_day(read.rows.filter(pc.equal(read.rows["log"], chain))):
                self.chains.write(chain, day, rows, rows["log_offset"], spans)
