"""Reports on the page: the list, one with its chart, table and downloads, and a query that becomes one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from metlog.errors import ConfigError
from metlog.lake.export import FORMATS
from metlog.lake.query import Cancel, Column
from metlog.reports.behind import conditions
from metlog.reports.charts.drawing import DrawError
from metlog.reports.charts.vega import specification
from metlog.reports.library import Library
from metlog.reports.library import save as save_report
from metlog.reports.report import Report, ReportResult
from metlog.web.errors import Refused
from metlog.web.forms import query_of
from metlog.web.results import Exported, export_result
from metlog.web.state import access_of, page_of
from metlog.web.times import times_of
from metlog.web.waiting import asked

__all__ = ["Made", "download", "featured", "index", "listing", "picture", "run", "save_query", "show"]

_SIZES: Final = {"": (960, 340), "page": (960, 320), "small": (460, 250), "phone": (390, 300)}
"""Width and height of a picture, in pixels; one with a name stands on a page, which has the title already."""
_ROWS: Final = 200
"""Rows of a report that its page shows; a chart shows all of them, and so does a download."""
_FEATURED: Final = ("requests", "request-times", "unique-users", "errors", "logins", "events")
_CHARTS: Final = ("bars", "lines", "ranked")


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

    def links(self, most: int) -> list[dict[str, str]]:
        """For each of the first rows of the table: the address behind the row, under "", and behind the columns that have their own."""
        if not self.report.events:
            return []
        own = {column for entry in self.report.events for column in entry.columns}
        names = [column.name for column in self.result.columns]
        rows = (dict(zip(names, row, strict=True)) for row in self.result.rows[:most])
        return [{column: self.link(row, column) for column in ("", *own)} for row in rows]

    def chart(self, size: str = "", *, dark: bool = False, linked: bool = False) -> dict[str, Any]:
        """The Vega-Lite specification, for one of `_SIZES`. linked: marks lead to their events. Raises Refused 400."""
        if size not in _SIZES:
            raise Refused(400, f"_size = {size!r}: wants {', '.join(filter(None, _SIZES))}, or nothing")
        width, height = _SIZES[size]
        link = partial(self.link, whole=self._whole) if linked and self.report.events else None
        spec = specification(self.report, self.result, dark=dark, width=width, height=height, link=link)
        if size:
            title = spec["title"]
            spec["title"] = {
                "text": title["subtitle"], "anchor": "start", "frame": "group", "offset": 10,
                "color": title["subtitleColor"], "fontSize": title["subtitleFontSize"], "fontWeight": "normal",
            }  # fmt: skip
            spec |= {"background": "transparent", "padding": {"left": 14, "right": 8, "top": 2, "bottom": 4}}
        return spec


async def library(request: Request) -> Library:
    """The reports that the visitor may see, read again now and then."""
    page = page_of(request)
    data, libraries = page.settings.data, page.caches.libraries
    found: Library | None = libraries.get(data)
    if found is None:
        found = libraries.put(data, await asyncio.to_thread(Library, data))
    return found.seen_by(access_of(request).loggers)


async def _report(request: Request) -> Report:
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
    page, access, report = page_of(request), access_of(request), await _report(request)
    given = {
        key: value
        for key, value in query_of(request).items()
        if value.strip() and not key.startswith("_") and (key != "refresh" or key in report.parameters)
    }
    key = (page.settings.data, report.name, report.sql, tuple(sorted(given.items())), access.loggers)
    result, age = page.caches.results.get(key), 0.0
    if result is None or page.lake.slow:

        def work(cancel: Cancel) -> ReportResult:
            return report.run(page.lake, given, loggers=access.loggers, cancel=cancel)

        try:
            outcome = await asked(request, ("report", key), report.title, work, to_the_end=to_the_end)
            result, age = page.caches.results.put(key, outcome.value), outcome.age
        except ConfigError as error:
            raise Refused(400, str(error)) from None
    return Made(
        report, result, given, (*key, result.arrow.num_rows, round(time.monotonic() - age)) if age else key, age
    )


async def listing(request: Request) -> list[dict[str, Any]]:
    """Every report with its parameters, as the API gives it."""
    return [
        {
            "name": report.name,
            "title": report.title,
            "description": report.description,
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
        request, "reports.html", {"here": "reports", "reports": list(found), "broken": found.broken}
    )


async def show(request: Request) -> Response:
    """`/reports/NAME?param=…`."""
    report = await _report(request)
    given = query_of(request)
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
        "query": urlencode(made.given) if made else "", "now": time.time(), "shown_rows": _ROWS,
        "links": made.links(_ROWS) if made else [],
        "sql_link": urlencode({"sql": report.sql}) if "$" not in report.sql else "",
    }  # fmt: skip
    return page_of(request).views.render(request, "report.html", values, problem.status if problem else 200)


async def picture(request: Request) -> Response:
    """`/reports/NAME.svg?param=…`: the chart, drawn here, for `_theme` light or dark, in a `_size`."""
    given = query_of(request)
    size, dark = given.get("_size", ""), given.get("_theme", "light") == "dark"
    made = await run(request)
    key = (made.key, size, dark)
    page = page_of(request)
    svg = page.caches.pictures.get(key)
    if svg is None:
        spec = made.chart(size, dark=dark)
        try:
            svg = page.caches.pictures.put(key, await page.pool.run(request, lambda _: page.drawer.draw(spec)))
        except DrawError as error:
            raise Refused(500, f"{error}; its table and its downloads have the numbers", kind="picture") from error
    return Response(svg, media_type="image/svg+xml", headers={"Cache-Control": "private, max-age=10"})


async def download(request: Request) -> Response:
    """`/reports/NAME.csv?param=…`, or json, parquet."""
    kind = request.path_params["kind"]
    if kind not in FORMATS:
        raise Refused(404, f"there is no report as {kind!r}; there is svg, {', '.join(FORMATS)}")
    made = await run(request)
    exported: Exported = await asyncio.to_thread(export_result, made.result, kind)
    return exported.response(made.report.name)


async def save_query(request: Request, given: dict[str, str], columns: Sequence[Column]) -> str:
    """Makes a report of a query and gives its name. Raises Refused 400."""
    data = page_of(request).settings.data
    if data is None:
        raise Refused(403, "a report is saved in the data folder; this page asks an engine and has none")
    name = given.get("name", "").strip()
    settings: dict[str, Any] = {
        "title": given.get("title", "").strip()[:200] or name,
        "description": given.get("description", "").strip()[:1000],
        "sql": given.get("sql", ""),
    }
    loggers = access_of(request).loggers
    if loggers is not None:
        settings["loggers"] = list(loggers)
    kind = given.get("chart", "")
    if kind:
        settings["chart"] = _chart(kind, given, {column.name for column in columns})
    try:
        await asyncio.to_thread(save_report, data, name, settings)
    except FileExistsError:
        raise Refused(400, f"name = {name!r}: there is such a report; choose another name") from None
    except ConfigError as error:
        raise Refused(400, str(error)) from None
    except OSError as error:
        raise Refused(403, f"the report cannot be saved in {Path(data) / 'reports'}: {error.strerror}") from None
    page_of(request).caches.libraries.drop(data)
    return name


def _chart(kind: str, given: dict[str, str], names: set[str]) -> dict[str, Any]:
    if kind not in _CHARTS:
        raise Refused(400, f"chart = {kind!r}: wants {', '.join(_CHARTS)}")
    for key in ("x", "y", "series"):
        if (value := given.get(key, "")) not in names and (value or key != "series"):
            raise Refused(400, f"{key} = {value!r}: the query has no such column")
    return {"kind": kind, "x": given["x"], "y": [given["y"]], "color": given.get("series", "")}
