"""Slow, greedy and broken clients of the input http: each gets its answer or is put out, and others are served meanwhile."""

from __future__ import annotations

import gzip
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import zstandard

from metlog.listener.inputs.http import HttpInput
from tests.helpers.sink import FakeSink
from tests.helpers.waiting import wait_for

Raw = Callable[[bytes], socket.socket]
ONE = b'{"type":"a"}'
HEAD = b"POST /submit/web HTTP/1.1\r\nhost: x\r\n"


class Server:
    def __init__(self, **options: Any) -> None:
        self.sink = FakeSink()
        self.input = HttpInput(port=0, **options)
        self.input.start(self.sink)
        self.url = self.input.addresses[0]
        self._sockets: list[socket.socket] = []

    def raw(self, data: bytes = b"") -> socket.socket:
        parts = urlsplit(self.url)
        client = socket.create_connection((parts.hostname, parts.port), 10)
        self._sockets.append(client)
        client.sendall(data)
        return client

    def serves(self) -> bool:
        answer = httpx.post(f"{self.url}/submit/web", content=ONE, trust_env=False, timeout=10)
        return answer.status_code == 201

    def stop(self) -> None:
        for client in self._sockets:
            client.close()
        self.input.stop()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(**options: Any) -> Server:
        servers.append(Server(**options))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def answer_of(client: socket.socket) -> bytes:
    """Everything that comes until the server closes."""
    parts = []
    try:
        while part := client.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        parts.append(b"<reset>")
    return b"".join(parts)


def status_of(client: socket.socket) -> int:
    head = b""
    while b"\r\n\r\n" not in head:
        part = client.recv(4096)
        if not part:
            break
        head += part
    return int(head.split()[1]) if head else 0


def test_a_slow_head_is_put_out_while_others_are_served(serve: Callable[..., Server]) -> None:
    server = serve(head_timeout=0.5)
    slow = [server.raw(b"POST /submit/web HTTP/1.1\r\n") for _ in range(20)]
    silent = [server.raw() for _ in range(20)]
    began = time.monotonic()
    dripped = server.raw(b"POST")
    assert server.serves()
    # A byte now and then buys no time: the deadline is the head's, not the read's.
    while time.monotonic() - began < 5:
        try:
            dripped.sendall(b"x")
            time.sleep(0.05)
        except OSError:
            break
    assert time.monotonic() - began < 3
    for client in [*slow, *silent]:
        assert answer_of(client) in {b"", b"<reset>"}
    wait_for(lambda: server.input.stats()["timeouts"] == 41)
    assert server.sink.events == server.sink.events[:1]


def test_a_slow_body_gets_408(serve: Callable[..., Server]) -> None:
    server = serve(body_timeout=0.3)
    client = server.raw(HEAD + b"content-length: 100\r\n\r\n" + ONE)
    assert status_of(client) == 408
    assert server.serves()
    assert len(server.sink.events) == 1


def test_half_a_body_is_not_journaled(serve: Callable[..., Server]) -> None:
    server = serve()
    for head in (b"content-length: 100\r\n\r\n", b"transfer-encoding: chunked\r\n\r\nc\r\n"):
        client = server.raw(HEAD + head + ONE)
        client.shutdown(socket.SHUT_WR)
        assert answer_of(client) == b""
    wait_for(lambda: server.input.stats()["aborted"] == 2)
    assert server.sink.events == []
    assert server.input.stats()["pending_bytes"] == 0


def test_a_reset_in_the_body_or_before_the_answer_harms_nobody(serve: Callable[..., Server]) -> None:
    server = serve()
    linger = (b"\1\0\0\0" + b"\0\0\0\0",)
    for body in (HEAD + b"content-length: 100\r\n\r\n" + ONE, HEAD + b"content-length: 12\r\n\r\n" + ONE):
        client = server.raw(body)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, *linger)
        client.close()
    assert server.serves()
    wait_for(lambda: server.input.stats()["open"] == 0)
    assert server.input.health() == ""


