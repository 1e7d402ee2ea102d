"""The load generator of benchmarks/ beside a listener under test, and a judge that reads the Parquet files alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from tests.helpers.paths import ROOT
from tests.helpers.ports import port_of


class Load:
    """A process that sends numbered events over UDP at a pace."""

    def __init__(self, address: str, *, rate: int, seconds: float, per_frame: int = 30, streams: int = 4) -> None:
        command = [
            sys.executable, str(ROOT / "benchmarks" / "load_generator.py"), "127.0.0.1", str(port_of(address)),
            "--rate", str(rate), "--seconds", str(seconds), "--per-frame", str(per_frame), "--streams", str(streams),
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    @property
    def going(self) -> bool:
        return self.process.poll() is None

    def end(self) -> dict[str, Any]:
        """What was sent: `events`, `seconds`, `behind`, `streams` (id to the last number)."""
        told, _ = self.process.communicate(timeout=200)
        found: dict[str, Any] = json.loads(told)
        return found


@contextmanager
def load(address: str, **options: Any) -> Iterator[Load]:
    running = Load(address, **options)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def in_parquet(data: Path, streams: dict[str, int]) -> tuple[int, int]:
    """Returns how many of the streams' events are missing in the Parquet files, and how many are there again."""
    sql = "SELECT stream, count(*), count(DISTINCT seq) FROM read_parquet(?) WHERE seq > 0 GROUP BY stream"
    rows = duckdb.connect().execute(sql, [f"{data}/events/*/*.parquet"]).fetchall()
    found = {stream: (count, distinct) for stream, count, distinct in rows}
    lost = sum(last - found.get(stream, (0, 0))[1] for stream, last in streams.items())
    return lost, sum(count - distinct for count, distinct in found.values())


def kernel_drops(status: dict[str, Any]) -> int:
    return sum(sock["kernel_drops"] for listed in status["sockets"].values() for sock in listed)
