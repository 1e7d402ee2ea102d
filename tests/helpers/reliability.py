"""A real listener that is killed, a client that remembers what was acknowledged, and a judge that reads bare files.

Nothing here asks the listener what it believes: the judge knows every event that was sent and its payload, and reads the Parquet
files, and the lines of the output `file`, with DuckDB and Python alone.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb

from tests.helpers.ports import port_of
from tests.helpers.waiting import wait_for

CONFIG = """
[listener]
data = "{data}"
stall_after = 5

[journal]
segment_bytes = {segment_bytes}
segment_age = 0.3
sync_interval = 0.005
min_free = "1MB"
{journal}

[[inputs]]
name = "udp"
port = 0

[[inputs]]
name = "http"
port = {http_port}

[[outputs]]
name = "lake"

[[outputs]]
name = "file"
path = "{lines}"
batch_events = 100
batch_age = 0.02
fsync = false
{more}
"""


def payload(n: int) -> str:
    """What event number n carries: nobody could have made it up."""
    return hashlib.blake2b(b"%d" % n, digest_size=8).hexdigest() * (1 + n % 5)


def event(n: int) -> dict[str, Any]:
    return {"type": "numbered", "payload": payload(n), "fields": {"n": n, "filler": "x" * (n % 90)}}


def lines(numbers: Iterable[int]) -> bytes:
    return b"".join(json.dumps(event(n)).encode() + b"\n" for n in numbers)


class Listener:
    """`metlog listen` in a process group of its own, with small segments; outputs are the lake and a file."""

    def __init__(
        self, folder: Path, *, journal: str = "", more: str = "", segment_bytes: int = 4096, http_port: int = 0
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data = folder / "data"
        self.lines = folder / "lines.ndjson"
        self.config = folder / "listener.toml"
        self.config.write_text(
            CONFIG.format(
                data=self.data,
                lines=self.lines,
                journal=journal,
                more=more,
                segment_bytes=segment_bytes,
                http_port=http_port,
            )
        )
        self.process: subprocess.Popen[str] | None = None
        self.told = folder / "stderr.txt"
        """What it, and the processes of its outputs, wrote to standard error, of all starts."""
        self.umask = -1
        self.program = ["-m", "metlog"]
        self.addresses: list[str] = []

    def start(self, fault: str = "", **environment: str) -> bool:
        """Whether it came as far as `ready`."""
        self.spawn(fault, **environment)
        return self.ready()

    def spawn(self, fault: str = "", **environment: str) -> None:
        given = {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")} | environment
        if fault:
            given["METLOG_FAULT"] = fault
        with self.told.open("a") as told:
            self.process = subprocess.Popen(
                [sys.executable, *self.program, "listen", "--config", str(self.config)],
                stdout=subprocess.PIPE, stderr=told, text=True, env=given, start_new_session=True, umask=self.umask,
            )  # fmt: skip
        self.addresses = []

    def ready(self) -> bool:
        """Waits until it takes events, or has ended; whether it does."""
        assert self.process is not None
        assert self.process.stdout is not None
        found = []
        for line in self.process.stdout:
            if line.startswith("ready"):
                self.addresses = found
                return True
            found.append(line.split()[-1])
        self.process.wait(20)
        return False

    def outputs(self) -> list[int]:
        """The processes of its outputs."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = stat.read_text().rpartition(")")[2].split()[1]
            except OSError:  # gone meanwhile
                continue
            if int(parent) == self.pid:
                found.append(int(stat.parent.name))
        return sorted(found)

    def port(self, scheme: str) -> int:
        return port_of(next(a for a in self.addresses if a.startswith(f"{scheme}:")))

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def died(self, seconds: float) -> bool:
        """Whether it was killed, by now or within so many seconds."""
        assert self.process is not None
        try:
            return self.process.wait(seconds) == -signal.SIGKILL
        except subprocess.TimeoutExpired:
            return False

    def kill(self, *, group: bool = True) -> None:
        if self.alive:
            (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)
        self.close()

    def stop(self) -> int:
        assert self.process is not None
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)
        try:
            return self.process.wait(60)
        finally:
            self.close()

    def close(self) -> None:
        """Leaves nothing running."""
        if self.process is None:
            return
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.data / "status.json").read_text())
        return found

    def ask(self, page: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port("http"), timeout=20)
        try:
            connection.request("GET", page)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """A figure of `/metrics`; of a name without labels the sum over all of them."""
        _, text = self.ask("/metrics")
        samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return sum(float(value) for key, _, value in samples if name in {key, key.partition("{")[0]})

    def journaled(self) -> list[Path]:
        folder = self.data / "journal" / "main"
        return sorted(path for path in folder.iterdir() if path.suffix in {".open", ".seg", ".rescue", ".end"})


