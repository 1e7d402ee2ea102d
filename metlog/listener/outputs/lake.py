"""Output `lake`: sealed segments to Parquet, each exactly once."""

from __future__ import annotations

import time

from metlog.errors import ConfigError
from metlog.journal import failpoints
from metlog.journal.cursor import Position
from metlog.journal.folder import Folder
from metlog.journal.recovery import quarantine
from metlog.journal.segment import SegmentName, listing
from metlog.lake.leases import make_lease
from metlog.listener.outputs import BaseOutput
from metlog.listener.outputs.context import Context

__all__ = ["LakeOutput"]

_ANYWHERE = 1 << 62  # beyond every offset


class LakeOutput(BaseOutput):
    """Writes `events/date=YYYY-MM-DD/` in the data folder. The size and age of its files are the journal's
    `segment_bytes` and `segment_age`: a segment becomes one file a day that its events fall on.

    Option: `compression_level` of zstd, 1 to 19.
    """

    reads_journal = True

    def __init__(self, *, compression_level: int = 3) -> None:
        if not 1 <= compression_level <= 19:
            raise ConfigError(f"lake.compression_level = {compression_level}: wants 1 to 19")
        self._level = compression_level

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
            context.report(at=cursor.at, events=done, error="", by_segment=True)
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

    def _write(self, context: Context, segment: SegmentName, events: Folder) -> int:
        from metlog.lake.writer import (
            write_segment,
        )  # here, so that the listener, which only checks options, loads no Arrow

        for delay in context.backoff():
            bad: list[tuple[bytes, str, str]] = []
            try:
                rows, records = write_segment(
                    context.journal, segment, events, context.route, level=self._level, bad=bad
                )
                if bad:
                    context.dead.add(bad, durable=True)
            except OSError as error:
                context.report(error=f"cannot write to {events.path}: {error.strerror or error}")
                context.pause(delay)
                continue
            if records.damaged:
                quarantine(context.journal, segment, records.data, records.damaged)
            return rows
        raise AssertionError("backoff has no end")
