"""What senders over a connected socket have in common: `tcp`, `unix` with kind stream, and statsd over both."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metlog.senders import BaseSender
from metlog.senders.tcp import TcpSender
from metlog.senders.unix import UnixSender
from metlog.statsd.client import TcpStatsd, UnixStatsd
from metlog.testing.peers import StreamPeer
from tests.helpers.descriptors import many_open
from tests.helpers.waiting import wait_for

SENDERS: dict[str, Callable[[StreamPeer, str], BaseSender]] = {
    "tcp": lambda peer, path: TcpSender(port=peer.port),
    "unix": lambda peer, path: UnixSender(path=path, kind="stream"),
}
CLIENTS: dict[str, Callable[[StreamPeer, str], Any]] = {
    "tcp": lambda peer, path: TcpStatsd("127.0.0.1", peer.port),
    "unix": lambda peer, path: UnixStatsd(path),
}


def serving(kind: str, path: str) -> StreamPeer:
    return StreamPeer(path) if kind == "unix" else StreamPeer()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)  # keeps the path short
    return "peer.sock"


@pytest.mark.parametrize("kind", SENDERS)
def test_every_frame_goes_over_one_connection_in_a_process_with_many_descriptors(kind: str, path: str) -> None:
    with serving(kind, path) as peer, many_open():
        sender = SENDERS[kind](peer, path)
        for frame in (b"1\n", b"2\n", b"3\n"):
            sender.send(frame)
        wait_for(lambda: peer.data == b"1\n2\n3\n")
        assert len(peer.streams) == 1
        sender.close()


@pytest.mark.parametrize("kind", SENDERS)
def test_a_peer_that_hung_up_is_noticed_in_a_process_with_many_descriptors(kind: str, path: str) -> None:
    with serving(kind, path) as peer, many_open():
        _no_frame_is_lost_where_it_hangs_up(peer, SENDERS[kind](peer, path))


@pytest.mark.parametrize("kind", SENDERS)
@pytest.mark.parametrize("size", [1, 100_000])
def test_a_peer_that_says_something_before_it_hangs_up_costs_no_frame(kind: str, path: str, size: int) -> None:
    with serving(kind, path) as peer:
        _no_frame_is_lost_where_it_hangs_up(peer, SENDERS[kind](peer, path), says=b"x" * size)


def _no_frame_is_lost_where_it_hangs_up(peer: Any, sender: Any, says: bytes = b"") -> None:
    sender.send(b"1\n")
    wait_for(lambda: peer.data == b"1\n")
    (connection,) = peer._open
    connection.sendall(says)
    peer.hang_up()
    wait_for(lambda: not peer._open)
    sender.send(b"2\n")
    wait_for(lambda: peer.data == b"1\n2\n")
    assert len(peer.streams) == 2
    sender.close()


def test_a_peer_that_never_stops_talking_holds_no_frame_up() -> None:
    class Talking:
        def __init__(self, readable: socket.socket) -> None:
            self.fileno, self.settimeout = readable.fileno, readable.settimeout

        def recv(self, size: int) -> bytes:
            return b"x" * size

    here, there = socket.socketpair()
    with here, there:
        there.send(b"x")
        sender: Any = TcpSender(port=1)
        assert not sender._gone(Talking(here))
        sender.close()


@pytest.mark.parametrize("kind", CLIENTS)
def test_no_metric_is_lost_in_a_process_with_many_descriptors(kind: str, path: str) -> None:
    with serving(kind, path) as peer, many_open():
        client = CLIENTS[kind](peer, path)
        for name in ("a", "b", "c"):
            client.incr(name)
            assert client.flush(20)
        assert (client.stats().sent, client.stats().dropped) == (3, {})
        wait_for(lambda: peer.data == b"a:1|c\nb:1|c\nc:1|c\n")
        client.close()
