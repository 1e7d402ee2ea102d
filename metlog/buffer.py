"""From encoded events to frames: coalescing, flushing, shedding, fork and exit.

The hot path appends to `Buffer.pending` (atomic under the GIL, so without a lock) and calls `Buffer.attend` when
`Buffer.threshold` events are pending. Everything here runs once a frame, not once an event.

`threshold` says when a logging thread has to look after the buffer itself: at about a full frame while the flusher runs, at
every event while it sleeps, was not started yet or does not get its turn (uWSGI without threads). So an idle process wakes
for nothing, and one whose threads do not run still sends what is full or too old.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident
from time import monotonic
from typing import Any, Final, Protocol

from msgspec.structs import replace

from metlog.encoders import Encoder
from metlog.errors import DecodeError
from metlog.event import Event
from metlog.waker import Waker

__all__ = ["Buffer", "Outlet"]

_FILL: Final = 0.9  # of a frame: events vary in size, and a frame that is too long is cut and put back, which costs
_FRAMES_A_CALL: Final = 8  # that one logging thread sends for the others before it goes back to its own work
_BACKLOG: Final = 4 << 20  # bytes that may be pending before the oldest events are shed
_PATIENCE: Final = 0.01  # seconds that a logging thread gives the one that sends, at a quarter of the backlog
_IDLE: Final = 20  # empty intervals after which the flusher sleeps until it is called
_MARK: Final = "… [truncated]"


class Outlet(Protocol):
    """Where frames go: a sender called in place (`Direct`), or one behind a queue (`Queued`)."""

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
    """Holds encoded events until they fill a frame or `flush_interval` seconds have gone by."""

    def __init__(
        self,
        encoder: Encoder,
        outlet: Outlet,
        *,
        max_frame: int,
        max_event: int | None,
        flush_interval: float,
        dropped: Callable[[str, int], None],
        report: Callable[[], bytes | None],
        tick: Callable[[], None] | None = None,
    ) -> None:
        self.pending: deque[bytes] = deque()
        self.threshold = 1
        self.outlet = outlet
        self._encoder = encoder
        self._max_frame = max_frame
        self._max_event = max_event
        self._interval = flush_interval
        self._dropped = dropped
        self._report = report
        self._tick = tick
        self._per_frame = max(1, max_frame // 400)  # until real events tell their size
        self._closed = False
        self._late: Callable[[bytes], None] | None = None
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()  # held while frames are made: keeps them in order
        self._owner = 0  # the thread that holds it
        self._frames = 0  # made, ever
        self._waker = Waker()
        self._flusher: threading.Thread | None = None
        self._oldest: float | None = None  # monotonic time of the oldest pending event, known only while nobody flushes

    # ---- called by the thread that logs ------------------------------------------------------------------------------

    def attend(self) -> None:
        """Sends full frames; wakes the flusher, or does its work where it does not run. Waits for nothing."""
        if self._closed:
            self._take_late()
            return
        if self.threshold < self._per_frame and not self._stand_in():
            return
        if self._lock.acquire(blocking=False) or self._under_pressure():
            self._owner = get_ident()
            try:
                for _ in range(_FRAMES_A_CALL):
                    if len(self.pending) < self._per_frame:
                        break
                    self._send_frame()
            finally:
                self._owner = 0
                self._lock.release()

    def _under_pressure(self) -> bool:
        """Whether the lock could be had after all: when much is pending, the thread that sends needs the processor (the GIL).

        It waits for nothing but that. In its own thread (a signal handler, `__del__`) there is no waiting.
        """
        limit = self._per_frame * max(8, _BACKLOG // self._max_frame)
        if len(self.pending) < limit // 4 or self._owner == get_ident():
            return False
        if self._lock.acquire(timeout=_PATIENCE):
            return True
        if len(self.pending) > limit:
            self._shed(limit // 2)
        return False

    def _stand_in(self) -> bool:
        """Calls the flusher; says whether the caller should go on and send, since the flusher does not come."""
        self._rouse()
        if len(self.pending) >= self._per_frame:
            return True
        now = monotonic()
        if self._oldest is None:
            self._oldest = now
        elif now - self._oldest >= self._interval:
            self.drain(deadline=now)
        return False

    def _rouse(self) -> None:
        flusher = self._flusher
        if flusher is not None and flusher.is_alive():
            self._waker.wake()
            return
        self._flusher = flusher = threading.Thread(target=self._run, name="metlog-flusher", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread can be started while the interpreter ends: we stand in
            flusher.start()

    def _shed(self, leave: int) -> None:
        shed = 0
        with contextlib.suppress(IndexError):  # another thread was faster
            while len(self.pending) > leave:
                self.pending.popleft()
                shed += 1
        self._dropped("buffer_full", shed)

    def _take_late(self) -> None:
        """An event of a thread that still held this buffer while it was closed or replaced."""
        with contextlib.suppress(IndexError):
            while True:
                data = self.pending.popleft()
                if self._late is None:
                    self._dropped("closed", 1)
                else:
                    self._late(data)

    # ---- frames, under the lock --------------------------------------------------------------------------------------

    def _send_frame(self) -> None:
        pop = self.pending.popleft
        batch: list[bytes] = []
        own = 0
        try:
            with contextlib.suppress(IndexError):  # shed meanwhile
                for _ in range(min(self._per_frame, len(self.pending))):
                    batch.append(pop())  # noqa: PERF401 - what was popped must not be lost when the deque runs out
            if not batch:
                return
            report = self._report()
            if report is not None:
                batch.append(report)
                own = 1
            frame = self._encoder.frame(batch)
            if len(frame) > self._max_frame and len(batch) > 1:
                frame, own = self._trim(batch, own)
            if self._max_event is not None and len(frame) > self._max_event:
                frame = self._truncate(frame)
            self._per_frame = max(1, int(self._max_frame * _FILL * len(batch) / max(len(frame), 1)))
            if self.threshold > 1:
                self.threshold = self._per_frame
            self._oldest = None
            self._frames += 1
        except BaseException:
            self._dropped("frame_error", len(batch) - own)
            raise
        self.outlet.send(frame, len(batch) - own)

    def _trim(self, batch: list[bytes], own: int) -> tuple[bytes, int]:
        """Puts back from the end of a batch what makes its frame too long."""
        back: list[bytes] = []
        if own:  # the report can wait for a frame with room
            batch.pop()
        frame = self._encoder.frame(batch)
        while len(frame) > self._max_frame and len(batch) > 1:
            excess = len(frame) - self._max_frame
            while excess > 0 and len(batch) > 1:
                data = batch.pop()
                excess -= len(data)
                back.append(data)
            frame = self._encoder.frame(batch)
        self.pending.extendleft(back)
        return frame, 0

    def _truncate(self, frame: bytes) -> bytes:
        """Cuts the payload of an event that is larger than the transport can carry, then its fields, and marks it."""
        assert self._max_event is not None
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

    def _run(self) -> None:
        """The thread: flushes every interval, sleeps when there is nothing to do, survives whatever a sender raises."""
        waker, idle, frames = self._waker, 0, -1
        while not self._closed:
            self.threshold = self._per_frame
            waker.wait(self._interval / 2)
            if self._closed:
                break
            idle = 0 if self.pending else idle + 1
            if (
                self._frames != frames
            ):  # callers fill frames and send them: what is left is younger than this round, and
                frames = self._frames  # a thread that took the lock from them would only wait for the GIL with it
                continue
            with contextlib.suppress(BaseException):  # counted where it was raised; this thread lives on
                if self._tick is not None:
                    self._tick()
                self.drain(deadline=monotonic() + 1.0)
            if idle >= _IDLE and self._tick is None:
                self.threshold = 1  # first, so that an event that comes now finds it and calls
                if not self.pending:
                    waker.wait(None)
                idle = 0

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
        self, deadline: float, last: Callable[[], bytes | None], late: Callable[[bytes], None] | None = None
    ) -> None:
        """Sends what is pending and then what `last` gives; events that still come go to `late`, or are counted as `closed`."""
        if self._closed:
            return
        if not self.drain(deadline=deadline):
            self._shed_all("exit")
        self._late = late
        self._closed = True
        self.threshold = 1
        self._take_late()
        end = last()
        if end is not None:
            self.outlet.send(self._encoder.frame([end]), 0)
        self._waker.wake()
        self.outlet.close(deadline)

    def _shed_all(self, reason: str) -> None:
        count = 0
        with contextlib.suppress(IndexError):
            while True:
                self.pending.popleft()
                count += 1
        self._dropped(reason, count)

    def after_fork(self) -> None:
        """In a forked child: what is pending is the parent's to send; locks and threads are new."""
        self.pending.clear()
        self.threshold = 1
        self._reset()
        self.outlet.after_fork()
