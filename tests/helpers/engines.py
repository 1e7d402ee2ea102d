"""A data folder for comparing engines: a shop's month, and events as odd as any that a listener accepts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from metlog.lake.schema import SCHEMA
from metlog.reports.sample import fill

UNTIL = datetime(2026, 3, 31, 12, 0, tzinfo=UTC)
"""The end of the data; two days before it the clocks of Berlin went forward."""
NASTY = [
    "",
    "'",
    '"',
    "\\",
    "\\'",
    "''",
    "a'b\\",
    "`",
    "$1",
    "${x}",
    "--",
    "/*",
    ";",
    "\n",
    "\t",
    "\r",
    "%",
    "_",
    "ü",
    "日本",
    "🦊",
    "\u2028",
    "\x7f",
    "{{",
    "?",
    ":x",
    "@a",
]
"""Texts that end, escape or open something in one SQL or another."""


def odd_events() -> list[dict[str, Any]]:
    """Late, future and sampled events; fields that are null, of wrong types, huge, nested, Unicode; the largest numbers."""
    fields: list[dict[str, Any]] = [
        {}, {"user": None, "ms": None, "status": None, "route": None}, {"user": 7, "ms": "12.5", "status": "500", "route": 1},
        {"user": ["a", 1], "ms": [1], "status": {"code": 500}, "route": {"a": {"b": [1, 2]}}},
        {"user": "日本 🦊", "route": "/ü/\\\"'", "ms": 0.1, "status": 299.5}, {"user": "", "ms": -1, "status": -500, "route": ""},
        {"user": 2**63 - 1, "ms": 2**53, "status": 2**31, "route": "/big"}, {"user": True, "ms": True, "status": False},
        {"ms": "1d", "status": "200f"}, {"ms": "inf", "status": "inf"}, {"ms": " 3 ", "status": " 404 "}, {"ms": "x", "status": "5e2"},
        {"name": "o'clock", "count": "7", "ms": "1e3"}, {"name": "\\", "count": None, "ms": 5}, {"name": None, "count": 2**62, "ms": 1},
        {"user": {"id": "nested"}, "user.id": "flat", "a b": "spaced"}, {"success": "false"}, {"success": 0}, {"success": None},
        {"exception_type": None, "error": "E"}, {"error": {"kind": 1}}, {"status": 503, "error": None, "exception_type": "ü"},
    ]  # fmt: skip
    found = []
    types = ["request", "counter", "timer", "login", "oldstyle"]
    for number, content in enumerate(fields):
        for step, kind in enumerate(types):
            at = UNTIL - timedelta(
                days=number % 29, hours=(number * 7 + step) % 24, microseconds=number * 1000 + step + 1
            )
            late = timedelta(days=20) if number % 5 == 0 else timedelta(0)
            found.append(
                _event(
                    at,
                    kind,
                    content,
                    weight=[1.0, 0.5, 1000.0][number % 3],
                    seq=number + 1,
                    received=at + late,
                    severity=number % 8,
                )
            )
    # On both sides of midnight, of the month, of the hour that Berlin has not, and in the future.
    for at in (
        datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC) - timedelta(microseconds=1), datetime(2026, 3, 29, 0, 59, 59,
        999999, UTC),
        datetime(2026, 3, 29, 1, 0, tzinfo=UTC), UNTIL + timedelta(hours=3), UNTIL + timedelta(days=1),
    ):  # fmt: skip
        found.append(
            _event(at, "request", {"user": "edge", "status": 200, "ms": 1.5, "route": "/edge"}, seq=9000 + len(found))
        )
    found.append(_event(UNTIL - timedelta(hours=1), "login", {"user": "last"}, seq=2**63 - 2, stream="end of numbers"))
    found.append(
        _event(UNTIL - timedelta(minutes=59), "login", {"user": "last"}, seq=2**63 - 1, stream="end of numbers")
    )
    two_days = UNTIL - timedelta(days=2)
    found += [
        _event(two_days, "text", {"user": text, "name": text}, payload=text, logger=text, seq=0) for text in NASTY
    ]
    return found


def _event(
    at: datetime, kind: str, fields: dict[str, Any], *, weight: float = 1.0, seq: int = 1, received: datetime | None = None,
    severity: int = 6,
    stream: str = "odd", payload: str = "", logger: str = "odd",
) -> dict[str, Any]:  # fmt: skip
    return {
        "timestamp": at, "type": kind, "tokens": [kind, "odd"], "logger": logger, "severity": severity, "payload": payload,
        "fields": json.dumps(fields, ensure_ascii=False, separators=(",", ":")), "weight": weight, "env_version": "1", "pid": 1,
        "hostname": "h", "stream": stream if seq else "", "seq": seq, "received_at": received or at, "source": "test",
        "claimed_timestamp": None,
    }  # fmt: skip


def make_lake(folder: Path, *, days: int = 30, per_day: int = 300) -> Path:
    """A data folder with `days` days up to UNTIL of about 3.3 times `per_day` events each, and the odd ones."""
    fill(folder, days=days, per_day=per_day, until=UNTIL)
    by_day: dict[date, list[dict[str, Any]]] = {}
    first = UNTIL - timedelta(days=days - 1)
    for event in odd_events():
        if event["timestamp"].date() >= first.date():
            by_day.setdefault(event["timestamp"].date(), []).append(event)
    for day, events in by_day.items():
        place = folder / "events" / f"date={day.isoformat()}"
        place.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(events, SCHEMA), place / "odd.parquet", compression="zstd")
    return folder


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal; of floats twelve digits are, as sums of them depend on their order."""
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-12, abs_tol=1e-9) or (math.isnan(left) and math.isnan(right))
    return type(left) is type(right) and bool(left == right)


