"""Bars over time: how long one is, and how high its parts are. By severity, as the overview and the search show them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from metlog.web.times import Times

__all__ = ["PARTS", "Bar", "Histogram", "Steps", "histogram", "steps"]

PARTS: Final = {"error": "0,1,2,3", "warning": "4", "usual": "5,6", "debug": "7"}
"""Parts of a bar from the ground up, with the severities that each one counts."""
_WIDTHS: Final = (1, 10, 60, 300, 1800, 10800, 86400, 604800, 2419200, 7257600, 31449600)
_MOST: Final = 96
_HOURS: Final = 10800
_WEEKS: Final = 604800
"""Widths from which on bars are by the clock on the wall, also before it was changed in the span; and up to which: of years an hour is not seen."""
_MONDAY: Final = 259200
"""1970-01-01 was a Thursday: seconds by which weeks are shifted to begin with a Monday."""


@dataclass(frozen=True)
class Steps:
    """A span of time in bars of equal width, in seconds; `shift` makes days begin with the zone's midnight, as it is at the span's end."""

    begin: datetime
    end: datetime
    width: int
    shift: int
    turns: tuple[tuple[datetime, int], ...] = ()
    """When the clocks are changed within the span, and the seconds by which `shift` is another one before that."""

    @property
    def sql(self) -> str:
        """The number of an event's bar, with the parameters of `values`."""
        turned = "".join(
            f" + CASE WHEN timestamp < $turn{number} THEN {by} ELSE 0 END" for number, (_, by) in enumerate(self.turns)
        )
        return f"CAST(floor((epoch(timestamp) + $shift{turned}) / $width) AS BIGINT)"

    @property
    def values(self) -> dict[str, Any]:
        turns = {f"turn{number}": moment for number, (moment, _) in enumerate(self.turns)}
        return {"width": self.width, "shift": self.shift, **turns}

    @property
    def first(self) -> int:
        return self._number(self.begin)

    @property
    def last(self) -> int:
        return self._number(self.end - timedelta(microseconds=1))

    def _number(self, moment: datetime) -> int:
        shift = self.shift + sum(by for turn, by in self.turns if moment < turn)
        return math.floor((moment.timestamp() + shift) / self.width)

    def moment(self, number: int) -> datetime:
        """When a bar begins."""
        found = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=number * self.width - self.shift)
        for turn, by in reversed(self.turns):  # from the last one back: what lies before it has another shift
            earlier = found - timedelta(seconds=by)
            if min(found, earlier) >= turn:
                break
            found = min(earlier, turn)  # a begin that the clocks leave out is the moment of their change
        return found


def steps(times: Times) -> Steps:
    """Bars for a span: at most about a hundred."""
    seconds = (times.end - times.begin).total_seconds()
    width = next((width for width in _WIDTHS if seconds / width <= _MOST), _WIDTHS[-1])
    while seconds / width > _MOST:
        width *= 2
    shift = _offset(times.end, times) + (_MONDAY if width >= _WEEKS else 0)
    turns = tuple(_turns(times)) if _HOURS <= width <= _WEEKS else ()
    return Steps(times.begin, times.end, width, shift, turns)


def _offset(moment: datetime, times: Times) -> int:
    return int((moment.astimezone(times.zone).utcoffset() or timedelta()).total_seconds())


def _turns(times: Times) -> Iterator[tuple[datetime, int]]:
    """When the clocks of the zone are changed in the span, to the second, with what the offset was more before."""
    day = timedelta(days=1)
    begin = times.begin
    while begin < times.end:
        end = min(begin + day, times.end)
        before, after = _offset(begin, times), _offset(end, times)
        if before != after:
            low, high = begin, end
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) / 2
                low, high = (middle, high) if _offset(middle, times) == before else (low, middle)
            yield high.replace(microsecond=0), before - after
        begin = end


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
