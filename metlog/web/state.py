"""What every handler needs, as one object: `page_of(request)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from metlog.lake.query import Queryable
from metlog.web.broadcast import TailBroadcaster
from metlog.web.metrics import Metrics
from metlog.web.pool import QueryPool
from metlog.web.security import Sessions
from metlog.web.settings import Access, WebSettings
from metlog.web.templating import Views

__all__ = ["Page", "access_of", "page_of"]


@dataclass
class Page:
    """The parts of a running page."""

    settings: WebSettings
    lake: Queryable
    pool: QueryPool
    broadcaster: TailBroadcaster
    views: Views
    sessions: Sessions
    metrics: Metrics


def page_of(request: Request) -> Page:
    return cast("Page", request.app.state.page)


def access_of(request: Request) -> Access:
    """Who is asking; the access middleware has let them in."""
    return cast("Access", request.state.access)
