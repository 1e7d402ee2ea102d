"""Dashboards on the page: the list, one with its panels, its download, and the form that makes and changes it."""

from __future__ import annotations

import asyncio
import io
import shutil
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from metlog.errors import ConfigError
from metlog.lake.query import Cancel
from metlog.reports import dashboards as stored
from metlog.reports.charts.drawing import DrawError
from metlog.reports.charts.labels import label, time_texts
from metlog.reports.dashboards import Dashboard, Dashboards
from metlog.reports.report import Report
from metlog.reports.spec import COMMON
from metlog.web.errors import Refused
from metlog.web.forms import form, query_of
from metlog.web.pictures import PICTURES
from metlog.web.reports import Made, all_rows, library, run_all
from metlog.web.security import require_csrf
from metlog.web.state import access_of, page_of
from metlog.web.tables import Table, table
from metlog.web.times import times_of

__all__ = ["archive", "change", "edit", "index", "make", "new", "remove", "show"]

_SINCE: Final = "7d"
"""From when on a dashboard shows, unless it or the address says so."""
_ROWS: Final = 20
"""Rows of a table on a dashboard; its report has all."""
_FORM: Final = 500_000
"""Bytes of a posted form: as many panels as there may be, with texts as long as the form takes."""
_FIELDS: Final = 400
"""Fields of it: the six of each panel, also where there is a panel too many."""
_BLANK: Final = 3
"""Empty lines for more panels in the form."""
_WIDTHS: Final = ("half", "full")
_SHOWS: Final = ("chart", "table", "both")


@dataclass
class Shown:
    """A panel: its report with the parameters that it gets here, or what is wrong with it."""

    title: str
    width: str
    show: str
    report: Report | None
    parameters: dict[str, str] = field(default_factory=dict)
    problem: str = ""
    table: Table | None = None

    @property
    def query(self) -> str:
        """The parameters in the address of the report."""
        return urlencode(self.parameters)


async def _all(request: Request) -> Dashboards:
    settings = page_of(request).settings
    return await asyncio.to_thread(Dashboards, settings.data, settings.dashboards)


async def _board(request: Request) -> Dashboard:
    """The dashboard in the path. Raises Refused 404."""
    name = request.path_params["name"]
    for board in (await _all(request)).seen_by(access_of(request).loggers):
        if board.name == name:
            return board
    raise Refused(404, f"{name!r}: there is no such dashboard")


