"""Waiting for what another thread or process does: polling with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], seconds: float = 20.0, *, every: float = 0.01) -> T:
    """Returns what the condition gives as soon as that is true; at the deadline what it gave last. One that takes its time is asked
    a fifth of the time at most: what it waits for needs the processor, too."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        found = condition()
        now = time.monotonic()
        if found or now > deadline:
            return found
        time.sleep(max(every, min(4 * (now - began), 1.0)))


def wait_for(condition: Callable[[], T], seconds: float = 20.0, *, every: float = 0.01) -> T:
    """Returns what the condition gives as soon as that is true; fails the test when it is not at the deadline."""
    found = eventually(condition, seconds, every=every)
    assert found, f"the condition did not come true within {seconds:g} s; it gave {found!r} last"
    return found
