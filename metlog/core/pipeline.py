"""What `configure` builds: the way of an event through filters, stream, encoder and buffer to one sender."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal

from msgspec import Raw
from msgspec.structs import replace

from metlog.core.buffer import Buffer
from metlog.core.chain import FilterChain
from metlog.core.chance import Chance, chance
from metlog.core.dispatch import BackgroundDispatcher, InlineDispatcher
from metlog.core.interfaces import BaseEncoder, BaseFilter, BaseSender, Filter
from metlog.core.lifecycle import live
from metlog.core.stats import Counts, OnDrop, Stats, inside
from metlog.core.stream import Stream
from metlog.core.succession import Succession, await_calls
from metlog.core.sums import Counters, Sums, TimerSummaries
from metlog.core.unconfigured import NO_SEVERITY, REFUSING
from metlog.event import ENV_VERSION, ONE, Event
from metlog.values import MARK, noted, text_of

__all__ = ["OnDrop", "Pipeline", "Stats"]

_now: Final = datetime.now
USUAL: Final = 6
"""The severity of most events."""


class Pipeline:
    """One way out: filters, then a `seq`, then the encoder, then the buffer of one sender."""

    branches: tuple[Pipeline, ...] = ()
    """Of a `FanOut`: the pipelines that take the events."""
    branch_index: tuple[int, int] = (0, 1)
    """Which branch of a `FanOut` this is, of how many."""
    counters: Counters | None = None
    timers: TimerSummaries | None = None
    """Where counters and timers are added up. None: each is an event."""
    count: Callable[[Any, Any], bool] | None = None
    """Takes a counter (name, count) without fields, where neither filters nor configured fields have to do with it."""
    _counters: Counters | None = None
    _timers: TimerSummaries | None = None

    def __init__(
        self,
        *,
        logger: str,
        hostname: str,
        filters: Sequence[BaseFilter],
        encoder: BaseEncoder,
        sender: BaseSender,
        fields: dict[str, Any] | None = None,
        max_frame: int | None = None,
        flush_interval: float = 0.1,
        max_bytes: int = 8 << 20,
        exit_timeout: float = 2.0,
        on_drop: OnDrop | None = None,
        chance: Chance = chance,
        counters: Literal["sum", "each"] = "sum",
        timers: Literal["each", "summary"] = "each",
    ) -> None:
        self.encoder = encoder
        self.sender = sender
        self.fields = fields or {}
        self.exit_timeout = exit_timeout
        self.chance = chance
        self.closed = False
        self.counts = Counts(on_drop)
        self.failed, self.warn_once = self.counts.failed, self.counts.warn_once
        self.stream = Stream(logger, hostname, self.counts)
        self._sender_stats = sender.stats
        encoder.sent_by(sender)
        sender.encoded_by(encoder)
        self._silent = encoder.silent
        self._install_filters(filters)
        self.buffer = Buffer(
            encoder,
            InlineDispatcher(sender, self.counts)
            if sender.nonblocking
            else BackgroundDispatcher(sender, self.counts, max_bytes=max_bytes),
            max_frame=max_frame or sender.max_frame,
            max_event=sender.max_event,
            flush_interval=flush_interval,
            counts=self.counts,
            report=self.stream.report,
            tick=self._tick if self.chain.ticks else None,
            sender=sender if sender.nonblocking and sender.concurrent else None,
        )
        if flush_interval and encoder.silent:  # what an encoder logs itself must be seen at once, to be left out
            if counters == "sum":
                self._counters = Counters(self._put_sum, self.buffer, flush_interval)
            if timers == "summary":
                self._timers = TimerSummaries(self._put_sum, self.buffer, flush_interval)
        self.buffer.sums = tuple([item for item in (self._counters, self._timers) if item is not None])
        self._enable_sums()
        self._find_ways()
        live.add(self)

    @property
    def logger(self) -> str:
        """Which service: the `logger` of the events."""
        return self.stream.logger

    @property
    def hostname(self) -> str:
        """Which machine: the `hostname` of the events."""
        return self.stream.hostname

    # ---- filters -----------------------------------------------------------------------------------------------------

    def set_filters(self, filters: Sequence[BaseFilter]) -> None:
        """Puts these filters in the place of those before. None of them may keep time (`tick`), unless those before did."""
        counted = self.chain.filtered
        self._install_filters(filters)
        self.chain.filtered = counted
        self._enable_sums()
        if not self.closed:
            self._find_ways()

    def _install_filters(self, filters: Sequence[BaseFilter]) -> None:
        self.chain = FilterChain(
            filters, chance=self.chance, logger=self.logger, counts=self.counts, add=self._add, go_on=self.put
        )
        self.severity_max = self.chain.severity_max

    @property
    def filters(self) -> tuple[BaseFilter, ...]:
        """All filters, in order."""
        return self.chain.filters

    def _enable_sums(self) -> None:
        """Adds up what every filter can decide at the call."""
        possible = self.severity_max >= USUAL and self.chain.screens_all
        self.counters = self._counters if possible else None
        self.timers = self._timers if possible else None
        self.count = None if self.counters is None or self.chain.calls or self.fields else self.counters.add_plain

    def _tick(self) -> None:
        self.chain.tick()

    def _add(self, behind: Sequence[Filter], event: Event) -> None:
        """Accepts an event that a filter adds, once it has passed the filters behind that one."""
        self.stream.stamp(event)
        kept = self.chain.apply(event, behind, added=True)
        if kept is not None:
            self.accept(kept)

    # ---- the way of an event -----------------------------------------------------------------------------------------

    def _find_ways(self) -> None:
        """Sets what a call unpacks, as plain tuples, for speed.

        `fast_path`, of `MetlogClient.log`: `severity_max`, the highest severity that is accepted; `make` and `origin`, which make a
        record (None: as `screened_path` says); `next_seq`; `append`, which gives the buffer a record; the `buffer`; `base`, the
        configured fields; `usual`, the severity of most events if it is accepted, known by identity; `sift`, filters that do not look
        at fields (None: there are others, or none).

        `screened_path`, of `log_screened`: `make`, `origin`, `next_seq`, `append` and `buffer` likewise (no `make`: every event is
        encoded at the call); `screen`, in place of `sift`, filters that need no event (None: no filter is to be called, or the first of
        them needs one); `filters`, those to be called on the event after that (None: all).
        """
        make = origin = screen = sift = None
        records, chain = self.encoder.records, self.chain
        if type(self) is Pipeline:
            if chain.sifts:
                sift = chain.sift
            elif chain.screens:
                screen = chain.screen_one if len(chain.calls) == 1 else chain.screen
            if records is not None and (chain.screens or not chain.calls):
                make, origin = records.maker(self.stream.sample())
        buffer, usual = self.buffer, USUAL if self.severity_max >= USUAL else NO_SEVERITY
        next_seq = self.stream.seq.__next__
        filters = None if screen is None and sift is None else ()
        self.screened_path = make, origin, next_seq, buffer.append, buffer, screen, filters
        if chain.calls:
            make = None
        self.fast_path = self.severity_max, make, origin, next_seq, buffer.append, buffer, self.fields, usual, sift

    def admit_severity(self, severity: Any) -> int:
        """Clamps to 0 to 7. Returns -1, and counts the event as filtered, if it is above `severity_max` or the pipeline is closed.

        Raises TypeError or ValueError for what is no number; the caller counts it.
        """
        level = int(severity)
        if not 0 <= level <= 7:
            wrong = f"severity = {text_of(severity)[0]}"
            self.warn_once("severity", f"{wrong}: a severity is 0 (emergency) to 7 (debug); taken as the nearest")
            level = min(max(level, 0), 7)
        if level <= self.severity_max and not self.closed:
            return level
        next(self.chain.filtered)
        return -1

    def put(
        self,
        type: str,
        tokens: tuple[str, ...],
        severity: int,
        payload: str,
        fields: dict[str, Any],
        weight: float = ONE,
        logger: str | None = None,
        filters: Sequence[Filter] | None = None,
    ) -> None:
        """Builds an event, calls the filters (all, or these), and accepts it.

        `severity` is an admitted one; `fields` belong to the event.
        """
        if payload.__class__ is not str:
            payload, note = text_of(payload)
            if note:
                fields[MARK] = noted(fields, [f"payload: {note}"])
        stream = self.stream
        # In the order of Event's fields: by keyword it takes 150 ns more.
        event = Event(
            _now(UTC), type, tokens, stream.logger if logger is None else logger, severity, payload,
            fields, weight, ENV_VERSION, stream.pid, stream.hostname, stream.id,
        )  # fmt: skip
        kept = self.chain.apply(event, self.chain.calls if filters is None else filters)
        if kept is not None:
            self.accept(kept)

    def add_up(self, sums: Sums[Any], name: Any, value: Any, weight: float, fields: dict[str, Any]) -> bool:
        """Adds a measurement to `sums`, after the filters. False: it has to be an event of its own, which they have not seen."""
        if not self.chain.calls:
            return sums.add(name, value, weight, fields)
        if not sums.takes(name, value):
            return False
        kind, measure = sums.kind, sums.measure
        seen = {**fields, "name": name, measure: value}
        tokens, payload = (kind, name), str(value)
        weight *= self.chain.screen(tokens, USUAL, payload, seen)
        if not weight:
            return True
        if seen.get("name") is name and seen.get(measure) is value:
            around = {key: value for key, value in seen.items() if key not in ("name", measure)}
            if sums.add(name, value, weight, around):
                return True
        self.put(kind, tokens, USUAL, payload, seen, weight, None, ())
        return True

    def _put_sum(self, type: str, name: str, payload: str, fields: dict[str, Any], weight: float) -> None:
        try:
            self.put(type, (type, name), USUAL, payload, fields, weight, None, ())
        except Exception as error:  # noqa: BLE001 - as for a call
            self.lose(error)

    def collect(self, deadline: float) -> bool:
        """Makes events of what was added up; False when another thread still did so at the deadline."""
        return all([item.collect(deadline) for item in self.buffer.sums])

    def accept(self, event: Event) -> None:
        """Gives the event its `seq`, encodes it at once, and appends it to the buffer."""
        if not self._silent and self._recurses():
            return
        event.seq = seq = next(self.stream.seq)
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

    def _recurses(self) -> bool:
        """Whether the encoder itself logs this event: encoding it would log again, without an end."""
        if inside.encoding:
            self.warn_once("recursion", "an encoder logs an event itself: that event is left out")
            next(self.chain.filtered)
            return True
        inside.encoding = True
        return False

    def abort_record(self, seq: int, error: BaseException) -> None:
        """Counts an event whose call raised once it had a `seq`; a signal handler may have raised in the middle of it."""
        lost = 0 if self.buffer.holds(seq) else 1
        if isinstance(error, Exception):
            self.failed(error, lost, "call_error")
        else:
            self.counts.dropped("interrupted", lost)

    def lose(self, error: BaseException) -> None:
        """Counts a call of which no event could be made. It has a `seq`: accepted and dropped, so that the counts add up."""
        next(self.stream.seq)
        self.failed(error, 1, "call_error")

    def accept_copy(self, event: Event) -> None:
        """Accepts a copy of an event that another pipeline built (`tee`), if the filters keep it."""
        if event.severity > self.severity_max:
            next(self.chain.filtered)
            return
        mine = replace(event, stream=self.stream.id)
        kept = self.chain.apply(mine, self.chain.calls)
        if kept is not None:
            self.accept(kept)

    def accept_late(self, event: Event, index: int, count: int) -> bool:
        """Accepts a late event from branch `index`, of `count`, of the pipeline that this one replaced.

        Returns whether it did. Of several branches only the first is accepted, so that the event is sent once.
        """
        if index == 0:
            self.accept_copy(event)
        return index == 0

    # ---- counts, flush, close, fork ----------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """The counts, now."""
        counts = self.counts
        with counts.locked():
            dropped = dict(counts.by_reason)
            sent, frames, sent_bytes = self.buffer.sent
            accepted = self.stream.accepted
        return Stats(
            accepted=accepted,
            filtered=self.chain.filtered.value,
            sent=sent,
            buffered=accepted - sent - sum(dropped.values()),
            dropped=dropped,
            frames=frames,
            bytes=sent_bytes,
            errors=counts.errors,
            repaired=self.encoder.repaired,
            transport=self._learnt(),
        )

    def _learnt(self) -> dict[str, int]:
        try:
            return {name: number for name, number in self._sender_stats().items() if number}
        except Exception as error:  # noqa: BLE001 - a sender may raise anything
            self.counts.warn_once(
                "sender stats", f"the counts of the sender cannot be had: {type(error).__name__}: {error}"
            )
            return {}

    def flush(self, deadline: float) -> bool:
        """Sends everything accepted so far; False when the deadline (monotonic seconds) came first."""
        collected = self.collect(deadline)
        return self.buffer.flush(deadline) and collected

    def drain(self, deadline: float) -> None:
        """Hands what is pending to the sender's queue, without waiting for it."""
        self.collect(deadline)
        self.buffer.drain(deadline=deadline)

    def close(self, deadline: float, successor: Pipeline | None = None) -> None:
        """Sends the rest and the end of the stream, and closes the sender. Late events go to `successor`."""
        if self.closed:
            return
        self.closed = True
        for sums in self.buffer.sums:
            sums.close()
        self.chain.close()
        self.fast_path = REFUSING
        late = None if successor is None else Succession(self, successor).pass_on
        try:
            self.drain(deadline)
            if successor is not None:
                self.replaced_by(successor)
                await_calls(self, deadline)
        finally:  # a signal handler may raise: the sender is closed all the same
            self.buffer.close(deadline, partial(self._last, deadline), late)
            live.discard(self)

    def _last(self, deadline: float) -> Event | None:
        """The event that ends the stream; called when the buffer takes nothing more."""
        if self.buffer.immediate is not None:
            await_calls(self, deadline)  # what it took before may not be sent yet
        return self.stream.end()

    def replaced_by(self, successor: Pipeline) -> None:
        """Says which pipeline takes over; called before calls under way are waited for."""

    def calls_under_way(self) -> bool:
        """Whether another thread has a `seq` of this stream and has not yet appended its event."""
        return self.stats().buffered > self.buffer.unsent

    def after_fork(self) -> None:
        """In a forked child: an empty buffer, a stream of its own, new locks."""
        self.chain.after_fork()
        for sums in self.buffer.sums:
            sums.reset()
        self.buffer.after_fork()
        self.counts.restart()
        self.stream.restart()
        self._find_ways()