def test_idle_connections_are_closed(serve: Callable[..., Server]) -> None:
    server = serve(idle_timeout=0.3)
    client = server.raw(HEAD + b"content-length: 12\r\n\r\n" + ONE)
    assert status_of(client) == 201
    wait_for(lambda: server.input.stats()["open"] == 0, 3)


def test_pipelined_requests_are_answered_in_order(serve: Callable[..., Server]) -> None:
    server = serve()
    request = HEAD + b"content-length: 12\r\n\r\n" + ONE
    last = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    answers = answer_of(server.raw(request * 5 + last))
    assert answers.count(b"HTTP/1.1 201 ") == 5
    assert answers.count(b"HTTP/1.1 200 ") == 1
    assert len(server.sink.events) == 5


def test_a_client_that_asks_first_is_told_before_it_sends(serve: Callable[..., Server]) -> None:
    server = serve(max_body=1000)
    client = server.raw(HEAD + b"expect: 100-continue\r\ncontent-length: 12\r\n\r\n")
    assert client.recv(4096).startswith(b"HTTP/1.1 100 ")
    client.sendall(ONE)
    assert status_of(client) == 201
    refused = server.raw(HEAD + b"expect: 100-continue\r\ncontent-length: 2000\r\n\r\n")
    assert status_of(refused) == 413


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused_while_it_comes(serve: Callable[..., Server], announced: bool) -> None:
    server = serve(max_body=100_000)
    body = b'{"type":"a"}\n' * 2_000_000  # 26 MB: far more than sockets hold, so the answer must come before its end
    content = body if announced else iter([body[at : at + 65_536] for at in range(0, len(body), 65_536)])
    try:
        answer = httpx.post(f"{server.url}/submit/web", content=content, trust_env=False, timeout=10)
        assert answer.status_code == 413
    except httpx.WriteError:  # the connection ended before all was sent, as a client is told in RFC 9112, section 9.6
        pass
    assert server.input.stats()["status_413"] == 1
    assert server.sink.events == []
    assert server.serves()


def bomb(encoding: str, size: int) -> bytes:
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=19).compress(b" " * size)
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    part = b" " * (1 << 20)
    return b"".join(pack.compress(part) for _ in range(size >> 20)) + pack.flush()


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_decompression_bombs_are_refused_without_the_memory(serve: Callable[..., Server], encoding: str) -> None:
    import resource

    server = serve()
    packed = bomb(encoding, 256 << 20)
    assert len(packed) < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    headers = {"content-encoding": encoding}
    answer = httpx.post(f"{server.url}/submit/web", content=packed, headers=headers, trust_env=False, timeout=20)
    assert answer.status_code == 413
    assert "unpacks to more than" in answer.json()["error"]
    assert time.monotonic() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    assert server.sink.events == []


def test_a_zstd_frame_that_asks_for_a_huge_window_is_refused(serve: Callable[..., Server]) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    pack = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = pack.compress(ONE) + pack.flush()
    headers = {"content-encoding": "zstd"}
    answer = httpx.post(f"{serve().url}/submit/web", content=packed, headers=headers, trust_env=False)
    assert answer.status_code == 400


