"""A report's chart as lines of text: bars, stacked bars, one small curve a series, and spreads."""

from __future__ import annotations

from datetime import date, datetime
from itertools import cycle, pairwise
from math import log
from typing import Any, Final

from rich.text import Text

from metlog.lake.query import Result
from metlog.reports.charts.labels import word
from metlog.reports.charts.scales import in_digits, spread_range
from metlog.reports.charts.timeline import STEPS, between, label_of_step, not_over, step_after, step_of, unit_of
from metlog.reports.charts.values import cells, legible_chart
from metlog.reports.charts.vega import lacks, of_what, shown_rows
from metlog.reports.spec import Chart, Charted

__all__ = ["lines"]

Rows = list[dict[str, Any]]

_STYLES: Final = ("blue", "cyan", "yellow", "magenta", "bright_blue", "green", "bright_cyan", "bright_black")
_NAMED: Final = {"good": "green", "bad": "red", "warn": "yellow", "plain": "blue", "other": "bright_black"}
_FILLS: Final = "█▓▒░▚▞▤▥"
_CURVE: Final = "▁▂▃▄▅▆▇█"
_MARKS: Final = "│●◆▶○◇"
_BARS: Final = 400  # bars of one picture


def lines(report: Charted, result: Result, width: int = 80) -> list[Text]:
    """The chart, `width` characters wide; without rows or a chart, words."""
    chart = report.chart_spec
    rows = result.dicts()
    values = getattr(result, "values", {})
    head = Text(_clean(report.title), style="bold")
    if values:
        head.append(f"  {_clean(of_what(report, values))}", style="not bold dim")
    if chart is None:
        return [head, Text("This report has no chart.")]
    if not rows:
        return [head, *_nothing(report)]
    if lacking := lacks(chart, result):
        return [head, Text(_clean(lacking))]
    chart = legible_chart(chart)
    rows, note = shown_rows(chart, cells(chart, rows))
    for text in (note, not_over(chart, rows, values)):
        if text:
            head.append(f"; {text}", style="not bold dim")
    if not rows:
        return [head, Text(_clean(chart.zero) or "Nothing but zeros.")]
    by = step_of(chart, values)
    if chart.kind == "spread":
        return [head, *_spread(chart, rows, width)]
    if chart.kind == "lines":
        return [head, *_curves(chart, rows, by, str(values.get("tz", "UTC")), width)]
    return [head, *_bars(chart, rows, by, width)]


def _nothing(report: Charted) -> list[Text]:
    code = report.empty.code.splitlines()
    more = (
        [Text("This would bring some:"), Text(), *(Text(f"    {_clean(line)}") for line in code), Text()]
        if code
        else []
    )
    return [Text(_clean(report.empty.text)), *more]


