"""Records that came from a partitioned log: which offsets of which partition stand in a record of the journal.

It stands in the record's source, after a `#`:

    kafka://TOPIC/PARTITION#ID.BEGIN.FIRST.EACH

ID names the topic for good (a topic that is deleted and made anew has another one), FIRST is the offset of the record's first
message, EACH the number of events of every message in it, and BEGIN the offset from which on the reader had seen the partition without
a break: offsets from BEGIN to FIRST hold no events (transaction markers, dead letters, compacted ones).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from metlog.journal.segment import Record

__all__ = ["Partition", "Run", "Spans", "clean_source", "first_only", "run_of", "source_after"]

_SOURCE: Final = re.compile(r"kafka://([A-Za-z0-9._-]{1,249})/(\d+)#([0-9a-f]+)\.(\d+)\.(\d+)\.(\d+)")


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    ident: str
    """What tells the topic from another of the same name, in another cluster or at another time: hexadecimal digits."""
    number: int

    @property
    def source(self) -> str:
        """What the column `source` says."""
        return f"kafka://{self.topic}/{self.number}"


class Run(NamedTuple):
    """Consecutive messages of a partition that stand in one record."""

    partition: Partition
    begin: int
    first: int
    each: int
    """Events a message."""

    def source(self) -> str:
        """The record's source."""
        return f"{self.partition.source}#{self.partition.ident}.{self.begin}.{self.first}.{self.each}"

    def end(self, count: int) -> int:
        """The offset after the last message of a record that holds `count` events."""
        return self.first + count // self.each


def run_of(source: str) -> Run | None:
    """What a record's source says; None for a record of another input."""
    if not source.startswith("kafka://"):
        return None
    found = _SOURCE.fullmatch(source)
    if found is None:
        return None
    topic, number, ident, begin, first, each = found.groups()
    return Run(Partition(topic, ident, int(number)), int(begin), int(first), max(int(each), 1))


def source_after(source: str, events: int) -> str:
    """The source of the rest of a record, after so many of its events. A record of messages with several events each holds one
    message, all of whose events have its offset."""
    run = run_of(source) if events else None
    if run is None or run.each != 1:
        return source
    return run._replace(begin=run.first + events, first=run.first + events).source()


def clean_source(source: str) -> str:
    """A record's source without the offsets: what readers are shown."""
    return source.partition("#")[0] if source.startswith("kafka://") else source


class Spans:
    """A set of offsets as ranges [begin, end), sorted, none touching another.

    >>> spans = Spans([(0, 10)])
    >>> spans.add(20, 30); spans.add(10, 20)
    >>> spans.ranges
    [(0, 30)]
    >>> spans.missing(25, 40)
    [(30, 40)]
    """

    __slots__ = ("ranges",)

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self.ranges: list[tuple[int, int]] = []
        for begin, end in ranges:
            self.add(begin, end)

    def add(self, begin: int, end: int) -> None:
        """Adds the offsets from `begin` to before `end`."""
        if begin >= end:
            return
        at = bisect_right(self.ranges, (begin,))
        if at and self.ranges[at - 1][1] >= begin:
            at -= 1
        last = at
        while last < len(self.ranges) and self.ranges[last][0] <= end:
            begin, end = min(begin, self.ranges[last][0]), max(end, self.ranges[last][1])
            last += 1
        self.ranges[at:last] = [(begin, end)]

    def merge(self, other: Spans) -> Spans:
        """A new set with the offsets of both."""
        merged = Spans()
        merged.ranges = list(self.ranges)
        for begin, end in other.ranges:
            merged.add(begin, end)
        return merged

    def overlapping(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of the set that lie between the two."""
        at = max(bisect_right(self.ranges, (begin,)) - 1, 0)
        for low, high in self.ranges[at:]:
            if low >= end:
                return
            if high > begin:
                yield max(low, begin), min(high, end)

    def missing(self, begin: int, end: int) -> list[tuple[int, int]]:
        """The ranges between the two that are not in the set."""
        found = []
        for low, high in self.overlapping(begin, end):
            if begin < low:
                found.append((begin, low))
            begin = high
        return [*found, (begin, end)] if begin < end else found

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spans) and self.ranges == other.ranges

    __hash__ = None  # type: ignore[assignment]  # it changes


def first_only(records: Iterable[Record], seen: dict[Partition, Spans]) -> Iterator[Record]:
    """The records without what comes for the second time: a partition that was read again, from an earlier offset. `seen` gets
    the offsets of every partition."""
    for record in records:
        run = run_of(record.source)
        if run is None:
            yield record
            continue
        spans = seen.setdefault(run.partition, Spans())
        end = run.end(record.count)
        missing = spans.missing(run.first, end)
        if missing == [(run.first, end)]:
            yield record
        elif missing:
            lines = record.lines.split(b"\n")  # not splitlines: JSON may hold a carriage return between its values
            for low, high in missing:
                chosen = lines[(low - run.first) * run.each : (high - run.first) * run.each]
                source = Run(run.partition, low, low, run.each).source()
                chosen.append(b"")
                yield record._replace(source=source, count=len(chosen) - 1, lines=b"\n".join(chosen), members=-1)
        spans.add(run.begin, end)
