"""Listeners in one consumer group against a broker on this machine: events a second, CPU an event, lag, and what a kill costs.

    python benchmarks/scale.py [--listeners 1 2 4] [--events 300000] [--json FILE]

Needs the extra `cluster` (broker and S3 server out of packages). Every figure is of this machine, on which broker, producer, S3 server
and all listeners share the cores: more listeners than cores cannot be faster, and are here to show that they are not slower.
docs/scale.md has the arithmetic from these figures to larger ones.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metlog.demo.servers import broker, end, make_topics, poll, seaweed

PARTITIONS = 8
ACCESS = {"AWS_ACCESS_KEY_ID": "scale", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16), "AWS_REGION": "us-east-1"}
TICKS = os.sysconf("SC_CLK_TCK")


def produce(address: str, topic: str, events: int, rate: int, frame: int) -> None:
    """So many events of about 290 bytes of JSON, `frame` of them a message; `rate` 0 is as fast as it goes."""
    from confluent_kafka import Producer

    producer = Producer({
        "bootstrap.servers": address, "linger.ms": 20, "enable.idempotence": True, "compression.type": "zstd",
        "queue.buffering.max.messages": 1_000_000,
    })  # fmt: skip
    stream = secrets.token_hex(8)
    began = time.monotonic()
    sent = 0
    while sent < events:
        if rate and sent > (time.monotonic() - began) * rate:
            producer.poll(0.005)
            continue
        lines = []
        for _ in range(min(frame, events - sent)):
            sent += 1
            moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{sent % 1_000_000:06d}Z"
            fields = {"route": f"/cart/{sent % 7}", "ms": sent % 211 + 0.5, "user": f"u{sent % 997}", "status": 200}
            event = {
                "timestamp": moment, "type": "request", "tokens": ["request", "shop"], "logger": "shop", "payload": "GET /cart 200",
                "fields": fields, "pid": 4711, "hostname": "web-17", "stream": stream, "seq": sent,
            }  # fmt: skip
            lines.append(json.dumps(event, separators=(",", ":")).encode())
        while True:
            try:
                producer.produce(topic, b"\n".join(lines), str(sent // frame))
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    assert producer.flush(60) == 0


class Listener:
    """A listener process with its state."""

    def __init__(self, folder: Path, address: str, topic: str, uri: str) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        (folder / "listener.toml").write_text(f"""[journal]
segment_age = 5
[[inputs]]
name = "kafka"
brokers = ["{address}"]
topic = "{topic}"
group = "{topic}"
"session.timeout.ms" = 3000
"heartbeat.interval.ms" = 500
""")
        self._command = [
            sys.executable, "-m", "metlog", "listen", "--config", str(folder / "listener.toml"), "--data", uri, "--state",
            str(folder / "state"),
        ]  # fmt: skip
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env={**os.environ, **ACCESS})

    def status(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / "state" / "status.json").read_text()))
        except (OSError, ValueError):
            return {}

    def figure(self, *path: str) -> int:
        found: Any = self.status()
        for key in path:
            found = found.get(key, {}) if isinstance(found, dict) else {}
        return found if isinstance(found, int) else 0

    def cpu(self) -> float:
        """Seconds of this process and its outputs' processes, user and system, until now."""
        total = 0
        waiting = [self.process.pid]
        while waiting:
            pid = waiting.pop()
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
                total += int(fields[11]) + int(fields[12])
                waiting += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
                for task in Path(f"/proc/{pid}/task").iterdir():
                    if task.name != str(pid):
                        waiting += [int(child) for child in (task / "children").read_text().split()]
            except (OSError, ValueError):
                continue
        return total / TICKS


@contextlib.contextmanager
def listeners(count: int, folder: Path, address: str, topic: str, uri: str) -> Iterator[list[Listener]]:
    group = [Listener(folder / f"{topic}-{number}", address, topic, uri) for number in range(count)]
    try:
        poll(
            lambda: sum(item.figure("inputs", "kafka", "partitions") for item in group) == PARTITIONS,
            90,
            "all partitions are taken",
        )
        yield group
    finally:
        for item in group:
            end(item.process, 60)


