"""The statsd line protocol: what each line becomes, and what happens to lines that are none."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import statsd
from hypothesis import example, given
from hypothesis import strategies as st

from metlog.listener.inputs._statsd_lines import BadLine, parse
from metlog.listener.inputs.statsd import StatsdInput
from tests.helpers.ports import port_of
from tests.helpers.sink import FakeSink
from tests.helpers.waiting import wait_for


@pytest.mark.parametrize(
    ("line", "kind", "fields", "weight"),
    [
        (b"a.b:1|c", "counter", {"name": "a.b", "count": 1}, 1),
        (b"a:-3|c", "counter", {"name": "a", "count": -3}, 1),
        (b"a:2|c|@0.1", "counter", {"name": "a", "count": 2}, 10),
        (b"a:2|c|@1", "counter", {"name": "a", "count": 2}, 1),
        (b"a:3.5|ms", "timer", {"name": "a", "ms": 3.5}, 1),
        (b"a:3|ms|@0.5", "timer", {"name": "a", "ms": 3}, 2),
        (b"a:.5e2|ms", "timer", {"name": "a", "ms": 50.0}, 1),
        (b"a:7|g", "gauge", {"name": "a", "value": 7}, 1),
        (b"a:+7|g", "gauge", {"name": "a", "delta": 7}, 1),
        (b"a:-7.5|g", "gauge", {"name": "a", "delta": -7.5}, 1),
        (b"a:user:1|s", "set", {"name": "a", "value": "user:1"}, 1),
        (b"a:1|h", "histogram", {"name": "a", "value": 1}, 1),
        (b"a:1|d", "distribution", {"name": "a", "value": 1}, 1),
        (b"a:1|c|#env:prod,host:x:1,flag", "counter",
         {"name": "a", "count": 1, "tags": {"env": "prod", "host": "x:1", "flag": ""}}, 1),
        (b"a:1|c|@0.25|#x:y|c:container|T1656581400", "counter", {"name": "a", "count": 1, "tags": {"x": "y"}}, 4),
        ("größe:1|c".encode(), "counter", {"name": "größe", "count": 1}, 1),
    ],
)  # fmt: skip
def test_a_line_becomes_an_event(line: bytes, kind: str, fields: dict[str, Any], weight: float) -> None:
    ((event,), wrong) = parse(line, "svc")
    assert wrong == ""
    assert (event.type, event.tokens, event.logger) == (kind, (kind, fields["name"]), "svc")
    assert event.fields == fields
    assert event.weight == pytest.approx(weight)
    assert event.payload == line.split(b":", 1)[1].split(b"|")[0].decode().lstrip("+")


def test_several_values_with_their_types_stand_on_one_line() -> None:
    def said(line: bytes) -> list[tuple[str, Any, float]]:
        return [
            (event.type, event.fields.get("count", event.fields.get("ms")), event.weight)
            for event in parse(line, "")[0]
        ]

    assert said(b"a:1|c:2|c:3|c") == [("counter", 1, 1), ("counter", 2, 1), ("counter", 3, 1)]
    assert said(b"a:5|ms|@0.5:6|ms:7|ms") == [("timer", 5, 2), ("timer", 6, 1), ("timer", 7, 1)]
    events, wrong = parse(b"a:1|c:x|c:3|ms", "")
    assert [event.type for event in events] == ["counter", "timer"]
    assert wrong.startswith("bad number: 'x'")


@pytest.mark.parametrize(
    "line",
    [b"a:1|c ", b"a: 1|c", b"a:1|c\0", b"a:1|C", b" a:1| c |", b"a:1|c||", b"a:1|c|x:later", b"a:1|c|T", b"a:1|c|#"],
)
def test_what_other_servers_take_is_taken(line: bytes) -> None:
    ((event,), wrong) = parse(line, "")
    assert (event.type, event.fields, wrong) == ("counter", {"name": "a", "count": 1}, "")


def test_tags_of_one_name_are_all_kept() -> None:
    ((event,), _) = parse(b"a:1|c|#player:joe,player:lisa,env:prod,player:joe|x|#env:test", "")
    assert event.fields["tags"] == {"player": ["joe", "lisa"], "env": ["prod", "test"]}


@pytest.mark.parametrize(
    ("section", "used"),
    [(b"T1656581400", True), (b"Tomorrow", False), (b"T", False), (b"T-5", False), (b"T16565814.5", False)],
)
def test_the_time_of_a_metric_is_used(section: bytes, used: bool) -> None:
    ((event,), _) = parse(b"a:1|c|" + section, "")
    assert (event.timestamp == datetime(2022, 6, 30, 9, 30, tzinfo=UTC)) is used


def test_packed_values_are_an_event_each() -> None:
    assert [event.fields["ms"] for event in parse(b"a:1:2.5:3|ms|@0.5", "")[0]] == [1, 2.5, 3]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a", "not statsd"),
        (b"a:1", "not statsd"),
        (b":1|c", "bad name"),
        (b"a\x07:1|c", "bad name"),
        (b"x" * 600 + b":1|c", "bad name"),
        (b"a:1|q", "unknown type"),
        (b"a:1|", "unknown type"),
        (b"a:|c", "bad number"),
        (b"a:one|c", "bad number"),
        (b"a:nan|g", "bad number"),
        (b"a:inf|g", "bad number"),
        (b"a:1e999|c", "bad number"),
        (b"a:1_000|c", "bad number"),
        ("a:\u0661|c".encode(), "bad number"),
        (b"a:1|c|@0", "bad sample rate"),
        (b"a:-1|ms", "bad number"),
        (b"a:1|c|@1e-300", "bad sample rate"),
        (b"a:1|q:2|x", "unknown type"),
        (b"\xff:1|c", "not UTF-8"),
        (b"_e{5,4}:title|text", "not a metric"),
        (b"_sc|name|0", "not a metric"),
    ],
)
def test_a_line_that_is_none_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(BadLine) as caught:
        parse(line, "")
    assert str(caught.value).partition(":")[0].startswith(reason)


@given(
    st.binary(max_size=60)
    | st.from_regex(rb"[a:]{1,3}:[-+0-9.e:]{1,8}\|(c|ms|g|s|h)(\|@[0-9.e-]{1,6})?", fullmatch=True)
)
@example(b"a:1|c|#" + b"," * 1000)
def test_any_line_is_an_event_that_json_can_say_or_a_bad_line(line: bytes) -> None:
    from metlog.listener.validate import validate_events

    try:
        events, _ = parse(line, "")
    except BadLine:
        return
    assert validate_events(events).count == len(events) >= 1


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
def item(sink: FakeSink) -> Iterator[StatsdInput]:
    made = StatsdInput(port=0, logger="metrics")
    made.start(sink)
    yield made
    made.stop()


def test_the_statsd_package_is_understood(item: StatsdInput, sink: FakeSink) -> None:
    assert item.addresses[0].startswith("statsd://127.0.0.1:")
    client = statsd.StatsClient("127.0.0.1", port_of(item.addresses[0]), prefix="app")
    with client.pipeline() as pipe:
        pipe.incr("hits", 3)
        pipe.timing("request", 12.5)
        pipe.gauge("queue", 7)
        pipe.gauge("queue", -2, delta=True)
        pipe.set("users", "u1")
        pipe.decr("hits")
    wait_for(lambda: len(sink.events) == 6)
    seen = [(event["type"], event["fields"]) for event in sink.events]
    assert seen == [
        ("counter", {"name": "app.hits", "count": 3}),
        ("timer", {"name": "app.request", "ms": 12.5}),
        ("gauge", {"name": "app.queue", "value": 7}),
        ("gauge", {"name": "app.queue", "delta": -2}),
        ("set", {"name": "app.users", "value": "u1"}),
        ("counter", {"name": "app.hits", "count": -1}),
    ]
    assert {event["logger"] for event in sink.events} == {"metrics"}
    assert sink.sources[0].startswith("statsd://127.0.0.1:")
    assert item.stats()["metrics"] == 6
    assert item.stats()["frames"] == 1


def test_good_lines_beside_bad_ones_are_taken(item: StatsdInput, sink: FakeSink) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        raw.sendto(b"a:1|c\r\nnonsense\n\nb:2|c\n\xff\xff\n", ("127.0.0.1", port_of(item.addresses[0])))
    wait_for(lambda: len(sink.events) == 2 and len(sink.dead) == 2)
    assert [(data, reason.partition(":")[0]) for data, _, reason in sink.dead] == [
        (b"nonsense", "not statsd"),
        (b"\xff\xff", "not UTF-8"),
    ]
    assert item.stats()["bad_lines"] == 2
    assert json.dumps(sink.events)


def test_a_port_in_use_says_so(item: StatsdInput) -> None:
    with pytest.raises(OSError, match=f"statsd://127.0.0.1:{port_of(item.addresses[0])}.*--statsd HOST:PORT"):
        StatsdInput(port=port_of(item.addresses[0])).start(FakeSink())
