"""Charts over time: bars as wide as their step, dates as people write them, times as the clock on the wall shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from metlog.reports.spec import Chart

__all__ = [
    "STEPS",
    "between",
    "label_of_step",
    "not_over",
    "over_time",
    "step_after",
    "step_of",
    "unfinished",
    "unit_of",
]

Rows = list[dict[str, Any]]

_WHOLE: Final = 130  # steps up to which a chart shows the whole time, that without events too
_MOST: Final = 50_000  # steps of a chart
_THIN: Final = 1.5  # pixels of a bar at least, also where a step has less
_PART: Final = 0.45  # opacity of a bar whose step is not over
_LABELS: Final = 70  # pixels that a label and the room beside it take
_FORMATS: Final = {"minute": "%H:%M", "hour": "%H:%M", "day": "%-d %b", "week": "%-d %b", "month": "%b %Y"}
_TOOLTIPS: Final = {
    "minute": "%-d %b %Y, %H:%M", "hour": "%-d %b %Y, %H:%M", "day": "%a, %-d %b %Y", "week": "week of %-d %b %Y", "month": "%B %Y",
}  # fmt: skip
_EVERY: Final = {
    "minute": (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440), "hour": (1, 2, 3, 6, 12, 24, 48, 168), "day": (1, 2, 3, 7, 14, 28),
    "week": (1, 2, 4, 13), "month": (1, 3, 6, 12),
}  # fmt: skip
"""Steps that a label may stand for."""
STEPS: Final = frozenset(_FORMATS)
"""Steps that a chart over time may have."""


def over_time(
    chart: Chart, rows: Rows, values: Mapping[str, Any], colour: dict[str, Any], value: str, width: int, *, label: str
) -> dict[str, Any]:
    """What is particular to bars and lines over time; `rows` gets what the bars need. `colour` and `value` are the channel and the
    column of the series, `label` the name of the first."""
    by = step_of(chart, values)
    step = by if by in _FORMATS else ""
    unit = unit_of(chart, by) or label
    time = chart.x
    axis: dict[str, Any] = {"grid": False}
    x: dict[str, Any] = {"field": time, "type": "temporal", "scale": {"type": "utc"}, "title": None, "axis": axis}
    y: dict[str, Any] = {
        "field": value,
        "type": "quantitative",
        "title": unit,
        "axis": _numbers(unit),
        "scale": {"nice": 5},
    }
    # Tooltips of times go through a time unit of UTC: without one they would be told in the reader's own zone.
    when = {"field": time, "type": "temporal", "timeUnit": "utcyearmonthdatehoursminutes", "title": step or "time"}
    tooltip = [
        {**when, "format": _TOOLTIPS.get(step, "%Y-%m-%d %H:%M")},
        *([{"field": colour["field"], "title": "series"}] if "field" in colour else []),
        {"field": value, "type": "quantitative", "title": unit, "format": ",.4~f"},
    ]
    encoding: dict[str, Any] = {"x": x, "y": y, "color": colour, "tooltip": tooltip}
    moments = sorted({moment for row in rows if (moment := _moment(row.get(chart.x))) is not None})
    steps: list[datetime] = []
    if step and moments:
        steps = _steps(moments, step, values)
        axis |= _dates(steps, step, width, middle=chart.kind == "bars")
        x["title"] = f"{step}, {values.get('tz', 'UTC')}"
    if chart.kind == "lines":
        y["stack"] = None
        gaps = False
        if step and moments:
            gaps = _bridge(
                chart, rows, between(moments, step, str(values.get("tz", "UTC"))), colour.get("field", ""), value
            )
        # A value between two gaps is seen only by its point.
        points = {"size": 36} if len(moments) <= 40 else {"size": 9} if gaps else False
        return {"mark": {"type": "line", "strokeWidth": 2, "point": points}, "encoding": encoding}
    if not steps:
        return {"mark": {"type": "bar", "width": 8}, "encoding": encoding}
    _add_up(rows, chart.x, colour.get("field", ""), value)
    _stack(rows, chart.x, value, step)
    for row in rows:
        begin = _moment(row.get(chart.x))
        row["_part"] = begin is not None and unfinished(begin, step, values)
    if any(row["_part"] for row in rows):
        encoding["opacity"] = {"condition": {"test": "datum._part", "value": _PART}, "value": 1}
    y["field"] = "_to"
    encoding |= {"x2": {"field": "_end"}, "y2": {"field": "_from"}}
    x["scale"] |= {"domainMin": _as_it_is(steps[0]), "domainMax": _as_it_is(step_after(steps[-1], step))}
    wide = width / len(steps)
    gap = min(12.0, 0.5 + wide / 12, (wide - _THIN) / 2)
    return {"mark": {"type": "bar", "xOffset": gap, "x2Offset": -gap}, "encoding": encoding}


def between(moments: Sequence[datetime], step: str, tz: str) -> list[datetime]:
    """Every step from the first of these moments to the last, but hours that the clocks there leave out; `moments` are in order and as
    a clock on the wall shows them."""
    zone, known = ZoneInfo(tz), set(moments)
    found = [moments[0]]
    while found[-1] < moments[-1] and len(found) < _MOST:
        found.append(step_after(found[-1], step))
    return [moment for moment in found if moment in known or _exists(moment, zone)]


def _exists(wall: datetime, zone: ZoneInfo) -> bool:
    local = wall.replace(tzinfo=zone)
    try:
        return local.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == wall.replace(tzinfo=None)
    except OverflowError:  # at an end of the calendar no clock is changed
        return True


def _bridge(chart: Chart, rows: Rows, steps: list[datetime], series: str, value: str) -> bool:
    """Adds what a line would otherwise be drawn across: a row for each step in which a series has none. Tells whether there are gaps."""
    times = {
        name: {row[chart.x] for row in rows if row.get(series) == name} for name in {row.get(series) for row in rows}
    }
    if len(steps) * len(times) > _MOST:
        return False
    missing = 0 if chart.missing == "zero" else None
    for name, has in times.items():
        extra = [{chart.x: text, value: missing} for moment in steps if (text := _text(moment)) not in has]
        rows += [{**row, series: name} for row in extra] if series else extra
    rows.sort(key=lambda row: str(row[chart.x]))
    return missing is None and any(len(has) < len(steps) for has in times.values())


def _add_up(rows: Rows, time: str, series: str, value: str) -> None:
    """One row a step and series, where the result has several (a row a client and minute), and none for a bar of no height."""
    found: dict[tuple[Any, Any], dict[str, Any]] = {}
    for row in rows:
        if amount := row.get(value):
            first = found.setdefault((row.get(time), row.get(series)), row | {value: 0})
            first[value] += amount
    rows[:] = found.values()


def _stack(rows: Rows, time: str, value: str, step: str) -> None:
    """Where each bar begins and ends. Vega-Lite would take a bar with two ends in time for a horizontal one and not stack it."""
    height: dict[str, float] = {}
    for row in rows:
        begin = _moment(row.get(time))
        if begin is None:
            continue
        below = height.get(row[time], 0)
        height[row[time]] = below + (row.get(value) or 0)
        row |= {"_end": _text(step_after(begin, step)), "_from": below, "_to": height[row[time]]}


def step_of(chart: Chart, values: Mapping[str, Any]) -> str:
    """The step of the time: what the report was asked for, or the only one that it has; "" where there is none."""
    return str(values.get("by") or chart.step)


def unfinished(begin: datetime, step: str, values: Mapping[str, Any]) -> bool:
    """Whether a step that begins then ends after the time that was asked for: what it counts is not all that there will be."""
    if step not in STEPS or "until" not in values:
        return False
    until = values["until"].astimezone(ZoneInfo(values.get("tz", "UTC"))).replace(tzinfo=None)
    return bool(step_after(begin.replace(tzinfo=None), step) > until)


def not_over(chart: Chart, rows: Rows, values: Mapping[str, Any]) -> str:
    """A note when the last step of the rows is not over, else ""."""
    step = step_of(chart, values)
    moments = [row[chart.x] if isinstance(row.get(chart.x), datetime) else _moment(row.get(chart.x)) for row in rows]
    last = max((moment.replace(tzinfo=None) for moment in moments if moment is not None), default=None)
    if chart.kind not in {"bars", "lines"} or last is None or not unfinished(last, step, values):
        return ""
    return f"the last {step} is not over"


def unit_of(chart: Chart, by: str) -> str:
    """The unit of the values, `{by}` in it replaced: `requests an hour`."""
    unit = chart.unit
    if by == "hour":
        unit = unit.replace("a {by}", "an {by}")
    return unit.replace("{by}", by or "step")


def step_after(begin: datetime, step: str) -> datetime:
    """When the next step begins, as clocks without summer time count; the end of the calendar where that is before it."""
    try:
        if step == "month":
            return (begin.replace(day=1) + timedelta(days=32)).replace(day=1)
        return begin + timedelta(**{f"{step}s": 1})
    except OverflowError:
        return datetime.max.replace(tzinfo=begin.tzinfo)


def label_of_step(begin: datetime, step: str) -> str:
    """A step's name in a terminal."""
    return begin.strftime({"minute": "%d %b %H:%M", "hour": "%d %b %H:%M", "month": "%b %Y"}.get(step, "%a %d %b"))


