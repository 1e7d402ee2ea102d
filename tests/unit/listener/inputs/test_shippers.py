"""Inputs `loki` and `elasticsearch`: the requests of Fluent Bit, Vector and Grafana Agent as their documentation has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog.listener.inputs._shipped import labels_of, severity_of_level
from metlog.listener.inputs.elasticsearch import ElasticsearchInput
from metlog.listener.inputs.loki import LokiInput
from tests.helpers.sink import FakeSink

Server = Callable[..., tuple[httpx.Client, FakeSink]]
NANOS = 1_795_867_200_123_456_789


@pytest.fixture
def server() -> Iterator[Server]:
    started: list[Any] = []

    def start(kind: Any, **options: Any) -> tuple[httpx.Client, FakeSink]:
        sink = FakeSink()
        made = kind(port=0, **options)
        made.start(sink)
        client = httpx.Client(base_url=made.addresses[0].partition("+")[2], timeout=20)
        started.extend([client.close, made.stop])
        return client, sink

    yield start
    for end in started:
        end()


def varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def push_request(labels: str, lines: list[tuple[int, str, dict[str, str]]]) -> bytes:
    entries = b""
    for nanos, line, metadata in lines:
        moment = field(1, nanos // 10**9) + field(2, nanos % 10**9)
        pairs = b"".join(field(3, field(1, key.encode()) + field(2, value.encode())) for key, value in metadata.items())
        entries += field(2, field(1, moment) + field(2, line.encode()) + pairs)
    return field(1, field(1, labels.encode()) + entries)


def test_loki_json_as_fluent_bit_and_vector_send_it(server: Server) -> None:
    client, sink = server(LokiInput)
    body = {"streams": [
        {"stream": {"job": "fluentbit", "host": "h1", "level": "warn"},
         "values": [[str(NANOS), "one"], [str(NANOS + 1000), "two", {"trace": "t"}]]},
    ]}  # fmt: skip
    assert client.post("/loki/api/v1/push", json=body).status_code == 204
    assert [(event["payload"], event["logger"], event["hostname"], event["severity"]) for event in sink.events] == [
        ("one", "fluentbit", "h1", 4), ("two", "fluentbit", "h1", 4),
    ]  # fmt: skip
    assert sink.events[1]["fields"] == {"trace": "t"}
    assert sink.events[0]["timestamp"] == "2026-11-28T12:00:00.123456Z"
    assert client.get("/ready").text == "ready\n"


def test_loki_protobuf_as_grafana_agent_sends_it(server: Server) -> None:
    snappy = pytest.importorskip("cramjam", reason='needs pip install "metlog[loki]"').snappy
    client, sink = server(LokiInput)
    labels = '{service_name="shop", quoted="a \\"b\\" \\\\ c", detected_level="error"}'
    body = push_request(labels, [(NANOS, f"line {n} " + "x" * 100, {"k": str(n)}) for n in range(200)])
    headers = {"content-type": "application/x-protobuf"}
    assert (
        client.post("/loki/api/v1/push", content=bytes(snappy.compress_raw(body)), headers=headers).status_code == 204
    )
    assert len(sink.events) == 200
    assert sink.events[7]["fields"] == {"quoted": 'a "b" \\ c', "k": "7"}
    assert (sink.events[7]["logger"], sink.events[7]["severity"]) == ("shop", 3)
    for bad in (b"", b"\xff\xff\xff\xff\x7f", b"\x05hell", b"junk junk"):
        assert client.post("/loki/api/v1/push", content=bad, headers=headers).status_code in {204, 400, 413}
    assert client.post("/loki/api/v1/push", content=varint(1 << 31) + b"x", headers=headers).status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        {}, {"streams": 3}, {"streams": [3]}, {"streams": [{"stream": [], "values": []}]},
        {"streams": [{"stream": {}, "values": [["x", "y"]]}]}, {"streams": [{"stream": {}, "values": [[1, "y"]]}]},
    ],
)  # fmt: skip
def test_loki_says_what_it_wants(server: Server, body: Any) -> None:
    client, sink = server(LokiInput)
    answer = client.post("/loki/api/v1/push", json=body)
    assert answer.status_code == 400
    assert "wants" in answer.json()["error"] or "time" in answer.json()["error"]
    assert not sink.events


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True),
        st.text(max_size=10).filter(lambda text: "\r" not in text),
    )
)
def test_labels_are_read_as_they_were_written(labels: dict[str, str]) -> None:
    text = "{" + ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in labels.items()) + "}"
    if "\\u" not in text and "\\b" not in text and "\\f" not in text:
        assert labels_of(text) == labels


def test_bulk_as_vector_and_fluent_bit_send_it(server: Server) -> None:
    client, sink = server(ElasticsearchInput)
    documents = [
        {"@timestamp": "2026-11-28T12:00:00.5+01:00", "message": "m1", "log": {"level": "ERROR"}, "service": {"name": "shop"},
         "host": {"name": "web-1"}, "process": {"pid": 7}, "x": 1},
        {"@timestamp": 1_795_867_200_000, "log": "m2", "level": "debug", "app": "cart", "hostname": "web-2"},
        {"message": "m3"},
    ]  # fmt: skip
    lines = [json.dumps(line) for document in documents for line in ({"create": {"_index": "logs"}}, document)]
    answer = client.post("/_bulk", content="\n".join(lines) + "\n", headers={"content-type": "application/x-ndjson"})
    assert answer.headers["x-elastic-product"] == "Elasticsearch"
    assert (answer.json()["errors"], [item["create"]["status"] for item in answer.json()["items"]]) == (
        False,
        [201] * 3,
    )
    first, second, third = sink.events
    assert (first["payload"], first["logger"], first["hostname"], first["severity"], first["pid"]) == (
        "m1",
        "shop",
        "web-1",
        3,
        7,
    )
    assert first["timestamp"] == "2026-11-28T11:00:00.500000Z"
    assert (first["tokens"], first["fields"]) == (["log", "logs"], {"process": {"pid": 7}, "x": 1})
    assert (second["payload"], second["logger"], second["severity"], second["timestamp"]) == (
        "m2",
        "cart",
        7,
        "2026-11-28T12:00:00Z",
    )
    assert third["payload"] == "m3"


def test_each_action_gets_its_own_verdict(server: Server) -> None:
    client, sink = server(ElasticsearchInput)
    lines = [
        '{"index":{}}',
        '{"message":"good"}',
        '{"create":{}}',
        "{broken",
        '{"delete":{"_id":"1"}}',
        '{"update":{"_id":"1"}}',
        "{}",
        '{"index":{}}',
        "[]",
    ]
    answer = client.post("/things/_bulk", content="\n".join(lines)).json()
    statuses = [next(iter(item.values()))["status"] for item in answer["items"]]
    assert (answer["errors"], statuses) == (True, [201, 400, 400, 400, 400])
    assert [event["payload"] for event in sink.events] == ["good"]
    assert sink.events[0]["tokens"] == ["log", "things"]
    assert client.post("/_bulk", content='{"message":"no action"}\n').status_code == 400


def test_shippers_find_somebody_there(server: Server) -> None:
    client, _ = server(ElasticsearchInput)
    assert client.get("/").json()["version"]["number"].startswith("8.")
    assert client.get("/_cluster/health").json()["status"] == "green"
    assert client.get("/_license").json()["license"]["status"] == "active"
    assert client.head("/").status_code == 200
    assert client.get("/things/_search").status_code == 404


def test_bodies_of_many_parts_are_refused(server: Server) -> None:
    for kind, path in ((LokiInput, "/loki/api/v1/push"), (ElasticsearchInput, "/_bulk")):
        client, _ = server(kind)
        body = b'{"index":{}}\n' if kind is ElasticsearchInput else b""
        answer = client.post(
            path, content=body + b"[" + b"[]," * 1_000_001 + b"1]", headers={"content-type": "application/json"}
        )
        assert answer.status_code == 413


def test_levels_are_taken_by_name_and_number() -> None:
    assert [severity_of_level(name) for name in ("FATAL", "Error", "warning", "info", "trace", "3", "weird", "")] == [
        2,
        3,
        4,
        6,
        7,
        3,
        6,
        6,
    ]
