"""A report's result as a Vega-Lite specification (https://vega.github.io/vega-lite/docs/spec.html), data included."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from metlog.lake.query import Result
    from metlog.reports.report import Chart, Report

__all__ = ["specification"]

_SCHEMA: Final = "https://vega.github.io/schema/vega-lite/v6.json"
_ROWS: Final = 2000  # that a chart shows
_RANKED: Final = 25  # names in a ranking
_LIGHT: Final = {"text": "#334155", "strong": "#0f172a", "grid": "#e2e8f0", "paper": "#ffffff"}
_DARK: Final = {"text": "#cbd5e1", "strong": "#f1f5f9", "grid": "#334155", "paper": "#0f172a"}
_NAMED: Final = {"good": "#16a34a", "bad": "#dc2626", "warn": "#d97706"}
_SERIES: Final = ("#2563eb", "#0d9488", "#d97706", "#7c3aed", "#db2777", "#64748b", "#65a30d", "#0891b2")


def specification(
    report: Report, result: Result, *, dark: bool = False, width: int = 640, height: int | None = None
) -> dict[str, Any]:
    """The specification; `width` and `height` in pixels. Without rows or a chart it says so in words."""
    chart = report.chart_spec
    base = _base(report, dark, width)
    rows = [{key: _plain(value) for key, value in row.items()} for row in result.dicts()]
    if chart is None or not rows:
        words = report.empty.text if chart is not None else "This report has no chart."
        return {
            **base,
            "height": height or 120,
            "data": {"values": [{"words": words}]},
            "mark": {"type": "text", "fontSize": 14, "color": (_DARK if dark else _LIGHT)["text"]},
            "encoding": {"text": {"field": "words", "type": "nominal"}},
        }
    ranked = chart.kind in {"ranked", "spread"}
    shown = rows[:_RANKED] if ranked else rows[:_ROWS]
    base["data"] = {"values": shown}
    if chart.kind == "spread":
        return {**base, "height": height or max(120, 28 * len(shown)), **_spread(chart)}
    if chart.kind == "ranked":
        return {**base, "height": height or max(120, 28 * len(shown)), **_ranked(chart)}
    return {**base, "height": height or 320, **_over_time(chart, shown)}


def _base(report: Report, dark: bool, width: int) -> dict[str, Any]:
    colours = _DARK if dark else _LIGHT
    axis = {
        "labelColor": colours["text"], "titleColor": colours["text"], "gridColor": colours["grid"], "domain": False,
        "tickColor": colours["grid"], "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "labelLimit": 220,
    }  # fmt: skip
    return {
        "$schema": _SCHEMA,
        "title": {"text": report.title, "anchor": "start", "color": colours["strong"], "fontSize": 16, "offset": 14},
        "width": width,
        "background": colours["paper"],
        "padding": 16,
        "autosize": {"type": "fit", "contains": "padding"},
        "config": {
            "font": "system-ui, sans-serif",
            "view": {"stroke": None},
            "axis": axis,
            "legend": {"labelColor": colours["text"], "title": None, "orient": "top", "labelFontSize": 12},
            "range": {"category": list(_SERIES)},
        },
    }


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime, date)):
        return value.isoformat().removesuffix("+00:00")
    return float(value) if isinstance(value, Decimal) else value


def _label(chart: Chart, column: str) -> str:
    return chart.labels.get(column, column.replace("_", " "))


def _scale(chart: Chart, series: list[str]) -> dict[str, Any]:
    colours = []
    for index, name in enumerate(series):
        given = chart.colors.get(name)
        colours.append(_NAMED.get(given, given) if given else _SERIES[index % len(_SERIES)])
    return {"domain": [_label(chart, name) for name in series], "range": colours}


def _field(name: str) -> str:
    """A column's name as Vega reads it: dots and brackets in it are no path."""
    return name.replace("\\", "\\\\").replace(".", "\\.").replace("[", "\\[").replace("]", "\\]")


