"""Events into statsd calls: what a statsd server receives."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from metlog.event import Event
from metlog.listener.outputs import Rejected
from metlog.listener.outputs.statsd import StatsdOutput
from tests.helpers.sink import batch


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(5)
        yield made


@pytest.fixture
def connect(server: socket.socket) -> Iterator[Callable[..., StatsdOutput]]:
    made: list[StatsdOutput] = []

    def build(**options: Any) -> StatsdOutput:
        made.append(StatsdOutput(port=server.getsockname()[1], **options))
        made[-1].start()
        return made[-1]

    yield build
    for output in made:
        output.close()


def lines(server: socket.socket) -> list[str]:
    """What is there: a loopback datagram has arrived when `send` returns."""
    found: list[str] = []
    server.setblocking(False)
    try:
        while True:
            found += server.recv(65_536).decode().split("\n")
    except BlockingIOError:
        return found


def counter(name: str, count: float = 1, weight: float = 1.0) -> Event:
    return Event(type="counter", fields={"name": name, "count": count}, weight=weight)


def timer(name: str, ms: float, weight: float = 1.0) -> Event:
    return Event(type="timer", fields={"name": name, "ms": ms}, weight=weight)


def test_counters_are_summed_up_by_weight(connect: Any, server: socket.socket) -> None:
    connect(prefix="app.").write(
        batch(counter("hits", 2, 10.0), counter("hits", 1), counter("half", 0.5), counter("x", -4))
    )
    assert lines(server) == ["app.hits:21|c", "app.half:0.5|c", "app.x:-4|c"]


def test_timers_keep_their_weight_as_sample_rate_and_none_is_left_out(connect: Any, server: socket.socket) -> None:
    connect().write(batch(*[timer("t", 1.5, 4.0)] * 200, timer("t", 12)))
    assert lines(server) == ["t:1.500000|ms|@0.25"] * 200 + ["t:12.000000|ms"]


def test_gauges_and_sets_go_too(connect: Any, server: socket.socket) -> None:
    gauge = [{"value": 7}, {"delta": 3}, {"delta": -3.5}, {"value": -2}]
    events = [Event(type="gauge", fields={"name": "g", **each}) for each in gauge]
    connect().write(batch(*events, Event(type="set", fields={"name": "s", "value": "a|b:c"})))
    assert lines(server) == ["g:7|g", "g:+3|g", "g:-3.5|g", "g:0|g", "g:-2|g", "s:a%7Cb%3Ac|s"]


def test_other_types_are_passed_over_and_counted(connect: Any, server: socket.socket) -> None:
    out = connect()
    out.write(batch(Event(type="login"), counter("a")))
    assert lines(server) == ["a:1|c"]
    assert out.stats()["passed"] == 1


def test_events_that_are_no_metric_are_rejected_and_the_others_sent(connect: Any, server: socket.socket) -> None:
    bad = [
        Event(type="counter", fields={"count": 1}),
        Event(type="counter", fields={"name": "a", "count": "many"}),
        Event(type="timer", fields={"name": "a", "ms": True}),
        Event(type="gauge", fields={"name": 7, "value": 1}),
    ]
    with pytest.raises(Rejected) as caught:
        connect().write(batch(bad[0], counter("good"), *bad[1:]))
    assert [delivery.event for delivery, _ in caught.value.rejected] == bad
    assert "wants a number in fields.count" in caught.value.rejected[1][1]
    assert lines(server) == ["good:1|c"]


def test_names_cannot_break_the_protocol(connect: Any, server: socket.socket) -> None:
    connect(prefix="p").write(batch(counter("a:1|c\nb"), counter("größe x"), counter("ok-1.b_c/d")))
    assert lines(server) == ["p.a_1_c_b:1|c", "p.gr_u00f6_u00dfe_x:1|c", "p.ok-1.b_c/d:1|c"]


def test_names_over_the_bound_are_sent_as_other(connect: Any, server: socket.socket) -> None:
    out = connect(max_names=3)
    for number in range(4):
        out.write(batch(*[counter(f"n{n}") for n in range(number, 10)], timer("late", 1)))
    seen = {line.partition(":")[0] for line in lines(server)}
    assert seen == {"n0", "n1", "n2", "other"}
    assert out.stats()["names"] == 3
    assert out.stats()["folded"] == 7 + 1 + 7 + 1 + 7 + 1 + 7 + 1


def test_datagrams_stay_within_their_size(connect: Any, server: socket.socket) -> None:
    connect(max_packet=128).write(batch(*[counter(f"name{n:04}") for n in range(300)]))
    server.setblocking(False)
    sizes, seen = [], 0
    try:
        while True:
            data = server.recv(65_536)
            sizes.append(len(data))
            seen += data.count(b"|c")
    except BlockingIOError:
        pass
    assert seen == 300
    assert max(sizes) <= 128
    assert len(sizes) < 60


def test_a_server_that_is_down_holds_the_batch_until_it_is_back(connect: Any, server: socket.socket) -> None:
    out = connect()
    address = server.getsockname()
    server.close()
    for _ in range(3):
        with pytest.raises(OSError, match=r"(?i)refused"):
            out.write(batch(counter("kept")))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(address)
        out.write(batch(counter("kept")))
        assert lines(again) == ["kept:1|c"]


def test_a_name_that_cannot_be_found_is_an_error_at_start() -> None:
    with pytest.raises(OSError, match=r"."):
        StatsdOutput(host="nowhere.invalid").start()


def test_names_beyond_ascii_and_members_of_sets_stay_apart(connect: Any, server: socket.socket) -> None:
    names = ["日本", "日木", "größe", "grüße"]
    members = [
        "ann@example.org",
        "ann:example",
        "ann|example",
        "ann example",
        "ann_example",
        "Jürgen",
        "Jörgen",
        "%3A",
        ":",
        "日本",
    ]
    events = [Event(type="counter", fields={"name": name, "count": 1}) for name in names]
    events += [Event(type="set", fields={"name": "users", "value": member}) for member in members]
    connect().write(batch(*events))
    found = lines(server)
    assert len(set(found)) == len(names) + len(members)
    assert all(line.count(":") == 1 and line.count("|") == 1 for line in found)


@pytest.mark.parametrize(
    ("kind", "key"), [("counter", "count"), ("timer", "ms"), ("gauge", "value"), ("gauge", "delta")]
)
def test_a_number_beyond_every_float_is_rejected(connect: Any, server: socket.socket, kind: str, key: str) -> None:
    huge = Event(type=kind, fields={"name": "n", key: 10**400})
    with pytest.raises(Rejected) as caught:
        connect().write(batch(huge, counter("good")))
    assert [reason for _, reason in caught.value.rejected] == [f"{kind}: fields.{key} is too large"]
    assert lines(server) == ["good:1|c"]


def test_of_counters_whose_sum_is_too_large_the_others_are_sent(connect: Any, server: socket.socket) -> None:
    with pytest.raises(Rejected) as caught:
        connect().write(batch(counter("n", 1e308), counter("n", 1e308), counter("n", 1e308, 100.0), counter("good")))
    assert len(caught.value.rejected) == 2
    assert lines(server) == [f"n:{int(1e308)}|c", "good:1|c"]


def test_a_member_that_fits_no_datagram_is_rejected(connect: Any, server: socket.socket) -> None:
    events = [
        Event(type="set", fields={"name": "s", "value": text}) for text in ("x" * 70_000, "日" * 25_000, "日" * 9000)
    ]
    with pytest.raises(Rejected) as caught:
        connect(prefix="my").write(batch(*events))
    assert [delivery.event for delivery, _ in caught.value.rejected] == events[:2]
    assert lines(server) == [f"my.s:{'日' * 9000}|s"]


def test_datagrams_are_measured_in_bytes(connect: Any, server: socket.socket) -> None:
    connect(max_packet=100).write(
        batch(*[Event(type="set", fields={"name": "s", "value": f"{n}{'日' * 20}"}) for n in range(9)])
    )
    server.setblocking(False)
    found = [server.recv(65_536) for _ in range(9)]
    assert [len(data) for data in found] == [len(f"s:1{'日' * 20}|s".encode())] * 9


def test_a_packet_that_no_datagram_carries_is_told() -> None:
    with pytest.raises(ValueError, match="max_packet = 70000: a datagram carries at most 65507 bytes"):
        StatsdOutput(max_packet=70_000)
