"""Limits how many events of a type go out, and reports how many did not."""

from __future__ import annotations

import math
import threading
from time import monotonic

from metlog.event import Event
from metlog.filters import BaseFilter
from metlog.plugins.conversion import Seconds

__all__ = ["RateLimit"]

_OTHERS = "(others)"


class _Bucket:
    __slots__ = ("at", "count", "since", "tokens", "weight")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.at = now
        self.count = 0
        self.weight = 0.0
        self.since = now


class RateLimit(BaseFilter):
    """A token bucket for each type; an event of its own reports what it drops.

    rate
        Events a second that a type may have in the long run.
    burst
        Events that may come at once; by default the rate, but at least 1.
    window
        Seconds. At the end of a window in which events of a type were dropped, and at close, one event of type
        `suppressed` says which type, how many, and the sum of their weights: `fields` has `type`, `count`, `weight` and
        `seconds`. It passes the filters behind this one (`redact`, say), whatever its severity.
    types
        Only these types are limited; all by default.
    max_types
        Types that have a bucket each; those that come after share one, `(others)`.
    """

    def __init__(
        self, *, rate: float, burst: float | None = None, window: Seconds = 10.0, types: list[str] | None = None,
        max_types: int = 1000,
    ) -> None:  # fmt: skip
        if not 0 < rate < math.inf:
            raise ValueError(f"rate = {rate}: wants more than 0 events a second")
        if burst is not None and not 1 <= burst < math.inf:
            raise ValueError(f"burst = {burst}: wants 1 or more events")
        if not 0 < window < math.inf:
            raise ValueError(f"window = {window}: wants more than 0 seconds")
        if max_types < 1:
            raise ValueError(f"max_types = {max_types}: wants 1 or more types")
        self._rate = rate
        self._burst = max(1.0, rate) if burst is None else burst
        self._window = window
        self._types = frozenset(types) if types else None
        self._max_types = max_types
        self.after_fork()

    def after_fork(self) -> None:
        """Starts with empty buckets and a new lock: the parent reports what it has suppressed, and may hold its lock."""
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.RLock()  # a signal handler may log in the middle

    def __call__(self, event: Event, /) -> Event | None:
        """The event while its type's bucket has a token."""
        if self._types is not None and event.type not in self._types:
            return event
        now = monotonic()
        with self._lock:
            name = event.type
            bucket = self._buckets.get(name)
            if bucket is None:
                if len(self._buckets) >= self._max_types:
                    name = _OTHERS
                bucket = self._buckets.setdefault(name, _Bucket(self._burst, now))
            bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._rate)
            bucket.at = now
            if bucket.tokens >= 1:
                bucket.tokens -= 1
                return event
            if not bucket.count:
                bucket.since = now
            bucket.count += 1
            bucket.weight += event.weight
            return None

    def tick(self, now: float) -> None:
        """Reports what was suppressed in windows that have ended; `now` in monotonic seconds."""
        self._report(now, self._window)

    def close(self) -> None:
        """Reports the rest."""
        self._report(monotonic(), 0.0)

    def _report(self, now: float, age: float) -> None:
        with self._lock:
            ended = [(name, b) for name, b in self._buckets.items() if b.count and now - b.since >= age]
            reports = [(name, bucket.count, bucket.weight, now - bucket.since) for name, bucket in ended]
            for _, bucket in ended:
                bucket.count, bucket.weight = 0, 0.0
        if self.emit is not None:
            for name, count, weight, seconds in reports:
                fields = {"type": name, "count": count, "weight": weight, "seconds": round(seconds, 3)}
                self.emit(Event(type="suppressed", tokens=("suppressed", name), payload=str(count), fields=fields))