def _numbers(unit: str) -> dict[str, Any]:
    if unit.startswith("bytes"):
        return {"tickCount": 5, "labelExpr": "replace(format(datum.value, '~s'), regexp('([a-zA-Zµ]?)$'), ' $1B')"}
    return {"tickCount": 5, "format": ",~f"}


def _steps(moments: list[datetime], step: str, values: Mapping[str, Any]) -> list[datetime]:
    """Every step that the chart shows: of the whole time that was asked for, or, where that is long, of the time that has events."""
    first, last = moments[0], moments[-1]
    if "since" in values and "until" in values:
        zone = ZoneInfo(values.get("tz", "UTC"))
        begin, end = (values[key].astimezone(zone).replace(tzinfo=UTC) for key in ("since", "until"))
        if (end - begin) / (step_after(begin, step) - begin) <= _WHOLE:
            end -= timedelta(microseconds=1)
            while first > begin:
                first = _step_before(first, step)
            while step_after(last, step) <= end:
                last = step_after(last, step)
    found = [first]
    while found[-1] < last and len(found) < _MOST:
        found.append(step_after(found[-1], step))
    return found


def _step_before(begin: datetime, step: str) -> datetime:
    if step == "month":
        return (begin.replace(day=1) - timedelta(days=1)).replace(day=1)
    return begin - timedelta(**{f"{step}s": 1})


