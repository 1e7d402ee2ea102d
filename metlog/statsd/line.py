"""Where the metrics of one statsd client go: out at once, or into a bounded queue; every one of them counted."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from typing import Final

from msgspec import Struct, field

from metlog.core.dispatch import BackgroundDispatcher, InlineDispatcher
from metlog.core.interfaces import BaseSender
from metlog.core.lifecycle import live

__all__ = ["EXIT_TIMEOUT", "MAX_BYTES", "Line", "StatsdStats"]

_log: Final = logging.getLogger("metlog")
MAX_BYTES: Final = 1 << 20
"""Bytes of metrics that wait for a connection."""
EXIT_TIMEOUT: Final = 2.0
"""Seconds that closing may take."""


class StatsdStats(Struct, kw_only=True):
    """Counts of metrics (lines) since the client was made."""

    sent: int = 0
    """Metrics handed to the transport."""
    buffered: int = 0
    """Metrics that wait for a connection (TCP and Unix)."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Metrics lost in this process, by reason."""
    bytes: int = 0
    """What was handed to the transport."""
    errors: int = 0
    """What the transport, or a call with unusable arguments, raised."""


class Line:
    """The way out: a sender called in place (UDP) or behind a bounded queue; counted, and part of fork and exit."""

    def __init__(self, sender: BaseSender, *, max_bytes: int = MAX_BYTES, exit_timeout: float = EXIT_TIMEOUT) -> None:
        self.sender = sender
        self.exit_timeout = exit_timeout
        self._dispatcher: InlineDispatcher | BackgroundDispatcher
        if sender.nonblocking:
            self._dispatcher = InlineDispatcher(sender, self)
        else:
            self._dispatcher = BackgroundDispatcher(sender, self, max_bytes=max_bytes)
        self._told: set[str] = set()
        self._closed = False
        self._fresh()
        live.add(self)

    def _fresh(self) -> None:
        self._lock = threading.RLock()
        self._busy = False
        self._errors = 0
        # Counted in one step, as in `metlog.core.stats`: a signal handler of this very thread may come between two.
        self._dropped: dict[str, int] = defaultdict(int)

    def put(self, data: str, end: bytes) -> None:
        """Sends or queues one or more lines; never raises an Exception."""
        count = data.count("\n") + 1
        if self._closed:
            self.dropped("closed", count)
            return
        frame = data.encode("utf-8", "backslashreplace") + end
        with self._lock:
            if self._busy:  # a signal handler, or what logs the first drop, inside this thread's own call
                self.dropped("reentrant", count)
                return
            self._busy = True
            try:
                self._dispatcher.send(frame, count)
            finally:
                self._busy = False

    # What the dispatcher tells (metlog.core.dispatch.LossRecorder).

    def failed(self, error: BaseException, count: int = 0) -> None:
        """Something raised; `count` metrics are lost by it."""
        reason = getattr(error, "reason", None) or "send_error"
        with self._lock:
            self._errors += 1
        self._tell(f"{reason} {type(error).__name__}", f"{type(error).__name__}: {error}")
        self.dropped(reason, count)

    def dropped(self, reason: str, count: int) -> None:
        """`count` metrics are lost."""
        if count:
            with self._lock:
                self._dropped[reason] += count
            self._tell(reason, f"metrics are dropped: {reason}")

    def _tell(self, kind: str, message: str) -> None:
        if kind not in self._told and len(self._told) < 100:
            self._told.add(kind)
            try:
                _log.warning("statsd: %s (counted in client.statsd.stats(); told once)", message)
            except Exception:  # noqa: BLE001 - a broken logging set-up is the application's; the counts tell it too
                with self._lock:
                    self._errors += 1

    def stats(self) -> StatsdStats:
        """A copy of the counts."""
        out = self._dispatcher
        with self._lock:
            return StatsdStats(
                sent=out.sent,
                buffered=out.unsent,
                dropped=dict(self._dropped),
                bytes=out.sent_bytes,
                errors=self._errors,
            )

    # Fork and exit (metlog.core.lifecycle).

    def drain(self, deadline: float) -> None:
        """Nothing waits before the queue."""

    def flush(self, deadline: float) -> bool:
        """Sends what is queued; False when the deadline (monotonic seconds) came first."""
        return self._closed or self._dispatcher.flush(deadline)

    def close(self, deadline: float) -> None:
        """Sends until the deadline, counts the rest."""
        if not self._closed:
            self._closed = True
            live.discard(self)
            self._dispatcher.close(deadline)

    def after_fork(self) -> None:
        """The child starts with no metrics, a socket and locks of its own."""
        self._fresh()
        self._dispatcher.after_fork()
