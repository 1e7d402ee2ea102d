"""Every built-in report against data counted by hand, and the command that shows them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metlog.errors import ConfigError
from metlog.lake.query import Lake
from metlog.lake.schema import SCHEMA
from metlog.reports import Library, Report

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


EVENTS = [
    event(hours(8), "request", {"method": "GET", "route": "/a", "status": 200, "ms": 10.0, "user": "u1"}),
    event(hours(8.5), "request", {"method": "GET", "route": "/a", "status": 200, "ms": 30.0, "user": "u2"}, weight=3.0),
    event(
        hours(9),
        "request",
        {"method": "GET", "route": "/b", "status": 500, "ms": 200.0, "error": "KeyError"},
        severity=3,
    ),
    event(hours(23.5), "request", {"method": "GET", "route": "/b", "status": 404, "ms": 100.0, "user": "u1"}),
    event(hours(8, 1), "request", {"method": "GET", "route": "/a", "status": 200, "ms": 20.0, "user": "u3"}),
    event(hours(8), "login", {"user": "u1", "success": True}),
    event(hours(9), "login", {"user": "u9", "success": False}),
    event(hours(9, 1), "login", {"user": "u3", "success": True}, weight=2.0),
    event(hours(8), "counter", {"name": "orders", "count": 2}),
    event(hours(8.2), "counter", {"name": "orders", "count": 3}, weight=10.0),
    event(hours(8), "timer", {"name": "work", "ms": 4.0}),
    event(hours(8.1), "timer", {"name": "work", "ms": 8.0}, weight=3.0),
    event(hours(10), "oldstyle", {"exception_type": "ValueError"}, severity=3, weight=2.0),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    by_day: dict[str, list[dict[str, Any]]] = {}
    for n, item in enumerate(EVENTS, 1):
        by_day.setdefault(item["timestamp"].strftime("%Y-%m-%d"), []).append({**item, "seq": n if n < 5 else n + 2})
    for day, rows in by_day.items():
        where = folder / "events" / f"date={day}"
        where.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), where / "hand.parquet")
    return folder


@pytest.fixture(scope="module")
def rows(data: Path) -> Callable[..., list[tuple[Any, ...]]]:
    library = Library()

    def run(name: str, /, **params: Any) -> list[tuple[Any, ...]]:
        with Lake(data) as lake:
            return library[name].run(lake, {"since": "2026-03-01", **params}, now=NOW).rows

    return run


D0, D1 = datetime(2026, 3, 10), datetime(2026, 3, 11)


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("unique-users", {}, [(D0, 3), (D1, 1)]),
        ("unique-users", {"by": "month"}, [(datetime(2026, 3, 1), 4)]),
        ("unique-users", {"by": "week"}, [(datetime(2026, 3, 9), 4)]),
        ("unique-users", {"tz": "Europe/Berlin"}, [(D0, 3), (D1, 2)]),
        ("unique-users", {"logger": "other"}, []),
        ("unique-users", {"until": "2026-03-11"}, [(D0, 3)]),
        ("logins", {}, [(D0, 1, 1), (D1, 2, 0)]),
        ("requests-by-hour", {"until": "2026-03-11"},
         [(D0.replace(hour=8), 4, 0), (D0.replace(hour=9), 0, 1), (D0.replace(hour=23), 1, 0)]),
        ("request-times", {}, [("/a", 5, 24.0, 30.0, 30.0, 30.0), ("/b", 2, 150.0, 100.0, 200.0, 200.0)]),
        ("slowest-routes", {"top": 1}, [("/b", 2, 150.0, 100.0, 200.0, 200.0)]),
        ("status-codes", {"by": "day"}, [(D0, "2xx", 4), (D0, "4xx", 1), (D0, "5xx", 1), (D1, "2xx", 1)]),
        ("counters", {"by": "day"}, [(D0, "orders", 32.0)]),
        ("counters", {"by": "day", "name": "none"}, []),
        ("timers", {"by": "day"}, [(D0, "work", 7.0, 8.0, 4)]),
        ("top-values", {"field": "user"}, [("u2", 3), ("u3", 3), ("u1", 3), ("u9", 1)]),
        ("top-values", {"field": "route", "type": "request", "top": 1}, [("/a", 5)]),
    ],
)  # fmt: skip
def test_a_report_gives_what_was_counted_by_hand(
    rows: Callable[..., list[tuple[Any, ...]]], name: str, params: dict[str, Any], expected: list[tuple[Any, ...]]
) -> None:
    found = rows(name, **params)
    if name == "top-values" and len(expected) > 1:
        assert sorted(found) == sorted(expected)
    else:
        assert found == expected


def test_errors_events_and_volume(rows: Callable[..., list[tuple[Any, ...]]]) -> None:
    assert [row[:2] for row in rows("errors-by-type")] == [("oldstyle: ValueError", 2), ("request: KeyError", 1)]
    assert [row[:2] for row in rows("events-by-type")][:3] == [("counter", 11), ("request", 7), ("login", 4)]
    assert [row[:2] for row in rows("volume")] == [(D0, 11), (D1, 2)]


def test_delivery_counts_the_gap(rows: Callable[..., list[tuple[Any, ...]]]) -> None:
    (row,) = rows("delivery")
    assert row[:2] == ("svc h 1", "s")
    assert row[3:9] == (13, 2, 0, 0, "tail unknown", None)


@pytest.mark.parametrize("report", list(Library()), ids=lambda report: report.name)
def test_every_report_has_a_chart_and_says_what_would_bring_data(data: Path, report: Report) -> None:
    vl_convert = pytest.importorskip("vl_convert")
    assert report.chart_spec is not None
    assert report.empty.code
    with Lake(data) as lake:
        full = report.run(lake, {"since": "2026-03-01"}, now=NOW)
        empty = report.run(lake, {"since": "2020-01-01", "until": "2020-01-02"}, now=NOW)
    assert full.rows
    assert empty.rows == []
    assert {report.chart_spec.x, *report.chart_spec.y} <= {column.name for column in full.columns}
    for result, dark in ((full, False), (full, True), (empty, False)):
        assert vl_convert.vegalite_to_svg(report.chart(result, dark=dark)).startswith("<svg")


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"sinc": "1d"}, "'since'"), ({"since": "long ago"}, "since"), ({"tz": "Mars"}, "tz"), ({"by": "year"}, "by"),
        ({"since": "now", "until": "1d"}, "not before"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(data: Path, params: dict[str, Any], word: str) -> None:
    with Lake(data) as lake, pytest.raises(ConfigError) as caught:
        Library()["unique-users"].run(lake, params, now=NOW)
    assert word in str(caught.value)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}
    return subprocess.run(
        [sys.executable, "-m", "metlog", "report", *arguments], capture_output=True, text=True, timeout=60, env=kept
    )


def test_the_command_lists_shows_draws_and_fails(data: Path, tmp_path: Path) -> None:
    where = ("--data", str(data), "--since", "2026-03-01")
    assert "unique-users" in command("--data", str(data)).stdout
    found = json.loads(command("unique-users", *where, "--by", "month", "--format", "json").stdout)
    assert [row["users"] for row in found] == [4]
    for name in ("c.svg", "c.png", "c.html"):
        done = command("request-times", *where, "--chart", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name).stat().st_size > 1000
    assert "█" in command("request-times", *where, "--chart", "-").stdout
    assert command("request-times", *where, "--fail-if", "p95 > 150").returncode == 3
    assert command("request-times", *where, "--fail-if", "p95 > 500").returncode == 0
    for wrong in (("--fail-if", "p95 bad"), ("--fail-if", "nope > 1"), ("--chart", "x.bmp"), ("--nope", "1")):
        done = command("request-times", *where, *wrong)
        assert done.returncode == 2, wrong
        assert "Traceback" not in done.stderr
    nothing = command("logins", "--data", str(data), "--since", "2020-01-01", "--until", "2020-01-02").stdout
    assert "login_success" in nothing


def test_a_report_in_the_data_folder_is_found_and_a_broken_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "mine.toml").write_text('title = "Mine"\nsql = "SELECT count(*) AS n FROM events"\n')
    (tmp_path / "reports" / "broken.toml").write_text('title = "B"\nsql = "DROP TABLE x"\n')
    library = Library(tmp_path)
    assert library["mine"].title == "Mine"
    assert any("broken.toml" in line for line in library.broken)
