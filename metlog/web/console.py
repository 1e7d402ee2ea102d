"""The SQL console: one SELECT in the URL, its result as a table or a download, and the way from a query to a report."""

from __future__ import annotations

import time
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from metlog.lake.export import FORMATS
from metlog.lake.query import Cancel, Column, Result
from metlog.lake.schema import COLUMNS
from metlog.web.errors import Refused
from metlog.web.forms import form, query_of
from metlog.web.reports import save_query
from metlog.web.results import Exported, export
from metlog.web.security import require_csrf
from metlog.web.state import access_of, page_of
from metlog.web.waiting import Outcome, asked

__all__ = ["EXAMPLES", "caret", "download", "save", "show"]

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

_DELIVERY: Final = (
    ("stream", "VARCHAR"), ("logger", "VARCHAR"), ("hostname", "VARCHAR"), ("pid", "BIGINT"), ("first_at", "TIMESTAMPTZ"),
    ("last_at", "TIMESTAMPTZ"), ("received", "BIGINT"), ("distinct_received", "BIGINT"), ("duplicates", "BIGINT"),
    ("last_seq", "BIGINT"), ("lost", "BIGINT"), ("before_first", "BIGINT"), ("ended", "BOOLEAN"), ("dropped", "JSON"),
)  # fmt: skip
_ARRIVALS: Final = (*COLUMNS.items(), ("arrival_file", "VARCHAR"), ("arrival_row", "BIGINT"))
_FILES: Final = (("date", "DATE"), ("kind", "VARCHAR"), ("name", "VARCHAR"), ("bytes", "BIGINT"), ("events", "BIGINT"))
SCHEMA: Final = {"events": tuple(COLUMNS.items()), "arrivals": _ARRIVALS, "delivery": _DELIVERY, "files": _FILES}
"""The views with their columns and types."""
_HIDDEN: Final = frozenset({"files"})
"""Views that are not for those who see some services only."""


def caret(sql: str, place: tuple[int, int] | None) -> str:
    """The line at fault with a caret below the place."""
    lines = sql.splitlines()
    if place is None or not 1 <= place[0] <= len(lines):
        return ""
    line, column = lines[place[0] - 1].replace("\t", " "), place[1]
    return f"{line}\n{' ' * (column - 1)}^"


async def show(request: Request) -> Response:
    """`/sql?sql=…`."""
    page, access = page_of(request), access_of(request)
    given = query_of(request)
    sql = given.get("sql", "")
    values: dict[str, Any] = {
        "here": "sql", "sql": sql, "result": None, "problem": None, "caret": "", "unasked": False, "exports": list(FORMATS),
        "download": urlencode({"sql": sql}), "examples": [(title, text, urlencode({"sql": text})) for title, text in EXAMPLES],
        "schema": {name: columns for name, columns in SCHEMA.items() if access.everything or name not in _HIDDEN}, "settings": page.settings, "saved": given.get("saved", ""), "form": {}, "age": 0.0, "now": time.time(),
    }  # fmt: skip
    status = 200
    if sql.strip():
        if request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
            values["unasked"] = True  # a link on another site must not spend our time: it is shown, and run on demand
        else:
            try:
                outcome = await _ask(request, sql, to_the_end=False)
                values["result"], values["age"] = outcome.value, outcome.age
            except Refused as refused:
                if refused.status == 429:
                    raise
                values["problem"], values["caret"], status = refused, caret(sql, refused.place), refused.status
    values["may_save"] = access.save and page.settings.save
    return page.views.render(request, "sql.html", values, status)


async def _ask(request: Request, sql: str, *, to_the_end: bool = True) -> Outcome:
    page, access = page_of(request), access_of(request)
    _check_length(sql)

    def work(cancel: Cancel) -> Result:
        return page.lake.query(sql, limit=page.settings.rows, loggers=access.loggers, cancel=cancel)

    return await asked(request, ("sql", sql, access.loggers), "SQL", work, to_the_end=to_the_end)


def _check_length(sql: str) -> None:
    if len(sql) > 50_000:
        raise Refused(413, "the query is longer than 50,000 characters")


async def download(request: Request) -> Response:
    """`/sql/result.csv?sql=…` (or json, parquet): the whole result."""
    page, access = page_of(request), access_of(request)
    kind, sql = request.path_params["kind"], query_of(request).get("sql", "")
    if kind not in FORMATS:
        raise Refused(404, f"there is no download as {kind!r}; there is {', '.join(FORMATS)}")
    _check_length(sql)

    def work(cancel: Cancel) -> Exported:
        return export(page.lake, sql, kind, page.settings.export_bytes, loggers=access.loggers, cancel=cancel)

    return (await page.pool.run(request, work)).response("metlog")


async def save(request: Request) -> Response:
    """`POST /sql/save`: the query becomes a report."""
    page, access = page_of(request), access_of(request)
    given = await form(request, 200_000)
    require_csrf(request, given.get("csrf"))
    if not (access.save and page.settings.save):
        raise Refused(403, "you may not save reports on this page", kind="save")
    sql = given.get("sql", "")
    _check_length(sql)

    def work(cancel: Cancel) -> list[Column]:  # it must run under the limits of the user that saves it
        return page.lake.query(sql, limit=1, loggers=access.loggers, cancel=cancel).columns

    columns = await page.pool.run(request, work)
    name = await save_query(request, given, columns)
    return RedirectResponse(f"/reports/{name}", 303)
