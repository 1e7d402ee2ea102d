"""From one listener to another, and to a collector of OpenTelemetry: every event once, its stream's numbers with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from metlog.client import MetlogClient
from tests.helpers.collector import collector_program, running
from tests.helpers.listener import Listener, metlog_command
from tests.helpers.ports import free_port, port_of
from tests.helpers.waiting import wait_for

COUNT = 20_000

COLLECTOR = """
receivers:
  otlp:
    protocols:
      http:
        endpoint: 127.0.0.1:%(port)s
exporters:
  file:
    path: %(folder)s/out.ndjson
service:
  telemetry:
    metrics:
      level: none
  pipelines:
    logs:
      receivers: [otlp]
      exporters: [file]
"""


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
    first = start(
        stack, tmp_path / "first", f'[[inputs]]\nname = "http"\nport = 0\n[[outputs]]\nname = "{way}"\n{output}\nbatch_age = 0.1\n'
    )  # fmt: skip
    sent_to(first)
    wait_for(lambda: delivery(second)["ended"] == 1, seconds=60)
    wait_for(lambda: delivery(first)["ended"] == 1)
    assert delivery(second) == delivery(first)
    assert (delivery(second)["received"], delivery(second)["lost"], delivery(second)["repeated"]) == (COUNT + 1, 0, 0)
    sql = "SELECT count(*) AS events, count(DISTINCT fields->>'n') AS n, max(tokens[2]) AS second FROM events WHERE type = 'relayed'"
    done = metlog_command("query", sql, "--data", str(second.data), "--format", "json")
    assert json.loads(done.stdout) == [{"events": COUNT, "n": COUNT, "second": "here"}]


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_the_collector_of_opentelemetry_takes_every_event(encoding: str, stack: ExitStack, tmp_path: Path) -> None:
    program = collector_program(tmp_path)
    port = free_port()
    (tmp_path / "collector.yaml").write_text(COLLECTOR % {"folder": tmp_path, "port": port})
    config = f"""
        [[inputs]]
        name = "http"
        port = 0
        [[outputs]]
        name = "otlp"
        port = {port}
        encoding = "{encoding}"
        batch_age = 0.1
    """
    first = start(stack, tmp_path / "first", config)
    sent_to(first)  # the collector is not there yet: what was journaled waits for it
    stack.enter_context(running([program, "--config", str(tmp_path / "collector.yaml")]))
    wait_for(lambda: first.status()["outputs"]["otlp"].get("events", 0) == COUNT + 1, seconds=90)
    stack.close()  # the collector ends and writes what it holds
    numbers: list[int] = []
    for line in (tmp_path / "out.ndjson").read_text().splitlines():
        for logs in json.loads(line)["resourceLogs"]:
            assert {"key": "service.name", "value": {"stringValue": "relay"}} in logs["resource"]["attributes"]
            for scope in logs["scopeLogs"]:
                for record in scope["logRecords"]:
                    found = {pair["key"]: pair["value"] for pair in record["attributes"]}
                    if "n" in found:
                        assert record["body"] == {"stringValue": "passed on"}
                        numbers.append(int(found["n"]["intValue"]))
    assert numbers == list(range(COUNT))