def test_many_small_members_are_no_way_around_the_limit(serve: Callable[..., Server]) -> None:
    server = serve(max_body=200_000)
    packed = gzip.compress(b" " * 10_000, mtime=0) * 100
    headers = {"content-encoding": "gzip"}
    answer = httpx.post(f"{server.url}/submit/web", content=packed, headers=headers, trust_env=False)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        (ONE + b"\n") * 1001,
        b"[" + ONE + (b"," + ONE) * 1000 + b"]",
        b"[" + b'{"type":"","fields":{"a":[{},{},{},{}]}},' * 900 + ONE + b"]",
        b"\xdd\x7f\xff\xff\xff" + b"\x81\xa4type\xa1a" * 10,
    ],
)
def test_more_events_than_allowed_are_413(serve: Callable[..., Server], body: bytes) -> None:
    server = serve(max_events=1000)
    answer = httpx.post(f"{server.url}/submit/web", content=body, trust_env=False)
    assert answer.status_code == 413
    assert server.sink.events == []


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /submit/web HTTP/1.1\r\nhost: x\r\n" + b"x: " + b"y" * 100_000, 431),
        (b"POST /" + b"a" * 100_000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"POST /submit/web HTTP/1.1\r\n\r\n", 400),  # no Host
        (HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n", 400),
        (HEAD + b"content-length: -5\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: gzip\r\n\r\n", 501),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + b" folded: x\r\nx y: z\r\n\r\n", 400),
    ],
)
def test_what_is_no_http_gets_a_status_and_the_door(serve: Callable[..., Server], request_: bytes, status: int) -> None:
    server = serve()
    client = server.raw(request_)
    answer = answer_of(client)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in answer.lower()
    assert server.sink.events == []
    assert server.serves()


def test_a_length_beside_chunks_does_not_smuggle_a_request(serve: Callable[..., Server]) -> None:
    server = serve()
    smuggled = b"POST /submit/evil HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\n\r\n" + ONE
    body = b"0\r\n\r\n" + smuggled
    head = HEAD + b"transfer-encoding: chunked\r\ncontent-length: %d\r\n\r\n" % len(body)
    answer_of_all = server.raw(head + body)
    answer_of_all.shutdown(socket.SHUT_WR)
    answers = answer_of(answer_of_all)
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"HTTP/1.1 ") == 1
    assert server.sink.events == []


def test_connections_over_the_cap_are_turned_away_and_room_comes_back(serve: Callable[..., Server]) -> None:
    server = serve(max_connections=3)
    held = [server.raw(b"POST") for _ in range(3)]
    wait_for(lambda: server.input.stats()["open"] == 3)
    over = server.raw()
    answer = answer_of(over)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in answer
    assert server.input.stats()["refused"] == 1
    for client in held:
        client.close()
    wait_for(lambda: server.input.stats()["open"] == 0)
    assert server.serves()


def test_bodies_under_way_share_one_budget(serve: Callable[..., Server]) -> None:
    server = serve(max_body=50_000, max_pending=100_000)
    part = b'{"type":"' + b"a" * 45_000
    held = [server.raw(HEAD + b"content-length: 50000\r\n\r\n" + part) for _ in range(2)]
    wait_for(lambda: server.input.stats()["pending_bytes"] > 90_000)
    answer = httpx.post(f"{server.url}/submit/web", content=part + b'"}', trust_env=False)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    for client in held:
        client.close()
    wait_for(lambda: server.input.stats()["pending_bytes"] == 0)
    assert server.serves()


def test_health_is_answered_while_every_worker_waits_for_the_disk(serve: Callable[..., Server]) -> None:
    server = serve(workers=2)
    server.sink.gate.clear()
    waiting = [server.raw(HEAD + b"content-length: 12\r\n\r\n" + ONE) for _ in range(6)]
    wait_for(lambda: server.input.stats()["pending_bytes"] == 72)
    assert httpx.get(f"{server.url}/healthz", trust_env=False, timeout=5).status_code == 200
    server.sink.gate.set()
    assert [status_of(client) for client in waiting] == [201] * 6


@pytest.mark.slow
def test_a_client_that_reads_no_answer_is_put_out(serve: Callable[..., Server]) -> None:
    server = serve(head_timeout=0.5)
    client = server.raw()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(30)  # so that only the server ends it
    request = b"GET /nope HTTP/1.1\r\nhost: x\r\n\r\n" * 1000
    try:
        for _ in range(3000):  # answers pile up until the server stops reading, and then it waits for us: not for ever
            client.sendall(request)
    except OSError:
        pass
    wait_for(lambda: server.input.stats()["open"] == 0, 60)
    assert server.serves()
