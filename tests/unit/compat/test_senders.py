"""Each of the original's senders, to real peers."""

from __future__ import annotations

import io
import json
import logging
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq

from metlog.compat import MetlogClient, client_from_dict_config, client_from_text_config
from metlog.compat.senders import (
    DebugCaptureSender,
    FileSender,
    StdLibLoggingSender,
    StreamSender,
    UdpSender,
    ZmqHandshakePubSender,
    ZmqPubSender,
)
from metlog.encoders.json import JsonEncoder
from metlog.errors import ConfigError
from metlog.testing.peers import DatagramPeer
from tests.helpers.compat import messages
from tests.helpers.waiting import wait_for


def types_in(frames: list[bytes]) -> list[str]:
    found = [event.type for frame in frames for event in JsonEncoder().decode(frame)]
    return [kind for kind in found if kind != "metlog.end"]


def from_config(**sender: Any) -> MetlogClient:
    return client_from_dict_config({"logger": "tests", "sender": sender})


def test_udp_sends_every_message_to_every_host_each_with_its_port() -> None:
    """Hosts and ports are paired; the last port serves the hosts that are left."""
    with DatagramPeer() as one, DatagramPeer(("127.0.0.2", 0)) as two, DatagramPeer(("127.0.0.3", two.port)) as three:
        hosts, ports = ["127.0.0.1", "127.0.0.2", "127.0.0.3"], [one.port, two.port]
        for client in (
            from_config(**{"class": "metlog.senders.udp.UdpSender", "host": hosts, "port": ports}),
            from_config(**{"class": "metlog.senders.UdpSender", "args": (hosts, ports)}),
            MetlogClient(UdpSender(hosts, ports), "tests"),
        ):
            for peer in (one, two, three):
                peer.frames.clear()
            client.metlog("a")
            assert client.flush(5)
            for peer in (one, two, three):
                wait_for(lambda peer=peer: types_in(peer.frames))
                assert types_in(peer.frames) == ["a"]
            client.close()


def test_udp_from_ini(tmp_path: Path) -> None:
    with DatagramPeer() as peer:
        text = f"[m]\nsender_class = metlog.senders.UdpSender\nsender_host = 127.0.0.1\nsender_port = {peer.port}\n"
        with client_from_text_config(text, "m") as client:
            client.metlog("a")
        wait_for(lambda: types_in(peer.frames) == ["a"])


def test_zmq_publishes_and_copies_to_standard_error_when_asked(capfd: pytest.CaptureFixture[str]) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.setsockopt(zmq.SUBSCRIBE, b"")
        port = subscriber.bind_to_random_port("tcp://127.0.0.1")
        sender = {
            "class": "metlog.senders.zmq.ZmqPubSender",
            "bindstrs": f"tcp://127.0.0.1:{port}",
            "pool_size": 3,
            "livecheck": 1,
        }
        client = from_config(**sender, debug_stderr=True)
        poller = zmq.Poller()
        poller.register(subscriber, zmq.POLLIN)

        def arrived() -> bool:
            client.metlog("a")  # a subscription takes a moment
            client.flush(5)
            return bool(poller.poll(20))

        wait_for(arrived)
        assert set(types_in([subscriber.recv()])) == {"a"}
        client.close()
    assert '"type":"a"' in capfd.readouterr().err
    plain = MetlogClient(ZmqPubSender(["tcp://127.0.0.1:1", "tcp://127.0.0.1:2"], queue_length=7), "tests")
    each = [(branch.sender.hwm, branch.sender.endpoint) for branch in plain.branches]  # type: ignore[attr-defined]
    assert each == [(7, "tcp://127.0.0.1:1"), (7, "tcp://127.0.0.1:2")]
    plain.close(0.1)


def test_the_handshake_cannot_be_mapped_and_says_what_to_use() -> None:
    with pytest.raises(ConfigError, match="use ZmqPubSender, or this package's sender zmq with pattern push"):
        ZmqHandshakePubSender("tcp://h:1", "tcp://h:2", 200)


@pytest.mark.parametrize(
    ("formatter", "line"),
    [(None, '{"timestamp":'), ("theirs.shout_formatter", "A True\n"), (lambda msg: msg["payload"] + "!", "p!\n")],
    ids=["none", "dotted name", "callable"],
)
def test_files_get_a_line_a_message(tmp_path: Path, formatter: Any, line: str) -> None:
    path = tmp_path / "events"
    for client in (
        from_config(**{"class": "metlog.senders.dev.FileSender", "args": [str(path)], "formatter": formatter}),
        MetlogClient(FileSender(str(path), formatter), "tests"),
    ):
        client.metlog("a", payload="p")
        client.close()
        first = path.read_text().splitlines(keepends=True)[0]
        assert first.startswith(line)
        assert (stat.S_IMODE(path.stat().st_mode), client.stats().errors) == (0o640, 0)
        path.unlink()


