"""Live tails: one thread follows the listener's journals, and every tail gets what it wants of it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from metlog.journal.follow import Event, Follower

__all__ = ["TailBroadcaster", "Subscription"]

log = logging.getLogger("metlog.web")

_TURN: Final = 0.2
"""Seconds between two looks at the journals."""
_BEHIND: Final = 500
"""Events that wait for a slow browser; then older ones are dropped and counted."""


class Subscription:
    """One live tail: events that `wants` takes, at most `_BEHIND` of them waiting."""

    def __init__(self, wants: Callable[[Event], bool], asker: str = "") -> None:
        self.wants = wants
        self.asker = asker
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


class TailBroadcaster:
    """Reads the journals once for all tails, and not at all while there is none."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._tails: set[Subscription] = set()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._ready = asyncio.Event()
        self._wake = threading.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tails)

    def of(self, asker: str) -> int:
        """How many tails an asker has."""
        return sum(tail.asker == asker for tail in self._tails)

    async def join(self, wants: Callable[[Event], bool], asker: str = "") -> Subscription:
        """A tail of what is appended from now on; it must `leave`."""
        tail = Subscription(wants, asker)
        if self._closed:
            tail.close()
            return tail
        with self._lock:
            self._tails.add(tail)
            if self._thread is None:
                self._ready = asyncio.Event()
                loop = asyncio.get_running_loop()
                arguments = (Follower(self._data), loop, self._ready)
                self._thread = threading.Thread(target=self._run, args=arguments, name="metlog-tail", daemon=True)
                self._thread.start()
        await self._ready.wait()
        return tail

    def leave(self, tail: Subscription) -> None:
        with self._lock:
            self._tails.discard(tail)

    def close(self) -> None:
        """Ends every tail. Call it in the event loop."""
        self._closed = True
        self._wake.set()
        for tail in list(self._tails):
            tail.close()

    def _run(self, follower: Follower, loop: asyncio.AbstractEventLoop, ready: asyncio.Event) -> None:
        try:
            self._look(follower)  # only finds where the journals end
            loop.call_soon_threadsafe(ready.set)
            while True:
                self._wake.wait(_TURN)
                with self._lock:
                    if self._closed or not self._tails:
                        self._thread = None
                        return
                if events := self._look(follower):
                    loop.call_soon_threadsafe(self._hand_out, events)
        except RuntimeError:  # the loop has been closed: the page has ended
            return
        finally:
            follower.close()

    def _hand_out(self, events: list[Event]) -> None:
        for tail in list(self._tails):
            tail.offer(events)

    def _look(self, follower: Follower) -> list[Event]:
        try:
            return follower.read()
        except OSError as error:  # the data folder is being moved or restored: look again
            log.warning("live tail: cannot read the journal: %s", error)
            return []
