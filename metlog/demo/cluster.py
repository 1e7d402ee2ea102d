"""`metlog demo --cluster`: a Kafka broker, three listeners, an S3 server, one data set; a listener is killed in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from metlog.demo.servers import broker, end, poll, seaweed
from metlog.demo.visitors import Visitors

__all__ = ["run"]

_TOPIC: Final = "events"
_PARTITIONS: Final = 6
_LISTENERS: Final = 3


def _config(address: str) -> str:
    return f"""[journal]
segment_age = 2

[[inputs]]
name = "kafka"
brokers = ["{address}"]
topic = "{_TOPIC}"
group = "metlog"
commit_interval = 0.5
"session.timeout.ms" = 3000
"heartbeat.interval.ms" = 500
"""


class _Listener:
    """A listener with a folder of its own for its journal."""

    def __init__(self, folder: Path, address: str, uri: str, environment: dict[str, str]) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        (folder / "listener.toml").write_text(_config(address))
        self._command = [
            sys.executable, "-m", "metlog", "listen", "--config", str(folder / "listener.toml"), "--data", uri, "--state",
            str(folder / "state"),
        ]  # fmt: skip
        self._environment = environment
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environment)

    def end(self) -> None:
        end(self.process, 30)

    def status(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / "state" / "status.json").read_text()))
        except (OSError, ValueError):  # not written yet
            return {}

    def partitions(self) -> int:
        found: int = self.status().get("inputs", {}).get("kafka", {}).get("partitions", 0)
        return found


def run(console: Console, folder: Path | None, seconds: float, *, serve: bool) -> int:
    """Runs it; gives the number of events that were lost or stored twice. `folder`: where the servers' files and logs stay; they are
    removed when it is None. Raises MissingError, OSError, RuntimeError."""
    where = folder or Path(tempfile.mkdtemp(prefix="metlog-cluster-"))
    where.mkdir(parents=True, exist_ok=True)
    try:
        wrong = _run(console, where, seconds, serve=serve)
    except AssertionError as error:  # the logs stay
        raise RuntimeError(f"{error}; the logs are in {where}") from error
    except BaseException:
        if folder is None:
            shutil.rmtree(where, ignore_errors=True)
        raise
    if folder is None:
        shutil.rmtree(where, ignore_errors=True)
    return wrong


def _run(console: Console, where: Path, seconds: float, *, serve: bool) -> int:
    access = {
        "AWS_ACCESS_KEY_ID": secrets.token_hex(8), "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16), "AWS_REGION": "us-east-1",
    }  # fmt: skip
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("METLOG_", "AWS_"))}
    environment = {**clean, **access}
    with contextlib.ExitStack() as stack:
        with console.status("starting the broker and the S3 server …"):
            address = stack.enter_context(broker(where, {_TOPIC: _PARTITIONS}))
            endpoint = stack.enter_context(seaweed(where, access))
        uri = f"s3://lake/data?endpoint={endpoint}"
        console.print(f"broker: kafka://{address}/{_TOPIC}, {_PARTITIONS} partitions; S3: {endpoint}", soft_wrap=True)
        listeners = [_Listener(where / f"listener-{n}", address, uri, environment) for n in range(1, _LISTENERS + 1)]
        for item in listeners:
            stack.callback(item.end)
        with console.status("the listeners divide the partitions …"):
            poll(
                lambda: sum(item.partitions() for item in listeners) == _PARTITIONS,
                60,
                "the listeners have all partitions",
            )
        for number, item in enumerate(listeners, 1):
            console.print(f"listener {number}: process {item.process.pid}, {item.partitions()} partitions")
        page = stack.enter_context(_page(where, uri, environment))
        console.print(f"the page on the data set: {page}", soft_wrap=True)
        streams = _traffic(console, stack, address, listeners, seconds, clean)
        sent = sum(streams.values())
        for item in listeners:
            item.process.send_signal(signal.SIGTERM)
        for item in listeners:
            item.process.wait(60)
        received, distinct = _counted(page, streams)
        lost, twice = sent - distinct, received - distinct
        console.print(
            f"\nevents sent {sent:,}, received {received:,}, lost [bold]{lost:,}[/bold], stored twice [bold]{twice:,}[/bold]"
        )
        if serve:
            console.print(f"\n{page}; Ctrl-C ends it all", soft_wrap=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
        return lost + twice


def _traffic(
    console: Console,
    stack: contextlib.ExitStack,
    address: str,
    listeners: list[_Listener],
    seconds: float,
    clean: dict[str, str],
) -> dict[str, int]:
    """Visitors come to the shop, and a listener is killed and started again; gives what each stream says it sent."""
    app = subprocess.Popen(
        [sys.executable, "-m", "metlog.demo.app", f"kafka://{address}/{_TOPIC}?linger=0.05", "8125"],
        stdout=subprocess.PIPE, text=True, env=clean,
    )  # fmt: skip
    stack.callback(end, app)
    assert app.stdout is not None
    line = app.stdout.readline()
    if not line:
        raise RuntimeError("the sample application did not start; what it said is above")
    console.print(
        f"sample application: process {app.pid}, http://127.0.0.1:{line.strip()}; visitors come for {seconds:g} s …"
    )
    visitors = Visitors(int(line), seconds=seconds, threads=4)
    visitors.start()
    time.sleep(seconds / 2)
    victim = listeners[0]
    victim.process.kill()
    victim.process.wait()
    console.print(f"listener 1 was killed (SIGKILL) after {seconds / 2:g} s; it is started again in a moment")
    time.sleep(min(1.0, seconds / 4))
    victim.start()
    visitors.join()
    end(app)  # its client sends the rest and the end of its stream
    return _sent(address)


def _sent(address: str) -> dict[str, int]:
    """Events that each stream sent, counted in the topic itself, without a group."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": address, "group.id": "count", "enable.auto.commit": False})
    numbers: dict[str, set[int]] = {}
    try:
        left = {}
        for number in range(_PARTITIONS):
            place = TopicPartition(_TOPIC, number, 0)
            left[number] = consumer.get_watermark_offsets(place, timeout=10)[1]
        consumer.assign([TopicPartition(_TOPIC, number, 0) for number, high in left.items() if high])
        done = {number for number, high in left.items() if not high}
        deadline = time.monotonic() + 60
        while len(done) < _PARTITIONS and time.monotonic() < deadline:
            for message in consumer.consume(1000, 0.5):
                for event in (json.loads(line) for line in (message.value() or b"").splitlines()):
                    numbers.setdefault(event["stream"], set()).add(event["seq"])
                if (message.offset() or 0) + 1 >= left[message.partition() or 0]:
                    done.add(message.partition() or 0)
    finally:
        consumer.close()
    return {stream: max(found) for stream, found in numbers.items()}


