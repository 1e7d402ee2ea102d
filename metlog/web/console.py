"""The SQL console: one SELECT in the URL, its result as a table, a chart or a download."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response

from metlog.errors import ConfigError
from metlog.lake.export import FORMATS
from metlog.lake.query import Cancel, Result
from metlog.lake.sql.guard import QueryError, parse
from metlog.lake.sql.vocabulary import FUNCTIONS, HIDDEN, KEYWORDS, VIEW_COLUMNS, Field, fields
from metlog.reports.times import moment, zone
from metlog.web.errors import Refused
from metlog.web.forms import query_of, whole
from metlog.web.pictures import PICTURES, chart, picture
from metlog.web.querychart import KINDS, chosen, settings, suggested
from metlog.web.results import Exported, export, json_response
from metlog.web.state import access_of, page_of
from metlog.web.tables import table
from metlog.web.times import shown_times
from metlog.web.waiting import Outcome, asked

__all__ = ["EXAMPLES", "SCHEMA", "Query", "caret", "download", "draw", "schema", "show", "typed"]

EXAMPLES: Final = (
    ("Latest events", "SELECT timestamp, logger, type, severity, payload\nFROM events\nORDER BY timestamp DESC\nLIMIT 100"),
    (
        "Events by type, last day",
        "SELECT type, sum(weight) AS events\nFROM events\nWHERE timestamp >= now() - INTERVAL 1 DAY\nGROUP BY type\nORDER BY events DESC",
    ),
    (
        "Users by day",
        "SELECT date, count(DISTINCT fields->>'user') AS users\nFROM events\nWHERE date >= current_date - 30\nGROUP BY date\nORDER BY date",
    ),
    (
        "Slowest routes",
        "SELECT fields->>'route' AS route,\n       round(quantile_cont((fields->>'ms')::DOUBLE, 0.95), 1) AS p95_ms,\n"
        "       sum(weight) AS requests\nFROM events\nWHERE type = 'request' AND timestamp >= now() - INTERVAL 1 DAY\n"
        "GROUP BY route\nORDER BY p95_ms DESC",
    ),
    ("Lost events by stream", "SELECT logger, hostname, stream, received, lost, ended, last_at\nFROM delivery\nORDER BY lost DESC, last_at DESC\nLIMIT 100"),
)  # fmt: skip
"""Queries to begin with."""

SCHEMA: Final = VIEW_COLUMNS
"""The views with their columns and types."""
_P: Final = "p."
"""Before the name of a query's own parameter in the URL: `p.since=7d` is `$since`."""
_DEFAULTS: Final = {"since": "7d", "until": "now", "tz": "UTC", "logger": ""}
_WHOLE: Final = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,37})")
"""As many digits as a HUGEINT has; 007 is a text."""
_NUMBER: Final = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_KEEP: Final = ("chart", "x", "y", "series")


def caret(sql: str, place: tuple[int, int] | None) -> str:
    """The line at fault with a caret below the place."""
    lines = sql.splitlines()
    if place is None or not 1 <= place[0] <= len(lines):
        return ""
    line, column = lines[place[0] - 1].replace("\t", " "), place[1]
    return f"{line}\n{' ' * (column - 1)}^"


