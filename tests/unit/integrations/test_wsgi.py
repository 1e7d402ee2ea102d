"""The WSGI middleware: every way in which a response can come and end."""

from __future__ import annotations

import inspect
import io
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import metlog
from metlog import ConfigError, Event, MetlogClient
from metlog.integrations._paths import safe_path
from metlog.integrations._request import Options, Recorder
from metlog.integrations.wsgi import MetlogMiddleware
from metlog.statsd.client import Settings
from tests.helpers.paths import ROOT

App = Callable[[dict[str, Any], Any], Any]


@pytest.fixture
def client() -> Iterator[MetlogClient]:
    made = MetlogClient.from_config("memory:", logger="web")
    yield made
    made.close()


def events(client: MetlogClient) -> list[Event]:
    assert client.flush(5)
    return [event for event in client.sender.events if event.type == "request"]


def one(client: MetlogClient) -> Event:
    (event,) = events(client)
    return event


def environ_of(path: str = "/", **more: Any) -> dict[str, Any]:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ.update(PATH_INFO=path, QUERY_STRING="", **more)
    return environ


def serve(app: App, environ: dict[str, Any]) -> bytes:
    """What a server does: calls, iterates, closes."""
    sent: list[bytes] = []
    body = app(environ, lambda status, headers, exc_info=None: sent.append)
    try:
        sent.extend(body)
    finally:
        if hasattr(body, "close"):
            body.close()
    return b"".join(sent)


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def test_the_event_of_a_request(client: MetlogClient) -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    app = MetlogMiddleware(hello, client=client)
    environ = environ_of("/users/17", REQUEST_METHOD="POST", HTTP_TRACEPARENT=trace, HTTP_X_REQUEST_ID="r-1")
    assert serve(app, environ) == b"hello"
    event = one(client)
    assert (event.type, event.tokens, event.severity, event.weight) == ("request", ("request", "POST"), 6, 1.0)
    assert event.payload == "POST /users/{id} 200"
    assert 0 <= event.fields.pop("ms") < 1000
    assert event.fields == {
        "method": "POST", "route": "/users/{id}", "status": 200, "bytes": 5,
        "request_id": "r-1", "trace_id": "a" * 32, "span_id": "b" * 16,
    }  # fmt: skip


def test_a_conforming_application_stays_one(client: MetlogClient) -> None:
    assert serve(validator(MetlogMiddleware(validator(hello), client=client)), environ_of()) == b"hello"
    assert one(client).fields["bytes"] == 5


def test_a_list_stays_a_list_so_that_the_server_knows_the_length(client: MetlogClient) -> None:
    assert MetlogMiddleware(hello, client=client)(environ_of(), lambda *args: None) == [b"hello"]
    assert one(client).fields["bytes"] == 5


def test_headers_and_query_never_unless_named(client: MetlogClient) -> None:
    environ = environ_of(HTTP_AUTHORIZATION="Bearer secret", HTTP_COOKIE="c=secret", HTTP_USER_AGENT="ua")
    environ["QUERY_STRING"] = "page=2&page=3&token=secret"
    serve(MetlogMiddleware(hello, client=client), dict(environ))
    serve(MetlogMiddleware(hello, client=client, headers=("User-Agent",), query=("page",)), dict(environ))
    plain, named = events(client)
    assert plain.fields.keys() == {"method", "route", "status", "ms", "bytes"}
    assert named.fields["header.user-agent"] == "ua"
    assert named.fields["query.page"] == "2"
    assert "secret" not in repr(named)


@pytest.mark.parametrize(
    "value",
    ["", "00-xyz", f"ff-{'a' * 32}-{'b' * 16}-01", f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'0' * 16}-01"],
)
def test_a_malformed_traceparent_is_left_out(client: MetlogClient, value: str) -> None:
    serve(MetlogMiddleware(hello, client=client), environ_of(HTTP_TRACEPARENT=value))
    assert "trace_id" not in one(client).fields


@pytest.mark.parametrize("value", ["x" * 129, "a\nb", ""])
def test_a_request_id_that_is_none_is_left_out(client: MetlogClient, value: str) -> None:
    serve(MetlogMiddleware(hello, client=client), environ_of(HTTP_X_REQUEST_ID=value))
    assert "request_id" not in one(client).fields


