"""Middleware for ASGI 3: Starlette, FastAPI, Django, or a bare application, with one line.

app.add_middleware(MetlogMiddleware)          # Starlette, FastAPI
application = MetlogMiddleware(application)    # any other
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

from metlog.context import request
from metlog.integrations._request import Recorder, safe_path

__all__ = ["MetlogMiddleware"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class MetlogMiddleware:
    """Logs every request of an ASGI application when its last byte is out, or it failed; options as for `Recorder`.

    A websocket gives one event for the whole connection. The route is that of Starlette and FastAPI (`scope["route"]`) where there is
    one, what `route(scope)` gives, or else the path with its identifiers taken out. What `metlog.context(…)` adds below, in
    sync dependencies, threads and tasks too, is on the request's own event.
    """

    def __init__(self, app: Application, **options: Any) -> None:
        self._app = app
        self._recorder = Recorder(**options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request or connection."""
        kind = scope["type"]
        if kind not in {"http", "websocket"} or not self._recorder.wanted(scope.get("path", "")):
            await self._app(scope, receive, send)
            return
        start = perf_counter()
        status, size, ended, gone = 0, 0, False, False

        async def sending(message: Message) -> None:
            nonlocal status, size, ended
            what = message["type"]
            if what == "http.response.start":
                status = message["status"]
            elif what == "http.response.body":
                size += len(message.get("body", b""))
                ended = not message.get("more_body", False)
            elif what == "websocket.accept":
                status = 101
            elif what == "websocket.send":
                size += len(message.get("bytes") or b"") + len((message.get("text") or "").encode())
            elif what == "websocket.close" and not status:
                status = 403
            await send(message)

        async def receiving() -> Message:
            nonlocal gone
            message = await receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        error: BaseException | None = None
        with request() as shared:
            try:
                await self._app(scope, receiving, sending)
            except BaseException as raised:
                error = raised
                raise
            finally:
                if error is not None and not status:
                    status = 500
                elif kind == "http" and gone and not ended:
                    status = status or 499
                self._record(scope, kind, status, size, start, dict(shared), error)

    def _record(
        self,
        scope: Scope,
        kind: str,
        status: int,
        size: int,
        start: float,
        shared: dict[str, Any],
        error: BaseException | None,
    ) -> None:
        recorder = self._recorder
        traceparent = request_id = None
        more: dict[str, Any] = {}
        for raw_name, raw_value in scope.get("headers", ()):
            name = raw_name.decode("latin-1").lower()
            if name == "traceparent":
                traceparent = raw_value.decode("latin-1")
            elif name == "x-request-id":
                request_id = raw_value.decode("latin-1")
            if name in recorder.headers:
                more[f"header.{name}"] = raw_value.decode("latin-1")
        if recorder.query:
            values = parse_qs(scope.get("query_string", b"").decode("latin-1"))
            more.update({f"query.{name}": values[name][0] for name in recorder.query if name in values})
        recorder.record(
            method=scope.get("method", "") if kind == "http" else "WEBSOCKET",
            route=self._route(scope),
            status=status,
            ms=(perf_counter() - start) * 1000.0,
            size=size,
            shared=shared,
            known=recorder.known(traceparent, request_id),
            error=error,
            more=more,
        )

    def _route(self, scope: Scope) -> str:
        choose = self._recorder.route
        try:
            if choose is not None:
                found = choose(scope)
            else:
                route = scope.get("route")
                found = getattr(route, "path_format", None) or getattr(route, "path", None)
        except Exception:  # noqa: BLE001 - code of the application, or a framework's object of another shape
            found = None
        return found or safe_path(scope.get("path", ""))
