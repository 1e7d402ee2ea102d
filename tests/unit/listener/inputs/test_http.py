"""Bagheera's contract, and who may use it."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest
import zstandard

from metlog import MetlogClient, plugins
from metlog.errors import ConfigError
from metlog.listener.inputs.http import HttpInput
from metlog.listener.signed import SignedSink, Signing
from tests.helpers.sink import FakeSink
from tests.helpers.waiting import wait_for

Start = Callable[..., httpx.Client]


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
def start(sink: FakeSink) -> Iterator[Start]:
    started: list[HttpInput] = []
    clients: list[httpx.Client] = []

    def make(service: Any = None, **options: Any) -> httpx.Client:
        item = HttpInput(port=0, **options)
        if service is not None:
            item.watch(service)
        item.start(sink)
        started.append(item)
        clients.append(httpx.Client(base_url=item.addresses[0], trust_env=False, timeout=10))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
    for item in started:
        item.stop()


ONE = b'{"type":"a"}'
PACKED = msgspec.msgpack.encode({"type": "a"})


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (ONE, 1),
        (b" \n" + ONE + b"\n", 1),
        (b'{\n  "type": "a"\n}\n', 1),
        (b'[{"type":"a"},{"type":"a"}]', 2),
        (ONE + b"\n\n" + ONE + b"\r\n" + ONE, 3),
        (PACKED, 1),
        (msgspec.msgpack.encode([{"type": "a"}] * 20), 20),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("path", ["/submit/web", "/1.0/submit/web", "/submit/web/"])
def test_one_event_an_array_or_lines_are_taken(
    start: Start, sink: FakeSink, body: bytes, count: int, method: str, path: str
) -> None:
    answer = start().request(method, path, content=body)
    assert (answer.status_code, len(sink.events)) == (201, count)
    assert len(answer.text) == 36  # an id of the listener's making
    assert {event["type"] for event in sink.events} == {"a"}
    assert sink.sources[0].startswith("http://127.0.0.1:")


SECRET = "a secret of 20 bytes"


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize(
    "encoder",
    ["json", "msgpack", {"name": "signed", "key": SECRET}, {"name": "signed", "key": SECRET, "encoder": "msgpack"}],
)
@pytest.mark.parametrize("keys", [{}, {"default": SECRET.encode()}])
def test_what_the_sender_http_posts_is_taken(
    sink: FakeSink, encoder: Any, compression: str, keys: dict[str, bytes]
) -> None:
    item = HttpInput(port=0)
    item.start(SignedSink(sink, Signing(keys, required=False)) if keys else sink)
    try:
        port = int(item.addresses[0].rpartition(":")[2])
        sender = {"name": "http", "port": port, "compression": compression}
        client = MetlogClient.from_config(sender=sender, encoder=encoder)
        for number in range(20):
            client.log("a", fields={"n": number})
        assert client.flush(20)
        client.close()
    finally:
        item.stop()
    assert client.stats().sent == 20, client.stats()
    assert [event["fields"]["n"] for event in sink.events if event["type"] == "a"] == [*range(20)]


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "identity"])
def test_compressed_bodies_are_unpacked(start: Start, sink: FakeSink, encoding: str) -> None:
    pack = {"gzip": gzip.compress, "zstd": zstandard.compress, "identity": bytes}[encoding]
    # Members one after another are one body, for gzip (RFC 1952) as for zstd (RFC 8878).
    body = pack(ONE + b"\n") + pack(ONE)
    assert start().post("/submit/web", content=body, headers={"content-encoding": encoding}).status_code == 201
    assert len(sink.events) == 2


def test_msgpack_is_taken_by_its_content_type(start: Start, sink: FakeSink) -> None:
    answer = start().post("/submit/web", content=PACKED, headers={"content-type": "application/msgpack"})
    assert answer.status_code == 201
    wrong = start().post("/submit/web", content=ONE, headers={"content-type": "application/msgpack"})
    assert wrong.status_code == 400
    assert len(sink.events) == 1


def test_a_repeat_of_an_id_is_answered_alike_and_journaled_once(start: Start, sink: FakeSink) -> None:
    client = start()
    first = client.put("/submit/web/batch-1", content=ONE)
    again = client.post("/1.0/submit/web/batch-1", content=ONE)
    assert [first.status_code, again.status_code] == [201, 201]
    assert [first.text, again.text] == ["batch-1", "batch-1"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert client.put("/submit/other/batch-1", content=ONE).status_code == 201  # an id is its namespace's own
    assert len(sink.events) == 2


def test_the_namespace_is_the_logger_of_events_that_have_none(start: Start, sink: FakeSink) -> None:
    start().post("/submit/web", content=b'[{"type":"a"},{"type":"a","logger":"own"}]')
    assert [event["logger"] for event in sink.events] == ["web", "own"]


@pytest.mark.parametrize(
    ("body", "index", "reason"),
    [
        (b'{"type":"a"}\n{"type":"a"}\n{"type":1}', 2, "Expected `str`"),
        (b'[{"type":"a"},{"severity":3}]', 1, "required field `type`"),
        (b'{"type":"a"}\n{"typ', 1, "truncated"),
        (b'{"type":"a"}\n{"type":"a","severity":9}\n', 1, "<= 7"),
        (b'[{"type":"a"},7]', 1, "Expected `object`"),
        (b'{"type":"a","weight":1e999}', 0, "out of range"),
        (b'[{"type":"a"},{"type":"a","pid":99999999999999999999}]', 1, ""),
        (msgspec.msgpack.encode([{"type": "a"}, {"type": 2}]), 1, "Expected `str`"),
        (b'{"type":"a","fields":' + b'{"x":' * 100_000 + b"1" + b"}" * 100_001, 0, ""),
    ],
)
def test_one_bad_event_refuses_the_whole_body_and_is_named(
    start: Start, sink: FakeSink, body: bytes, index: int, reason: str
) -> None:
    answer = start(max_events=100_000).post("/submit/web", content=body)
    assert (answer.status_code, answer.json()["index"]) == (400, index)
    assert reason in answer.json()["error"]
    assert sink.events == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n ",
        b"[]",
        b"hello",
        b"[1",
        b'"x"',
        b"\x92\x01",
        b'{"type":"a"}{"type":"b"}',
        b"[" * 200_000,
        b"\xff\xfe{}",
    ],
)
def test_what_is_no_event_is_400(start: Start, sink: FakeSink, body: bytes) -> None:
    assert start().post("/submit/web", content=body).status_code == 400
    assert sink.events == []


def test_what_only_the_journal_finds_wrong_is_400_too(start: Start, sink: FakeSink) -> None:
    sink.error = ValueError("event 1: a column cannot hold it")
    refused = start().post("/submit/web", content=ONE)
    assert (refused.status_code, refused.json()["index"]) == (400, 1)


@pytest.mark.parametrize("headers", [{"content-encoding": "br"}, {"content-encoding": "gzip, gzip"}])
def test_unknown_encodings_are_415(start: Start, headers: dict[str, str]) -> None:
    assert start().post("/submit/web", content=ONE, headers=headers).status_code == 415


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize(
    "harm", [lambda packed: packed[:-3], lambda packed: b"x" + packed, lambda packed: packed + b"x"]
)
def test_damaged_compression_is_400(
    start: Start, sink: FakeSink, encoding: str, harm: Callable[[bytes], bytes]
) -> None:
    packed = {"gzip": gzip.compress, "zstd": zstandard.compress}[encoding](ONE * 1)
    answer = start().post("/submit/web", content=harm(packed), headers={"content-encoding": encoding})
    assert answer.status_code == 400
    assert sink.events == []


def test_only_listed_namespaces_are_taken(start: Start, sink: FakeSink) -> None:
    client = start(namespaces=["sync", "web-*"])
    statuses = [client.post(f"/submit/{name}", content=ONE).status_code for name in ("sync", "web-1", "web", "xsync")]
    assert statuses == [201, 201, 404, 404]
    assert client.post("/submit/a%2Fb", content=ONE).status_code == 404
    assert client.post("/submit/web-%0a", content=ONE).status_code == 404
    assert client.post(f"/submit/web-{'x' * 100}", content=ONE).status_code == 404
    assert len(sink.events) == 2


@pytest.mark.parametrize(
    "path", ["/submit", "/submit//", "/submit/web/a/b", "/1.0", "/2.0/submit/web", "/nope", "/submit/web/ü"]
)
def test_other_paths_are_404(start: Start, path: str) -> None:
    assert start().post(path, content=ONE).status_code == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "OPTIONS", "DELETE"])
def test_other_methods_are_403(start: Start, method: str) -> None:
    assert start().request(method, "/submit/web/x").status_code == 403


def test_delete_leaves_a_tombstone_where_it_is_allowed(start: Start, sink: FakeSink) -> None:
    client = start(deletable=["notes"])
    assert client.put("/submit/notes/n1", content=ONE).status_code == 201
    assert client.put("/submit/web/n1", content=ONE).status_code == 201
    assert client.delete("/submit/notes/n1").status_code == 200
    assert client.delete("/submit/notes").status_code == 403
    assert client.delete("/submit/web/n1").status_code == 403
    note, other, tombstone = sink.events
    assert note["fields"] == {"submission": "n1"}
    assert "fields" not in other  # as it was received
    assert (tombstone["type"], tombstone["logger"], tombstone["fields"]) == (
        "metlog.delete", "notes", {"submission": "n1"},
    )  # fmt: skip


def test_requests_from_web_pages_are_refused(start: Start, sink: FakeSink) -> None:
    assert start().post("/submit/web", content=ONE, headers={"origin": "http://evil.example"}).status_code == 403
    assert sink.events == []


def test_a_token_is_demanded_when_one_is_set(start: Start, sink: FakeSink, tmp_path: Any) -> None:
    (tmp_path / "tokens").write_text("second\n\nthird \n")
    client = start(token="first", token_file=str(tmp_path / "tokens"))
    wrong = ["", "Bearer", "Bearer firs", "Bearer firstx", "Basic first", "first", "Bearer x"]
    for header in wrong:
        answer = client.post("/submit/web", content=ONE, headers={"authorization": header})
        assert (answer.status_code, answer.headers["www-authenticate"][:6]) == (401, "Bearer")
    assert client.get("/metrics").status_code == 401
    assert client.get("/healthz").status_code == 200
    for token in ("first", "second", "third"):
        headers = {"authorization": f"bearer {token}"}
        assert client.post("/submit/web", content=ONE, headers=headers).status_code == 201
    assert client.get("/metrics", headers={"authorization": "Bearer third"}).status_code == 200
    assert len(sink.events) == 3


def test_a_full_journal_is_503_with_retry_after(start: Start, sink: FakeSink) -> None:
    sink.full = "the journal holds its 10 bytes"
    answer = start().post("/submit/web/x", content=ONE)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "10 bytes" in answer.json()["error"]
    sink.full = ""
    assert start().post("/submit/web/x", content=ONE).status_code == 201


def test_an_unexpected_error_is_500_and_the_next_request_works(start: Start, sink: FakeSink) -> None:
    client = start()
    sink.error = RuntimeError("broken")
    assert client.post("/submit/web", content=ONE).status_code == 500
    sink.error = None
    assert client.post("/submit/web", content=ONE).status_code == 201


def test_the_answer_waits_for_the_journal(start: Start, sink: FakeSink) -> None:
    client = start()
    sink.gate.clear()
    with pytest.raises(httpx.ReadTimeout):
        client.post("/submit/web/late", content=ONE, timeout=0.3)
    assert start().get("/healthz").status_code == 200
    sink.gate.set()
    assert client.post("/submit/web/late", content=ONE).status_code == 201
    assert len(sink.events) == 1


class Service:
    def __init__(self) -> None:
        self.problems: list[str] = []

    def health(self) -> list[str]:
        return self.problems

    def status(self) -> dict[str, Any]:
        return {"health": self.problems, "journal": {"bytes": 7, "refuses": ""}, "intake": {"frames": 3}}


def test_healthz_is_503_when_something_stopped_moving(start: Start) -> None:
    service = Service()
    client, guarded = start(service), start(service, token="t")
    assert client.get("/healthz").json() == {"status": "ok"}
    service.problems = ["output lake: has not moved"]
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"status": "failing", "problems": service.problems})
    assert guarded.get("/healthz").json() == {"status": "failing"}  # details are for those who have the token


def test_metrics_show_the_listener_and_a_bounded_number_of_namespaces(start: Start) -> None:
    client = start(Service())
    for number in range(250):
        client.post(f"/submit/ns{number}", content=ONE)
    lines = client.get("/metrics").text.splitlines()
    assert "metlog_healthy 1" in lines
    assert "metlog_journal_bytes 7" in lines
    by_namespace = [line for line in lines if line.startswith("metlog_http_events_total{")]
    assert len(by_namespace) == 201
    assert 'metlog_http_events_total{namespace="other"} 50' in by_namespace


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": 70_000}, "port = 70000"),
        ({"max_body": 0}, "max_body = 0"),
        ({"max_body": 100, "max_pending": 100}, "max_pending = 100"),
        ({"token_file": "/nowhere/tokens"}, "token_file = '/nowhere/tokens'"),
        ({"cert_file": "/nowhere/cert"}, "cert_file = '/nowhere/cert'"),
        ({"client_ca_file": "ca.pem"}, "cert_file"),
        ({"max_bodies": 3}, "max_body"),
    ],
)
def test_settings_that_cannot_work_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plugins.build("input", {"name": "http", **options}, "inputs[0]")
    assert words in str(caught.value)
    assert "inputs[0]" in str(caught.value)


def test_a_port_in_use_says_so(start: Start) -> None:
    taken = start().base_url.port
    with pytest.raises(OSError, match=f"{taken}.*--http HOST:PORT"):
        HttpInput(port=taken or 0).start(FakeSink())


def test_stop_lets_requests_under_way_end(sink: FakeSink) -> None:
    item = HttpInput(port=0)
    item.start(sink)
    sink.gate.clear()
    answers: list[int] = []
    sender = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{item.addresses[0]}/submit/web", content=ONE).status_code)
    )
    sender.start()
    wait_for(lambda: item.stats().get("pending_bytes"))
    stopper = threading.Thread(target=item.stop)
    stopper.start()
    sink.gate.set()
    sender.join(10)
    stopper.join(10)
    assert answers == [201]
    assert not stopper.is_alive()
    item.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{item.addresses[0]}/healthz")
