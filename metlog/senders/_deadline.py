"""Waiting that ends at `close`, and at the shutdown deadline."""

from __future__ import annotations

import threading
from time import monotonic

__all__ = ["Deadline"]


class Deadline:
    """Interruptible sleeps, bounded by the shutdown deadline. Recreated after fork."""

    def __init__(self) -> None:
        self._hurry = threading.Event()
        self._closed = threading.Event()
        self._end = float("inf")

    @property
    def closed(self) -> bool:
        """`close` was called."""
        return self._closed.is_set()

    @property
    def over(self) -> bool:
        """Closed, or the deadline has passed: nothing more is worth waiting for."""
        return self._closed.is_set() or monotonic() >= self._end

    def close(self) -> None:
        """Ends every sleep, now and later."""
        self._closed.set()
        self._hurry.set()

    def limit(self, seconds: float) -> None:
        """From now on all sleeps together end within so many seconds."""
        self._end = min(self._end, monotonic() + seconds)
        self._hurry.set()

    def until(self, seconds: float) -> float:
        """The moment (monotonic seconds) so many seconds from now, or the deadline when that is earlier."""
        return min(monotonic() + seconds, self._end)

    def sleep(self, seconds: float) -> bool:
        """Sleeps; False when it was cut short by `close` or the deadline."""
        until = monotonic() + seconds
        self._hurry.wait(seconds)
        rest = min(until, self._end) - monotonic()
        if rest > 0:
            self._closed.wait(rest)
        return not self.over
