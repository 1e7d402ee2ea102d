"""A report's result as a Vega-Lite specification (https://vega.github.io/vega-lite/docs/spec.html), data included."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from metlog.lake.query import Result
from metlog.reports.charts.labels import word
from metlog.reports.charts.scales import decades, in_digits, spread_range
from metlog.reports.charts.timeline import not_over, over_time
from metlog.reports.charts.values import cells, legible, legible_chart
from metlog.reports.spec import COMMON, Chart, Charted

__all__ = [
    "RANKED",
    "SERIES",
    "lacks",
    "of_what",
    "period",
    "shown_rows",
    "specification",
]

_SCHEMA: Final = "https://vega.github.io/schema/vega-lite/v6.json"
_ROWS: Final = 10_000  # that a chart shows
RANKED: Final = 25
"""Names in a ranking."""
SERIES: Final = 8
"""Series in a chart: as many as there are colours that can be told apart."""
_LIGHT: Final = {"text": "#475569", "strong": "#0f172a", "grid": "#e2e8f0", "paper": "#ffffff"}
_DARK: Final = {"text": "#cbd5e1", "strong": "#f1f5f9", "grid": "#334155", "paper": "#0f172a"}
_NAMED: Final = {"good": "#16a34a", "bad": "#dc2626", "warn": "#d97706", "plain": "#2563eb", "other": "#94a3b8"}
_PALETTE: Final = ("#2563eb", "#0d9488", "#d97706", "#7c3aed", "#db2777", "#65a30d", "#38bdf8", "#64748b")

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_LINKED: Final = 3000  # rows of a chart whose marks are links

Rows = list[dict[str, Any]]
Link = Callable[[Mapping[str, Any], str], str]


def specification(
    report: Charted,
    result: Result,
    *,
    dark: bool = False,
    width: int = 640,
    height: int | None = None,
    link: Link | None = None,
) -> dict[str, Any]:
    """The specification; `width` and `height` of the whole picture in pixels. Without rows or a chart it says so in words.

    link: gives the address that a mark leads to, of a row and a column of its values; "" for none.
    """
    chart = report.chart_spec
    values = getattr(result, "values", {})
    colours = _DARK if dark else _LIGHT
    rows = result.dicts()
    notes = [of_what(report, values)] if values else []
    if chart is None:
        return _words(_base(report, notes, colours, width), "This report has no chart.", height, colours)
    if not rows:
        return _words(_base(report, notes, colours, width), report.empty.text, height, colours, report.empty.code)
    if lacking := lacks(chart, result):
        return _words(_base(report, notes, colours, width), lacking, height, colours)
    chart = legible_chart(chart)
    found = rows
    rows = [{key: _plain(value) for key, value in row.items()} for row in cells(chart, rows)]
    linked = link is not None and len(rows) <= _LINKED
    if link is not None and linked:
        for row, whole in zip(rows, found, strict=True):
            row["_links"] = [link(_of_mark(chart, whole), name) for name in chart.y]
    chart, rows = _plainly_named(chart, rows)
    rows, note = shown_rows(chart, rows)
    if result.truncated:
        note = "; ".join(filter(None, (f"of the first {len(found):,} rows alone, there are more", note)))
    notes += [text for text in (note, not_over(chart, rows, values)) if text]
    base = _base(report, notes, colours, width)
    if not rows:
        return _words(base, chart.zero or "Nothing but zeros.", height, colours)
    names = len({row.get(chart.x) for row in rows})
    rows, colour, value = _series(chart, rows)
    base["data"] = {"values": rows}
    if chart.kind in {"ranked", "spread"}:
        room = 26 * names + (162 if "field" in colour else 132)
        if chart.kind == "spread":
            drawn = _spread(chart, rows, colour, value, width)
        else:
            drawn = _ranked(chart, rows, colour, value, colours, width)
    else:
        room = 340
        drawn = over_time(chart, rows, values, colour, value, width, label=_label(chart, chart.y[0]))
    return {**base, "height": height or room, **(_with_links(drawn, chart) if linked else drawn)}


def _of_mark(chart: Chart, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a mark says of a row: all of it where each row has its own, else the time and the series, which several rows may share."""
    if chart.kind in {"ranked", "spread"}:
        return row
    return {name: row[name] for name in (chart.x, chart.color) if name}


