"""Every built-in input keeps every promise of InputConformance."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
import zmq

from metlog.listener.inputs.elasticsearch import ElasticsearchInput
from metlog.listener.inputs.http import HttpInput
from metlog.listener.inputs.loki import LokiInput
from metlog.listener.inputs.otlp import OtlpInput
from metlog.listener.inputs.statsd import StatsdInput
from metlog.listener.inputs.syslog import SyslogInput
from metlog.listener.inputs.tcp import TcpInput
from metlog.listener.inputs.udp import UdpInput
from metlog.listener.inputs.unix import UnixInput
from metlog.listener.inputs.zmq import ZmqInput
from metlog.plugins import installed
from metlog.testing import InputConformance

pytestmark = pytest.mark.slow  # real peers, with the waits that the suite is made of


def test_none_is_left_out() -> None:
    covered = {name.removeprefix("Test").removesuffix("Input").lower() for name in globals() if name[:4] == "Test"}
    builtin = {plugin.name for plugin in installed("input") if plugin.origin.startswith("metlog ")}
    assert builtin - {"kafka"} <= covered  # tests/system/cluster/test_conformance.py, with a broker


def lines(numbers: Sequence[int]) -> bytes:
    return b"".join([b'{"type":"numbered","fields":{"n":%d}}\n' % number for number in numbers])


def port_of(address: str) -> int:
    port = urlsplit(address.replace("syslog+", "", 1)).port
    assert port is not None
    return port


def datagrams(address: str, frames: Sequence[bytes]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for frame in frames:
            sock.sendto(frame, ("127.0.0.1", port_of(address)))


def post(address: str, path: str, content: bytes, **headers: str) -> None:
    url = f"http://127.0.0.1:{port_of(address)}{path}"
    try:
        httpx.post(url, content=content, headers=headers, timeout=10, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise OSError(str(error)) from error


class TestUdpInput(InputConformance):
    def make_input(self) -> UdpInput:
        return UdpInput(port=0)

    def send(self, address: str, numbers: Sequence[int]) -> None:
        datagrams(address, [lines([number]) for number in numbers])

    def send_junk(self, address: str) -> None:
        datagrams(address, [b"", b"\xff" * 1000, b"{", b'{"type":7}\n', b"\xc0"])

    def make_second(self, address: str) -> UdpInput:
        return UdpInput(port=port_of(address))


class TestStatsdInput(TestUdpInput):
    def make_input(self) -> Any:
        return StatsdInput(port=0)

    def send(self, address: str, numbers: Sequence[int]) -> None:
        datagrams(address, [b"n:%d|g\n" % number for number in numbers])

    def number_of(self, event: dict[str, Any]) -> int:
        return int(event["fields"]["value"])

    def make_second(self, address: str) -> Any:
        return StatsdInput(port=port_of(address))


class TestSyslogInput(TestUdpInput):
    def make_input(self) -> Any:
        return SyslogInput(port=0, transports=["udp"])

    def send(self, address: str, numbers: Sequence[int]) -> None:
        datagrams(address, [b"<14>app: %d" % number for number in numbers])

    def number_of(self, event: dict[str, Any]) -> int:
        return int(event["payload"])

    def make_second(self, address: str) -> Any:
        return SyslogInput(port=port_of(address), transports=["udp"])


class TestTcpInput(InputConformance):
    def make_input(self) -> TcpInput:
        return TcpInput(port=0)

    def send(self, address: str, numbers: Sequence[int]) -> None:
        self.raw(address, lines(numbers))

    def raw(self, address: str, data: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port_of(address)), 5) as sock:
            sock.sendall(data)

    def send_junk(self, address: str) -> None:
        self.raw(address, b"\xff\xfe\x00" * 100 + b'\n{"type":7}\n{')

    def make_second(self, address: str) -> TcpInput:
        return TcpInput(port=port_of(address))


class TestUnixInput(InputConformance):
    @pytest.fixture(autouse=True)
    def path(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_input(self) -> UnixInput:
        return UnixInput(path=str(self.folder / "one.sock"))

    def send(self, address: str, numbers: Sequence[int]) -> None:
        self.raw(address, [lines([number]) for number in numbers])

    def raw(self, address: str, frames: Sequence[bytes]) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect(address.removeprefix("unix://"))
            for frame in frames:
                sock.send(frame)

    def send_junk(self, address: str) -> None:
        self.raw(address, [b"\xff\xfe", b'{"type":7}\n', b"{"])

    def make_second(self, address: str) -> UnixInput:
        return UnixInput(path=address.removeprefix("unix://"))


class TestZmqInput(InputConformance):
    def make_input(self) -> ZmqInput:
        return ZmqInput(endpoint="tcp://127.0.0.1:*")

    def send(self, address: str, numbers: Sequence[int]) -> None:
        self.raw(address, [lines([number]) for number in numbers])

    def raw(self, address: str, messages: Sequence[bytes]) -> None:
        context: zmq.Context[Any] = zmq.Context()
        try:
            push = context.socket(zmq.PUSH)
            push.setsockopt(zmq.LINGER, 10_000)
            push.connect(address)
            for message in messages:
                push.send(message)
            push.close()
        finally:
            context.term()  # when all is handed over

    def send_junk(self, address: str) -> None:
        self.raw(address, [b"", b"\xff" * 100, b"{"])

    def make_second(self, address: str) -> ZmqInput:
        return ZmqInput(endpoint=address)


class TestHttpInput(InputConformance):
    def make_input(self) -> Any:
        return HttpInput(port=0)

    def send(self, address: str, numbers: Sequence[int]) -> None:
        post(address, "/submit/test", lines(numbers))

    def send_junk(self, address: str) -> None:
        post(address, "/submit/test", b"{")

    def make_second(self, address: str) -> Any:
        return HttpInput(port=port_of(address))


class TestLokiInput(TestHttpInput):
    def make_input(self) -> Any:
        return LokiInput(port=0)

    def send(self, address: str, numbers: Sequence[int]) -> None:
        values = [["1700000000000000000", str(number)] for number in numbers]
        body = msgspec.json.encode({"streams": [{"stream": {"app": "test"}, "values": values}]})
        post(address, "/loki/api/v1/push", body, **{"content-type": "application/json"})

    def number_of(self, event: dict[str, Any]) -> int:
        return int(event["payload"])

    def send_junk(self, address: str) -> None:
        post(address, "/loki/api/v1/push", b"{", **{"content-type": "application/json"})

    def make_second(self, address: str) -> Any:
        return LokiInput(port=port_of(address))


class TestElasticsearchInput(TestLokiInput):
    def make_input(self) -> Any:
        return ElasticsearchInput(port=0)

    def send(self, address: str, numbers: Sequence[int]) -> None:
        body = b"".join([b'{"create":{"_index":"test"}}\n{"message":"%d"}\n' % number for number in numbers])
        post(address, "/_bulk", body, **{"content-type": "application/x-ndjson"})

    def send_junk(self, address: str) -> None:
        post(address, "/_bulk", b"{", **{"content-type": "application/x-ndjson"})

    def make_second(self, address: str) -> Any:
        return ElasticsearchInput(port=port_of(address))


class TestOtlpInput(TestLokiInput):
    def make_input(self) -> Any:
        return OtlpInput(port=0)

    def send(self, address: str, numbers: Sequence[int]) -> None:
        records = [{"timeUnixNano": "1700000000000000000", "body": {"stringValue": str(number)}} for number in numbers]
        body = msgspec.json.encode({"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": records}]}]})
        post(address, "/v1/logs", body, **{"content-type": "application/json"})

    def send_junk(self, address: str) -> None:
        post(address, "/v1/logs", b"{", **{"content-type": "application/json"})

    def make_second(self, address: str) -> Any:
        return OtlpInput(port=port_of(address))
