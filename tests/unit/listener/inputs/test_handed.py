"""Which socket of those before it an input takes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from metlog.listener.inputs import Handed, HandedSocket

UDP = socket.SOCK_DGRAM


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        made = [stack.enter_context(socket.socket(socket.AF_INET, kind)) for kind in (UDP, UDP, socket.SOCK_STREAM)]
        for sock in made:
            sock.bind(("127.0.0.1", 0))
        yield made


def handed(sockets: list[socket.socket]) -> Handed:
    names = [("a", "udp://127.0.0.1:0"), ("b", "udp://127.0.0.1:0"), ("c", "tcp://127.0.0.1:0")]
    return Handed(HandedSocket(owner, name, sock) for (owner, name), sock in zip(names, sockets, strict=True))


def test_by_what_was_asked_for_and_the_own_one_before_others(sockets: list[socket.socket]) -> None:
    pool = handed(sockets)
    pool.heir = "b"
    assert pool.take("udp://127.0.0.1:0", UDP) is sockets[1]
    assert pool.take("udp://127.0.0.1:0", UDP) is sockets[0], "the next that fits, whose it was"
    assert pool.take("udp://127.0.0.1:0", UDP) is None
    assert pool.taken == [0, 1]
    assert pool.heirs([0, 1]) == {"a", "b"}
    assert pool.heirs([7, -1]) == set(), "what another process says is not believed"


def test_by_the_address_that_is_bound(sockets: list[socket.socket]) -> None:
    pool = handed(sockets)
    port = sockets[1].getsockname()[1]
    assert pool.take("udp://localhost:1", UDP, "127.0.0.1", port) is sockets[1]
    assert pool.take("tcp://x:1", UDP, "127.0.0.1", sockets[2].getsockname()[1]) is None, "of another kind"
    assert pool.take("udp://x:1", UDP, "no such host.invalid", port) is None
    assert pool.take("udp://x:0", UDP, "127.0.0.1", 0) is None


def test_fewer_sockets_of_an_address_lose_nothing() -> None:
    """What came to the one that is left over can be read to the end, and nothing more comes to it."""
    pair = [socket.socket(socket.AF_INET, UDP) for _ in range(2)]
    port = 0
    for sock in pair:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", port))
        sock.setblocking(False)
        port = sock.getsockname()[1]
    name = f"udp://127.0.0.1:{port}"
    pool = Handed.of(("a", name, sock) for sock in pair)
    senders = [socket.socket(socket.AF_INET, UDP) for _ in range(32)]
    for sender in senders:
        sender.sendto(b"before", ("127.0.0.1", port))
    kept = pool.take(name, UDP)
    assert kept is not None
    pool.quiet(pool.taken)
    for sender in senders:
        sender.sendto(b"after", ("127.0.0.1", port))
    assert pool.take(name, UDP) is None, "nothing comes to it any more"
    found = [_all(sock) for sock in pair]
    assert set(found[1]) == {b"before"}
    assert sorted(found[0] + found[1]) == [b"after"] * 32 + [b"before"] * 32
    pool.close_all()
    for sock in (*pair, *senders):
        sock.close()


def _all(sock: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(sock.recv(100))
        except BlockingIOError:
            return found


def test_what_nobody_took_is_closed(sockets: list[socket.socket]) -> None:
    pool = handed(sockets)
    pool.heir = "a"
    assert pool.take_all("tcp://127.0.0.1:0", socket.SOCK_STREAM) == [sockets[2]]
    pool.close("b")
    assert [sock.fileno() < 0 for sock in sockets] == [False, True, False]
    pool.close()
    assert [sock.fileno() < 0 for sock in sockets] == [True, True, False]
    pool.close_all()
    assert all(sock.fileno() < 0 for sock in sockets)
