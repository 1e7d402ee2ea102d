"""Events as OTLP log records: read by opentelemetry-proto, by metlog's own input, answered with every answer that OTLP has."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog import plugins
from metlog.errors import ConfigError
from metlog.event import ONE, Event
from metlog.listener.inputs._otlp import events_of_json, events_of_protobuf
from metlog.listener.inputs.otlp import OtlpInput
from metlog.listener.outputs import Delivery, Rejected, Undelivered
from metlog.listener.outputs._otlp import json_of, protobuf_of
from metlog.listener.outputs.otlp import OtlpOutput
from metlog.listener.protobuf import delimited, number
from tests.helpers.ports import port_of
from tests.helpers.sink import FakeSink, batch, numbered
from tests.helpers.waiting import wait_for

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

TEXTS = st.text(max_size=6)
VALUES = st.recursive(
    st.none()
    | TEXTS
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.dictionaries(TEXTS, VALUES, max_size=4)
KNOWN = st.fixed_dictionaries(
    {},
    optional={
        "trace_id": st.sampled_from([TRACE, TRACE.upper(), "x", "", 7]), "span_id": st.sampled_from([SPAN, "x" * 16, "", None]),
        "scope": st.sampled_from(["lib", "", 3]), "severity_text": st.sampled_from(["WARN", "", None]),
        "resource": st.sampled_from([{"service.version": "1"}, {}, {"service.name": "other"}, "text", None]),
        "body": VALUES, "event.name": TEXTS,
    },
)  # fmt: skip
EVENTS = st.builds(
    Event,
    timestamp=st.datetimes(datetime(1970, 1, 2), datetime(2500, 1, 1), timezones=st.just(UTC)),
    type=st.sampled_from(["log", "login", "ä"]), tokens=st.lists(TEXTS, max_size=3).map(tuple), logger=TEXTS, severity=st.integers(0, 7),
    payload=TEXTS, fields=st.builds(lambda one, two: one | two, FIELDS, KNOWN), weight=st.sampled_from([ONE, 2.5, 1e15]),
    env_version=st.sampled_from(["1", "0.8"]), pid=st.integers(0, 2**63 - 1), hostname=TEXTS, stream=TEXTS, seq=st.integers(0, 2**63 - 1),
)  # fmt: skip


def of(events: list[Event]) -> list[Delivery]:
    return [Delivery(event, 1_700_000_000_000_000, "test://") for event in events]


def in_order(events: list[Event]) -> list[Any]:
    """Comparable whatever the order of members."""
    return sorted(json.dumps(msgspec.to_builtins(event), sort_keys=True) for event in events)


@given(st.lists(EVENTS, max_size=4))
def test_the_input_makes_the_same_events_of_it(events: list[Event]) -> None:
    assert in_order(list(events_of_protobuf(protobuf_of(of(events)), NOW, 100_000))) == in_order(events)
    assert in_order(list(events_of_json(msgspec.json.decode(json_of(of(events))), NOW))) == in_order(events)


@given(st.lists(EVENTS, max_size=3))
def test_opentelemetry_reads_both_the_same(events: list[Event]) -> None:
    pb = pytest.importorskip(
        "opentelemetry.proto.collector.logs.v1.logs_service_pb2", reason="needs opentelemetry-proto"
    )
    packed = pb.ExportLogsServiceRequest.FromString(protobuf_of(of(events)))
    records = [record for logs in packed.resource_logs for scope in logs.scope_logs for record in scope.log_records]
    told = msgspec.json.decode(json_of(of(events)))
    plain = [record for logs in told["resourceLogs"] for scope in logs["scopeLogs"] for record in scope["logRecords"]]
    assert len(records) == len(plain) == len(events)
    for record, other in zip(records, plain, strict=True):
        assert str(record.time_unix_nano) == other["timeUnixNano"]
        assert record.severity_number == other["severityNumber"]
        assert record.trace_id.hex() == other.get("traceId", "")
        assert record.span_id.hex() == other.get("spanId", "")
        assert record.event_name == other.get("eventName", "")
        assert record.severity_text == other.get("severityText", "")
        assert [pair.key for pair in record.attributes] == [pair["key"] for pair in other["attributes"]]


def test_what_otlp_has_a_place_for_goes_there() -> None:
    event = Event(
        NOW, "checkout", ("checkout",), "shop", 3, "paid", {"trace_id": TRACE, "span_id": SPAN, "scope": "cart", "n": 1},
        pid=7, hostname="web-1", stream="s", seq=4,
    )  # fmt: skip
    (logs,) = msgspec.json.decode(json_of(of([event])))["resourceLogs"]
    assert {pair["key"]: pair["value"] for pair in logs["resource"]["attributes"]} == {
        "service.name": {"stringValue": "shop"}, "host.name": {"stringValue": "web-1"}, "process.pid": {"intValue": "7"},
    }  # fmt: skip
    (scope,) = logs["scopeLogs"]
    assert scope["scope"] == {"name": "cart"}
    (record,) = scope["logRecords"]
    assert record == {
        "timeUnixNano": "1795867200000000000", "observedTimeUnixNano": "1700000000000000000", "severityNumber": 17,
        "body": {"stringValue": "paid"}, "traceId": TRACE, "spanId": SPAN, "eventName": "checkout",
        "attributes": [
            {"key": "metlog.stream", "value": {"stringValue": "s"}}, {"key": "metlog.seq", "value": {"intValue": "4"}},
            {"key": "n", "value": {"intValue": "1"}},
        ],
    }  # fmt: skip


def test_integers_beyond_64_bits_and_times_before_the_epoch_have_another_form() -> None:
    event = Event(NOW - timedelta(days=40_000), "t", ("t",), fields={"n": 2**70})
    for made in (
        events_of_protobuf(protobuf_of(of([event])), NOW, 100),
        events_of_json(json.loads(json_of(of([event]))), NOW),
    ):
        (found,) = made
        assert found.fields == {"n": str(2**70)}
        assert found.timestamp == datetime.fromtimestamp(1_700_000_000, UTC)  # when it was received


# ---- with a peer -----------------------------------------------------------------------------------------------------


class Peer(http.server.ThreadingHTTPServer):
    """Answers each request with the next of some answers, the last of them again and again."""

    daemon_threads = True

    def __init__(self, *answers: tuple[int, dict[str, str], bytes]) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Peer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.requests.append((self.path, headers, gzip.decompress(body)))
        status, more, answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        self.send_response(status)
        for name, value in {"content-length": str(len(answer)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def peer() -> Iterator[Callable[..., tuple[Peer, OtlpOutput]]]:
    made: list[tuple[Peer, OtlpOutput]] = []

    def start(*answers: tuple[int, dict[str, str], bytes], **options: Any) -> tuple[Peer, OtlpOutput]:
        server = Peer(*answers)
        made.append((server, OtlpOutput(port=server.server_address[1], **options)))
        made[-1][1].start()
        return made[-1]

    yield start
    for server, output in made:
        output.close()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_a_request_has_what_otlp_asks_for(peer: Any, encoding: str) -> None:
    server, output = peer((200, {}, b""), encoding=encoding, headers={"X-Scope-OrgID": "team"}, token="t0ken")
    output.write(batch(*numbered(3)))
    ((path, headers, body),) = server.requests
    assert path == "/v1/logs"
    assert headers["content-type"] == ("application/json" if encoding == "json" else "application/x-protobuf")
    assert (headers["content-encoding"], headers["x-scope-orgid"]) == ("gzip", "team")
    assert headers["authorization"] == "Bearer t0ken"
    assert [event.fields["n"] for event in _events(body, encoding)] == [0, 1, 2]
    assert "team" not in output.describe()


def _events(body: bytes, encoding: str) -> list[Event]:
    if encoding == "json":
        return list(events_of_json(json.loads(body), NOW))
    return list(events_of_protobuf(body, NOW, 10_000))


def partial(count: int, text: str, encoding: str) -> bytes:
    if encoding == "json":
        return json.dumps({"partialSuccess": {"rejectedLogRecords": str(count), "errorMessage": text}}).encode()
    return delimited(1, number(1, count) + delimited(2, text.encode()))


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_a_partial_success_is_counted_and_told_and_not_sent_again(
    peer: Any, encoding: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, output = peer((200, {}, partial(2, "too old", encoding)), encoding=encoding)
    output.write(batch(*numbered(5)))
    output.write(batch(*numbered(5)))
    assert len(server.requests) == 2
    assert output.stats()["rejected_by_peer"] == 4
    (told,) = caplog.records
    assert told.getMessage().endswith("took a batch but for 2 records, rejected by the peer: too old")


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_when_all_of_a_request_is_rejected_it_is_known_which(peer: Any, encoding: str) -> None:
    _, output = peer((200, {}, partial(3, "no", encoding)), encoding=encoding)
    with pytest.raises(Rejected) as refused:
        output.write(batch(*numbered(3)))
    assert [(delivery.event.fields["n"], reason) for delivery, reason in refused.value.rejected] == [
        (n, "rejected by the peer: no") for n in range(3)
    ]


@pytest.mark.parametrize(
    "answer", [b"", b"{}", b'{"partialSuccess":{}}', b"not json", partial(0, "only a warning", "json")]
)
def test_other_answers_of_success_are_receipts(peer: Any, answer: bytes) -> None:
    _, output = peer((200, {}, answer), encoding="json")
    output.write(batch(*numbered(3)))
    assert output.stats()["rejected_by_peer"] == 0


@pytest.mark.parametrize("status", [429, 502, 503, 504, 401, 404, 500])
def test_what_does_not_blame_the_body_holds_the_batch(peer: Any, status: int) -> None:
    server, output = peer((status, {}, b"later"), (200, {}, b""))
    same = batch(*numbered(2))
    with pytest.raises(Undelivered, match=f": {status} .*later"):
        output.write(same)
    output.write(same)
    assert server.requests[0][2] == server.requests[1][2]


def test_retry_after_is_honoured(peer: Any) -> None:
    server, output = peer((429, {"retry-after": "30"}, b""), (200, {}, b""))
    with pytest.raises(Undelivered, match="429"):
        output.write(batch(*numbered(2)))
    with pytest.raises(Undelivered, match="asked to wait"):
        output.write(batch(*numbered(2)))
    assert len(server.requests) == 1


def test_the_record_at_fault_is_found_by_halving(peer: Any) -> None:
    refused, taken = (400, {}, b"bad record"), (200, {}, b"")
    # All four; the first two are taken; the last two, then each alone.
    _, output = peer(refused, taken, refused, refused, taken)
    with pytest.raises(Rejected) as found:
        output.write(batch(*numbered(4)))
    assert [delivery.event.fields["n"] for delivery, _ in found.value.rejected] == [2]
    assert "bad record" in found.value.rejected[0][1]


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_the_other_listener_gets_the_same_events(encoding: str) -> None:
    sink = FakeSink()
    there = OtlpInput(port=0)
    there.start(sink)
    output = OtlpOutput(port=port_of(there.addresses[0]), encoding=encoding)  # type: ignore[arg-type] # of Literal
    output.start()
    try:
        events = [
            Event(
                type="login",
                tokens=("login", "sync"),
                logger="shop",
                stream="s1",
                seq=n + 1,
                fields={"n": n},
                weight=2.5,
            )
            for n in range(2000)
        ]
        output.write(batch(*events))
        wait_for(lambda: len(sink.events) == 2000)
        assert sink.events == [msgspec.to_builtins(event) | {"tokens": ["login", "sync"]} for event in events]
    finally:
        output.close()
        there.stop()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoding": "xml"}, "encoding"),
        ({"path": "v1/logs"}, "path = 'v1/logs'"),
        ({"ca_file": "ca.pem"}, "only with tls = true"),
        ({"headers": {"Content-Type": "x"}}, "Content-Type is made by the output itself"),
        ({"headers": {"a b": "x"}}, "'a b' is no name of a header"),
        ({"headers": {"api-key": "a\nb"}}, "the value of api-key wants printable ASCII"),
        ({"token": "a", "token_file": "b"}, "give one of them"),
    ],
)
def test_settings_that_cannot_work_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plugins.build("output", {"name": "otlp", **options}, "outputs[0]")
