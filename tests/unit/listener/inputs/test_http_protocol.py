"""HTTP as RFC 9110 and 9112 have it: HEAD, empty lines, whole URLs; and no error of the listener reaches its loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from metlog.listener.inputs._http_server import HttpServer
from tests.unit.listener.inputs.test_http_hostile import ONE, Server, answer_of

CLOSE = b"connection: close\r\n\r\n"


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(**options: Any) -> Server:
        servers.append(Server(**options))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def parted(answer: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    return int(status.split()[1]), dict(line.lower().split(b": ", 1) for line in lines), body


@pytest.mark.parametrize(
    "path", [b"/", b"/healthz", b"/metrics", b"/nothing", b"/submit/web", b"/submit/web/id", b"/1.0/"]
)
def test_head_is_answered_as_get_without_the_body(serve: Any, path: bytes) -> None:
    server = serve()
    answers = [
        parted(answer_of(server.raw(b"%b %b HTTP/1.1\r\nhost: x\r\n%b" % (method, path, CLOSE))))
        for method in (b"HEAD", b"GET")
    ]
    (status, headers, body), (get_status, get_headers, get_body) = answers
    assert status == get_status
    assert body == b""
    assert headers.keys() == get_headers.keys()
    assert headers[b"content-type"] == get_headers[b"content-type"]
    assert int(get_headers[b"content-length"]) == len(get_body)
    if path != b"/metrics":  # it counts the requests themselves
        assert headers[b"content-length"] == get_headers[b"content-length"]


def test_a_connection_goes_on_after_head(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = serve()
    client = server.raw(
        b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\nHEAD /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
        + b"GET / HTTP/1.1\r\nhost: x\r\n"
        + CLOSE
    )
    answer = answer_of(client)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.endswith(b"\r\n\r\nmetlog listener\n")
    assert caplog.records == []


@pytest.mark.parametrize("before", [b"\r\n", b"\n", b"\r\n" * 5])
@pytest.mark.parametrize("apart", [False, True])
def test_empty_lines_before_a_request_are_ignored(serve: Any, before: bytes, apart: bool) -> None:
    server = serve()
    request = b"POST /submit/web HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(ONE)
    client = server.raw(before)
    if apart:
        client.sendall(b"")
    client.sendall(request + b"\r\n" + ONE + before + request + CLOSE + ONE)
    assert answer_of(client).count(b"HTTP/1.1 201") == 2


def test_empty_lines_alone_hold_no_connection_for_longer(serve: Any) -> None:
    server = serve(head_timeout=0.5)
    client = server.raw(b"\r\n")
    assert answer_of(client) == b""  # closed, as one that says nothing


@pytest.mark.parametrize(
    "target",
    [
        b"http://collector.example:8080/submit/web",
        b"HTTP://x/submit/web",
        b"https://x/1.0/submit/web?x=http://y/z",
        b"/submit/web?u=http://x/",
    ],
)
def test_the_absolute_form_is_the_same_request(serve: Any, target: bytes) -> None:
    server = serve()
    client = server.raw(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n%b" % (target, len(ONE), CLOSE + ONE))
    assert parted(answer_of(client))[0] == 201
    client = server.raw(b"GET http://x HTTP/1.1\r\nhost: x\r\n" + CLOSE)
    assert parted(answer_of(client))[0] == 200


@pytest.mark.parametrize("target", [b"*", b"x:80", b"http:/submit/web", b"ftp://x/submit/web", b"http://"])
@pytest.mark.parametrize("method", [b"OPTIONS", b"CONNECT", b"POST"])
def test_other_forms_are_answered_too(serve: Any, method: bytes, target: bytes) -> None:
    status, _, _ = parted(
        answer_of(serve().raw(b"%b %b HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n%b" % (method, target, CLOSE)))
    )
    assert 200 <= status < 500


def test_no_error_leaves_the_task_of_a_connection(
    serve: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(HttpServer, "_answer", broken)
        assert answer_of(server.raw(b"GET / HTTP/1.1\r\nhost: x\r\n" + CLOSE)) in {b"", b"<reset>"}
    assert server.serves()
    assert ["ended by an error of the listener" in record.getMessage() for record in caplog.records] == [True]
    assert not any("never retrieved" in record.getMessage() for record in caplog.records)
