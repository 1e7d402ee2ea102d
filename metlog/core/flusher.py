"""The thread that flushes a buffer every interval, and sleeps while there is nothing to flush."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from metlog.core.wakeup import Wakeup, threads_run
from metlog.core.worker import Worker

__all__ = ["Flusher"]

_IDLE: Final = 5  # intervals without an event after which the thread sleeps until it is woken


class Flusher:
    """One thread for one buffer, started at the first event; it survives what a sender raises.

    `drain` sends what is pending. `sleep` is called before the thread sleeps, so that the next event wakes it. `tick` runs at
    each interval, and keeps the thread from sleeping. `idle` says whether nothing is pending, `progress` counts events framed,
    `collect` makes events of what was added up.
    """

    def __init__(
        self, *, interval: float, drain: Callable[[], None], sleep: Callable[[], None], tick: Callable[[], None] | None,
        idle: Callable[[], bool], progress: Callable[[], int], collect: Callable[[], None],
    ) -> None:  # fmt: skip
        self.awake = False
        """Whether the thread looks after the buffer; set to False only under the buffer's lock, or when it ended."""
        self._interval = interval
        self._drain, self._sleep, self._tick, self._idle, self._progress = drain, sleep, tick, idle, progress
        self._collect = collect
        self._wakeup = Wakeup()
        self._worker = Worker(self._run, "metlog-flusher")
        self._closed = False

    def start(self) -> bool:
        """Wakes the thread, or starts it; False where background threads do not run."""
        if self._worker.is_alive():
            self._wakeup.wake()
            return True
        return threads_run() and self._worker.start()

    def close(self) -> None:
        """Ends the thread; does not wait for it."""
        self._closed = True
        self._wakeup.wake()

    def _run(self) -> None:
        try:
            self._flush_until_closed()
        finally:  # however the thread ended: the next event starts another
            self._sleep()

    def _flush_until_closed(self) -> None:
        wakeup, quiet, framed = self._wakeup, 0, -1
        self.awake = not self._closed
        while not self._closed:
            wakeup.wait(self._interval / 2)
            if self._closed:
                break
            quiet = quiet + 1 if self._idle() else 0
            if self._tick is not None:
                with contextlib.suppress(BaseException):  # as below
                    self._tick()
            with contextlib.suppress(BaseException):
                self._collect()
            if self._progress() != framed:
                # Callers fill frames and send them: what is left is younger than this round, and a thread that took the
                # lock from them would only wait for the GIL with it.
                framed = self._progress()
                continue
            with contextlib.suppress(BaseException):  # counted where it was raised; this thread lives on
                self._drain()
            if quiet >= _IDLE and self._tick is None:
                self._sleep()
                if self._idle():  # an event that comes from now on finds `flush_at_seq` at 0, and wakes this thread
                    wakeup.wait(None)
                self.awake, quiet = not self._closed, 0
