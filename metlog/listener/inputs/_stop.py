"""Telling a thread that waits in poll() to stop."""

from __future__ import annotations

import os
import select

__all__ = ["StopSignal"]


class StopSignal:
    """An event that poll() can wait for: once set, its descriptor stays readable for every thread that polls it."""

    def __init__(self) -> None:
        self._readable, self._writable = os.pipe()
        self._set = False

    def set(self) -> None:
        if not self._set:
            self._set = True
            os.write(self._writable, b"\0")

    def is_set(self) -> bool:
        return self._set

    def wait(self, seconds: float) -> bool:
        """Waits until the signal is set, or so long; returns whether it is set. A system clock that is set meanwhile does no harm."""
        poll = select.poll()
        poll.register(self._readable, select.POLLIN)
        return bool(poll.poll(seconds * 1000)) or self._set

    def fileno(self) -> int:
        return self._readable

    def poll_with(self, descriptor: int) -> select.poll:
        """Returns a poll object that waits for input on `descriptor` and for this signal."""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.register(self._readable, select.POLLIN)
        return poll

    def close(self) -> None:
        """Closes the descriptors; the signal stays set. Called after the threads that poll it have ended."""
        self._set = True
        for descriptor in (self._readable, self._writable):
            if descriptor >= 0:
                os.close(descriptor)
        self._readable = self._writable = -1
