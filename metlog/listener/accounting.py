"""Loss accounting while the listener runs: what the numbers of the client streams say was lost, repeated and reordered.

It counts from the listener's start and in bounded memory, for `/metrics` and `metlog doctor`. What is exact for each stream and
minute, over restarts and for as long as the events are kept, is the report `delivery-by-minute` over the lake.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from msgspec import Struct

from metlog.event import END_TYPE, OWN_TYPES
from metlog.listener.metrics import Bounded

__all__ = ["Accounting", "ClientReport", "SeqRuns", "runs_of", "summarize"]

_GAPS: Final = 32
"""Gaps of a stream that a late event may still fill; older missing numbers stay lost."""
_SHARED: Final = 400_000
"""Gaps, and reasons, of all streams together beyond which a stream has fewer of them; some 60 MB each."""
_LEAP: Final = 1_000_000
"""A larger jump is counted as a restarted (or bogus) stream, not as loss."""
_REASONS: Final = 50
"""Reasons of drops, as clients name them, that are counted each on its own."""
_REASONS_EACH: Final = 16
"""Reasons of a report that are read."""
_REASON_LENGTH: Final = 100
_NAME_LENGTH: Final = 64
"""Characters of a stream's name that are kept as they are; a longer name is remembered by its digest."""


class Numbered(Protocol):
    """The part of an event that is counted."""

    @property
    def stream(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def fields(self) -> dict[str, Any]: ...


class ClientReport(NamedTuple):
    """A client's end record, or its report of drops."""

    stream: str
    ended: bool
    dropped: dict[str, int]
    """Totals since the stream began, by reason."""


class SeqRuns(NamedTuple):
    """The numbers of some events, without the events: for a batch that waits to be counted until it is journaled."""

    runs: Sequence[tuple[str, int, int]] = ()
    """Stream, first number, and how many events with the numbers from there on."""
    reports: Sequence[ClientReport] = ()


def summarize(events: Sequence[Numbered]) -> SeqRuns:
    """Returns the numbers of events in the order of their arrival."""
    if not events:
        return SeqRuns()
    stream = events[0].stream
    if {event.stream for event in events} == {stream}:
        runs = runs_of(stream, [event.seq for event in events])
    else:
        runs = [(_bounded(event.stream), event.seq, 1) for event in events if event.stream and event.seq > 0]
    if {event.type for event in events}.isdisjoint(OWN_TYPES):
        return SeqRuns(runs)
    own = [event for event in events if event.type in OWN_TYPES and event.stream and event.seq > 0]
    return SeqRuns(runs, [_client_report(event) for event in own])


def runs_of(stream: str, seqs: Sequence[int]) -> list[tuple[str, int, int]]:
    """Returns the numbers of a stream's events, in the order of their arrival, as `SeqRuns.runs`."""
    if not stream:
        return []
    first, count = seqs[0], len(seqs)
    if first > 0 and seqs == [*range(first, first + count)]:
        return [(_bounded(stream), first, count)]
    return [(_bounded(stream), seq, 1) for seq in seqs if seq > 0]


def _bounded(stream: str) -> str:
    if len(stream) <= _NAME_LENGTH:
        return stream
    return "digest:" + blake2b(stream.encode(), digest_size=16).hexdigest()


def _client_report(event: Numbered) -> ClientReport:
    told = event.fields.get("dropped")
    items = islice(told.items(), _REASONS_EACH) if isinstance(told, Mapping) else ()
    dropped = {str(reason)[:_REASON_LENGTH]: total for reason, total in items if isinstance(total, int)}
    return ClientReport(_bounded(event.stream), event.type == END_TYPE, dropped)


class _Stream(Struct, gc=False):
    """State of one client's stream."""

    next: int
    """The next number expected."""
    gaps: list[tuple[int, int]] = []
    """First and last of the missing ones, the latest gaps only."""
    dropped: dict[str, int] = {}
    """The client's own totals of dropped events, by reason."""


class Accounting:
    """Counts what was lost, repeated and reordered. Safe to use from any thread. A batch that continues a stream costs some
    40 ns an event."""

    def __init__(self, streams: int) -> None:
        """`streams`: how many are remembered. For a forgotten stream, and for one that began before this listener, counting
        starts with the next event that comes."""
        self._most = streams
        self._lock = threading.Lock()
        # Not a dict, which looks for its first entry among all those that were removed.
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._dropped = Bounded(_REASONS)
        self._begun = self._ended = self._forgotten = self._joined = self._leaps = 0
        self._received = self._skipped = self._reordered = self._repeated = 0

    def configure(self, streams: int) -> None:
        """Remembers another number of streams from now on."""
        self._most = streams

    def note(self, events: Sequence[Numbered]) -> None:
        """Counts events in the order of their arrival."""
        self.take(summarize(events))

    def take(self, runs: SeqRuns) -> None:
        """Counts a summarized batch."""
        with self._lock:
            for stream, first, count in runs.runs:
                self._run(stream, first, count)
            for report in runs.reports:
                self._add_report(report)

    def _run(self, name: str, first: int, count: int) -> None:
        """Counts `count` events of a stream, numbered without a gap from `first`."""
        self._received += count
        stream = self._streams.get(name)
        if stream is None:
            stream = self._streams[name] = self._begin(first)
        else:
            self._streams.move_to_end(name)  # last: most recently seen
        if first == stream.next:
            stream.next += count
        elif first > stream.next:
            missing = first - stream.next
            if missing > _LEAP:
                self._leaps += 1
                stream.gaps = []
            else:
                self._skipped += missing
                stream.gaps = [*stream.gaps[1 - self._share(_GAPS) :], (stream.next, first - 1)]
            stream.next = first + count
        else:
            for seq in range(first, first + count):
                self._late(stream, seq)

    def _share(self, most: int) -> int:
        """How many gaps or reasons of a stream are kept: fewer where there are many streams, so that all of them are bounded."""
        return max(2, min(most, _SHARED // max(len(self._streams), 1)))

    def _begin(self, first: int) -> _Stream:
        self._begun += 1
        self._joined += first > 1
        if len(self._streams) >= self._most:
            self._streams.popitem(last=False)
            self._forgotten += 1
        return _Stream(first)

    def _late(self, stream: _Stream, seq: int) -> None:
        """Counts an event that comes after its successors: it fills a gap, or is a repeat."""
        if seq == stream.next:
            stream.next += 1
            return
        for index in range(len(stream.gaps) - 1, -1, -1):
            low, high = stream.gaps[index]
            if low <= seq <= high:
                self._reordered += 1
                rest = [part for part in ((low, seq - 1), (seq + 1, high)) if part[0] <= part[1]]
                stream.gaps = [*stream.gaps[:index], *rest, *stream.gaps[index + 1 :]][-_GAPS:]
                return
        self._repeated += 1

    def _add_report(self, report: ClientReport) -> None:
        stream = self._streams.get(report.stream)
        if stream is not None and report.dropped:
            totals: Counter[str] = Counter()
            for reason, total in report.dropped.items():
                if 0 < total <= _LEAP * 1000:
                    totals[sys.intern(self._dropped.name(reason))] += total
            for reason, total in totals.items():
                more = total - stream.dropped.get(reason, 0)
                if more > 0 and (reason in stream.dropped or len(stream.dropped) < self._share(_REASONS)):
                    self._dropped.add(reason, more)
                    stream.dropped = {**stream.dropped, reason: total}
        self._ended += report.ended

    def stats(self) -> dict[str, Any]:
        """`received` events that were numbered, `lost` now (numbers missing between the first and the last of a stream, as
        `metlog.lake.sql.loss` has it), `repeated`, `reordered`; `streams` begun and `ended` (the others have an unconfirmed tail), `joined`
        (met in the middle: what is before the first is not lost), `forgotten` for want of memory, `leaps` (jumps of a million or more,
        counted as no loss); `dropped_by_client` by reason."""
        with self._lock:
            return {
                "received": self._received,
                "lost": self._skipped - self._reordered,
                "repeated": self._repeated,
                "reordered": self._reordered,
                "streams": self._begun,
                "ended": self._ended,
                "joined": self._joined,
                "forgotten": self._forgotten,
                "leaps": self._leaps,
                "dropped_by_client": dict(self._dropped.items()),
            }
