"""The interface for programs: the answers that the page shows, as JSON."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from metlog.lake.query import Cancel, Result
from metlog.listener.metrics import CONTENT_TYPE
from metlog.web.conditions import CONDITIONS
from metlog.web.errors import Refused
from metlog.web.events import find
from metlog.web.forms import json_body, query_of, whole
from metlog.web.reports import listing, run_of
from metlog.web.results import answer, json_response
from metlog.web.search import Page
from metlog.web.state import access_of, page_of
from metlog.web.times import KEYS

__all__ = ["healthz", "metrics", "query", "report", "report_list", "search"]


_OF_SEARCH: Final = frozenset({*CONDITIONS, *KEYS, "span", "after", "limit"})


class _Query(Struct, forbid_unknown_fields=True):
    sql: str
    limit: Annotated[int, Meta(ge=1)] | None = None


async def query(request: Request) -> Response:
    """`POST /api/query`: `{"sql", "limit"}` gives columns and rows."""
    page, access = page_of(request), access_of(request)
    asked: _Query = await json_body(request, _Query, page.settings.max_body)
    limit = asked.limit or page.settings.rows
    if limit > page.settings.max_rows:
        raise Refused(
            400, f"limit = {limit}: wants at most {page.settings.max_rows}; /sql/result.csv gives a whole result"
        )

    def work(cancel: Cancel) -> Result:
        return page.lake.query(asked.sql, limit=limit, loggers=access.loggers, cancel=cancel)

    return json_response(answer(await page.pool.run(request, work)))


async def search(request: Request) -> Response:
    """`GET /api/events`: a page of events, newest first; `after` of one answer asks for the next."""
    given = query_of(request, _OF_SEARCH)
    text = given.get("limit", "50")
    limit = whole(text, 1, 500)
    if limit is None:
        raise Refused(400, f"limit = {text!r}: wants 1 to 500")
    found: Page = await find(request, limit)
    return json_response(
        {"events": found.events, "total": found.total, "after": found.after or None, "ms": round(found.ms, 1)}
    )


async def report_list(request: Request) -> Response:
    """`GET /api/reports`."""
    return json_response({"reports": await listing(request)})


async def report(request: Request) -> Response:
    """`GET /api/reports/NAME?param=…`: columns, rows, and the Vega-Lite specification under `chart`."""
    made = await run_of(request)
    shown = query_of(request)
    return json_response(
        {
            **answer(made.result),
            "name": made.report.name,
            "title": made.report.title,
            "parameters": made.result.values,
            "chart": made.chart(
                shown.get("_size", ""), dark=shown.get("_theme") == "dark", linked=bool(shown.get("_size"))
            ),
        }
    )


async def healthz(request: Request) -> Response:
    """Alive, and the data folder can be read."""
    data = page_of(request).settings.data
    if data is not None and not data.is_dir():
        return JSONResponse({"error": "the data folder is not there"}, 503)
    return JSONResponse({"status": "ok"})


async def metrics(request: Request) -> Response:
    """Prometheus text about the page itself; the listener has its own."""
    if not access_of(request).everything:
        raise Refused(403, "the page's own counters are for those who see every service", kind="services")
    page = page_of(request)
    told = [] if page.alerts is None else [state.told() for state in page.alerts.states()]
    text = page.metrics.text(
        queries=page.pool.outcomes, inside=page.pool.inside, tails=len(page.broadcaster), alerts=told
    )
    return Response(text, media_type=CONTENT_TYPE)
