"""What every handler needs, as one object: `page_of(request)`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from starlette.requests import Request

from metlog.alerts.runner import Alerts
from metlog.lake.interface import Engine
from metlog.reports.charts.drawing import Drawer
from metlog.web.broadcast import TailBroadcaster
from metlog.web.cache import Caches
from metlog.web.connections import network_of
from metlog.web.jobs import Jobs
from metlog.web.metrics import Metrics
from metlog.web.pool import QueryPool
from metlog.web.security import Sessions
from metlog.web.settings import Access, WebSettings
from metlog.web.templating import Views

__all__ = ["Page", "access_of", "asker_of", "page_of"]


@dataclass
class Page:
    """The parts of a running page."""

    settings: WebSettings
    lake: Engine
    pool: QueryPool
    broadcaster: TailBroadcaster
    views: Views
    sessions: Sessions
    metrics: Metrics
    jobs: Jobs
    drawer: Drawer
    alerts: Alerts | None = None
    """The page's own alerts; None: it evaluates none."""
    caches: Caches = field(default_factory=Caches)


def page_of(request: Request) -> Page:
    return cast("Page", request.app.state.page)


def access_of(request: Request) -> Access:
    """Who is asking; the access middleware has let them in."""
    return cast("Access", request.state.access)


def asker_of(request: Request) -> str:
    """Whose turn a query takes: the token's or the user's; on a page that asks nobody for a name, the address's."""
    if page_of(request).settings.demands:
        return access_of(request).name
    return network_of(request.client.host if request.client else "")