@dataclass(frozen=True)
class Query:
    """A query as the URL has it: its text, the values of its parameters, and the order of the rows."""

    sql: str
    parameters: tuple[str, ...]
    given: tuple[tuple[str, str], ...]
    sort: tuple[int, bool] | None
    """A column's position from 0, and whether the largest come first."""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Query:
        """Raises Refused 400, 413."""
        sql = given.get("sql", "")
        _check_length(sql)
        try:
            parameters = tuple(sorted(parse(sql).parameters)) if "$" in sql else ()
        except QueryError:
            parameters = ()  # the query will say what is wrong
        text, descends = given.get("sort", ""), given.get("order", "asc")
        column = whole(text, 1, 9999)
        if (text and column is None) or descends not in {"asc", "desc"}:
            raise Refused(400, f"sort = {text!r}, order = {descends!r}: wants the number of a column, and asc or desc")
        values = {name: given.get(_P + name, _DEFAULTS.get(name, "")) for name in parameters}
        return cls(sql, parameters, tuple(values.items()), None if column is None else (column - 1, descends == "desc"))

    @property
    def text(self) -> str:
        """What is asked: the query, or its rows in the order of a column."""
        if self.sort is None:
            return self.sql
        at, descends = self.sort
        inner = self.sql.strip().rstrip(";")
        return f"SELECT * FROM (\n{inner}\n) ORDER BY {at + 1} {'DESC' if descends else 'ASC'} NULLS LAST"  # noqa: S608 - a query of the asker's own, checked as any other

    def values(self) -> dict[str, Any] | None:
        """The parameters' values: times of `since` and `until`, numbers where a text is one. Raises Refused 400."""
        if not self.parameters:
            return None
        found: dict[str, Any] = dict(self.given)
        try:
            tz = zone(found.get("tz") or "UTC")
            for name, text in self.given:
                if name in {"since", "until"}:
                    found[name] = moment(text, tz, name)
                elif name not in _DEFAULTS:
                    found[name] = typed(text)
        except ConfigError as error:
            raise Refused(400, str(error)) from None
        return found

    def taken_for_number(self, problem: Refused) -> tuple[str, str] | None:
        """A parameter and its text, where it was a number and what it was compared with could not be made one."""
        if not problem.message.startswith("Could not convert string"):
            return None
        own = ((name, text) for name, text in self.given if name not in _DEFAULTS)
        return next(((name, text) for name, text in own if not isinstance(typed(text), str)), None)

    def link(self, **more: str) -> str:
        """The query and its parameters for a URL."""
        pairs = [("sql", self.sql), *((_P + name, text) for name, text in self.given), *more.items()]
        return urlencode([(name, text) for name, text in pairs if text])


def typed(text: str) -> str | int | float | bool:
    """A parameter's value: a number or a truth where the text is one; what is in double quotes is a text, whatever it is."""
    if text in {"true", "false"}:
        return text == "true"
    if _WHOLE.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text) and isfinite(number := float(text)):
        return number
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


async def show(request: Request) -> Response:
    """`/sql?sql=…`."""
    page, access = page_of(request), access_of(request)
    given = query_of(request)
    query = Query.of(given)
    sql = query.sql
    drawn = {key: given[key] for key in _KEEP if given.get(key)}
    values: dict[str, Any] = {
        "here": "sql", "clock": "zone", "sql": sql, "query": query, "result": None, "shown": None, "problem": None, "caret": "", "unasked": False,
        "exports": list(FORMATS), "download": query.link(), "examples": [(title, text, urlencode({"sql": text})) for title, text in EXAMPLES],
        "schema": {name: columns for name, columns in SCHEMA.items() if access.everything or name not in HIDDEN}, "settings": page.settings,
        "age": 0.0, "now": time.time(), "kinds": KINDS, "chart": {}, "drawn": "", "picture": "", "chart_problem": "",
    }  # fmt: skip
    status = 200
    if sql.strip():
        if request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
            values["unasked"] = True  # a link on another site must not spend our time: it is shown, and run on demand
        else:
            try:
                outcome = await _ask(request, query)
                values["result"], values["age"] = outcome.value, outcome.age
                _shown(values, query, drawn, shown_times(request).zone)
            except Refused as refused:
                if refused.status == 429:
                    raise
                values["problem"], values["caret"], status = refused, caret(sql, refused.place), refused.status
                if query.sort is not None:  # a place in the query that sorts is none in this one
                    values["caret"] = ""
    values["may_save"] = access.save and page.settings.save and page.settings.data is not None
    return page.views.render(request, "sql.html", values, status)


