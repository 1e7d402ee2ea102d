"""Events of the tests of the page, and how they come into a lake."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from metlog.journal.rows import micros
from metlog.journal.segment import Clock, encode_record, header
from metlog.lake.schema import SCHEMA

HTML = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'</pre></textarea>"


def event(seq: int, moment: datetime, **given: Any) -> dict[str, Any]:
    row = {
        "timestamp": moment, "type": "request", "tokens": ["request"], "logger": "shop", "severity": 6,
        "payload": f"GET /{seq}", "fields": {"status": 200, "ms": 1.5 * seq, "user": f"u{seq % 3}"}, "weight": 1.0, "env_version": "1",
        "pid": 10, "hostname": "web-1", "stream": "shop1", "seq": seq, "received_at": moment + timedelta(seconds=1),
        "source": "udp://10.0.0.1", "claimed_timestamp": None,
    }  # fmt: skip
    row.update(given)
    row["fields"] = msgspec.json.encode(row["fields"]).decode()
    return row


def write(data: Path, rows: list[dict[str, Any]], name: str = "part") -> None:
    days: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        days.setdefault(f"{row['timestamp']:%Y-%m-%d}", []).append(row)
    for day, some in days.items():
        folder = data / "events" / f"date={day}"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(some, SCHEMA), folder / f"{name}.parquet")


def small_lake(folder: Path, now: datetime) -> Path:
    """120 requests of `shop` a second apart (seq 50 to 54 lost), the last ones a minute ago; and what `bank` must keep to itself."""
    folder.mkdir()
    begin = now - timedelta(seconds=180)
    rows = [event(n, begin + timedelta(seconds=n)) for n in range(1, 121) if not 50 <= n <= 54]
    rows += [
        event(1, begin, logger="bank", stream="bank1", type="transfer", tokens=["transfer", "money"], severity=3,
              payload="secret transfer", fields={"amount": 5, "a.b": "dotted", "deep": {"er": "nested"}}),
        event(2, begin, logger="bank", stream="bank1", type="html", payload=HTML, tokens=[HTML], hostname=HTML, fields={HTML: HTML}),
        event(121, begin, stream="shop1", type=HTML, payload="typed", fields={}),
    ]  # fmt: skip
    write(folder, rows)
    return folder


class Journal:
    """A journal as a listener writes it."""

    def __init__(self, data: Path) -> None:
        folder = data / "journal" / "main"
        folder.mkdir(parents=True)
        self.path = folder / "000000000001-0123456789abcdef.open"
        self.path.write_bytes(header(Clock()))

    def append(self, *events: dict[str, Any]) -> None:
        """One record."""
        lines = b"\n".join(msgspec.json.encode(event) for event in events)
        received_at = micros(datetime.now(UTC))
        with self.path.open("ab") as stream:
            stream.write(encode_record(received_at, len(events), b"udp://10.0.0.1", b"", lines))


class Served:
    """`metlog serve` as a process of its own."""

    def __init__(self, data: Path, *options: str) -> None:
        arguments = [sys.executable, "-m", "metlog", "serve", "--data", str(data), "--port", "0", *options]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("the page is at "):
            self.process.kill()
            raise AssertionError(line + self.process.communicate()[1])
        self.address = line.removeprefix("the page is at ").strip().rstrip("/")
        assert self.process.stdout.readline() == "ready\n"

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float, str]:
        """Exit status, seconds until it ended, and what it wrote to standard error."""
        began = time.monotonic()
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, time.monotonic() - began, errors

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
