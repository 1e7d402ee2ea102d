"""OTLP log records: what opentelemetry-proto writes is read the same, as protobuf and as JSON; bombs are refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metlog.listener.inputs._otlp import events_of_json, events_of_protobuf
from metlog.listener.inputs.otlp import OtlpInput
from metlog.listener.otlp import severity_of
from metlog.listener.protobuf import ProtobufError
from tests.helpers.sink import FakeSink

pb = pytest.importorskip("opentelemetry.proto.collector.logs.v1.logs_service_pb2", reason="needs opentelemetry-proto")
common = pytest.importorskip("opentelemetry.proto.common.v1.common_pb2")

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
SCALARS = st.one_of(
    st.text(max_size=8),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def any_value(value: Any) -> Any:
    if isinstance(value, bool):
        return common.AnyValue(bool_value=value)
    if isinstance(value, str):
        return common.AnyValue(string_value=value)
    if isinstance(value, int):
        return common.AnyValue(int_value=value)
    if isinstance(value, float):
        return common.AnyValue(double_value=value)
    if isinstance(value, bytes):
        return common.AnyValue(bytes_value=value)
    if isinstance(value, list):
        return common.AnyValue(array_value=common.ArrayValue(values=[any_value(item) for item in value]))
    return common.AnyValue(kvlist_value=common.KeyValueList(values=pairs(value)))


def pairs(table: dict[str, Any]) -> list[Any]:
    return [common.KeyValue(key=key, value=any_value(value)) for key, value in table.items()]


def json_value(value: Any) -> Any:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [json_value(item) for item in value]}}
    return {"kvlistValue": {"values": json_pairs(value)}}


def json_pairs(table: dict[str, Any]) -> list[Any]:
    return [{"key": key, "value": json_value(value)} for key, value in table.items()]


def request(records: list[dict[str, Any]], resource: dict[str, Any] | None = None, scope: str = "") -> Any:
    made = pb.ExportLogsServiceRequest()
    logs = made.resource_logs.add()
    logs.resource.attributes.extend(pairs(resource or {}))
    inner = logs.scope_logs.add()
    inner.scope.name = scope
    for record in records:
        item = inner.log_records.add(
            time_unix_nano=record.get("time", 0), observed_time_unix_nano=record.get("observed", 0),
            severity_number=record.get("severity", 0), severity_text=record.get("text", ""), trace_id=record.get("trace", b""),
            span_id=record.get("span", b""), event_name=record.get("name", ""),
        )  # fmt: skip
        if "body" in record:
            item.body.CopyFrom(any_value(record["body"]))
        item.attributes.extend(pairs(record.get("attributes", {})))
    return made


@given(body=VALUES, attributes=st.dictionaries(st.text(max_size=6), VALUES, max_size=5))
def test_both_encodings_say_what_the_reference_wrote(body: Any, attributes: dict[str, Any]) -> None:
    made = request([{"body": body, "attributes": attributes, "time": 1_700_000_000_123_456_789}])
    (event,) = events_of_protobuf(made.SerializeToString(), NOW, 10_000)
    kind = attributes.get("event.name")
    expected = dict(attributes)
    if not isinstance(body, str):
        expected.setdefault("body", body)
    assert event.fields == expected
    assert event.payload == (body if isinstance(body, str) else "")
    assert event.timestamp == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
    assert event.type == (kind if isinstance(kind, str) and kind else event.type)
    said = {"timeUnixNano": "1700000000123456789", "body": json_value(body), "attributes": json_pairs(attributes)}
    (other,) = events_of_json({"resourceLogs": [{"scopeLogs": [{"logRecords": [said]}]}]}, NOW)
    assert (other.fields, other.payload, other.type, other.timestamp) == (
        event.fields,
        event.payload,
        event.type,
        event.timestamp,
    )


def test_resource_scope_ids_and_severity_find_their_place() -> None:
    record = {
        "severity": 17, "text": "Error", "trace": bytes(range(16)), "span": bytes(range(8)), "name": "order.paid", "observed": 10**18,
        "attributes": {"k": 1},
    }  # fmt: skip
    resource = {"service.name": "shop", "host.name": "web-1", "process.pid": 77, "deployment": "eu"}
    (event,) = events_of_protobuf(request([record], resource, "lib").SerializeToString(), NOW, 10_000)
    assert (event.type, event.logger, event.hostname, event.pid, event.severity) == (
        "order.paid",
        "shop",
        "web-1",
        77,
        3,
    )
    assert event.fields == {
        "k": 1, "trace_id": bytes(range(16)).hex(), "span_id": bytes(range(8)).hex(), "scope": "lib", "severity_text": "Error",
        "resource": {"deployment": "eu"},
    }  # fmt: skip
    assert event.timestamp.year == 2001


def test_severities_are_those_of_the_data_model() -> None:
    assert [severity_of(number) for number in range(25)] == [
        6,
        *[7] * 8,
        6,
        5,
        5,
        5,
        4,
        4,
        4,
        4,
        3,
        2,
        1,
        1,
        0,
        0,
        0,
        0,
    ]
    assert severity_of(99) == severity_of(-1) == 6
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"severityNumber": "SEVERITY_NUMBER_ERROR2"}]}]}]}
    assert next(events_of_json(body, NOW)).severity == 2


@given(st.binary(max_size=200))
def test_any_bytes_are_events_or_refused(data: bytes) -> None:
    try:
        list(events_of_protobuf(data, NOW, 10_000))
    except ProtobufError:
        pass


@given(st.data())
@settings(max_examples=50)
def test_a_damaged_request_is_events_or_refused(data: Any) -> None:
    whole = bytearray(
        request([{"body": "text", "attributes": {"a": [1, {"b": 2.5}]}}], {"service.name": "s"}).SerializeToString()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        list(events_of_protobuf(bytes(whole), NOW, 10_000))
    except ProtobufError:
        pass


def test_many_empty_parts_are_refused_before_they_are_built() -> None:
    with pytest.raises(ProtobufError, match="too many parts"):
        list(events_of_protobuf(b"\x0a\x00" * 200_000, NOW, 100_000))
    body = common.AnyValue(string_value="x").SerializeToString()
    for _ in range(200):  # deeper than the reference encoder goes: ArrayValue.values = AnyValue, AnyValue.array_value
        for number in (1, 5):
            body = bytes([number << 3 | 2]) + _length(len(body)) + body
    for number in (5, 2, 2, 1):  # LogRecord.body, ScopeLogs.log_records, ResourceLogs.scope_logs, resource_logs
        body = bytes([number << 3 | 2]) + _length(len(body)) + body
    (event,) = events_of_protobuf(body, NOW, 10_000)
    assert "<too deep>" in json.dumps(event.fields)


def _length(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


@pytest.fixture
def server() -> Iterator[Callable[..., tuple[httpx.Client, FakeSink]]]:
    started: list[Any] = []

    def start(**options: Any) -> tuple[httpx.Client, FakeSink]:
        sink = FakeSink()
        made = OtlpInput(port=0, **options)
        made.start(sink)
        client = httpx.Client(base_url=made.addresses[0].removeprefix("otlp+"), timeout=20)
        started.extend([client.close, made.stop])
        return client, sink

    yield start
    for end in started:
        end()


def test_answers_are_those_of_the_protocol(server: Callable[..., tuple[httpx.Client, FakeSink]]) -> None:
    client, sink = server()
    packed = {"content-type": "application/x-protobuf"}
    body = request([{"body": "hello"}], {"service.name": "s"}).SerializeToString()
    answer = client.post("/v1/logs", content=gzip.compress(body), headers={**packed, "content-encoding": "gzip"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-protobuf")
    assert pb.ExportLogsServiceResponse.FromString(answer.content) == pb.ExportLogsServiceResponse()
    assert client.post("/v1/logs", json={"resourceLogs": []}).json() == {}
    assert [event["payload"] for event in sink.events] == ["hello"]
    status = pytest.importorskip("google.rpc.status_pb2", reason="needs googleapis-common-protos")
    refused = client.post("/v1/logs", content=b"\xff", headers=packed)
    assert refused.status_code == 400
    assert status.Status.FromString(refused.content).message.startswith("not a protobuf message")
    assert client.post("/v1/logs", content=b"{", headers={"content-type": "application/json"}).json()["code"] == 3
    assert client.post("/v1/traces", content=body, headers=packed).status_code == 404
    assert client.get("/v1/logs").status_code == 405
    assert client.post("/v1/logs", content=b"x", headers={"content-type": "text/plain"}).status_code == 415
    sink.full = "the disk is full"
    assert client.post("/v1/logs", content=body, headers=packed).status_code == 503
    assert client.get("/healthz").status_code == 200


def test_a_record_that_no_journal_holds_is_a_partial_success(
    server: Callable[..., tuple[httpx.Client, FakeSink]],
) -> None:
    client, sink = server()
    real = sink.submit

    def submit(events: Any, source: str, **options: Any) -> bool:
        for index, event in enumerate(events):
            if event.payload == "bad":
                raise ValueError(f"event {index}: no room for it")
        return real(events, source, **options)

    sink.submit = submit  # type: ignore[method-assign]
    body = request([{"body": "a"}, {"body": "bad"}, {"body": "b"}]).SerializeToString()
    answer = client.post("/v1/logs", content=body, headers={"content-type": "application/x-protobuf"})
    partial = pb.ExportLogsServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, partial.rejected_log_records, partial.error_message) == (
        200,
        1,
        "record 1: no room for it",
    )
    assert [event["payload"] for event in sink.events] == ["a", "b"]
    assert sink.dead[0][2] == "not an event: no room for it"


@pytest.mark.parametrize("authorization", ["Bearer hush", "Basic dTpodXNo", "ApiKey hush"])
def test_a_token_is_demanded_in_each_form_that_shippers_offer(
    server: Callable[..., tuple[httpx.Client, FakeSink]], authorization: str
) -> None:
    client, _ = server(token="hush")
    assert client.post("/v1/logs", json={}).status_code == 401
    assert client.post("/v1/logs", json={}, headers={"authorization": "Basic dTp4"}).status_code == 401
    assert client.post("/v1/logs", json={}, headers={"authorization": authorization}).status_code == 200
