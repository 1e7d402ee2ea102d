"""Equal measurements of a flush interval as one event: counters added up, and timers where that is asked for.

A call appends to a list, which is atomic, and so needs no lock; the thread that flushes adds up what the calls appended. Equal are those
of one name with the same fields of `bind`, context, configuration and call, in value and type.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from math import ceil, log
from threading import get_ident
from time import monotonic
from typing import Any, Final, Generic, Protocol, TypeVar

from metlog.core.context import FIXED
from metlog.event import MAX_WEIGHT, ONE

__all__ = ["Counters", "Flushing", "Sums", "TimerSummaries"]

_FOLD: Final = 512  # calls that are kept before they are added up
_MOST: Final = 1000  # sums that are kept before they become events
_GRACE: Final = 1.0  # seconds that another thread may take to make events of what it has
_LARGEST: Final = 10**15  # reports leave larger numbers out
_SIMPLE: Final = FIXED | {str, int, float}

Key = tuple[str, tuple[str, ...], tuple[Any, ...], tuple[type, ...]]
"""Name of the measurement, and names, values and types of the fields."""
Put = Callable[[str, str, str, dict[str, Any], float], None]
"""Logs an event of (type, name, payload, fields, weight)."""
T = TypeVar("T")


class Flushing(Protocol):
    """The buffer, as far as it is needed here."""

    def wake(self) -> bool:
        """Wakes the flusher; False where there can be none, or it has ended."""


class Sums(Generic[T]):
    """Measurements of one kind that are not yet events."""

    kind = ""
    """The type of the events."""
    measure = ""
    """Name of the field that holds the measurement."""

    def __init__(self, put: Put, flushing: Flushing, interval: float) -> None:
        self._put, self._flushing, self._interval = put, flushing, interval
        self.closed = False
        self.reset()

    def reset(self) -> None:
        """Forgets everything: in a forked child it is the parent's."""
        self._calls: list[tuple[str | Key, Any]] = []
        self._sums: dict[str | Key, T] = {}
        self._lock = threading.RLock()
        self._owner = 0
        self._since = 0.0  # monotonic time of the last collection; of use where no flusher runs
        self.limit = 0
        """Number of calls at which the thread that logs looks after them; 0: at the next one."""

    def add(self, name: Any, value: Any, weight: float, fields: dict[str, Any] | None) -> bool:
        """Takes a measurement; `fields`: its own and those around it. False: it has to be an event of its own."""
        if not self.takes(name, value, weight):
            return False
        key: str | Key = name
        if fields:
            types = tuple(map(type, fields.values()))
            if not _SIMPLE.issuperset(types) or not {str}.issuperset(map(type, fields)):
                return False
            key = (name, tuple(fields), tuple(fields.values()), types)
        calls = self._calls
        calls.append((key, value if weight == 1 else self._weighted(value, weight)))
        if len(calls) >= self.limit:
            self._attend()
        return True

    def _attend(self) -> None:
        """Adds up the calls so far, or makes events of the sums, or wakes the flusher to do so; called by the thread that logs."""
        if self.closed:
            self._collect_late()
        elif self._flushing.wake():
            self.limit = _FOLD
            if self.closed:  # meanwhile, by another thread: nobody looks after later calls but their own threads
                self._collect_late()
            elif len(self._calls) >= _FOLD:
                self._exclusively(self._fold, monotonic())
                if len(self._sums) >= _MOST:
                    self.collect(monotonic())
        elif monotonic() - self._since >= self._interval or len(self._calls) >= _FOLD:
            self.collect(monotonic())

    @property
    def idle(self) -> bool:
        """Whether there is no call and no sum that waits to become an event."""
        return not self._calls and not self._sums and not self._owner

    def collect(self, deadline: float) -> bool:
        """Makes events of all calls and sums; False when another thread still did so at the deadline (monotonic seconds)."""
        return self.idle or self._exclusively(self._make_events, deadline)

    def close(self) -> None:
        """Collects the rest; what comes later is collected at once, by its own thread."""
        self.closed = True
        self._collect_late()

    def _collect_late(self) -> None:
        """Makes events of what came after the end too: the thread that is at it may be past a call that was added meanwhile."""
        self.limit = 0
        deadline = monotonic() + _GRACE
        while self.collect(deadline) and self._calls:  # of a signal handler in the middle of it
            pass

    def _exclusively(self, work: Callable[[], None], deadline: float) -> bool:
        if not self._lock.acquire(timeout=max(0.0, deadline - monotonic())):
            return False
        try:
            if self._owner:  # a signal handler in the middle of it
                return False
            self._owner = get_ident()
            try:
                work()
            finally:
                self._owner = 0
        finally:
            self._lock.release()
        return True

    def _fold(self) -> None:
        calls, sums = self._calls, self._sums.copy()
        number = len(calls)
        full = self._add_all(calls[:number], sums)
        # Nothing can come between these two: signals come, and threads take turns, at calls and jumps only.
        self._sums = sums
        del calls[:number]
        for key, total in full:
            self._make_event(key, total)

    def _make_events(self) -> None:
        self._since = monotonic()
        self._fold()
        sums, self._sums = list(self._sums.items()), {}
        done = 0
        try:
            for key, total in sums:
                done += 1
                self._make_event(key, total)
        except BaseException:  # such as KeyboardInterrupt
            self._sums = dict(sums[done:])
            raise

    def _make_event(self, key: str | Key, total: T) -> None:
        if isinstance(key, str):
            self._say(key, {}, total)
        else:
            self._say(key[0], dict(zip(key[1], key[2], strict=True)), total)

    def takes(self, name: Any, value: Any, weight: float = ONE) -> bool:
        """Whether the name is a text, and the measurement and its weight are numbers that can be added."""
        raise NotImplementedError

    def _weighted(self, value: Any, weight: float) -> Any:
        """The measurement of a call that stands for several."""
        raise NotImplementedError

    def _add_all(self, calls: list[tuple[str | Key, Any]], sums: dict[str | Key, T]) -> list[tuple[str | Key, T]]:
        """Adds the measurements of calls to the sums. Returns the sums that could take no more and were begun anew."""
        raise NotImplementedError

    def _say(self, name: str, fields: dict[str, Any], total: T) -> None:
        """Logs the event of a sum; `fields` belong to it."""
        raise NotImplementedError


