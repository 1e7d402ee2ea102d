"""Between the buffer and a sender: calls it in place, or from a thread behind a queue bounded in bytes."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from time import monotonic
from typing import Final, NamedTuple, Protocol

from metlog.core.interfaces import BaseSender
from metlog.core.wakeup import Wakeup
from metlog.core.worker import Worker

__all__ = ["InlineDispatcher", "Dispatcher", "BackgroundDispatcher", "LossRecorder"]

_CLOSE_GRACE: Final = 0.05  # seconds that a sender's close() gets when the deadline has passed


class LossRecorder(Protocol):
    """Counts what was lost."""

    def failed(self, error: BaseException, count: int) -> None:
        """A sender raised: `count` events are lost."""

    def dropped(self, reason: str, count: int) -> None:
        """`count` events are lost for another reason."""


class Dispatcher(Protocol):
    """Where frames go: a sender called in place (`InlineDispatcher`), or one behind a queue (`BackgroundDispatcher`)."""

    sent: int
    frames: int
    sent_bytes: int
    """Events of the application, frames and bytes that were handed to the transport."""
    reaches: bool
    """False after a failed send. Drop reports are held back then: they would be lost too, and show up as another gap."""

    def send(self, frame: bytes, count: int) -> None:
        """Takes a frame that holds `count` events of the application; never waits, never raises an Exception."""

    @property
    def unsent(self) -> int:
        """Events taken and neither sent nor dropped."""

    def flush(self, deadline: float) -> bool:
        """Waits until all taken before is out, at most until `deadline` (monotonic seconds); False when that came first."""

    def close(self, deadline: float) -> None:
        """Sends what it can until the deadline, counts the rest, closes the sender."""

    def after_fork(self) -> None:
        """Forgets what belongs to the parent."""


class _Dispatcher:
    """Base of both: the counts of what was sent, written only by the one thread at a time that sends."""

    __slots__ = ("_losses", "_sender", "frames", "reaches", "sent", "sent_bytes")

    def __init__(self, sender: BaseSender, losses: LossRecorder) -> None:
        self._sender = sender
        self._losses = losses
        self.reaches = True
        self.sent = self.frames = self.sent_bytes = 0
        sender.on_loss(self._lost_later)

    def _lost_later(self, reason: str, count: int) -> None:
        """Events of a frame that was handed to the transport are lost all the same; called within the sender's methods."""
        self.reaches = False
        self.sent -= count
        self._losses.dropped(reason, count)


class InlineDispatcher(_Dispatcher):
    """Calls a sender that never waits in the thread that fills a frame."""

    __slots__ = ("_concurrent",)
    unsent = 0

    def __init__(self, sender: BaseSender, losses: LossRecorder) -> None:
        super().__init__(sender, losses)
        self._concurrent = sender.concurrent

    def send(self, frame: bytes, count: int) -> None:
        """Sends; what the sender raises is counted. KeyboardInterrupt and SystemExit are the application's own."""
        sender = self._sender
        try:
            transmit = sender.transmit if self._concurrent else None
            if transmit is None:
                sender.send(frame)
            else:
                try:
                    transmit(frame)
                except OSError as error:
                    sender.recover(frame, error, transmit)
        except BaseException as error:
            self.reaches = False
            self._losses.failed(error, count)
            if not isinstance(error, Exception):
                raise
        else:
            self.reaches = True
            self.sent += count
            self.frames += 1
            self.sent_bytes += len(frame)

    def flush(self, deadline: float) -> bool:
        """Flushes the sender."""
        try:
            self._sender.flush()
        except Exception as error:  # noqa: BLE001 - a sender may raise anything
            self._losses.failed(error, 0)
        return monotonic() <= deadline

    def close(self, deadline: float) -> None:
        """Flushes and closes the sender."""
        _announce(self._sender, deadline)
        self.flush(deadline)
        _close(self._sender, self._losses)

    def after_fork(self) -> None:
        """Counts from zero; the sender drops what is the parent's."""
        self.sent = self.frames = self.sent_bytes = 0
        self._sender.after_fork()


class _Flush(NamedTuple):
    """A mark in the queue: when it is reached, everything before it is sent, and the sender is flushed."""

    done: Wakeup


