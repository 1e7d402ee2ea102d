"""Events of the tests of the page, and how they come into a lake."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

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
