"""Events as they arrive: one thread reads what the listener appends to its journals, and every live tail gets a share."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from metlog.lake.files import Folder
from metlog.lake.schema import correct, decode
from metlog.lake.segment import HEADER_SIZE, LIVE, SEALED, Clock, Record, Scan, SegmentName, listing, read_header

__all__ = ["Follower", "Hub", "Subscription"]

log = logging.getLogger("metlog.web")

_TURN: Final = 0.2
"""Seconds between two looks at the journals."""
_BLOCK: Final = 4 << 20
"""Bytes read of a segment in a look; who falls further behind skips to the end."""
_BEHIND: Final = 500
"""Events that wait for a slow browser; then older ones are dropped and counted."""

Event = dict[str, Any]


class Follower:
    """Reads the journals of a data folder from their ends on, without a lock on the listener.

    >>> follower = Follower(Path("metlog-data"))       # doctest: +SKIP
    >>> for event in follower.read(): ...              # doctest: +SKIP
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._at: dict[SegmentName, int] = {}
        self._first = True

    def read(self) -> list[Event]:
        """What has been appended since the last call; nothing at the first. Raises OSError when the data folder is gone."""
        events: list[Event] = []
        seen: set[SegmentName] = set()
        with Folder.root(self._data) as root:
            try:
                journals = root.sub("journal")
            except FileNotFoundError:
                self._first = False
                return events
            with journals:
                for name in journals.names():
                    try:
                        journal = journals.sub(name)
                    except OSError:  # a file or a planted link
                        continue
                    with journal:
                        self._journal(journal, events, seen)
        self._at = {name: offset for name, offset in self._at.items() if name in seen}
        self._first = False
        return events

    def _journal(self, journal: Folder, events: list[Event], seen: set[SegmentName]) -> None:
        sealed, live = listing(journal)
        for name in sorted({*sealed, *live}):
            seen.add(name)
            for suffix in (LIVE, SEALED):
                try:
                    fd = journal.open(f"{name}{suffix}", os.O_RDONLY)
                except FileNotFoundError:  # sealed or removed since it was listed
                    continue
                try:
                    self._segment(fd, name, events)
                finally:
                    os.close(fd)
                break

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
            events.extend(_events(record, clock))
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


def _events(record: Record, clock: Clock) -> list[Event]:
    found = []
    for row in decode(record.events):
        event = msgspec.structs.asdict(row)
        moment, _ = correct(row.timestamp, record.received_at, clock)
        event["timestamp"] = _rfc3339(moment)
        event["received_at"] = _rfc3339(record.received_at)
        event["source"] = record.source
        found.append(event)
    return found


def _rfc3339(micro: int) -> str:
    from datetime import UTC, datetime, timedelta

    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micro)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


class Subscription:
    """One live tail: events that `wants` takes, at most `_BEHIND` of them waiting."""

    def __init__(self, wants: Callable[[Event], bool]) -> None:
        self.wants = wants
        self.missed = 0
        """Events dropped since the last `take`, because the browser was too slow."""
        self.closed = False
        self._queue: deque[Event] = deque()
        self._changed = asyncio.Event()

    def offer(self, events: list[Event]) -> None:
        for event in events:
            if self.wants(event):
                if len(self._queue) >= _BEHIND:
                    self._queue.popleft()
                    self.missed += 1
                self._queue.append(event)
        if self._queue:
            self._changed.set()

    def close(self) -> None:
        """Ends the tail, after what waits."""
        self.closed = True
        self._changed.set()

    async def take(self, timeout: float) -> tuple[list[Event], int]:
        """What waits and what was missed; nothing after `timeout` seconds without an event."""
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            return [], 0
        events, missed = list(self._queue), self.missed
        self._queue.clear()
        self.missed = 0
        if not self.closed:
            self._changed.clear()
        return events, missed


class Hub:
    """Reads the journals once for all tails, and not at all while there is none."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._tails: set[Subscription] = set()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tails)

    async def join(self, wants: Callable[[Event], bool]) -> Subscription:
        """A tail from now on; it must `leave`. Call it in the event loop."""
        tail = Subscription(wants)
        self._tails.add(tail)
        if self._closed:
            tail.close()
        elif self._thread is None or not self._thread.is_alive():
            # The first look, which only finds the ends, is done before the tail is told to be open.
            follower = Follower(self._data)
            await asyncio.to_thread(self._look, follower)
            if self._thread is None or not self._thread.is_alive():
                loop = asyncio.get_running_loop()
                self._wake.clear()
                self._thread = threading.Thread(target=self._run, args=(follower, loop), name="metlog-tail", daemon=True)
                self._thread.start()
        return tail

    def leave(self, tail: Subscription) -> None:
        self._tails.discard(tail)

    def close(self) -> None:
        """Ends every tail. Call it in the event loop."""
        self._closed = True
        self._wake.set()
        for tail in self._tails:
            tail.close()

    def _run(self, follower: Follower, loop: asyncio.AbstractEventLoop) -> None:
        while not self._wake.wait(_TURN) and self._tails:
            events = self._look(follower)
            if events:
                try:
                    loop.call_soon_threadsafe(self._hand_out, events)
                except RuntimeError:  # the loop has been closed: the page ends
                    return

    def _hand_out(self, events: list[Event]) -> None:
        for tail in self._tails:
            tail.offer(events)

    def _look(self, follower: Follower) -> list[Event]:
        try:
            return follower.read()
        except OSError as error:  # the data folder is being moved or restored: look again
            log.warning("live tail: cannot read the journal: %s", error)
            return []
