"""Real servers for tests, benchmarks and kill runs: a Kafka broker, S3 stores, listeners; each ends with its context."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metlog.demo import servers
from metlog.demo.servers import broker, end, free_ports, make_topics, poll, process, tansu, weed

__all__ = [
    "ACCESS", "Listener", "broker", "end", "free_ports", "get", "make_topics", "moto", "poll", "process", "seaweed", "set_back",
    "tansu", "uri_of", "weed",
]  # fmt: skip

ACCESS = {"AWS_ACCESS_KEY_ID": "ak", "AWS_SECRET_ACCESS_KEY": "sk12345678", "AWS_REGION": "us-east-1"}
"""What the S3 servers here let in."""


def set_back(
    address: str, group: str, topics: dict[str, int], assignment: str = "cooperative-sticky", seconds: float = 60.0
) -> None:
    """Sets the position of a group without members to the beginning of every partition: as a member that joins, commits and leaves,
    since the broker here takes commits of members only. Another member would be revoked, and commit where it stood."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({
        "bootstrap.servers": address, "group.id": group, "enable.auto.commit": False, "session.timeout.ms": 3000,
        "heartbeat.interval.ms": 500, "partition.assignment.strategy": assignment,
    })  # fmt: skip
    places = [TopicPartition(topic, number, 0) for topic, count in topics.items() for number in range(count)]
    try:
        consumer.subscribe([*topics])
        deadline = time.monotonic() + seconds
        while len(consumer.assignment()) < len(places):
            assert time.monotonic() < deadline, f"the group {group} still has members: {consumer.assignment()}"
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                consumer.pause(consumer.assignment())
        done = consumer.commit(offsets=places, asynchronous=False)
        assert all(place.error is None for place in done or ()), done
    finally:
        consumer.close()


@contextlib.contextmanager
def seaweed(folder: Path) -> Iterator[str]:
    """An S3 server (SeaweedFS, durable) with the bucket `lake`; gives its endpoint."""
    with servers.seaweed(folder, ACCESS) as endpoint:
        yield endpoint


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[str]:
    """An S3 server in memory (moto) with the bucket `lake`; gives its endpoint."""
    (port,) = free_ports(1)
    with process(sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port), log=folder / "moto.log"):
        endpoint = f"http://127.0.0.1:{port}"
        make_bucket(endpoint)
        yield endpoint


def make_bucket(endpoint: str) -> None:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=ACCESS["AWS_ACCESS_KEY_ID"], region_name=ACCESS["AWS_REGION"],
        aws_secret_access_key=ACCESS["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, connect_timeout=2, read_timeout=10),
    )  # fmt: skip

    def made() -> bool:
        try:
            client.create_bucket(Bucket="lake")
            client.put_object(Bucket="lake", Key="ready", Body=b"1")
        except Exception:  # not up yet, in one of many ways
            return False
        return True

    poll(made, 60, f"{endpoint} makes a bucket", every=0.5)


def uri_of(endpoint: str, path: str = "lake/data") -> str:
    """The data set's URI on one of the S3 servers."""
    return f"s3://{path}?endpoint={endpoint}"


class Listener:
    """A listener process in a folder of its own."""

    def __init__(self, folder: Path, config: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "listener.toml").write_text(config)
        self._arguments = arguments
        self._env = env or {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, wait: float = 30.0) -> None:
        with (self.folder / "out").open("wb") as out, (self.folder / "err").open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "metlog", "listen", "--config", str(self.folder / "listener.toml"), *self._arguments],
                stdout=out, stderr=err, stdin=subprocess.DEVNULL, env={**os.environ, **self._env},
            )  # fmt: skip
        if wait:
            poll(self._ready, wait, f"the listener in {self.folder} is ready: {self.errors()}")

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.errors()
        return "ready" in (self.folder / "out").read_text()

    def errors(self) -> str:
        path = self.folder / "err"
        return path.read_text()[-2000:] if path.exists() else ""

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds: float = 60.0) -> int:
        assert self.process is not None
        end(self.process, seconds)
        return self.process.returncode

    def status(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / "data" / "status.json").read_text()))
        except (OSError, ValueError):
            return {}


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())
