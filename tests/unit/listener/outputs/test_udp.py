"""Datagrams to another listener: whole, in frames that fit, again where they were refused."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from metlog import plugins
from metlog.errors import ConfigError
from metlog.event import Event
from metlog.listener.inputs.udp import UdpInput
from metlog.listener.outputs import Rejected, Undelivered
from metlog.listener.outputs import udp as module
from metlog.listener.outputs.udp import UdpOutput
from tests.helpers.ports import free_port, port_of
from tests.helpers.sink import FakeSink, batch, numbered
from tests.helpers.waiting import wait_for


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        made.bind(("127.0.0.1", 0))
        made.setblocking(False)
        yield made


@pytest.fixture
def connect(server: socket.socket) -> Iterator[Callable[..., UdpOutput]]:
    made: list[UdpOutput] = []

    def build(**options: Any) -> UdpOutput:
        made.append(UdpOutput(**{"port": port_of(server), **options}))
        made[-1].start()
        return made[-1]

    yield build
    for output in made:
        output.close()


def datagrams(server: socket.socket) -> list[bytes]:
    """What is there: a loopback datagram has arrived when `send` returns."""
    found: list[bytes] = []
    try:
        while True:
            found.append(server.recv(65_536))
    except BlockingIOError:
        return found


def test_events_share_datagrams_up_to_max_frame(connect: Any, server: socket.socket) -> None:
    output = connect(max_frame=1000)
    output.write(batch(*numbered(40)))
    found = datagrams(server)
    assert 1 < len(found) < 40
    assert max(map(len, found)) <= 1000
    assert [msgspec.json.decode(line)["fields"]["n"] for line in b"".join(found).splitlines()] == list(range(40))
    assert output.stats() == {"datagrams": len(found), "bytes": sum(map(len, found)), "refused": 0}


@pytest.mark.parametrize("encoder", ["json", "msgpack", {"name": "signed", "key": "k" * 32}])
def test_the_other_listener_gets_the_same_events(connect: Any, encoder: Any) -> None:
    sink = FakeSink()
    there = UdpInput(port=0)
    there.start(sink)
    try:
        events = [
            Event(
                type="login",
                tokens=("login", "sync"),
                stream="s1",
                seq=n + 1,
                fields={"n": n, "deep": [{"a": None}]},
                weight=2.5,
            )
            for n in range(300)
        ]
        connect(port=port_of(there.addresses[0]), encoder=encoder, rate=0).write(batch(*events))
        wait_for(lambda: len(sink.events) == 300)
        assert sink.events == [msgspec.to_builtins(event) | {"tokens": ["login", "sync"]} for event in events]
    finally:
        there.stop()


def test_an_event_that_fits_no_datagram_is_rejected_and_the_others_go(connect: Any, server: socket.socket) -> None:
    large = Event(type="large", payload="x" * 70_000)
    with pytest.raises(Rejected) as refused:
        connect().write(batch(numbered(1)[0], large, numbered(1, 1)[0]))
    ((delivery, reason),) = refused.value.rejected
    assert delivery.event is large
    assert reason.startswith("too large: 70")
    assert len(b"".join(datagrams(server)).splitlines()) == 2


def test_an_event_beyond_max_frame_goes_alone(connect: Any, server: socket.socket) -> None:
    connect(max_frame=500).write(batch(Event(type="large", payload="x" * 20_000), *numbered(2)))
    assert [len(found) > 20_000 for found in datagrams(server)] == [True, False]


def test_a_refusal_holds_the_batch_and_the_next_try_goes_through() -> None:
    port = free_port(socket.SOCK_DGRAM)
    output = UdpOutput(port=port)
    for _ in range(2):
        with pytest.raises(Undelivered, match=f"udp://127.0.0.1:{port}: Connection refused"):
            output.write(batch(*numbered(3)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", port))
        server.setblocking(False)
        output.write(batch(*numbered(3)))
        assert len(b"".join(datagrams(server)).splitlines()) == 3
    assert output.stats()["refused"] == 2
    output.close()


def test_another_address_of_the_name_is_tried(
    connect: Any, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = free_port(socket.SOCK_DGRAM)
    answers = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", port)) for port in (dead, port_of(server))]
    monkeypatch.setattr(module.socket, "getaddrinfo", lambda *_, **__: answers)
    output = connect(host="collector")
    with pytest.raises(Undelivered):
        output.write(batch(*numbered(1)))
    output.write(batch(*numbered(1)))
    assert len(datagrams(server)) == 1


def test_the_rate_is_kept_over_batches(connect: Any, server: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(module, "sleep", slept.append)
    monkeypatch.setattr(module, "monotonic", lambda: 1000.0)  # no time passes, so that all of it must be waited for
    output = connect(rate=100.0, max_frame=64)
    output.write(batch(*numbered(10)))
    assert len(datagrams(server)) == 10
    assert slept == pytest.approx([0.01 * n for n in range(1, 10)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": 0}, "port = 0"),
        ({"max_frame": 70_000}, "max_frame = 70000: a datagram carries at most 65507 bytes"),
        ({"rate": -1}, "rate = -1.0"),
        ({"encoder": "nosuch"}, "nosuch"),
    ],
)
def test_settings_that_cannot_work_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plugins.build("output", {"name": "udp", **options}, "outputs[0]")
