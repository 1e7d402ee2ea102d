"""What the lake holds at one moment: the committed Parquet files, and the events that are in the journal only.

Read-only and without a lock on the listener. Why each event is found exactly once:

- A segment's Parquet files stand under their names before the lake's cursor passes the segment, and the
  segment is unlinked after that. So of a segment that is still there and not passed, only the journal counts, and its
  files are ignored; of any other segment only the files count.
- The segments are listed first, then the cursor is read, then those that count are opened, then the files are listed. A segment that
  was unlinked before it could be opened has been committed meanwhile: the snapshot begins again.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from metlog.lake.cursor import Cursor
from metlog.lake.files import Folder
from metlog.lake.fresh import Fresh, Part
from metlog.lake.routing import Route
from metlog.lake.segment import LIVE, SEALED, SegmentName, listing
from metlog.lake.writer import PARQUET, segment_of

__all__ = ["Snapshot", "snapshot"]

_ATTEMPTS: Final = 100


class Snapshot(NamedTuple):
    """Each event of the data folder is in one of `files` or in `fresh`, never in both."""

    files: list[tuple[date, Path]]
    """Committed Parquet files with their day, by day and name; columns as `metlog.lake.schema.SCHEMA`."""
    fresh: pa.Table
    """Events that are in no committed file yet; columns as `metlog.lake.schema.FRESH_SCHEMA` (with `date`)."""


def snapshot(
    data: Path, *, since_date: date | None = None, until_date: date | None = None, fresh: Fresh | None = None
) -> Snapshot:
    """The events of a data folder whose `date` lies between the two days, both included; only these folders are looked at.
    `fresh`: what earlier snapshots of the same folder have decoded.

    Raises FileNotFoundError when there is no such data folder.
    """
    fresh = fresh or Fresh(0)
    with Folder.root(data) as root, fresh.lock:
        for _ in range(_ATTEMPTS):
            try:
                return _attempt(root, since_date, until_date, fresh)
            except _Vanished:
                continue
    raise TimeoutError(f"{data}: segments went faster than they could be read, {_ATTEMPTS} times")


class _Vanished(Exception):
    """A segment was committed and unlinked while it was about to be read."""


def _attempt(root: Folder, since: date | None, until: date | None, fresh: Fresh) -> Snapshot:
    uncommitted: set[SegmentName] = set()
    parts: list[Part] = []
    for journal in _journals(root):
        with journal:
            sealed, live = listing(journal)
            cursor = _lake_cursor(journal)
            for segments, suffix in ((sealed, SEALED), (live, LIVE)):
                for segment in segments:
                    if segment.number >= cursor.at.number:
                        uncommitted.add(segment)
                        parts.append(_open(fresh, journal, segment, suffix, cursor.route))
    files = sorted(_files(root, uncommitted, since, until))
    return Snapshot(files, _between(fresh.table(parts), since, until))


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


def _open(fresh: Fresh, journal: Folder, segment: SegmentName, suffix: str, route: Route) -> Part:
    try:
        return fresh.open(journal, segment, suffix, route)
    except FileNotFoundError:
        raise _Vanished from None  # or sealed since it was listed: look again


def _files(
    root: Folder, uncommitted: set[SegmentName], since: date | None, until: date | None
) -> Iterator[tuple[date, Path]]:
    try:
        events = root.sub("events")
    except FileNotFoundError:
        return
    with events:
        for name in events.names():
            day = _day(name)
            if day is None or (since and day < since) or (until and day > until):
                continue
            try:
                folder = events.sub(name)
            except OSError:  # a planted link, or a folder that has just been expired
                continue
            with folder:
                for entry in folder.regular(PARQUET):
                    if not entry.name.startswith(".") and segment_of(entry.name) not in uncommitted:
                        yield day, folder.path / entry.name


def _day(name: str) -> date | None:
    try:
        return date.fromisoformat(name.removeprefix("date=")) if name.startswith("date=") else None
    except ValueError:
        return None


def _between(fresh: pa.Table, since: date | None, until: date | None) -> pa.Table:
    if not fresh.num_rows or (since is None and until is None):
        return fresh
    first, last = pc.min_max(fresh["date"]).as_py().values()
    if since is not None and first < since:
        fresh = fresh.filter(pc.greater_equal(fresh["date"], pa.scalar(since)))
    if until is not None and last > until:
        fresh = fresh.filter(pc.less_equal(fresh["date"], pa.scalar(until)))
    return fresh
