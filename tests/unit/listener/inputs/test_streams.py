"""Inputs `tcp` and `unix` over real sockets: frames, limits, TLS, backpressure, sockets that were left behind."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metlog import plugins
from metlog.errors import ConfigError
from metlog.listener.inputs.tcp import TcpInput
from metlog.listener.inputs.unix import UnixInput
from tests.helpers.certificates import make
from tests.helpers.sink import FakeSink
from tests.helpers.waiting import wait_for

EVENT = b'{"type":"x","payload":"%d"}'
Start = Callable[..., tuple[Any, FakeSink]]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[Any] = []

    def begin(made: Any) -> tuple[Any, FakeSink]:
        sink = FakeSink()
        made.start(sink)
        running.append(made)
        return made, sink

    yield begin
    for made in running:
        made.stop()


def connect(made: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(made.addresses[0].rpartition(":")[2])), timeout=10)


def payloads(sink: FakeSink) -> list[str]:
    return [event["payload"] for event in sink.events]


def test_lines_arrive_whatever_the_reads(start: Start) -> None:
    made, sink = start(TcpInput(port=0))
    with connect(made) as peer:
        for byte in b"".join(EVENT % n + b"\n" for n in range(3)):
            peer.sendall(bytes([byte]))
        peer.sendall(b"".join(EVENT % n + b"\n" for n in range(3, 1000)))
    wait_for(lambda: len(sink.events) == 1000)
    assert payloads(sink) == [str(n) for n in range(1000)]
    assert made.stats()["frames"] == 1000
    assert sink.sources[0].startswith("tcp://127.0.0.1:")


def test_frames_after_their_length_and_as_messagepack(start: Start) -> None:
    made, sink = start(TcpInput(port=0, framing="length"))
    with connect(made) as peer:
        peer.sendall(b"".join(struct.pack(">I", len(EVENT % n)) + EVENT % n for n in range(50)))
    wait_for(lambda: len(sink.events) == 50)
    made, sink = start(TcpInput(port=0, framing="msgpack"))
    with connect(made) as peer:
        peer.sendall(b"".join(msgspec.msgpack.encode({"type": "x", "payload": str(n)}) for n in range(50)))
    wait_for(lambda: len(sink.events) == 50)
    assert payloads(sink) == [str(n) for n in range(50)]


def test_a_line_that_is_cut_is_dead_lettered_with_its_reason(start: Start) -> None:
    made, sink = start(TcpInput(port=0))
    with connect(made) as peer:
        peer.sendall(EVENT % 1 + b'\n{"type":"half')
    wait_for(lambda: sink.dead)
    assert payloads(sink) == ["1"]
    assert sink.dead[0][0] == b'{"type":"half'
    assert sink.dead[0][2].startswith("cut")
    assert made.stats()["cut"] == 1


def test_an_oversized_line_does_not_take_the_next_one_along(start: Start) -> None:
    made, sink = start(TcpInput(port=0, max_frame=1000))
    with connect(made) as peer:
        peer.sendall(b"x" * 5000 + b"\n" + EVENT % 2 + b"\n")
        wait_for(lambda: sink.events)
    assert payloads(sink) == ["2"]
    wait_for(lambda: made.stats()["oversized"] == 1)  # counted after what came with it was taken
    assert sink.dead[0][2].startswith("oversized")


def test_connections_beyond_the_limit_are_closed_and_counted(start: Start) -> None:
    made, sink = start(TcpInput(port=0, max_connections=2))
    with connect(made) as one, connect(made) as two:
        wait_for(lambda: made.stats()["open"] == 2)
        with connect(made) as three:
            assert three.recv(1) == b""
        one.sendall(EVENT % 1 + b"\n")
        two.sendall(EVENT % 2 + b"\n")
        wait_for(lambda: len(sink.events) == 2)
    assert made.stats()["refused"] == 1


def test_a_frame_that_drips_ends_in_time(start: Start) -> None:
    made, sink = start(TcpInput(port=0, frame_timeout=0.4))
    with connect(made) as peer:
        peer.sendall(EVENT % 1 + b"\n{")
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.05):
                try:
                    peer.sendall(b" ")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            wait_for(lambda: made.stats()["timeouts"] == 1)
        finally:
            stop.set()
            dripping.join()
    assert payloads(sink) == ["1"]


def later(made: Any, seconds: float) -> None:
    """Lets the time of the server's loop jump ahead; what is due then has happened when it returns."""
    loop = made._server._loop
    clock = loop.time

    async def jump() -> None:
        loop.time = lambda: clock() + seconds
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run_coroutine_threadsafe(jump(), loop).result(30)


