"""Loss accounting while the listener runs: what the numbers of the client streams say was lost, repeated and reordered.

It counts from the listener's start and in bounded memory, for `/metrics` and `metlog doctor`. What is exact for each stream and
minute, over restarts and for as long as the events are kept, is the report `delivery-by-minute` over the lake.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from msgspec import Struct

from metlog.event import END_TYPE, REPORT_TYPE
from metlog.listener.metrics import Bounded

__all__ = ["Accounting", "SeqRuns", "summarize"]

_GAPS: Final = 32
"""Gaps of a stream that a late event may still fill; of older ones it is known only that they are lost."""
_LEAP: Final = 1_000_000
"""Missing numbers in a row beyond which they are no loss, but a stream that counts anew, or lies."""
_TOLD: Final = frozenset({END_TYPE, REPORT_TYPE})
_REASONS: Final = 50
"""Reasons of drops, as clients name them, that are told apart."""


class Numbered(Protocol):
    """Of an event: what is looked at."""

    @property
    def stream(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def fields(self) -> dict[str, Any]: ...


class SeqRuns(NamedTuple):
    """What some events say, without the events: for a batch that waits to be counted until it is journaled."""

    runs: list[tuple[str, int, int]]
    """Stream, first number, and how many events with the numbers from there on."""
    reports: list[Numbered]
    """End records and reports."""


def summarize(events: Sequence[Numbered]) -> SeqRuns:
    """What events say, in the order in which they came."""
    if not events:
        return SeqRuns([], [])
    seqs = [event.seq for event in events]
    stream, first = events[0].stream, seqs[0]
    if (
        stream
        and first > 0
        and {event.stream for event in events} == {stream}
        and seqs == list(range(first, first + len(seqs)))
    ):
        runs = [(stream, first, len(seqs))]
    else:
        runs = [(event.stream, event.seq, 1) for event in events if event.stream and event.seq > 0]
    if {event.type for event in events}.isdisjoint(_TOLD):
        return SeqRuns(runs, [])
    return SeqRuns(runs, [event for event in events if event.type in _TOLD and event.stream and event.seq > 0])


class _Stream(Struct, gc=False):
    """One client's."""

    next: int
    """The number that is expected."""
    gaps: list[tuple[int, int]] = []
    """First and last of the missing ones, the latest gaps only."""
    dropped: dict[str, int] = {}
    """What the client said that it had dropped, by reason."""


class Accounting:
    """Counts. Any thread; a batch that continues a stream costs some 40 ns an event, whatever else by the event."""

    def __init__(self, streams: int) -> None:
        """`streams`: how many are remembered; of one that was forgotten, and of one that had begun before this listener, the
        first event is where the counting begins again."""
        self._most = streams
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._dropped = Bounded(_REASONS)
        self._begun = self._ended = self._forgotten = self._joined = self._leaps = 0
        self._received = self._skipped = self._reordered = self._repeated = 0

    def note(self, events: Sequence[Numbered]) -> None:
        """Takes events in the order in which they came."""
        self.take(summarize(events))

    def take(self, runs: SeqRuns) -> None:
        """Takes what a batch says."""
        with self._lock:
            for stream, first, count in runs.runs:
                self._run(stream, first, count)
            for event in runs.reports:
                self._told(event)

    def _run(self, name: str, first: int, count: int) -> None:
        """So many events of a stream, numbered without a gap."""
        self._received += count
        stream = self._streams.pop(name, None)
        if stream is None:
            stream = self._begin(first)
        self._streams[name] = stream  # the last heard of
        if first == stream.next:
            stream.next += count
        elif first > stream.next:
            missing = first - stream.next
            if missing > _LEAP:
                self._leaps += 1
                stream.gaps = []
            else:
                self._skipped += missing
                stream.gaps = [*stream.gaps[1 - _GAPS :], (stream.next, first - 1)]
            stream.next = first + count
        else:
            for seq in range(first, first + count):
                self._late(stream, seq)

    def _begin(self, first: int) -> _Stream:
        self._begun += 1
        self._joined += first > 1
        if len(self._streams) >= self._most:
            del self._streams[next(iter(self._streams))]
            self._forgotten += 1
        return _Stream(first)

    def _late(self, stream: _Stream, seq: int) -> None:
        """An event whose turn has passed: it fills a gap, or is there already."""
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

    def _told(self, event: Numbered) -> None:
        """An end record, or a report: totals of what the client dropped."""
        stream = self._streams.get(event.stream)
        told = event.fields.get("dropped")
        if stream is not None and isinstance(told, Mapping):
            for reason, total in told.items():
                more = total - stream.dropped.get(reason, 0) if isinstance(total, int) else 0
                if 0 < more <= _LEAP * 1000:
                    self._dropped.add(str(reason)[:100], more)
                    if len(stream.dropped) < _REASONS:
                        stream.dropped = {**stream.dropped, reason: total}
        if event.type == END_TYPE:
            self._ended += 1

    def stats(self) -> dict[str, Any]:
        """`received` events that were numbered, `lost` now (numbers missing), `repeated`, `reordered`; `streams` begun and
        `ended` (of the others the tail is unknown), `joined` (met in the middle), `forgotten` for want of memory, `leaps`
        (jumps of a million or more, counted as no loss); `dropped_by_client` by reason."""
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
