"""What the lake holds at one moment: the committed Parquet files, and the events that are in the journal only.

Read-only and without a lock on the listener. Why each event is found exactly once:

- A segment's Parquet files stand under their names before the lake's cursor passes the segment, and the
  segment is unlinked after that. So of a segment that is still there and not passed, only the journal counts, and its
  files are ignored; of any other segment only the files count. Of several lakes, no event goes to two (`metlog.listener.lakes`); the
  cursor of the one that is furthest behind counts, and of the journal the events that any of them takes.
- The segments are listed first, then the cursor is read, then those that count are opened, then the files are listed. A segment that
  was unlinked before it could be opened has been committed meanwhile: the snapshot begins again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from metlog.journal.cursor import Cursor
from metlog.journal.folder import Folder, journals
from metlog.journal.offsets import Spans
from metlog.journal.routing import AnyRoute, joined
from metlog.journal.segment import ACTIVE, SEALED, SegmentName, listing
from metlog.lake.attached import attached
from metlog.lake.backlog import Backlog
from metlog.lake.chains import held_of, last_files
from metlog.lake.days import day_of
from metlog.lake.replacing import load, readable
from metlog.lake.uncommitted import Part, Uncommitted, without
from metlog.lake.uris import local_path
from metlog.lake.writer import PARQUET, segment_of

if TYPE_CHECKING:
    from metlog.lake.remote import Remote

__all__ = ["Memory", "Snapshot", "snapshot"]

_ATTEMPTS: Final = 100
_NEWEST: Final = 2
_IN_MEMORY: Final = 64 << 20
"""Sealed segments of which no files are made, for an output that is at work has so many in hand; and their bytes, those of active ones
included."""
_FOOTERS: Final = 10_000
"""Footers that are remembered."""
_TURN: Final = 0.1
"""Seconds between two looks at whether who waits for another snapshot still wants its own."""


class Snapshot(NamedTuple):
    """Each event of the data folder is in one of `files`, in one of `backlog_files`, or in `uncommitted`, never in two of them."""

    files: list[tuple[date, Path]]
    """Committed Parquet files with their day, by day and name; columns as `metlog.lake.schema.SCHEMA`."""
    backlog_files: list[tuple[date, Path]]
    """The same, of segments for which the reader made files of its own."""
    remote_files: list[tuple[date, str]]
    """Committed Parquet files on shared storage, with their day and name; `Memory.remote` reads them."""
    uncommitted: pa.Table
    """Events that are in no file yet; columns as `metlog.lake.schema.UNCOMMITTED_SCHEMA` (with `date`)."""


class Memory:
    """What snapshots of one data folder leave to each other. `most`: bytes of events that are kept in memory; `folder`: where
    files are made of what the lake is behind by; `remote`: the data set, when it lies on shared storage. Safe to use from several
    threads, one at a time."""

    def __init__(self, most: int, folder: Path | None, remote: Remote | None = None) -> None:
        self.remote = remote
        self.held: dict[Path, Spans] = {}
        """What the footers of chains said that were read."""
        self.lock = threading.Lock()
        self.uncommitted = Uncommitted(most)
        self.backlog = Backlog(folder) if folder is not None else None

    def held_by(self, path: Path) -> Spans:
        """The offsets that a chain holds up to a local file of it."""
        if path not in self.held:
            if len(self.held) > _FOOTERS:
                self.held.clear()
            self.held[path] = held_of(path, str(path))
        return self.held[path]

    def far_held(self, day: date, name: str) -> Spans:
        """The same of a file on shared storage."""
        assert self.remote is not None
        return self.remote.held(day, name)


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
    written: dict[tuple[SegmentName, AnyRoute], list[tuple[date, Path]]] = {}
    for _, journal in journals(root):
        sealed, active = listing(journal)
        cursors = Cursor.of_lakes(journal)
        behind, route = cursors[0].at.number, joined(cursor.route for cursor in cursors)
        sealed = [segment for segment in sealed if segment.number >= behind]
        active = [segment for segment in active if segment.number >= behind]
        pending.update(sealed, active)
        old = sealed[: len(sealed) - _newest(journal, sealed, active)] if memory.backlog is not None else []
        made, logged = _write(memory.backlog, journal, old, route, check)
        written |= made
        for segments, suffix in (([*logged, *sealed[len(old) :]], SEALED), (active, ACTIVE)):
            parts += [_open(memory.uncommitted, journal, segment, suffix, route) for segment in segments]
    if memory.backlog is not None:
        memory.backlog.keep(written)
    files = sorted(_files(root, pending, since, until))
    remote_files: list[tuple[date, str]] = []
    if memory.remote is not None:
        listed = memory.remote.files(since, until)
        remote_files = [file for file in listed if segment_of(file[1]) not in pending]
    elif where := attached(root):
        with Folder.root(local_path(where)) as elsewhere:
            files = sorted([*files, *_files(elsewhere, pending, since, until)])
    backlog_files = sorted(file for found in written.values() for file in found if _within(file[0], since, until))
    table = _between(memory.uncommitted.table(parts), since, until)
    return Snapshot(files, backlog_files, remote_files, _not_held(table, files, remote_files, memory))


def _not_held(
    table: pa.Table, files: Sequence[tuple[date, Path]], remote_files: Sequence[tuple[date, str]], memory: Memory
) -> pa.Table:
    """The events without those of a partitioned log that one of the files holds, of any writer."""
    if table["log"].null_count == table.num_rows:
        return table
    pairs = table.select(["log", "date"]).group_by(["log", "date"]).aggregate([]).to_pylist()
    for day in sorted({pair["date"] for pair in pairs if pair["log"] is not None}):
        local = {path.name: path for at, path in files if at == day}
        last = last_files([*local, *(name for at, name in remote_files if at == day)])
        today = pc.equal(table["date"], pa.scalar(day))
        rows = table.filter(today)
        for chain in sorted({pair["log"] for pair in pairs if pair["date"] == day and pair["log"] in last}):
            name = last[chain]
            rows = without(rows, chain, memory.held_by(local[name]) if name in local else memory.far_held(day, name))
        table = pa.concat_tables([table.filter(pc.invert(today)), rows])
    return table


def _newest(journal: Folder, sealed: Sequence[SegmentName], active: Sequence[SegmentName]) -> int:
    """How many of the sealed segments, from the newest on, are decoded into memory."""
    try:
        size = sum(journal.size(f"{name}{ACTIVE}") for name in active)
        for count in range(min(_NEWEST, len(sealed))):
            size += journal.size(f"{sealed[-1 - count]}{SEALED}")
            if size > _IN_MEMORY:
                return count
    except FileNotFoundError:
        raise _Vanished from None  # or sealed since it was listed: look again
    return min(_NEWEST, len(sealed))


def _write(
    backlog: Backlog | None, journal: Folder, old: Sequence[SegmentName], route: AnyRoute, check: Callable[[int], None]
) -> tuple[dict[tuple[SegmentName, AnyRoute], list[tuple[date, Path]]], list[SegmentName]]:
    """The files of old segments, and those segments of which there can be none."""
    written: dict[tuple[SegmentName, AnyRoute], list[tuple[date, Path]]] = {}
    logged: list[SegmentName] = []
    if backlog is not None:
        for index, segment in enumerate(old):
            try:
                found = backlog.files(journal, segment, route, partial(check, len(old) - index))
            except FileNotFoundError:
                raise _Vanished from None
            if found is None:
                logged.append(segment)
            else:
                written[segment, route] = found
    return written, logged


def _open(uncommitted: Uncommitted, journal: Folder, segment: SegmentName, suffix: str, route: AnyRoute) -> Part:
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
            folder = events.sub_if(name)
            if folder is None:  # a planted link, or a folder that has just been expired
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