def test_a_frame_in_two_packets_is_taken_however_long_the_pause_before_it_was(start: Start) -> None:
    made, sink = start(TcpInput(port=0, frame_timeout=60))
    with connect(made) as peer:
        for number, size in ((1, 1), (2, 5), (3, 10)):
            taken = made.stats()["bytes"]
            peer.sendall((EVENT % number)[:size])
            wait_for(lambda taken=taken, size=size: made.stats()["bytes"] == taken + size)
            peer.sendall((EVENT % number)[size:] + b"\n")
            wait_for(lambda number=number: len(sink.events) == number)
            later(made, 100)
    assert payloads(sink) == ["1", "2", "3"]
    assert made.stats()["timeouts"] == 0


def test_what_the_sink_takes_of_the_time_of_a_frame_is_not_its_peer_s(start: Start) -> None:
    made, sink = start(TcpInput(port=0, frame_timeout=60))
    sink.gate.clear()
    with connect(made) as peer:
        peer.sendall(EVENT % 1 + b"\n" + (EVENT % 2)[:5])
        wait_for(lambda: made.stats()["frames"] == 1)
        later(made, 100)
        sink.gate.set()
        wait_for(lambda: sink.events)
        peer.sendall((EVENT % 2)[5:] + b"\n")
        wait_for(lambda: len(sink.events) == 2)
    assert made.stats()["timeouts"] == 0


def test_a_line_after_one_that_was_skipped_has_the_whole_of_its_time(start: Start) -> None:
    made, sink = start(TcpInput(port=0, max_frame=64, frame_timeout=60))
    with connect(made) as peer:
        peer.sendall(b"x" * 100)
        wait_for(lambda: made.stats()["oversized"] == 1)
        later(made, 40)
        peer.sendall(b"x\n" + (EVENT % 1)[:5])
        wait_for(lambda: made.stats()["bytes"] == 107)
        later(made, 40)
        peer.sendall((EVENT % 1)[5:] + b"\n")
        wait_for(lambda: sink.events)
    assert made.stats()["timeouts"] == 0


def test_a_frame_whose_rest_does_not_come_is_dead_lettered_with_what_ended_it(start: Start) -> None:
    made, sink = start(TcpInput(port=0, frame_timeout=60))
    with connect(made) as peer:
        peer.sendall(b"half")
        wait_for(lambda: made.stats()["bytes"] == 4)
        later(made, 100)
        wait_for(lambda: sink.dead)
    assert [(data, reason) for data, _, reason in sink.dead] == [
        (b"half", "cut: the rest of the frame did not come within 60 s")
    ]


def test_each_line_that_is_too_long_is_dead_lettered_by_its_own_beginning(start: Start) -> None:
    made, sink = start(TcpInput(port=0, max_frame=64))
    with connect(made) as peer:
        peer.sendall(EVENT % 1 + b"\n" + b"a" * 300 + b"\n" + EVENT % 2 + b"\n" + b"b" * 65 + b"\n" + EVENT % 3 + b"\n")
        wait_for(lambda: len(sink.events) == 3)
    wait_for(lambda: len(sink.dead) == 2)
    assert [data for data, _, _ in sink.dead] == [b"a" * 200, b"b" * 65]
    assert made.stats()["oversized"] == 2


def test_bytes_that_cannot_be_framed_are_one_dead_letter_that_begins_where_they_do(start: Start) -> None:
    made, sink = start(TcpInput(port=0, max_frame=64, framing="length"))
    good = struct.pack(">I", len(EVENT % 1)) + EVENT % 1
    with connect(made) as peer:
        peer.sendall(good + struct.pack(">I", 200) + b"y" * 200)
        assert peer.recv(1) == b""
    wait_for(lambda: sink.dead)
    made.stop()
    assert payloads(sink) == ["1"]
    assert [(data, reason) for data, _, reason in sink.dead] == [
        (struct.pack(">I", 200) + b"y" * 196, "cannot be framed: a frame of 200 bytes; 64 are taken")
    ]
    assert (made.stats()["cut"], made.stats()["oversized"]) == (1, 1)


