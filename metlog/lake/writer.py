"""A sealed segment to Parquet files: the same segment gives the same files under the same names, however often it is written."""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metlog.journal import failpoints
from metlog.journal.folder import Folder, write_all
from metlog.journal.routing import Route
from metlog.journal.segment import Clock, Record, Scan, SegmentName, scan
from metlog.lake.schema import SCHEMA, tables

__all__ = ["PARQUET", "file_name", "release_memory", "segment_of", "write_segment"]

PARQUET: Final = ".parquet"

_GROUP: Final = 32 << 20
"""Bytes of events in memory from which on a row group is written."""

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
    codec: str = "zstd",
    bad: list[tuple[bytes, str, str]] | None = None,
    check: Callable[[], None] = lambda: None,
    choose: Callable[[Clock, Iterable[Record]], Iterable[Record]] = lambda _, records: records,
) -> tuple[int, Scan]:
    """Writes a sealed segment's events into `events/date=…/`, durable when it returns; returns their number, and what was
    damaged in the segment. `codec`: zstd (with `level`), snappy, gzip or none. `bad` as for `metlog.lake.schema.tables`. `check` is
    called every some thousand events, and may raise. `choose` may leave records out.

    Of the events some `_GROUP` bytes are in memory at once.
    """
    clock, records = scan(journal, segment)
    count = 0
    days = _Days(events, file_name(segment), codec, level)
    try:
        for part in tables(choose(clock, records), clock, route, bad=bad):
            check()
            count += part.num_rows
            days.add(part)
        days.finish()
    finally:
        days.abandon()
    return count, records


def release_memory() -> None:
    """Returns what is free to the operating system: a burst of events must not be held until the process ends."""
    gc.collect()
    pa.default_memory_pool().release_unused()


class _Days:
    """The files of a segment, one a day, that grow a row group at a time under temporary names."""

    def __init__(self, events: Folder, name: str, codec: str, level: int) -> None:
        self._events = events
        self._name = name
        self._codec, self._level = codec, level
        self._waiting: dict[date, list[pa.Table]] = {}
        self._size: dict[date, int] = {}
        self._open: dict[date, _File] = {}

    def add(self, part: pa.Table) -> None:
        days: list[date] = pc.unique(part["date"]).to_pylist()
        for day in days:
            rows = part if len(days) == 1 else part.filter(pc.equal(part["date"], pa.scalar(day)))
            self._waiting.setdefault(day, []).append(rows.drop_columns(["date"]))
            self._size[day] = self._size.get(day, 0) + rows.nbytes
        while sum(self._size.values()) >= _GROUP:
            self._write(max(self._size, key=lambda day: self._size[day]))

    def finish(self) -> None:
        """Puts every file in its place, in the order of the days."""
        for day in sorted({*self._waiting, *self._open}):
            if day in self._waiting:
                self._write(day)
            self._open.pop(day).finish()

    def abandon(self) -> None:
        """Removes what was not finished."""
        for file in self._open.values():
            file.abandon()
        self._open = {}

    def _write(self, day: date) -> None:
        rows = pa.concat_tables(self._waiting.pop(day)).cast(SCHEMA)
        del self._size[day]
        if day not in self._open:
            folder = self._events.sub(f"date={day.isoformat()}", create=True)
            self._open[day] = _File(folder, self._name, self._codec, self._level)
        self._open[day].write(rows)


class _Sink(io.RawIOBase):
    """Takes what the Parquet writer writes, until it is handed on."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def writable(self) -> bool:
        return True

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class _File:
    """A Parquet file under a temporary name, until it is finished."""

    def __init__(self, folder: Folder, name: str, codec: str, level: int) -> None:
        self._folder = folder
        self._name = name
        self._temporary = f".{name}.tmp"
        self._sink = _Sink()
        self._descriptor = folder.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._writer = pq.ParquetWriter(
            self._sink, SCHEMA, compression=codec, compression_level=level if codec == "zstd" else None,
            use_dictionary=_DICTIONARY,
        )  # fmt: skip

    def write(self, rows: pa.Table) -> None:
        """Adds a row group."""
        self._writer.write_table(rows)
        self._flush()

    def finish(self) -> None:
        """Makes it durable, under its name."""
        try:
            self._writer.close()
            self._flush()
            failpoints.point("lake.fsync")
            os.fsync(self._descriptor)
        except BaseException:
            self.abandon()
            raise
        os.close(self._descriptor)
        self._descriptor = -1
        failpoints.point("lake.rename")
        self._folder.rename(self._temporary, self._name)
        failpoints.point("lake.sync")
        self._folder.sync()
        self._folder.close()

    def abandon(self) -> None:
        """Removes it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._folder.unlink(self._temporary, missing_ok=True)
        self._folder.close()

    def _flush(self) -> None:
        failpoints.point("lake.write")
        write_all(self._descriptor, self._sink.take())
