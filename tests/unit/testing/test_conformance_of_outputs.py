"""Every built-in output keeps every promise of OutputConformance."""

from __future__ import annotations

import gzip
import http.server
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
import zmq

from metlog.event import Event
from metlog.listener.inputs import _http_push
from metlog.listener.inputs.otlp import OtlpInput
from metlog.listener.inputs.zmq import ZmqInput
from metlog.listener.outputs import stdout
from metlog.listener.outputs.file import FileOutput
from metlog.listener.outputs.http import HttpOutput
from metlog.listener.outputs.lake import LakeOutput
from metlog.listener.outputs.otlp import OtlpOutput
from metlog.listener.outputs.statsd import StatsdOutput
from metlog.listener.outputs.stdout import StdoutOutput
from metlog.listener.outputs.udp import UdpOutput
from metlog.listener.outputs.zmq import ZmqOutput
from metlog.plugins import installed
from metlog.testing import MemorySink, OutputConformance
from tests.helpers.ports import free_port
from tests.helpers.receivers import receiver


def test_none_is_left_out() -> None:
    covered = {name.removeprefix("Test").removesuffix("Output").lower() for name in globals() if name[:4] == "Test"}
    builtin = {plugin.name for plugin in installed("output") if plugin.origin.startswith("metlog ")}
    # kafka: tests/system/cluster/test_conformance.py, with a broker
    assert builtin - {"https", "kafka"} <= covered  # https is http over TLS: tests/unit/listener/outputs/test_http.py


def numbers_of(lines: bytes) -> list[int]:
    return [msgspec.json.decode(line)["fields"]["n"] for line in lines.splitlines()]


class TestFileOutput(OutputConformance):
    exactly_once = True

    @pytest.fixture(autouse=True)
    def destination(self, tmp_path: Path) -> None:
        self.path = tmp_path / "events" / "app.ndjson"
        self.path.parent.mkdir()

    def make_output(self) -> FileOutput:
        return FileOutput(path=str(self.path))

    def delivered(self) -> list[int]:
        return numbers_of(self.path.read_bytes()) if self.path.exists() else []

    @contextmanager
    def trouble(self) -> Iterator[None]:
        aside = self.path.parent.with_name("aside")
        self.path.parent.rename(aside)
        yield
        aside.rename(self.path.parent)