def test_an_end_reads_what_the_kernel_still_holds(start: Start) -> None:
    made, sink = start(TcpInput(port=0))
    with connect(made) as peer:
        peer.sendall(b"".join(EVENT % n + b"\n" for n in range(20_000)))
        wait_for(lambda: sink.events)
        made.stop()
    assert len(sink.events) == 20_000


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_an_end_takes_connections_that_were_not_accepted_yet(start: Start, tmp_path: Path, kind: str) -> None:
    """They are made, filled and closed while the server's thread is busy, and its end comes before it looks."""
    made, sink = start(TcpInput(port=0) if kind == "tcp" else UnixInput(path=str(tmp_path / "s"), kind="stream"))
    free = threading.Event()
    made._server._loop.call_soon_threadsafe(free.wait, 10)
    peers = []
    for number in range(20):
        if kind == "tcp":
            peers.append(connect(made))
        else:
            peers.append(socket.socket(socket.AF_UNIX))
            peers[-1].connect(str(tmp_path / "s"))
        peers[-1].sendall(EVENT % number + b"\n")
        peers[-1].shutdown(socket.SHUT_WR)
    ending = threading.Thread(target=made.stop)
    ending.start()
    wait_for(ending.is_alive)
    free.set()
    ending.join()
    assert sorted(map(int, payloads(sink))) == list(range(20))
    for peer in peers:
        peer.close()


def test_tls_with_a_client_certificate(start: Start, tmp_path: Path) -> None:
    make(tmp_path)
    pem = {name: str(tmp_path / name) for name in ("server.pem", "server.key", "client.pem", "client.key", "ca.pem")}
    made, sink = start(
        TcpInput(port=0, cert_file=pem["server.pem"], key_file=pem["server.key"], client_ca_file=pem["ca.pem"])
    )
    assert made.addresses[0].startswith("tls://")
    context = ssl.create_default_context(cafile=pem["ca.pem"])
    with connect(made) as raw:
        try:
            with context.wrap_socket(raw, server_hostname="127.0.0.1") as peer:
                peer.sendall(EVENT % 0 + b"\n")
        except (ssl.SSLError, ConnectionError):
            pass  # TLS 1.3 tells a client only when it reads
        wait_for(lambda: made.stats()["handshakes_failed"] == 1)
    context.load_cert_chain(pem["client.pem"], pem["client.key"])
    with connect(made) as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as peer:
        peer.sendall(EVENT % 1 + b"\n")
        peer.unwrap()
    wait_for(lambda: sink.events)
    assert payloads(sink) == ["1"]


@pytest.mark.parametrize("kind", ["dgram", "stream"])
def test_a_unix_socket_replaces_one_that_was_left_there(start: Start, tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "in.sock")
    kinds = {"dgram": socket.SOCK_DGRAM, "stream": socket.SOCK_STREAM}
    with socket.socket(socket.AF_UNIX, kinds[kind]) as left:
        left.bind(path)
    made, sink = start(UnixInput(path=path, kind=kind, mode="0600"))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with socket.socket(socket.AF_UNIX, kinds[kind]) as peer:
        peer.connect(path)
        peer.sendall(EVENT % 1 + b"\n")
    wait_for(lambda: sink.events)
    with pytest.raises(OSError, match="another process listens there"):
        UnixInput(path=path, kind=kind).start(sink)
    made.stop()
    assert not os.path.exists(path)


def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match="is no socket"):
        UnixInput(path=str(path)).start(FakeSink())
    assert path.read_text() == "data"


def test_the_socket_of_a_successor_is_not_removed(start: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "in.sock")
    made, _ = start(UnixInput(path=path))
    os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as successor:
        successor.bind(path)
        made.stop()
        assert os.path.exists(path)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"name": "tcp", "port": -1}, "port"),
        ({"name": "tcp", "framing": "xml"}, "framing"),
        ({"name": "tcp", "max_frame": 1}, "max_frame"),
        ({"name": "tcp", "max_frame": 2**32}, "max_frame"),
        ({"name": "tcp", "fd": 2**31}, "fd"),
        ({"name": "tcp", "idle_timeout": 0}, "idle_timeout"),
        ({"name": "tcp", "key_file": "x"}, "cert_file"),
        ({"name": "tcp", "cert_file": "/nowhere.pem"}, "cert_file"),
        ({"name": "unix", "path": "x" * 200}, "path"),
        ({"name": "unix", "path": "x", "kind": "seqpacket"}, "kind"),
        ({"name": "unix", "path": "x", "max_frame": 2**32}, "max_frame"),
        ({"name": "unix", "path": "x", "receive_buffer": 2**31}, "receive_buffer"),
        ({"name": "syslog", "receive_buffer": 2**31}, "receive_buffer"),
        ({"name": "http", "max_body": 2**32, "max_pending": 2**40}, "max_body"),
        ({"name": "zmq", "hwm": 2**31}, "hwm"),
        ({"name": "zmq", "max_message": 2**32}, "max_message"),
        ({"name": "unix", "path": "x", "mode": "rw"}, "mode"),
    ],
)
def test_a_wrong_option_is_named(spec: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        plugins.build("input", spec, "inputs[0]")
