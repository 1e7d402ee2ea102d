"""The ASGI middleware: messages as servers and applications exchange them, in every order that ends a request."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import metlog
from metlog import Event, MetlogClient
from metlog.integrations.asgi import MetlogMiddleware

Message = dict[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]


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


def scope_of(path: str = "/", kind: str = "http", **more: Any) -> Message:
    return {"type": kind, "method": "GET", "path": path, "query_string": b"", "headers": [], **more}


async def serve(app: App, scope: Message, *incoming: Message) -> list[Message]:
    """A server with these messages to give; what the application sends."""
    waiting = list(incoming or [{"type": "http.request", "body": b"", "more_body": False}])
    sent: list[Message] = []

    async def receive() -> Message:
        if not waiting:
            await asyncio.sleep(3600)
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def test_the_event_of_a_request(client: MetlogClient) -> None:
    headers = [
        (b"traceparent", f"00-{'a' * 32}-{'b' * 16}-01".encode()), (b"x-request-id", b"r-1"), (b"cookie", b"secret"),
    ]  # fmt: skip
    scope = scope_of("/users/17", headers=headers, query_string=b"token=secret")
    sent = asyncio.run(serve(MetlogMiddleware(hello, client=client), scope))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    event = one(client)
    assert (event.tokens, event.severity, event.payload) == (("request", "GET"), 6, "GET /users/{id} 200")
    assert 0 <= event.fields.pop("ms") < 1000
    assert event.fields == {
        "method": "GET", "route": "/users/{id}", "status": 200, "bytes": 5,
        "request_id": "r-1", "trace_id": "a" * 32, "span_id": "b" * 16,
    }  # fmt: skip


def test_named_headers_and_parameters(client: MetlogClient) -> None:
    headers = [(b"accept", b"a"), (b"accept", b"b"), (b"cookie", b"secret")]
    scope = scope_of(headers=headers, query_string=b"page=2&page=3&empty=&token=secret")
    asyncio.run(serve(MetlogMiddleware(hello, client=client, headers=("Accept",), query=("page", "empty")), scope))
    fields = one(client).fields
    assert (fields["header.accept"], fields["query.page"], fields["query.empty"]) == ("a, b", "2", "")
    assert "secret" not in repr(fields)


def test_the_time_is_until_the_last_byte_without_background_tasks(
    client: MetlogClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("metlog.integrations.asgi.perf_counter", lambda: now)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal now
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for chunk in (b"a", b"b"):
            now += 1.0
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})
        now += 60.0
        metlog.context(task="done")

    asyncio.run(serve(MetlogMiddleware(app, client=client), scope_of()))
    fields = one(client).fields
    assert (fields["ms"], fields["bytes"], fields["task"]) == (2000.0, 2, "done")


@pytest.mark.parametrize("started", [False, True])
def test_an_exception_goes_through_and_is_logged(client: MetlogClient, started: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if started:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise LookupError("x")

    with pytest.raises(LookupError):
        asyncio.run(serve(MetlogMiddleware(app, client=client), scope_of()))
    event = one(client)
    assert (event.severity, event.fields["error"]) == (3, "LookupError")
    assert event.fields["status"] == (200 if started else 500)


def test_an_application_that_never_answers_is_an_error(client: MetlogClient) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        return

    asyncio.run(serve(MetlogMiddleware(app, client=client), scope_of()))
    assert one(client).fields["status"] == 500


def test_a_client_that_goes_before_the_response(client: MetlogClient) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.disconnect"

    asyncio.run(serve(MetlogMiddleware(app, client=client), scope_of(), {"type": "http.disconnect"}))
    event = one(client)
    assert (event.fields["status"], event.fields["disconnected"], event.severity) == (499, True, 6)


def test_a_client_that_goes_in_the_middle(client: MetlogClient) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await receive()

    asyncio.run(serve(MetlogMiddleware(app, client=client), scope_of(), {"type": "http.disconnect"}))
    fields = one(client).fields
    assert (fields["status"], fields["disconnected"], fields["bytes"]) == (200, True, 1)


def test_the_disconnect_after_a_complete_response_is_none(client: MetlogClient) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await hello(scope, receive, send)
        await receive()

    asyncio.run(serve(MetlogMiddleware(app, client=client), scope_of(), {"type": "http.disconnect"}))
    assert "disconnected" not in one(client).fields


def test_a_server_that_raises_on_send_tells_a_disconnect(client: MetlogClient) -> None:
    async def send(message: Message) -> None:
        raise OSError("gone")

    async def receive() -> Message:
        return {"type": "http.request"}

    with pytest.raises(OSError, match="gone"):
        asyncio.run(MetlogMiddleware(hello, client=client)(scope_of(), receive, send))  # type: ignore[arg-type]
    event = one(client)
    assert event.fields["disconnected"] is True
    assert (event.severity, event.fields.get("error")) == (6, None)  # nothing failed here


@pytest.mark.parametrize("own", [False, True], ids=["the framework's word for it", "a fault of its own"])
def test_what_an_application_makes_of_a_disconnect_is_told_from_its_own_faults(client: MetlogClient, own: bool) -> None:
    """As Starlette does, which raises `ClientDisconnect` from the server's OSError."""

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError("gone")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await hello(scope, receive, send)
        except OSError:
            if not own:
                raise RuntimeError("client disconnected")  # noqa: B904 - in its context, not as its cause
        raise LookupError("a fault of its own")

    async def receive() -> Message:
        return {"type": "http.request"}

    with pytest.raises(LookupError if own else RuntimeError):
        asyncio.run(MetlogMiddleware(app, client=client)(scope_of(), receive, send))  # type: ignore[arg-type]
    event = one(client)
    assert event.fields["disconnected"] is True
    assert event.fields["status"] == 200
    assert (event.severity, event.fields.get("error")) == ((3, "LookupError") if own else (6, None))


