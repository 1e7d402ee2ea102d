"""How a query ends before it is done: at its deadline, or because somebody gave it up."""

from __future__ import annotations

import threading
import time
from typing import Final, NamedTuple

import duckdb

from metlog.lake.sql.guard import QueryError

__all__ = ["Cancel", "Progress", "Watch"]


_LOOK: Final = 0.25
"""Seconds between two looks at how far a query is."""


class Progress(NamedTuple):
    """What an engine last said of a query that runs: words for a reader, and the share that is done (0 to 1) where it tells it."""

    text: str
    share: float | None = None


class Cancel:
    """Ends queries from another thread: hand it to `Lake.query` and call `cancel()`; it stays cancelled."""

    def __init__(self) -> None:
        self.cancelled = False
        self.progress: Progress | None = None
        """Set by an engine while it runs a query with this object; None where it tells nothing."""
        self._lock = threading.Lock()
        self._wakes: list[threading.Event] = []

    def tell(self, progress: Progress) -> None:
        """Notes how far the engine is."""
        self.progress = progress

    def cancel(self) -> None:
        """Interrupts the queries that have this object, now and later."""
        with self._lock:
            self.cancelled = True
            for wake in self._wakes:
                wake.set()

    def _attach(self, wake: threading.Event) -> None:
        with self._lock:
            self._wakes.append(wake)
            if self.cancelled:
                wake.set()

    def _detach(self, wake: threading.Event) -> None:
        with self._lock:
            self._wakes.remove(wake)


class Watch:
    """Interrupts a cursor at a deadline or when cancelled, again and again until the query has noticed."""

    def __init__(self, timeout: float | None, cancel: Cancel | None) -> None:
        self.reason: str | None = None
        self.timeout = timeout
        self.cursor: duckdb.DuckDBPyConnection | None = None
        """What to interrupt, once the query has one."""
        self.finished = False
        """The query has come to its end."""
        self._cancel = cancel
        self._wake = threading.Event()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watch:
        if self._cancel is not None:
            self._cancel._attach(self._wake)
        if self.timeout is not None or self._cancel is not None:
            self._thread = threading.Thread(target=self._run, name="metlog-query-watch", daemon=True)
            self._thread.start()
        return self

    def _run(self) -> None:
        until = None if self.timeout is None else time.monotonic() + self.timeout
        while not self._wake.wait(_LOOK if until is None else max(0.0, min(_LOOK, until - time.monotonic()))):
            if until is not None and time.monotonic() >= until:
                break
            self._look()
        if self._done.is_set():
            return
        self.reason = "cancelled" if self._cancel is not None and self._cancel.cancelled else "timeout"
        while not self._done.is_set():  # an interrupt before the query has started is not kept by the engine
            if self.cursor is not None:
                self.cursor.interrupt()
            self._done.wait(0.02)

    def _look(self) -> None:
        """Tells how far DuckDB is; it knows that of scans and of what it sorts and joins, and says -1 of all else."""
        cursor = self.cursor
        if cursor is None or self._cancel is None:
            return
        try:
            percent = cursor.query_progress()
        except duckdb.Error:  # the cursor was closed meanwhile
            return
        if percent > 0:
            self._cancel.tell(Progress(f"{percent:.0f} % read", min(percent / 100, 1.0)))

    def check(self, segments: int) -> None:
        """Raises QueryError when the query is to end. `segments`: how many it has still to write before it can begin."""
        if self.reason is None:
            return
        if self.reason == "cancelled" or not segments:
            raise QueryError(
                f"the query was {'cancelled' if self.reason == 'cancelled' else 'ended at its limit'}", self.reason
            )
        raise QueryError(
            f"the limit of {self.timeout:g} s was over when {segments} segments of the journal that the output `lake` is behind by were "
            "still to be read: ask again, and it goes on from there; `metlog journal status` says why it is behind",
            self.reason,
        )

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        if self._cancel is not None:
            self._cancel._detach(self._wake)