def _with_links(drawn: dict[str, Any], chart: Chart) -> dict[str, Any]:
    """The marks as links to the address in `_href`. A line is one mark for many rows, so its points get the links."""
    href = {"href": {"field": "_href", "type": "nominal"}}
    if chart.kind == "lines":
        points = {"type": "point", "filled": True, "size": 120, "opacity": 0}
        over = {
            "transform": [{"filter": "isValid(datum._href) && datum._href != ''"}],
            "mark": points, "encoding": drawn["encoding"] | href,
        }  # fmt: skip
        return {"layer": [drawn, over]}
    if "layer" not in drawn:
        return {**drawn, "encoding": drawn["encoding"] | href}
    layers = [
        {**layer, "encoding": layer["encoding"] | href} if "tooltip" in layer["encoding"] else layer
        for layer in drawn["layer"]
    ]
    return {**drawn, "layer": layers}


def lacks(chart: Chart, result: Result) -> str:
    """What to say when the chart names a column that the result does not have, else ""."""
    there = [column.name for column in result.columns]
    missing = [name for name in (chart.x, *chart.y, chart.color) if name and name not in there]
    return f"The chart wants the column {missing[0]!r}; the result has {', '.join(there)}." if missing else ""


def shown_rows(chart: Chart, rows: Rows) -> tuple[Rows, str]:
    """The rows that a chart has room for, and a note that says what it leaves out ("" if nothing)."""
    if chart.kind in {"ranked", "spread"}:
        worth = [row for row in rows if any(row.get(name) for name in chart.y)] if chart.kind == "ranked" else rows
        return worth[:RANKED], f"the first {RANKED} of {len(worth)}" if len(worth) > RANKED else ""
    rows = [row for row in rows if row.get(chart.x) is not None]
    if chart.kind == "bars" and (chart.zero or len(rows) > _ROWS):
        worth = [row for row in rows if any(row.get(name) for name in chart.y)]
        if chart.zero and not worth:
            return [], ""
        if len(rows) > _ROWS:  # bars of no height make room; the first and the last row say how long the time is
            ends = (rows[0], rows[-1])
            rows = [row for row in rows if any(row is end for end in ends) or any(row.get(name) for name in chart.y)]
    if chart.color:
        total: dict[Any, float] = {}
        for row in rows:
            total[row.get(chart.color)] = total.get(row.get(chart.color), 0) + abs(row.get(chart.y[0]) or 0)
        largest = sorted(total, key=lambda name: (-total[name], str(name)))[:SERIES]
        if len(total) > SERIES:
            rows = [row for row in rows if row.get(chart.color) in largest]
            return rows[-_ROWS:], f"the {SERIES} largest of {len(total)} by {chart.color}"
    return rows[-_ROWS:], f"the last {_ROWS:,} of {len(rows):,} rows" if len(rows) > _ROWS else ""


def period(values: Mapping[str, Any]) -> str:
    """The time that a report was asked for, in words: `27 Oct to 25 Nov 2026 17:20, Europe/Berlin`. A last day that is
    not over has its hour, or one would ask why so little happened. With the service, if it is for one."""
    zone = ZoneInfo(values.get("tz", "UTC"))
    since, until = values["since"].astimezone(zone), values["until"].astimezone(zone)
    whole = since == since.replace(hour=0, minute=0, second=0, microsecond=0)
    if whole and (until - since > timedelta(days=1) or until.time() == datetime.min.time()):
        last = until - timedelta(microseconds=1)
        first = (
            ""
            if since.date() == last.date()
            else f"{since:%-d %b %Y} to "
            if since.year != last.year
            else f"{since:%-d %b} to "
        )
        text = f"{first}{last:%-d %b %Y}" + (f" {until:%H:%M}" if until.time() != datetime.min.time() else "")
    else:
        end = f"{until:%H:%M}" if since.date() == until.date() else f"{until:%-d %b %H:%M}"
        text = f"{since:%-d %b %Y %H:%M} to {end}"
    logger = values.get("logger")
    return f"{text}, {zone.key}" + (f", {logger} only" if logger else "")


def of_what(report: Charted, values: Mapping[str, Any]) -> str:
    """The time, and what else the report was narrowed down to: `24 Mar to 31 Mar 2026, UTC; field = user`."""
    own = (name for name, parameter in report.parameters.items() if name not in COMMON and parameter.type == "text")
    return "; ".join([period(values), *(f"{name} = {values[name]}" for name in own if values.get(name))])


