"""Saved queries: a query that becomes a report, is edited, renamed and deleted. They are files in `reports/` of the data folder."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from metlog.errors import ConfigError
from metlog.lake.query import Cancel, Column
from metlog.reports.library import GROUPS
from metlog.reports.library import delete as delete_report
from metlog.reports.library import save as save_report
from metlog.reports.report import Report
from metlog.reports.spec import COMMON, Parameter
from metlog.web.console import Query, caret, typed
from metlog.web.errors import Refused
from metlog.web.forms import form, query_of
from metlog.web.querychart import KINDS, settings
from metlog.web.reports import library, report_of
from metlog.web.security import require_csrf
from metlog.web.state import access_of, page_of

__all__ = ["change", "edit", "may_change", "remove", "save"]

_FORM: int = 200_000
"""Bytes of a posted form."""


def _folder(request: Request) -> Path:
    """The data folder, for somebody who may write there. Raises Refused 403."""
    page = page_of(request)
    if not (access_of(request).save and page.settings.save):
        raise Refused(403, "you may not save reports on this page", kind="save")
    if page.settings.data is None:
        raise Refused(403, "a report is saved in the data folder; this page asks an engine and has none")
    return page.settings.data


async def may_change(request: Request, name: str) -> bool:
    """Whether the visitor may edit or delete this report: it lies in the data folder, they see it, and may save."""
    page = page_of(request)
    return access_of(request).save and page.settings.save and (await library(request)).is_saved(name)


async def save(request: Request) -> Response:
    """`POST /sql/save`: the query becomes a report. What is wrong is told beside the form, which keeps its text."""
    data = _folder(request)
    given = await form(request, _FORM)
    require_csrf(request, given.get("csrf"))
    try:
        name = await _write(request, data, given)
    except Refused as refused:
        return await _again(request, given, refused, name="", heading="Save a query")
    return RedirectResponse(f"/reports/{name}", 303)


async def _write(request: Request, data: Path, given: Mapping[str, str], before: Report | None = None) -> str:
    """Writes the report of a form; returns its name. It must run, as whoever saves it sees it. Raises Refused."""
    page, access = page_of(request), access_of(request)
    name = given.get("name", "").strip()
    renamed = before is not None and before.name != name
    if (before is None or renamed) and (await library(request)).is_given(name):
        raise Refused(
            400, f"name = {name!r}: a report of this name does not lie in the data folder; choose another name"
        )
    query = Query.of(given)
    values = _values(query, before)

    def work(cancel: Cancel) -> list[Column]:
        return page.lake.query(query.sql, values, limit=1, loggers=access.loggers, cancel=cancel).columns

    columns = await page.pool.run(request, work)
    made = _settings(given, query, columns, before)
    loggers = before.loggers if before is not None and before.loggers else access.loggers
    if loggers is not None:
        made["loggers"] = list(loggers)
    try:
        await asyncio.to_thread(save_report, data, name, made, replace=before is not None and not renamed)
        if before is not None and renamed:
            await asyncio.to_thread(delete_report, data, before.name)
    except FileExistsError:
        raise Refused(400, f"name = {name!r}: there is such a report; choose another name") from None
    except ConfigError as error:
        raise Refused(400, str(error)) from None
    except OSError as error:
        raise Refused(403, f"the report cannot be saved in {data / 'reports'}: {error.strerror}") from None
    page.caches.libraries.drop(data)
    return name


def _values(query: Query, before: Report | None) -> dict[str, Any] | None:
    """What the query is asked with: a parameter that the report had before has its type still. Raises Refused 400."""
    values = query.values()
    if before is None or values is None:
        return values
    known = {name: text for name, text in query.given if name in before.parameters}
    try:
        return values | {name: value for name, value in before.values(known).items() if name in known}
    except ConfigError as error:
        raise Refused(400, str(error)) from None


def _settings(
    given: Mapping[str, str], query: Query, columns: Sequence[Column], before: Report | None
) -> dict[str, Any]:
    """What stands in the report's file: the parameters that the SQL has, with the values of the form as defaults."""
    values = dict(query.given)
    found: dict[str, Any] = {
        "title": given.get("title", "").strip()[:200] or given.get("name", "").strip(),
        "description": given.get("description", "").strip()[:1000],
        "sql": query.sql,
    }
    if group := " ".join(given.get("group", "").split()):
        found["group"] = group
    found |= {name: values[name] for name in ("since", "until") if values.get(name)}
    known = before.parameters if before is not None else {}
    own = {
        name: _kept(known[name], name, text) if name in known else _parameter(typed(text))
        for name, text in values.items()
        if name not in COMMON
    }
    if own:
        found["parameters"] = own
    if given.get("chart"):
        found["chart"] = settings(given, [column.name for column in columns])
        spec = before.chart_spec if before is not None else None
        if spec is not None and (spec.x, spec.y[0]) == (found["chart"]["x"], found["chart"]["y"][0]):
            kept = {
                "y": spec.y,
                "step": spec.step,
                "unit": spec.unit,
                "labels": spec.labels,
                "colors": spec.colors,
                "zero": spec.zero,
            }
            found["chart"] |= {**kept, "missing": spec.missing}
    if before is not None:  # what the form does not show
        found |= {"labels": dict(before.labels)} if before.labels else {}
        found["empty"] = {"text": before.empty.text, "code": before.empty.code}
        found["events"] = [
            {key: value for key, value in msgspec.structs.asdict(entry).items() if value} for entry in before.events
        ]
    return found


