"""What `configure` builds: filters, encoder and buffer in a row, and the way through them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from time import monotonic, sleep
from typing import Any, Final

from msgspec import Raw
from msgspec.structs import replace

from metlog.core.buffer import Buffer
from metlog.core.dispatch import BackgroundDispatcher, InlineDispatcher
from metlog.core.interfaces import Encoder, Filter, Sender
from metlog.core.lifecycle import live
from metlog.core.stats import AtomicCounter, Counts, OnDrop, Stats, inside
from metlog.event import END_TYPE, ENV_VERSION, ONE, REPORT_TYPE, Event
from metlog.values import MARK, noted, text_of

__all__ = ["OnDrop", "Pipeline", "Stats", "Unconfigured"]

_log: Final = logging.getLogger("metlog")
_now: Final = datetime.now
_GRACE: Final = 0.1  # seconds that a replaced pipeline waits for threads that are in the middle of a call
GLANCE: Final = 0.0005
"""Seconds between two looks whether they are done."""


class Pipeline:
    """One way out: filters, then a `seq`, then the encoder, then the buffer of one sender."""

    branch_index: tuple[int, int] = (0, 1)
    """Which branch this is, of how many (`FanOut`)."""

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
        self.encoder = encoder
        self.sender = sender
        self.fields = fields or {}
        self.exit_timeout = exit_timeout
        self.closed = False
        own = {**vars(type(encoder)), **getattr(encoder, "__dict__", {})}  # not inherited: a subclass may do more
        if hasattr(encoder, "sent_by"):
            encoder.sent_by(sender)
        self._silent = bool(own.get("silent", False))
        self.counts = Counts(on_drop)
        self.failed, self.warn_once = self.counts.failed, self.counts.warn_once
        self._install_filters(filters)
        nonblocking = getattr(sender, "nonblocking", False)
        self.buffer = Buffer(
            encoder,
            InlineDispatcher(sender, self.counts)
            if nonblocking
            else BackgroundDispatcher(sender, self.counts, max_bytes=max_bytes),
            max_frame=max_frame or sender.max_frame,
            max_event=getattr(sender, "max_event", None),
            flush_interval=flush_interval,
            counts=self.counts,
            report=self._report,
            tick=self._tick if self._ticks else None,
        )
        self._start_stream()
        live.add(self)

    def _install_filters(self, filters: Sequence[Filter]) -> None:
        self.filters = tuple(filters)
        self.severity_max = min((getattr(item, "severity_max", 7) for item in filters), default=7)
        self._active_filters = tuple(item for item in self.filters if not getattr(item, "by_severity_only", False))
        for place, item in enumerate(self._active_filters):
            if hasattr(item, "emit"):
                item.emit = partial(self._emit, self._active_filters[place + 1 :])
        self._ticks = [item.tick for item in self.filters if hasattr(item, "tick")]

    def set_filters(self, filters: Sequence[Filter]) -> None:
        """Asks these filters from now on, instead of those before. None of them may keep time (`tick`)."""
        self._install_filters(filters)
        if not self.closed:
            self.fast_path = self._fast_path()

    def _start_stream(self) -> None:
        self.pid = os.getpid()
        self.stream = os.urandom(8).hex()
        self.seq = AtomicCounter(1)
        self.filtered = AtomicCounter()
        self.counts.restart()
        self._own = 0  # events of metlog's own, which the counts leave out
        self.fast_path = self._fast_path()

    # ---- the way of an event -----------------------------------------------------------------------------------------

    def _fast_path(self) -> tuple[Any, ...]:
        """What `MetlogClient.log` needs at hand, all of one stream: the highest severity that goes out; how to make a record and
        what all records share; the next `seq`; where to leave the record; the fields to start from."""
        make = origin = None
        records = getattr(self.encoder, "records", None)
        if records is not None and not self._active_filters and type(self) is Pipeline:
            make, origin = records.make, records.origin(self._event("", {}))
        return self.severity_max, make, origin, self.seq.__next__, self.buffer.append, self.buffer, self.fields

    def put(
        self,
        type: str,
        tokens: tuple[str, ...],
        severity: int,
        payload: str,
        fields: dict[str, Any],
        weight: float = ONE,
        logger: str | None = None,
    ) -> None:
        """Builds an event, and asks the filters. `severity` was held against `severity_max`; `fields` are its own by now."""
        if payload.__class__ is not str:
            payload, note = text_of(payload)
            if note:
                fields[MARK] = noted(fields, [f"payload: {note}"])
        event = Event(
            _now(UTC), type, tokens, self.logger if logger is None else logger, severity, payload,
            fields, weight, ENV_VERSION, self.pid, self.hostname, self.stream,
        )  # fmt: skip
        kept = self._filter(event, self._active_filters) if self._active_filters else event
        if kept is not None:
            self.accept(kept)

    def accept(self, event: Event) -> None:
        """Gives the event its `seq`, encodes it at once, and leaves it to the buffer."""
        if not self._silent and self._recurses():
            return
        event.seq = seq = next(self.seq)
        buffer = self.buffer
        try:
            data = self.encoder.encode(event)
        except BaseException as error:  # an encoder may raise anything, and so may a signal handler
            self.failed(error, 1, "encode_error")
            if not isinstance(error, Exception):
                raise
            return
        finally:
            if not self._silent:
                inside.encoding = False
        buffer.append(data if buffer.records is None else Raw(data))
        if seq >= buffer.flush_at_seq:
            buffer.flush_if_due(seq)

    def abort_record(self, seq: int, error: BaseException) -> None:
        """A call raised once its event had a `seq`; a signal handler may have raised in the middle of it."""
        lost = 0 if self.buffer.holds(seq) else 1
        if isinstance(error, Exception):
            self.failed(error, lost, "call_error")
        else:
            self.counts.dropped("interrupted", lost)

    def lose(self, error: BaseException) -> None:
        """A call of which no event could be made. It has a `seq`: accepted and dropped, so that the counts add up."""
        next(self.seq)
        self.failed(error, 1, "call_error")

    def _recurses(self) -> bool:
        """Whether the encoder itself logs this event: it would be encoded, and logged about, without an end."""
        if getattr(inside, "encoding", False):
            self.warn_once("recursion", "an encoder logs an event itself: that event is left out")
            next(self.filtered)
            return True
        inside.encoding = True
        return False

    def accept_copy(self, event: Event) -> None:
        """Takes a copy of an event that another pipeline built (`tee`)."""
        if event.severity > self.severity_max:
            next(self.filtered)
            return
        mine = replace(event, stream=self.stream)
        kept = self._filter(mine, self._active_filters) if self._active_filters else mine
        if kept is not None:
            self.accept(kept)

    # ---- beside it ---------------------------------------------------------------------------------------------------

    def _filter(self, event: Event, filters: Sequence[Filter], *, added: bool = False) -> Event | None:
        within = getattr(inside, "active", False)
        if within and not added:
            self.warn_once("recursion", "a filter or drop hook logs an event itself: that event is left out")
            next(self.filtered)
            return None
        inside.active = True
        try:
            for keep in filters:
                kept = keep(event)
                if kept is None:
                    next(self.filtered)
                    return None
                event = kept
        except Exception as error:  # noqa: BLE001 - a filter may raise anything; what it guards must not leave
            next(self.filtered)
            self.counts.error("filter_error", error)
            return None
        finally:
            inside.active = within
        return event

    def admit_severity(self, severity: Any) -> int:
        """The severity that is meant; -1 (and one more filtered) when it is above `severity_max`, or this is closed."""
        level = int(severity)  # what is no number at all is the caller's error, which counts it
        if not 0 <= level <= 7:
            self.warn_once(
                "severity", f"severity = {severity}: a severity is 0 (emergency) to 7 (debug); taken as the nearest"
            )
            level = min(max(level, 0), 7)
        if level <= self.severity_max and not self.closed:
            return level
        next(self.filtered)
        return -1

    def _tick(self) -> None:
        """Tells filters that keep time what it is (monotonic seconds)."""
        for tick in self._ticks:
            tick(monotonic())

    def _emit(self, behind: Sequence[Filter], event: Event) -> None:
        """An event that a filter adds: it gets what the client gives every event, and passes the filters behind that one."""
        event.logger = event.logger or self.logger
        event.pid, event.hostname, event.stream = self.pid, self.hostname, self.stream
        kept = self._filter(event, behind, added=True) if behind else event
        if kept is not None:
            self.accept(kept)

    def _event(self, type: str, fields: dict[str, Any]) -> Event:
        return Event(
            _now(UTC), type, (type,), self.logger, 6, "", fields, ONE, ENV_VERSION, self.pid, self.hostname, self.stream
        )

    def _made(self, type: str, fields: dict[str, Any]) -> Event:
        """An event of metlog's own; it has a `seq`, and the counts leave it out."""
        event = self._event(type, fields)
        with self.counts.locked():
            self._own += 1
            event.seq = next(self.seq)
        return event

    def _report(self) -> Event:
        """What goes behind the first frame that is sent after a drop. Its counts are totals: one that is lost is no loss."""
        with self.counts.locked():
            self.counts.unreported = False
            dropped = dict(self.counts.by_reason)
        return self._made(REPORT_TYPE, {"dropped": dropped})

    def stats(self) -> Stats:
        """The counts, now."""
        dispatcher, counts = self.buffer.dispatcher, self.counts
        with counts.locked():
            dropped = dict(counts.by_reason)
            sent = dispatcher.sent
            accepted = self.seq.value - 1 - self._own
        return Stats(
            accepted=accepted,
            filtered=self.filtered.value,
            sent=sent,
            buffered=accepted - sent - sum(dropped.values()),
            dropped=dropped,
            frames=dispatcher.frames,
            bytes=dispatcher.sent_bytes,
            errors=counts.errors,
            repaired=getattr(self.encoder, "repaired", 0),
        )

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
                    self.counts.error("filter_error", error)
        self.fast_path = Unconfigured.fast_path  # calls from now on are refused
        self.drain(deadline)
        if successor is not None:
            self._await_stragglers(min(deadline, monotonic() + _GRACE), successor)
        self.buffer.close(deadline, self._end, None if successor is None else self._hand_to(successor))
        live.discard(self)

    def _await_stragglers(self, end: float, successor: Pipeline) -> None:
        """Other threads may have a `seq` of this stream and not yet have left their event: one that came later would be a gap."""
        while self.stats().buffered > self.buffer.unsent and monotonic() < end:
            sleep(GLANCE)
            self.drain(end)

    def _end(self) -> Event | None:
        last = self.seq.value - 1
        return self._made(END_TYPE, {"last_seq": last, "dropped": dict(self.counts.by_reason)}) if last else None

    def _hand_to(self, successor: Pipeline) -> Callable[[Event], None]:
        """Where an event goes that a thread leaves here after the end: through the successor's filters, to its sender."""

        def late(event: Event) -> None:
            if successor.accept_late(event, *self.branch_index):
                with self.counts.locked():
                    self._own += 1  # the successor counts it
            else:
                self.counts.dropped("closed", 1)

        return late

    def accept_late(self, event: Event, place: int, places: int) -> bool:
        """Takes an event that came too late for the one of `places` branches that this one replaces. Whether it does: from
        the first of several, so that it takes it once."""
        if place == 0:
            self.accept_copy(event)
        return place == 0

    def after_fork(self) -> None:
        """In a forked child: an empty buffer, a stream of its own, new locks."""
        for item in self.filters:
            renew = getattr(item, "after_fork", None)
            if renew is not None:
                renew()
        self.buffer.after_fork()
        self._start_stream()


