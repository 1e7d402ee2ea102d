"""Output `lake`: sealed segments to Parquet, each exactly once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from metlog.errors import ConfigError, MetlogError
from metlog.journal import failpoints
from metlog.journal.cursor import Position
from metlog.journal.folder import Folder
from metlog.journal.recovery import quarantine
from metlog.journal.segment import SegmentName, listing
from metlog.lake.leases import make_lease
from metlog.listener.outputs import BaseOutput
from metlog.listener.outputs.context import Context

if TYPE_CHECKING:
    from metlog.lake.claims import Claim
    from metlog.lake.writer import LakeWriter

__all__ = ["LakeOutput"]

_ANYWHERE = 1 << 62  # beyond every offset


class LakeOutput(BaseOutput):
    """Writes `events/date=YYYY-MM-DD/` in the data folder. The size and age of its files are the journal's
    `segment_bytes` and `segment_age`: a segment becomes one file a day that its events fall on.

    uri
        Shared storage to write to in place of the data folder: `s3://BUCKET/PATH`, `gs://…`, `az://…`, `hdfs://HOST:PORT/PATH`, or
        `file:///PATH`; `metlog listen --data URI` gives the same.
    compression_level
        Of zstd, 1 to 19.
    """

    reads_journal = True

    def __init__(self, *, uri: str = "", compression_level: int = 3) -> None:
        if not 1 <= compression_level <= 19:
            raise ConfigError(f"lake.compression_level = {compression_level}: wants 1 to 19")
        self._level = compression_level
        self._uri = uri
        self._claim: Claim | None = None
        if uri:
            # The check alone: the listener, which only checks options, loads no Arrow.
            from metlog.lake.storage import check_uri, is_remote, local_path

            if is_remote(uri):
                check_uri(uri)
            else:
                local_path(uri)

    def describe(self) -> str:
        return f"{self._uri.partition('?')[0].rstrip('/')}/events/" if self._uri else "events/"

    def run(self, context: Context) -> None:
        """Until the listener ends: the oldest sealed segment that is not committed, then the next."""
        cursor = context.cursor(lake=True)
        cursor.route = context.route
        context.keep(cursor)  # at once: a query must know what is not in Parquet yet
        writer = self._writer(context)
        done = 0
        while True:
            end = context.end
            sealed, _ = listing(context.journal)
            for segment in sealed:
                context.pause(0)  # with a long backlog it waits nowhere else
                if cursor.at.number <= segment.number < end.number:
                    done += self._write(context, segment, writer)
                    cursor.at = Position(segment.number + 1)
                    failpoints.point("lake.cursor")
                    context.keep(cursor)
                    repeated = writer.chains.repeated
                    context.report(
                        at=cursor.at, events=done, repeated=repeated, error="", moved=time.time(), by_segment=True
                    )
            if end.number > cursor.at.number:  # numbers that hold nothing
                cursor.at = Position(end.number)
                context.keep(cursor)
            context.report(at=cursor.at, events=done, error="", by_segment=True)
            if context.draining and context.end == end:
                return
            context.wait(Position(end.number, _ANYWHERE))  # until a segment is sealed

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
        from metlog.lake.storage import FolderStorage, is_remote, local_path, open_storage
        from metlog.lake.writer import LakeWriter

        attach(context.data, self._uri)  # queries over the data folder find the events there
        root = context.data
        if is_remote(self._uri):
            storage = open_storage(self._uri)
        else:
            root = Folder.root(local_path(self._uri), create=True) if self._uri else context.data
            storage = FolderStorage(root)
        if self._uri:  # others may write there too
            self._claim = Claim(storage, context.journal)
        if is_remote(self._uri):
            return LakeWriter(storage, self._level)
        events = root.sub("events", create=True)
        make_lease(events)
        return LakeWriter(storage, self._level, events)

    def _write(self, context: Context, segment: SegmentName, writer: LakeWriter) -> int:
        from metlog.lake.writer import read_segment

        for delay in context.backoff():
            bad: list[tuple[bytes, str, str]] = []
            try:
                if self._claim is not None:
                    self._claim.check()
                read = read_segment(context.journal, segment, context.route, bad=bad)
                writer.write(segment, read)
                if bad:
                    context.dead.add(bad, durable=True)
            except (OSError, MetlogError) as error:
                context.report(
                    error=f"cannot write to {writer.describe()}: {getattr(error, 'strerror', None) or error}"
                )
                context.pause(delay)
                continue
            if read.scan.damaged:
                quarantine(context.journal, segment, read.scan.data, read.scan.damaged)
            return int(read.rows.num_rows)
        raise AssertionError("backoff has no end")
