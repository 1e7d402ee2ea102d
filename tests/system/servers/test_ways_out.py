"""From one listener to another, and to a server with OpenTelemetry's own parser: every event once, its stream's numbers with it."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from metlog.client import MetlogClient
from tests.helpers.listener import Listener, metlog_command
from tests.helpers.ports import free_port, port_of
from tests.helpers.waiting import wait_for

COUNT = 6_000


class Collector(http.server.ThreadingHTTPServer):
    """Takes log records as opentelemetry-proto reads them, strictly."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.numbers: list[int] = []
        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        pb = pytest.importorskip("opentelemetry.proto.collector.logs.v1.logs_service_pb2")
        body = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
        packed = self.headers["content-type"] == "application/x-protobuf"
        made = pb.ExportLogsServiceRequest()
        made.ParseFromString(body) if packed else json_format.Parse(body, made)
        for logs in made.resource_logs:
            assert [pair.value.string_value for pair in logs.resource.attributes if pair.key == "service.name"] == [
                "relay"
            ]
            for scope in logs.scope_logs:
                for record in scope.log_records:
                    self.server.numbers += [pair.value.int_value for pair in record.attributes if pair.key == "n"]
        answer = pb.ExportLogsServiceResponse().SerializeToString() if packed else b"{}"
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def start(stack: ExitStack, folder: Path, config: str) -> Listener:
    folder.mkdir(exist_ok=True)
    (folder / "listener.toml").write_text(config)
    made = Listener(folder / "data", "--config", str(folder / "listener.toml"))
    stack.callback(made.stop)
    return made


def sent_to(listener: Listener) -> None:
    """Logs COUNT events, over HTTP, so that none is lost on the way to the first listener."""
    port = port_of(listener.address("http"))
    settings = {"logger": "relay", "sender": {"name": "http", "port": port, "path": "/submit/relay"}, "statsd": False}
    client = MetlogClient.from_config(settings)
    for n in range(COUNT):
        client.log(("relayed", "here"), "passed on", fields={"n": n})
        if n % 1000 == 0:
            client.flush()
    client.close()


def delivery(listener: Listener) -> dict[str, Any]:
    found: dict[str, Any] = listener.status()["delivery"]
    return found


@pytest.mark.parametrize("way", ["udp", "zmq", "otlp"])
def test_a_second_listener_accounts_for_the_client_as_the_first_does(
    way: str, stack: ExitStack, tmp_path: Path
) -> None:
    inputs = {"udp": "port = 0", "zmq": 'endpoint = "tcp://127.0.0.1:*"', "otlp": "port = 0"}
    second = start(stack, tmp_path / "second", f'[[inputs]]\nname = "{way}"\n{inputs[way]}\n')
    address = second.addresses[0]
    output = f'endpoint = "{address}"' if way == "zmq" else f"port = {port_of(address)}"
    sending = f'[[outputs]]\nname = "{way}"\n{output}\nbatch_age = 0.1\nbatch_events = 1000\n'
    first = start(stack, tmp_path / "first", f'[[inputs]]\nname = "http"\nport = 0\n{sending}')
    sent_to(first)
    wait_for(lambda: delivery(second)["ended"] == 1, seconds=60)
    wait_for(lambda: delivery(first)["ended"] == 1)
    assert delivery(second) == delivery(first)
    assert (delivery(second)["received"], delivery(second)["lost"], delivery(second)["repeated"]) == (COUNT + 1, 0, 0)
    sql = "SELECT count(*) AS events, count(DISTINCT fields->>'n') AS n, max(tokens[2]) AS second FROM events WHERE type = 'relayed'"
    done = metlog_command("query", sql, "--data", str(second.data), "--format", "json")
    assert json.loads(done.stdout) == [{"events": COUNT, "n": COUNT, "second": "here"}]


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_opentelemetry_reads_every_event(encoding: str, stack: ExitStack, tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.proto.collector.logs.v1.logs_service_pb2", reason="needs opentelemetry-proto")
    port = free_port()
    config = f"""
        [[inputs]]
        name = "http"
        port = 0
        [[outputs]]
        name = "otlp"
        port = {port}
        encoding = "{encoding}"
        batch_age = 0.1
        batch_events = 1000
    """
    first = start(stack, tmp_path / "first", config)
    sent_to(first)
    wait_for(lambda: "refused" in first.status()["outputs"]["otlp"].get("error", ""))
    collector = Collector(port)  # what was journaled waited for it
    stack.callback(collector.server_close)
    stack.callback(collector.shutdown)
    wait_for(lambda: first.status()["outputs"]["otlp"].get("events", 0) == COUNT + 1, seconds=60)
    assert collector.numbers == list(range(COUNT))
