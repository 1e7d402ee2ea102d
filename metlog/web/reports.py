"""Reports on the page: the list, one with its chart, table and downloads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from metlog.errors import ConfigError
from metlog.lake.export import FORMATS
from metlog.lake.query import Cancel
from metlog.reports.behind import conditions
from metlog.reports.charts.labels import label, time_texts
from metlog.reports.compare import comparable, compared, comparing
from metlog.reports.library import Library
from metlog.reports.report import Report, ReportResult
from metlog.web.errors import Refused
from metlog.web.forms import query_of, whole
from metlog.web.pictures import PICTURES, chart, picture
from metlog.web.results import Exported, export_result
from metlog.web.state import access_of, page_of
from metlog.web.tables import Table, sorted_rows, table
from metlog.web.times import times_of
from metlog.web.waiting import awaited

__all__ = ["Made", "download", "featured", "index", "listing", "report_of", "run", "show"]

_ROWS: Final = 200
"""Rows of a report that its page shows; a chart shows all of them, and so does a download."""
_FEATURED: Final = ("requests", "request-times", "unique-users", "errors", "logins", "events")


@dataclass
class Made:
    """A report that was run. `given`: the parameters in the URL."""

    report: Report
    result: ReportResult
    given: dict[str, str]
    key: tuple[object, ...]
    age: float = 0.0
    """Seconds since the result was asked for."""

    @property
    def _whole(self) -> bool:
        """Whether a mark of the chart stands for one row."""
        return self.report.chart_spec is not None and self.report.chart_spec.kind in {"ranked", "spread"}

    def link(self, row: Mapping[str, Any], column: str = "", *, whole: bool = True) -> str:
        """The address of the search for the events of a row, or of the number in one of its columns; "" when the report does not say."""
        found = conditions(self.report, row, self.result.values, column, whole=whole)
        if found is None:
            return ""
        zone = str(self.result.values.get("tz", "UTC"))
        return f"/events?{urlencode([*found, ('tz', zone)] if zone != 'UTC' else found)}"

    def links(self, rows: Iterable[Sequence[Any]]) -> list[dict[str, str]]:
        """For each of these rows of the result: the address behind the row, under "", and behind the columns that have their own."""
        if not self.report.events:
            return []
        own = {column for entry in self.report.events for column in entry.columns}
        names = [column.name for column in self.result.columns]
        found = (dict(zip(names, row, strict=True)) for row in rows)
        return [{column: self.link(row, column) for column in ("", *own)} for row in found]

    def chart(self, size: str = "", *, dark: bool = False, linked: bool = False) -> dict[str, Any]:
        """The Vega-Lite specification, in one of the page's sizes. linked: marks lead to their events. Raises Refused 400."""
        link = partial(self.link, whole=self._whole) if linked and self.report.events else None
        return chart(self.report, self.result, size, dark=dark, link=link)


async def library(request: Request) -> Library:
    """The reports that the visitor may see, read again now and then."""
    page = page_of(request)
    data, libraries = page.settings.data, page.caches.libraries
    found: Library | None = libraries.get(data)
    if found is None:
        found = libraries.put(data, await asyncio.to_thread(Library, data))
    return found.seen_by(access_of(request).loggers)


async def report_of(request: Request) -> Report:
    """The report in the path. Raises Refused 404."""
    found = await library(request)
    name = request.path_params["name"]
    if name not in found.reports:
        try:
            found[name]
        except ConfigError as error:
            raise Refused(404, str(error)) from None
    return found[name]


async def run(request: Request, *, to_the_end: bool = True) -> Made:
    """Runs the report in the path with the parameters in the URL; those that begin with `_` say how it is shown.

    Raises Refused 400 for a parameter that cannot be used, 404 for a report that is not there.
    """
    page, access, report = page_of(request), access_of(request), await report_of(request)
    compares = query_of(request).get("_compare") == "1"
    given = {
        key: value
        for key, value in query_of(request).items()
        if value.strip() and not key.startswith("_") and (key != "refresh" or key in report.parameters)
    }
    key = (page.settings.data, report.name, report.sql, tuple(sorted(given.items())), access.loggers, compares)
    result, age = page.caches.results.get(key), 0.0
    if result is None or page.lake.slow:

        def work(cancel: Cancel) -> ReportResult:
            if compares:
                return compared(report, page.lake, given, loggers=access.loggers, cancel=cancel)
            return report.run(page.lake, given, loggers=access.loggers, cancel=cancel)

        try:
            outcome = await awaited(request, ("report", key), report.title, work, to_the_end=to_the_end)
            result, age = page.caches.results.put(key, outcome.value), outcome.age
        except ConfigError as error:
            raise Refused(400, str(error)) from None
    return Made(
        comparing(report) if compares else report,
        result,
        given,
        (*key, result.arrow.num_rows, round(time.monotonic() - age)) if age else key,
        age,
    )


