"""A sealed segment to Parquet files: the same segment gives the same files under the same names, however often it is written."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Final, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from metlog.journal import failpoints
from metlog.journal.blocks import SegmentReader
from metlog.journal.folder import Folder, write_all
from metlog.journal.offsets import Partition, Spans, first_only
from metlog.journal.routing import AnyRoute
from metlog.journal.segment import Clock, Record, SegmentName
from metlog.lake.chains import Chains
from metlog.lake.parquet import NAME, Parquet, may_replace
from metlog.lake.pieces import uncollected
from metlog.lake.promotion.choice import Promotion
from metlog.lake.schema import chain_of, tables
from metlog.lake.storage import Storage

__all__ = [
    "PARQUET",
    "LakeWriter",
    "Written",
    "file_name",
    "has_log",
    "release_memory",
    "segment_of",
    "temporary_name",
    "write_segment",
]

log = logging.getLogger("metlog.listener")

PARQUET: Final = ".parquet"

_GROUP: Final = 16 << 20
"""Bytes of events in memory from which on a row group is written."""

Choose = Callable[[Clock, Iterable[Record]], Iterable[Record]]


def file_name(segment: SegmentName) -> str:
    """Name of a segment's file in the folder of a day."""
    return f"{segment}{PARQUET}"


def temporary_name(name: str) -> str:
    """Name of a segment's file until it is whole."""
    return f".{name}.tmp"


def segment_of(name: str) -> SegmentName | None:
    """The segment that a Parquet file was written from; None for a file of another origin (a compaction, an import)."""
    return SegmentName.parse(name.removesuffix(PARQUET))


def write_segment(
    journal: Folder,
    segment: SegmentName,
    events: Folder,
    route: AnyRoute,
    *,
    level: int = 3,
    codec: str = "zstd",
    promotion: Promotion | None = None,
    bad: list[tuple[bytes, str, str]] | None = None,
    check: Callable[[], None] = lambda: None,
    choose: Choose = lambda _, records: records,
) -> int:
    """Writes a sealed segment's events into `events/date=…/`, durable when it returns, all under the segment's name; gives their number.
    `codec`, `level`, `promotion`: as for `Parquet`. `bad` as for
    `metlog.lake.schema.tables`. `check` is called every some thousand events, and may raise. `choose` may leave records out.

    Of the events some `_GROUP` bytes are in memory at once.
    """
    records = SegmentReader(journal, segment)
    clock = records.clock
    how = Parquet(codec, level, promotion)
    groups = _Groups(lambda _, day: _File(events, day, file_name(segment), how), by_log=False)
    count = 0
    with uncollected():
        try:
            for part in tables(choose(clock, first_only(records, {})), clock, route, bad=bad):
                check()
                count += part.num_rows
                groups.add(part)
            groups.finish()
        finally:
            groups.abandon()
    return count


def has_log(journal: Folder, segment: SegmentName) -> bool:
    """Whether a segment holds events of a partitioned log."""
    return any(record.source.startswith("kafka://") for record in SegmentReader(journal, segment))


def release_memory() -> None:
    """Gives memory that is free back to the operating system: a burst of events must not be held until the process ends."""
    gc.collect()
    pa.default_memory_pool().release_unused()


class Written(NamedTuple):
    """What became of a segment."""

    events: int
    segment: SegmentReader


class LakeWriter:
    """Writes segments into a data set: its own events under the segment's name, those of a partitioned log into their chains."""

    def __init__(
        self,
        storage: Storage,
        codec: str,
        level: int,
        events: Folder | None = None,
        *,
        promote: bool | Sequence[str] = True,
    ) -> None:
        """`events`: the folder `events` of a data set that is a local folder; `promote`: as for `Promotion`."""
        self._storage = storage
        self._how = Parquet(codec, level, Promotion(storage, promote, encoded=True))
        self._events = events
        self.chains = Chains(storage, self._how)

    def describe(self) -> str:
        return f"{self._storage.describe()}/events"

    def write(
        self,
        journal: Folder,
        segment: SegmentName,
        route: AnyRoute,
        *,
        bad: list[tuple[bytes, str, str]] | None = None,
        choose: Choose = lambda _, records: records,
    ) -> Written:
        """Writes a segment's events; durable when it returns. The arguments are those of `write_segment`. Raises OSError; may be called
        again."""
        records = SegmentReader(journal, segment)
        clock = records.clock
        seen: dict[Partition, Spans] = {}

        def spans_of(chain: str) -> Callable[[], Spans]:
            return lambda: next(spans for partition, spans in seen.items() if chain_of(partition) == chain)

        def opened(chain: str, day: date) -> _Growing:
            if chain:
                return self.chains.file(chain, day, spans_of(chain))
            if self._events is not None:
                return _File(self._events, day, file_name(segment), self._how)
            return _Stored(self._storage, f"events/date={day.isoformat()}/{file_name(segment)}", self._how)

        groups = _Groups(opened)
        count = 0
        with uncollected():
            try:
                for part in tables(choose(clock, first_only(records, seen)), clock, route, bad=bad):
                    count += part.num_rows
                    groups.add(part)
                groups.finish()
            finally:
                groups.abandon()
        return Written(count, records)