class TestStdoutOutput(OutputConformance):
    @pytest.fixture(autouse=True)
    def destination(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        self.path = tmp_path / "out"
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        monkeypatch.setattr(stdout, "_FD", self.fd)
        yield
        os.close(self.fd)

    def make_output(self) -> StdoutOutput:
        return StdoutOutput()

    def delivered(self) -> list[int]:
        return numbers_of(self.path.read_bytes())


class Collector(http.server.ThreadingHTTPServer):
    """Takes batches by their id, once."""

    daemon_threads = True

    def __init__(self) -> None:
        self.refuses = False
        self.numbers: list[int] = []
        self.ids: set[str] = set()
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_PUT(self) -> None:
        body = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            if not self.server.refuses and self.path not in self.server.ids:
                self.server.ids.add(self.path)
                self.server.numbers += numbers_of(body)
        self.send_response(503 if self.server.refuses else 201)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class TestHttpOutput(OutputConformance):
    exactly_once = True
    secret = "a-token-that-nobody-sees"

    @pytest.fixture(autouse=True)
    def destination(self) -> Iterator[None]:
        self.collector = Collector()
        yield
        self.collector.shutdown()
        self.collector.server_close()

    def make_output(self) -> HttpOutput:
        return HttpOutput(port=self.collector.server_address[1], token=self.secret)

    def delivered(self) -> list[int]:
        with self.collector.lock:
            return [*self.collector.numbers]

    @contextmanager
    def trouble(self) -> Iterator[None]:
        self.collector.refuses = True
        yield
        self.collector.refuses = False


class TestStatsdOutput(OutputConformance):
    @pytest.fixture(autouse=True)
    def destination(self) -> Iterator[None]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            self.server = sock
            self.found: list[int] = []
            yield

    def make_output(self) -> StatsdOutput:
        return StatsdOutput(port=self.server.getsockname()[1], max_names=10_000)

    def event(self, number: int) -> Event:
        return Event(type="counter", tokens=("counter",), fields={"name": f"n{number}", "count": 1})

    def delivered(self) -> list[int]:
        try:
            while True:
                self.found += [int(text) for text in re.findall(rb"^n(\d+):1\|c", self.server.recv(65_536), re.M)]
        except BlockingIOError:
            return [*self.found]


class TestLakeOutput(OutputConformance):
    exactly_once = True

    @pytest.fixture(autouse=True)
    def destination(self, way: Any) -> None:
        self.data = way.data

    def make_output(self) -> LakeOutput:
        return LakeOutput()

    def delivered(self) -> list[int]:
        files = sorted((self.data / "events").glob("date=*/[!.]*.parquet"))
        found = [text for file in files for text in pq.ParquetFile(file).read(["fields"])["fields"].to_pylist()]
        return [msgspec.json.decode(text)["n"] for text in found]

    @contextmanager
    def trouble(self) -> Iterator[None]:
        (self.data / "events").write_text("a file in its place")
        yield
        (self.data / "events").unlink()


class TestUdpOutput(OutputConformance):
    @pytest.fixture(autouse=True)
    def destination(self, tmp_path: Path) -> Iterator[None]:
        with receiver("udp", tmp_path) as self.receiver:
            yield

    def make_output(self) -> UdpOutput:
        return UdpOutput(port=self.receiver.sender["port"])

    def delivered(self) -> list[int]:
        return [event.fields["n"] for event in self.receiver.seen()]


class TestUdpOutputWhereNobodyListens(TestUdpOutput):
    """As above, at a port where nobody is until the trouble is over."""

    @pytest.fixture(autouse=True)
    def destination(self, tmp_path: Path) -> Iterator[None]:
        self.found: list[int] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.port = free_port(socket.SOCK_DGRAM)
        self.listen()
        yield
        self.socket.close()

    def listen(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1", self.port))
        self.socket.setblocking(False)

    def make_output(self) -> UdpOutput:
        return UdpOutput(port=self.port)

    def delivered(self) -> list[int]:
        try:
            while True:
                self.found += numbers_of(self.socket.recv(65_536))
        except OSError:  # empty, or closed
            return [*self.found]

    @contextmanager
    def trouble(self) -> Iterator[None]:
        self.delivered()
        self.socket.close()
        yield
        self.listen()


class TestZmqOutput(OutputConformance):
    @pytest.fixture(autouse=True)
    def destination(self, tmp_path: Path) -> Iterator[None]:
        self.sink = MemorySink()
        self.server = [key.decode() for key in zmq.curve_keypair()]
        self.public, self.secret = (key.decode() for key in zmq.curve_keypair())
        self.listening: list[ZmqInput] = []
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self.listen()
        yield
        self.hang_up()

    def listen(self) -> None:
        made = ZmqInput(endpoint=self.endpoint, secret_key=self.server[1], allow_keys=[self.public])
        made.start(self.sink)
        self.listening.append(made)

    def hang_up(self) -> None:
        while self.listening:
            self.listening.pop().stop()

    def make_output(self) -> ZmqOutput:
        return ZmqOutput(
            endpoint=self.endpoint, server_key=self.server[0], public_key=self.public, secret_key=self.secret, timeout=0.5,
        )  # fmt: skip

    def delivered(self) -> list[int]:
        return [event["fields"]["n"] for event in self.sink.events]

    @contextmanager
    def trouble(self) -> Iterator[None]:
        self.hang_up()
        yield
        self.listen()


class TestOtlpOutput(OutputConformance):
    secret = "a-token-that-nobody-sees"

    @pytest.fixture(autouse=True)
    def destination(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(_http_push, "_AGAIN", "1")  # seconds until it is to be asked again
        self.sink = MemorySink()
        self.input = OtlpInput(port=0, token=self.secret)
        self.input.start(self.sink)
        yield
        self.input.stop()

    def make_output(self) -> OtlpOutput:
        port = int(self.input.addresses[0].rpartition(":")[2])
        return OtlpOutput(port=port, token=self.secret, timeout=5.0)

    def delivered(self) -> list[int]:
        return [event["fields"]["n"] for event in self.sink.events]

    @contextmanager
    def trouble(self) -> Iterator[None]:
        self.sink.full = "no room"
        yield
        self.sink.full = ""
