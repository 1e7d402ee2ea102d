"""What an exception says in the event of a request, who is to blame for it, and what is left out under a prefix: WSGI and ASGI alike."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import django.conf
import django.core.exceptions
import django.http
import flask
import pytest
import starlette.requests
import starlette.websockets
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from metlog import Event, MetlogClient
from metlog.integrations import asgi, wsgi
from metlog.integrations._faults import Input
from tests.unit.integrations.test_asgi import scope_of, serve
from tests.unit.integrations.test_wsgi import environ_of
from tests.unit.integrations.test_wsgi import serve as serve_wsgi


@pytest.fixture
def client() -> Iterator[MetlogClient]:
    made = MetlogClient.from_config("memory:", logger="web")
    yield made
    made.close()


def one(client: MetlogClient) -> Event:
    assert client.flush(5)
    (event,) = client.sender.events
    return event  # type: ignore[no-any-return]


# ---- who is to blame ---------------------------------------------------------------------------------------------------

WENT = {"type": "http.disconnect"}
CONSEQUENCES: dict[str, Callable[[], BaseException]] = {
    "Starlette": starlette.requests.ClientDisconnect,
    "Starlette's websocket": lambda: starlette.websockets.WebSocketDisconnect(1001),
    "Django": lambda: django.core.exceptions.RequestAborted("Request aborted"),
    "Django's body": lambda: django.http.UnreadablePostError("broken"),
    "a task group": lambda: ExceptionGroup("unhandled errors in a TaskGroup", [starlette.requests.ClientDisconnect()]),
}


def test_the_500_of_a_framework_to_nobody_is_a_client_that_went(client: MetlogClient) -> None:
    """Starlette answers any exception, that of a broken upload too."""

    async def upload(request: starlette.requests.Request) -> None:
        await request.body()

    app = Starlette(routes=[Route("/up", upload, methods=["POST"])])
    first = {"type": "http.request", "body": b"a", "more_body": True}
    with pytest.raises(starlette.requests.ClientDisconnect):
        asyncio.run(
            serve(asgi.MetlogMiddleware(app, client=client), {**scope_of("/up", "http"), "method": "POST"}, first, WENT)
        )
    event = one(client)
    assert (event.severity, event.fields["status"], event.payload) == (6, 499, "POST /up 499")
    assert not {"error", "traceback"} & set(event.fields)


@pytest.mark.parametrize("name", CONSEQUENCES)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_what_a_framework_makes_of_a_client_that_went_is_no_error(client: MetlogClient, name: str, kind: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if kind == "websocket":
            await send({"type": "websocket.accept"})
        assert (await receive())["type"].endswith("disconnect")
        raise CONSEQUENCES[name]()

    first = (
        {"type": "http.request", "body": b"a", "more_body": True} if kind == "http" else {"type": "websocket.connect"}
    )
    last = WENT if kind == "http" else {"type": "websocket.disconnect", "code": 1000}
    with pytest.raises((Exception, ExceptionGroup)):
        asyncio.run(serve(asgi.MetlogMiddleware(app, client=client), scope_of("/up", kind), first, last))
    event = one(client)
    assert (event.severity, event.fields["status"]) == (6, 499 if kind == "http" else 101)
    assert not {"error", "traceback"} & set(event.fields)
    assert event.fields.get("disconnected", False) is (kind == "http")


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("name", ["KeyError", *CONSEQUENCES])
def test_any_other_exception_is_the_applications(client: MetlogClient, name: str, gone: bool) -> None:
    if gone and name != "KeyError":
        pytest.skip("the test above")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if name == "KeyError":
            raise KeyError("own")
        raise CONSEQUENCES[name]()  # the client is there: somebody else's connection

    message = WENT if gone else {"type": "http.request", "body": b""}
    with pytest.raises((Exception, ExceptionGroup)):
        asyncio.run(serve(asgi.MetlogMiddleware(app, client=client), scope_of("/up"), message))
    event = one(client)
    assert event.severity == 3
    assert event.fields["error"]


class Broken(io.RawIOBase):
    """What a server gives whose client breaks off: some bytes, and then an error or nothing."""

    def __init__(self, error: bool) -> None:
        self._given = [b"abc"]
        self._error = error

    def read(self, size: int = -1) -> bytes:
        if self._given:
            return self._given.pop()
        if self._error:
            raise ConnectionResetError("the client went")
        return b""

    readline = read


def read_all(environ: Any) -> bytes:
    data = b""
    while True:
        piece = environ["wsgi.input"].read(10)
        data += piece
        if not piece:
            return data


@pytest.mark.parametrize("error", [False, True])
@pytest.mark.parametrize("made", ["as it is", "wrapped", "UnreadablePostError", "own"])
def test_an_upload_that_breaks_off_under_wsgi(client: MetlogClient, error: bool, made: str) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        try:
            read_all(environ)
        except OSError as reset:
            if made == "as it is":
                raise
            if made == "wrapped":
                raise ValueError("could not read the form") from reset
        if made == "own":
            raise KeyError("own") from None
        raise django.http.UnreadablePostError("short")

    environ = environ_of("/up", REQUEST_METHOD="POST", CONTENT_LENGTH="1000")
    environ["wsgi.input"] = Broken(error)
    with pytest.raises(Exception):  # noqa: B017 - whichever: it goes on to the server unchanged
        serve_wsgi(wsgi.MetlogMiddleware(app, client=client), environ)
    event = one(client)
    if made == "own" and not error:
        assert (event.severity, event.fields["error"]) == (3, "KeyError")
    elif made != "own":
        assert (event.fields["status"], event.severity, event.fields["disconnected"]) == (499, 6, True)
        assert "error" not in event.fields


def test_the_applications_own_connections_are_its_own_affair(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        assert environ["wsgi.input"].read(3) == b"abc"
        raise ConnectionResetError("the database went")

    environ = environ_of("/up", REQUEST_METHOD="POST", CONTENT_LENGTH="3")
    environ["wsgi.input"] = Broken(True)
    with pytest.raises(ConnectionResetError):
        serve_wsgi(wsgi.MetlogMiddleware(app, client=client), environ)
    assert one(client).fields["error"] == "ConnectionResetError"


def test_the_input_stays_the_servers_in_all_else(client: MetlogClient) -> None:
    class Stream(io.BytesIO):
        extra = "of the server"

    def app(environ: Any, start_response: Any) -> list[bytes]:
        given = environ["wsgi.input"]
        start_response("200 OK", [])
        return [given.readline(), *given.readlines(), given.read(), *given, given.extra.encode()]

    environ = environ_of("/up", REQUEST_METHOD="POST", CONTENT_LENGTH="4")
    environ["wsgi.input"] = Stream(b"a\nb\n")
    assert serve_wsgi(wsgi.MetlogMiddleware(app, client=client), environ) == b"a\nb\nof the server"
    assert "disconnected" not in one(client).fields


def into(stream: Any, size: int = 10) -> bytes:
    buffer = bytearray(size)
    count = stream.readinto(buffer) or 0
    return bytes(buffer[:count])


@pytest.mark.parametrize("method", ["readinto", "readinto1", "read1"])
@pytest.mark.parametrize("error", [False, True])
def test_an_upload_that_breaks_off_is_seen_however_it_is_read(client: MetlogClient, method: str, error: bool) -> None:
    class Buffered(Broken):
        def readinto(self, buffer: Any) -> int:
            data = self.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)

        def read1(self, size: int = -1) -> bytes:
            return self.read(size)

        readinto1 = readinto

    def app(environ: Any, start_response: Any) -> list[bytes]:
        given = environ["wsgi.input"]
        with contextlib.suppress(OSError):
            while given.read1(10) if method == "read1" else getattr(given, method)(bytearray(10)):
                pass
        start_response("400 Bad Request", [("Content-Length", "3")])
        return [b"bad"]

    environ = environ_of("/up", REQUEST_METHOD="POST", CONTENT_LENGTH="1000")
    environ["wsgi.input"] = Buffered(error)
    serve_wsgi(wsgi.MetlogMiddleware(app, client=client), environ)
    assert (one(client).fields["status"], one(client).fields["disconnected"]) == (400, True)


def test_a_flask_upload_that_breaks_off_is_a_client_that_went(client: MetlogClient) -> None:
    app = flask.Flask("app")
    app.add_url_rule("/up", view_func=lambda: str(len(flask.request.get_data())), methods=["POST"])
    environ = environ_of("/up", REQUEST_METHOD="POST", CONTENT_LENGTH="1000")
    environ["wsgi.input"] = io.BufferedReader(io.BytesIO(b"abc"))  # type: ignore[arg-type] # has readinto
    serve_wsgi(wsgi.MetlogMiddleware(app.wsgi_app, client=client), environ)
    assert (one(client).fields["status"], one(client).fields["disconnected"]) == (400, True)


SHORT: dict[str, Callable[[Any], Any]] = {
    "all": lambda given: given.read(),
    "all, by number": lambda given: given.read(-1),
    "as promised": lambda given: given.read(1000),
    "lines": lambda given: given.readlines(),
    "a line": lambda given: given.readline(),
    "into": lambda given: given.readinto(bytearray(1000)),
}


@pytest.mark.parametrize("how", SHORT)
def test_a_body_that_is_shorter_than_promised_is_a_client_that_went(client: MetlogClient, how: str) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        SHORT[how](environ["wsgi.input"])
        environ["wsgi.input"].read(0)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    environ = environ_of("/up", REQUEST_METHOD="POST", CONTENT_LENGTH="1000")
    environ["wsgi.input"] = io.BytesIO(b"abc")
    serve_wsgi(wsgi.MetlogMiddleware(app, client=client), environ)
    assert one(client).fields["disconnected"]


@pytest.mark.parametrize("how", ["a part", "a line", "by pieces", "chunked", "chunked, empty"])
def test_a_body_of_which_no_end_was_seen_is_no_client_that_went(client: MetlogClient, how: str) -> None:
    class Pieces(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 2)) if size and size > 0 else super().read(size)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        given = environ["wsgi.input"]
        if how == "a part":
            given.read(2)
        elif how == "a line":
            given.readline()
        else:
            while given.read(3):
                pass
        start_response("200 OK", [])
        return [b"ok"]

    body, length = (b"", {}) if how == "chunked, empty" else (b"a\nbcde", {"CONTENT_LENGTH": "6"})
    if "chunked" in how:
        length = {"HTTP_TRANSFER_ENCODING": "chunked"}
    environ = environ_of("/up", REQUEST_METHOD="POST", **length)
    environ["wsgi.input"] = Pieces(body) if how == "by pieces" else io.BytesIO(body)
    serve_wsgi(wsgi.MetlogMiddleware(app, client=client), environ)
    assert "disconnected" not in one(client).fields


def test_an_upload_that_is_read_in_several_ways_is_complete(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        given = environ["wsgi.input"]
        start_response("200 OK", [])
        return [into(given, 2), given.read1(1), given.read(), given.read()]

    environ = environ_of("/up", REQUEST_METHOD="POST", CONTENT_LENGTH="4")
    environ["wsgi.input"] = io.BytesIO(b"abcd")
    assert serve_wsgi(wsgi.MetlogMiddleware(app, client=client), environ) == b"abcd"
    assert "disconnected" not in one(client).fields


def test_the_input_has_no_method_that_the_servers_has_not(client: MetlogClient) -> None:
    class Plain:
        read = readline = readlines = staticmethod(lambda *_: b"")

    watched = Input(Plain(), 1)
    assert not any(hasattr(watched, name) for name in ("readinto", "readinto1", "read1"))


# ---- what is sent of an exception ----------------------------------------------------------------------------------------


def fail() -> None:
    password = "local variable"  # noqa: F841 - must not be sent
    raise LookupError("no order 4711 of ann@example.org")


def with_asgi(client: MetlogClient, **options: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        fail()

    with pytest.raises(LookupError):
        asyncio.run(serve(asgi.MetlogMiddleware(app, client=client, **options), scope_of("/")))


def with_wsgi(client: MetlogClient, **options: Any) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        fail()
        return []

    with pytest.raises(LookupError):
        serve_wsgi(wsgi.MetlogMiddleware(app, client=client, **options), environ_of("/"))


def with_exc_info(client: MetlogClient, **options: Any) -> None:
    import sys

    def app(environ: Any, start_response: Any) -> list[bytes]:
        try:
            fail()
        except LookupError:
            start_response("500 Sorry", [], sys.exc_info())
        return [b"sorry"]

    serve_wsgi(wsgi.MetlogMiddleware(app, client=client, **options), environ_of("/"))


def with_flask(client: MetlogClient, **options: Any) -> None:
    app = flask.Flask(__name__)
    app.add_url_rule("/", "index", fail)
    assert b"Internal Server Error" in serve_wsgi(
        wsgi.MetlogMiddleware(app.wsgi_app, client=client, **options), environ_of("/")
    )


def with_starlette(client: MetlogClient, **options: Any) -> None:
    async def index(request: Any) -> None:
        fail()

    app = Starlette(routes=[Route("/", index)])
    app.add_middleware(asgi.MetlogMiddleware, client=client, **options)  # type: ignore[arg-type]
    with pytest.raises(LookupError):
        asyncio.run(serve(app, scope_of("/")))


SERVERS = [with_asgi, with_wsgi, with_exc_info, with_flask, with_starlette]


@pytest.mark.parametrize("run", SERVERS)
def test_message_traceback_and_place_are_sent(client: MetlogClient, run: Any) -> None:
    run(client)
    fields = one(client).fields
    assert (fields["error"], fields["exception_type"]) == ("LookupError", "LookupError")
    assert fields["exception_message"] == "no order 4711 of ann@example.org"
    assert "in fail" in fields["traceback"]
    assert "LookupError: no order 4711" in fields["traceback"]
    assert "= 'local variable'" not in fields["traceback"]
    assert (fields["pathname"], fields["func"]) == (__file__, "fail")
    assert fields["lineno"] == fail.__code__.co_firstlineno + 2
    assert fields["status"] == 500


@pytest.mark.parametrize("run", SERVERS)
def test_it_can_be_left_out(client: MetlogClient, run: Any) -> None:
    run(client, exceptions=False)
    fields = one(client).fields
    assert fields["error"] == "LookupError"
    assert not {"exception_type", "exception_message", "traceback", "pathname", "lineno", "func"} & set(fields)


@pytest.mark.parametrize("run", SERVERS)
def test_redact_holds_for_it(run: Any) -> None:
    filters = [{"name": "redact", "mask": ["email"], "drop": ["pathname"]}]
    client = MetlogClient.from_config("memory:", filters=filters)
    run(client)
    assert client.flush(5)
    (frame,) = client.sender.frames
    assert b"ann@example.org" not in frame
    assert b"no order 4711 of ***" in frame
    assert b'"pathname"' not in frame
    client.close()


# ---- under a prefix ------------------------------------------------------------------------------------------------------


async def fine(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def fine_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return []


def ask(interface: str, client: MetlogClient, root: str, path: str, app: Any = None, **options: Any) -> None:
    """As servers ask: ASGI's `path` has the prefix, or (older servers) has not."""
    if interface == "wsgi":
        serve_wsgi(
            wsgi.MetlogMiddleware(app or fine_wsgi, client=client, **options), environ_of(path, SCRIPT_NAME=root)
        )
        return
    whole = root + path if interface == "asgi" else path
    scope = {**scope_of(whole), "root_path": root + ("/" if interface == "asgi, root with a slash" else "")}
    asyncio.run(serve(asgi.MetlogMiddleware(app or fine, client=client, **options), scope))