def _folded(chart: Chart) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """Transform, colour and value field for the series of a chart."""
    if chart.color:
        return [], {"field": _field(chart.color), "type": "nominal"}, _field(chart.y[0])
    if len(chart.y) == 1:
        colour = chart.colors.get(chart.y[0], "")
        return [], {"value": _NAMED.get(colour, colour) or _SERIES[0]}, _field(chart.y[0])
    names = ", ".join(f"{name!r}: {_label(chart, name)!r}" for name in chart.y)
    transform: list[dict[str, Any]] = [
        {"fold": [_field(name) for name in chart.y], "as": ["_key", "_value"]},
        {"calculate": f"({{{names}}})[datum._key]", "as": "_series"},
    ]
    return transform, {"field": "_series", "type": "nominal", "scale": _scale(chart, list(chart.y))}, "_value"


def _over_time(chart: Chart, rows: list[dict[str, Any]]) -> dict[str, Any]:
    transform, colour, value = _folded(chart)
    moments = len({row.get(chart.x) for row in rows})
    bars = chart.kind == "bars"
    x: dict[str, Any] = {"field": _field(chart.x), "type": "temporal", "title": None, "axis": {"grid": False}}
    y = {"field": value, "type": "quantitative", "title": chart.unit or None, "axis": {"tickCount": 5}}
    mark: dict[str, Any]
    if bars:
        mark = {"type": "bar", "width": {"band": 0.8} if moments == 1 else max(2, min(32, 560 // max(moments, 1)))}
        if moments == 1:
            x = {"field": _field(chart.x), "type": "ordinal", "title": None}
    else:
        mark = {"type": "line", "interpolate": "monotone", "strokeWidth": 2, "point": moments <= 31}
        y["stack"] = None
    tooltip = [
        {"field": _field(chart.x), "type": "temporal", "title": "time", "format": "%Y-%m-%d %H:%M"},
        *([{"field": colour["field"], "title": "series"}] if "field" in colour else []),
        {"field": value, "type": "quantitative", "title": chart.unit or "value", "format": ",.4~f"},
    ]
    return {"transform": transform, "mark": mark, "encoding": {"x": x, "y": y, "color": colour, "tooltip": tooltip}}


def _ranked(chart: Chart) -> dict[str, Any]:
    transform, colour, value = _folded(chart)
    return {
        "transform": transform,
        "mark": {"type": "bar", "cornerRadiusEnd": 3},
        "encoding": {
            "y": {"field": _field(chart.x), "type": "nominal", "sort": None, "title": None, "axis": {"ticks": False}},
            "x": {"field": value, "type": "quantitative", "title": chart.unit or None, "axis": {"tickCount": 6}},
            "color": colour,
            "tooltip": [
                {"field": _field(chart.x), "type": "nominal"},
                {"field": value, "type": "quantitative", "title": chart.unit or "value", "format": ",.4~f"},
            ],
        },
    }


def _spread(chart: Chart) -> dict[str, Any]:
    first, last = chart.y[0], chart.y[-1]
    transform, colour, value = _folded(chart)
    y = {"field": _field(chart.x), "type": "nominal", "sort": None, "title": None, "axis": {"ticks": False}}
    rule = {
        "mark": {"type": "rule", "strokeWidth": 6, "opacity": 0.2, "color": _SERIES[0], "strokeCap": "round"},
        "encoding": {
            "y": y,
            "x": {"field": _field(first), "type": "quantitative", "title": chart.unit or None},
            "x2": {"field": _field(last)},
        },
    }
    points = {
        "transform": transform,
        "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
        "encoding": {
            "y": y,
            "x": {"field": value, "type": "quantitative", "title": chart.unit or None},
            "color": colour,
            "tooltip": [
                {"field": _field(chart.x), "type": "nominal"},
                *([{"field": "_series", "title": "what"}] if "field" in colour else []),
                {"field": value, "type": "quantitative", "title": chart.unit or "value", "format": ",.4~f"},
            ],
        },
    }
    return {"layer": [rule, points]}