def test_a_server_that_cancels_tells_a_disconnect(client: MetlogClient) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(3600)

    async def run() -> None:
        task = asyncio.create_task(serve(MetlogMiddleware(app, client=client), scope_of()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    event = one(client)
    assert (event.fields["status"], event.fields["disconnected"], event.severity) == (499, True, 6)
    assert "error" not in event.fields


def test_head_has_no_bytes(client: MetlogClient) -> None:
    asyncio.run(serve(MetlogMiddleware(hello, client=client), scope_of(method="HEAD")))
    assert one(client).fields["bytes"] == 0


def test_a_file_that_the_server_sends_by_itself(client: MetlogClient) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        await send({"type": "http.response.pathsend", "path": "/some/file"})

    asyncio.run(serve(MetlogMiddleware(app, client=client), scope_of()))
    assert one(client).fields["bytes"] == 1000


@pytest.mark.parametrize("length", [b"", b"-1", b"many", b"\xb2", b"9" * 5000])
def test_a_length_that_is_no_number_changes_nothing(client: MetlogClient, length: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.pathsend", "path": "/some/file"})

    sent = asyncio.run(serve(MetlogMiddleware(app, client=client), scope_of()))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.pathsend"]
    assert one(client).fields["bytes"] == 0


def test_a_websocket_is_one_event(client: MetlogClient, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("metlog.integrations.asgi.perf_counter", lambda: now)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal now
        await receive()
        await send({"type": "websocket.accept"})
        metlog.context(user="u1")
        await send({"type": "websocket.send", "text": "grüße"})
        await send({"type": "websocket.send", "bytes": b"123"})
        now += 5.0
        assert (await receive())["type"] == "websocket.disconnect"
        now += 60.0

    incoming = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
    asyncio.run(serve(MetlogMiddleware(app, client=client), scope_of("/ws/12", "websocket"), *incoming))
    event = one(client)
    assert event.tokens == ("request", "WEBSOCKET")
    assert event.fields == {
        "method": "WEBSOCKET", "route": "/ws/{id}", "status": 101, "ms": 5000.0, "bytes": 10, "close_code": 1001,
        "user": "u1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([{"type": "websocket.close", "code": 1008}], 403),
        ([{"type": "websocket.http.response.start", "status": 401}, {"type": "websocket.http.response.body"}], 401),
    ],
)
def test_a_websocket_that_is_refused(client: MetlogClient, messages: list[Message], status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    asyncio.run(serve(MetlogMiddleware(app, client=client), scope_of(kind="websocket"), {"type": "websocket.connect"}))
    assert one(client).fields["status"] == status


@pytest.mark.parametrize("how", ["a message", "cancelled"])
def test_a_websocket_whose_client_goes_before_it_is_accepted(client: MetlogClient, how: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if how == "cancelled":
            raise asyncio.CancelledError
        await receive()

    went = {"type": "websocket.disconnect", "code": 1006}
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(
            serve(
                MetlogMiddleware(app, client=client), scope_of("/ws", "websocket"), {"type": "websocket.connect"}, went
            )
        )
    event = one(client)
    assert (event.fields["status"], event.fields["disconnected"], event.severity) == (499, True, 6)


def test_a_websocket_that_is_refused_stays_so_when_its_end_is_awaited(client: MetlogClient) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        await receive()

    went = {"type": "websocket.disconnect", "code": 1006}
    asyncio.run(
        serve(MetlogMiddleware(app, client=client), scope_of("/ws", "websocket"), {"type": "websocket.connect"}, went)
    )
    event = one(client)
    assert (event.fields["status"], event.fields["close_code"]) == (403, 1008)
    assert "disconnected" not in event.fields


@pytest.mark.parametrize("accepted", [False, True])
def test_a_websocket_that_breaks(client: MetlogClient, accepted: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if accepted:
            await send({"type": "websocket.accept"})
        raise LookupError("x")

    with pytest.raises(LookupError):
        asyncio.run(serve(MetlogMiddleware(app, client=client), scope_of(kind="websocket")))
    event = one(client)
    assert (event.fields["status"], event.fields["error"], event.severity) == (
        101 if accepted else 500,
        "LookupError",
        3,
    )


def test_lifespan_and_excluded_paths_pass_untouched(client: MetlogClient) -> None:
    seen: list[tuple[Any, Any, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        return

    wrapped = MetlogMiddleware(app, client=client, exclude=("/healthz",))
    for scope in ({"type": "lifespan"}, scope_of("/healthz")):
        asyncio.run(wrapped(scope, receive, send))
        assert seen.pop() == (scope, receive, send)
    assert events(client) == []


def test_fields_from_tasks_and_threads_below_are_there(client: MetlogClient) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def task() -> None:
            metlog.context(task=1)

        await asyncio.create_task(task())
        await asyncio.to_thread(lambda: metlog.context(thread=1))
        contextvars.copy_context().run(lambda: metlog.context(copied=1))
        with metlog.context(block=1):
            pass
        await hello(scope, receive, send)

    asyncio.run(serve(MetlogMiddleware(app, client=client), scope_of()))
    fields = one(client).fields
    assert {"task", "thread", "copied", "block"} <= fields.keys()


def test_concurrent_requests_do_not_mix(client: MetlogClient) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        metlog.context(user=scope["path"])
        await asyncio.sleep(0)
        client.log("inside", scope["path"])
        await hello(scope, receive, send)

    wrapped = MetlogMiddleware(app, client=client)

    async def run() -> None:
        await asyncio.gather(*(serve(wrapped, scope_of(f"/x{n}y")) for n in range(20)))
        metlog_left = metlog.context(outer=1)  # nothing of the requests is in force here
        client.log("after", "")
        metlog_left.__exit__(None, None, None)

    asyncio.run(run())
    assert all(event.fields["user"] == event.fields["route"] for event in events(client))
    assert all(e.fields["user"] == e.payload for e in client.sender.events if e.type == "inside")
    (after,) = [event for event in client.sender.events if event.type == "after"]
    assert after.fields == {"outer": 1}


def test_a_client_that_breaks_costs_no_request(monkeypatch: pytest.MonkeyPatch, client: MetlogClient) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(client, "log", broken, raising=False)
    assert len(asyncio.run(serve(MetlogMiddleware(hello, client=client), scope_of()))) == 2
    assert client.stats().errors == 1
