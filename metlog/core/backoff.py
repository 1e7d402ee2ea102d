"""Growing pauses between attempts."""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["Backoff"]


class Backoff:
    """Pauses that double, with jitter, so that many clients do not come back to a restarted peer all at once.

    first, most
        Seconds of the first pause, and of the longest.
    jitter
        Share of a pause, 0 to 1, that chance may take off; 0: none.
    """

    def __init__(self, first: float, most: float, *, jitter: float = 0.5) -> None:
        self._first, self._most, self._jitter = min(first, most), most, jitter
        self.reset()

    def reset(self) -> None:
        """After a success: the next pause is the first again."""
        self._next = self._first

    def pause(self) -> float:
        """Returns the next pause in seconds."""
        pause, self._next = self._next, min(self._next * 2, self._most)
        return pause * (1.0 - self._jitter * random.random())

    def __iter__(self) -> Iterator[float]:
        """The pauses from here on, without an end."""
        while True:
            yield self.pause()
