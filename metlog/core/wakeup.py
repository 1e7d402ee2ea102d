"""Wakes a background thread without ever waiting for it."""

from __future__ import annotations

import contextlib
import sys
import threading

__all__ = ["Wakeup", "threads_run"]


def threads_run() -> bool:
    """Whether background threads run: inside uWSGI only with `--enable-threads`, which its `has_threads` tells."""
    return bool(getattr(sys.modules.get("uwsgi"), "has_threads", True))


class Wakeup:
    """A binary semaphore on one bare lock.

    `threading.Event` and `Condition` hold a lock inside `set()`: a signal handler or a `__del__` that logs in that moment would
    wait for its own thread. Here `wake` is one atomic call that never waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def wake(self) -> None:
        """Lets the waiting thread go on, or its next `wait` return at once."""
        with contextlib.suppress(RuntimeError):  # it was awake already
            self._lock.release()

    def wait(self, timeout: float | None) -> bool:
        """Waits for `wake`, at most `timeout` seconds (None: without a limit); whether it came."""
        return self._lock.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