async def listing(request: Request) -> list[dict[str, Any]]:
    """Every report with its parameters, as the API gives it."""
    return [
        {
            "name": report.name,
            "title": report.title,
            "description": report.description,
            "group": report.group,
            "parameters": [
                {
                    "name": key,
                    "type": parameter.type,
                    "default": parameter.default,
                    "help": parameter.help,
                    "choices": parameter.choices,
                }
                for key, parameter in report.parameters.items()
            ],
        }
        for report in await library(request)
    ]


async def featured(request: Request) -> list[Report]:
    """The three reports that the overview shows."""
    found = (await library(request)).reports
    wanted: list[str] = [name for name in _FEATURED if name in found]
    wanted += [name for name, report in found.items() if report.chart_spec and name not in wanted]
    return [found[name] for name in wanted[:3]]


async def index(request: Request) -> Response:
    """`/reports`."""
    found = await library(request)
    return page_of(request).views.render(
        request, "reports.html", {"here": "reports", "groups": found.grouped(), "broken": found.broken}
    )


async def show(request: Request) -> Response:
    """`/reports/NAME?param=…`."""
    report = await report_of(request)
    given = query_of(request)
    compares = given.get("_compare") == "1"
    span = {key: str(report.parameters[key].default) for key in ("since", "until")}
    made: Made | None = None
    problem: Refused | None = None
    try:
        times_of(request, **span)
        made = await run(request, to_the_end=False)
    except Refused as refused:  # told beside the form that has the value at fault
        if refused.status not in {400, 408, 413}:
            raise
        problem = refused
    values = {
        "here": "reports", "report": report, "given": given, "made": made, "problem": problem, "exports": list(FORMATS),
        "query": urlencode(made.given | ({"_compare": "1"} if compares else {})) if made else "", "compares": compares,
        "compare_link": urlencode(made.given | ({} if compares else {"_compare": "1"})) if made and comparable(report) else None, "now": time.time(), "shown_rows": _ROWS,
        "sql_link": urlencode({"sql": report.sql}), "shown": _table(made, given) if made else None,
        "may_change": (await library(request)).is_saved(report.name) and access_of(request).save and page_of(request).settings.save,
    }  # fmt: skip
    return page_of(request).views.render(request, "report.html", values, problem.status if problem else 200)


def _table(made: Made, given: dict[str, str]) -> Table:
    """The rows that the page shows, in the order that `_sort` (the number of a column) and `_order` in the URL ask for. Raises Refused 400."""
    result, report = made.result, made.report
    text, descends = given.get("_sort", ""), given.get("_order", "asc") == "desc"
    column = whole(text, 1, len(result.columns))
    if text and column is None:
        raise Refused(400, f"_sort = {text!r}: wants the number of a column, 1 to {len(result.columns)}")
    sort = None if column is None else (column - 1, descends)
    rows = sorted_rows(result, *sort) if sort else result.rows

    def link(at: int, down: bool) -> str:
        return f"/reports/{report.name}?" + urlencode(
            {
                **made.given,
                **({"_compare": "1"} if given.get("_compare") == "1" else {}),
                "_sort": at + 1,
                "_order": "desc" if down else "asc",
            }
        )

    return table(
        result, rows[:_ROWS], labels={column.name: label(report, column.name) for column in result.columns}, link=link, sort=sort,
        times=time_texts(report, result.values), links=made.links(rows[:_ROWS]),
    )  # fmt: skip


async def download(request: Request) -> Response:
    """`/reports/NAME.svg?param=…`, or png: the chart; csv, json, …: the rows."""
    kind = request.path_params["kind"]
    if kind not in FORMATS and kind not in PICTURES:
        raise Refused(404, f"there is no report as {kind!r}; there is {', '.join([*PICTURES, *FORMATS])}")
    made = await run(request)
    if kind in PICTURES:
        return await picture(request, kind, made.key, made.report, made.result, made.report.name)
    exported: Exported = await asyncio.to_thread(export_result, made.result, kind)
    return exported.response(made.report.name)
