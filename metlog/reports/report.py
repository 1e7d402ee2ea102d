"""A report: a file with a title, parameters, SQL and a chart; checked when it is read, run through the lake."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from metlog.errors import ConfigError
from metlog.lake.query import Cancel, Queryable, Result
from metlog.lake.sql.guard import QueryError, parse
from metlog.reports.times import moment, zone

__all__ = ["COMMON", "Chart", "Empty", "Parameter", "Report", "ReportResult"]

Kind = Literal["text", "integer", "number", "boolean", "choice", "bucket", "time", "zone"]

COMMON: Final = ("since", "until", "tz", "logger")
"""Parameters that every report has."""
_BUCKETS: Final = ("auto", "minute", "hour", "day", "week", "month")
_LIMIT: Final = 10_000
"""Rows of a report, unless told otherwise."""


class Parameter(Struct, forbid_unknown_fields=True, kw_only=True):
    """One parameter. In the SQL it is `$name`; its value is bound, never written into the text."""

    type: Kind = "text"
    default: str | int | float | bool = ""
    help: str = ""
    choices: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None

    def convert(self, name: str, value: Any) -> Any:
        """The value as the SQL gets it; raises ConfigError with name, value and remedy. Times are texts still."""
        text = str(value).strip()
        if self.type in {"choice", "bucket"}:
            allowed = self.choices or _BUCKETS
            if text not in allowed:
                raise ConfigError(f"{name} = {text!r}: wants one of {', '.join(allowed)}")
            return text
        if self.type in {"integer", "number"}:
            try:
                number = int(text) if self.type == "integer" else float(text)
            except ValueError:
                raise ConfigError(f"{name} = {text!r}: wants {_ARTICLE[self.type]}") from None
            if not (self.min is None or number >= self.min) or not (self.max is None or number <= self.max):
                raise ConfigError(f"{name} = {text}: wants {_range(self.min, self.max)}")
            return number
        if self.type == "boolean":
            if text.lower() not in _BOOLEANS:
                raise ConfigError(f"{name} = {text!r}: wants true or false")
            return _BOOLEANS[text.lower()]
        return text


def _range(low: float | None, high: float | None) -> str:
    if high is None:
        return f"{low:g} or more"
    return f"at most {high:g}" if low is None else f"{low:g} to {high:g}"


_ARTICLE: Final = {"integer": "a whole number", "number": "a number"}
_BOOLEANS: Final = {
    "true": True,
    "yes": True,
    "1": True,
    "on": True,
    "false": False,
    "no": False,
    "0": False,
    "off": False,
}


class Chart(Struct, forbid_unknown_fields=True, kw_only=True):
    """How the result is drawn: what kind of chart, and which columns it shows."""

    kind: Literal["bars", "lines", "ranked", "spread"]
    """`bars` and `lines` over time, `ranked` bars by name, `spread` from the first to the last of `y` by name."""
    x: str
    """Column of the time, or of the name."""
    step: Literal["", "minute", "hour", "day", "week", "month"] = ""
    """Of the time, when the report has no parameter `by` that says it."""
    y: tuple[str, ...]
    """Columns of the values, each a series of its own."""
    color: str = ""
    """Column that splits the one value column into series."""
    unit: str = ""
    """Of the values: `ms`, `bytes a {by}`, `requests a {by}`; `{by}` is the step, where there is one."""
    labels: dict[str, str] = {}  # msgspec copies it
    """Names of the series, by column."""
    colors: dict[str, str] = {}  # msgspec copies it
    """`good`, `bad`, `warn`, `plain`, `other` or a colour, by series."""
    missing: Literal["gap", "zero"] = "gap"
    """What a step without events is to a line: nothing known, or a 0 (counts)."""
    zero: str = ""
    """What a ranking says when all of its values are 0; given, bars over time say it too."""


class Empty(Struct, forbid_unknown_fields=True, kw_only=True):
    """What to say when there is nothing to report."""

    text: str = "There are no such events in this time."
    code: str = ""
    """The line (or lines) of an application that would bring some."""


class _File(Struct, forbid_unknown_fields=True, kw_only=True):
    title: str
    sql: str
    description: str = ""
    since: str = "7d"
    until: str = "now"
    parameters: dict[str, Parameter] = {}  # msgspec copies it
    chart: Chart | None = None
    loggers: tuple[str, ...] = ()
    empty: Empty = msgspec.field(default_factory=Empty)


@dataclass
class ReportResult(Result):
    """A report's result with the parameters it was made with: times as datetimes, `by` without `auto`."""

    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """A report that was read from `origin` (a file, or an entry point) and found right."""

    name: str
    title: str
    description: str
    sql: str
    parameters: dict[str, Parameter]
    """Its own ones, after `since`, `until`, `tz` and `logger`, which every report has."""
    chart_spec: Chart | None
    empty: Empty
    origin: str = ""
    loggers: tuple[str, ...] = ()
    """Services whose readers may see it on a page, when it lies in the data folder; none: those who see everything."""

    @classmethod
    def from_toml(cls, name: str, text: str, origin: str = "") -> Report:
        """Reads a report; raises ConfigError with what is wrong in it, its SQL included."""
        where = origin or name
        try:
            found = msgspec.toml.decode(text, type=_File)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{where}: {error}") from error
        common = {
            "since": Parameter(type="time", default=found.since, help="From: 30d, 24h, yesterday, 2026-03-01"),
            "until": Parameter(type="time", default=found.until, help="Up to, not including: now, today, a time"),
            "tz": Parameter(type="zone", default="UTC", help="Time zone of days and hours: Europe/Berlin"),
            "logger": Parameter(default="", help="Only this service; all if empty"),
        }
        report = cls(
            name, found.title, found.description, found.sql, common | found.parameters, found.chart,
            Empty(text=found.empty.text, code=found.empty.code.strip()), origin, found.loggers,
        )  # fmt: skip
        report._check(where)
        return report

    @classmethod
    def from_file(cls, path: Path) -> Report:
        """Reads a report from a TOML file; its name is the file's. Raises ConfigError, OSError."""
        return cls.from_toml(path.stem, path.read_text("utf-8"), str(path))

    def _check(self, where: str) -> None:
        try:
            used = self._used
        except QueryError as error:
            raise ConfigError(f"{where}: sql: {error}") from error
        unknown = sorted(used - set(self.parameters))
        if unknown:
            raise ConfigError(f"{where}: sql uses ${unknown[0]}, which is not among its parameters")
        for key, parameter in self.parameters.items():
            if key not in used and key not in COMMON:
                raise ConfigError(f"{where}: parameters.{key}: the sql does not use ${key}")
            if parameter.type == "choice" and not parameter.choices:
                raise ConfigError(f"{where}: parameters.{key}: a choice needs `choices`")
            try:
                parameter.convert(key, parameter.default)
            except ConfigError as error:
                raise ConfigError(f"{where}: default of parameters.{error}") from error

    @cached_property
    def _used(self) -> frozenset[str]:
        return parse(self.sql).parameters

    def values(self, given: Mapping[str, Any] | None = None, now: datetime | None = None) -> dict[str, Any]:
        """Every parameter's value, defaults included; times as datetimes in UTC. Raises ConfigError."""
        given = dict(given or {})
        for key in given:
            if key not in self.parameters:
                near = difflib.get_close_matches(key, self.parameters, n=1, cutoff=0.5)
                raise ConfigError(
                    f"{key}: report {self.name!r} has no such parameter; "
                    + (f"did you mean {near[0]!r}?" if near else f"there is {', '.join(self.parameters)}")
                )
        found = {
            key: parameter.convert(key, given.get(key, parameter.default)) for key, parameter in self.parameters.items()
        }
        tz = zone(found["tz"])
        for key, parameter in self.parameters.items():
            if parameter.type == "time":
                found[key] = moment(found[key], tz, key, now)
        if found["logger"] and "logger" not in self._used:
            raise ConfigError(f"logger = {found['logger']!r}: report {self.name!r} is of all services together")
        if found["since"] >= found["until"]:
            raise ConfigError(
                f"since = {found['since']:%Y-%m-%dT%H:%M:%SZ}: not before until = {found['until']:%Y-%m-%dT%H:%M:%SZ}"
            )
        for key, parameter in self.parameters.items():
            if parameter.type == "bucket" and found[key] == "auto":
                found[key] = _bucket(found["until"] - found["since"])
        return found

    def run(
        self,
        lake: Queryable,
        params: Mapping[str, Any] | None = None,
        *,
        limit: int | None = _LIMIT,
        timeout: float | None = None,
        loggers: Sequence[str] | None = None,
        cancel: Cancel | None = None,
        now: datetime | None = None,
    ) -> ReportResult:
        """Runs the report; `limit`, `timeout` (seconds), `loggers` and `cancel` as for `Lake.query`.

        Raises ConfigError for parameters that cannot be used, QueryError for what goes wrong in the engine.
        """
        values = self.values(params, now)
        bound = {key: value for key, value in values.items() if key in self._used}
        found = lake.query(self.sql, bound, limit=limit, timeout=timeout, loggers=loggers, cancel=cancel)
        return ReportResult(found.columns, found.arrow, found.truncated, found.ms, values)

    def chart(
        self, result: Result, *, dark: bool = False, width: int = 640, height: int | None = None
    ) -> dict[str, Any]:
        """The Vega-Lite specification of a result, data included; width and height in pixels. A report without a chart,
        or without rows, gives one that says so."""
        from metlog.reports.charts.vega import specification

        return specification(self, result, dark=dark, width=width, height=height)


def _bucket(span: timedelta) -> str:
    """The unit that gives a chart some dozens of steps."""
    if span <= timedelta(hours=3):
        return "minute"
    if span <= timedelta(days=4):
        return "hour"
    return "day" if span <= timedelta(days=120) else "week"
