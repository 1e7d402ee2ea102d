"""All waiting of a sender that may wait: it ends at `close`, and within what `deadline` leaves."""

from __future__ import annotations

import random
import threading
from time import monotonic

__all__ = ["Backoff", "Deadline"]


class Deadline:
    """Sleeps that another thread can end. Made anew in a forked child."""

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

    def deadline(self, seconds: float) -> None:
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


class Backoff:
    """Growing pauses with jitter, so that many clients do not come back to a restarted peer all at once."""

    def __init__(self, first: float, most: float) -> None:
        self._first, self._most = first, most
        self.reset()

    def reset(self) -> None:
        """After a success: the next pause is the first again."""
        self._next = self._first

    def pause(self) -> float:
        """The next pause in seconds: between half of it and all of it, doubled each time up to the most."""
        pause, self._next = self._next, min(self._next * 2, self._most)
        return pause * (0.5 + random.random() / 2)
