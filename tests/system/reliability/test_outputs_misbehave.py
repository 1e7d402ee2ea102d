"""Collectors that hang, reset, answer 500 or half an answer: none delays another output, and each has everything once it is well."""

from __future__ import annotations

import gzip
import json
import socket
import socketserver
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.helpers.reliability import Client, Listener, in_lake
from tests.helpers.waiting import eventually, wait_for

Make = Callable[..., Listener]

OUTPUT = """
[[outputs]]
name = "http"
id = "{mode}"
port = {port}
path = "/submit/x"
batch_age = 0.05
batch_events = 50
timeout = 1
"""


class Collector(socketserver.ThreadingTCPServer):
    """Takes PUTs; misbehaves in its way until it is told to be well."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.batches: dict[str, list[int]] = {}
        self.tried = 0
        self.well = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def numbers(self) -> Counter[int]:
        return Counter(n for numbers in list(self.batches.values()) for n in numbers)


class _Handler(socketserver.StreamRequestHandler):
    server: Collector

    def handle(self) -> None:
        while (request := self.rfile.readline()) and b" " in request:
            headers = {}
            while (line := self.rfile.readline().strip()) != b"":
                key, _, value = line.partition(b":")
                headers[key.lower()] = value.strip()
            body = self.rfile.read(int(headers.get(b"content-length", b"0")))
            self.server.tried += 1
            if not self.server.well.is_set():
                self.misbehave()
                return
            ident = request.split()[1].decode().rsplit("/", 1)[1]
            events = [json.loads(line) for line in gzip.decompress(body).splitlines()]
            self.server.batches[ident] = [event["fields"]["n"] for event in events]
            self.wfile.write(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n")

    def misbehave(self) -> None:
        match self.server.mode:
            case "hang":
                self.server.well.wait(30)
            case "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case "error":
                self.wfile.write(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\noops")
            case "half":
                self.wfile.write(b"HTTP/1.1 20")


@pytest.fixture
def collectors() -> Iterator[dict[str, Collector]]:
    with ExitStack() as stack:
        made = {mode: Collector(mode) for mode in ("hang", "reset", "error", "half")}
        for collector in made.values():
            stack.callback(collector.server_close)
            stack.callback(collector.shutdown)
            stack.callback(collector.well.set)
        yield made


def test_no_bad_collector_delays_another_output_and_none_misses_anything(
    listener: Make, collectors: dict[str, Collector]
) -> None:
    made = listener(more="".join(OUTPUT.format(mode=mode, port=item.port) for mode, item in collectors.items()))
    made.config.write_text(made.config.read_text().replace("stall_after = 5", "stall_after = 1"))
    client = Client(count=10)
    assert made.start()
    for _ in range(30):
        assert client.submit(made.port("http"))
    began = time.monotonic()
    wait_for(lambda: client.acknowledged <= {n for n, _ in in_lake(made.data)}, 20)
    wait_for(lambda: all(item.tried >= 2 for item in collectors.values()))  # they have all misbehaved
    wait_for(lambda: all(f"output {mode}:" in made.ask("/healthz")[1] for mode in collectors))
    assert "output lake" not in made.ask("/healthz")[1]
    assert not any(item.batches for item in collectors.values())
    assert time.monotonic() - began < 60
    # One gets well while the others are still ill, then these.
    first, *others = collectors.values()
    first.well.set()
    wait_for(lambda: first.numbers == Counter(client.acknowledged), 40)
    for collector in others:
        collector.well.set()
    for collector in others:
        assert eventually(lambda c=collector: c.numbers == Counter(client.acknowledged), 40), collector.mode
    wait_for(lambda: made.ask("/healthz")[0] == 200)
    assert made.stop() == 0
    for collector in collectors.values():
        assert collector.numbers == Counter(client.acknowledged), collector.mode
    assert made.journaled() == []


def test_a_listener_with_a_hanging_output_ends_in_time_and_goes_on_where_it_stopped(
    listener: Make, collectors: dict[str, Collector]
) -> None:
    hanging = collectors["hang"]
    made = listener(more=OUTPUT.format(mode="hang", port=hanging.port).replace("timeout = 1", "timeout = 600"))
    made.config.write_text(made.config.read_text().replace("stall_after = 5", "drain_timeout = 0.5"))
    client = Client(count=10)
    assert made.start()
    for _ in range(10):
        assert client.submit(made.port("http"))
    wait_for(lambda: hanging.tried)
    began = time.monotonic()
    assert made.stop() == 0
    assert time.monotonic() - began < 30  # the timeout of the collector is ten minutes
    assert made.journaled() != []
    assert "is in the journal, for the next start" in made.told.read_text()
    status = made.status()
    assert status["running"] is False
    assert status["health"] == []
    hanging.well.set()
    assert made.start()
    wait_for(lambda: hanging.numbers == Counter(client.acknowledged))
    assert made.stop() == 0
    assert made.journaled() == []
