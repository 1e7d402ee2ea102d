"""The sample data: the same for the same seed, and a story that the charts can tell."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from metlog.lake.query import Lake
from metlog.reports import Library
from metlog.reports.sample import fill

pytestmark = pytest.mark.slow

NOW = datetime(2026, 3, 30, 18, tzinfo=UTC)


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("month")
    fill(folder, 30, per_day=2000, until=NOW)
    return folder


def report(data: Path, name: str, /, **params: Any) -> list[dict[str, Any]]:
    with Lake(data) as lake:
        return Library()[name].run(lake, {"since": "2026-03-01", "until": "2026-03-30", **params}, now=NOW).dicts()


def test_the_same_seed_gives_the_same_events_and_another_one_others(tmp_path: Path) -> None:
    sql = "SELECT * EXCLUDE (date) FROM events ORDER BY timestamp, stream, seq, type, fields"
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        number = fill(tmp_path / name, 2, seed, per_day=200, until=NOW)
        with Lake(tmp_path / name) as lake:
            found.append(lake.query(sql).rows)
        assert len(found[-1]) == number
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert fill(tmp_path / "a", 2, per_day=200, until=NOW) == len(found[0])  # again: it replaces its files
    with Lake(tmp_path / "a") as lake:
        assert lake.query(sql).rows == found[0]


def test_no_event_is_later_than_now(month: Path) -> None:
    with Lake(month) as lake:
        latest, days = lake.query(
            "SELECT max(timestamp), count(DISTINCT date) FROM events WHERE type <> 'metlog.end'"
        ).rows[0]
    assert latest <= NOW
    assert days == 30


def test_there_is_a_rhythm_of_the_day_and_of_the_week_and_growth(month: Path) -> None:
    by_hour = [0.0] * 24
    for row in report(month, "requests-by-hour"):
        by_hour[row["time"].hour] += row["served"]
    assert min(by_hour[18:21]) > 10 * max(by_hour[2:5])
    by_day = {row["time"].date(): row["served"] for row in report(month, "requests-by-hour", by="day")}
    weeks = [sum(by_day[datetime(2026, 3, first + n).date()] for n in range(7)) for first in (2, 9, 16, 23)]
    assert weeks == sorted(weeks)
    assert weeks[3] > 1.25 * weeks[0]
    for monday in (2, 9, 16, 23):
        assert by_day[datetime(2026, 3, monday + 6).date()] < 0.85 * by_day[datetime(2026, 3, monday).date()]
    users = [row["users"] for row in report(month, "unique-users", by="week")][1:-1]
    assert users == sorted(users)


def test_there_is_a_bad_day_a_guessing_day_a_lossy_day_and_a_slow_route(month: Path) -> None:
    errors = {
        row["time"].day: row["requests"] for row in report(month, "status-codes", by="day") if row["status"] == "5xx"
    }
    assert max(errors, key=lambda day: errors[day]) == 22
    assert errors[22] > 5 * sorted(errors.values())[-2]
    failures = {row["time"].day: row["failures"] for row in report(month, "logins")}
    assert max(failures, key=lambda day: failures[day]) == 15
    assert failures[15] > 5 * sorted(failures.values())[-2]
    lost = [row for row in report(month, "delivery") if row["lost"]]
    assert {row["last_at"].day for row in lost} == {26}
    assert len(lost) == 4  # each of the workers
    minutes = report(month, "delivery-by-minute", since="2026-03-26", until="2026-03-27")
    assert sum(row["lost"] or 0 for row in minutes) == sum(row["lost"] for row in lost) > 20
    assert {row["minute"].hour for row in minutes if row["lost"]} == {12}
    dropped = sum(row["kernel_drops"] or 0 for row in minutes)  # datagrams of one event or more
    assert 0.3 * sum(row["lost"] for row in lost) < dropped <= sum(row["lost"] for row in lost)
    assert report(month, "slowest-routes")[0]["route"] == "/invoices"


def test_draws_do_not_go_together(month: Path) -> None:
    """Each route has times of its own spread: a median apart from its 95th percentile."""
    for row in report(month, "request-times"):
        assert 1.3 < row["p95"] / row["p50"] < 8, row
        assert row["p99"] > 1.05 * row["p95"], row


def test_nothing_else_stands_still_on_the_day_somebody_tries_passwords(month: Path) -> None:
    """The day's own logins come on top: they are not taken from what is counted on every day."""
    for name in ("cache.hit", "orders", "cart.add"):
        counted = {row["time"].day: row["total"] for row in report(month, "counters", by="day", name=name)}
        assert len(counted) == 29
        assert 0.5 < counted[15] / counted[13] < 1.5, (name, counted)  # the Sunday and the Friday before


def test_nobody_s_days_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="days = 0: wants 1 or more"):
        fill(tmp_path, 0)
