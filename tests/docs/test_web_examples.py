"""The examples of web applications, as they stand: each under the client or server that belongs to its framework."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPConnection
from types import ModuleType
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest

import metlog
from metlog import Event
from tests.helpers.paths import ROOT

EXAMPLES = ROOT / "examples"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports an example, its events into memory."""
    monkeypatch.setenv("METLOG_SENDER", "memory:")
    loaded: list[str] = []

    def by_name(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loaded.append(name)
        spec.loader.exec_module(module)
        return module

    yield by_name
    for name in loaded:
        if name != "web_django":  # Django is set up once a process, with this module's routes
            del sys.modules[name]


def events(kind: str = "request") -> list[Event]:
    assert metlog.flush(5)
    return [event for event in metlog.get_client().sender.events if event.type == kind]


def one(kind: str = "request") -> Event:
    (event,) = events(kind)
    return event


def call(app: Any, path: str) -> bytes:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ["PATH_INFO"] = path
    body = app(environ, lambda *args: lambda data: None)
    try:
        return b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()


async def get(app: Any, path: str) -> bytes:
    """One request through ASGI without a test client's help: exceptions end where a server would catch them."""
    sent: list[dict[str, Any]] = []
    incoming = asyncio.Queue[dict[str, Any]]()
    incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [(b"host", b"testserver")],
        "server": ("testserver", 80), "client": ("127.0.0.1", 1),
    }  # fmt: skip
    await app(scope, incoming.get, send)
    return b"".join(message.get("body", b"") for message in sent)


def test_wsgi(load: Any) -> None:
    assert call(load("web_wsgi").application, "/orders/17") == b"you asked for /orders/17\n"
    assert one().payload == "GET /orders/{id} 200"
    assert one().fields["user"] == "u1"


def test_asgi(load: Any) -> None:
    assert asyncio.run(get(load("web_asgi").application, "/orders/17")) == b"you asked for /orders/17\n"
    assert one().payload == "GET /orders/{id} 200"
    assert one().fields["user"] == "u1"


def test_starlette(load: Any) -> None:
    from starlette.testclient import TestClient

    http = TestClient(load("web_starlette").app, raise_server_exceptions=False)
    assert http.get("/orders/17").json() == {"order": 17}
    assert http.get("/admin/orders/18").json() == {"order": 18}
    assert http.get("/export").text == "0\n1\n2\n"
    assert http.get("/broken").status_code == 500
    assert http.get("/nowhere/99").status_code == 404
    assert http.post("/orders/17").status_code == 405
    with http.websocket_connect("/prices/pears") as socket:
        assert socket.receive_text() == "3.50"
    assert [event.payload for event in events()] == [
        "GET /orders/{number:int} 200", "GET /admin/orders/{number:int} 200", "GET /export 200", "GET /broken 500",
        "GET /nowhere/{id} 404", "POST /orders/{number:int} 405", "WEBSOCKET /prices/{item} 101",
    ]  # fmt: skip
    assert events()[0].fields["user"] == "u1"
    assert events()[2].fields["bytes"] == 6
    assert (events()[3].fields["error"], events()[3].severity) == ("LookupError", 3)
    assert [event.fields["user"] for event in events("order")] == ["u1", "u1"]


def test_starlette_with_a_middleware_of_its_own_below(load: Any) -> None:
    """BaseHTTPMiddleware runs the application in another task: its fields come back all the same."""
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.testclient import TestClient

    async def tenant(request: Any, call_next: Any) -> Any:
        metlog.context(tenant="t1")
        response = await call_next(request)
        metlog.context(after=1)
        return response

    app = load("web_starlette").app
    app.user_middleware.append(type(app.user_middleware[0])(BaseHTTPMiddleware, dispatch=tenant))
    assert TestClient(app).get("/orders/17").status_code == 200
    fields = one().fields
    assert (fields["tenant"], fields["user"], fields["after"]) == ("t1", "u1", 1)


def test_fastapi(load: Any) -> None:
    from starlette.testclient import TestClient

    http = TestClient(load("web_fastapi").app)
    assert http.get("/orders/17", headers={"X-User": "u7"}).json() == {"order": 17, "user": "u7"}
    assert http.get("/orders/17").status_code == 422
    assert http.post("/login", json={"user": "u7", "password": "wrong"}).status_code == 401
    assert http.post("/login", json={"user": "u7", "password": "secret"}).json() == {"user": "u7"}
    assert [event.payload for event in events()] == [
        "GET /orders/{number} 200", "GET /orders/{number} 422", "POST /login 401", "POST /login 200",
    ]  # fmt: skip
    assert events()[0].fields["user"] == "u7"  # set in a thread, by a dependency
    assert [event.fields["success"] for event in events("login")] == [False, True]
    assert "secret" not in repr(events())
    assert len(events("order")) == 1


def test_flask(load: Any) -> None:
    http = load("web_flask").app.test_client()
    for path, status in (("/orders/17", 200), ("/orders/export", 200), ("/broken", 500), ("/nowhere/99", 404)):
        with http.get(path) as response:
            assert response.status_code == status
            assert response.data  # the client reads a stream only when it is asked for
    for password, status in (("wrong", 401), ("secret", 200)):
        with http.post("/login", data={"user": "u7", "password": password}) as response:
            assert response.status_code == status
    assert [event.payload for event in events()] == [
        "GET /orders/<int:number> 200", "GET /orders/export 200", "GET /broken 500", "GET /nowhere/{id} 404",
        "POST /login 401", "POST /login 200",
    ]  # fmt: skip
    assert events()[0].fields["user"] == "u1"
    assert events()[1].fields["bytes"] == 6
    assert events()[2].severity == 3
    assert [event.fields["success"] for event in events("login")] == [False, True]