class Unconfigured:
    """Before `configure`, and after `close`: every call is refused at once, and counted."""

    severity_max = -1
    fast_path: tuple[Any, ...] = (-1, None, None, None, None, None, {})
    fields: dict[str, Any] = {}  # noqa: RUF012 - never written to
    closed = True
    sender = encoder = None
    filters: tuple[Filter, ...] = ()
    exit_timeout = 0.0

    def __init__(self, message: str) -> None:
        self._message = message
        self._told = False
        self._calls = AtomicCounter()

    def admit_severity(self, severity: Any) -> int:
        """Counts the call, tells once."""
        next(self._calls)
        if not self._told:
            self._told = True
            _log.info("%s", self._message)
        return -1

    def put(self, *event: Any) -> None:
        """A call that found the client open, and comes in when it is closed: refused like the others."""
        self.admit_severity(0)

    def failed(self, error: BaseException, count: int = 0, reason: str | None = None) -> None:
        """A call with arguments of the wrong kind: refused like the others."""
        next(self._calls)

    def lose(self, error: BaseException) -> None:
        """As `failed`."""
        next(self._calls)

    def stats(self) -> Stats:
        """How many calls were refused, as `filtered`."""
        return Stats(filtered=self._calls.value)

    def flush(self, deadline: float) -> bool:
        """Nothing is held."""
        return True

    def close(self, deadline: float, successor: Pipeline | None = None) -> None:
        """Nothing is open."""