def _shown(values: dict[str, Any], query: Query, drawn: dict[str, str], tz: ZoneInfo) -> None:
    """The table and the chart of the result, for the template."""
    result: Result = values["result"]

    def sort(at: int, descends: bool) -> str:
        return "/sql?" + query.link(sort=str(at + 1), order="desc" if descends else "asc", **drawn)

    values["shown"] = table(result, link=sort, sort=query.sort, zone=tz)
    names = [column.name for column in result.columns]
    if drawn.get("chart"):
        try:
            settings(drawn, names)
            values["drawn"] = "/sql/chart.json?" + query.link(**drawn)
            values["picture"] = query.link(**drawn)
        except Refused as refused:
            values["chart_problem"] = refused.message
    values["chart"] = drawn if drawn.get("chart") else suggested(result)


async def _ask(request: Request, query: Query) -> Outcome:
    page, access = page_of(request), access_of(request)
    given = query.values()

    def work(cancel: Cancel) -> Result:
        return page.lake.query(query.text, given, limit=page.settings.rows, loggers=access.loggers, cancel=cancel)

    return await asked(request, ("sql", query, access.loggers), "SQL", work, detail=query.sql, job=True)


async def draw(request: Request) -> Response:
    """`/sql/chart.svg?sql=…&chart=…&x=…&y=…&series=…`, or png; as `json` the Vega-Lite specification under `chart`."""
    page, access = page_of(request), access_of(request)
    kind, given = request.path_params["kind"], query_of(request)
    if kind != "json" and kind not in PICTURES:
        raise Refused(404, f"there is no chart as {kind!r}; there is {', '.join(PICTURES)}, json")
    query = Query.of(given)
    values = query.values()
    key = ("sql", query, access.loggers)
    result = page.caches.results.get(key)
    if result is None:

        def work(cancel: Cancel) -> Result:
            return page.lake.query(
                query.sql, values, limit=page.settings.max_rows, loggers=access.loggers, cancel=cancel
            )

        result = page.caches.results.put(key, (await asked(request, key, "SQL", work, to_the_end=True)).value)
    report = chosen(given, result)
    if kind == "json":
        spec = chart(report, result, given.get("_size", ""), dark=given.get("_theme") == "dark")
        return json_response({"chart": spec})
    return await picture(request, kind, (key, tuple(sorted(given.items()))), report, result, "metlog")


async def schema(request: Request) -> Response:
    """`GET /api/schema`: views with columns and types, fields of the latest events, functions and keywords: the words of a query."""
    page, access = page_of(request), access_of(request)
    key = access.loggers
    found = page.caches.fields.get(key)
    if found is None:

        def work(cancel: Cancel) -> list[Field]:
            return fields(page.lake, loggers=access.loggers, cancel=cancel)

        found = page.caches.fields.put(key, await page.pool.run(request, work))
    views = {
        name: [{"name": column, "type": kind} for column, kind in columns]
        for name, columns in SCHEMA.items()
        if access.everything or name not in HIDDEN
    }
    return json_response(
        {"views": views, "fields": [field._asdict() for field in found], "functions": FUNCTIONS, "keywords": KEYWORDS}
    )


def _check_length(sql: str) -> None:
    if len(sql) > 50_000:
        raise Refused(413, "the query is longer than 50,000 characters")


async def download(request: Request) -> Response:
    """`/sql/result.csv?sql=…` (or json, parquet): the whole result."""
    page, access = page_of(request), access_of(request)
    kind, query = request.path_params["kind"], Query.of(query_of(request))
    if kind not in FORMATS:
        raise Refused(404, f"there is no download as {kind!r}; there is {', '.join(FORMATS)}")
    values = query.values()

    def work(cancel: Cancel) -> Exported:
        return export(
            page.lake, query.sql, kind, page.settings.export_bytes, params=values, loggers=access.loggers, cancel=cancel
        )

    return (await page.pool.run(request, work)).response("metlog")
