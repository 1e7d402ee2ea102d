"""Real listeners, one behind the other over HTTP: every acknowledged event is in the last lake exactly once, whoever is killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from metlog.lake.query import open_lake
from tests.helpers.ports import free_port
from tests.helpers.sink import numbered
from tests.helpers.waiting import eventually, wait_for

Start = Callable[[str, str], "Listener"]


class Listener:
    """`metlog listen --config` as a process that can be killed and started again."""

    def __init__(self, folder: Path, config: str) -> None:
        folder.mkdir()
        self.data = folder / "data"
        self._config = folder / "listener.toml"
        self._config.write_text(f'[listener]\ndata = "{self.data}"\n{config}')
        self.process: subprocess.Popen[str] | None = None
        self.addresses: list[str] = []

    def start(self) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "metlog", "listen", "--config", str(self._config)],
            stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.addresses = []
        for line in self.process.stdout:
            if line.startswith("ready"):
                return
            self.addresses.append(line.split()[-1])
        raise AssertionError("the listener did not start")

    def end(self, number: int) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()

    def numbers(self) -> list[int]:
        rows = open_lake(self.data).query("SELECT (fields->>'n')::BIGINT FROM events WHERE type = 'numbered'").rows
        return sorted(row[0] for row in rows)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def make(name: str, config: str) -> Listener:
            listener = Listener(tmp_path / name, config)
            listener.start()
            stack.callback(listener.end, signal.SIGKILL)
            return listener

        yield make


HTTP_IN = '[[inputs]]\nname = "http"\nport = {port}\n'
JOURNAL = "[journal]\nsegment_bytes = 65536\nsegment_age = 0.3\nsync_interval = 0.01\n"
LAKE = '[[outputs]]\nname = "lake"\n'
FORWARD = '[[outputs]]\nname = "http"\nport = {port}\npath = "/submit/chain"\nbatch_age = 0.05\nbatch_events = 200\ntimeout = 5\n'


class Client:
    """Submits numbered events under ids, each again until it is acknowledged."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/submit/chain"
        self._stop = threading.Event()
        self.acknowledged = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=10) as client:
            while not self._stop.is_set():
                body = b"".join(msgspec.json.encode(event) + b"\n" for event in numbered(20, self.acknowledged))
                while True:
                    try:
                        if client.put(f"{self._url}/n{self.acknowledged}", content=body).status_code == 201:
                            break
                    except httpx.HTTPError:
                        pass
                    time.sleep(0.02)
                self.acknowledged += 20

    def stop(self) -> int:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.acknowledged


def test_either_of_two_chained_listeners_is_killed_again_and_again(begin: Start) -> None:
    rng = random.Random(20120521)
    first_port, last_port = free_port(), free_port()
    last = begin("last", JOURNAL + HTTP_IN.format(port=last_port) + LAKE)
    first = begin("first", JOURNAL + HTTP_IN.format(port=first_port) + FORWARD.format(port=last_port))
    client = Client(first_port)
    for turn in range(6):
        victim = (first, last)[turn % 2]
        reached = client.acknowledged
        time.sleep(rng.uniform(0.05, 0.5))  # the moment of death is the point here
        victim.end(signal.SIGKILL)
        victim.start()
        wait_for(lambda reached=reached: client.acknowledged > reached, 30)
    sent = client.stop()
    assert sent > 200
    expected = list(range(sent))
    assert eventually(lambda: last.numbers() == expected, 40), compare(last.numbers(), sent)
    first.end(signal.SIGTERM)
    last.end(signal.SIGTERM)
    assert last.numbers() == expected, compare(last.numbers(), sent)


def compare(found: list[int], sent: int) -> str:
    missing = sorted(set(range(sent)) - set(found))
    return f"{sent} sent, {len(missing)} missing {missing[:5]}, {len(found) - len(set(found))} more than once"


def test_what_the_last_refuses_is_dead_lettered_by_the_first_and_nothing_else(begin: Start) -> None:
    first_port, last_port = free_port(), free_port()
    begin("last", JOURNAL + f'[[inputs]]\nname = "http"\nport = {last_port}\nmax_body = 3000\n' + LAKE)
    first = begin(
        "first", JOURNAL + HTTP_IN.format(port=first_port) + FORWARD.format(port=last_port) + 'compression = "none"\n'
    )
    big = msgspec.json.encode({"type": "numbered", "fields": {"n": 7, "big": "x" * 5000}})
    lines = [msgspec.json.encode(event) for event in numbered(7)] + [big]
    answer = httpx.post(f"http://127.0.0.1:{first_port}/submit/chain", content=b"\n".join(lines), trust_env=False)
    assert answer.status_code == 201
    dead = first.data / "dead" / "main.output-http.ndjson"
    wait_for(lambda: dead.exists() and dead.read_bytes().count(b"\n") == 1)
    letter = msgspec.json.decode(dead.read_bytes())
    assert letter["reason"].startswith("413")
    assert msgspec.json.decode(letter["text"])["fields"]["n"] == 7


def test_health_and_metrics_of_a_listener_whose_output_is_dead(begin: Start) -> None:
    port, nowhere = free_port(), free_port()
    listener = begin(
        "stuck", "stall_after = 2\n" + JOURNAL + HTTP_IN.format(port=port) + LAKE + FORWARD.format(port=nowhere)
    )
    base = listener.addresses[0]

    def health() -> httpx.Response:
        return httpx.get(f"{base}/healthz", trust_env=False)

    wait_for(lambda: health().status_code == 200)  # once the processes of its outputs run
    assert httpx.put(f"{base}/submit/web/1", content=b'{"type":"a"}', trust_env=False).status_code == 201
    wait_for(lambda: health().status_code == 503 and len(health().json()["problems"]) == 1)
    (problem,) = health().json()["problems"]
    assert problem.startswith("output http: has not moved")
    wait_for(  # a dead output delays no other
        lambda: open_lake(listener.data).query("SELECT count(*) FROM events WHERE type = 'a'").rows[0][0] == 1
    )
    assert httpx.put(f"{base}/submit/web/1", content=b'{"type":"a"}', trust_env=False).status_code == 201

    def metrics() -> list[str]:
        return httpx.get(f"{base}/metrics", trust_env=False).text.splitlines()

    wait_for(lambda: 'metlog_output_failing{output="http"} 1' in metrics())  # once its process has tried
    lines = metrics()
    assert "metlog_healthy 0" in lines
    assert "metlog_events_journaled_total 1" in lines
    assert "metlog_events_repeated_total 1" in lines
    assert 'metlog_output_failing{output="lake"} 0' in lines
