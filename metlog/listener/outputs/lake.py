"""Output `lake`: sealed segments to Parquet, each exactly once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

from metlog.errors import ConfigError
from metlog.journal import failpoints
from metlog.journal.cursor import Position
from metlog.journal.folder import Folder
from metlog.journal.recovery import quarantine
from metlog.journal.segment import SEALED, Clock, Record, SegmentName, listing
from metlog.lake.leases import make_lease
from metlog.listener.outputs import BaseOutput
from metlog.listener.outputs.context import Context

if TYPE_CHECKING:
    from metlog.engines.metastore import DayRegistration

__all__ = ["LakeOutput"]

_DEATHS = 2
"""Ends of the process at a segment from which on its events are tried one by one."""
_BESIDE = 96 << 20
"""Bytes that the process holds beside a segment and an event."""
_LARGE = 4 << 20
"""Bytes of a segment after which memory is given back; after small ones there is little, and it would cost more than they do."""
_ANYWHERE = 1 << 62  # beyond every offset


class LakeOutput(BaseOutput):
    """Writes `events/date=YYYY-MM-DD/` in the data folder. The size and age of its files are the journal's
    `segment_bytes` and `segment_age`: a segment becomes one file a day that its events fall on.

    Options: `compression`, `zstd` (with its `compression_level`, 1 to 19), or `snappy`, `gzip`, `none` for readers that have no
    zstd (a Hive before 4). `metastore`, `thrift://HOST:PORT`: each new day is added there to the table `metastore_table`; while the
    metastore does not answer, the status says so, and files are written all the same.
    """

    reads_journal = True

    def __init__(
        self,
        *,
        compression: Literal["zstd", "snappy", "gzip", "none"] = "zstd",
        compression_level: int = 3,
        metastore: str | None = None,
        metastore_table: str = "metlog.events_raw",
    ) -> None:
        if not 1 <= compression_level <= 19:
            raise ConfigError(f"lake.compression_level = {compression_level}: wants 1 to 19")
        self._codec = compression
        self._level = compression_level
        self._days: DayRegistration | None = None
        if metastore is not None:
            from metlog.engines.metastore import DayRegistration

            self._days = DayRegistration(metastore, metastore_table)

    def describe(self) -> str:
        return "events/"

    def run(self, context: Context) -> None:
        """Until the listener ends: the oldest sealed segment that is not committed, then the next."""
        cursor = context.cursor(lake=True)
        cursor.route = context.route
        context.keep(cursor)  # at once: a query must know what is not in Parquet yet
        events = self._folder(context)
        done = 0
        while True:
            end = context.end
            sealed, _ = listing(context.journal)
            for segment in sealed:
                context.pause(0)  # with a long backlog it waits nowhere else
                if cursor.at.number <= segment.number < end.number:
                    done += self._write(context, segment, events)
                    cursor.at = Position(segment.number + 1)
                    failpoints.point("lake.cursor")
                    context.keep(cursor)
                    context.report(at=cursor.at, events=done, error="", moved=time.time(), by_segment=True)
            if end.number > cursor.at.number:  # numbers that hold nothing
                cursor.at = Position(end.number)
                context.keep(cursor)
            problem = self._days.look(context.data.path) if self._days is not None else ""
            context.report(at=cursor.at, events=done, error=problem, by_segment=True)
            if context.draining and context.end == end:
                return
            context.wait(Position(end.number, _ANYWHERE))  # until a segment is sealed

    def _folder(self, context: Context) -> Folder:
        for delay in context.backoff():
            try:
                events = context.data.sub("events", create=True)
                make_lease(events)
                return events
            except OSError as error:
                context.report(error=f"cannot make {context.data.path / 'events'}: {error.strerror or error}")
                context.pause(delay)
        raise AssertionError("backoff has no end")

    def _survivors(
        self, context: Context, segment: SegmentName, bad: list[tuple[bytes, str, str]]
    ) -> Callable[[Clock, Iterable[Record]], Iterable[Record]]:
        """What is taken of a segment: all of it, unless the process ended several times at it."""
        if context.deaths < _DEATHS:
            return lambda _, records: records
        from metlog.lake.careful import survivors

        ballast = (context.journal.size(f"{segment}{SEALED}") + _BESIDE) << (context.deaths - _DEATHS)
        context.report(
            error=f"its process ended {context.deaths} times at segment {segment}: looks for the event at fault"
        )
        return lambda _, records: survivors(records, bad, min(ballast, 1 << 32))

    def _write(self, context: Context, segment: SegmentName, events: Folder) -> int:
        from metlog.lake.writer import (
            release_memory,
            write_segment,
        )  # here, so that the listener, which only checks options, loads no Arrow

        for delay in context.backoff():
            bad: list[tuple[bytes, str, str]] = []
            try:
                rows, records = write_segment(
                    context.journal, segment, events, context.route, level=self._level, codec=self._codec, bad=bad,
                    choose=self._survivors(context, segment, bad),
                )  # fmt: skip
                if bad:
                    context.dead.add(bad, durable=True)
            except OSError as error:
                context.report(error=f"cannot write to {events.path}: {error.strerror or error}")
                context.pause(delay)
                continue
            if records.damaged:
                quarantine(context.journal, segment, records.data, records.damaged)
            context.deaths = 0
            if len(records.data) >= _LARGE:
                release_memory()
            return rows
        raise AssertionError("backoff has no end")
