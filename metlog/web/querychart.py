"""A chart of any result: its kind and columns from the URL, as a report declares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any, Final, Literal, cast

from metlog.lake.interface import Result
from metlog.lake.shown import is_number
from metlog.reports.spec import Chart, Empty, Parameter
from metlog.web.errors import Refused

__all__ = ["KINDS", "QueryChart", "chosen", "settings", "step_of", "suggested"]

KINDS: Final = {
    "bars": "bars over time",
    "lines": "lines over time",
    "ranked": "bars by name",
    "spread": "spread by name",
}
"""Kinds of charts, and what they are called."""


@dataclass(frozen=True)
class QueryChart:
    """What `metlog.reports.charts` wants to know of a result that no report has made."""

    title: str
    chart_spec: Chart | None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    empty: Empty = field(default_factory=Empty)


def suggested(result: Result) -> dict[str, str]:
    """The chart that fits best: over the first time, or by the first text, of the first number. Empty when there is no number."""
    columns = result.columns
    times = [column.name for column in columns if column.type.startswith(("TIMESTAMP", "DATE"))]
    numbers = [column.name for column in columns if is_number(column)]
    texts = [column.name for column in columns if column.type == "VARCHAR"]
    if not numbers or not (times or texts):
        return {}
    x = times[0] if times else texts[0]
    y = next((name for name in reversed(numbers) if name != x), "")
    series = texts[0] if times and texts else ""
    return {"chart": "bars" if times else "ranked", "x": x, "y": y, "series": series} if y else {}


def settings(given: Mapping[str, str], names: Sequence[str]) -> dict[str, Any]:
    """The table `chart` of a report's file, from a form. Raises Refused 400."""
    kind = given.get("chart", "")
    if kind not in KINDS:
        raise Refused(400, f"chart = {kind!r}: wants {', '.join(KINDS)}")
    for key in ("x", "y", "series"):
        if (value := given.get(key, "")) not in names and (value or key != "series"):
            raise Refused(400, f"{key} = {value!r}: the query has no such column; there is {', '.join(names)}")
    return {"kind": kind, "x": given["x"], "y": [given["y"]], "color": given.get("series", "")}


def chosen(given: Mapping[str, str], result: Result) -> QueryChart:
    """The chart that the URL asks for. Raises Refused 400."""
    found = settings(given, [column.name for column in result.columns])
    step = step_of(result, found["x"]) if found["kind"] in {"bars", "lines"} else ""
    chart = Chart(
        kind=found["kind"], x=found["x"], y=tuple(found["y"]), color=found["color"], unit=found["y"][0],
        step=cast("Literal['', 'minute', 'hour', 'day', 'week', 'month']", step),
    )  # fmt: skip
    return QueryChart(found["y"][0], chart)


def step_of(result: Result, name: str) -> str:
    """The step between the times of a column: the largest unit that all of them begin; "" when they begin none or the column has no times."""
    at = next(at for at, column in enumerate(result.columns) if column.name == name)
    moments = sorted({found for row in result.rows if (found := _moment(row[at])) is not None})
    if not moments or any(moment.second or moment.microsecond for moment in moments):
        return ""
    if any(moment.minute for moment in moments):
        return "minute"
    if any(moment.hour for moment in moments):
        return "hour"
    apart = min((second - first for first, second in pairwise(moments)), default=timedelta(days=1))
    if all(moment.day == 1 for moment in moments) and apart >= timedelta(days=28):
        return "month"
    return "week" if apart >= timedelta(days=7) and len({moment.weekday() for moment in moments}) == 1 else "day"


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    return datetime(value.year, value.month, value.day) if isinstance(value, date) else None  # noqa: DTZ001 - a place on an axis
