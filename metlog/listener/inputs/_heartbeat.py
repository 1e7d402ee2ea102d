"""Whether the thread of an input lives, and turns its loop."""

from __future__ import annotations

import threading
import time
from typing import Final

__all__ = ["STUCK", "Heartbeat"]

STUCK: Final = 10.0
"""Seconds without a turn of its loop after which a thread counts as stuck; idle, the loops turn twice a second."""


class Heartbeat:
    """Of one thread, which sets `turned` at each turn."""

    def __init__(self, thread: threading.Thread, name: str, stuck: float = STUCK) -> None:
        """`name`: what its input's health calls it by, as an address."""
        self._thread = thread
        self._name = name
        self.stuck = stuck
        self.turned = time.monotonic()
        """When the loop turned last, by the monotonic clock."""

    def beat(self) -> None:
        """The loop turns now."""
        self.turned = time.monotonic()

    def health(self) -> str:
        """Returns what is wrong; empty when all is well, and before the thread was started."""
        if self._thread.ident is None:
            return ""
        if not self._thread.is_alive():
            return f"the thread of {self._name} has died"
        if (age := time.monotonic() - self.turned) > self.stuck:
            return f"{self._name} has not moved for {age:.0f} s"
        return ""