def _base(report: Charted, notes: list[str], colours: dict[str, str], width: int) -> dict[str, Any]:
    axis = {
        "labelColor": colours["text"], "titleColor": colours["text"], "gridColor": colours["grid"], "domain": False,
        "tickColor": colours["grid"], "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 240,
        "titlePadding": 10, "labelPadding": 6,
    }  # fmt: skip
    title = {
        "text": legible(report.title), "anchor": "start", "frame": "group", "color": colours["strong"], "fontSize": 17, "offset": 14,
        "subtitle": legible("; ".join(notes)), "subtitleColor": colours["text"], "subtitleFontSize": 12, "subtitlePadding": 5,
    }  # fmt: skip
    return {
        "$schema": _SCHEMA,
        "title": title,
        "width": width,
        "background": colours["paper"],
        "padding": 16,
        "autosize": {"type": "fit", "contains": "padding"},
        "config": {
            "font": "system-ui, Helvetica, Arial, sans-serif",
            "view": {"stroke": None},
            "axis": axis,
            "legend": {
                "labelColor": colours["text"], "title": None, "orient": "top", "labelFontSize": 12, "symbolType": "circle",
                "columns": 2 if width < 450 else width // 130, "columnPadding": 18, "labelLimit": 180, "offset": 10,
            },
        },
    }  # fmt: skip


def _words(
    base: dict[str, Any], text: str, height: int | None, colours: dict[str, str], code: str = ""
) -> dict[str, Any]:
    """In the place of a chart: what there is to say, and the lines of code that would change it, from the title's edge on."""
    lines = [legible(text), *(["This would bring some:"] if code else [])]
    mark = {"type": "text", "align": "left", "baseline": "top", "fontSize": 13, "lineHeight": 20, "x": 0}
    said = {"mark": {**mark, "y": 4, "color": colours["text"], "text": lines}}
    shown = {
        "mark": {
            **mark, "y": 10 + 20 * len(lines), "x": 16, "color": colours["strong"], "font": "ui-monospace, Menlo, Consolas, monospace",
            "text": [legible(line) for line in code.splitlines()],
        },
    }  # fmt: skip
    room = 120 + 20 * (len(lines) + len(code.splitlines()))
    return {**base, "height": height or room, "data": {"values": [{}]}, "layer": [said, shown] if code else [said]}


def _plain(value: Any) -> Any:
    """A value as JSON has it; a time as what a clock on the wall shows, which the chart takes for UTC and leaves alone."""
    if isinstance(value, datetime):
        return (
            value.replace(tzinfo=None).isoformat() + "Z"
            if value.tzinfo in {None, UTC}
            else value.astimezone(UTC).isoformat()
        )
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00Z"
    return float(value) if isinstance(value, Decimal) else value


def _plainly_named(chart: Chart, rows: Rows) -> tuple[Chart, Rows]:
    """The same with names for columns that Vega takes for nothing but names: dots, brackets and quotes are paths to it."""
    used = [name for name in (chart.x, *chart.y, chart.color) if name and not _PLAIN.fullmatch(name)]
    if not used:
        return chart, rows
    new = {name: f"column_{number}" for number, name in enumerate(dict.fromkeys(used))}
    labels = {**chart.labels, **{new[name]: chart.labels.get(name, name) for name in new}}
    colors = {new.get(name, name): colour for name, colour in chart.colors.items()}
    renamed = msgspec.structs.replace(
        chart, x=new.get(chart.x, chart.x), y=tuple(new.get(name, name) for name in chart.y), color=new.get(chart.color, chart.color),
        labels=labels, colors=colors,
    )  # fmt: skip
    return renamed, [{new.get(name, name): value for name, value in row.items()} for row in rows]


def _label(chart: Chart, column: str) -> str:
    return chart.labels.get(column) or word(column)


def _scale(chart: Chart, series: list[str]) -> dict[str, Any]:
    free = (colour for colour in _PALETTE if colour not in {_NAMED.get(given) for given in chart.colors.values()})
    colours = []
    for name in series:
        given = chart.colors.get(name)
        colours.append(_NAMED.get(given, given) if given else next(free, _NAMED["other"]))
    return {"domain": [_label(chart, name) if name in chart.y else name for name in series], "range": colours}


