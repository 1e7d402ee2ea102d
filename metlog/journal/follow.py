"""Events as they arrive: what a listener appends to its journals, read without a lock on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from metlog.journal.folder import Folder, journals
from metlog.journal.offsets import clean_source
from metlog.journal.routing import Route
from metlog.journal.rows import correct, rows_of
from metlog.journal.segment import ACTIVE, HEADER_SIZE, SEALED, Clock, Record, Scan, SegmentName, listing, read_header

__all__ = ["Event", "Follower", "events_of"]

_BLOCK: Final = 4 << 20
"""Bytes read of a segment in a look; who falls further behind skips to the end."""

Event = dict[str, Any]
_EVERY: Final = Route()


class Follower:
    """Reads the journals of a data folder from their ends on, without a lock on the listener. `close` it, or use it in `with`.

    The segments that are written stay open between two looks: the listener may seal one, write its events to the lake and remove it in
    less time than that.

    >>> follower = Follower(Path("metlog-data"))       # doctest: +SKIP
    >>> for event in follower.read(): ...              # doctest: +SKIP
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._at: dict[SegmentName, int] = {}
        self._open: dict[str, dict[SegmentName, int]] = {}
        """By journal: the segments that were written at the last look, as descriptors."""
        self._first = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the segments that are open."""
        for held in self._open.values():
            while held:
                os.close(held.popitem()[1])

    def read(self) -> list[Event]:
        """What has been appended since the last call; nothing at the first. Raises OSError when the data folder is gone."""
        events: list[Event] = []
        seen: set[SegmentName] = set()
        with Folder.root(self._data) as root:
            for label, journal in journals(root):
                self._journal(journal, self._open.setdefault(label, {}), events, seen)
        self._at = {name: offset for name, offset in self._at.items() if name in seen}
        self._first = False
        return events

    def _journal(
        self, journal: Folder, held: dict[SegmentName, int], events: list[Event], seen: set[SegmentName]
    ) -> None:
        sealed, active = listing(journal)
        seen.update(sealed, active)
        for name in sorted({*sealed, *active, *held}):
            if name not in held and (fd := _opened(journal, name)) is not None:
                held[name] = fd
            if name in held:
                self._segment(held[name], name, events)
                if name not in active:  # nothing more is written to it
                    os.close(held.pop(name))

    def _segment(self, fd: int, name: SegmentName, events: list[Event]) -> None:
        size = os.fstat(fd).st_size
        if self._first:  # what is there already can be searched
            self._at[name] = self._last_whole(fd, size)
            return
        offset = self._at.get(name, HEADER_SIZE)
        if size - offset > _BLOCK:
            offset = size - _BLOCK
        if size <= offset or size <= HEADER_SIZE:
            self._at[name] = max(offset, HEADER_SIZE) if name in self._at else HEADER_SIZE
            return
        clock = read_header(os.pread(fd, HEADER_SIZE, 0))
        scan = Scan(os.pread(fd, size - offset, offset), offset)
        reached = offset
        for record in scan:
            events.extend(events_of(record, clock))
            reached = record.end
        # What does not verify at the end is a record that is still being written: it is read the next time.
        self._at[name] = reached

    def _last_whole(self, fd: int, size: int) -> int:
        """Where the last whole record ends, so that one that is half written now is seen when it is whole."""
        start = max(HEADER_SIZE, size - _BLOCK)
        reached = start
        for record in Scan(os.pread(fd, max(0, size - start), start), start):
            reached = record.end
        return reached


def events_of(record: Record, clock: Clock, *, skip: int = 0, route: Route = _EVERY) -> list[Event]:
    """The events of a record for people and programs: as they came, with corrected times, `received_at` and `source`. The first `skip`
    lines, those that this release cannot decode, and those that `route` does not take are left out."""
    found = []
    rows, _ = rows_of(b"".join(record.events.split(b"\n", skip)[skip:]))
    for row in rows:
        if not route.takes(row):
            continue
        event = msgspec.structs.asdict(row)
        moment, claim = correct(row.timestamp, record.received_at, clock)
        event["timestamp"] = _rfc3339(moment)
        event["received_at"] = _rfc3339(record.received_at)
        event["source"] = clean_source(record.source)
        if claim is not None:
            event["claimed_timestamp"] = _rfc3339(claim)
        found.append(event)
    return found


def _rfc3339(micro: int) -> str:
    from datetime import UTC, datetime, timedelta

    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micro)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _opened(journal: Folder, name: SegmentName) -> int | None:
    """The segment's descriptor; None for one that was removed since it was listed."""
    for suffix in (ACTIVE, SEALED):  # it may have been sealed since
        try:
            return journal.open(f"{name}{suffix}", os.O_RDONLY)
        except FileNotFoundError:
            continue
    return None