@pytest.mark.process
@pytest.mark.parametrize("formatter", ["", "sender_formatter = compat_formatter.shout"])
def test_standard_output_in_a_process_of_its_own(tmp_path: Path, formatter: str) -> None:
    (tmp_path / "compat_formatter.py").write_text("def shout(msg):\n    return msg['payload'].upper()\n")
    program = f"""
from metlog.compat import client_from_text_config
client = client_from_text_config('''
[m]
sender_class = metlog.senders.StdOutSender
{formatter}
''', 'm')
client.metlog('a', payload='hey')
client.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, cwd=tmp_path, check=True
    )
    first = done.stdout.splitlines()[0]
    assert first == "HEY" if formatter else json.loads(first)["payload"] == "hey"


def test_an_open_stream_gets_indented_json() -> None:
    stream = io.StringIO()
    with MetlogClient(StreamSender(stream), "tests") as client:
        client.metlog("a", fields={"b": [1]})
        assert client.flush(5)
        assert isinstance(client.sender, StreamSender)
    message = json.loads(stream.getvalue())  # one message: metlog.end is not for it
    assert (message["type"], message["fields"]) == ("a", {"b": [1]})
    assert stream.getvalue().startswith('{\n    "type": "a",\n')


class Watch(logging.Handler):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.seen: list[tuple[int, str]] = []
        logger = logging.getLogger(name)
        logger.setLevel(logging.DEBUG)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append((record.levelno, record.getMessage()))


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({}, ["100 %", "json a", "json b"]),
        ({"payload_types": "a"}, ["json oldstyle", "A", "json b"]),
        ({"payload_types": ["a", "oldstyle"], "json_types": ["b"]}, ["100 %", "A", "json b"]),
        ({"payload_types": "*", "json_types": "b"}, ["100 %", "A", "B"]),
        ({"json_types": []}, ["100 %"]),
    ],
)
def test_stdlib_logging_gets_payloads_json_or_nothing(options: dict[str, Any], texts: list[str], request: Any) -> None:
    watch = Watch(request.node.name)
    sender = {"class": "metlog.senders.logging.StdLibLoggingSender", "logger_name": request.node.name, **options}
    for make in (
        lambda: from_config(**sender),
        lambda: MetlogClient(StdLibLoggingSender(request.node.name, **options), "x"),
    ):
        client = make()
        watch.seen.clear()
        client.error("100 %")
        client.metlog("a", payload="A", severity=7)
        client.metlog("b", payload="B", severity=0)
        assert client.flush(5)
        client.close()
        short = [f"json {json.loads(text)['type']}" if text.startswith("{") else text for _, text in watch.seen]
        assert short == texts
    levels = {logging.ERROR, logging.DEBUG, logging.CRITICAL}
    assert {level for level, _ in watch.seen} <= levels


def test_the_capturing_sender_keeps_the_last_hundred_and_any_attribute() -> None:
    sender = DebugCaptureSender(note=1)
    client = MetlogClient(sender, "tests")
    for number in range(130):
        client.metlog("a", payload=str(number))
    assert [m["payload"] for m in messages(client)] == [str(number) for number in range(30, 130)]
    assert (client.sender, sender.note) == (sender, 1)  # type: ignore[attr-defined]
    client.close()


def test_values_that_json_cannot_say_reach_every_kind_of_sender(tmp_path: Path) -> None:
    class Odd:
        def __repr__(self) -> str:
            return "<odd>"

    stream = io.StringIO()
    makers: list[Callable[[], Any]] = [
        lambda: DebugCaptureSender(),
        lambda: StreamSender(stream),
        lambda: FileSender(str(tmp_path / "f"), lambda msg: json.dumps(msg)),
    ]
    for make in makers:
        client = MetlogClient(make(), "tests")
        client.metlog("a", fields={"odd": Odd(), "set": {1}, "nan": float("nan")})
        assert client.flush(5)
        assert client.stats().errors == 0
        client.close()
    for text in (stream.getvalue(), (tmp_path / "f").read_text().splitlines()[0]):
        assert json.loads(text)["fields"]["odd"] == "<odd>"
