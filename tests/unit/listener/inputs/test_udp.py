"""The input `udp` on real sockets: the largest datagram there is, several sockets on one port, batches, the end."""

from __future__ import annotations

import errno
import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from metlog.errors import ConfigError
from metlog.listener.inputs._many import ManyDatagrams
from metlog.listener.inputs.udp import UdpInput
from tests.helpers.sink import FakeSink
from tests.helpers.waiting import wait_for

Start = Callable[..., UdpInput]

LARGEST = 65_507
"""Bytes that a datagram carries over IPv4."""


class Counting(FakeSink):
    """Knows which thread gave it how many datagrams at once."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.taken: list[tuple[bytes, str]] = []
        self.threads: Counter[str] = Counter()

    def frames(self, batch: Sequence[tuple[bytes, str]], received_at: int | None = None) -> None:
        assert self.gate.wait(20)
        with self.lock:
            self.batches.append(len(batch))
            self.taken += batch
            self.threads[threading.current_thread().name + str(threading.get_ident())] += len(batch)
        super().frames(batch, received_at)


@pytest.fixture
def sink() -> Counting:
    return Counting()


class NotHere:
    """In place of `ManyDatagrams`, where the system has no such call."""

    def __init__(self, sock: socket.socket, at_once: int) -> None:
        raise OSError("not here")


@pytest.fixture(params=["many a call", "one a call"])
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, sink: Counting) -> Iterator[Start]:
    started = []
    if request.param == "one a call":
        monkeypatch.setattr("metlog.listener.inputs._many.ManyDatagrams", NotHere)

    def begin(**options: Any) -> UdpInput:
        item = UdpInput(**{"port": 0, "receive_buffer": 4 << 20} | options)
        started.append(item)
        item.start(sink)
        return item

    yield begin
    sink.gate.set()
    for item in started:
        item.stop()


def place(item: UdpInput) -> tuple[str, int]:
    host, _, port = item.addresses[0].removeprefix("udp://").rpartition(":")
    return host.strip("[]"), int(port)


def test_the_largest_datagram_is_taken_whole_and_nothing_is_cut(start: Start, sink: Counting) -> None:
    to = place(start())
    frame = json.dumps({"type": "large", "payload": "x" * (LARGEST - 32)}).encode()
    frame += b" " * (LARGEST - len(frame))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert sock.sendto(frame, to) == LARGEST
        name = f"udp://127.0.0.1:{sock.getsockname()[1]}"
        wait_for(lambda: sink.events)
    assert sink.events[0]["payload"] == "x" * (LARGEST - 32)
    assert sink.sources == [name]
    assert sink.dead == []


def test_what_waits_in_the_buffer_is_taken_many_at_a_time(start: Start, sink: Counting) -> None:
    item = start()
    sink.gate.clear()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b'{"type":"one","seq":0}', place(item))
        wait_for(lambda: item.stats()["frames"] == 1)  # the receiver is held at the gate
        for n in range(1, 1500):
            sock.sendto(b'{"type":"one","seq":%d}' % n, place(item))
        sink.gate.set()
        wait_for(lambda: len(sink.events) == 1500)
    assert max(sink.batches) == 1024
    assert [event["seq"] for event in sink.events] == list(range(1500))
    assert item.stats()["frames"] == 1500


def test_each_datagram_comes_whole_with_its_own_sender(start: Start, sink: Counting) -> None:
    item = start()
    sink.gate.clear()
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(5)]
    sent = []
    try:
        for n in range(200):
            sender = senders[n * 7 % 5]
            frame = b'{"type":"one","payload":"%b"}' % (b"%d" % n * (n % 17) * (1 + n % 3 * 100))
            assert sender.sendto(frame, place(item)) == len(frame)
            sent.append((frame, f"udp://127.0.0.1:{sender.getsockname()[1]}"))
        senders[0].sendto(b"", place(item))
        sent.append((b"", f"udp://127.0.0.1:{senders[0].getsockname()[1]}"))
        sink.gate.set()
        wait_for(lambda: sum(sink.batches) == 201)
    finally:
        for sender in senders:
            sender.close()
    assert sink.taken == sent


def test_a_call_that_a_sandbox_does_not_let_through_is_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, sink: Counting
) -> None:
    asked = []

    def refused(self: ManyDatagrams) -> list[tuple[bytes, str]]:
        asked.append(self)
        raise PermissionError(errno.EPERM, "no such call here")

    monkeypatch.setattr(ManyDatagrams, "receive", refused)
    item = UdpInput(port=0)
    item.start(sink)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for n in range(3):
                sock.sendto(b'{"type":"one","seq":%d}' % n, place(item))
                wait_for(lambda n=n: len(sink.events) == n + 1)  # type: ignore[misc]
    finally:
        item.stop()
    assert len(asked) == 1
    assert item.stats()["frames"] == 3


def test_without_ctypes_datagrams_are_taken_one_by_one(monkeypatch: pytest.MonkeyPatch, sink: Counting) -> None:
    monkeypatch.setitem(sys.modules, "metlog.listener.inputs._many", None)  # as where ctypes cannot be imported
    item = UdpInput(port=0)
    item.start(sink)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b'{"type":"one"}', place(item))
        wait_for(lambda: sink.events)
    finally:
        item.stop()
    assert item.stats()["frames"] == 1


def test_while_datagrams_keep_coming_they_are_taken_in_turns(start: Start, sink: Counting) -> None:
    item = start()
    began = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for n in range(200):
            sock.sendto(b'{"type":"one","seq":%d}' % n, place(item))
            time.sleep(0.0002)
    wait_for(lambda: len(sink.events) == 200)
    turns = (time.monotonic() - began) / 0.01
    assert len(sink.batches) <= turns + 3
    assert [event["seq"] for event in sink.events] == list(range(200))


def test_several_sockets_share_a_port_and_none_misses_or_doubles_anything(start: Start, sink: Counting) -> None:
    item = start(sockets=4)
    assert len(item.addresses) == 1
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(64)]
    try:
        for n in range(640):
            senders[n % 64].sendto(b'{"type":"one","seq":%d}' % (n + 1), place(item))
        wait_for(lambda: len(sink.events) >= 640)
    finally:
        for sender in senders:
            sender.close()
    assert sorted(event["seq"] for event in sink.events) == list(range(1, 641))
    shares = [entry["frames"] for entry in item.sockets()]
    assert len(shares) == 4
    assert sum(shares) == 640
    assert sum(share > 0 for share in shares) >= 2, shares  # the kernel spreads 64 senders
    assert len(sink.threads) == sum(share > 0 for share in shares)
    assert all(entry["kernel_drops"] == 0 for entry in item.sockets())


def test_one_socket_leaves_nobody_else_onto_its_port(start: Start) -> None:
    _, port = place(start())
    with pytest.raises(OSError, match=f"udp://127.0.0.1:{port}: .*choose another --udp"):
        start(port=port)
    with pytest.raises(OSError, match="choose another"):
        start(port=port, sockets=2)


def test_an_ipv6_address_is_written_with_brackets(start: Start, sink: Counting) -> None:
    try:
        item = start(host="::1")
    except OSError:
        pytest.skip("needs IPv6 on loopback")
    assert item.addresses[0].startswith("udp://[::1]:")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.sendto(b'{"type":"six"}', place(item))
        wait_for(lambda: sink.events)
    assert sink.sources[0].startswith("udp://[::1]:")


def test_the_end_takes_what_has_come(sink: Counting) -> None:
    item = UdpInput(port=0)
    item.start(sink)
    sink.gate.clear()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for n in range(1000):
            sock.sendto(b'{"type":"one","seq":%d}' % n, place(item))
    ending = threading.Thread(target=item.stop)
    ending.start()
    sink.gate.set()
    ending.join(20)
    assert not ending.is_alive()
    assert len(sink.events) == 1000
    assert item.stats()["frames"] == 1000


def test_a_thread_that_died_or_hangs_is_told(start: Start, sink: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    item = start()
    assert item.health() == ""
    (receiver,) = item._receivers
    monkeypatch.setattr(receiver.heart, "stuck", 0.2)
    sink.gate.clear()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b'{"type":"one"}', place(item))
    wait_for(lambda: "has not moved" in item.health())
    sink.gate.set()
    monkeypatch.setattr(receiver.heart, "stuck", 20)
    wait_for(lambda: item.health() == "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": 65_536}, "port = 65536: wants 0 to 65535"),
        ({"sockets": 0}, "sockets = 0: wants 1 to 64"),
        ({"sockets": 65}, "sockets = 65: wants 1 to 64"),
        ({"receive_buffer": 2**31}, "receive_buffer = 2147483648: wants 4096 to 2147483647 bytes"),
        ({"receive_buffer": 10}, "receive_buffer = 10: wants 4096 to 2147483647 bytes"),
    ],
)
def test_settings_that_cannot_work_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        UdpInput(**options)


def test_a_receive_buffer_smaller_than_asked_for_is_told_with_the_remedy(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metlog.listener.inputs.udp._SO_RCVBUFFORCE", 0x7FFF)  # as for a user who is not root
    most = int(open("/proc/sys/net/core/rmem_max").read())  # noqa: SIM115 - a kernel figure
    item = start(receive_buffer=most + 1)
    assert len(item.warnings) == 1
    assert f"gave a receive buffer of {most} bytes, not {most + 1}" in item.warnings[0]
    assert f"sysctl -w net.core.rmem_max={most + 1}" in item.warnings[0]
