"""Reports on the page: the list, one with its chart, table and downloads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
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
from metlog.web.jobs import Work
from metlog.web.pictures import PICTURES, chart, picture
from metlog.web.results import Exported, export, export_result
from metlog.web.state import Page, access_of, page_of
from metlog.web.tables import Table, sorted_rows, table
from metlog.web.times import times_of
from metlog.web.waiting import awaited, awaited_all

__all__ = [
    "Made",
    "all_rows",
    "download",
    "featured",
    "index",
    "listing",
    "report_of",
    "run",
    "run_all",
    "run_of",
    "show",
]

_ROWS: Final = 200
"""Rows of a report that its page shows; a download has all of them."""
_FEATURED: Final = ("request-times", "unique-users", "logins")
"""Built-in reports that the overview shows."""


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


@dataclass(frozen=True)
class _Asked:
    """A report with its parameters, as its result is kept and asked for."""

    page: Page
    report: Report
    given: dict[str, str]
    loggers: tuple[str, ...] | None
    compares: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        report = self.report
        given = tuple(sorted(self.given.items()))
        return (self.page.settings.data, report.name, report.sql, given, self.loggers, self.compares)

    def kept(self) -> ReportResult | None:
        """The result that was shown just now; of a slow engine the job has it, with its age."""
        found: ReportResult | None = None if self.page.lake.slow else self.page.caches.results.get(self.key)
        return found

    def work(self, cancel: Cancel) -> ReportResult:
        run = compared if self.compares else Report.run
        try:
            return run(self.report, self.page.lake, self.given, loggers=self.loggers, cancel=cancel)
        except ConfigError as error:
            raise Refused(400, str(error)) from None

    def made(self, result: ReportResult, age: float = 0.0) -> Made:
        self.page.caches.results.put(self.key, result)
        key = (*self.key, result.arrow.num_rows, round(time.monotonic() - age)) if age else self.key
        return Made(comparing(self.report) if self.compares else self.report, result, self.given, key, age)


async def run(
    request: Request, report: Report, given: dict[str, str], *, compares: bool = False, to_the_end: bool = True
) -> Made:
    """Runs a report. Raises Refused 400 for a parameter that cannot be used, Waiting unless it is to be run to the end."""
    asked = _Asked(page_of(request), report, given, access_of(request).loggers, compares)
    if (kept := asked.kept()) is not None:
        return Made(comparing(report) if compares else report, kept, given, asked.key)
    outcome = await awaited(request, ("report", asked.key), report.title, asked.work, to_the_end=to_the_end)
    return asked.made(outcome.value, outcome.age)


async def run_all(
    request: Request, title: str, wanted: Sequence[tuple[Report, dict[str, str]]], *, to_the_end: bool = False
) -> list[Made | Refused]:
    """Runs several reports at once; each one's result, or how it was refused. Raises Waiting unless they are to be run to the end."""
    page, loggers = page_of(request), access_of(request).loggers
    asked = [_Asked(page, report, given, loggers) for report, given in wanted]
    found: dict[tuple[object, ...], Made | Refused] = {}
    for each in asked:
        if (kept := each.kept()) is not None:
            found[each.key] = Made(each.report, kept, each.given, each.key)
    left = {each.key: each for each in asked if each.key not in found}
    if left:
        works: dict[Hashable, Work] = {("report", key): each.work for key, each in left.items()}
        outcomes = await awaited_all(request, title, works, to_the_end=to_the_end)
        for (key, each), outcome in zip(left.items(), outcomes, strict=True):
            found[key] = outcome if isinstance(outcome, Refused) else each.made(outcome.value, outcome.age)
    return [found[each.key] for each in asked]


async def run_of(request: Request, *, to_the_end: bool = True) -> Made:
    """Runs the report in the path with the parameters in the URL; those that begin with `_` say how it is shown.

    Raises as `run`, and Refused 404 for a report that is not there.
    """
    report, said = await report_of(request), query_of(request)
    given = {
        key: value
        for key, value in said.items()
        if value.strip() and not key.startswith("_") and (key != "refresh" or key in report.parameters)
    }
    return await run(request, report, given, compares=said.get("_compare") == "1", to_the_end=to_the_end)


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
    """The reports that the overview shows."""
    found = await library(request)
    return [found[name] for name in _FEATURED]


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
        made = await run_of(request, to_the_end=False)
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
    made = await run_of(request)
    if kind in PICTURES:
        return await picture(request, kind, made.key, made.report, made.result, made.report.name)
    compares = query_of(request).get("_compare") == "1"
    return (await all_rows(request, made, kind, compares=compares)).response(made.report.name)


async def all_rows(
    request: Request, made: Made, kind: str, *, compares: bool = False, most: int | None = None
) -> Exported:
    """The rows of a report in a file: those that are there, or, where they are the first of more, all of them, asked for again, in at most
    `most` bytes, `export_bytes` if not given. Raises Refused 413 where they take more, and for a comparison of so many."""
    result = made.result
    if not result.truncated:
        return await asyncio.to_thread(export_result, result, kind)
    if compares:
        raise Refused(
            413,
            f"there are more than {len(result.rows):,} rows, and a comparison is of as many at most; ask for a shorter time",
        )
    page, loggers, report = page_of(request), access_of(request).loggers, made.report
    values = {key: value for key, value in result.values.items() if key in report.used}

    def work(cancel: Cancel) -> Exported:
        room = page.settings.export_bytes if most is None else most
        return export(page.lake, report.sql, kind, room, params=values, loggers=loggers, cancel=cancel)

    found: Exported = await page.pool.run(request, work)
    return found