class Counters(Sums[float]):
    """Equal counters: one event with their sum, each by its weight, as `count`."""

    kind = "counter"
    measure = "count"

    def takes(self, name: Any, value: Any, weight: float = ONE) -> bool:
        """As in `Sums`; what is added is the measurement times its weight."""
        kind = type(value)
        if type(name) is not str or not (kind is int or kind is float) or not -_LARGEST <= value <= _LARGEST:
            return False
        return weight is ONE or -_LARGEST <= value * weight <= _LARGEST

    def add_plain(self, name: Any, value: Any) -> bool:
        """As `add`, of a counter without fields that stands for itself alone."""
        if type(value) is not int or type(name) is not str or not -_LARGEST <= value <= _LARGEST:
            return False
        calls = self._calls
        calls.append((name, value))
        if len(calls) >= self.limit:
            self._attend()
        return True

    def _weighted(self, value: Any, weight: float) -> Any:
        return value * weight

    def _add_all(
        self, calls: list[tuple[str | Key, Any]], sums: dict[str | Key, float]
    ) -> list[tuple[str | Key, float]]:
        full = []
        for (key, value), times in Counter(calls).items():  # equal calls at the speed of C
            total = sums.get(key, 0) + value * times
            if -_LARGEST <= total <= _LARGEST:
                sums[key] = total
                continue
            for _ in range(times):
                before = sums.get(key)
                if before is not None and not -_LARGEST <= before + value <= _LARGEST:
                    full.append((key, before))
                    before = None
                sums[key] = value if before is None else before + value
        return full

    def _say(self, name: str, fields: dict[str, Any], total: float) -> None:
        if type(total) is float and total.is_integer():
            total = int(total)  # weights are floats, 1 / rate
        fields["name"], fields["count"] = name, total
        self._put(self.kind, name, str(total), fields, ONE)


Summary = tuple[float, float, float, float, dict[int, float]]
"""Number of timings, their sum, the least and the largest, and how many fell into each bucket of the sketch."""

_GAMMA: Final = 1.02  # a bucket's upper limit over its lower one: values are known to 1 %
_LOG_GAMMA: Final = log(_GAMMA)
_LEAST: Final = 1e-6  # ms; what takes less is in the bucket of that


class TimerSummaries(Sums[Summary]):
    """Equal timers: one event with their number, sum, minimum and maximum, and a sketch of how they are distributed.

    Its weight is their number and `ms` their mean, so that averages and numbers of calls are what they were. The sketch has
    `gamma` and `buckets`: of index to number, where index i holds what is above gamma ** (i - 1) ms and up to gamma ** i.
    """

    kind = "timer"
    measure = "ms"

    def takes(self, name: Any, value: Any, weight: float = ONE) -> bool:
        """As in `Sums`; the sum of the weights is the weight of the event."""
        kind = type(value)
        if type(name) is not str or not (kind is int or kind is float) or not 0 <= value <= _LARGEST:
            return False
        return weight is ONE or 0 < weight <= MAX_WEIGHT

    def _weighted(self, value: Any, weight: float) -> Any:
        return value, weight

    def _add_all(
        self, calls: list[tuple[str | Key, Any]], sums: dict[str | Key, Summary]
    ) -> list[tuple[str | Key, Summary]]:
        full = []
        for key, value in calls:
            ms, weight = value if type(value) is tuple else (value, 1)
            bucket = ceil(log(max(ms, _LEAST)) / _LOG_GAMMA)
            number, total, least, most, buckets = before = sums.get(key) or (0, 0.0, ms, ms, {})
            if number + weight > MAX_WEIGHT:
                full.append((key, before))
                number, total, least, most, buckets = 0, 0.0, ms, ms, {}
            buckets = {**buckets, bucket: buckets.get(bucket, 0) + weight}
            sums[key] = number + weight, total + ms * weight, min(least, ms), max(most, ms), buckets
        return full

    def _say(self, name: str, fields: dict[str, Any], total: Summary) -> None:
        number, together, least, most, buckets = total
        mean = together / number
        sketch = {"gamma": _GAMMA, "buckets": {str(index): buckets[index] for index in sorted(buckets)}}
        fields.update(name=name, ms=mean, count=number, sum=together, min=least, max=most, sketch=sketch)
        self._put(self.kind, name, str(mean), fields, float(number))