def backlog(count: int, events: int, frame: int, folder: Path, address: str, endpoint: str) -> dict[str, Any]:
    """How fast a group takes what waits for it, and what an event costs from the broker to Parquet on S3."""
    topic = f"backlog-{frame}-{count}"
    make_topics(address, {topic: PARTITIONS})
    produce(address, topic, events, 0, frame)
    uri = f"s3://lake/{topic}?endpoint={endpoint}"
    group = [Listener(folder / f"{topic}-{number}", address, topic, uri) for number in range(count)]

    def journaled() -> int:
        return sum(item.figure("intake", "journaled") for item in group)

    try:
        poll(lambda: all([item.status() for item in group]), 60, "all listeners have started")
        before = sum(item.cpu() for item in group)
        begun = poll(journaled, 90, "the first events are journaled", every=0.02)
        began = time.monotonic()
        poll(lambda: journaled() >= events, 300, "all is journaled", every=0.02)
        took = time.monotonic() - began
        poll(lambda: sum(item.figure("outputs", "lake", "events") for item in group) >= events, 300, "all is on S3")
        cpu = sum(item.cpu() for item in group) - before
    finally:
        for item in group:
            end(item.process, 60)
    rate, price = round((events - begun) / took), round(cpu / events * 1e6, 1)
    return {"listeners": count, "events a message": frame, "events/s": rate, "CPU us/event": price}


def steady(
    count: int, rate: int, seconds: float, kill: bool, folder: Path, address: str, endpoint: str
) -> dict[str, Any]:
    """Lag at a steady rate; with `kill` one listener is killed in the middle and started again."""
    topic = f"steady-{count}-{kill}".lower()
    make_topics(address, {topic: PARTITIONS})
    events = int(rate * seconds)
    with listeners(count, folder, address, topic, f"s3://lake/{topic}?endpoint={endpoint}") as group:
        command = [sys.executable, __file__, "--produce", address, topic, str(events), str(rate)]
        producer = subprocess.Popen(command)
        began = time.monotonic()
        lags = []
        try:
            while producer.poll() is None:
                time.sleep(0.5)
                lags.append(sum(item.figure("inputs", "kafka", "lag") for item in group))
                if kill and time.monotonic() - began > seconds / 2:
                    kill = False
                    group[0].process.kill()
                    group[0].process.wait()
                    group[0].start()
        finally:
            end(producer)

        def settled() -> bool:
            done = sum(item.figure("outputs", "lake", "events") for item in group)
            return done > 0 and all(item.figure("journal", "segments") == 0 for item in group)

        poll(settled, 120, "all is on S3")
        repeated = sum(item.figure("outputs", "lake", "repeated") for item in group)
    lags.sort()
    return {
        "listeners": count, "events/s": rate, "killed": topic.endswith("true"), "lag, median": lags[len(lags) // 2], "lag, most": lags[-1],
        "read again": repeated, **judged(topic, endpoint, events),
    }  # fmt: skip


def judged(topic: str, endpoint: str, events: int) -> dict[str, int]:
    """What SQL says of the data set."""
    from metlog.lake.attached import folder_for
    from metlog.lake.query import Lake

    os.environ.update(ACCESS)
    with Lake(folder_for(f"s3://lake/{topic}?endpoint={endpoint}")) as lake:
        rows, distinct = lake.query("SELECT count(*), count(DISTINCT (stream, seq)) FROM events").rows[0]
    return {"lost": events - distinct, "twice": rows - distinct}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--listeners", type=int, nargs="+", default=[1, 2, 4])
    options.add_argument("--events", type=int, default=300_000, help="of the backlog")
    options.add_argument("--rate", type=int, default=5000, help="events a second of the steady load")
    options.add_argument("--seconds", type=float, default=20.0, help="of the steady load")
    options.add_argument("--json", type=Path)
    options.add_argument("--produce", nargs=4, metavar=("BROKER", "TOPIC", "EVENTS", "RATE"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.produce:
        address, topic, events, rate = given.produce
        produce(address, topic, int(events), int(rate), 1)
        return
    found: dict[str, list[dict[str, Any]]] = {"backlog": [], "steady": []}
    with tempfile.TemporaryDirectory(prefix="metlog-scale-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        address = stack.enter_context(broker(folder, {}))
        endpoint = stack.enter_context(seaweed(folder, ACCESS))
        for frame in (1, 24):
            for count in given.listeners:
                found["backlog"].append(backlog(count, given.events, frame, folder, address, endpoint))
                print(found["backlog"][-1], flush=True)
        for count in given.listeners:
            for kill in (False, True):
                found["steady"].append(steady(count, given.rate, given.seconds, kill, folder, address, endpoint))
                print(found["steady"][-1], flush=True)
    load = os.getloadavg()
    found["machine"] = [{"cores": os.cpu_count(), "load": [round(value, 1) for value in load]}]
    print(found["machine"][0])
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