class BackgroundDispatcher(_Dispatcher):
    """Calls a sender that may wait from a thread, behind a queue bounded in bytes; the oldest frames make room.

    One thread puts (the buffer's lock ensures it) and one takes, each with a count of its own, so that no lock is needed.
    """

    def __init__(self, sender: BaseSender, losses: LossRecorder, *, max_bytes: int) -> None:
        super().__init__(sender, losses)
        self._max_bytes = max_bytes
        self._reset()

    def _reset(self) -> None:
        self._queue: deque[tuple[bytes, int] | _Flush] = deque()
        self._wakeup = Wakeup()
        self._worker = Worker(self._run, "metlog-sender")
        self._working = threading.Lock()  # held while frames are taken from the queue
        self._put = self._taken = 0  # bytes, ever
        # Events of the frame that is being sent; the thread that pops the number counts them.
        self._sending: list[int] = []
        self._stop = False
        self.sent = self.frames = self.sent_bytes = 0

    @property
    def unsent(self) -> int:
        """Events in the queue and in the frame that is being sent."""
        return sum(self._sending) + sum(item[1] for item in list(self._queue) if not isinstance(item, _Flush))

    def send(self, frame: bytes, count: int) -> None:
        """Queues the frame; the oldest ones are dropped, and counted as `queue_full`, when it does not fit.

        One that is larger than the whole queue is queued where nothing else is, and dropped itself otherwise.
        """
        if self._stop:
            self._losses.dropped("closed", count)
            return
        if len(frame) > self._max_bytes and self._put > self._taken:
            self._losses.dropped("queue_full", count)
            return
        kept: list[_Flush] = []
        lost = 0
        with contextlib.suppress(IndexError):  # the sending thread took it first: there is room now
            while self._put - self._taken + len(frame) > self._max_bytes:
                oldest = self._queue.popleft()
                if isinstance(oldest, _Flush):
                    kept.append(oldest)
                else:
                    self._put -= len(oldest[0])
                    lost += oldest[1]
        for flush in reversed(kept):
            self._queue.appendleft(flush)
        if lost:
            self._losses.dropped("queue_full", lost)
        self._put += len(frame)
        self._queue.append((frame, count))
        self._wake_thread()

    def _wake_thread(self) -> bool:
        """Wakes the thread, or starts it; False where it cannot be started: flush and close work in their caller's thread."""
        if not self._worker.start():
            return False
        self._wakeup.wake()
        return True

    def _run(self) -> None:
        while True:
            with self._working:
                self._work(None)
            if self._stop:
                return
            self._wakeup.wait(None)

    def _work(self, deadline: float | None) -> None:
        """Sends what is queued until the deadline; a sender may raise anything, this goes on."""
        while deadline is None or monotonic() < deadline:
            try:
                item = self._queue.popleft()
            except IndexError:
                return
            if isinstance(item, _Flush):
                try:
                    self._sender.flush()
                except BaseException as error:  # noqa: BLE001 - as below
                    self._losses.failed(error, 0)
                finally:
                    item.done.wake()
                continue
            frame, count = item
            self._sending.append(count)
            self._taken += len(frame)
            try:
                self._sender.send(frame)
            except BaseException as error:  # noqa: BLE001 - SystemExit from a sender must not end its thread either
                self.reaches = False
                self._losses.failed(error, self._pop_sending())
            else:
                self.reaches = True
                self.sent += self._pop_sending()
                self.frames += 1
                self.sent_bytes += len(frame)

    def _pop_sending(self) -> int:
        """The events of the frame that is being sent; 0 when `close` has given it up, and counted them."""
        try:
            return self._sending.pop()
        except IndexError:
            return 0

    def flush(self, deadline: float) -> bool:
        """Waits until what was queued before is sent and the sender was flushed."""
        done = Wakeup()
        self._queue.append(_Flush(done))
        if self._wake_thread():
            return done.wait(deadline - monotonic())
        if self._working.acquire(timeout=max(0.0, deadline - monotonic())):
            with contextlib.ExitStack() as stack:
                stack.callback(self._working.release)
                self._work(deadline)
        return done.wait(0)

    def close(self, deadline: float) -> None:
        """Sends until the deadline, then closes the sender, in the middle of a `send` if need be; drops the rest as `exit`."""
        _announce(self._sender, deadline)
        self.flush(deadline)
        self._stop = True
        _close(self._sender, self._losses)
        self._wakeup.wake()
        self._worker.join(max(_CLOSE_GRACE, deadline - monotonic()))
        left = self._pop_sending()
        with contextlib.suppress(IndexError):
            while True:
                item = self._queue.popleft()
                left += 0 if isinstance(item, _Flush) else item[1]
        if left:
            self._losses.dropped("exit", left)

    def after_fork(self) -> None:
        """The queue is the parent's; the child starts empty, its thread at the first frame."""
        self._reset()
        self._sender.after_fork()


def _announce(sender: BaseSender, deadline: float) -> None:
    """Passes the time that is left to the sender."""
    with contextlib.suppress(Exception):  # advice only: the sender is closed at the deadline
        sender.deadline(max(0.0, deadline - monotonic()))


def _close(sender: BaseSender, losses: LossRecorder) -> None:
    try:
        sender.close()
    except BaseException as error:  # noqa: BLE001 - a sender may raise anything
        losses.failed(error, 0)
