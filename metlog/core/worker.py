"""Starts a background thread once, however many threads ask for it at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Worker"]


class Worker:
    """A daemon thread that starts when it is first needed, and again after it has ended. A forked child makes a new one."""

    __slots__ = ("_name", "_run", "_starting", "_thread")

    def __init__(self, run: Callable[[], None], name: str) -> None:
        self._run, self._name = run, name
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()  # held while a thread is made, which is not yet alive then

    def is_alive(self) -> bool:
        """Whether the thread runs; False while it is being started."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def start(self) -> bool:
        """Starts the thread unless it runs; False where that is impossible, since the interpreter is ending.

        True, at once, while another thread starts it, or the call does that a signal handler has interrupted.
        """
        if self.is_alive():
            return True
        if not self._starting.acquire(blocking=False):
            return True
        try:
            if not self.is_alive():  # asked again: another may have started it meanwhile
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        except RuntimeError:
            self._thread = None
            return False
        finally:
            self._starting.release()
        return True

    def join(self, timeout: float) -> None:
        """Waits for the end of the thread, at most so many seconds."""
        thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(timeout)
