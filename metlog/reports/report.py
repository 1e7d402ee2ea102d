"""A report: a file with a title, parameters, SQL and a chart; checked when it is read, run through the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from metlog.errors import ConfigError
from metlog.lake.interface import Cancel, Engine, Result
from metlog.lake.sql.guard import QueryError, parse
from metlog.plugins import suggest
from metlog.reports.behind import Behind
from metlog.reports.spec import BUCKETS, COMMON, Chart, Empty, Parameter
from metlog.reports.times import moment, zone

__all__ = ["COMMON", "Chart", "Empty", "Parameter", "Report", "ReportResult"]

_LIMIT: Final = 10_000
"""Rows of a report, unless told otherwise."""


class _File(Struct, forbid_unknown_fields=True, kw_only=True):
    title: str
    sql: str
    description: str = ""
    group: Annotated[str, Meta(max_length=40, pattern=r"^(\S(.*\S)?)?\Z")] = ""
    since: str = "7d"
    until: str = "now"
    parameters: dict[str, Parameter] = {}  # msgspec copies it
    chart: Chart | None = None
    loggers: tuple[str, ...] = ()
    empty: Empty = msgspec.field(default_factory=Empty)
    events: tuple[Behind, ...] = ()
    labels: dict[str, str] = {}  # msgspec copies it


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
    events: tuple[Behind, ...] = ()
    """Which events a row counts, for links to them."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Words for columns, by name."""
    group: str = ""
    """What it is about, the heading of a list that it stands under: `Users`, `Requests`, or one's own word."""

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
            Empty(text=found.empty.text, code=found.empty.code.strip()), origin, found.loggers, found.events, found.labels, found.group,
        )  # fmt: skip
        report._check(where)
        return report

    @classmethod
    def from_file(cls, path: Path) -> Report:
        """Reads a report from a TOML file; its name is the file's. Raises ConfigError, OSError."""
        return cls.from_toml(path.stem, path.read_text("utf-8-sig"), str(path))

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
            if parameter.latest and (
                {parameter.type, getattr(self.parameters.get(parameter.latest), "type", "")} != {"time"}
            ):
                raise ConfigError(
                    f"{where}: parameters.{key}: latest = {parameter.latest!r}: wants the name of a time, for a time"
                )
            bounds = [bound for bound in (parameter.min, parameter.max) if bound is not None]
            if bounds and parameter.type not in {"integer", "number"}:
                raise ConfigError(
                    f"{where}: parameters.{key}: min and max are for a number, not for a {parameter.type}"
                )
            if not all(map(isfinite, bounds)) or bounds != sorted(bounds):
                raise ConfigError(
                    f"{where}: parameters.{key}: min = {parameter.min}, max = {parameter.max}: want finite numbers, "
                    "the lower one first"
                )
            if parameter.type == "choice" and not parameter.choices:
                raise ConfigError(f"{where}: parameters.{key}: a choice needs `choices`")
            try:
                parameter.convert(key, parameter.default)
            except ConfigError as error:
                raise ConfigError(f"{where}: default of parameters.{error}") from error

    @property
    def used(self) -> frozenset[str]:
        """Names of the parameters that its SQL has."""
        return self._used

    @cached_property
    def _used(self) -> frozenset[str]:
        return parse(self.sql).parameters

    def values(self, given: Mapping[str, Any] | None = None, now: datetime | None = None) -> dict[str, Any]:
        """Every parameter's value, defaults included; times as datetimes in UTC. Raises ConfigError."""
        given = dict(given or {})
        for key in given:
            if key not in self.parameters:
                raise ConfigError(f"{key}: report {self.name!r} has no such parameter; {suggest(key, self.parameters)}")
        found = {
            key: parameter.convert(key, given.get(key, parameter.default)) for key, parameter in self.parameters.items()
        }
        tz = zone(found["tz"])
        for key, parameter in self.parameters.items():
            if parameter.type == "time":
                found[key] = moment(found[key], tz, key, now)
        for key, parameter in self.parameters.items():
            if parameter.latest:
                found[key] = min(found[key], found[parameter.latest])
        if found["logger"] and "logger" not in self._used:
            raise ConfigError(f"logger = {found['logger']!r}: report {self.name!r} is of all services together")
        if found["since"] >= found["until"]:
            raise ConfigError(
                f"since = {found['since']:%Y-%m-%dT%H:%M:%SZ}: not before until = {found['until']:%Y-%m-%dT%H:%M:%SZ}"
            )
        for key, parameter in self.parameters.items():
            if parameter.type == "bucket" and found[key] == "auto":
                found[key] = _bucket(found["until"] - found["since"], parameter.choices or BUCKETS)
        return found

    def run(
        self,
        lake: Engine,
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


def _bucket(span: timedelta, choices: Sequence[str]) -> str:
    """The unit that gives a chart some dozens of steps; where it is none of the choices, the next longer one, else the longest."""
    unit = (
        "minute" if span <= timedelta(hours=3)
        else "hour" if span <= timedelta(days=4)
        else "day" if span <= timedelta(days=120) else "week"
    )  # fmt: skip
    units = [name for name in BUCKETS if name in choices and name != "auto"]
    longer = [name for name in units if BUCKETS.index(name) >= BUCKETS.index(unit)]
    return (longer or units[-1:] or [unit])[0]