def test_a_generator_that_starts_its_response_late(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("201 Created", [])
        yield b"one"
        metlog.context(user="u1")
        assert events(client) == []
        yield b"three"

    assert serve(MetlogMiddleware(app, client=client), environ_of()) == b"onethree"
    fields = one(client).fields
    assert (fields["status"], fields["bytes"], fields["user"]) == (201, 8, "u1")


def test_the_time_of_a_stream_is_until_its_last_chunk_without_close(
    client: MetlogClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("metlog.integrations.wsgi.perf_counter", lambda: now)

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            nonlocal now
            for _ in range(3):
                now += 1.0
                yield b"x"

        def close(self) -> None:
            nonlocal now
            now += 10.0
            metlog.context(closed=True)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Body()

    serve(MetlogMiddleware(app, client=client), environ_of())
    fields = one(client).fields
    assert fields["ms"] == 3000.0
    assert fields["closed"] is True


def test_write_is_counted(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"abc")
        return [b"de"]

    assert serve(MetlogMiddleware(app, client=client), environ_of()) == b"abcde"
    assert one(client).fields["bytes"] == 5


def test_start_response_again_with_exc_info_replaces_the_first(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        import sys

        start_response("200 OK", [])
        try:
            raise LookupError("late")
        except LookupError:
            start_response("503 Busy", [], sys.exc_info())
        return [b"sorry"]

    seen: list[str] = []

    def start(status: str, headers: Any, exc_info: Any = None) -> Any:
        seen.append(status)
        return lambda data: None

    MetlogMiddleware(app, client=client)(environ_of(), start)
    assert seen == ["200 OK", "503 Busy"]
    event = one(client)
    assert (event.fields["status"], event.fields["error"], event.severity) == (503, "LookupError", 3)


def test_start_response_too_late_for_another_status_keeps_the_first(client: MetlogClient) -> None:
    def start(status: str, headers: Any, exc_info: Any = None) -> Any:
        if exc_info:
            raise exc_info[1]
        return lambda data: None

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        import sys

        start_response("200 OK", [])
        yield b"x"
        try:
            raise LookupError("late")
        except LookupError:
            start_response("500 Broken", [], sys.exc_info())

    body = MetlogMiddleware(app, client=client)(environ_of(), start)
    with pytest.raises(LookupError):
        list(body)
    body.close()  # type: ignore[attr-defined]
    fields = one(client).fields
    assert (fields["status"], fields["error"], fields["bytes"]) == (200, "LookupError", 1)


@pytest.mark.parametrize("where", ["call", "started", "first chunk", "second chunk", "close"])
def test_an_exception_goes_through_and_is_logged(client: MetlogClient, where: str) -> None:
    class Body:
        def __iter__(self) -> Iterator[bytes]:
            if where == "first chunk":
                raise LookupError(where)
            yield b"x"
            if where == "second chunk":
                raise LookupError(where)

        def close(self) -> None:
            if where == "close":
                raise LookupError(where)

    def app(environ: Any, start_response: Any) -> Any:
        if where == "call":
            raise LookupError(where)
        start_response("200 OK", [])
        if where == "started":
            raise LookupError(where)
        return Body()

    with pytest.raises(LookupError, match=where):
        serve(MetlogMiddleware(app, client=client), environ_of())
    event = one(client)
    assert event.severity == 3
    assert event.fields["error"] == "LookupError"
    assert event.fields["status"] == (200 if where in {"second chunk", "close"} else 500)
    assert "disconnected" not in event.fields


def test_an_exception_of_a_module_has_its_full_name(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise ConfigError("x")

    with pytest.raises(ConfigError):
        serve(MetlogMiddleware(app, client=client), environ_of())
    assert one(client).fields["error"] == "metlog.errors.ConfigError"


def test_a_client_that_goes_away_is_seen_and_the_application_closed(client: MetlogClient) -> None:
    closed = []

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append(True)

    body = MetlogMiddleware(app, client=client)(environ_of(), lambda *args: None)
    assert next(iter(body)) == b"a"
    body.close()  # type: ignore[attr-defined]
    fields = one(client).fields
    assert closed == [True]
    assert (fields["status"], fields["bytes"], fields["disconnected"]) == (200, 1, True)


def test_a_client_that_goes_before_the_response_begins(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"a"

    MetlogMiddleware(app, client=client)(environ_of(), lambda *args: None).close()  # type: ignore[attr-defined]
    assert one(client).fields["status"] == 499


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_server_that_needs_no_more_of_the_body_is_no_disconnect(client: MetlogClient, method: str) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        yield b"full"
        yield b""

    body = MetlogMiddleware(app, client=client)(environ_of(REQUEST_METHOD=method), lambda *args: None)
    next(iter(body))
    body.close()  # type: ignore[attr-defined]
    fields = one(client).fields
    assert "disconnected" not in fields
    assert fields["bytes"] == (0 if method == "HEAD" else 4)


def test_a_file_goes_to_the_server_as_it_is_for_sendfile(client: MetlogClient) -> None:
    file = io.BytesIO(b"x" * 1000)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "1000")])
        return environ["wsgi.file_wrapper"](file, 100)

    environ = environ_of(**{"wsgi.file_wrapper": FileWrapper})
    body = MetlogMiddleware(app, client=client)(environ, lambda *args: None)
    assert type(body) is FileWrapper
    assert events(client) == []  # not before the server has sent it
    body.close()
    assert file.closed
    assert one(client).fields["bytes"] == 1000


def test_exclusions_are_exact_or_prefixes(client: MetlogClient) -> None:
    app = MetlogMiddleware(hello, client=client, exclude=("/healthz", "/static/*"))
    for path in ("/healthz", "/static/x.css", "/healthzz"):
        serve(app, environ_of(path))
    assert [event.fields["route"] for event in events(client)] == ["/healthzz"]


def test_a_sample_has_weights_and_failures_are_always_there(client: MetlogClient) -> None:
    def broken(environ: Any, start_response: Any) -> list[bytes]:
        start_response("500 Broken", [])
        return [b""]

    good = MetlogMiddleware(hello, client=client, sample=0.25)
    bad = MetlogMiddleware(broken, client=client, sample=0.25)
    for _ in range(400):
        serve(good, environ_of())
    for _ in range(20):
        serve(bad, environ_of())
    found = events(client)
    kept = [event for event in found if event.fields["status"] == 200]
    assert 40 < len(kept) < 180
    assert {event.weight for event in kept} == {4.0}
    assert [event.weight for event in found if event.fields["status"] == 500] == [1.0] * 20


@pytest.mark.parametrize(("options", "said"), [
    ({"sample": 0}, "sample = 0: wants a share above 0 (at least 1e-15), up to 1"),
    ({"sample": 2}, "sample = 2"),
    ({"exclude": "/healthz"}, "exclude = '/healthz': wants a list"),
    ({"headers": "x"}, "headers = 'x': wants a list"),
    ({"route": "/x"}, "route = '/x': wants a callable"),
    ({"client": 3}, "client = 3: wants a MetlogClient"),
])  # fmt: skip
def test_options_that_cannot_be_used_are_told_at_the_start(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        MetlogMiddleware(hello, **options)
    assert said in str(raised.value)


def test_the_applications_own_route(client: MetlogClient) -> None:
    serve(MetlogMiddleware(hello, client=client, route=lambda environ: "/mine"), environ_of("/x"))
    serve(MetlogMiddleware(hello, client=client, route=lambda environ: None), environ_of("/x"))
    serve(MetlogMiddleware(hello, client=client, route=lambda environ: environ["missing"]), environ_of("/x"))
    assert [event.fields["route"] for event in events(client)] == ["/mine", "/x", "/x"]
    assert client.stats().errors == 1


def test_a_method_of_the_clients_invention_is_other(client: MetlogClient) -> None:
    serve(MetlogMiddleware(hello, client=client), environ_of(REQUEST_METHOD="BREW-123"))
    assert one(client).fields["method"] == "OTHER"


def test_the_application_cannot_overwrite_what_the_reports_read(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        metlog.context(status="active", ms="long", user="u1")
        return hello(environ, start_response)

    serve(MetlogMiddleware(app, client=client), environ_of())
    fields = one(client).fields
    assert fields["status"] == 200
    assert isinstance(fields["ms"], float)
    assert fields["user"] == "u1"


def test_nothing_of_a_request_is_left_for_the_next(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        if environ["PATH_INFO"] == "/first":
            metlog.context(user="u1")
        client.log("inside", "x")
        start_response("200 OK", [])
        yield b""

    wrapped = MetlogMiddleware(app, client=client)
    serve(wrapped, environ_of("/first"))
    serve(wrapped, environ_of("/second"))
    first, second = events(client)
    assert first.fields["user"] == "u1"
    assert "user" not in second.fields
    inside = [event for event in client.sender.events if event.type == "inside"]
    assert [event.fields.get("user") for event in inside] == ["u1", None]


def test_fields_from_threads_that_copied_the_context_are_there(client: MetlogClient) -> None:
    import contextvars

    def app(environ: Any, start_response: Any) -> list[bytes]:
        thread = threading.Thread(target=contextvars.copy_context().run, args=(lambda: metlog.context(user="u1"),))
        thread.start()
        thread.join()
        return hello(environ, start_response)

    serve(MetlogMiddleware(app, client=client), environ_of())
    assert one(client).fields["user"] == "u1"


def test_a_body_iterated_in_another_thread(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        metlog.context(user="u1")
        yield b"x"

    body = MetlogMiddleware(app, client=client)(environ_of(), lambda *args: None)

    def iterate() -> None:
        list(body)
        body.close()  # type: ignore[attr-defined]

    thread = threading.Thread(target=iterate)
    thread.start()
    thread.join()
    assert one(client).fields["user"] == "u1"


def test_requests_in_threads_do_not_mix(client: MetlogClient) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        metlog.context(user=environ["PATH_INFO"])
        return hello(environ, start_response)

    wrapped = MetlogMiddleware(app, client=client)
    threads = [threading.Thread(target=serve, args=(wrapped, environ_of(f"/u/{n}x"))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = events(client)
    assert len(found) == 20
    assert all(event.fields["user"] == event.fields["route"] for event in found)


def test_metrics_go_to_statsd_in_one_datagram(client: MetlogClient) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        client.configure("memory:", statsd=f"udp://127.0.0.1:{server.getsockname()[1]}?prefix=web")
        serve(MetlogMiddleware(hello, client=client), environ_of())
        counter, timer = server.recv(512).decode().split("\n")
        assert counter == "web.request.GET.200:1|c"
        assert timer.startswith("web.request.GET:")
        assert timer.endswith("|ms")
        serve(MetlogMiddleware(hello, client=client, statsd=False), environ_of())
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(512)


def test_a_sample_takes_event_and_metrics_together_and_tells_both_how_many_they_stand_for(client: MetlogClient) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        client.configure("memory:", statsd=f"udp://127.0.0.1:{server.getsockname()[1]}")
        app = MetlogMiddleware(hello, client=client, sample=0.25)
        for _ in range(200):
            serve(app, environ_of())
        found = events(client)
        datagrams = [server.recv(512).decode() for _ in found]
        with pytest.raises(BlockingIOError):
            server.recv(512)
    assert 10 < len(found) < 100
    for datagram in datagrams:
        counter, timer = datagram.split("\n")
        assert counter == "request.GET.200:1|c|@0.25"
        assert timer.endswith("|ms|@0.25")


def test_the_privacy_filter_holds_for_requests(client: MetlogClient) -> None:
    """What is named is collected, and what a filter forbids still does not leave."""
    client.configure("memory:", filters=[{"name": "redact", "drop": ["user", "query.token", "header.x-key"]}])
    app = MetlogMiddleware(naming, client=client, headers=["X-Key"], query=["token"])
    serve(app, {**environ_of("/a", HTTP_X_KEY="k-secret"), "QUERY_STRING": "token=t-secret"})
    event = one(client)
    assert event.fields.keys() == {"method", "route", "status", "ms", "bytes"}
    assert "secret" not in repr(event)


def naming(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    metlog.context(user="u-secret")
    return hello(environ, start_response)


def test_the_path_is_that_of_the_request_not_what_the_application_made_of_it(client: MetlogClient) -> None:
    def rewriting(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["PATH_INFO"] = "/internal"
        return hello(environ, start_response)

    serve(MetlogMiddleware(rewriting, client=client), environ_of("/public"))
    assert one(client).fields["route"] == "/public"


def test_a_client_that_breaks_costs_no_request(monkeypatch: pytest.MonkeyPatch, client: MetlogClient) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(client, "log", broken, raising=False)
    assert serve(MetlogMiddleware(hello, client=client), environ_of()) == b"hello"
    assert client.stats().errors == 1


@pytest.mark.parametrize("number", ["", "-1", "many", "²", "²²²", "\u0661", "9" * 5000])
def test_a_length_or_a_status_that_is_no_number_changes_nothing(client: MetlogClient, number: str) -> None:
    def app(environ: dict[str, Any], start: Any) -> Any:
        start(f"{number} fine", [("Content-Length", number)])
        read = environ["wsgi.input"].read()
        return environ["wsgi.file_wrapper"](io.BytesIO(read), 100)

    environ = environ_of(**{"wsgi.file_wrapper": FileWrapper, "wsgi.input": io.BytesIO(b"body")})
    environ.update(REQUEST_METHOD="POST", CONTENT_LENGTH=number)
    assert serve(MetlogMiddleware(app, client=client), environ) == b"body"
    assert one(client).fields["method"] == "POST"


def test_a_real_server_over_a_real_socket(client: MetlogClient) -> None:
    from http.client import HTTPConnection

    class Quiet(WSGIRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"hello "
        yield environ["PATH_INFO"].encode()

    with make_server("127.0.0.1", 0, MetlogMiddleware(app, client=client), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=5)
        connection.request("GET", "/orders/123?q=secret")
        assert connection.getresponse().read() == b"hello /orders/123"
        connection.close()
        server.shutdown()
        thread.join()
    assert one(client).payload == "GET /orders/{id} 200"


@pytest.mark.parametrize(("path", "shown"), [
    ("/", "/"),
    ("", ""),
    ("/plain/words", "/plain/words"),
    ("/api/v2/users", "/api/v2/users"),
    ("/users/17/edit", "/users/{id}/edit"),
    ("/users/7", "/users/{id}"),
    ("/f/3f2b1c9d-1111-2222-3333-444455556666", "/f/{uuid}"),
    ("/f/3f2b1c9d111122223333444455556666", "/f/{uuid}"),
    ("/commit/9f86d081", "/commit/{hex}"),
    ("/decade", "/decade"),
    ("/by/ann@example.org", "/by/{email}"),
    ("/by/ann%40example.org", "/by/{email}"),
    ("/tel/+49-30-1234567", "/tel/{id}"),
    ("/day/2024-01-31", "/day/{id}"),
    ("/file/report-20240131.pdf", "/file/{id}"),
    ("/t/eyJhbGciOiJIUzI1NiJ9", "/t/{token}"),
    ("/t/dGhpcyBpcyBhIHRva2VuIG9mIG1hbnkgbGV0dGVycw", "/t/{id}"),
    ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/…"),
    ("/größe", "/größe"),
])  # fmt: skip
def test_safe_paths(path: str, shown: str) -> None:
    assert safe_path(path) == shown


@given(st.text(st.characters(), max_size=300) | st.text(st.sampled_from("/\0\x01\x1b\u202e\ufffea1"), max_size=30))
def test_a_safe_path_can_be_shown_anywhere(path: str) -> None:
    assert safe_path("/" + path).isprintable()


def test_a_safe_path_is_bounded() -> None:
    for path in ("/" + "word" * 5000, "/word" * 5000, "/" + "\u0000" * 400):
        assert len(safe_path(path)) <= 200


def test_a_path_beyond_ascii_is_read_as_utf8(client: MetlogClient) -> None:
    serve(MetlogMiddleware(hello, client=client), environ_of("/größe".encode().decode("latin-1")))
    assert one(client).fields["route"] == "/größe"


def test_the_typed_options_are_those_of_the_recorder() -> None:
    assert list(Options.__annotations__) == list(inspect.signature(Recorder).parameters)


def test_the_documentation_names_every_option() -> None:
    page = (ROOT / "docs" / "integrations.md").read_text("utf-8")
    for name in Options.__annotations__:
        assert f"`{name}`" in page, name
    for name in Settings.__struct_fields__:
        assert f"`{name}`" in page, name
