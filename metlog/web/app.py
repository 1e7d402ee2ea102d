"""The page as an ASGI application: `create_app(settings)`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from metlog.engines import open_engine
from metlog.reports.charts.drawing import Drawer
from metlog.web import alerts, api, console, dashboards, events, glossary, login, overview, reports, saved, tail
from metlog.web import waiting as waits
from metlog.web.assets import Assets
from metlog.web.broadcast import TailBroadcaster
from metlog.web.connections import RequestLimit
from metlog.web.errors import Refused
from metlog.web.jobs import Jobs, Waiting
from metlog.web.metrics import Metrics
from metlog.web.pool import QueryPool
from metlog.web.results import json_response
from metlog.web.security import AccessMiddleware, SecurityHeaders, Sessions
from metlog.web.settings import WebSettings
from metlog.web.state import Page, asker_of
from metlog.web.templating import Views

__all__ = ["Application", "create_app", "routes"]

log = logging.getLogger("metlog.web")


def create_app(settings: WebSettings) -> Application:
    """Builds the application. Raises FileNotFoundError when there is no such data folder."""
    lake = open_engine(
        settings.engine or "duckdb",
        data=settings.data,
        memory=settings.memory,
        spill=settings.spill,
        timeout=settings.timeout,
        queries=settings.workers,
        isolated=True,
    )
    drawer = Drawer()
    assets = Assets(drawer)
    sessions = Sessions()
    found = routes(assets)
    metrics = Metrics(route.path for route in found)
    pool = QueryPool(settings.workers, settings.waiting, asker_of)
    page = Page(
        settings,
        lake,
        pool,
        TailBroadcaster(settings.data or Path()),
        Views(assets),
        sessions,
        metrics,
        Jobs(pool, lake.name),
        drawer,
        alerts.runner(settings, lake),
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await asyncio.to_thread(getattr(lake, "start", lambda: None))
        if page.alerts is not None:
            page.alerts.start()
        yield
        if page.alerts is not None:
            await asyncio.to_thread(page.alerts.stop)
        page.broadcaster.close()
        page.pool.close()
        lake.close()
        drawer.close()

    app = Starlette(
        routes=found,
        middleware=[Middleware(_Refusals), Middleware(AccessMiddleware, settings=settings, sessions=sessions)],
        exception_handlers=cast(
            "Any",
            {
                Refused: refused,
                Waiting: waiting,
                HTTPException: not_here,
                ClientDisconnect: _gone,
                Exception: failed,
            },
        ),
        lifespan=lifespan,
    )
    app.state.page = page
    return Application(SecurityHeaders(metrics.around(RequestLimit(app, settings.requests))), page)


def routes(assets: Assets) -> list[Route]:
    """Every address of the page."""
    return [
        Route("/", overview.show, name="overview"),
        Route("/reports", reports.index, name="reports"),
        Route("/reports/{name}.{kind}", reports.download),
        Route("/reports/{name}/edit", saved.edit),
        Route("/reports/{name}/edit", saved.change, methods=["POST"]),
        Route("/reports/{name}/delete", saved.remove, methods=["POST"]),
        Route("/reports/{name}", reports.show, name="reports"),
        Route("/dashboards", dashboards.index, name="dashboards"),
        Route("/dashboards/new", dashboards.new),
        Route("/dashboards/new", dashboards.make, methods=["POST"]),
        Route("/dashboards/{name}.zip", dashboards.archive),
        Route("/dashboards/{name}", dashboards.show, name="dashboards"),
        Route("/dashboards/{name}/edit", dashboards.edit),
        Route("/dashboards/{name}/edit", dashboards.change, methods=["POST"]),
        Route("/dashboards/{name}/delete", dashboards.remove, methods=["POST"]),
        Route("/tail", tail.show, name="tail"),
        Route("/events", events.search, name="events"),
        Route("/events/{stream}/{seq}", events.show, name="events"),
        Route("/alerts", alerts.show, name="alerts"),
        Route("/words", glossary.show),
        Route("/sql", console.show, name="sql"),
        Route("/sql/result.{kind}", console.download),
        Route("/sql/chart.{kind}", console.draw),
        Route("/sql/save", saved.save, methods=["POST"]),
        Route("/api/schema", console.schema),
        Route("/login", login.login, methods=["GET", "POST"]),
        Route("/logout", login.logout, methods=["POST"]),
        Route("/api/query", api.query, methods=["POST"]),
        Route("/api/reports", api.report_list),
        Route("/api/reports/{name}", api.report),
        Route("/api/events", api.search),
        Route("/api/tail", tail.stream),
        Route("/jobs/{id}", waits.progress),
        Route("/jobs/{id}/cancel", waits.cancel, methods=["POST"]),
        Route("/healthz", api.healthz),
        Route("/metrics", api.metrics),
        Route("/static/{digest}/{name}", assets.serve),
    ]


@dataclass
class Application:
    """The page, to be called as ASGI says; `page` has its parts."""

    app: ASGIApp
    page: Page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class _Refusals:
    """Answers what the access middleware refuses, before any route is looked for."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Refused as error:
            await refused(Request(scope, receive), error)(scope, receive, send)


def refused(request: Request, error: Refused) -> Response:
    """A refusal: JSON for a program, a page for a reader; who has not logged in is sent there."""
    path = request.url.path
    if path.startswith(("/api/", "/metrics", "/healthz")) or "text/html" not in request.headers.get("accept", ""):
        return json_response(error.body(), error.status, error.headers)
    if error.status == 401 and request.app.state.page.settings.tokens and request.method == "GET":
        return RedirectResponse(login.address(request), 303)
    views: Views = request.app.state.page.views
    response = views.render(request, "error.html", {"status": error.status, "message": error.message}, error.status)
    response.headers.update(error.headers)
    return response


async def waiting(request: Request, error: Exception) -> Response:
    """A slow engine's query is not ready."""
    return waits.waiting_page(request, error)


def not_here(request: Request, error: HTTPException) -> Response:
    message = {404: "there is nothing at this address", 405: f"{request.method} is not possible here"}
    headers = dict(error.headers or {})
    return refused(request, Refused(error.status_code, message.get(error.status_code, error.detail), headers=headers))


def failed(request: Request, error: Exception) -> Response:
    """Our own fault: the log has it all, the visitor one sentence."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return refused(request, Refused(500, "something went wrong here; the log of `metlog serve` says what"))


def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=499)  # nobody reads it; the log and the counters do