def _bars(chart: Chart, rows: Rows, by: str, width: int) -> list[Text]:
    """A bar a time or name, its series one behind the other."""
    series = _series_of(chart, rows)
    table: dict[Any, dict[str, float | None]] = {}
    for row in rows:
        parts = table.setdefault(row[chart.x], {})
        for name, column in series.items():
            if not chart.color or str(row[chart.color]) == name:
                parts[name] = _added(parts.get(name), _number(row.get(column)))
    _fill_gaps(table, by)
    whole = len(table)
    if whole > _BARS:
        table = {key: parts for key, parts in table.items() if any(parts.values())} or table
    notes = [f"the last {_BARS} of {len(table):,}"] if len(table) > _BARS else []
    if len(table) < whole:
        notes.append(f"without {whole - len(table):,} empty ones")
    shown = list(table.items())[-_BARS:]
    names = [_name(key, by) for key, _ in shown]
    said = [[_said(parts.get(name, 0)) for name in series] for _, parts in shown]
    sizes = [max(map(len, column)) for column in zip(*said, strict=True)]
    numbers = ["  ".join(text.rjust(size) for text, size in zip(texts, sizes, strict=True)) for texts in said]
    wide = min(max(map(len, names)), width // 2)
    room = max(8, width - wide - max(map(len, numbers)) - 4)
    most = max((sum(map(_length, parts.values())) for _, parts in shown), default=0) or 1
    fills = dict(zip(series, cycle(_FILLS), strict=False))
    styles = _styles(chart, list(series))
    made = [_legend(chart, by, {name: fills[name] for name in series}, styles)]
    for name, (_, parts), number in zip(names, shown, numbers, strict=True):
        line = Text(_cut(name, wide).ljust(wide) + "  ")
        done = drawn = 0.0
        for part, fill in fills.items():
            done += _length(parts.get(part, 0))
            length = min(round(done / most * room), room) - int(drawn)
            line.append(fill * length, style=styles[part])
            drawn += length
        line.append(" " * (room - int(drawn)) + f"  {number}")
        made.append(line)
    if notes:
        made.insert(1, Text("; ".join(notes), style="dim"))
    return made


def _length(value: float | None) -> float:
    """Of a bar: what is below zero has none, its number tells it."""
    return max(value or 0.0, 0.0)


def _said(value: float | None) -> str:
    return "" if value is None else in_digits(value)


def _added(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else one + other


def _fill_gaps(table: dict[Any, dict[str, float | None]], by: str) -> None:
    """A bar of no length for each step without events between two that have some."""
    times = [key for key in table if isinstance(key, datetime)]
    if by not in STEPS or len(times) < len(table) or not times:
        return
    moment, last = min(times), max(times)
    for _ in range(10 * _BARS):
        table.setdefault(moment, {})
        if moment >= last:
            break
        moment = step_after(moment, by)
    for key in sorted(table):
        table[key] = table.pop(key)


def _curves(chart: Chart, rows: Rows, by: str, tz: str, width: int) -> list[Text]:
    """A curve a series, each of its own height, with the range of its values."""
    series = _series_of(chart, rows)
    times = sorted({row[chart.x] for row in rows})
    if by in STEPS and all(isinstance(time, datetime) for time in times):
        times = between(times, by, tz)
    missing = 0.0 if chart.missing == "zero" else None
    said: dict[str, list[float | None]] = {}
    ends: dict[str, str] = {}
    for name, column in series.items():
        mine = [row for row in rows if not chart.color or str(row[chart.color]) == name]
        found = {row[chart.x]: _number(row[column]) for row in mine}
        points = [found.get(time, missing) for time in times]
        if any(point is not None for point in found.values()):
            known = [point for point in points if point is not None]
            said[name], ends[name] = points, f"{in_digits(min(known))} to {in_digits(max(known))}"
    if not said:
        return [Text("There are no values in this time.")]
    wide = min(max(map(len, said)), width // 3)
    room = max(8, width - wide - max(map(len, ends.values())) - 4)
    unit = unit_of(chart, by) or chart.y[0]
    first, last = _name(times[0], by), _name(times[-1], by)
    when = f"{first} to {last}" if first != last else first
    made = [Text(f"{unit}, {when}, each curve of its own height", style="dim")]
    styles = _styles(chart, list(series))
    for name, points in said.items():
        fitted = _fit(points, room)
        known = [point for point in fitted if point is not None]
        high, low = max(known), min(0.0, *known)
        span = (high - low) or 1.0
        curve = "".join(" " if point is None else _CURVE[min(7, int((point - low) / span * 7.999))] for point in fitted)
        line = Text(_cut(name, wide).ljust(wide) + "  ")
        line.append(curve.ljust(room), style=styles[name])
        line.append(f"  {ends[name]}")
        made.append(line)
    return made


def _spread(chart: Chart, rows: Rows, width: int) -> list[Text]:
    """A line from the least to the most of the values, each with its mark, and the numbers."""
    marks = dict(zip(chart.y, cycle(_MARKS), strict=False))
    names = [_name(row[chart.x], "") for row in rows]
    numbers = [[_said(_number(row[key])) for key in chart.y] for row in rows]
    sizes = [max(len(line[index]) for line in numbers) for index in range(len(chart.y))]
    wide = min(max(map(len, names)), width // 3)
    room = max(12, width - wide - sum(sizes) - 2 * len(sizes) - 3)
    most = max((_length(_number(row[key])) for row in rows for key in chart.y), default=0) or 1
    logarithmic, outside = spread_range(chart, rows)
    styles = dict(zip(chart.y, cycle(_STYLES), strict=False))
    scale = ", ".join(word for word in (chart.unit, "log scale" if logarithmic else "", _clean(outside)) if word)
    legend = Text(f"{scale}  " if scale else "", style="dim")
    for key, mark in marks.items():
        legend.append(mark, style=styles[key])
        legend.append(f" {_clean(chart.labels.get(key) or word(key))}  ")
    made = [legend]
    for name, row, said in zip(names, rows, numbers, strict=True):
        known = {key: number for key in chart.y if (number := _number(row[key])) is not None}
        places = {key: round(_share(number, most, logarithmic) * (room - 1)) for key, number in known.items()}
        begin, end = min(places.values(), default=0), max(places.values(), default=-1)
        cells = " " * begin + "─" * (end - begin + 1) + " " * (room - end - 1)
        drawn = Text(_cut(name, wide).ljust(wide) + "  ")
        by_place = {place: key for key, place in places.items()}  # of several in one place the last is seen
        for place, cell in enumerate(cells):
            if place in by_place:
                drawn.append(marks[by_place[place]], style=styles[by_place[place]])
            else:
                drawn.append(cell)
        drawn.append("  " + "  ".join(text.rjust(size) for text, size in zip(said, sizes, strict=True)))
        made.append(drawn)
    return made


def _share(number: float, most: float, logarithmic: tuple[float, float] | None) -> float:
    """Where a number stands, from 0 (the left edge) to 1."""
    if logarithmic is None:
        return min(1.0, max(0.0, number / most))
    low, high = logarithmic
    return log(min(max(number, low), high) / low) / log(high / low)


def _series_of(chart: Chart, rows: Rows) -> dict[str, str]:
    """The column of the values, by name of the series."""
    if chart.color:
        return dict.fromkeys(sorted({str(row[chart.color]) for row in rows}), chart.y[0])
    return {name: name for name in chart.y}


def _styles(chart: Chart, names: list[str]) -> dict[str, str]:
    free = iter(_STYLES)
    return {name: _NAMED.get(chart.colors.get(name, ""), "") or next(free, "white") for name in names}


def _legend(chart: Chart, by: str, fills: dict[str, str], styles: dict[str, str]) -> Text:
    unit = unit_of(chart, by) or chart.labels.get(chart.y[0]) or word(chart.y[0])
    made = Text(unit, style="dim")
    if len(fills) > 1:
        for name, fill in fills.items():
            made.append(f"  {fill} ", style=f"not dim {styles[name]}")
            made.append(_clean(chart.labels.get(name) or (word(name) if name in chart.y else name)), style="not dim")
    return made


def _fit(points: list[float | None], room: int) -> list[float | None]:
    """At most `room` points; where there are more, means of neighbours."""
    if len(points) <= room:
        return points
    edges = [round(index * len(points) / room) for index in range(room + 1)]
    return [_mean([point for point in points[a:b] if point is not None]) for a, b in pairwise(edges)]


def _mean(points: list[float]) -> float | None:
    return sum(points) / len(points) if points else None


def _number(value: Any) -> float | None:
    """Within ±1e300, so that no sum or difference of a chart's numbers is infinite."""
    return min(max(float(value), -1e300), 1e300) if value is not None else None


def _name(value: Any, by: str) -> str:
    if isinstance(value, (datetime, date)):
        moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a label
        return label_of_step(moment, by) if by else f"{moment:%Y-%m-%d %H:%M}"
    return _clean(str(value))


def _clean(text: str) -> str:
    """Without what could steer the terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _cut(text: str, wide: int) -> str:
    return text if len(text) <= wide else text[: wide - 1] + "…"
