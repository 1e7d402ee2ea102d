"""What `configure` builds: filters, encoder and buffer in a row, and the count of what became of every event."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count
from time import monotonic
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from metlog.buffer import Buffer
from metlog.context import current
from metlog.encoders import Encoder
from metlog.event import END_TYPE, ENV_VERSION, ONE, REPORT_TYPE, Event
from metlog.filters import Filter
from metlog.lifecycle import live
from metlog.outlet import Direct, Queued
from metlog.senders import Sender

__all__ = ["Fan", "OnDrop", "Pipeline", "Stats", "Unconfigured"]

OnDrop = Callable[[str, int], None]

_log: Final = logging.getLogger("metlog")
_now: Final = datetime.now
_inside = threading.local()  # set while filters or the drop hook run: what they log must not run them again


class Stats(Struct, kw_only=True):
    """Counts since `configure`. At every moment `accepted == sent + sum(dropped.values()) + buffered`."""

    accepted: int = 0
    """Events that passed the filters and were given a `seq`."""
    filtered: int = 0
    """Events that a filter dropped, and calls made before `configure`."""
    sent: int = 0
    """Events handed to the transport."""
    buffered: int = 0
    """Events on their way: pending, in a queue, or in a frame that is being sent."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Events lost in this process, by reason."""
    frames: int = 0
    bytes: int = 0
    """Frames sent, and their bytes."""
    errors: int = 0
    """What senders, encoders and filters raised."""
    repaired: int = 0
    """Events with a value that had to be changed to be sayable (see `metlog.values`)."""

    def add(self, other: Stats) -> None:
        """Adds another's counts."""
        for name in ("accepted", "filtered", "sent", "buffered", "frames", "bytes", "errors", "repaired"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, number in other.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + number


class Tick(count):  # type: ignore[type-arg]
    """A count that rises without a lock; `value` says how far."""

    @property
    def value(self) -> int:
        return int(repr(self)[5:-1])  # "Tick(…)": the only way to look without counting


class Pipeline:
    """One way out: filters, then a `seq`, then the encoder, then the buffer of one sender."""

    def __init__(
        self,
        *,
        logger: str,
        hostname: str,
        filters: Sequence[Filter],
        encoder: Encoder,
        sender: Sender,
        fields: dict[str, Any] | None = None,
        max_frame: int | None = None,
        flush_interval: float = 0.1,
        max_bytes: int = 8 << 20,
        exit_timeout: float = 2.0,
        on_drop: OnDrop | None = None,
    ) -> None:
        self.logger = logger
        self.hostname = hostname
        self.filters = tuple(filters)
        self.encoder = encoder
        self.sender = sender
        self.fields = fields or {}
        self.severity_max = min((getattr(item, "severity_max", 7) for item in filters), default=7)
        self.exit_timeout = exit_timeout
        self.closed = False
        self._on_drop = on_drop
        self._tally = threading.RLock()  # reentrant: a signal handler may log while its own thread counts
        self._told: set[str] = set()
        for item in self.filters:
            if hasattr(item, "emit"):
                item.emit = self._emit
        self._ticks = [item.tick for item in self.filters if hasattr(item, "tick")]
        nonblocking = getattr(sender, "nonblocking", False)
        self.buffer = Buffer(
            encoder,
            Direct(sender, self) if nonblocking else Queued(sender, self, max_bytes=max_bytes),
            max_frame=max_frame or sender.max_frame,
            max_event=getattr(sender, "max_event", None),
            flush_interval=flush_interval,
            dropped=self.dropped,
            report=self._report,
            tick=self._tick if self._ticks else None,
        )
        self._pending = self.buffer.pending
        self._encode = encoder.encode
        self._start_stream()
        live.add(self)

    def _start_stream(self) -> None:
        self.pid = os.getpid()
        self.stream = os.urandom(8).hex()
        self.seq = Tick(1)
        self.filtered = Tick()
        self._stats = Stats()
        self._own = 0  # events of metlog's own, which the counts leave out
        self._reported = 0

    # ---- the hot path ------------------------------------------------------------------------------------------------

    def put(
        self,
        type: str,
        tokens: tuple[str, ...],
        severity: int,
        payload: str,
        fields: dict[str, Any] | None,
        weight: float = ONE,
        logger: str | None = None,
    ) -> None:
        """Builds the event and sends it on its way. `severity` was held against `severity_max` by the caller."""
        context = current.get()
        if context is not None or self.fields:
            fields = {**self.fields, **(context or {}), **(fields or {})}
        event = Event(
            _now(UTC), type, tokens, logger or self.logger, severity, payload, fields or {}, weight,
            ENV_VERSION, self.pid, self.hostname, self.stream,
        )  # fmt: skip
        if self.filters:
            kept = self._filter(event)
            if kept is None:
                return
            event = kept
        self.accept(event)

    def accept(self, event: Event) -> None:
        """Gives the event its `seq`, encodes it, and leaves it to the buffer."""
        event.seq = next(self.seq)
        try:
            self._pending.append(self._encode(event))
        except Exception as error:  # noqa: BLE001 - an encoder may raise anything
            self.failed(error, 1, "encode_error")
            return
        if len(self._pending) >= self.buffer.threshold:
            self.buffer.attend()

    def offer(self, event: Event) -> None:
        """Takes a copy of an event that another pipeline built (`tee`)."""
        if event.severity > self.severity_max:
            next(self.filtered)
            return
        mine = replace(event, stream=self.stream)
        kept = self._filter(mine) if self.filters else mine
        if kept is not None:
            self.accept(kept)

    # ---- beside it ---------------------------------------------------------------------------------------------------

    def _filter(self, event: Event) -> Event | None:
        if getattr(_inside, "active", False):
            self.tell("recursion", "a filter or drop hook logs an event itself: that event is left out")
            next(self.filtered)
            return None
        _inside.active = True
        try:
            for keep in self.filters:
                kept = keep(event)
                if kept is None:
                    next(self.filtered)
                    return None
                event = kept
        except Exception as error:  # noqa: BLE001 - a filter may raise anything; what it guards must not leave
            next(self.filtered)
            self._count_error("filter_error", error)
            return None
        finally:
            _inside.active = False
        return event

    def refuse(self, severity: int) -> int:
        """A severity above `severity_max` is filtered (-1); one that does not exist is brought to the nearest that does."""
        if not 0 <= severity <= 7:
            self.tell(
                "severity", f"severity = {severity}: a severity is 0 (emergency) to 7 (debug); taken as the nearest"
            )
            severity = min(max(severity, 0), 7)
            if severity <= self.severity_max:
                return severity
        next(self.filtered)
        return -1

    def _tick(self) -> None:
        """Tells filters that keep time what it is (monotonic seconds)."""
        for tick in self._ticks:
            tick(monotonic())

    def _emit(self, event: Event) -> None:
        """An event that a filter adds: it gets what the client gives every event, and passes no filter."""
        event.logger = event.logger or self.logger
        event.pid, event.hostname, event.stream = self.pid, self.hostname, self.stream
        self.accept(event)

    def _make(self, type: str, fields: dict[str, Any]) -> bytes:
        """An event of metlog's own, encoded; it has a `seq`, and the counts leave it out."""
        with self._tally:
            self._own += 1
            event = Event(
                _now(UTC), type, (type,), self.logger, 6, "", fields, ONE,
                ENV_VERSION, self.pid, self.hostname, self.stream, next(self.seq),
            )  # fmt: skip
        return self._encode(event)

    def _report(self) -> bytes | None:
        """The report that the next frame after a drop carries, or None. Its counts are totals: one that is lost is no loss."""
        with self._tally:
            total = sum(self._stats.dropped.values())
            if total == self._reported:
                return None
            self._reported = total
            return self._make(REPORT_TYPE, {"dropped": dict(self._stats.dropped)})

    # ---- the counts --------------------------------------------------------------------------------------------------

    def sent(self, count: int, size: int) -> None:
        """`count` events went out in a frame of `size` bytes."""
        with self._tally:
            self._stats.sent += count
            self._stats.frames += 1
            self._stats.bytes += size

    def failed(self, error: BaseException, count: int = 0, reason: str | None = None) -> None:
        """Something raised, and `count` events are lost by it."""
        kind = reason or getattr(error, "reason", None) or "send_error"
        self._count_error(kind, error)
        self.dropped(kind, count)

    def _count_error(self, kind: str, error: BaseException) -> None:
        with self._tally:
            self._stats.errors += 1
        self.tell(f"{kind} {type(error).__name__}", f"{kind}: {type(error).__name__}: {error}")

    def dropped(self, reason: str, count: int) -> None:
        """`count` accepted events are lost."""
        if not count:
            return
        with self._tally:
            self._stats.dropped[reason] = self._stats.dropped.get(reason, 0) + count
        self.tell(reason, f"events are dropped: {reason} (counted in stats(); told once)")
        if self._on_drop is not None and not getattr(_inside, "active", False):
            _inside.active = True
            try:
                self._on_drop(reason, count)
            except Exception as error:  # noqa: BLE001 - the application's hook may raise anything
                self._count_error("on_drop", error)
            finally:
                _inside.active = False

    def tell(self, kind: str, message: str) -> None:
        """Says something once a kind through the standard logger `metlog`."""
        if kind in self._told or len(self._told) > 100:
            return
        self._told.add(kind)
        try:
            _log.warning("%s", message)
        except Exception:  # noqa: BLE001 - a broken logging set-up is the application's; the counts tell it too
            with self._tally:
                self._stats.errors += 1

    def stats(self) -> Stats:
        """The counts, now."""
        with self._tally:
            stats = Stats(**{name: getattr(self._stats, name) for name in Stats.__struct_fields__})
            stats.dropped = dict(stats.dropped)
            stats.accepted = self.seq.value - 1 - self._own
        stats.filtered = self.filtered.value
        stats.buffered = stats.accepted - stats.sent - sum(stats.dropped.values())
        stats.repaired = getattr(self.encoder, "repaired", 0)
        return stats

    # ---- flush, close, fork ------------------------------------------------------------------------------------------

    def flush(self, deadline: float) -> bool:
        """Sends everything accepted so far; False when the deadline (monotonic seconds) came first."""
        return self.buffer.flush(deadline)

    def drain(self, deadline: float) -> None:
        """Hands what is pending to the sender's queue, without waiting for it."""
        self.buffer.drain(deadline=deadline)

    def close(self, deadline: float, successor: Pipeline | None = None) -> None:
        """Sends the rest and the end of the stream, and closes the sender. Stragglers go to `successor`."""
        if self.closed:
            return
        self.closed = True
        for item in self.filters:
            finish = getattr(item, "close", None)
            if finish is not None:
                try:
                    finish()
                except Exception as error:  # noqa: BLE001 - a filter may raise anything
                    self._count_error("filter_error", error)
        self.drain(deadline)
        self.buffer.close(deadline, self._end, None if successor is None else self._hand_to(successor))
        live.discard(self)

    def _end(self) -> bytes | None:
        last = self.seq.value - 1
        return self._make(END_TYPE, {"last_seq": last, "dropped": dict(self._stats.dropped)}) if last else None

    def _hand_to(self, successor: Pipeline) -> Callable[[bytes], None]:
        def late(data: bytes) -> None:
            for event in self.encoder.decode(self.encoder.frame([data])):
                with self._tally:
                    self._own += 1  # the successor counts it
                event.stream = successor.stream
                successor.accept(event)

        return late

    def after_fork(self) -> None:
        """In a forked child: an empty buffer, a stream of its own, new locks."""
        self._tally = threading.RLock()
        self._start_stream()
        self.buffer.after_fork()


class Fan(Pipeline):
    """Several ways out for one event (`tee`): each branch has filters, a stream, an encoder and a buffer of its own."""

    def __init__(self, *, branches: Sequence[Pipeline], **rest: Any) -> None:
        super().__init__(**rest)
        self.branches = tuple(branches)

        if self._ticks:
            self.buffer.start()  # its flusher keeps the filters' time

    def accept(self, event: Event) -> None:
        """Gives each branch a copy."""
        for branch in self.branches:
            branch.offer(event)

    def stats(self) -> Stats:
        """The sum over the branches; `accepted` counts an event once a branch that took it."""
        total = Stats(filtered=self.filtered.value, errors=self._stats.errors)
        for branch in self.branches:
            total.add(branch.stats())
        return total

    def flush(self, deadline: float) -> bool:
        """Flushes every branch, all against the one deadline."""
        self.drain(deadline)
        return all([branch.flush(deadline) for branch in self.branches])

    def drain(self, deadline: float) -> None:
        """Drains every branch."""
        for branch in self.branches:
            branch.drain(deadline)

    def close(self, deadline: float, successor: Pipeline | None = None) -> None:
        """Closes every branch, all against the one deadline."""
        super().close(deadline, successor)
        for branch in self.branches:
            branch.close(deadline, successor)


class Unconfigured:
    """Before `configure`, and after `close`: every call is refused at once, and counted."""

    severity_max = -1
    closed = True
    sender = encoder = None
    filters: tuple[Filter, ...] = ()
    exit_timeout = 0.0

    def __init__(self, message: str) -> None:
        self._message = message
        self._told = False
        self._calls = Tick()

    def refuse(self, severity: int) -> int:
        """Counts the call, tells once."""
        next(self._calls)
        if not self._told:
            self._told = True
            _log.info("%s", self._message)
        return -1

    def failed(self, error: BaseException, count: int = 0, reason: str | None = None) -> None:
        """A call with arguments of the wrong kind: refused like the others."""
        next(self._calls)

    def stats(self) -> Stats:
        """How many calls were refused, as `filtered`."""
        return Stats(filtered=self._calls.value)

    def flush(self, deadline: float) -> bool:
        """Nothing is held."""
        return True

    def close(self, deadline: float, successor: Pipeline | None = None) -> None:
        """Nothing is open."""
