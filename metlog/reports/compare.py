"""A report beside the same report of the time before: each value with what it was then, and by how much it changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa

from metlog.errors import ConfigError
from metlog.lake.interface import Cancel, Engine
from metlog.lake.values import Column
from metlog.reports.charts.labels import label
from metlog.reports.charts.timeline import step_of
from metlog.reports.report import Report, ReportResult

__all__ = ["before", "comparable", "compared", "comparing"]

_UNITS: Final = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_BEFORE: Final = "before"


def comparable(report: Report) -> bool:
    """Whether a report has a time to be compared with the one before, and a chart that says which values are compared."""
    chart = report.chart_spec
    return chart is not None and {"since", "until"} <= report.used


def before(report: Report, values: Mapping[str, Any]) -> timedelta:
    """How far back the time before lies: the length of the time asked for in whole steps of the chart, at least one; without a step
    in whole days from one day on. Raises ConfigError for a report without a time, or by months."""
    if not comparable(report):
        raise ConfigError(f"report {report.name!r} has no time to compare with the one before")
    assert report.chart_spec is not None
    step = step_of(report.chart_spec, values)
    if step == "month":
        raise ConfigError("by = 'month': months differ in length, so they are not compared; take by = week")
    span = _span(values)
    unit = _UNITS.get(step)
    if unit is None or (unit < timedelta(days=1) <= span):
        unit = timedelta(days=1) if span >= timedelta(days=1) else None
    return span if unit is None else max(1, round(span / unit)) * unit


def _span(values: Mapping[str, Any]) -> timedelta:
    """How long the time asked for is; a day of 23 hours, which clocks that change make, is a day."""
    zone = ZoneInfo(values["tz"])
    begin, end = (values[key].astimezone(zone).replace(tzinfo=None) for key in ("since", "until"))
    long: timedelta = values["until"] - values["since"]
    return max(long, end - begin) if end - begin >= timedelta(days=1) else long


def compared(
    report: Report,
    engine: Engine,
    params: Mapping[str, Any] | None = None,
    *,
    limit: int | None = 10_000,
    loggers: Sequence[str] | None = None,
    cancel: Cancel | None = None,
    now: datetime | None = None,
) -> ReportResult:
    """Runs the report twice and returns its rows with two more columns for each value of its chart: `NAME before`, what it was in the time
    before (NULL where there was no such row), and `NAME change`, in percent. The clock decides: 9 o'clock is compared with 9 o'clock.

    Raises ConfigError, QueryError.
    """
    values = report.values(params, now)
    back = before(report, values)
    found = report.run(engine, params, limit=limit, loggers=loggers, cancel=cancel, now=now)
    zone = ZoneInfo(values["tz"])
    # On the wall clock, so that days stay days where the clocks change in between.
    shifted = {key: _back(values[key], back, zone).isoformat() for key in ("since", "until")}
    then = report.run(
        engine,
        {**(params or {}), **_bucket(report, values), **_all_names(report), **shifted},
        limit=limit,
        loggers=loggers,
        cancel=cancel,
        now=now,
    )
    return _joined(report, found, then, back)


def _bucket(report: Report, values: Mapping[str, Any]) -> dict[str, Any]:
    """The step, so that `auto` means the same for both times."""
    return {"by": values["by"]} if "by" in report.parameters else {}


def _all_names(report: Report) -> dict[str, Any]:
    """As many names as the report may have: one that is among the first now need not have been among them then."""
    top = report.parameters.get("top")
    return {"top": int(top.max)} if top is not None and top.type == "integer" and top.max is not None else {}


def _back(moment: datetime, back: timedelta, zone: ZoneInfo) -> datetime:
    if back < timedelta(days=1):
        return moment - back
    return (moment.astimezone(zone) - back).astimezone(UTC)


def _joined(report: Report, found: ReportResult, then: ReportResult, back: timedelta) -> ReportResult:
    chart = report.chart_spec
    assert chart is not None
    zone = ZoneInfo(found.values["tz"])
    rows, earlier = found.dicts(), then.dicts()
    names = [name for name in (chart.x, chart.color) if name]
    # What else tells rows apart where these do not, as the stream does of one client's.
    more = [item.name for item in found.columns if item.name not in names]
    more = more[: min((more.index(name) for name in chart.y if name in more), default=0)]
    while True:
        keys = [tuple(_plain(row[name]) for name in names) for row in rows]
        old_keys = [tuple(_plain(_later(row[name], back, zone)) for name in names) for row in earlier]
        new, old = Counter(keys), Counter(old_keys)
        if not more or max((*new.values(), *old.values()), default=1) == 1:
            break
        names.append(more.pop(0))
    known = {key: row for key, row in zip(old_keys, earlier, strict=True) if old[key] == 1}
    matched = [known.get(key, {}) if new[key] == 1 else {} for key in keys]
    table, columns = found.arrow, list(found.columns)
    for name in chart.y:
        pairs = [(_number(row[name]), _number(was.get(name))) for row, was in zip(rows, matched, strict=True)]
        was = pa.array([old for _, old in pairs], pa.float64())
        change = pa.array(
            [100 * (new - old) / abs(old) if new is not None and old else None for new, old in pairs], pa.float64()
        )
        for suffix, values in ((_BEFORE, was), ("change", change)):
            table = table.append_column(f"{name} {suffix}", values)
            columns.append(Column(f"{name} {suffix}", "DOUBLE"))
    return ReportResult(columns, table, found.truncated or then.truncated, found.ms + then.ms, found.values)


def _later(value: Any, back: timedelta, zone: ZoneInfo) -> Any:
    """A time of the time before, moved into the time asked for: by the clock on the wall, or, within a day, by the time that passes."""
    if not isinstance(value, date):
        return value
    try:
        if back < timedelta(days=1) and isinstance(value, datetime) and value.tzinfo is None:
            return (value.replace(tzinfo=zone).astimezone(UTC) + back).astimezone(zone).replace(tzinfo=None)
        return value + back
    except OverflowError:
        return None


def _plain(value: Any) -> Any:
    """A value that is equal to its like and can be looked up: a list or an object as text."""
    return value if isinstance(value, Hashable) else repr(value)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def comparing(report: Report) -> Report:
    """The report with words for these columns, and, where it has one value over time, with a chart of two lines: now and before."""
    chart = report.chart_spec
    assert chart is not None
    words = dict(report.labels)
    for name in chart.y:
        said = label(report, name)
        words |= {f"{name} {_BEFORE}": f"{said} before", f"{name} change": f"{said} change, %"}
    if len(chart.y) == 1 and not chart.color and chart.kind in {"bars", "lines"}:
        name = chart.y[0]
        chart = msgspec.structs.replace(
            chart, kind="lines", y=(name, f"{name} {_BEFORE}"),
            labels={**chart.labels, name: label(report, name), f"{name} {_BEFORE}": "before"},
            colors={**chart.colors, f"{name} {_BEFORE}": "other"}, missing="zero" if chart.kind == "bars" else chart.missing,
        )  # fmt: skip
    return replace(report, chart_spec=chart, labels=words)
