"""Scales of charts: numbers in few digits, when a scale is logarithmic, and what lies outside of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from metlog.reports.spec import Chart

__all__ = ["decades", "in_digits", "log_range", "spread_range"]

_FAR: Final = 50  # the most in multiples of the least, from which on a spread is drawn to a logarithmic scale
_DECADES: Final = 1e12  # that a logarithmic scale shows; what is smaller stands at its edge


def in_digits(number: float) -> str:
    """A number as one reads it: whole from 100 on, else with three digits that count; beyond 1e15 as a power of ten."""
    if not abs(number) < 1e15:
        return f"{number:.3g}"
    return f"{number:,.0f}" if number == int(number) or abs(number) >= 99.95 else f"{number:,.3g}"


def log_range(values: Iterable[Any]) -> tuple[float, float] | None:
    """Least and most of the values, if they lie so far apart that only a logarithmic scale shows them all; else None."""
    known = [float(value) for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    if low <= 0 or high / low < _FAR:
        return None
    return max(low, high / _DECADES), high


def spread_range(chart: Chart, rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[float, float] | None, str]:
    """The logarithmic scale of a spread as `log_range`, and what lies outside of it in words.

    A few names far below all others do not squeeze them: where every value of at most a quarter of the names is less than a tenth of
    the least value of the rest, the scale is that of the rest, and those stand at its left edge.
    """
    known: dict[Any, list[float]] = {}
    for row in rows:
        found = [float(row[name]) for name in chart.y if row.get(name) is not None]
        if found:
            known[row.get(chart.x)] = found
    names = sorted(known, key=lambda name: max(known[name]))
    for count in range(len(names) // 4, 0, -1):
        below, rest = names[:count], names[count:]
        if 10 * max(known[below[-1]]) <= min(min(known[name]) for name in rest):
            scale = log_range(value for name in rest for value in known[name])
            said = ", ".join(f"{name} ({in_digits(max(known[name]))})" for name in below[:3])
            more = f" and {count - 3} more" if count > 3 else ""
            return scale, f"left of it {said}{more}" if scale is not None else ""
    return log_range(value for values in known.values() for value in values), ""


def decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten from below the least to above the most; of many powers the first only."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    found = [float(f"{step}e{power}") for power in range(first - 1, last + 2) for step in steps]
    begin = max(number for number in found if number <= low)
    end = min(number for number in found if number >= high)
    return [number for number in found if begin <= number <= end]
