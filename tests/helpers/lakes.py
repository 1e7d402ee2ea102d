"""Data folders with many small Parquet files, as a listener leaves them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from metlog.lake.schema import SCHEMA

FIRST_DAY = date(2026, 10, 1)
TYPES = ("request", "counter", "login", "timer")


def table(numbers: Iterator[int] | range, day: date, seed: int = 0) -> pa.Table:
    """One event a number, spread over the day; `fields` has the number under `n` and a user under `user`."""
    chance = random.Random(seed)
    rows = []
    for place, n in enumerate(numbers):
        moment = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=chance.uniform(0, 86_399))
        rows.append({
            "timestamp": moment, "type": TYPES[n % 4], "tokens": [TYPES[n % 4]], "logger": "shop", "severity": 6, "payload": f"event {n}",
            "fields": msgspec.json.encode({"n": n, "user": f"u{n % 50}"}).decode(), "weight": 1.0, "env_version": "1", "pid": 1,
            "hostname": "h", "stream": "s1", "seq": n + 1,
            "received_at": datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(milliseconds=seed * 1000 + place),
            "source": "udp://127.0.0.1:1", "claimed_timestamp": None,
        })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def make_lake(data: Path, *, days: int = 3, files: int = 6, events: int = 50) -> int:
    """Writes `files` files of `events` events for each day. Returns the number of events, which are numbered from 0."""
    n = 0
    for index in range(days):
        day = FIRST_DAY + timedelta(days=index)
        folder = data / "events" / f"date={day}"
        folder.mkdir(parents=True, mode=0o750)
        for number in range(files):
            name = f"{index * files + number + 1:012d}-abc123.parquet"
            pq.write_table(table(range(n, n + events), day, number), folder / name, compression="zstd")
            n += events
    return n
