"""The event and the metrics of one request, the same for WSGI and ASGI."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypedDict
from urllib.parse import parse_qsl

from metlog.client import MetlogClient, state_of
from metlog.core.context import _request, current
from metlog.errors import ConfigError
from metlog.event import MAX_WEIGHT
from metlog.integrations._common import Names, client_of
from metlog.integrations._faults import error_fields
from metlog.integrations._paths import safe_path
from metlog.statsd.disabled import DisabledStatsd
from metlog.values import type_name

__all__ = ["CLOSED_BY_CLIENT", "Options", "Recorder", "Rejoined", "Scope", "safe_path"]

CLOSED_BY_CLIENT: Final = 499
"""Status of a request whose client went away before the response began; nginx's number for it."""

_TOKENS: Final = {
    method: ("request", method)
    for method in (
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY", "WEBSOCKET", "OTHER",
    )
}  # fmt: skip
_traceparent: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?"
).fullmatch
# Looked up once, not with every request.
_get, _put = current.get, current.set
_joined, _join = _request.get, _request.set
_random: Final = random.random
_MAX_ID: Final = 128
_MAX_VALUE: Final = 1024
_MAX_QUERY: Final = 8192


class Scope:
    """A request's own fields: what `metlog.context(…)` adds anywhere below, in threads and tasks too, is in `shared`.

    A `with` block would not do: a WSGI response lives on after the call that made it, and may be iterated elsewhere.
    """

    __slots__ = ("_fields", "_mapping", "shared")

    def __init__(self) -> None:
        self.shared: dict[str, Any] = {}
        self._fields, self._mapping = _get(), _joined()
        _join(self.shared)

    def rejoin(self) -> Rejoined | None:
        """Goes on with the request in a context that does not know it (a server that iterates the body in another thread).

        Gives what `Rejoined.part` has to put back there; None where the request is known.
        """
        return None if _joined() is self.shared else Rejoined(self.shared)

    def leave(self) -> None:
        """Puts back what was there before, where the request is known."""
        if _joined() is self.shared:
            _put(self._fields)
            _join(self._mapping)


class Rejoined:
    """A request in a context that did not know it, up to `part`."""

    __slots__ = ("_fields", "_mapping")

    def __init__(self, shared: dict[str, Any]) -> None:
        self._fields, self._mapping = _get(), _joined()
        _join(shared)
        _put({**(self._fields or {}), **shared})

    def part(self) -> None:
        """Puts back what was there before, in the same context."""
        _put(self._fields)
        _join(self._mapping)


class Options(TypedDict, total=False):
    """The options of both middlewares; what they mean is told at `Recorder`."""

    client: MetlogClient | str | None
    exclude: Sequence[str]
    sample: float
    headers: Sequence[str]
    query: Sequence[str]
    route: Callable[[Any], str | None] | None
    request_id: str
    statsd: bool
    exceptions: bool


