"""The output http against collectors that refuse, hang, reset and answer half."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from metlog import plugins
from metlog.errors import ConfigError
from metlog.event import Event
from metlog.listener.outputs import Rejected, Undelivered
from metlog.listener.outputs.http import HttpOutput
from tests.helpers.ports import free_port
from tests.helpers.sink import batch, numbered

Answer = Callable[["Collector", str, list[dict[str, Any]]], bytes | None]


def status(code: int, *headers: str, body: str = "") -> bytes:
    lines = [f"HTTP/1.1 {code} X", f"content-length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines).encode()


class Collector:
    """A server that answers each request with what a function says: bytes, or None to reset the connection."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.requests: list[tuple[str, dict[str, str], list[dict[str, Any]]]] = []
        self.taken: dict[str, list[dict[str, Any]]] = {}
        self.connections = 0
        self.release = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with client, client.makefile("rb") as lines:
                while self._one(client, lines):
                    pass

    def _one(self, client: socket.socket, lines: Any) -> bool:
        first = lines.readline().decode()
        if not first:
            return False
        headers = {}
        while line := lines.readline().decode().strip():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = lines.read(int(headers["content-length"]))
        unpack = {"gzip": gzip.decompress, "zstd": zstandard.decompress}.get(headers.get("content-encoding", ""), bytes)
        events = [json.loads(line) for line in unpack(body).splitlines()]
        path = first.split()[1]
        self.requests.append((path, headers, events))
        answer = self._answer(self, path, events)
        if answer is None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return False
        client.sendall(answer)
        return b"close" not in answer and b"half" not in answer

    def stop(self) -> None:
        self.release.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)


@pytest.fixture
def collect() -> Iterator[Callable[[Answer], Collector]]:
    made: list[Collector] = []

    def start(answer: Answer) -> Collector:
        made.append(Collector(answer))
        return made[-1]

    yield start
    for collector in made:
        collector.stop()


@pytest.fixture
def connect() -> Iterator[Callable[..., HttpOutput]]:
    made: list[HttpOutput] = []

    def build(port: int, **options: Any) -> HttpOutput:
        made.append(HttpOutput(port=port, **options))
        made[-1].start()
        return made[-1]

    yield build
    for output in made:
        output.close()


def take(collector: Collector, path: str, events: list[dict[str, Any]]) -> bytes:
    collector.taken.setdefault(path, events)
    return status(201)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_batch_is_put_under_its_id(collect: Any, connect: Any, compression: str) -> None:
    collector = collect(take)
    out = connect(collector.port, path="/submit/sync/", token="secret", compression=compression, ids="batch")
    out.write(batch(*numbered(5), ident="000000000012-9f.32.0-12.99.0-ab"))
    ((path, headers, events),) = collector.requests
    assert path == "/submit/sync/000000000012-9f.32.0-12.99.0-ab"
    assert [event["fields"]["n"] for event in events] == list(range(5))
    assert headers["authorization"] == "Bearer secret"
    assert headers["content-type"] == "application/x-ndjson"
    assert out.stats()["requests"] == 1
    assert "secret" not in out.describe()


@pytest.mark.parametrize("body", ["", '{"id":"1"}'])
def test_batches_follow_each_other_on_one_connection(collect: Any, connect: Any, body: str) -> None:
    collector = collect(lambda *_: status(201, body=body))
    out = connect(collector.port)
    for ident in range(5):
        out.write(batch(*numbered(2), ident=str(ident)))
    assert len(collector.requests) == 5
    assert collector.connections == 1


@pytest.mark.parametrize("length", ["content-length: 1000000", "transfer-encoding: chunked"])
def test_an_answer_that_may_be_long_is_not_waited_for(collect: Any, connect: Any, length: str) -> None:
    collector = collect(lambda *_: f"HTTP/1.1 201 Created\r\n{length}\r\n\r\n".encode())
    out = connect(collector.port, timeout=20)
    began = time.monotonic()
    out.write(batch(*numbered(1)))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("code", [301, 401, 403, 404, 405, 408, 411, 429, 500, 502, 503, 507])
def test_answers_that_do_not_blame_the_body_hold_it(collect: Any, connect: Any, code: int) -> None:
    collector = collect(lambda *_: status(code, "location: /elsewhere", body="not today"))
    out = connect(collector.port)
    for attempt in (1, 2):
        with pytest.raises(Undelivered, match=f"{code} X: not today"):
            out.write(batch(*numbered(4)))
        assert len(collector.requests) == attempt  # not split, not followed, not repeated behind the caller's back
    assert out.stats()["held"] == 2
    assert out.stats()["halved"] == 0


@pytest.mark.parametrize("code", [400, 413, 422])
def test_the_events_at_fault_are_found_by_halving(collect: Any, connect: Any, code: int) -> None:
    bad = {3, 4, 11}

    def judge(collector: Collector, path: str, events: list[dict[str, Any]]) -> bytes:
        if bad & {event["fields"]["n"] for event in events}:
            return status(code, body="one of them is bad")
        return take(collector, path, events)

    collector = collect(judge)
    out = connect(collector.port)
    with pytest.raises(Rejected) as caught:
        out.write(batch(*numbered(16)))
    assert sorted(delivery.event.fields["n"] for delivery, _ in caught.value.rejected) == sorted(bad)
    assert all(str(code) in reason for _, reason in caught.value.rejected)
    taken = sorted(event["fields"]["n"] for events in collector.taken.values() for event in events)
    assert taken == sorted(set(range(16)) - bad)
    assert len(collector.requests) < 32
    # After a crash in between it all comes again, under the same ids: nothing is taken twice.
    before = dict(collector.taken)
    with pytest.raises(Rejected):
        out.write(batch(*numbered(16)))
    assert collector.taken == before


