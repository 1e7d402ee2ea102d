"""The event of one request, the same for WSGI and ASGI."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from metlog.client import MetlogClient
from metlog.event import ONE
from metlog.integrations._common import client_of

__all__ = ["Recorder", "safe_path"]

_ID: Final = re.compile(
    r"^(?:\d+|[0-9a-fA-F]{8,}|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[^/]*@[^/]*|(?=[^/]*\d)[\w.~%=-]{16,})$"
)
_TRACE: Final = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")  # W3C Trace Context, traceparent
_REQUEST_ID: Final = re.compile(r"^[\w.:-]{1,128}$")
_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET", "TRACE", "CONNECT"}
)


def safe_path(path: str, parts: int = 6) -> str:
    """A path fit for counting: numbers, identifiers and addresses become `{id}`, what is deeper than `parts` becomes `…`."""
    found = path.split("/")
    shown = ["{id}" if _ID.match(part) else part[:64] for part in found[: parts + 1]]
    return "/".join(shown) + ("/…" if len(found) > parts + 1 else "")


class Recorder:
    """Decides which requests are logged, and logs them: one event of type `request`, one statsd counter, one timer.

    exclude: paths left out, a trailing `*` stands for anything. sample: share of the requests that is logged; `weight` says how
    many one stands for. headers, query: names of request headers and query parameters to log; none otherwise.
    """

    def __init__(
        self,
        *,
        client: MetlogClient | str | None = None,
        exclude: Sequence[str] = ("/healthz", "/metrics", "/favicon.ico"),
        sample: float = 1.0,
        headers: Sequence[str] = (),
        query: Sequence[str] = (),
        route: Callable[[Any], str | None] | None = None,
        statsd: bool = True,
    ) -> None:
        if not 0 < sample <= 1:
            raise ValueError(f"sample = {sample}: wants more than 0, up to 1")
        self._client = client_of(client)
        self._exact = frozenset(path for path in exclude if not path.endswith("*"))
        self._prefixes = tuple(path[:-1] for path in exclude if path.endswith("*"))
        self._sample = sample
        self._weight = ONE if sample == 1 else 1 / sample
        self.headers = tuple(name.lower() for name in headers)
        self.query = tuple(query)
        self.route = route
        self._statsd = statsd

    def wanted(self, path: str) -> bool:
        """Whether this request is logged."""
        if path in self._exact or (self._prefixes and path.startswith(self._prefixes)):
            return False
        return self._sample == 1 or random.random() < self._sample

    def known(self, traceparent: str | None, request_id: str | None) -> dict[str, Any]:
        """What the request's own headers say about where it belongs; malformed ones are left out."""
        found: dict[str, Any] = {}
        if traceparent and (match := _TRACE.match(traceparent)):
            found["trace_id"], found["span_id"] = match.groups()
        if request_id and _REQUEST_ID.match(request_id):
            found["request_id"] = request_id
        return found

    def record(
        self,
        *,
        method: str,
        route: str,
        status: int,
        ms: float,
        size: int,
        shared: Mapping[str, Any],
        known: Mapping[str, Any],
        error: BaseException | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Logs one request; never raises."""
        method = method if method in _METHODS else "OTHER"
        fields: dict[str, Any] = {**known, **(more or {}), **shared}
        fields.update(method=method, route=route, status=status, ms=round(ms, 3), bytes=size)
        if error is not None:
            fields["error"] = type(error).__name__
        severity = 3 if status >= 500 or error is not None else 6
        payload = f"{method} {route} {status}"
        self._client.metlog("request", None, severity, payload, fields, tokens=("request", method), weight=self._weight)
        if self._statsd:
            self._client.statsd.incr(f"request.{method}.{status}", rate=1)
            self._client.statsd.timing(f"request.{method}", ms)