class Recorder:
    """Logs requests: one event of type `request`, and to statsd one counter and one timer.

    client
        A `MetlogClient`, the name of one, or None for the default client. It may be configured later.
    exclude
        Paths of which nothing is logged; `*` at the end stands for anything. With and without the prefix under which the
        application is mounted (SCRIPT_NAME, `root_path`).
    sample
        Share of the requests that is logged, above 0 and up to 1; `weight` says how many one stands for. Those that failed
        (status 500 and up, or an exception) are always logged.
    headers, query
        Names of request headers and query parameters to log, as `header.NAME` and `query.NAME`; none otherwise.
    route
        Callable that gets the environ or scope and gives a route template; None: the framework's, else a safe path.
    request_id
        Name of the header that holds the request's id; "" for none.
    statsd
        Whether to send the metrics `request.METHOD.STATUS` (counter) and `request.METHOD` (timer).
    exceptions
        Whether the event of a request that raised has `exception_message`, `traceback` and the like; else its class only.

    Raises ConfigError for options that cannot be used.
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
        request_id: str = "x-request-id",
        statsd: bool = True,
        exceptions: bool = True,
    ) -> None:
        if not 1 / MAX_WEIGHT <= sample <= 1:
            raise ConfigError(f"sample = {sample!r}: wants a share above 0 (at least {1 / MAX_WEIGHT:g}), up to 1")
        for name, value in (("headers", headers), ("query", query)):
            if isinstance(value, str):
                raise ConfigError(f"{name} = {value!r}: wants a list; write [{value!r}]")
        if route is not None and not callable(route):
            raise ConfigError(f"route = {route!r}: wants a callable that gets the environ or scope")
        self.client = client_of(client)
        self._state = state_of(self.client)
        self.route = route
        self.query = frozenset(query)
        self._request_id = request_id.lower()
        self._named = frozenset(name.lower() for name in headers)
        self.headers = {"traceparent", self._request_id, *self._named} - {""}
        """Names of the request headers that `header` wants to see, in lower case."""
        self._excluded = Names("exclude", exclude)
        self._sample = sample
        self._statsd = statsd
        self._exceptions = exceptions

    def wanted(self, path: str, mounted: str = "") -> bool:
        """Whether requests of this path are logged; `mounted` is the prefix of the application, which is not in `path`."""
        if path in self._excluded:
            return False
        return not mounted or self.wanted(mounted + path)

    def failed(self, error: BaseException) -> None:
        """Something of ours, or of `route`, raised: counted, never the application's problem."""
        self._state.pipeline.failed(error, 0, "call_error")

    def parameters(self, query: str) -> dict[str, Any]:
        """The named query parameters, the first of each."""
        found: dict[str, Any] = {}
        for name, value in parse_qsl(query[:_MAX_QUERY], keep_blank_values=True):
            if name in self.query:
                found.setdefault(f"query.{name}", value[:_MAX_VALUE])
        return found

    def header(self, fields: dict[str, Any], name: str, value: str) -> None:
        """Puts a request header into the fields, if it is one that is wanted; one that is malformed is left out."""
        if name == "traceparent":
            match = _traceparent(value)
            if match is not None:
                fields["trace_id"], fields["span_id"] = match.groups()
        elif name == self._request_id and 0 < len(value) <= _MAX_ID and value.isprintable():
            fields["request_id"] = value
        if name in self._named:
            key = f"header.{name}"
            fields[key] = f"{fields[key]}, {value}"[:_MAX_VALUE] if key in fields else value[:_MAX_VALUE]

    def record(
        self,
        *,
        method: str,
        route: str,
        status: int,
        ms: float,
        size: int,
        fields: dict[str, Any],
        shared: Mapping[str, Any],
        error: BaseException | None = None,
        disconnected: bool = False,
    ) -> None:
        """Logs one request that is over; never raises an Exception."""
        broken = status >= 500 or error is not None
        rate = 1.0 if broken else self._sample
        if rate < 1.0 and _random() >= rate:
            return
        if method not in _TOKENS:  # whatever a client sent: it must not make names of metrics
            method = "OTHER"
        try:
            fields = {
                **fields,
                **shared,
                "method": method,
                "route": route,
                "status": status,
                "ms": round(ms, 3),
                "bytes": size,
            }
            if error is not None:
                if self._exceptions:
                    fields.update(error_fields(error))
                fields["error"] = type_name(error)
            if disconnected:
                fields["disconnected"] = True
            client = self.client
            tokens, words = _TOKENS[method], f"{method} {route} {status}"
            if rate == 1.0:  # the short way
                client.log(tokens, words, severity=3 if broken else 6, fields=fields)
            else:
                client.metlog("request", None, 6, words, fields, tokens=tokens, weight=1.0 / rate)
            statsd = self._state.statsd
            if self._statsd and statsd is not None and statsd.__class__ is not DisabledStatsd:
                statsd.pair(f"request.{method}.{status}", f"request.{method}", ms, rate)
        except Exception as failure:  # noqa: BLE001 - as `MetlogClient.log`
            self.failed(failure)
