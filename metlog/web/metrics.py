"""What the page counts about itself, as Prometheus text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metlog.listener.metrics import Labels, Metric, of_alerts, render

__all__ = ["Metrics"]


class Metrics:
    """Counts requests by page and status; the pages are those of the routes' paths, so that paths from outside add none."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._pages = frozenset(map(_page, paths))
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
                page = page if page in self._pages else "other"
                self.requests[page, status] = self.requests.get((page, status), 0) + 1
                self.seconds[page] = self.seconds.get(page, 0.0) + time.perf_counter() - began

        return counted

    def text(
        self, *, queries: Mapping[str, int], inside: int, tails: int, alerts: Sequence[Mapping[str, Any]] = ()
    ) -> bytes:
        """The counts as Prometheus text."""
        pages: list[tuple[Labels, float]] = [
            ((("page", page), ("status", str(status))), count)
            for (page, status), count in sorted(self.requests.items())
        ]
        spent: list[tuple[Labels, float]] = [((("page", page),), time) for page, time in sorted(self.seconds.items())]
        outcomes: list[tuple[Labels, float]] = [
            ((("outcome", name),), count) for name, count in sorted(queries.items())
        ]
        return render(
            [
                Metric("metlog_page_requests_total", "counter", "Requests by page and status.", pages),
                Metric("metlog_page_seconds_total", "counter", "Time spent on requests.", spent),
                Metric("metlog_page_queries_total", "counter", "Queries by outcome.", outcomes),
                Metric("metlog_page_queries", "gauge", "Queries that run or wait.", [((), inside)]),
                Metric("metlog_page_tails", "gauge", "Live tails.", [((), tails)]),
                *of_alerts(alerts),
            ]
        )


def _page(path: str) -> str:
    """The first part of a path, of the interface for programs the first two."""
    parts = path.split("/", 3)
    found = "/".join(parts[: 3 if parts[1:2] == ["api"] else 2])
    return path if found == "/" else found
