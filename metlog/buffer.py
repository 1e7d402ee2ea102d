"""From events to frames: coalescing, flushing, shedding, fork and exit.

The hot path appends to `Buffer.pending` (atomic under the GIL, so without a lock) and calls `Buffer.attend` when an event's
`seq` has reached `Buffer.due`. Everything here runs once a frame, not once an event.

`due` says when a logging thread has to look after the buffer itself: after about a full frame while the flusher runs, at
every event (0) while it sleeps, was not started yet or does not get its turn (uWSGI without threads). So an idle process wakes
for nothing, and one whose threads do not run still sends what is full or too old.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from threading import get_ident
from time import monotonic
from typing import Any, Final, Protocol

from msgspec import Raw
from msgspec.structs import replace

from metlog.counts import Counts
from metlog.encoders import Encoder, Records
from metlog.errors import DecodeError
from metlog.event import Event
from metlog.waker import Waker

__all__ = ["Buffer", "Outlet"]

_FILL: Final = 0.95  # of a frame: events vary in size, and a frame that is too long is cut and put back, which costs
_FRAMES_A_CALL: Final = 8  # that one logging thread sends for the others before it goes back to its own work
_BACKLOG: Final = 4 << 20  # bytes, about, that may be pending before events are shed
_PATIENCE: Final = 0.01  # seconds that a logging thread gives the one that sends, at a quarter of the backlog
_TICK: Final = 0.1  # seconds: how often filters are told the time where there is no flush interval
_IDLE: Final = 20  # empty intervals after which the flusher sleeps until it is called
_MARK: Final = "… [truncated]"

Item = Any  # an encoded event (bytes, or a Raw among records) or a record


class Outlet(Protocol):
    """Where frames go: a sender called in place (`Direct`), or one behind a queue (`Queued`)."""

    sent: int
    frames: int
    sent_bytes: int
    """Events of the application, frames and bytes that were handed to the transport."""

    def send(self, frame: bytes, count: int) -> None:
        """Takes a frame that holds `count` events of the application; never waits, never raises an Exception."""

    @property
    def held(self) -> int:
        """Events taken and neither sent nor dropped."""

    def flush(self, deadline: float) -> bool:
        """Waits until all taken before is out, at most until `deadline` (monotonic seconds); False when that came first."""

    def close(self, deadline: float) -> None:
        """Sends what it can until the deadline, counts the rest, closes the sender."""

    def after_fork(self) -> None:
        """Forgets what belongs to the parent."""


class Buffer:
    """Holds events until they fill a frame or `flush_interval` seconds have gone by."""

    __slots__ = (
        "_acquire",
        "_awake",
        "_closed",
        "_counts",
        "_encoder",
        "_flusher",
        "_frames",
        "_high",
        "_interval",
        "_join",
        "_late",
        "_lock",
        "_low",
        "_max_event",
        "_max_frame",
        "_next_report",
        "_oldest",
        "_owner",
        "_per_frame",
        "_release",
        "_report",
        "_straight",
        "_tick",
        "_waker",
        "due",
        "leave",
        "outlet",
        "pending",
        "records",
    )

    def __init__(
        self,
        encoder: Encoder,
        outlet: Outlet,
        *,
        max_frame: int,
        max_event: int | None,
        flush_interval: float,
        counts: Counts,
        report: Callable[[], Event],
        tick: Callable[[], None] | None = None,
    ) -> None:
        self.pending: list[Item] = []
        self.outlet = outlet
        self._encoder = encoder
        self.records: Records | None = getattr(encoder, "records", None)
        self._join = encoder.frame if self.records is None else self.records.frame
        self._max_frame = max_frame
        self._max_event = max_event or sys.maxsize
        self._interval = flush_interval or _TICK
        self._counts = counts
        self._report = report
        self._tick = tick
        self._straight = flush_interval == 0
        self._per_frame = 1 if self._straight else max(1, max_frame // 400)  # until real events tell their size
        # Bytes; a frame outside of that is seen to by `_fit`, and changes `_per_frame`.
        self._low, self._high = (0, self._max_event) if self._straight else (int(max_frame * 0.8), max_frame)
        self.leave: Callable[[Item], None] = self._leave_straight if self._straight else self.pending.append
        self._closed = False
        self._late: Callable[[Event], None] | None = None
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()  # held while frames are made: keeps them in order
        self._acquire, self._release = self._lock.acquire, self._lock.release
        self.due = sys.maxsize if self._straight else 0
        self._owner = 0  # the thread that holds it
        self._frames = 0  # made, ever
        self._awake = False  # the flusher looks after the buffer; changed only under the lock
        self._waker = Waker()
        self._flusher: threading.Thread | None = None
        self._next_report = 0.0  # monotonic time
        self._oldest: float | None = None  # monotonic time of the oldest pending event, known only while nobody flushes

    # ---- called by the thread that logs ------------------------------------------------------------------------------

    def attend(self, seq: int) -> None:
        """Sends full frames; calls the flusher, or does its work where it does not run. Waits for nothing.

        `seq` is that of the event just added: from it the next `due` is reckoned.
        """
        if not self._awake and not self._stand_in():
            return
        pending = self.pending
        if self._acquire(False) or self._under_pressure():
            self._owner = get_ident()
            try:
                left = _FRAMES_A_CALL
                while len(pending) >= self._per_frame and left:
                    self._send_frame()
                    left -= 1
                if self._awake:
                    self.due = seq + self._per_frame - len(pending)
            finally:
                self._owner = 0
                self._release()

    def _leave_straight(self, item: Item) -> None:
        """Without a flush interval: the event is a frame of its own, sent before the call returns.

        While another thread is at it, that one takes the event along.
        """
        if self._closed or not self._acquire(False):
            self.pending.append(item)
        else:
            self._owner = get_ident()
            try:
                self._send([item])
            finally:
                self._owner = 0
                self._release()
        if self.pending:
            if self._closed:
                self._take_late()
            else:
                self.drain(deadline=0.0)

    def _under_pressure(self) -> bool:
        """Whether the lock could be had after all: when much is pending, the thread that sends needs the processor (the GIL).

        It waits for nothing but that. In its own thread (a signal handler, `__del__`) there is no waiting.
        """
        limit = self._per_frame * max(8, _BACKLOG // self._max_frame)
        if len(self.pending) < limit // 4:
            return False
        if self._owner != get_ident() and self._lock.acquire(timeout=_PATIENCE):
            return True
        if len(self.pending) > limit:  # a sender that says it never waits does; what is older may be in its hands
            with contextlib.suppress(IndexError):
                self.pending.pop()
                self._counts.dropped("buffer_full", 1)
        return False

    def _stand_in(self) -> bool:
        """Calls the flusher; says whether the caller should go on and send, since the flusher does not come."""
        if self._closed:
            self._take_late()
            return False
        now = monotonic()
        if self._oldest is None:
            self._oldest = now
            self._rouse()
        if len(self.pending) >= self._per_frame:
            return True
        if now - self._oldest >= self._interval:
            self._rouse()
            self.drain(deadline=now)
        return False

    def _rouse(self) -> None:
        flusher = self._flusher
        if flusher is not None and flusher.is_alive():
            self._waker.wake()
            return
        self._flusher = flusher = threading.Thread(target=self._work, name="metlog-flusher", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread can be started while the interpreter ends: we stand in
            flusher.start()

    def _take_late(self) -> None:
        """Events of a thread that still held this buffer while it was closed or replaced."""
        with contextlib.suppress(IndexError):
            while True:
                item = self.pending.pop(0)
                if self._late is None:
                    self._counts.dropped("closed", 1)
                else:
                    for data in self._encoded([item]):
                        for event in self._encoder.decode(self._encoder.frame([data])):
                            self._late(event)

    # ---- frames, under the lock --------------------------------------------------------------------------------------

    def _send_frame(self) -> None:
        batch = self.pending[: self._per_frame]
        del self.pending[: len(batch)]
        self._send(batch)

    def _send(self, batch: list[Item]) -> None:
        count = len(batch)
        try:
            try:
                frame = self._join(batch)
            except Exception:  # noqa: BLE001 - a lone surrogate, say: `encode` finds out what, and says it
                batch = self._encoded(batch)
                count = len(batch)
                frame = self._encoder.frame(batch)
            if not count:
                return
            if not self._low <= len(frame) <= self._high:
                frame, count = self._fit(frame, batch)
            if self._counts.untold:
                self._tell_drops()
            self._oldest = None
            self._frames += 1
        except BaseException:
            self._counts.dropped("frame_error", count)
            raise
        self.outlet.send(frame, count)

    def _fit(self, frame: bytes, batch: list[Item]) -> tuple[bytes, int]:
        """A frame of the right size, and how many of the batch's events are in it; what is too much is pending again."""
        size, most, count = len(frame), self._max_frame, len(batch)
        self._per_frame = 1 if self._straight else max(1, int(most * _FILL * count / max(size, 1)))
        self._high = most if self._per_frame > 1 else self._max_event
        if size > most and count > 1:
            frame, count = self._trim(frame, batch)
        if len(frame) > self._max_event:
            frame = self._truncate(frame)
        return frame, count

    def _tell_drops(self) -> None:
        """A frame with the report of what was dropped; at most one an interval, since it may be dropped as well."""
        now = monotonic()
        if now >= self._next_report:
            self._next_report = now + self._interval
            self.outlet.send(self._frame_of(self._report()), 0)

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

    def _trim(self, frame: bytes, batch: list[Item]) -> tuple[bytes, int]:
        """Puts back from the end of a batch what makes its frame too long."""
        encoded = list(batch) if self.records is None else self.records.split(frame)
        back: list[bytes] = []
        while len(frame) > self._max_frame and len(encoded) > 1:
            excess = len(frame) - self._max_frame
            while excess > 0 and len(encoded) > 1:
                data = encoded.pop()
                excess -= len(data)
                back.append(data)
            frame = self._encoder.frame(encoded)
        back.reverse()
        self.pending[:0] = back if self.records is None else map(Raw, back)
        return frame, len(encoded)

    def _truncate(self, frame: bytes) -> bytes:
        """Cuts the payload of an event that is larger than the transport can carry, then its fields, and marks it."""
        try:
            event = self._encoder.decode(frame)[0]
        except (DecodeError, NotImplementedError):  # an encoder for people: the text itself is cut
            mark = _MARK.encode() + b"\n"
            return frame[: self._max_event - len(mark)].decode("utf-8", "ignore").encode() + mark
        room = self._max_event
        text = event.payload
        fields: dict[str, Any] = {**event.fields, "truncated": True}
        while True:
            cut = self._frame_of(replace(event, payload=text + _MARK, fields=fields))
            if len(cut) <= room:
                return cut
            if text:
                text = text[: min(len(text) - 1, max(0, len(text) - (len(cut) - room)))]
            elif len(fields) > 1:
                largest = max((key for key in fields if key != "truncated"), key=lambda key: len(repr(fields[key])))
                del fields[largest]
            else:  # tokens or type alone are too long
                event = replace(event, type=event.type[:256], tokens=(), logger=event.logger[:256])

    def _frame_of(self, event: Event) -> bytes:
        return self._encoder.frame([self._encoder.encode(event)])

    # ---- the flusher -------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._run()
        finally:  # whatever ended it: the next event finds nobody awake, and starts another
            self._awake, self.due = False, 0

    def _run(self) -> None:
        """The thread: flushes every interval, sleeps when there is nothing to do, survives whatever a sender raises."""
        waker, idle, frames = self._waker, 0, -1
        self._awake = True
        while not self._closed:
            waker.wait(self._interval / 2)
            if self._closed:
                break
            idle = 0 if self.pending else idle + 1
            if self._frames != frames:
                # Callers fill frames and send them: what is left is younger than this round, and a thread that took the
                # lock from them would only wait for the GIL with it.
                frames = self._frames
                continue
            with contextlib.suppress(BaseException):  # counted where it was raised; this thread lives on
                if self._tick is not None:
                    self._tick()
                self.drain(deadline=monotonic() + 1.0)
            if idle >= _IDLE and self._tick is None:
                with self._lock:
                    self._awake, self.due = False, 0
                if not self.pending:  # an event that comes from now on finds `due` and calls
                    waker.wait(None)
                self._awake, idle = True, 0

    def drain(self, *, deadline: float) -> bool:
        """Makes frames of all that is pending; False when another thread was still at it at `deadline` (monotonic s)."""
        if not self._lock.acquire(timeout=max(0.0, deadline - monotonic())):
            return False
        self._owner = get_ident()
        try:
            for _ in range(len(self.pending)):  # bounded: other threads go on logging
                if not self.pending:
                    break
                self._send_frame()
        finally:
            self._owner = 0
            self._lock.release()
        return True

    def flush(self, deadline: float) -> bool:
        """Sends everything accepted before this call; False when the deadline (monotonic seconds) came first."""
        return self.drain(deadline=deadline) and self.outlet.flush(deadline)

    def start(self) -> None:
        """Starts the flusher now, not at the first event."""
        self._rouse()

    def close(
        self, deadline: float, last: Callable[[], Event | None], late: Callable[[Event], None] | None = None
    ) -> None:
        """Sends what is pending and then what `last` gives; events that still come go to `late`, or are counted as `closed`."""
        if self._closed:
            return
        if not self.drain(deadline=deadline):
            shed = 0
            with contextlib.suppress(IndexError):
                while True:
                    self.pending.pop()
                    shed += 1
            self._counts.dropped("exit", shed)
        self._late = late
        with self._lock:
            self._closed, self._awake, self.due = True, False, 0
        self._take_late()
        end = last()
        if end is not None:
            try:
                self.outlet.send(self._frame_of(end), 0)
            except Exception as error:  # noqa: BLE001 - an encoder may raise anything
                self._counts.error("encode_error", error)
        self._waker.wake()
        self.outlet.close(deadline)

    def after_fork(self) -> None:
        """In a forked child: what is pending is the parent's to send; locks and threads are new."""
        self.pending.clear()
        self._reset()
        self.outlet.after_fork()