class _Growing(Protocol):
    """A file that grows a row group at a time."""

    def write(self, rows: pa.Table) -> None: ...
    def finish(self) -> object: ...
    def abandon(self) -> None: ...


class _Groups:
    """The files of a segment, one a day, and one a day for each chain, that grow a row group at a time."""

    def __init__(self, opened: Callable[[str, date], _Growing], *, by_log: bool = True) -> None:
        self._opened = opened
        self._by_log = by_log
        self._waiting: dict[tuple[str, date], list[pa.Table]] = {}
        self._size: dict[tuple[str, date], int] = {}
        self._open: dict[tuple[str, date], _Growing] = {}

    def add(self, part: pa.Table) -> None:
        logs = part["log"]
        if not self._by_log or logs.null_count == part.num_rows:
            self._add("", part)
        else:
            if logs.null_count:
                self._add("", part.filter(pc.is_null(logs)))
            for chain in pc.unique(logs.drop_null()).to_pylist():
                self._add(chain, part.filter(pc.equal(logs, chain)))
        while sum(self._size.values()) >= _GROUP:
            self._write(max(self._size, key=lambda key: self._size[key]))

    def _add(self, chain: str, part: pa.Table) -> None:
        days: list[date] = pc.unique(part["date"]).to_pylist()
        for day in days:
            rows = part if len(days) == 1 else part.filter(pc.equal(part["date"], pa.scalar(day)))
            self._waiting.setdefault((chain, day), []).append(rows)
            self._size[chain, day] = self._size.get((chain, day), 0) + rows.nbytes

    def finish(self) -> None:
        """Puts every file in its place: the segment's own first, each in the order of the days."""
        for key in sorted({*self._waiting, *self._open}):
            if key in self._waiting:
                self._write(key)
            self._open.pop(key).finish()

    def abandon(self) -> None:
        """Removes what was not finished."""
        for file in self._open.values():
            file.abandon()
        self._open = {}

    def _write(self, key: tuple[str, date]) -> None:
        rows = pa.concat_tables(self._waiting.pop(key))
        del self._size[key]
        if key not in self._open:
            self._open[key] = self._opened(*key)
        self._open[key].write(rows)


class _Stored:
    """A file on shared storage, in memory, compressed, until it is finished."""

    def __init__(self, storage: Storage, path: str, how: Parquet) -> None:
        self._storage, self._path = storage, path
        self._file = how.grow()

    def write(self, rows: pa.Table) -> None:
        self._file.write(rows)

    def finish(self) -> None:
        # A name that is taken holds the same events: nobody else makes a segment of this name.
        self._storage.create(self._path, self._file.close())

    def abandon(self) -> None:
        """Nothing was published."""


class _File:
    """A Parquet file under a temporary name, until it is finished."""

    def __init__(self, events: Folder, day: date, name: str, how: Parquet) -> None:
        self._name = name
        self._temporary = temporary_name(name)
        self._file = how.grow()
        self._folder = events.sub(f"date={day.isoformat()}", create=True)
        try:
            self._descriptor = self._folder.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        except BaseException:
            self._folder.close()
            raise

    def write(self, rows: pa.Table) -> None:
        """Adds a row group."""
        self._file.write(rows)
        self._flush(self._file.take())

    def finish(self) -> None:
        """Makes it durable, under its name. A file there that was made of an earlier writing of this one stays: it has these events. Raises
        OSError."""
        try:
            self._flush(self._file.close({NAME: self._name.encode()}))
            failpoints.point("lake.fsync")
            os.fsync(self._descriptor)
            failpoints.point("lake.rename")
            if may_replace(self._folder, self._name):
                self._folder.rename(self._temporary, self._name)
            else:
                where = self._folder.path / self._name
                log.warning("%s has this segment's events, and not as they were written: left as it is", where)
            failpoints.point("lake.sync")
            self._folder.sync()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Lets go of it, and of what has not got its name."""
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        try:
            self._folder.unlink(self._temporary, missing_ok=True)
        finally:
            self._folder.close()

    def _flush(self, content: bytes) -> None:
        failpoints.point("lake.write")
        write_all(self._descriptor, content)