INTERFACES = ["wsgi", "asgi", "asgi, path below the root", "asgi, root with a slash"]


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("root", ["", "/api", "/api/v1"])
def test_exclusions_and_names_under_a_prefix(client: MetlogClient, interface: str, root: str) -> None:
    for path in ("/healthz", "/internal/x", "/own", "/orders/5", "/healthzz"):
        ask(interface, client, root, path, exclude=["/healthz", "/internal/*", f"{root}/own"])
    assert client.flush(5)
    assert [event.fields["route"] for event in client.sender.events] == [f"{root}/orders/{{id}}", f"{root}/healthzz"]


def test_a_path_that_only_begins_like_the_prefix(client: MetlogClient) -> None:
    asyncio.run(serve(asgi.MetlogMiddleware(fine, client=client), {**scope_of("/apiary/x"), "root_path": "/api"}))
    assert one(client).fields["route"] == "/api/apiary/x"


@pytest.mark.parametrize("root", ["", "/api"])
@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/orders/5", "/orders/{n}"),
        ("/sub/items/7", "/sub/items/{item}"),
        ("/nothing/12", "/nothing/{id}"),
        ("/sub/nothing/12", "/sub/{path}"),
    ],
)
def test_templates_of_starlette_under_a_prefix(client: MetlogClient, root: str, path: str, route: str) -> None:
    async def answer(request: Any) -> PlainTextResponse:
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route("/orders/{n}", answer), Mount("/sub", routes=[Route("/items/{item}", answer)])])
    ask("asgi", client, root, path, app)
    shown = one(client).fields["route"]
    assert shown in {root + route, root + route.replace("{path}", "nothing/{id}")}


@pytest.mark.parametrize("path", ["/api/orders/5", "/orders/5"])
def test_a_root_path_of_fastapi(client: MetlogClient, path: str) -> None:
    """A proxy that takes the prefix away, and one that does not."""
    app = FastAPI(root_path="/api")

    @app.get("/orders/{number}")
    def order(number: int) -> int:
        return number

    app.add_middleware(asgi.MetlogMiddleware, client=client)  # type: ignore[arg-type]
    asyncio.run(serve(app, scope_of(path)))
    assert one(client).fields["route"] == "/api/orders/{number}"
