"""Output `lake`: sealed segments to Parquet, each exactly once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Literal

from metlog.errors import ConfigError, MetlogError
from metlog.journal import failpoints
from metlog.journal.cursor import Position, retire_lakes
from metlog.journal.folder import Folder
from metlog.journal.recovery import quarantine
from metlog.journal.segment import SEALED, Clock, Record, SegmentName, listing
from metlog.lake.leases import SegmentLease, make_lease
from metlog.lake.promotion.names import check_names
from metlog.listener.outputs import BaseOutput
from metlog.listener.outputs._succession import begin_behind, holds_the_same
from metlog.listener.outputs.context import Context
from metlog.plugins.absent import UNUSED_BY_ARROW

if TYPE_CHECKING:
    from metlog.engines.metastore import DayRegistration
    from metlog.lake.claims import Claim
    from metlog.lake.writer import LakeWriter

__all__ = ["LakeOutput"]

_DEATHS = 2
"""How often the process must have ended at a segment before its events are tried one by one."""
_BESIDE = 96 << 20
"""Bytes that the process holds beside a segment and an event."""
_LARGE = 4 << 20
"""Bytes of a segment from which on memory is given back after it: after a smaller one that costs more than it brings."""
_ANYWHERE = 1 << 62  # beyond every offset


class LakeOutput(BaseOutput):
    """Writes `events/date=YYYY-MM-DD/` in the data folder. The size and age of its files are the
    journal's `segment_bytes` and `segment_age`: a segment becomes one file a day that its events fall on.

    Options: `compression`, `zstd` (with its `compression_level`, 1 to 19), or `snappy`, `gzip`, `none` for readers that have no
    zstd (a Hive before 4). `metastore`, `thrift://HOST:PORT`: each new day is added there to the table `metastore_table`; while the
    metastore does not answer, the status says so, and files are written all the same. `uri`: shared storage to write to in place of the
    data folder (`s3://BUCKET/PATH`, `gs://…`, `az://…`, `hdfs://HOST:PORT/PATH`) or another folder (`file:///PATH`);
    `metlog listen --data URI` gives the same. `promote`: names in `fields` that get a column of their own beside it, which answers
    queries over them many times faster; `true`, up to 8 that are chosen by what is seen; `false`, none.
    """

    reads_journal = True
    unused_modules = UNUSED_BY_ARROW
    """Arrow imports them where they are installed, for 50 MB of memory, to see that a list is no array and no series of theirs."""

    def __init__(
        self,
        *,
        uri: str = "",
        compression: Literal["zstd", "snappy", "gzip", "none"] = "zstd",
        compression_level: int = 1,
        metastore: str | None = None,
        metastore_table: str = "metlog.events_raw",
        promote: bool | list[str] = True,
    ) -> None:
        if not 1 <= compression_level <= 19:
            raise ConfigError(f"lake.compression_level = {compression_level}: wants 1 to 19")
        self._codec = compression
        self._level = compression_level
        self._uri = uri
        self._promote = promote
        if not isinstance(promote, bool):
            check_names(promote)
        self._claim: Claim | None = None
        self._lease = SegmentLease()
        self._days: DayRegistration | None = None
        if metastore is not None:
            from metlog.engines.metastore import DayRegistration

            self._days = DayRegistration(metastore, metastore_table)

        if uri:
            # The check alone: the listener, which only checks options, loads no Arrow.
            from metlog.lake.storage import check_uri
            from metlog.lake.uris import is_remote, local_path

            if is_remote(uri):
                check_uri(uri)
                if metastore is not None:
                    raise ConfigError(
                        "lake.metastore: days are looked for in a data folder, and not on shared storage (uri)"
                    )
            else:
                local_path(uri)

    def describe(self) -> str:
        return f"{self._uri.partition('?')[0].rstrip('/')}/events/" if self._uri else "events/"

    def run(self, context: Context) -> None:
        """Until the listener ends: the oldest sealed segment that is not committed, then the next."""
        wrong = ""
        if context.answers and self._uri:
            wrong = holds_the_same(context)
            if wrong:
                context.answers = False
            else:
                begin_behind(context)
        cursor = context.cursor(lake=context.answers)
        cursor.route = context.route
        context.keep(cursor)  # at once: a query must know what is not in Parquet yet
        self._retire(context)
        if not context.answers:
            context.report(describe=f"{self.describe()} (no query over the data folder reads them)", error=wrong)
        writer = self._writer(context)
        context.report(at=cursor.at, by_segment=True)
        done = 0
        while True:
            end = context.end
            sealed, _ = listing(context.journal)
            for segment in sealed:
                context.pause(0)  # raises Stopped, which nothing else here does while there is a backlog
                if cursor.at.number <= segment.number < end.number:
                    done += self._write(context, segment, writer)
                    cursor.at = Position(segment.number + 1)
                    failpoints.point("lake.cursor")
                    context.keep(cursor)
                    self._lease.release()
                    repeated = writer.chains.repeated
                    context.report(
                        at=cursor.at, events=done, repeated=repeated, error=wrong, moved=time.time(), by_segment=True
                    )
            if end.number > cursor.at.number:  # numbers without a segment
                cursor.at = Position(end.number)
                context.keep(cursor)
            problem = (self._days.look(context.data.path) if self._days is not None else "") or wrong
            context.report(at=cursor.at, events=done, error=problem, by_segment=True)
            if context.draining and context.end == end:
                return
            context.wait(Position(end.number, _ANYWHERE))  # until a segment is sealed
            self._retire(context)  # one that was taken out by a reload has written its last meanwhile

    @staticmethod
    def _retire(context: Context) -> None:
        """Takes the marks of lakes that are configured no more. A disk that fails leaves them until the next segment."""
        if context.answers:
            with suppress(OSError):
                retire_lakes(context.cursors, {context.output, *context.lakes})

    def _writer(self, context: Context) -> LakeWriter:
        for delay in context.backoff():
            try:
                return self._open(context)
            except (OSError, MetlogError) as error:
                where = self._uri.partition("?")[0] or str(context.data.path / "events")
                context.report(error=f"cannot write to {where}: {getattr(error, 'strerror', None) or error}")
                context.pause(delay)
        raise AssertionError("backoff has no end")

    def _open(self, context: Context) -> LakeWriter:
        # Here, so that the listener, which only checks options, loads no Arrow.
        from metlog.lake.attached import attach
        from metlog.lake.claims import Claim
        from metlog.lake.storage import FolderStorage, Storage, open_storage
        from metlog.lake.uris import is_remote, local_path
        from metlog.lake.writer import LakeWriter

        with ExitStack() as opened:  # closed when not all of it is to be had: it is tried again
            storage: Storage
            events = None
            if is_remote(self._uri):
                storage = open_storage(self._uri)
            else:
                root = context.data
                if self._uri:
                    root = opened.enter_context(Folder.root(local_path(self._uri), create=True))
                storage = FolderStorage(root)
                events = opened.enter_context(root.sub("events", create=True))
                make_lease(events)
            if context.answers and context.answers_at in {"", self._uri}:  # else the other lake notes its own place
                attach(context.data, self._uri)  # once it is there: queries over the data folder look for events in it
            if self._uri:  # others may write there too
                self._claim = Claim(storage, context.journal)
            opened.pop_all()
        return LakeWriter(storage, self._codec, self._level, events, promote=self._promote)

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

    def _write(self, context: Context, segment: SegmentName, writer: LakeWriter) -> int:
        """Writes a segment, for as many tries as it takes; its lease is held when it returns."""
        from metlog.lake.writer import release_memory

        for delay in context.backoff():
            bad: list[tuple[bytes, str, str]] = []
            try:
                if self._claim is not None:
                    self._claim.check()
                self._lease.take(context.journal, f"{segment}{SEALED}")
                choose = self._survivors(context, segment, bad)
                written = writer.write(context.journal, segment, context.route, bad=bad, choose=choose)
                if bad:
                    context.dead.add(bad, durable=True)
                for start, end in written.segment.damaged:
                    quarantine(context.journal, segment, written.segment.read(start, end), [(start, end)], start)
            except (OSError, MetlogError) as error:
                text = getattr(error, "strerror", None) or error
                self._lease.release()
                context.report(error=f"cannot write to {writer.describe()}: {text}")
                context.pause(delay)
                continue
            context.deaths = 0
            if written.segment.size >= _LARGE:
                release_memory()
            return written.events
        raise AssertionError("backoff has no end")