def differences(ours: Sequence[Sequence[Any]], theirs: Sequence[Sequence[Any]]) -> list[str]:
    """What differs, row for row; at most three."""
    found = [
        f"row {number}: {left!r} is {right!r} there"
        for number, (left, right) in enumerate(zip(ours, theirs, strict=False))
        if len(left) != len(right) or not all(same(a, b) for a, b in zip(left, right, strict=True))
    ]
    if len(ours) != len(theirs):
        found.insert(0, f"{len(ours)} rows here, {len(theirs)} there")
    return found[:3]


EXPRESSIONS: Sequence[str] = (
    "fields->>'user'", "fields->>'$.user'", "fields->>'user.id'", "fields->'user'->>'id'", "fields->>'$.route.a.b[1]'",
    "fields->>'/route/a'",
    "json_extract_string(fields, '$.\"a b\"')", "TRY_CAST(fields->>'ms' AS DOUBLE)", "TRY_CAST(fields->>'status' AS INTEGER)",
    "TRY_CAST(fields->>'count' AS BIGINT)", "TRY_CAST(fields->>'user' AS BIGINT)", "CAST(weight AS INTEGER)",
    "CAST(2.5 + weight - weight AS BIGINT)",
    "CAST(weight * 1.5 AS BIGINT)", "date_trunc('minute', timestamp)", "date_trunc('hour', timezone('Europe/Berlin', timestamp))",
    "date_trunc('day', timezone('America/New_York', timestamp))", "date_trunc('week', timezone('Asia/Kathmandu', timestamp))",
    "date_trunc('month', timestamp)", "timezone('Europe/Berlin', timestamp)", "timezone('UTC', received_at)", "epoch(timestamp)",
    "extract(hour FROM timestamp)", "extract(year FROM timestamp)", "date_part('week', timestamp)", "severity / 2", "severity % 3",
    "-severity",
    "payload || '-' || type", "length(payload)", "upper(type)", "substr(type, 2, 3)", "coalesce(fields->>'user', '?')",
    "fields->>'user' IS DISTINCT FROM 'edge'", "fields->>'user' IS NOT DISTINCT FROM fields->>'name'", "payload LIKE '%\\%'",
    "payload LIKE 'a%'",
    "payload ILIKE 'A%'", "payload NOT LIKE '_'", "list_contains(tokens, 'odd')", "'odd' = ANY(tokens)", "contains(payload, 'b')",
    "starts_with(type, 're')", "timestamp >= '2026-03-15'", "date >= '2026-03-15'", "date", "timestamp", "received_at - INTERVAL 1 DAY",
    "timestamp + INTERVAL 90 SECOND", "greatest(seq, NULL, 5)", "least(seq, 5)",
    "CASE WHEN severity < 3 THEN 'bad' WHEN severity IS NULL THEN '?' ELSE 'ok' END",
    "severity BETWEEN 2 AND 4", "type IN ('login', 'timer')", "seq", "weight", "tokens", "pid", "claimed_timestamp",
    "round(weight * 1.05, 1)",
    "abs(severity - 5)", "floor(weight / 3)", "nullif(type, 'login')", "md5(payload)", "strftime(timestamp, '%Y-%m-%d %H:%M')",
    "current_date - 1 < current_date",
    "now() > timestamp", "NOT (severity = 3)", "severity = 3 OR severity IS NULL", "seq - 1",
)  # fmt: skip
"""Expressions over one event that mean the same in every engine that takes them."""

AGGREGATES: Sequence[str] = (
    "count(*)", "count(fields->>'user')", "count(DISTINCT fields->>'user')", "sum(weight)", "sum(weight) FILTER (severity <= 3)",
    "count(*) FILTER (type = 'login')",
    "count(DISTINCT type) FILTER (WHERE severity > 2)", "min(timestamp)", "max(received_at)", "avg(severity)", "max(seq) - min(seq)",
    "min(payload)",
    "bool_or(severity = 0)", "arg_max(seq, timestamp)", "arg_max(fields->>'user', timestamp)", "max(TRY_CAST(fields->>'ms' AS DOUBLE))",
    "sum(weight) / count(*)",
    "quantile_cont(weight, 0.9)", "any_value(env_version)", "sum(weight) FILTER (severity > 90)",
    "bit_count(bit_or(CAST(1 AS UBIGINT) << CAST(seq & 63 AS UBIGINT)))",
)  # fmt: skip
"""Expressions over many."""


def rows(values: Iterable[Any]) -> list[tuple[Any, ...]]:
    return [tuple(float(v) if isinstance(v, Decimal) else v for v in row) for row in values]