def test_a_collector_that_takes_small_bodies_gets_small_ones(collect: Any, connect: Any) -> None:
    def judge(collector: Collector, path: str, events: list[dict[str, Any]]) -> bytes:
        return status(413) if len(events) > 3 else take(collector, path, events)

    collector = collect(judge)
    connect(collector.port).write(batch(*numbered(20)))
    taken = [event["fields"]["n"] for events in collector.taken.values() for event in events]
    assert taken == list(range(20))  # in order


def test_trouble_in_the_middle_of_halving_rejects_nothing_yet(collect: Any, connect: Any) -> None:
    def judge(collector: Collector, path: str, events: list[dict[str, Any]]) -> bytes:
        return status(400) if len(collector.requests) < 3 else status(503)

    collector = collect(judge)
    with pytest.raises(Undelivered):
        connect(collector.port).write(batch(*numbered(2)))


@pytest.mark.slow
def test_retry_after_is_honoured_without_asking_again(collect: Any, connect: Any) -> None:
    answers = [status(503, "retry-after: 1")]
    collector = collect(lambda *_: answers.pop() if answers else status(201))
    out = connect(collector.port)
    began = time.monotonic()
    with pytest.raises(Undelivered, match="503"):
        out.write(batch(*numbered(1)))
    with pytest.raises(Undelivered, match="asked to wait"):
        out.write(batch(*numbered(1)))
    assert len(collector.requests) == 1
    while True:
        try:
            out.write(batch(*numbered(1)))
            break
        except Undelivered:
            time.sleep(0.02)
    assert 0.9 < time.monotonic() - began < 5
    assert len(collector.requests) == 2


def test_a_collector_that_hangs_holds_the_batch(collect: Any, connect: Any) -> None:
    collector = collect(lambda collector, *_: (collector.release.wait(10), status(201))[1])
    began = time.monotonic()
    with pytest.raises(Undelivered, match=r"(?i)timed out|timeout"):
        connect(collector.port, timeout=0.3).write(batch(*numbered(1)))
    assert time.monotonic() - began < 3


def test_a_reset_or_half_a_head_holds_the_batch(collect: Any, connect: Any) -> None:
    for answer in (None, b"HTTP/1.1 20 half", b"HTTP/1.1 201 half"):
        collector = collect(lambda *_, answer=answer: answer)
        with pytest.raises(Undelivered):
            connect(collector.port).write(batch(*numbered(1)))


def test_a_status_is_a_receipt_though_half_the_answer_is_missing(collect: Any, connect: Any) -> None:
    collector = collect(lambda *_: b"HTTP/1.1 201 Created\r\ncontent-length: 1000\r\n\r\nhalf")
    out = connect(collector.port)
    out.write(batch(*numbered(1)))
    refusing = collect(lambda *_: b"HTTP/1.1 503 Busy\r\ncontent-length: 1000\r\n\r\nhalf")
    with pytest.raises(Undelivered, match="503 Busy: half"):
        connect(refusing.port).write(batch(*numbered(1)))


def test_nobody_there_holds_the_batch_and_names_the_address(connect: Any) -> None:
    port = free_port()
    with pytest.raises(Undelivered, match=f"127.0.0.1:{port}/submit/metlog"):
        connect(port).write(batch(*numbered(1)))


def test_a_token_that_was_replaced_in_its_file_is_read_again(collect: Any, connect: Any, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old\n")
    collector = collect(
        lambda collector, *_: status(201 if collector.requests[-1][1]["authorization"] == "Bearer new" else 401)
    )
    out = connect(collector.port, token_file=str(tmp_path / "token"))
    with pytest.raises(Undelivered, match="401"):
        out.write(batch(*numbered(1)))
    (tmp_path / "token").write_text("new\n")
    with pytest.raises(Undelivered, match="401"):
        out.write(batch(*numbered(1)))
    out.write(batch(*numbered(1)))
    assert len(collector.requests) == 3


def test_strange_values_survive_the_way(collect: Any, connect: Any) -> None:
    collector = collect(take)
    event = Event(type="ü\n", payload="\x00\u2028𝄞", fields={"a": [1.5, None, {"b": "\\"}]}, weight=2.0)
    connect(collector.port).write(batch(event))
    ((_, _, (came,)),) = collector.requests
    assert (came["type"], came["payload"], came["fields"], came["weight"]) == (
        event.type, event.payload, event.fields, 2.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": 0}, "port = 0"),
        ({"path": "submit"}, "path = 'submit'"),
        ({"compression": "lzma"}, "gzip, zstd, none"),
        ({"timeout": 0}, "timeout = 0"),
        ({"timeout": 90_000}, "86400 or less"),
        ({"token": "a\nb"}, "token: wants printable"),
        ({"token": "a", "token_file": "b"}, "give one of them"),
    ],
)
def test_settings_that_cannot_work_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plugins.build("output", {"name": "http", **options}, "outputs[0]")
    assert words in str(caught.value)


def test_a_url_configures_it() -> None:
    made = plugins.build("output", "http://collector.example:5580/submit/web", "outputs[0]")
    assert made.describe() == "http://collector.example:5580/submit/web"
    assert plugins.build("output", "https://collector.example", "outputs[0]").describe() == (
        "https://collector.example/submit/metlog"
    )
