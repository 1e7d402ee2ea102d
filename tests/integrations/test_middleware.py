"""The middleware under real frameworks and a real WSGI server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

import fastapi
import flask
import pytest
from starlette.testclient import TestClient

import metlog
from metlog import MetlogClient
from metlog.event import Event
from metlog.integrations import asgi, wsgi
from metlog.integrations._request import safe_path
from metlog.integrations.login import login_failure, login_success


@pytest.fixture
def client() -> MetlogClient:
    return metlog.configure("memory:", logger="web")


def events(client: MetlogClient, kind: str = "request") -> list[Event]:
    assert client.flush(5)
    found = [event for frame in client.sender.frames for event in client.encoder.decode(frame)]
    return [event for event in found if event.type == kind]


def call(app: Any, path: str = "/", **environ: Any) -> bytes:
    setup_testing_defaults(environ)
    environ["PATH_INFO"] = path
    body = app(environ, lambda *args: lambda data: None)
    try:
        return b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/user/17/edit", "/user/{id}/edit"),
        ("/f/3f2b1c9d-1111-2222-3333-444455556666", "/f/{uuid}"),
        ("/by/ann@example.org", "/by/{email}"),
        ("/plain", "/plain"),
    ],
)
def test_paths_lose_their_identifiers(path: str, shown: str) -> None:
    assert safe_path(path) == shown


def test_wsgi_logs_a_streamed_response_when_its_last_byte_is_out(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("201 Created", [])
        yield b"one"
        metlog.context(user="u1")
        assert events(client) == []
        yield b"three"

    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    wrapped = wsgi.MetlogMiddleware(app, query=("page",), headers=("User-Agent",))
    assert (
        call(wrapped, "/item/7", QUERY_STRING="page=2&token=x", HTTP_TRACEPARENT=trace, HTTP_USER_AGENT="t")
        == b"onethree"
    )
    (event,) = events(client)
    assert (event.payload, event.tokens, event.severity) == ("GET /item/{id} 201", ("request", "GET"), 6)
    assert event.fields.pop("ms") >= 0
    assert event.fields == {
        "method": "GET", "route": "/item/{id}", "status": 201, "bytes": 8, "user": "u1", "query.page": "2",
        "header.user-agent": "t", "trace_id": "a" * 32, "span_id": "b" * 16,
    }  # fmt: skip


@pytest.mark.parametrize("late", [False, True])
def test_wsgi_logs_an_exception_and_lets_it_through(client: MetlogClient, late: bool) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        if not late:
            raise LookupError("x")

        def body() -> Iterator[bytes]:
            start_response("200 OK", [])
            yield b"a"
            raise LookupError("x")

        return body()

    with pytest.raises(LookupError):
        call(wsgi.MetlogMiddleware(app))
    (event,) = events(client)
    assert (event.severity, event.fields["error"]) == (3, "LookupError")
    assert event.fields["status"] == (200 if late else 500)


def test_wsgi_counts_a_client_that_went_away(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"a"
        yield b"b"

    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    body = wsgi.MetlogMiddleware(app)(environ, lambda *args: lambda data: None)
    next(iter(body))
    body.close()  # type: ignore[attr-defined]
    (event,) = events(client)
    assert event.fields["bytes"] == 1


def test_exclusions_and_sampling(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b""]

    wrapped = wsgi.MetlogMiddleware(app, exclude=("/healthz", "/static/*"), sample=0.25)
    for path in ("/healthz", "/static/x.css"):
        call(wrapped, path)
    assert events(client) == []
    for _ in range(200):
        call(wrapped, "/a")
    found = events(client)
    assert 15 < len(found) < 100
    assert {event.weight for event in found} == {4.0}


def test_flask_gives_its_route(client: MetlogClient) -> None:
    app = flask.Flask("t")

    @app.get("/order/<int:number>")
    def order(number: int) -> str:
        metlog.context(user=f"u{number}")
        return "x"

    app.wsgi_app = wsgi.MetlogMiddleware(app.wsgi_app)
    response = app.test_client().get("/order/7")
    assert response.status_code == 200
    response.close()  # as a server does
    (event,) = events(client)
    assert event.fields["route"] == "/order/<int:number>" or event.fields["route"] == "/order/{id}"
    assert event.fields["user"] == "u7"


def test_fastapi_sync_dependencies_and_threads_reach_the_requests_event(client: MetlogClient) -> None:
    app = fastapi.FastAPI()

    def who() -> str:
        metlog.context(user="u1")
        return "u1"

    @app.get("/order/{number}")
    def order(number: int, user: str = fastapi.Depends(who)) -> dict[str, int]:
        metlog.context(order=number)
        return {"n": number}

    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("no")

    @app.websocket("/ws")
    async def ws(socket: fastapi.WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    app.add_middleware(asgi.MetlogMiddleware)
    http = TestClient(app, raise_server_exceptions=False)
    assert http.get("/order/7").status_code == 200
    assert http.get("/broken").status_code == 500
    with http.websocket_connect("/ws") as socket:
        assert socket.receive_text() == "hello"
    first, second, third = events(client)
    assert first.fields["route"] == "/order/{number}"
    assert (first.fields["user"], first.fields["order"]) == ("u1", 7)
    assert (second.fields["status"], second.fields["error"], second.severity) == (500, "ValueError", 3)
    assert (third.payload, third.fields["bytes"]) == ("WEBSOCKET /ws 101", 5)


def test_requests_in_threads_do_not_mix(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        metlog.context(user=environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b""]

    wrapped = wsgi.MetlogMiddleware(app)
    threads = [threading.Thread(target=call, args=(wrapped, f"/u{n}")) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(event.fields["user"] == event.fields["route"] for event in events(client))
    assert len(events(client)) == 20


def test_logins_follow_the_convention_of_the_reports(client: MetlogClient) -> None:
    login_success("u1", method="password")
    login_failure("u2", reason="password")
    good, bad = events(client, "login")
    assert good.fields == {"user": "u1", "success": True, "method": "password"}
    assert bad.fields == {"user": "u2", "success": False, "reason": "password"}
    assert bad.tokens == ("login", "failure")