def _dates(steps: list[datetime], step: str, width: int, *, middle: bool) -> dict[str, Any]:
    """Where labels stand: at steps of equal distance that round times are among; of a day, a week or a month in its middle."""
    number = len(steps)
    room = max(2, width // (_LABELS + 10 * (step == "month")))
    every = next((count for count in _EVERY[step] if number / count <= room), _EVERY[step][-1])
    every *= max(1, -(-number // every // room))
    wide = middle and step in {"day", "week", "month"}
    places = [
        begin + (step_after(begin, step) - begin) / 2 if wide else begin
        for index, begin in enumerate(steps)
        if _round(begin, step, every, index)
    ]
    shift = 302_400_000 if wide and step == "week" else 0  # half a week in milliseconds: the label is its Monday
    shown = f"utcFormat(datum.value - {shift}, '{_FORMATS[step]}')"
    if step in {"minute", "hour"}:
        shown = f"utchours(datum.value) + utcminutes(datum.value) == 0 ? utcFormat(datum.value, '%-d %b') : {shown}"
    return {
        "values": {"expr": str([_milliseconds(place) for place in places])},  # see `_as_it_is`
        "labelExpr": shown,
        "labelFlush": False,
        "labelOverlap": False,
    }


def _round(begin: datetime, step: str, every: int, index: int) -> bool:
    """Whether a label belongs to this step."""
    if step == "minute":
        return (begin.hour * 60 + begin.minute) % every == 0 if every <= 1440 else index % every == 0
    if step == "hour":
        return begin.hour % every == 0 if every <= 24 else begin.hour == 0 and (index // 24) % (every // 24) == 0
    return index % every == 0


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return None


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _as_it_is(moment: datetime) -> dict[str, str]:
    """A time as an expression. A plain one would be wrapped into `datetime(…)`, which a page whose policy forbids `eval` computes
    wrongly: vega-interpreter takes its argument for a year."""
    return {"expr": str(_milliseconds(moment))}


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
