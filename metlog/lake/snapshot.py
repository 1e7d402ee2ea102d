"""What the lake holds at one moment: the committed Parquet files, and the events that are in the journal only.

Read-only and without a lock on the listener. Why each event is found exactly once:

- A segment's Parquet files stand under their names before the lake's cursor passes the segment, and the
  segment is unlinked after that. So of a segment that is still there and not passed, only the journal counts, and its
  files are ignored; of any other segment only the files count.
- The segments are listed first, then the cursor is read, then those that count are opened, then the files are listed. A segment that
  was unlinked before it could be opened has been committed meanwhile: the snapshot begins again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from metlog.journal.cursor import Cursor
from metlog.journal.folder import Folder
from metlog.journal.routing import Route
from metlog.journal.segment import ACTIVE, SEALED, SegmentName, listing
from metlog.lake.backlog import Backlog, day_of
from metlog.lake.replacing import load, readable
from metlog.lake.uncommitted import Part, Uncommitted
from metlog.lake.writer import PARQUET, segment_of

__all__ = ["Memory", "Snapshot", "snapshot"]

_ATTEMPTS: Final = 100
_NEWEST: Final = 2
"""Sealed segments of which no files are made: an output that is at work has so many in hand."""
_TURN: Final = 0.1
"""Seconds between two looks at whether who waits for another snapshot still wants its own."""


class Snapshot(NamedTuple):
    """Each event of the data folder is in one of `files`, in one of `backlog_files`, or in `uncommitted`, never in two of them."""

    files: list[tuple[date, Path]]
    """Committed Parquet files with their day, by day and name; columns as `metlog.lake.schema.SCHEMA`."""
    backlog_files: list[tuple[date, Path]]
    """The same, of segments for which the reader made files of its own."""
    uncommitted: pa.Table
    """Events that are in no file yet; columns as `metlog.lake.schema.UNCOMMITTED_SCHEMA` (with `date`)."""


class Memory:
    """What snapshots of one data folder leave to each other. `most`: bytes of events that are kept in memory; `folder`: where
    files are made of what the lake is behind by. Safe to use from several threads, one at a time."""

    def __init__(self, most: int, folder: Path | None) -> None:
        self.lock = threading.Lock()
        self.uncommitted = Uncommitted(most)
        self.backlog = Backlog(folder) if folder is not None else None


def snapshot(
    data: Path,
    *,
    since_date: date | None = None,
    until_date: date | None = None,
    memory: Memory | None = None,
    check: Callable[[int], None] = lambda _: None,
) -> Snapshot:
    """The events of a data folder whose `date` lies between the two days, both included; only these folders are looked at.
    `memory`: of earlier snapshots of the same folder. `check` is called now and then, with the number of segments that are still
    to be written, and may raise; the next snapshot goes on from there.

    Raises FileNotFoundError when there is no such data folder.
    """
    memory = memory or Memory(0, None)
    while not memory.lock.acquire(timeout=_TURN):
        check(0)
    try:
        with Folder.root(data) as root:
            for _ in range(_ATTEMPTS):
                try:
                    return _attempt(root, since_date, until_date, memory, check)
                except _Vanished:
                    continue
    finally:
        memory.lock.release()
    raise TimeoutError(f"{data}: segments went faster than they could be read, {_ATTEMPTS} times")


class _Vanished(Exception):
    """A segment was committed and unlinked while it was about to be read."""


def _attempt(
    root: Folder, since: date | None, until: date | None, memory: Memory, check: Callable[[int], None]
) -> Snapshot:
    pending: set[SegmentName] = set()
    parts: list[Part] = []
    written: dict[tuple[SegmentName, Route], list[tuple[date, Path]]] = {}
    for journal in _journals(root):
        with journal:
            sealed, active = listing(journal)
            cursor = _lake_cursor(journal)
            sealed = [segment for segment in sealed if segment.number >= cursor.at.number]
            active = [segment for segment in active if segment.number >= cursor.at.number]
            pending.update(sealed, active)
            old = sealed[:-_NEWEST] if memory.backlog is not None else []
            written |= _write(memory.backlog, journal, old, cursor.route, check)
            for segments, suffix in ((sealed[len(old) :], SEALED), (active, ACTIVE)):
                parts += [_open(memory.uncommitted, journal, segment, suffix, cursor.route) for segment in segments]
    if memory.backlog is not None:
        memory.backlog.keep(written)
    files = sorted(_files(root, pending, since, until))
    backlog_files = sorted(file for found in written.values() for file in found if _within(file[0], since, until))
    return Snapshot(files, backlog_files, _between(memory.uncommitted.table(parts), since, until))


def _write(
    backlog: Backlog | None, journal: Folder, old: Sequence[SegmentName], route: Route, check: Callable[[int], None]
) -> dict[tuple[SegmentName, Route], list[tuple[date, Path]]]:
    written: dict[tuple[SegmentName, Route], list[tuple[date, Path]]] = {}
    if backlog is not None:
        for index, segment in enumerate(old):
            try:
                written[segment, route] = backlog.files(journal, segment, route, partial(check, len(old) - index))
            except FileNotFoundError:
                raise _Vanished from None
    return written


def _journals(root: Folder) -> Iterator[Folder]:
    try:
        journals = root.sub("journal")
    except FileNotFoundError:
        return
    with journals:
        for name in journals.names():
            try:
                folder = journals.sub(name)
            except OSError:  # a link or a file that is no journal
                continue
            yield folder


def _lake_cursor(journal: Folder) -> Cursor:
    try:
        with journal.sub("cursors") as folder:
            for cursor in Cursor.load_all(folder):
                if cursor.lake:
                    return cursor
    except FileNotFoundError:
        pass
    return Cursor("")  # nothing is committed yet


def _open(uncommitted: Uncommitted, journal: Folder, segment: SegmentName, suffix: str, route: Route) -> Part:
    try:
        return uncommitted.open(journal, segment, suffix, route)
    except FileNotFoundError:
        raise _Vanished from None  # or sealed since it was listed: look again


def _files(
    root: Folder, pending: set[SegmentName], since: date | None, until: date | None
) -> Iterator[tuple[date, Path]]:
    try:
        events = root.sub("events")
    except FileNotFoundError:
        return
    with events:
        for name in events.names():
            day = day_of(name)
            if day is None or not _within(day, since, until):
                continue
            try:
                folder = events.sub(name)
            except OSError:  # a planted link, or a folder that has just been expired
                continue
            with folder:
                names = [entry.name for entry in folder.regular(PARQUET)]
                for file in readable(names, load(folder)):  # the listing first, then what is being replaced
                    if segment_of(file) not in pending:
                        yield day, folder.path / file


def _within(day: date, since: date | None, until: date | None) -> bool:
    return (since is None or day >= since) and (until is None or day <= until)


def _between(table: pa.Table, since: date | None, until: date | None) -> pa.Table:
    if not table.num_rows or (since is None and until is None):
        return table
    first, last = pc.min_max(table["date"]).as_py().values()
    if since is not None and first < since:
        table = table.filter(pc.greater_equal(table["date"], pa.scalar(since)))
    if until is not None and last > until:
        table = table.filter(pc.less_equal(table["date"], pa.scalar(until)))
    return table