@contextlib.contextmanager
def _page(where: Path, uri: str, environment: dict[str, str]) -> Iterator[str]:
    command = [sys.executable, "-m", "metlog", "serve", "--data", uri, "--port", "0"]
    with (where / "page.log").open("ab") as log:
        page = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**environment, "XDG_CACHE_HOME": str(where / "cache")},
        )
    try:
        assert page.stdout is not None
        line = page.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"the page did not start: {(where / 'page.log').read_text()[-500:]}")
        yield line.split()[-1].rstrip("/")
    finally:
        end(page)


def _counted(page: str, streams: dict[str, int]) -> tuple[int, int]:
    """Events and different events of these streams, as the page says."""
    names = ", ".join(f"'{name}'" for name in streams if name.isalnum()) or "''"
    sql = f"SELECT count(*), count(DISTINCT (stream, seq)) FROM events WHERE stream IN ({names})"  # noqa: S608 - letters and digits
    request = urllib.request.Request(  # noqa: S310 - our own page
        f"{page}/api/query", json.dumps({"sql": sql}).encode(), {"Content-Type": "application/json", "Origin": page}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own page
            rows = json.load(answer)["rows"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"the page answers {error.code}: {error.read(1000).decode(errors='replace')}") from error
    return int(rows[0][0]), int(rows[0][1])
