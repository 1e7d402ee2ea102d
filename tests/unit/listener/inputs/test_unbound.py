"""An address that cannot be listened on: the message says why and what to change, for every input alike."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from metlog.listener.inputs import BaseInput
from metlog.listener.inputs._listening import unbound
from metlog.listener.inputs.elasticsearch import ElasticsearchInput
from metlog.listener.inputs.http import HttpInput
from metlog.listener.inputs.loki import LokiInput
from metlog.listener.inputs.otlp import OtlpInput
from metlog.listener.inputs.statsd import StatsdInput
from metlog.listener.inputs.syslog import SyslogInput
from metlog.listener.inputs.tcp import TcpInput
from metlog.listener.inputs.udp import UdpInput
from metlog.listener.inputs.zmq import ZmqInput
from tests.helpers.sink import FakeSink

INPUTS: list[type[Any]] = [
    UdpInput, StatsdInput, TcpInput, SyslogInput, HttpInput, OtlpInput, LokiInput, ElasticsearchInput,
]  # fmt: skip


def told(made: BaseInput) -> str:
    try:
        with pytest.raises(OSError) as caught:
            made.start(FakeSink())
    finally:
        made.stop()
    return str(caught.value)


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_of_no_machine_here(kind: type[Any], host: str) -> None:
    said = told(kind(host=host, port=5999))
    assert host in said
    assert "give an address of this machine" in said
    assert "another" not in said, said


@pytest.mark.parametrize("kind", INPUTS)
def test_an_address_in_use(kind: type[Any]) -> None:
    udp = kind in {UdpInput, StatsdInput}
    with socket.socket(type=socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        if not udp:
            taken.listen()
        said = told(kind(host="127.0.0.1", port=taken.getsockname()[1]))
    name = kind.__name__.removesuffix("Input").lower()
    flag = f"--{name} HOST:PORT, or " if name in {"udp", "statsd", "http"} else ""
    assert said.endswith(f"is another process listening there? choose another {flag}port of the input {name}")


def test_syslog_of_udp_alone_with_an_address_in_use() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        said = told(SyslogInput(port=taken.getsockname()[1], transports=["udp"]))
    assert said.endswith("choose another port of the input syslog")


def test_a_port_for_root() -> None:
    error = unbound("udp://127.0.0.1:80", PermissionError(errno.EACCES, "Permission denied"), "choose another port")
    assert "CAP_NET_BIND_SERVICE" in str(error)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_zmq_with_an_address_of_no_machine_here(host: str) -> None:
    said = told(ZmqInput(endpoint=f"tcp://{host}:5999"))
    assert host in said
    assert "give an address of this machine" in said


def test_zmq_with_an_address_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = told(ZmqInput(endpoint=f"tcp://127.0.0.1:{taken.getsockname()[1]}"))
    assert "is another process listening there? choose another --zmq ENDPOINT, or endpoint of the input zmq" in said


def test_zmq_with_a_path_that_cannot_be(tmp_path: Path) -> None:
    said = told(ZmqInput(endpoint=f"ipc://{tmp_path}/missing/socket"))
    assert "No such file or directory" in said
    assert "choose another --zmq ENDPOINT" in said
    assert "another process" not in said
