"""From a row of a report to the events that it counts: what a report declares under `[[events]]`, and the conditions that it means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from msgspec import Struct

from metlog.reports.charts.timeline import STEPS, step_after, step_of
from metlog.reports.spec import Chart

__all__ = ["Behind", "Told", "conditions"]

_NAME: Final = re.compile(r"\{(\w+)\}")
_OPERATOR: Final = re.compile(r"!=|>=|<=|=|>|<|~")
_LONG: Final = 500
"""Characters of a value beyond which there is no link."""


class Behind(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which events a row counts. In the texts `{name}` stands for the row's column of that name, or for a parameter; a condition whose
    parameter is empty is left out."""

    type: str = ""
    severity: str = ""
    """This one or worse, by name."""
    stream: str = ""
    field: tuple[str, ...] = ()
    """Conditions as the search has them: `route={route}`. Where the column is NULL, the field is not there."""
    time: str = ""
    """Column with the begin of the step that the row is of."""
    zone: str = ""
    """Zone of that column, the parameter `tz` if not given."""
    when: dict[str, str] = {}  # msgspec copies it
    """Columns with the value that makes this entry the row's; `*` for any but NULL. The first entry that fits counts."""
    missing: dict[str, str] = {}  # msgspec copies it
    """Columns with the text that stands for a field that is not there."""
    columns: dict[str, tuple[str, ...]] = {}  # msgspec copies it
    """More conditions, for the number in one column."""


class Told(Protocol):
    """The part of a report that its links need; `metlog.reports.Report` has it."""

    @property
    def events(self) -> tuple[Behind, ...]: ...

    @property
    def chart_spec(self) -> Chart | None: ...


class _Unsaid(Exception):
    """A value that no condition can say."""


def conditions(
    report: Told, row: Mapping[str, Any], values: Mapping[str, Any], column: str = "", *, whole: bool = True
) -> list[tuple[str, str]] | None:
    """The parameters of a search that finds the events of a row, or of the number in one of its columns; None when the report does not say.

    values: the report's, as `ReportResult` has them. whole: False for a mark of a chart, which may stand for several rows and is of the
    columns in `row` only: a condition on another column is left out.
    """
    for entry in report.events:
        if all(_fits(row.get(key), wanted) for key, wanted in entry.when.items() if whole or key in row):
            try:
                return _conditions(report, entry, row, values, column, whole=whole)
            except _Unsaid:
                return None
    return None


def _fits(value: Any, wanted: str) -> bool:
    return value is not None if wanted == "*" else str(value) == wanted


def _conditions(
    report: Told, entry: Behind, row: Mapping[str, Any], values: Mapping[str, Any], column: str, *, whole: bool
) -> list[tuple[str, str]]:
    begin, end = values["since"], values["until"]
    if entry.time:
        first, last = _step(report, row.get(entry.time), values, entry.zone)
        begin, end = max(begin, first), min(end, last)
        if begin >= end:
            raise _Unsaid
    found = [("since", _moment(begin)), ("until", _moment(end))]
    if values.get("logger"):
        found.append(("logger", str(values["logger"])))
    for name, text in (("type", entry.type), ("severity", entry.severity), ("stream", entry.stream)):
        if not text or not (whole or _known(text, row, values)):
            continue
        if said := _filled(text, row, values, {}):
            found.append((name, said))
    for text in (*entry.field, *entry.columns.get(column, ())):
        if whole or _known(text, row, values):
            said = _filled(text, row, values, entry.missing)
            if said is not None:
                found.append(("field", said))
    return found


def _known(text: str, row: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(name in row or name in values for name in _NAME.findall(text))


def _filled(text: str, row: Mapping[str, Any], values: Mapping[str, Any], missing: Mapping[str, str]) -> str | None:
    """The text with its names replaced. None to leave the condition out."""
    said: dict[str, str] = {}
    for name in _NAME.findall(text):
        if name not in row:
            if name not in values:
                raise _Unsaid
            if values[name] == "":
                return None
            said[name] = str(values[name]).removeprefix("$.")  # a path into `fields` is a name with dots to a search
            continue
        value = row[name]
        if value is None or (name in missing and str(value) == missing[name]):
            operator = _OPERATOR.search(text)
            if operator is None:
                raise _Unsaid
            return "!" + _filled_in(text[: operator.start()], said)
        said[name] = str(value)
        if said[name] != said[name].strip() or len(said[name]) > _LONG or "\x00" in said[name]:
            raise _Unsaid
    return _filled_in(text, said)


def _filled_in(text: str, said: Mapping[str, str]) -> str:
    return _NAME.sub(lambda match: said[match[1]], text)


def _step(report: Told, value: Any, values: Mapping[str, Any], zone: str) -> tuple[datetime, datetime]:
    """Begin and end of a step, in UTC. What it is called is what the clock on the wall shows."""
    step = step_of(report.chart_spec, values) if report.chart_spec is not None else str(values.get("by") or "")
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime) or step not in STEPS:
        raise _Unsaid
    place = ZoneInfo(zone or str(values.get("tz", "UTC")))
    try:
        wall = value.astimezone(place).replace(tzinfo=None) if value.tzinfo is not None else value
        return tuple(moment.replace(tzinfo=place).astimezone(UTC) for moment in (wall, step_after(wall, step)))  # type: ignore[return-value]
    except OverflowError:
        raise _Unsaid from None


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
