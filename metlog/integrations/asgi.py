"""Middleware for ASGI 3: Starlette, FastAPI, Django, or a bare application, with one line.

app.add_middleware(MetlogMiddleware)           # Starlette, FastAPI
application = MetlogMiddleware(application)    # any other
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import Any, Unpack

from metlog.integrations._faults import is_disconnect, stems_from
from metlog.integrations._request import CLOSED_BY_CLIENT, Options, Recorder, Scope, safe_path
from metlog.integrations.django import FAULT, is_handler, route_of, watch
from metlog.values import whole_number

__all__ = ["MetlogMiddleware"]

Message = Any  # mutable mappings all; Starlette's and Django's types name them differently
AsgiScope = Any
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[AsgiScope, Receive, Send], Awaitable[None]]


class MetlogMiddleware:
    """Logs each request of an ASGI application, and each websocket connection; options are those of `Recorder`.

    The time of a request is that from the call to the last byte of the body; work that the application does after it
    (background tasks) does not count. A websocket gives one event, when the connection is over: method `WEBSOCKET`, status 101
    (403 when it was refused, 499 when the client went before it was accepted), `bytes` sent, `close_code`. The route is the
    template of Starlette, FastAPI and Django (what `route(scope)` gives, where set), else a safe path. What `metlog.context(…)`
    adds below, in sync dependencies, threads and tasks too, is on the request's own event. Lifespan messages pass untouched.
    """

    def __init__(self, app: Application, **options: Unpack[Options]) -> None:
        self._app = app
        self._recorder = Recorder(**options)
        self._headers = {
            name.encode("latin-1", "replace"): name for name in self._recorder.headers
        }  # lower case, says ASGI
        if is_handler(app):
            watch(app)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serves one request or connection."""
        kind = scope["type"]
        if kind not in {"http", "websocket"} or not self._recorder.wanted(*_path_and_root(scope)):
            await self._app(scope, receive, send)
            return
        exchange = (_Http if kind == "http" else _WebSocket)(self._recorder, self._headers, scope, receive, send)
        error: BaseException | None = None
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except BaseException as raised:
            error = raised
            raise
        finally:
            exchange.finish(error)


class _Exchange:
    """One request, or one connection, up to `finish`."""

    def __init__(
        self, recorder: Recorder, wanted: dict[bytes, str], scope: AsgiScope, receive: Receive, send: Send
    ) -> None:
        self._recorder = recorder
        self._wanted = wanted
        self._scope = scope
        self._receive = receive
        self._send = send
        self._status = 0
        self._size = 0
        self._ended: float | None = None
        self._gone = False
        self._late = False  # the response began when nobody waited for it any more
        self._closed_by_client = False  # a websocket, which is no less a success
        self._lost: Exception | None = None
        self._path, self._root = _path_and_root(scope)  # applications that are mounted below change them
        self._fields: dict[str, Any] = {}
        self._context = Scope()
        self._started = perf_counter()

    def finish(self, error: BaseException | None) -> None:
        """Logs it."""
        ms = ((self._ended or perf_counter()) - self._started) * 1000.0
        self._context.leave()
        if isinstance(error, CancelledError):  # how some servers tell that the client has gone
            self._gone, error = self._gone or self._ended is None, None
        elif error is not None and (
            (self._lost is not None and stems_from(error, self._lost))
            or ((self._gone or self._closed_by_client) and is_disconnect(error))
        ):
            error = None  # the server's word for it (ASGI 2.4), or what a framework makes of that: nothing failed here
            if self._late:  # a framework's answer to that exception
                self._status = 0
        try:
            self._record(error, ms)
        except Exception as failure:  # noqa: BLE001 - ours to count, not the application's
            self._recorder.failed(failure)

    def _record(self, error: BaseException | None, ms: float) -> None:
        recorder, scope, fields = self._recorder, self._scope, self._fields
        for name, value in scope.get("headers", ()):
            if name in self._wanted:
                recorder.header(fields, self._wanted[name], value.decode("latin-1"))
        if recorder.query:
            fields.update(recorder.parameters(scope.get("query_string", b"").decode("latin-1")))
        method, status = self._outcome(error)
        recorder.record(
            method=method, route=self._route(), status=status, ms=ms, size=0 if method == "HEAD" else self._size,
            fields=fields, shared=self._context.shared, error=error or self._scope.pop(FAULT, None),
            disconnected=self._gone,
        )  # fmt: skip

    async def _pass_on(self, message: Message) -> None:
        try:
            await self._send(message)
        except Exception as error:
            if isinstance(error, OSError) or self._gone or self._closed_by_client:
                self._gone, self._lost = True, error
            raise

    def _route(self) -> str:
        choose = self._recorder.route
        try:
            found = self._framework_route() if choose is None else choose(self._scope)
            if found:
                return found
        except Exception as error:  # noqa: BLE001 - code of the application, or a framework's object of another shape
            self._recorder.failed(error)
        return safe_path(self._root + self._path)

    def _framework_route(self) -> str | None:
        scope = self._scope
        route = scope.get("route")
        if route is not None:  # Starlette, FastAPI
            below = scope.get("root_path", "")[len(scope["app_root_path"]) :] if "app_root_path" in scope else ""
            mounted = self._root + safe_path(below)
            if hasattr(route, "routes"):  # a mount: what is below it has no templates that we know
                return f"{mounted if below else self._root + route.path}/{{path}}"
            path = getattr(route, "path", None)
            return None if path is None else f"{mounted}{path}"
        found = route_of(scope)
        return None if found is None else self._root + found

    def _outcome(self, error: BaseException | None) -> tuple[str, int]:
        """Method and status."""
        raise NotImplementedError


