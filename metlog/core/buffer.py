"""What is logged and not yet sent: coalescing, flushing, shedding, fork and exit.

The fast path appends to `Buffer.pending` (atomic under the GIL, so without a lock) and calls `Buffer.flush_if_due` when an event's
`seq` has reached `Buffer.flush_at_seq`. Everything here runs once a frame, not once an event.

`flush_at_seq` says when a logging thread has to look after the buffer itself: after a chunk of events while the flusher is awake; at
the next event (0) while it sleeps or was not started yet; at every event where background threads do not run (uWSGI without
threads). So an idle process wakes for nothing, and one whose threads do not run still sends what is full or too old.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from threading import get_ident
from time import monotonic
from typing import Any, Final

from metlog.core.dispatch import Dispatcher
from metlog.core.flusher import Flusher
from metlog.core.framing import FrameBuilder, Item
from metlog.core.immediate import Immediate
from metlog.core.interfaces import BaseEncoder, BaseSender
from metlog.core.stats import Counts
from metlog.core.sums import Sums
from metlog.event import Event

__all__ = ["Buffer"]

# Seconds that a logging thread waits for the one that sends: unbuffered, or when the backlog is a quarter full.
_LOCK_WAIT: Final = 0.01
_TICK: Final = 0.1  # seconds between two calls of the filters' `tick` where there is no flush interval


class Buffer:
    """Holds events until they fill a frame or `flush_interval` seconds have gone by.

    An event goes from `pending` into the parts of the next frame (`FrameBuilder`), and with these to the dispatcher.
    """

    __slots__ = (
        "_acquire", "_counts", "_frames", "_interval", "_late", "_lock", "_release", "_tick", "_unbuffered", "append", "closed",
        "dispatcher", "flush_at_seq", "flusher", "immediate", "owner", "pending", "records",
        "sums",
    )  # fmt: skip

    def __init__(
        self,
        encoder: BaseEncoder,
        dispatcher: Dispatcher,
        *,
        max_frame: int,
        max_event: int | None,
        flush_interval: float,
        counts: Counts,
        report: Callable[[], Event],
        tick: Callable[[], None] | None = None,
        sender: BaseSender | None = None,
    ) -> None:
        """`sender`: the dispatcher's, if several threads may call it at once."""
        self.pending: list[Item] = []
        self.dispatcher = dispatcher
        self.records = encoder.records
        self._unbuffered = flush_interval == 0
        self._interval = flush_interval or _TICK
        self._frames = FrameBuilder(
            encoder, dispatcher, max_frame=max_frame, max_event=max_event, unbuffered=self._unbuffered,
            interval=self._interval, counts=counts, report=report,
        )  # fmt: skip
        self._counts = counts
        self._tick = tick
        self.closed = False
        """Whether nothing is taken any more."""
        self._late: Callable[[Event], None] | None = None
        self.append: Callable[[Item], None] = self.append_single if self._unbuffered else self.pending.append
        self.immediate: Immediate | None = None
        """What sends where neither a lock nor another thread is needed."""
        if self._unbuffered and sender is not None and self.records is not None and tick is None:
            self.immediate = Immediate(
                self, self.records.frame, sender, max_event=max_event or sys.maxsize, counts=counts
            )
            self.append = self.immediate.append
        self.sums: tuple[Sums[Any], ...] = ()
        """Measurements that are to become events."""
        self._reset()

    def _reset(self) -> None:
        # Serialises the building of frames. Re-entrant: a signal handler on the owning thread sees `owner` set, and returns at once.
        self._lock = threading.RLock()
        self._acquire, self._release = self._lock.acquire, self._lock.release
        self.owner = 0
        """Id of the thread that builds and sends frames; 0: none."""
        self.flush_at_seq = sys.maxsize if self._unbuffered else 0
        self.flusher = Flusher(
            interval=self._interval, drain=self._drain_soon, sleep=self._flusher_sleeps, tick=self._tick,
            idle=self._is_idle, progress=self._framed, collect=self._collect,
        )  # fmt: skip

    # ---- called by the thread that logs ------------------------------------------------------------------------------

    def flush_if_due(self, seq: int) -> None:
        """Sends full frames; wakes the flusher, or stands in for it.

        Waits at most 10 ms, and only when the backlog is a quarter full. `seq` is that of the event just appended: the next
        `flush_at_seq` is reckoned from it.
        """
        if not self.flusher.awake and not self._wake_flusher():
            return
        if self._acquire(False) or self._under_pressure():
            if self.owner:
                self._release()
                return
            self.owner = get_ident()
            try:
                if not self.closed:
                    pending, frames = self.pending, self._frames
                    if len(pending) >= frames.chunk:
                        frames.encode(pending, min(len(pending) // frames.chunk * frames.chunk, frames.in_one_go))
                    if self.flusher.awake:
                        self.flush_at_seq = seq + frames.in_one_go - len(pending)
                    if self.closed and frames.parts:
                        # Closed meanwhile, without this thread: nobody else would send or count them.
                        frames.send_frame()
            finally:
                self.owner = 0
                self._release()
            if self.closed:
                self._pass_on_late()

    def append_single(self, item: Item) -> None:
        """Without a flush interval: the event is a frame of its own, sent before the call returns.

        Waits a moment for another thread that is sending; one that takes longer sends this event too.
        """
        if self._tick is not None and not self.flusher.awake:
            self.flusher.start()  # it has nothing to flush here, but keeps the filters' time
        if not self._acquire(False) and not self._acquire(timeout=_LOCK_WAIT):
            self.pending.append(item)
            self._shed()
        elif self.owner or self.pending:
            self.pending.append(item)
            self._release()
        else:
            self.owner = get_ident()
            try:
                frame = self._frames.encode_single(item)
                if self.closed or frame is None:
                    self.pending.append(item)
                else:
                    self._frames.framed += 1
                    self.dispatcher.send(frame, 1)
            finally:
                self.owner = 0
                self._release()
        while self.pending:
            if self.closed:
                self._pass_on_late()
                return
            if not self.drain(deadline=0.0):
                return  # the current owner looks at `pending` once more before it leaves

    def _under_pressure(self) -> bool:
        """Waits for the lock up to 10 ms when the backlog is large: the sending thread gets a chance to run (GIL).

        Returns whether the lock is held. A signal handler or `__del__` in the sending thread has it at once.
        """
        if len(self.pending) < self._frames.limit // 4:
            return False
        if self._lock.acquire(timeout=_LOCK_WAIT):
            return True
        self._shed()
        return False

    def _shed(self) -> None:
        """Drops the newest event where there are too many: a sender that is declared `nonblocking` blocks."""
        if len(self.pending) > self._frames.limit:
            with contextlib.suppress(IndexError):  # older items may already be taken by the sending thread
                self.pending.pop()
                self._counts.dropped("buffer_full", 1)

    def _wake_flusher(self) -> bool:
        """Wakes the flusher; where there can be none, sends what is too old. Returns whether to look for a full frame."""
        if self.closed:
            self._pass_on_late()
            return False
        if self.flusher.start():
            self.flusher.awake = not self.closed  # it runs once it gets the GIL
            return True
        frames, now = self._frames, monotonic()
        if frames.oldest is None:
            frames.oldest = now
        if now - frames.oldest >= self._interval:
            self.drain(deadline=now)
        return len(self.pending) >= frames.chunk

    def wake(self) -> bool:
        """Wakes the flusher; False where there can be none, or it has ended."""
        if not self.flusher.awake and not self.closed and self.flusher.start():
            self.flusher.awake = not self.closed
        return self.flusher.awake

    def _pass_on_late(self) -> None:
        """Passes on events of a thread that still used this buffer while it was closed or replaced."""
        with contextlib.suppress(IndexError):
            while True:
                item = self.pending.pop(0)
                try:
                    if self._late is None:
                        self._counts.dropped("closed", 1)
                    else:
                        self._late(self._frames.event_of(item))
                except Exception as error:  # noqa: BLE001 - an encoder that only writes, such as `text`
                    self._counts.failed(error, 1, "closed")

    def holds(self, seq: int) -> bool:
        """Whether the record of that number is pending, or may have been sent at once."""
        return self._unbuffered or any(getattr(item, "seq", 0) == seq for item in self.pending)

    # ---- the flusher's thread ----------------------------------------------------------------------------------------

    def _drain_soon(self) -> None:
        self.drain(deadline=monotonic() + 1.0)

    def _flusher_sleeps(self) -> None:
        """From now on the next event wakes the flusher."""
        with self._lock:
            self.flusher.awake, self.flush_at_seq = False, 0
            for item in self.sums:
                item.limit = 0

    def _is_idle(self) -> bool:
        return not self.pending and not self._frames.parts and all([item.idle for item in self.sums])

    def _collect(self) -> None:
        for item in self.sums:
            item.collect(monotonic() + 1.0)

    def _framed(self) -> int:
        return self._frames.framed

    # ---- called from anywhere ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts the flusher now, not at the first event."""
        self.flusher.start()

    def drain(self, *, deadline: float, last: Callable[[], Event | None] | None = None) -> bool:
        """Makes frames of all that is pending; False when another thread still did so at `deadline` (monotonic s).

        `last`: from then on nothing is taken any more, and the event that it returns ends the stream.
        """
        if not self._lock.acquire(timeout=max(0.0, deadline - monotonic())):
            return False
        if self.owner:
            self._release()
            return False
        self.owner = get_ident()
        frames = self._frames
        try:
            if not self.closed:
                frames.encode(self.pending, len(self.pending))  # other threads go on logging
            if frames.parts:
                frames.send_frame()
            if last is None:
                frames.report_drops()
        finally:
            try:
                if last is not None:
                    self._end(last)
            finally:
                self.owner = 0
                self._release()
        return True

    def _end(self, last: Callable[[], Event | None]) -> None:
        """Sends the end of the stream; called by the owner, so that no other call of the sender is under way."""
        self._take_no_more()
        self._pass_on_late()
        end = last()
        if end is not None:
            self._frames.send_own(end)

    def _take_no_more(self) -> None:
        self.closed = self._frames.ended = True
        self.flusher.awake, self.flush_at_seq = False, 0

    def flush(self, deadline: float) -> bool:
        """Sends everything accepted before this call; False when the deadline (monotonic seconds) came first."""
        done = self.drain(deadline=deadline)
        while self._unbuffered and self.pending and not self.closed:  # no flusher would send what was appended since
            if not self.drain(deadline=0.0) or monotonic() >= deadline:
                break
        done = done and self.dispatcher.flush(deadline)
        if done and self._counts.unreported:  # only now it is known that a report can be sent
            done = self.drain(deadline=deadline) and self.dispatcher.flush(deadline)
        return done

    @property
    def sent(self) -> tuple[int, int, int]:
        """Events of the application that were handed to the transport, their frames, and bytes of these."""
        dispatcher, alone = self.dispatcher, self.immediate
        if alone is None:
            return dispatcher.sent, dispatcher.frames, dispatcher.sent_bytes
        return dispatcher.sent + alone.sent, dispatcher.frames + alone.sent, dispatcher.sent_bytes + alone.bytes

    @property
    def unsent(self) -> int:
        """Events that were appended here, and neither sent nor dropped."""
        return len(self.pending) + self._frames.count + self.dispatcher.unsent

    def close(
        self, deadline: float, last: Callable[[], Event | None], late: Callable[[Event], None] | None = None
    ) -> None:
        """Sends what is pending, then the event that `last` returns; later events go to `late`, or are counted as `closed`.

        Where another call sends until the deadline, or a signal handler has interrupted one, what is pending is dropped, and the
        stream has no end: that call may be in the middle of the sender.
        """
        if self.closed:
            return
        self._late = late
        try:
            if not self.drain(deadline=deadline, last=last):
                self._take_no_more()
                self._drop_pending()
                self._pass_on_late()
        finally:
            self.flusher.close()
            self.dispatcher.close(deadline)

    def _drop_pending(self) -> None:
        dropped = 0
        with contextlib.suppress(IndexError):  # the thread that sends takes from it too
            while True:
                self.pending.pop()
                dropped += 1
        self._counts.dropped("exit", dropped)

    def after_fork(self) -> None:
        """In a forked child: what is pending is the parent's to send; locks and threads are new."""
        self.pending.clear()
        self._frames.reset()
        self._reset()
        if self.immediate is not None:
            self.immediate.reset()
        self.dispatcher.after_fork()