def _parameters(board: Dashboard, report: Report, panel: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """What a panel's report is asked with: the panel's own values first, then those of the address, then the dashboard's."""
    found: dict[str, str] = {}
    for key in COMMON:
        value = given.get(key, "").strip() or getattr(board, key) or (_SINCE if key == "since" else "")
        if value and key in report.used | ({"tz"} if "since" in report.used else set()):
            found[key] = value
    found |= {key: value for key, value in given.items() if key not in COMMON and key in report.used and value.strip()}
    return found | {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in panel.items()}


async def _shown(request: Request, board: Dashboard) -> list[Shown]:
    given = {key: value for key, value in query_of(request).items() if not key.startswith("_") and key != "refresh"}
    found = await library(request)
    made = []
    for panel in board.panels:
        report = found.reports.get(panel.report)
        if report is None:
            made.append(
                Shown(
                    panel.title or panel.report,
                    panel.width,
                    panel.show,
                    None,
                    problem=f"There is no report {panel.report!r} any more.",
                )
            )
            continue
        parameters = _parameters(board, report, panel.parameters, given)
        show = "table" if report.chart_spec is None else panel.show
        made.append(Shown(panel.title or report.title, panel.width, show, report, parameters))
    return made


async def index(request: Request) -> Response:
    """`/dashboards`."""
    found = await _all(request)
    access = access_of(request)
    values = {
        "here": "dashboards", "clock": "", "boards": found.seen_by(access.loggers), "broken": found.broken if access.everything else [],
        "may_save": _may_save(request),
    }  # fmt: skip
    return page_of(request).views.render(request, "dashboards.html", values)


async def show(request: Request) -> Response:
    """`/dashboards/NAME?since=…`."""
    page, access = page_of(request), access_of(request)
    board = await _board(request)
    given = query_of(request)
    times_of(request, board.since or _SINCE, board.until or "now")
    panels = await _shown(request, board)
    cancelled = False
    try:
        await _fill(request, board, [panel for panel in panels if panel.show != "chart"])
    except Refused as refused:
        if refused.kind != "cancelled":
            raise
        cancelled = True
    values = {
        "here": "dashboards", "board": board, "panels": panels, "given": given, "logger": given.get("logger") or board.logger,
        "query": urlencode({key: value for key, value in given.items() if value and not key.startswith("_")}),
        "may_change": board.saved and _may_save(request), "everything": access.everything, "settings": page.settings,
        "cancelled": cancelled, "now": time.time(),
    }  # fmt: skip
    return page.views.render(request, "dashboard.html", values)


async def _fill(request: Request, board: Dashboard, panels: Sequence[Shown]) -> None:
    """Runs the reports of panels that show their rows."""
    wanted = [(panel.report, panel.parameters) for panel in panels if panel.report is not None]
    found = iter(await run_all(request, board.title, wanted))
    for panel in panels:
        if panel.report is None:
            continue
        made = next(found)
        if isinstance(made, Refused):
            panel.problem = _problem(made)
            continue
        result = made.result
        labels = {column.name: label(panel.report, column.name) for column in result.columns}
        times = time_texts(panel.report, result.values)
        panel.table = table(result, result.rows[:_ROWS], labels=labels, times=times)


def _problem(refused: Refused) -> str:
    """What a panel says in the place of its rows. Raises what is no matter of one panel."""
    if refused.status not in {400, 408, 413}:
        raise refused
    return refused.message


async def archive(request: Request) -> Response:
    """`/dashboards/NAME.zip`: of each panel the rows as CSV and the chart as SVG and PNG; a text where there are none."""
    board = await _board(request)
    panels = [(number, panel) for number, panel in enumerate(await _shown(request, board), 1)]
    wanted = [(panel.report, panel.parameters) for _, panel in panels if panel.report is not None]
    found = iter(await run_all(request, board.title, wanted, to_the_end=True))
    packed, left = io.BytesIO(), page_of(request).settings.export_bytes
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as into:
        for number, panel in panels:
            if panel.report is None:
                into.writestr(f"{number:02d}.txt", f"{panel.problem}\n")
                continue
            stem, made = f"{number:02d}-{panel.report.name}", next(found)
            if isinstance(made, Refused):
                into.writestr(f"{stem}.txt", f"{_problem(made)}\n")
            else:
                left -= await _pack(request, into, stem, made, left)
    headers = {"Content-Disposition": f'attachment; filename="{board.name}.zip"'}
    return Response(packed.getvalue(), media_type="application/zip", headers=headers)


async def _pack(request: Request, into: zipfile.ZipFile, stem: str, made: Made, most: int) -> int:
    """Writes the rows, where they have room in so many bytes, and the chart of a report; returns the bytes of the rows."""
    size = 0
    try:
        exported = await all_rows(request, made, "csv", most=max(most, 1))
    except Refused as refused:
        into.writestr(f"{stem}-rows.txt", f"{_problem(refused)}\n")
    else:
        size = exported.size
        with exported.file, into.open(f"{stem}.csv", "w") as entry:
            exported.file.seek(0)
            await asyncio.to_thread(shutil.copyfileobj, exported.file, entry)
    if made.report.chart_spec is None:
        return size
    spec = made.chart()
    try:
        for kind in PICTURES:
            into.writestr(f"{stem}.{kind}", await _drawn(request, spec, kind))
    except DrawError as error:
        into.writestr(f"{stem}.txt", f"The chart cannot be drawn: {error}\n")
    return size


async def _drawn(request: Request, spec: dict[str, Any], kind: str) -> bytes:
    page = page_of(request)

    def draw(_: Cancel) -> bytes:
        return page.drawer.draw(spec, cast("Literal['svg', 'png']", kind))

    return await page.pool.run(request, draw)


def _may_save(request: Request) -> bool:
    settings = page_of(request).settings
    return access_of(request).save and settings.save and settings.data is not None


def _folder(request: Request) -> Path:
    data = page_of(request).settings.data
    if not (access_of(request).save and page_of(request).settings.save):
        raise Refused(403, "you may not save dashboards on this page", kind="save")
    if data is None:
        raise Refused(403, "a dashboard is saved in the data folder; this page asks an engine and has none")
    return data


async def new(request: Request) -> Response:
    """`GET /dashboards/new`: an empty form, or one with the reports of `report` in the address."""
    _folder(request)
    reports = [value for key, value in request.query_params.multi_items() if key == "report"]
    panels = [{"report": name} for name in reports]
    return await _form(request, {"panels": panels}, None, name="", heading="A new dashboard")


async def make(request: Request) -> Response:
    """`POST /dashboards/new`."""
    return await _take(request, None)


async def edit(request: Request) -> Response:
    """`GET /dashboards/NAME/edit`."""
    board = await _changeable(request)
    given = {key: getattr(board, key) for key in ("name", "title", "description", *COMMON)}
    panels = [
        {
            "report": panel.report,
            "title": panel.title,
            "width": panel.width,
            "show": panel.show,
            "parameters": _line(panel.parameters),
        }
        for panel in board.panels
    ]
    return await _form(request, {**given, "panels": panels}, None, name=board.name, heading=f"Edit {board.title}")


async def change(request: Request) -> Response:
    """`POST /dashboards/NAME/edit`."""
    return await _take(request, await _changeable(request))


async def remove(request: Request) -> Response:
    """`POST /dashboards/NAME/delete`."""
    data, board = _folder(request), await _changeable(request)
    require_csrf(request, (await form(request, _FORM)).get("csrf"))
    try:
        await asyncio.to_thread(stored.delete, data, board.name)
    except OSError as error:
        raise Refused(403, f"the dashboard cannot be deleted: {error.strerror}") from None
    return RedirectResponse("/dashboards", 303)


async def _changeable(request: Request) -> Dashboard:
    _folder(request)
    board = await _board(request)
    if not board.saved:
        raise Refused(403, f"dashboard {board.name!r} comes from the configuration, and is changed there")
    return board


def _line(parameters: Mapping[str, Any]) -> str:
    """A panel's parameters as the form has them: `by=week top=5`."""
    return urlencode(
        {key: str(value).lower() if isinstance(value, bool) else value for key, value in parameters.items()}
    ).replace("&", " ")


def _lines(given: Mapping[str, str]) -> list[dict[str, str]]:
    """The panels of a form as they were typed, in the order of their places; a line without a report is none."""
    found = []
    for number in range(_FIELDS):
        report = given.get(f"report{number}", "").strip()
        if not report:
            continue
        place = given.get(f"place{number}", "").strip()
        line = {
            "report": report, "title": given.get(f"title{number}", "").strip()[:200], "width": given.get(f"width{number}", "half"),
            "show": given.get(f"show{number}", "chart"), "parameters": given.get(f"parameters{number}", "").strip(),
        }  # fmt: skip
        found.append((float(place) if place.replace(".", "", 1).isdecimal() else number + 1.0, number, line))
    return [line for _, _, line in sorted(found, key=lambda entry: entry[:2])]


def _panel(line: Mapping[str, str]) -> dict[str, Any]:
    """A panel as its file has it. Raises Refused 400 for parameters that are none."""
    text = line["parameters"]
    try:
        parameters = dict(parse_qsl("&".join(text.split()), strict_parsing=True)) if text else {}
    except ValueError:
        raise Refused(
            400, f"parameters of {line['report']} = {text!r}: wants NAME=VALUE, several with a space between"
        ) from None
    return {**line, "parameters": parameters}


async def _take(request: Request, before: Dashboard | None) -> Response:
    """Writes the dashboard of a form; what is wrong is told beside the form, which keeps its text."""
    data, access = _folder(request), access_of(request)
    given = await form(request, _FORM, _FIELDS)
    require_csrf(request, given.get("csrf"))
    name = given.get("name", "").strip()
    heading = f"Edit {before.title}" if before is not None else "A new dashboard"
    lines = _lines(given)
    try:
        settings: dict[str, Any] = {
            "title": given.get("title", "").strip()[:200] or name, "description": given.get("description", "").strip()[:1000],
            **{key: given.get(key, "").strip() for key in COMMON if given.get(key, "").strip()}, "panels": [_panel(line) for line in lines],
        }  # fmt: skip
        loggers = before.loggers if before is not None and before.loggers else access.loggers
        if loggers is not None:
            settings["loggers"] = list(loggers)
        stored.check(settings, await library(request))
        renamed = before is not None and before.name != name
        if (before is None or renamed) and await asyncio.to_thread(_taken, page_of(request).settings.dashboards, name):
            raise Refused(400, f"name = {name!r}: this address has another page; choose another name")
        await asyncio.to_thread(stored.save, data, name, settings, replace=before is not None and not renamed)
        if before is not None and renamed:
            await asyncio.to_thread(stored.delete, data, before.name)
    except (Refused, ConfigError, FileExistsError, OSError) as error:
        refused = _told(error, name)
        shown = {**given, "panels": lines}
        return await _form(request, shown, refused, name=before.name if before else "", heading=heading)
    return RedirectResponse(f"/dashboards/{name}", 303)


def _taken(folder: Path | None, name: str) -> bool:
    """Whether a dashboard of this name would not be seen: the configured one is, or the form."""
    return name == "new" or name in Dashboards(None, folder).found


def _told(error: Exception, name: str) -> Refused:
    if isinstance(error, Refused):
        return error
    if isinstance(error, FileExistsError):
        return Refused(400, f"name = {name!r}: there is such a dashboard; choose another name")
    if isinstance(error, OSError):
        return Refused(403, f"the dashboard cannot be saved: {error.strerror}")
    return Refused(400, str(error))


async def _form(
    request: Request, given: Mapping[str, Any], refused: Refused | None, *, name: str, heading: str
) -> Response:
    panels = [*given.get("panels", []), *({} for _ in range(_BLANK))]
    values = {
        "here": "dashboards", "clock": "", "given": dict(given), "panels": panels, "problem": refused, "name": name, "heading": heading,
        "reports": list(await library(request)), "widths": _WIDTHS, "shows": _SHOWS,
    }  # fmt: skip
    return page_of(request).views.render(request, "dashboardform.html", values, refused.status if refused else 200)
