"""What the page counts about itself, as Prometheus text."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Metrics"]

_KNOWN: Final = (
    "/reports",
    "/events",
    "/sql",
    "/tail",
    "/api/query",
    "/api/reports",
    "/api/events",
    "/api/tail",
    "/static",
    "/login",
)


class Metrics:
    """Counts requests by page and status; the pages are a fixed list, whatever is asked for."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self.seconds: dict[str, float] = {}

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, counted."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            status = 500
            began = time.perf_counter()

            async def look(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await app(scope, receive, look)
            finally:
                page = _page(scope["path"])
                self.requests[page, status] = self.requests.get((page, status), 0) + 1
                self.seconds[page] = self.seconds.get(page, 0.0) + time.perf_counter() - began

        return counted

    def text(self, *, queries: Mapping[str, int], inside: int, tails: int) -> str:
        """The exposition format of Prometheus."""
        lines = [
            "# HELP metlog_page_requests_total Requests by page and status.",
            "# TYPE metlog_page_requests_total counter",
        ]
        for (page, status), count in sorted(self.requests.items()):
            lines.append(f'metlog_page_requests_total{{page="{page}",status="{status}"}} {count}')
        lines += [
            "# HELP metlog_page_seconds_total Time spent on requests.",
            "# TYPE metlog_page_seconds_total counter",
        ]
        lines += [
            f'metlog_page_seconds_total{{page="{page}"}} {spent:.6f}' for page, spent in sorted(self.seconds.items())
        ]
        lines += ["# HELP metlog_page_queries_total Queries by outcome.", "# TYPE metlog_page_queries_total counter"]
        lines += [
            f'metlog_page_queries_total{{outcome="{outcome}"}} {count}' for outcome, count in sorted(queries.items())
        ]
        lines += [
            "# HELP metlog_page_queries Queries that run or wait.",
            "# TYPE metlog_page_queries gauge",
            f"metlog_page_queries {inside}",
            "# HELP metlog_page_tails Live tails.",
            "# TYPE metlog_page_tails gauge",
            f"metlog_page_tails {tails}",
        ]
        return "\n".join(lines) + "\n"


def _page(path: str) -> str:
    if path in {"/", "/healthz", "/metrics"}:
        return path
    return next((known for known in _KNOWN if path == known or path.startswith(known + "/")), "other")
