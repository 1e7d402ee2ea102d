"""The transport of one statsd client: sends metrics at once, or by a bounded queue, and counts every one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct, field

from metlog.core.dispatch import BackgroundDispatcher, Dispatcher, InlineDispatcher
from metlog.core.interfaces import BaseSender
from metlog.core.lifecycle import live
from metlog.core.stats import Counts

__all__ = ["EXIT_TIMEOUT", "MAX_BYTES", "Line", "StatsdStats"]

MAX_BYTES: Final = 1 << 20
"""Bytes of metrics that wait for a connection."""
EXIT_TIMEOUT: Final = 2.0
"""Seconds that closing may take."""


class StatsdStats(Struct, kw_only=True):
    """Counts of metrics (lines) since the client was made."""

    sent: int = 0
    """Metrics handed to the transport."""
    buffered: int = 0
    """Metrics that wait for a connection (TCP and Unix), or for the server's name to be looked up (UDP)."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Metrics lost in this process, by reason."""
    bytes: int = 0
    """What was handed to the transport."""
    errors: int = 0
    """What the transport, or a call with unusable arguments, raised."""


class Line:
    """A sender called in place (UDP) or behind a bounded queue. Metrics are counted; fork and exit are handled."""

    def __init__(
        self,
        sender: BaseSender,
        *,
        max_bytes: int = MAX_BYTES,
        exit_timeout: float = EXIT_TIMEOUT,
        unresolved: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        """`unresolved`: how many metrics the sender holds until a name is looked up, and how many it lost so."""
        self.sender = sender
        self._unresolved = unresolved
        self.exit_timeout = exit_timeout
        self.counts = Counts(subject="metrics", where="client.statsd.stats()", prefix="statsd: ")
        self._dispatcher: Dispatcher
        if sender.nonblocking:
            self._dispatcher = InlineDispatcher(sender, self.counts)
        else:
            self._dispatcher = BackgroundDispatcher(sender, self.counts, max_bytes=max_bytes)
        self._closed = False
        self._busy = False
        live.add(self)

    def put(self, data: str, end: bytes) -> None:
        """Sends or queues one or more lines; never raises an Exception."""
        count = data.count("\n") + 1
        if self._closed:
            self.counts.dropped("closed", count)
            return
        frame = data.encode("utf-8", "backslashreplace") + end
        with self.counts.lock:
            if self._busy:  # a signal handler, or what logs the first drop, inside this thread's own call
                self.counts.dropped("reentrant", count)
                return
            self._busy = True
            try:
                self._dispatcher.send(frame, count)
            finally:
                self._busy = False

    def stats(self) -> StatsdStats:
        """A copy of the counts."""
        dispatcher, counts = self._dispatcher, self.counts
        with counts.locked():
            waiting, lost = self._unresolved()
            dropped = dict(counts.by_reason)
            if lost:
                dropped["unresolved"] = dropped.get("unresolved", 0) + lost
            return StatsdStats(
                sent=dispatcher.sent - waiting - lost,
                buffered=dispatcher.unsent + waiting,
                dropped=dropped,
                bytes=dispatcher.sent_bytes,
                errors=counts.errors,
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
        self.counts.restart()
        self._busy = False
        self._dispatcher.after_fork()
