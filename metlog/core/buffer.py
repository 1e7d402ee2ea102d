"""From events to frames: coalescing, flushing, shedding, fork and exit.

The fast path appends to `Buffer.pending` (atomic under the GIL, so without a lock) and calls `Buffer.flush_if_due` when an event's
`seq` has reached `Buffer.flush_at_seq`. Everything here runs once a frame, not once an event.

`flush_at_seq` says when a logging thread has to look after the buffer itself: after a chunk of events while the flusher is awake, at the
next one (0) while it sleeps or was not started yet, at every one where no thread gets its turn (uWSGI without threads). So
an idle process wakes for nothing, and one whose threads do not run still sends what is full or too old.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from threading import get_ident
from time import monotonic
from typing import Any, Final

from msgspec import Raw

from metlog.core.dispatch import Dispatcher
from metlog.core.interfaces import Encoder, Records
from metlog.core.stats import Counts
from metlog.core.truncate import truncated
from metlog.core.wakeup import Wakeup, threads_run
from metlog.event import Event

__all__ = ["Buffer"]

_FILL: Final = 0.95  # of a frame, since events vary in size
_CHUNK: Final = 32  # events that are encoded together, at most
_BACKLOG: Final = 4 << 20  # bytes, about, that may be pending before events are shed
_PATIENCE: Final = 0.01  # seconds that a logging thread gives the one that sends: without a flush interval, or at a quarter of the backlog
_TICK: Final = 0.1  # seconds: how often filters are told the time where there is no flush interval
_IDLE: Final = 5  # empty intervals after which the flusher sleeps until it is called

Item = Any  # an encoded event (bytes, or a Raw among records) or a record


class Buffer:
    """Holds events until they fill a frame or `flush_interval` seconds have gone by.

    An event goes from `pending` into `_parts`, encoded, and with these into a frame. An encoder with records encodes a chunk of
    them at once: each of the parts is then the lines of several events.
    """

    __slots__ = (
        "_acquire",
        "_awake",
        "_chunk",
        "_closed",
        "_count",
        "_counts",
        "_encode_frame",
        "_encoder",
        "_flusher",
        "_framed",
        "_interval",
        "_join",
        "_late_sink",
        "_limit",
        "_lock",
        "_low",
        "_max_event",
        "_max_frame",
        "_next_report",
        "_oldest",
        "_parts",
        "_release",
        "_report",
        "_separator",
        "_size",
        "_tick",
        "_unbuffered",
        "_wakeup",
        "append",
        "dispatcher",
        "flush_at_seq",
        "owner",
        "pending",
        "records",
    )  # fmt: skip

    def __init__(
        self,
        encoder: Encoder,
        dispatcher: Dispatcher,
        *,
        max_frame: int,
        max_event: int | None,
        flush_interval: float,
        counts: Counts,
        report: Callable[[], Event],
        tick: Callable[[], None] | None = None,
    ) -> None:
        self.pending: list[Item] = []
        self.dispatcher = dispatcher
        self.records: Records | None = getattr(encoder, "records", None)
        self._encode_frame = None if self.records is None else self.records.frame
        self._join: Callable[[list[bytes]], bytes] = encoder.frame if self.records is None else b"".join
        self._separator = 1 if self.records is None else 0  # bytes, at most, between two events of a frame
        self._encoder = encoder
        self._max_frame = max_frame - int(getattr(encoder, "overhead", 0))
        self._max_event = max_event or sys.maxsize
        self._unbuffered = flush_interval == 0
        self._low = 0 if self._unbuffered else int(self._max_frame * 0.8)  # bytes from which a frame is full
        self._interval = flush_interval or _TICK
        self._counts = counts
        self._report = report
        self._tick = tick
        self._closed = False
        self._late_sink: Callable[[Event], None] | None = None
        self.append: Callable[[Item], None] = self._append_unbuffered if self._unbuffered else self.pending.append
        self._reset()

    def _reset(self) -> None:
        # Held while frames are made: keeps them in order. A signal handler gets it on top of its own thread, and then finds
        # an owner: it does nothing, for only the thread below can go on.
        self._lock = threading.RLock()
        self._acquire, self._release = self._lock.acquire, self._lock.release
        self.owner = 0  # the thread that makes and sends frames; 0: none
        self._parts: list[bytes] = []  # of the next frame; with their size in bytes and the count of their events
        self._size = self._count = 0
        self._framed = 0  # events, ever
        self._limit = _BACKLOG // 300  # events that may be pending
        # Events to encode at once; a guess, at first.
        self._chunk = 1 if self._unbuffered else _chunk_of(self._max_frame // 400)
        self._awake = False  # the flusher looks after the buffer; put to sleep only under the lock
        self._wakeup = Wakeup()
        self._flusher: threading.Thread | None = None
        self._next_report = 0.0  # monotonic time
        self._oldest: float | None = None  # monotonic time of the oldest event, known only while nobody flushes
        self.flush_at_seq = sys.maxsize if self._unbuffered else 0

    # ---- called by the thread that logs ------------------------------------------------------------------------------

    def flush_if_due(self, seq: int) -> None:
        """Sends full frames; calls the flusher, or does its work where it does not run. Waits for nothing.

        `seq` is that of the event just added: from it the next `flush_at_seq` is reckoned.
        """
        if not self._awake and not self._wake_flusher():
            return
        if self._acquire(False) or self._under_pressure():
            if self.owner:
                self._release()
                return
            self.owner = get_ident()
            try:
                if not self._closed:
                    pending, chunk = self.pending, self._chunk
                    if len(pending) >= chunk:
                        self._encode_batch(chunk)
                    if self._awake:
                        self.flush_at_seq = seq + self._chunk - len(pending)
            finally:
                self.owner = 0
                self._release()
            if self._closed:
                self._hand_on_late()

    def _append_unbuffered(self, item: Item) -> None:
        """Without a flush interval: the event is a frame of its own, sent before the call returns.

        Another thread that is at it is waited for, a moment; one that takes longer takes the event along.
        """
        if self._tick is not None and not self._awake:
            self._start_flusher()  # the flusher has nothing to flush here, but keeps the filters' time
        if not self._acquire(False) and not self._acquire(timeout=_PATIENCE):
            self.pending.append(item)
            self._shed()
        elif self.owner or self.pending:
            self.pending.append(item)
            self._release()
        else:
            self.owner = get_ident()
            try:
                frame = self._encode_single([item])
                if self._closed or frame is None:
                    self.pending.append(item)
                else:
                    self._framed += 1
                    self.dispatcher.send(frame, 1)
            finally:
                self.owner = 0
                self._release()
        while self.pending:
            if self._closed:
                self._hand_on_late()
                return
            if not self.drain(deadline=0.0):
                return  # whoever is at it comes by here afterwards

    def _encode_single(self, record: list[Item]) -> bytes | None:
        """The frame of a record, when there is nothing else to see to."""
        if self._encode_frame is not None and not self._counts.unreported:
            try:
                frame: bytes = self._encode_frame(record)
            except Exception:  # noqa: BLE001 - a lone surrogate, say: the other way sees to it
                return None
            if len(frame) <= self._max_event:
                return frame
        return None

    def _under_pressure(self) -> bool:
        """Whether the lock could be had after all: when much is pending, the thread that sends needs the processor (the GIL).

        It waits for nothing but that; a signal handler or `__del__` in that thread has the lock already.
        """
        if len(self.pending) < self._limit // 4:
            return False
        if self._lock.acquire(timeout=_PATIENCE):
            return True
        self._shed()
        return False

    def _shed(self) -> None:
        """Drops the newest event where there are too many: a sender that says it never waits does."""
        if len(self.pending) > self._limit:
            with contextlib.suppress(IndexError):  # what is older may be in its hands
                self.pending.pop()
                self._counts.dropped("buffer_full", 1)

    def _wake_flusher(self) -> bool:
        """Calls the flusher, which is asleep; where there can be none, sends what is too old. Whether to look for what is full."""
        if self._closed:
            self._hand_on_late()
            return False
        if self._start_flusher():
            self._awake = not self._closed  # it comes as soon as the interpreter lets it
            return True
        now, oldest = monotonic(), self._oldest
        if oldest is None:
            self._oldest = oldest = now
        if now - oldest >= self._interval:
            self.drain(deadline=now)
        return len(self.pending) >= self._chunk

    def _start_flusher(self) -> bool:
        flusher = self._flusher
        if flusher is not None and flusher.is_alive():
            self._wakeup.wake()
            return True
        if not threads_run():
            return False
        self._flusher = flusher = threading.Thread(target=self._flusher_main, name="metlog-flusher", daemon=True)
        try:
            flusher.start()
        except RuntimeError:  # no thread can be started while the interpreter ends
            return False
        return True

    def _hand_on_late(self) -> None:
        """Events of a thread that still held this buffer while it was closed or replaced."""
        with contextlib.suppress(IndexError):
            while True:
                item = self.pending.pop(0)
                try:
                    if self._late_sink is None:
                        self._counts.dropped("closed", 1)
                    else:
                        self._late_sink(self._event_of(item))
                except Exception as error:  # noqa: BLE001 - an encoder that only writes, for people, say
                    self._counts.failed(error, 1, "closed")

    def holds(self, seq: int) -> bool:
        """Whether the record of that number is pending, or may have been sent at once."""
        return self._unbuffered or any(getattr(item, "seq", 0) == seq for item in self.pending)

    def _event_of(self, item: Item) -> Event:
        if self.records is not None and not isinstance(item, (bytes, Raw)):
            return self.records.event(item)
        return self._encoder.decode(self._encoder.frame([bytes(item)]))[0]

    # ---- frames, under the lock --------------------------------------------------------------------------------------

    def _encode_batch(self, most: int) -> None:
        """Takes pending events, encodes what is not yet encoded, and sends each frame that is full."""
        batch = self.pending[:most]
        count, before = len(batch), self._framed + self._count
        try:
            del self.pending[:count]
            if self._encode_frame is None:
                self._add_encoded(batch)
            else:
                try:
                    lines = self._encode_frame(batch)
                except Exception:  # noqa: BLE001 - a lone surrogate, say: `encode` finds out what, and says it
                    self._add_encoded([self._encoder.frame([data]) for data in self._encoded(batch)])
                    lines = b""
                size = len(lines)
                if self._size + size > self._max_frame and self._parts:
                    self._send_frame()
                if size > self._max_frame and count > 1:
                    self._chunk = _chunk_of(int(self._max_frame * _FILL * count) // size)
                    assert self.records is not None
                    self._add_encoded(self.records.split(lines))
                elif lines:
                    self._parts.append(lines)
                    self._size += size
                    self._count += count
            if self._size >= self._low:
                self._send_frame()
        except BaseException:  # KeyboardInterrupt, say: what was not added yet is pending again
            self.pending[:0] = batch[self._framed + self._count - before :]
            raise

    def _add_encoded(self, batch: list[bytes]) -> None:
        for data in batch:
            size = len(data) + self._separator
            if self._parts and self._size + size > self._max_frame:
                self._send_frame()
            self._parts.append(data)
            self._size += size
            self._count += 1

    def _send_frame(self) -> None:
        """Sends the frame that was gathered."""
        parts, size, count = self._parts, self._size, self._count
        try:
            self._parts, self._size, self._count, self._oldest = [], 0, 0, None
            self._framed += count
            if not self._low <= size <= self._max_frame and not self._unbuffered:
                self._chunk = _chunk_of(int(self._max_frame * _FILL * count) // size)
                self._limit = max(8 * self._chunk, _BACKLOG * count // size)
            frame = self._join(parts)
            if len(frame) > self._max_event:
                cut = truncated(frame, parts[0], self._encoder, self._max_event)
                if cut is None:
                    self._counts.dropped("too_large", count)
                    return
                frame = cut
        except BaseException as error:  # an encoder may raise anything, and so may a signal handler
            self._counts.failed(error, count, "frame_error")
            if not isinstance(error, Exception):
                raise
            return
        self.dispatcher.send(frame, count)
        self._report_drops()

    def _report_drops(self) -> None:
        """A frame with the report of what was dropped, where it can be sent; at most one an interval, since it may be dropped as well."""
        if not self._counts.unreported or not self.dispatcher.reaches:
            return
        now = monotonic()
        if now >= self._next_report:
            self._next_report = now + self._interval
            self._send_own_event(self._report())
            if not self.dispatcher.reaches:
                self._counts.unreported = True

    def _encoded(self, batch: list[Item]) -> list[bytes]:
        """The items of a batch, each encoded by itself; one that cannot be is counted and left out."""
        encoded: list[bytes] = []
        for item in batch:
            try:
                if isinstance(item, (bytes, Raw)):
                    encoded.append(bytes(item))
                elif self.records is not None:
                    encoded.append(self._encoder.encode(self.records.event(item)))
            except Exception as error:  # noqa: BLE001 - an encoder may raise anything
                self._counts.failed(error, 1, "encode_error")
        return encoded

    def _send_own_event(self, event: Event) -> None:
        """Sends an event of metlog's own, as a frame of its own. Cut, it would say nothing: a transport too small for it goes without."""
        frame = self._encoder.frame([self._encoder.encode(event)])
        if len(frame) <= self._max_event:
            self.dispatcher.send(frame, 0)

    # ---- the flusher -------------------------------------------------------------------------------------------------

    def _flusher_main(self) -> None:
        try:
            self._flush_until_closed()
        finally:  # whatever ended it: the next event finds nobody awake, and starts another
            self._awake, self.flush_at_seq = False, 0

    def _flush_until_closed(self) -> None:
        """The thread: flushes every interval, sleeps when there is nothing to do, survives whatever a sender raises."""
        wakeup, idle, shipped = self._wakeup, 0, -1
        self._awake = not self._closed
        while not self._closed:
            wakeup.wait(self._interval / 2)
            if self._closed:
                break
            idle = 0 if self.pending or self._parts else idle + 1
            if self._tick is not None:
                with contextlib.suppress(BaseException):  # as below
                    self._tick()
            if self._framed != shipped:
                # Callers fill frames and send them: what is left is younger than this round, and a thread that took the
                # lock from them would only wait for the GIL with it.
                shipped = self._framed
                continue
            with contextlib.suppress(BaseException):  # counted where it was raised; this thread lives on
                self.drain(deadline=monotonic() + 1.0)
            if idle >= _IDLE and self._tick is None:
                with self._lock:
                    self._awake, self.flush_at_seq = False, 0
                if (
                    not self.pending and not self._parts
                ):  # an event that comes from now on finds `flush_at_seq` and calls
                    wakeup.wait(None)
                self._awake, idle = not self._closed, 0

    def drain(self, *, deadline: float, last: bool = False) -> bool:
        """Makes frames of all that is pending; False when another thread was still at it at `deadline` (monotonic s).

        `last`: nothing is taken any more.
        """
        if not self._lock.acquire(timeout=max(0.0, deadline - monotonic())):
            return False
        if self.owner:
            self._release()
            return False
        self.owner = get_ident()
        try:
            left = 0 if self._closed else len(self.pending)  # other threads go on logging
            while left > 0:
                left -= self._chunk
                self._encode_batch(self._chunk)
            if self._parts:
                self._send_frame()
            if not last:
                self._report_drops()
        finally:
            if last:
                self._closed, self._awake, self.flush_at_seq = True, False, 0
            self.owner = 0
            self._release()
        return True

    def flush(self, deadline: float) -> bool:
        """Sends everything accepted before this call; False when the deadline (monotonic seconds) came first."""
        done = self.drain(deadline=deadline)
        while self._unbuffered and self.pending and not self._closed:  # nobody else would send what came meanwhile
            if not self.drain(deadline=0.0) or monotonic() >= deadline:
                break
        done = done and self.dispatcher.flush(deadline)
        if done and self._counts.unreported:  # what was sent just now tells that a report can be sent
            done = self.drain(deadline=deadline) and self.dispatcher.flush(deadline)
        return done

    @property
    def unsent(self) -> int:
        """Events that were left here, and neither sent nor dropped."""
        return len(self.pending) + self._count + self.dispatcher.unsent

    def start(self) -> None:
        """Starts the flusher now, not at the first event."""
        self._start_flusher()

    def close(
        self, deadline: float, last: Callable[[], Event | None], late: Callable[[Event], None] | None = None
    ) -> None:
        """Sends what is pending and then what `last` gives; events that still come go to `late`, or are counted as `closed`."""
        if self._closed:
            return
        self._late_sink = late
        if not self.drain(deadline=deadline, last=True):
            self._closed, self._awake, self.flush_at_seq = True, False, 0
            shed = 0
            with contextlib.suppress(IndexError):
                while True:
                    self.pending.pop()
                    shed += 1
            self._counts.dropped("exit", shed)
        self._hand_on_late()
        end = last()
        if end is not None:
            try:
                self._send_own_event(end)
            except Exception as error:  # noqa: BLE001 - an encoder may raise anything
                self._counts.error("encode_error", error)
        self._wakeup.wake()
        self.dispatcher.close(deadline)

    def after_fork(self) -> None:
        """In a forked child: what is pending is the parent's to send; locks and threads are new."""
        self.pending.clear()
        self._reset()
        self.dispatcher.after_fork()


def _chunk_of(per_frame: int) -> int:
    """How many events to encode at once: all of a small frame, an even part of a large one, so that no call takes much longer
    than others."""
    per_frame = max(1, per_frame)
    return -(-per_frame // -(-per_frame // _CHUNK))
