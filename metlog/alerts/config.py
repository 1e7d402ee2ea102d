"""Settings of alerts: the tables `[[alerts]]` and `[alerting]` of a listener's or the page's configuration, checked whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from metlog.errors import ConfigError, Problems
from metlog.lake.sql.guard import QueryError, parse
from metlog.plugins import Component, check
from metlog.plugins.schema import Seconds, checked
from metlog.reports import Library
from metlog.reports.conditions import Condition, condition

__all__ = ["Alert", "AlertSettings", "Alerting", "alerts_of"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_WINDOW: Final = frozenset({"since", "until"})
_MOST: Final = 1000


class Alerting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[alerting]`: what all alerts of a file share; times in seconds."""

    to: list[Any] = []  # msgspec copies it
    """Targets of alerts that name none."""
    engine: str = ""
    """URL of another engine than DuckDB over the data folder; the page uses its own."""
    memory: str = "512MB"
    """Of the process that the listener's alerts are asked in."""
    timeout: Annotated[Seconds, Meta(gt=0, le=3600)] = 30.0
    """For the query of an alert."""
    state: str = ""
    """Folder for the states; `alerts` in the data folder when left out."""


class Alert(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[alerts]]` table; times in seconds. One of `report`, `sql` and `where` says what is asked."""

    name: str
    when: str
    """Holds or not: COLUMN OPERATOR NUMBER, as `p95 > 500`; `rows` is the number of rows. It holds when it does for any row."""
    report: str = ""
    """Name of a report; the window is its `since` and `until`."""
    parameters: dict[str, Any] = {}  # msgspec copies it
    """Of the report."""
    sql: str = ""
    """One SELECT; `$since` and `$until` are the window."""
    where: str = ""
    """A condition of SQL on events: the column `value` is then the number of events (sum of weights) that were received in the window and
    have it. Nothing received at all is no data."""
    every: Annotated[Seconds, Meta(ge=0.1)] = 60.0
    """Between two evaluations."""
    window: Annotated[Seconds, Meta(gt=0)] = 300.0
    """Length of the window by `received_at`."""
    delay: Seconds = 2.0
    """How long before now the window ends: what was received is seen by queries some time later."""
    for_: Seconds = 0.0
    """How long the condition must hold, evaluation after evaluation, until the alert fires. In the file: `for`."""
    repeat: Seconds = 0.0
    """After which a firing alert is told again; 0: never."""
    recovery: bool = True
    """Whether it is told when the condition holds no more."""
    no_data: Literal["alert", "ok", "keep"] = "keep"
    """What missing data is (no rows, or no value): a reason to fire, as good as a condition that does not hold, or no reason to change
    anything."""
    severity: Annotated[int, Meta(ge=0, le=7)] = 1
    """RFC 5424, for syslog and events."""
    text: str = ""
    """What it means, for people: the beginning of each notice."""
    to: list[Any] | None = None
    """Targets: `webhook`, `command`, `syslog`, `event`, each a table with `name`, or a bare name; those of `[alerting]` when left out."""


class Prepared(Struct, frozen=True):
    """An alert with its parts checked."""

    alert: Alert
    condition: Condition
    targets: tuple[Component, ...]

    @property
    def name(self) -> str:
        return self.alert.name

    @property
    def about(self) -> str:
        """What is asked, in a line."""
        alert = self.alert
        asked = f"report {alert.report}" if alert.report else f"events where {alert.where}" if alert.where else "SQL"
        return f"{asked}: {alert.when}"


class AlertSettings(Struct, frozen=True):
    """All of it."""

    alerting: Alerting = Alerting()
    alerts: tuple[Prepared, ...] = ()
    said: dict[str, Any] = {}  # msgspec copies it
    """The tables as they stand in the file, to compare."""


def alerts_of(
    settings: Mapping[str, Any], data: Path | None, problems: Problems, *, in_listener: bool
) -> AlertSettings:
    """Checks the tables `alerts` and `alerting` of a configuration; every fault is noted. `data`: where reports may be, too.
    `in_listener`: whether a listener runs in the same process, which takes events."""
    table = settings.get("alerting", {})
    if not isinstance(table, Mapping):
        problems.add(f"alerting = {table!r}: wants a table")
        table = {}
    alerting = Alerting(**checked(Alerting, table, "alerting", problems))
    listed = settings.get("alerts", [])
    if not isinstance(listed, (list, tuple)):
        problems.add(f"alerts = {listed!r}: wants a list of tables ([[alerts]])")
        return AlertSettings(alerting)
    if len(listed) > _MOST:
        problems.add(f"alerts: there are {len(listed)}; {_MOST} are taken")
        return AlertSettings(alerting)
    library = Library(data if data is not None and data.is_dir() else None) if listed else None
    found: list[Prepared] = []
    for index, item in enumerate(listed):
        where = f"alerts[{index}]"
        with problems.catch(where):
            assert library is not None
            made = _alert(item, where, alerting, library, in_listener)
            if any(made.name == known.name for known in found):
                raise ConfigError(f"{where}.name = {made.name!r}: another alert has this name")
            found.append(made)
    said = {key: settings[key] for key in ("alerts", "alerting") if key in settings}
    return AlertSettings(alerting, tuple(found), said)


def _alert(item: Any, where: str, alerting: Alerting, library: Library, in_listener: bool) -> Prepared:
    """Raises ConfigError with every fault."""
    if not isinstance(item, Mapping):
        raise ConfigError(f"{where}: wants a table ([[alerts]])")
    table = {"for_" if key == "for" else key: value for key, value in item.items()}
    inner = Problems()
    values = checked(Alert, table, where, inner)
    problems = Problems()
    for line in inner.lines:
        named = line.replace(f"{where}.for_", f"{where}.for", 1).replace("'for_'", "'for'")
        problems.add(named.replace(", for_,", ", for,"))  # among all there are
    problems.check()
    alert = Alert(**values)
    if not _NAME.fullmatch(alert.name):
        problems.add(f"{where}.name = {alert.name!r}: wants letters, digits, dot, _ and -, 64 at most")
    try:
        found = condition(alert.when)
    except ValueError as error:
        problems.add(f"{where}.when = {alert.when!r}: {error}")
    _check_question(alert, where, library, problems)
    targets: list[Component] = []
    listed, place = (alerting.to, "alerting.to") if alert.to is None else (alert.to, f"{where}.to")
    for number, spec in enumerate(listed):
        with problems.catch(f"{place}[{number}]"):
            component = check("target", spec, f"{place}[{number}]")
            # Opens nothing; a fault that only the target itself can find is told with all others.
            component.build().bind((lambda _: None) if in_listener else None)
            targets.append(component)
    problems.check()
    return Prepared(alert, found, tuple(targets))


def _check_question(alert: Alert, where: str, library: Library, problems: Problems) -> None:
    given = [key for key in ("report", "sql", "where") if getattr(alert, key)]
    if len(given) != 1:
        problems.add(f"{where}: wants one of report, sql and where{', not ' if given else ''}{' and '.join(given)}")
        return
    if alert.parameters and not alert.report:
        problems.add(f"{where}.parameters: only a report has parameters")
    if alert.report:
        with problems.catch(f"{where}.report"):
            report = library[alert.report]
            report.values({key: value for key, value in alert.parameters.items() if key not in _WINDOW})
            if named := sorted(_WINDOW & set(alert.parameters)):
                problems.add(f"{where}.parameters.{named[0]}: the window says it; see `window`")
        return
    try:
        parsed = parse(alert.sql or question(alert))
    except QueryError as error:
        problems.add(f"{where}.{given[0]}: {error}")
        return
    if unknown := sorted(parsed.parameters - _WINDOW):
        problems.add(f"{where}.{given[0]}: uses ${unknown[0]}; there are $since and $until")


def question(alert: Alert) -> str:
    """The SELECT of an alert with `where`. Days of `timestamp` long before the window are not looked at: what was received more than
    two days after it happened is not counted."""
    return (
        f"SELECT CASE WHEN count(*) > 0 THEN coalesce(sum(weight) FILTER (WHERE ({alert.where}\n)), 0) END AS value FROM events "  # noqa: S608
        "WHERE received_at >= $since AND received_at < $until AND timestamp >= $since - INTERVAL 2 DAY"
    )