def _series(chart: Chart, rows: Rows) -> tuple[Rows, dict[str, Any], str]:
    """The rows, one a value, in the order of the series; the channel of their colour; and the column of the values."""
    if chart.color:
        names = sorted({str(row.get(chart.color)) for row in rows})
        colour = {"field": chart.color, "type": "nominal", "scale": _scale(chart, names)}
        _lead(rows)
        return sorted(rows, key=lambda row: str(row.get(chart.color))), colour, chart.y[0]
    if len(chart.y) == 1:
        given = chart.colors.get(chart.y[0], "")
        _lead(rows)
        return [*rows], {"value": _NAMED.get(given, given) or _PALETTE[0]}, chart.y[0]
    long = [{**row, "_series": _label(chart, name), "_value": row.get(name)} for name in chart.y for row in rows]
    for place, row in enumerate(long):
        _lead([row], place // len(rows))
    return long, {"field": "_series", "type": "nominal", "scale": _scale(chart, list(chart.y))}, "_value"


def _lead(rows: Rows, place: int = 0) -> None:
    """Gives each row the address of the value that it is drawn for."""
    for row in rows:
        if (links := row.pop("_links", None)) is not None:
            row["_href"] = links[place]


def _ranked(
    chart: Chart, rows: Rows, colour: dict[str, Any], value: str, colours: dict[str, str], width: int
) -> dict[str, Any]:
    unit = chart.unit or _label(chart, chart.y[0])
    name = {"field": chart.x, "type": "nominal", "sort": None, "title": None, "axis": {"ticks": False}}
    number = {"field": value, "type": "quantitative"}
    length = {**number, "title": unit, "axis": {"tickCount": _ticks(6, width), "format": ",~f", "labelFlush": False}}
    tooltip = [{"field": chart.x, "type": "nominal"}, {**number, "title": unit, "format": ",.4~f"}]
    bar = {
        "mark": {"type": "bar", "cornerRadiusEnd": 2, "height": {"band": 0.72}},
        "encoding": {"y": name, "x": length, "color": colour, "tooltip": tooltip},
    }
    if "field" in colour:
        return bar
    for row in rows:
        row["_said"] = in_digits(float(row.get(value) or 0))
    beside = {
        "mark": {"type": "text", "align": "left", "dx": 5, "color": colours["text"], "fontSize": 12},
        "encoding": {"y": name, "x": length, "text": {"field": "_said", "type": "nominal"}},
    }
    return {"layer": [bar, beside]}


def _ticks(most: int, width: int) -> int:
    """How many numbers an axis along the width has room for, beside the names."""
    return max(2, min(most, width // 90))


def _spread(chart: Chart, rows: Rows, colour: dict[str, Any], value: str, width: int) -> dict[str, Any]:
    name = {"field": chart.x, "type": "nominal"}
    number = {"field": value, "type": "quantitative"}
    y = {**name, "sort": None, "title": None, "axis": {"ticks": False}}
    for row in rows:
        found = [float(row[key]) for key in chart.y if row.get(key) is not None]
        row |= {"_first": min(found, default=None), "_last": max(found, default=None)}
    x: dict[str, Any] = {
        "title": chart.unit or None,
        "axis": {"tickCount": _ticks(8, width), "format": ",~f", "labelFlush": False},
    }
    low_high, outside = spread_range(chart, rows)
    if low_high is not None:
        ticks = decades(*low_high)
        x["scale"] = {"type": "log", "domain": [ticks[0], ticks[-1]], "clamp": True}
        x["axis"] |= {"values": ticks, "format": ",~r", "tickCount": len(ticks)}
        x["title"] = ", ".join(part for part in (chart.unit, "log scale", outside) if part)
    rule = {
        "mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.3, "color": _NAMED["other"], "strokeCap": "round"},
        "encoding": {
            "y": y,
            "x": {"field": "_first", "type": "quantitative", "aggregate": "min", **x},
            "x2": {"field": "_last", "aggregate": "max"},
        },
    }
    series = [{"field": "_series", "title": "what"}] if "field" in colour else []
    tooltip = [name, *series, {**number, "title": chart.unit or "value", "format": ",.4~f"}]
    points = {
        "mark": {"type": "point", "filled": True, "size": 80, "opacity": 0.9},
        "encoding": {"y": y, "x": {**number, **x}, "color": colour, "tooltip": tooltip},
    }
    return {"layer": [rule, points]}