class _Http(_Exchange):
    _headers: Iterable[tuple[bytes, bytes]] = ()  # of the response

    async def receive(self) -> Message:
        """Notices a client that goes before it has the whole response."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and self._ended is None:
            self._gone = True
        return message

    async def send(self, message: Message) -> None:
        """Counts what goes out."""
        kind = message["type"]
        if kind == "http.response.body":
            self._size += len(message.get("body", b""))
            await self._pass_on(message)
            if not message.get("more_body", False):
                self._ended = perf_counter()
            return
        if kind == "http.response.start":
            self._status, self._late = message["status"], self._gone
            self._headers = message.get("headers", ())
        elif kind == "http.response.zerocopysend":
            self._size += message.get("count") or 0
        elif kind == "http.response.pathsend":  # the server reads the file by itself
            length = next((value for name, value in self._headers if name == b"content-length"), b"")
            self._size = whole_number(length.decode("latin-1")) or 0
        await self._pass_on(message)
        if kind in {"http.response.pathsend", "http.response.zerocopysend"} and not message.get("more_body", False):
            self._ended = perf_counter()

    def _outcome(self, error: BaseException | None) -> tuple[str, int]:
        status = self._status
        if not status:
            status = CLOSED_BY_CLIENT if self._gone else 500
        return self._scope.get("method", ""), status


class _WebSocket(_Exchange):
    async def receive(self) -> Message:
        """Notices the end of the connection."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._closed_by_client = True
            self._gone = self._gone or not self._status  # before there was a connection
            self._closed(message.get("code", 1005))
        return message

    async def send(self, message: Message) -> None:
        """Counts what goes out."""
        kind = message["type"]
        if kind == "websocket.send":
            data = message.get("bytes")
            self._size += len((message.get("text") or "").encode() if data is None else data)
        elif kind == "websocket.accept":
            self._status = 101
        elif kind == "websocket.close":
            self._status = self._status or 403
            self._closed(message.get("code", 1000))
        elif kind == "websocket.http.response.start":  # refused with a response of its own
            self._status = message["status"]
        elif kind == "websocket.http.response.body":
            self._size += len(message.get("body", b""))
        await self._pass_on(message)

    def _closed(self, code: int) -> None:
        if self._ended is None:
            self._ended = perf_counter()
            self._fields["close_code"] = code

    def _outcome(self, error: BaseException | None) -> tuple[str, int]:
        status = self._status
        if not status:
            status = 500 if error is not None else CLOSED_BY_CLIENT if self._gone else 403
        return "WEBSOCKET", status


def _path_and_root(scope: AsgiScope) -> tuple[str, str]:
    """The path below the prefix under which the application is mounted, and that prefix.

    ASGI's `path` has both; some servers leave the prefix out.
    """
    path, root = scope.get("path", ""), scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return path, root