def test_flask_mounted_below_a_prefix(load: Any) -> None:
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    from metlog.integrations.wsgi import MetlogMiddleware

    flask = load("web_flask").app
    inner = flask.wsgi_app._application
    call(MetlogMiddleware(DispatcherMiddleware(lambda *args: [], {"/shop": inner})), "/shop/orders/17")
    assert one().fields["route"] == "/shop/orders/<int:number>"


EXPECTED = [
    "GET /orders/<int:number>/ 200", "GET /archive/orders/<number>/ 200", "GET /export/ 200", "GET /broken/ 500",
    "GET /nowhere/{id}/ 404",
]  # fmt: skip
PATHS = ["/orders/17/", "/archive/orders/2024/", "/export/", "/broken/", "/nowhere/99/"]


@pytest.fixture(scope="module")
def django_module() -> ModuleType:
    """Django's settings are made once a process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METLOG_SENDER", "memory:")
        spec = importlib.util.spec_from_file_location("web_django", EXAMPLES / "web_django.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["web_django"] = module
        spec.loader.exec_module(module)
        return module


def test_django_under_wsgi(django_module: ModuleType) -> None:
    metlog.configure("memory:")
    bodies = [call(django_module.application, path) for path in PATHS]
    assert bodies[0] == b'{"order": 17}'
    assert [event.payload for event in events()] == EXPECTED
    assert events()[0].fields["user"] == "u1"
    assert events()[2].fields["bytes"] == 6
    assert events()[3].severity == 3


def test_django_under_asgi(django_module: ModuleType) -> None:
    metlog.configure("memory:")

    async def run() -> list[bytes]:
        return [await get(django_module.asgi_application, path) for path in PATHS]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Django's, about a synchronous iterator in an asynchronous server
        bodies = asyncio.run(run())
    assert bodies[0] == b'{"order": 17}'
    assert [event.payload for event in events()] == EXPECTED
    assert events()[0].fields["user"] == "u1"  # a synchronous view, in a thread
    assert events()[3].severity == 3


def test_django_around_something_else(django_module: ModuleType) -> None:
    """Where another application stands between, `watch` gives the routes."""
    from django.core.wsgi import get_wsgi_application

    from metlog.integrations.django import watch
    from metlog.integrations.wsgi import MetlogMiddleware

    metlog.configure("memory:")
    handler = watch(watch(get_wsgi_application()))
    call(MetlogMiddleware(lambda environ, start: handler(environ, start)), "/orders/17/")
    assert one().fields["route"] == "/orders/<int:number>/"


@contextlib.contextmanager
def served(app: Any) -> Iterator[int]:
    """uvicorn on a free port."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.mark.parametrize("name", ["web_starlette", "web_fastapi"])
def test_under_a_real_server(load: Any, name: str) -> None:
    with served(load(name).app) as port:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/orders/17", headers={"X-User": "u1", "X-Request-ID": "r-17"})
        assert connection.getresponse().status == 200
        connection.close()
    assert one().fields["request_id"] == "r-17"
    assert one().fields["user"] == "u1"


def test_a_client_that_leaves_a_stream_of_a_real_server(load: Any) -> None:
    """Starlette ends the stream when it hears of it; the request is logged then, as no failure."""
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.01)

    app = load("web_starlette").app
    app.router.routes.append(Route("/endless", lambda request: StreamingResponse(endless())))
    with served(app) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
        end = time.monotonic() + 5
        while not events():
            assert time.monotonic() < end, "the request did not end with its client"
            time.sleep(0.01)
    event = one()
    assert (event.payload, event.severity, event.fields["disconnected"]) == ("GET /endless 200", 6, True)
    assert event.fields["bytes"] >= 1000
    assert "error" not in event.fields


@pytest.mark.parametrize("end", ["client", "server", "broken off"])
def test_a_websocket_of_a_real_server(load: Any, end: str) -> None:
    """Whoever ends it, and however: one event, with its template, its bytes and its code."""
    pytest.importorskip("websockets")
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect
    from websockets.sync.client import connect

    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            while (said := await websocket.receive_text()) != "bye":
                await websocket.send_text(said * 2)
            await websocket.close(4001)

    app = load("web_starlette").app
    app.router.routes.append(WebSocketRoute("/chat/{room}", chat))
    with served(app) as port, contextlib.ExitStack() as stack:
        connection = stack.enter_context(connect(f"ws://127.0.0.1:{port}/chat/7?token=secret", open_timeout=5))
        connection.send("ab")
        assert connection.recv(timeout=5) == "abab"
        assert not events()  # it is not over
        if end == "client":
            connection.close(1000)
        elif end == "server":
            connection.send("bye")
            with contextlib.suppress(Exception):
                connection.recv(timeout=5)
        else:
            connection.socket.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 5
        while not events():
            assert time.monotonic() < deadline, "the websocket did not end"
            time.sleep(0.01)
    event = one()
    fields = event.fields
    assert (event.tokens, event.severity, fields["route"]) == (("request", "WEBSOCKET"), 6, "/chat/{room}")
    assert (fields["status"], fields["bytes"]) == (101, 4)
    # RFC 6455, 7.1.5: 1005 and 1006 stand for an end without a word.
    assert fields["close_code"] in {"client": {1000}, "server": {4001}, "broken off": {1005, 1006}}[end]
    assert "secret" not in repr(event)
