"""The transport of one statsd client: sends metrics at once, or by a bounded queue, and counts every one."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident
from time import monotonic
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

_LOCK_WAIT: Final = 0.01
"""Seconds that a thread waits for another one that sends."""
_MOST_LEFT: Final = 10_000
"""Calls whose metrics may wait for another thread that sends."""


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
    """A sender called in place (UDP) or behind a bounded queue. Metrics are counted; fork and exit are handled.

    One thread at a time sends. Another waits for it for 10 ms at most, then leaves its metrics to that thread: a handler of logging
    may count in here while the thread that sends waits for that handler, to log what it has lost.
    """

    def __init__(
        self,
        sender: BaseSender,
        *,
        max_bytes: int = MAX_BYTES,
        exit_timeout: float = EXIT_TIMEOUT,
        held: Callable[[], int] = lambda: 0,
    ) -> None:
        """`held`: how many metrics the sender has taken and keeps until a name is looked up."""
        self.sender = sender
        self._held = held
        self.exit_timeout = exit_timeout
        self.counts = Counts(subject="metrics", where="client.statsd.stats()", prefix="statsd: ")
        self._dispatcher: Dispatcher
        if sender.nonblocking:
            self._dispatcher = InlineDispatcher(sender, self)
        else:
            self._dispatcher = BackgroundDispatcher(sender, self, max_bytes=max_bytes)
        self._closed = False
        self._reset()
        live.add(self)

    def _reset(self) -> None:
        # Re-entrant: a signal handler in the thread that sends gets it at once, and finds `_owner` set.
        lock = threading.RLock()
        self._acquire, self._release = lock.acquire, lock.release
        self._owner = 0  # id of the thread that sends; 0: none
        self._left: deque[tuple[bytes, int]] = deque()  # what others left to the owner
        self._untold: deque[tuple[BaseException | str, int]] = deque()  # what the owner lost, not counted yet

    def put(self, data: str, end: bytes) -> None:
        """Sends or queues one or more lines; never raises an Exception."""
        count = data.count("\n") + 1
        if self._closed:
            self.counts.dropped("closed", count)
            return
        frame = data.encode("utf-8", "backslashreplace") + end
        if not self._acquire(False) and not self._acquire(True, _LOCK_WAIT):
            self._leave_to_owner(frame, count)
        elif self._owner:
            self._release()
            self._leave_to_owner(frame, count)
        else:
            self._owner = get_ident()
            try:
                if self._left:
                    self._drain()
                self._dispatcher.send(frame, count)
            finally:
                self._owner = 0
                self._release()
                if self._untold:
                    self._tell()
        if self._left:
            self._send_left(0.0)

    def stats(self) -> StatsdStats:
        """A copy of the counts."""
        dispatcher, counts = self._dispatcher, self.counts
        with counts.locked():
            held = self._held()
            return StatsdStats(
                sent=dispatcher.sent - held,
                buffered=dispatcher.unsent + held + sum(count for _, count in list(self._left)),
                dropped=dict(counts.by_reason),
                bytes=dispatcher.sent_bytes,
                errors=counts.errors,
            )

    # One thread at a time sends.

    def _leave_to_owner(self, frame: bytes, count: int) -> None:
        if len(self._left) < _MOST_LEFT:
            self._left.append((frame, count))
        else:
            self.dropped("buffer_full", count)

    def _tell(self) -> None:
        """Counts what was lost while this thread was the one that sends, now that it is not."""
        while self._untold:
            with contextlib.suppress(IndexError):  # another thread has counted it
                loss, count = self._untold.popleft()
                if isinstance(loss, str):
                    self.counts.dropped(loss, count)
                else:
                    self.counts.failed(loss, count)

    def _drain(self) -> None:
        """Sends what was left to the thread that sends; called by that one."""
        for _ in range(len(self._left)):
            self._dispatcher.send(*self._left.popleft())

    def _send_left(self, wait: float) -> bool:
        """Sends what was left to the thread that sends. False when that one still does so after `wait` seconds, or is this very
        thread, interrupted by a signal handler: it looks at `_left` once more before it goes on."""
        while self._left:
            if not self._acquire(True, wait):
                return False
            if self._owner:
                self._release()
                return False
            self._owner = get_ident()
            try:
                self._drain()
            finally:
                self._owner = 0
                self._release()
                self._tell()
        return True

    # What the dispatcher loses (`metlog.core.dispatch.LossRecorder`).

    def failed(self, error: BaseException, count: int) -> None:
        """The sender raised: counted at once, or when this thread has let others send."""
        if self._owner == get_ident():
            self._untold.append((error, count))
        else:
            self.counts.failed(error, count)

    def dropped(self, reason: str, count: int) -> None:
        """Metrics are lost for another reason: counted as `failed` does."""
        if self._owner == get_ident():
            self._untold.append((reason, count))
        else:
            self.counts.dropped(reason, count)

    # Fork and exit (metlog.core.lifecycle).

    def drain(self, deadline: float) -> None:
        """Sends or queues what another thread has left."""
        self._send_left(0.0)

    def flush(self, deadline: float) -> bool:
        """Sends what is queued; False when the deadline (monotonic seconds) came first."""
        if self._closed:
            return True
        none_left = self._send_left(max(0.0, deadline - monotonic()))
        return self._dispatcher.flush(deadline) and none_left

    def close(self, deadline: float) -> None:
        """Sends until the deadline, counts the rest."""
        if self._closed:
            return
        self._closed = True
        live.discard(self)
        self._send_left(max(0.0, deadline - monotonic()))
        self._dispatcher.close(deadline)
        left = 0
        with contextlib.suppress(IndexError):
            while True:
                left += self._left.popleft()[1]
        self.counts.dropped("exit", left)

    def after_fork(self) -> None:
        """The child starts with no metrics, a socket and locks of its own."""
        self.counts.restart()
        self._reset()
        self._dispatcher.after_fork()