def _parameter(value: str | int | float | bool) -> dict[str, Any]:
    kind = (
        "boolean"
        if isinstance(value, bool)
        else "integer"
        if isinstance(value, int)
        else "number"
        if isinstance(value, float)
        else "text"
    )
    return {"type": kind, "default": value}


def _kept(known: Parameter, name: str, text: str) -> dict[str, Any]:
    """A parameter that the report had before, with its type, choices and help, and the form's text as default. Raises ConfigError."""
    kept: dict[str, Any] = {
        "type": known.type,
        "default": known.convert(name, text) if known.type in {"integer", "number", "boolean"} else text,
        "help": known.help,
        "latest": known.latest,
        "choices": list(known.choices),
    }
    return kept | {key: value for key, value in (("min", known.min), ("max", known.max)) if value is not None}


async def _changeable(request: Request) -> tuple[Path, Report]:
    data = _folder(request)
    report = await report_of(request)
    if not await may_change(request, report.name):
        raise Refused(
            403,
            f"report {report.name!r} does not lie in the data folder: it comes with {report.origin or 'the package'}",
        )
    return data, report


async def edit(request: Request) -> Response:
    """`GET /reports/NAME/edit`: the form with what the report is."""
    _, report = await _changeable(request)
    spec = report.chart_spec
    given = {
        "name": report.name, "title": report.title, "description": report.description, "sql": report.sql, "group": report.group,
        **{f"p.{name}": _text(report.parameters[name].default) for name in report.used},
    }  # fmt: skip
    if spec is not None:
        given |= {"chart": spec.kind, "x": spec.x, "y": spec.y[0], "series": spec.color}
    return await _again(request, given, None, name=report.name, heading=f"Edit {report.title}")


def _text(default: str | int | float | bool) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


async def change(request: Request) -> Response:
    """`POST /reports/NAME/edit`: the report as the form has it, under another name if that is what it has."""
    data, report = await _changeable(request)
    given = await form(request, _FORM)
    require_csrf(request, given.get("csrf"))
    try:
        name = await _write(request, data, given, report)
    except Refused as refused:
        return await _again(request, given, refused, name=report.name, heading=f"Edit {report.title}")
    return RedirectResponse(f"/reports/{name}", 303)


async def remove(request: Request) -> Response:
    """`POST /reports/NAME/delete`."""
    data, report = await _changeable(request)
    given = await form(request, _FORM)
    require_csrf(request, given.get("csrf"))
    try:
        await asyncio.to_thread(delete_report, data, report.name)
    except OSError as error:
        raise Refused(403, f"the report cannot be deleted in {data / 'reports'}: {error.strerror}") from None
    page_of(request).caches.libraries.drop(data)
    return RedirectResponse("/reports", 303)


async def _again(
    request: Request, given: Mapping[str, str], refused: Refused | None, *, name: str, heading: str
) -> Response:
    """The form with what was typed, and what is wrong with it."""
    if refused is not None and refused.status in {401, 429}:
        raise refused
    sql = given.get("sql", "")
    try:
        parameters = Query.of(given).given
    except Refused:
        parameters = ()
    values = {
        "here": "reports", "clock": "", "given": dict(given), "problem": refused, "caret": caret(sql, refused.place) if refused else "", "name": name,
        "heading": heading, "kinds": KINDS, "parameters": parameters, "shown": query_of(request),
        "groups": GROUPS,
    }  # fmt: skip
    return page_of(request).views.render(request, "saved.html", values, refused.status if refused else 200)
