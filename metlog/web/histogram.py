"""Bars over time: how long one is, and how high its parts are. By severity, as the overview and the search show them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from metlog.web.times import Times

__all__ = ["BAR", "PARTS", "Bar", "Histogram", "Steps", "histogram", "steps"]

PARTS: Final = {"error": "0,1,2,3", "warning": "4", "usual": "5,6", "debug": "7"}
"""Parts of a bar from the ground up, with the severities that each one counts."""
BAR: Final = "CAST(floor((epoch(timestamp) + $shift) / $width) AS BIGINT)"
"""The number of an event's bar, in SQL with the parameters of `Steps.values`."""
_WIDTHS: Final = (1, 10, 60, 300, 1800, 10800, 86400, 604800, 2419200, 7257600, 31449600)
_MOST: Final = 96
_MONDAY: Final = 259200
"""1970-01-01 was a Thursday: seconds by which weeks are shifted to begin with a Monday."""


@dataclass(frozen=True)
class Steps:
    """A span of time in bars of equal width, in seconds; `shift` makes days begin with the zone's midnight."""

    begin: datetime
    end: datetime
    width: int
    shift: int

    @property
    def values(self) -> dict[str, Any]:
        return {"width": self.width, "shift": self.shift}

    @property
    def first(self) -> int:
        return math.floor((self.begin.timestamp() + self.shift) / self.width)

    @property
    def last(self) -> int:
        return math.floor((self.end.timestamp() - 1e-6 + self.shift) / self.width)

    def moment(self, number: int) -> datetime:
        """When a bar begins."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=number * self.width - self.shift)


def steps(times: Times) -> Steps:
    """Bars for a span: at most about a hundred."""
    seconds = (times.end - times.begin).total_seconds()
    width = next((width for width in _WIDTHS if seconds / width <= _MOST), _WIDTHS[-1])
    while seconds / width > _MOST:
        width *= 2
    offset = times.end.astimezone(times.zone).utcoffset() or timedelta()
    return Steps(times.begin, times.end, width, int(offset.total_seconds()) + (_MONDAY if width >= 604800 else 0))


@dataclass
class Bar:
    """One bar. `begin` and `end` lie within the span; `parts` has (name of the part, events, its bottom and height in percent)."""

    begin: datetime
    end: datetime
    place: int
    """Its number from the left, from 0."""
    events: float = 0.0
    errors: float = 0.0
    parts: list[tuple[str, float, float, float]] = field(default_factory=list)


@dataclass
class Histogram:
    """Bars, the value of the axis' top, and the labels of the time below it."""

    bars: list[Bar]
    top: float
    labels: list[str]
    width: int

    @property
    def events(self) -> float:
        return sum(bar.events for bar in self.bars)

    @property
    def errors(self) -> float:
        return sum(bar.errors for bar in self.bars)


def histogram(rows: Iterable[Mapping[str, Any]], by: Steps, times: Times) -> Histogram:
    """A bar for each step of the span, also where nothing came. `rows` have `bar`, `events`, `error`, `warning`, `debug`."""
    counts = {row["bar"]: row for row in rows}
    bars = []
    for number in range(by.first, by.last + 1):
        row = counts.get(number)
        begin, end = max(by.moment(number), by.begin), min(by.moment(number + 1), by.end)
        if row is None:
            bars.append(Bar(begin, end, number - by.first))
            continue
        known = {name: float(row[name]) for name in ("error", "warning", "debug")}
        known["usual"] = max(0.0, float(row["events"]) - sum(known.values()))
        bars.append(
            Bar(
                begin,
                end,
                number - by.first,
                float(row["events"]),
                known["error"],
                [(name, known[name], 0.0, 0.0) for name in PARTS],
            )
        )
    top = _round_up(max((bar.events for bar in bars), default=0.0))
    for bar in bars:
        below, parts = 0.0, []
        for name, events, _, _ in bar.parts:
            if events > 0:  # at least a line, or an error among many events is not seen
                height = max(100 * events / top, 1.2)
                parts.append((name, events, below, max(0.0, min(height, 100 - below))))
                below += height
        bar.parts = parts
    return Histogram(bars, top, _labels(times), by.width)


def _round_up(most: float) -> float:
    """The next of 1, 2, 5, 10, 20, …"""
    if not 1e-300 < most < 1e300:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next((step * power for step in (1, 2, 5) if step * power >= most), 10 * power)


def _labels(times: Times) -> list[str]:
    """Five times at equal distances from the first to the last."""
    length = times.end - times.begin
    form = (
        "%H:%M:%S" if length < timedelta(minutes=5) else "%H:%M" if length <= timedelta(hours=30)
        else "%-d %b %H:%M" if length <= timedelta(days=10) else "%-d %b" if length <= timedelta(days=300) else "%b %Y"
    )  # fmt: skip
    return [(times.begin + length * part / 4).astimezone(times.zone).strftime(form) for part in range(5)]