class Client:
    """Submits numbered events over HTTP, some a request, each request again under its id until it is acknowledged."""

    def __init__(self, first: int = 0, count: int = 5) -> None:
        self.first = self.next = first
        self.count = count
        self.requests = 0
        self.acknowledged: set[int] = set()
        self._pending: list[int] = []
        self._connection: http.client.HTTPConnection | None = None
        self._port = 0
        self.statuses: Counter[int] = Counter()

    @property
    def sent(self) -> range:
        return range(self.first, self.next)

    def submit(self, port: int) -> bool:
        """One request; whether it was acknowledged. If not, the next call repeats it."""
        if not self._pending:
            self._pending = list(range(self.next, self.next + self.count))
            self.next += self.count
        if self._connection is None or port != self._port:
            self.close()
            self._connection, self._port = http.client.HTTPConnection("127.0.0.1", port, timeout=40), port
        self.requests += 1
        try:
            self._connection.request("PUT", f"/submit/numbered/n{self._pending[0]}", lines(self._pending))
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return False
        self.statuses[answer.status] += 1
        if answer.status != 201:
            return False
        self.acknowledged.update(self._pending)
        self._pending = []
        return True

    def settle(self, port: int, seconds: float = 20.0) -> None:
        """Repeats until nothing is without its acknowledgement."""
        wait_for(lambda: not self._pending or self.submit(port), seconds)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def datagram(port: int, content: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(content, ("127.0.0.1", port))


def in_lake(data: Path) -> list[tuple[int, str]]:
    """Number and payload of every numbered row, from the bare Parquet files."""
    if not any(data.glob("events/date=*/*.parquet")):
        return []
    sql = "SELECT CAST(fields->>'n' AS BIGINT), payload FROM read_parquet(?) WHERE type = 'numbered'"
    return duckdb.connect().execute(sql, [f"{data}/events/date=*/*.parquet"]).fetchall()


def in_file(path: Path) -> list[tuple[int, str]]:
    """Number and payload of every numbered line; the last one may be half written yet."""
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    found = [json.loads(line) for line in whole.splitlines()]
    return [(item["fields"]["n"], item["payload"]) for item in found if item["type"] == "numbered"]


def ends_with(path: Path, n: int) -> bool:
    """Whether event n is among the last lines: a cheap look at a file that may be long."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 65_536))
        return b'"n":%d,' % n in file.read()


def faults_in(found: list[tuple[int, str]], wanted: Iterable[int], sent: Iterable[int]) -> list[str]:
    """What is wrong with what was found: lost, twice, invented or changed; empty when all is well."""
    counts = Counter(n for n, _ in found)
    wrong = []
    known = set(sent)
    for what, numbers in (
        ("lost", sorted(set(wanted) - set(counts))),
        ("twice", sorted(n for n, count in counts.items() if count > 1)),
        ("invented", sorted(set(counts) - known)),
        ("changed", sorted(n for n, text in found if text != payload(n))),
    ):
        if numbers:
            wrong.append(f"{len(numbers)} {what}: {numbers[:10]}")
    return wrong
