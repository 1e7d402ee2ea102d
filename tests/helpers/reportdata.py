"""Events written by hand, and the lake they lie in."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from metlog.lake.schema import SCHEMA

DAY = datetime(2026, 3, 10, tzinfo=UTC)
NOW = datetime(2026, 3, 12, 9, 30, tzinfo=UTC)


def event(moment: datetime, kind: str, fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "timestamp": moment, "type": kind, "tokens": [kind], "logger": "svc", "severity": 6, "payload": "p",
        "fields": json.dumps(fields), "weight": 1.0, "env_version": "1", "pid": 1, "hostname": "h", "stream": "s", "seq": 0,
        "received_at": moment, "source": "udp://127.0.0.1:1", "claimed_timestamp": None, **more,
    }  # fmt: skip


def hours(number: float, day: int = 0) -> datetime:
    return DAY + timedelta(days=day, hours=number)


def request(moment: datetime, route: str, status: int, ms: float, weight: float = 1.0, **more: Any) -> dict[str, Any]:
    fields = {"method": "GET", "route": route, "status": status, "ms": ms, **more}
    return event(moment, "request", fields, weight=weight, severity=3 if status >= 500 else 6)


EVENTS = [
    request(hours(8), "/a", 200, 10.0, user="u1"),
    request(hours(8.5), "/a", 200, 30.0, weight=3.0, user="u2"),
    request(hours(9), "/b", 500, 200.0, error="KeyError"),
    request(hours(23.5), "/b", 404, 100.0, user="u1"),
    request(hours(8, 1), "/a", 200, 20.0, user="u3"),
    event(hours(8), "login", {"user": "u1", "success": True}),
    event(hours(9), "login", {"user": "u9", "success": False}),
    event(hours(9, 1), "login", {"user": "u3", "success": True}, weight=2.0),
    event(hours(8), "counter", {"name": "orders", "count": 2}),
    event(hours(8.2), "counter", {"name": "orders", "count": 3}, weight=10.0),
    event(hours(8), "timer", {"name": "work", "ms": 4.0}),
    event(hours(8.1), "timer", {"name": "work", "ms": 8.0}, weight=3.0),
    event(hours(10), "oldstyle", {"exception_type": "ValueError"}, severity=3, weight=2.0),
]


def write(folder: Path, events: list[dict[str, Any]]) -> Path:
    """A lake of these events: a file a day."""
    by_day: dict[str, list[dict[str, Any]]] = {}
    for item in events:
        by_day.setdefault(item["timestamp"].strftime("%Y-%m-%d"), []).append(item)
    for day, rows in by_day.items():
        where = folder / "events" / f"date={day}"
        where.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), where / "hand.parquet")
    return folder


def numbered(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With `seq` from 1, and 5 and 6 lost."""
    return [{**item, "seq": n if n < 5 else n + 2} for n, item in enumerate(events, 1)]
