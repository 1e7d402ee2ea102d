"""A report beside the time before: days with days, hours with hours, by the clock of the zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from metlog.errors import ConfigError
from metlog.lake.query import Lake
from metlog.reports import Library
from metlog.reports.charts.labels import label
from metlog.reports.charts.vega import specification
from metlog.reports.compare import before, compared, comparing
from metlog.reports.report import Report
from tests.helpers.reportdata import NOW, event, hours, write

D0 = datetime(2026, 3, 10)


def rows(data: Path, name: str, **params: Any) -> list[tuple[Any, ...]]:
    with Lake(data) as lake:
        return compared(Library()[name], lake, params, now=NOW).rows


def test_each_day_has_the_day_before_it_and_the_change(tmp_path: Path) -> None:
    visits = [("u1", -2), ("u2", -2), ("u1", -1), ("u1", 0), ("u2", 0), ("u3", 0), ("u1", 1)]
    write(tmp_path, [event(hours(8, day), "visit", {"user": user}) for user, day in visits])
    found = rows(tmp_path, "unique-users", since="2026-03-10", until="2026-03-12")
    assert found == [(D0, 3, 2.0, 50.0), (D0 + timedelta(days=1), 1, 1.0, 0.0)]


def test_names_are_compared_with_themselves_and_new_ones_with_nothing(tmp_path: Path) -> None:
    write(tmp_path, [
        event(hours(8, -1), "a", {}, weight=4.0), event(hours(8), "a", {}), event(hours(9), "b", {}, weight=2.0),
        event(hours(8, -1), "c", {}),
    ])  # fmt: skip
    found = rows(tmp_path, "events-by-type", since="2026-03-10", until="2026-03-11")
    assert [(row[0], row[1], *row[4:]) for row in found] == [("b", 2, None, None), ("a", 1, 4.0, -75.0)]


def test_a_name_that_was_not_among_the_first_before_has_what_it_was_then(tmp_path: Path) -> None:
    counts = {-1: {"a": 5, "b": 4, "c": 3}, 0: {"c": 9, "a": 5, "b": 1}}
    write(tmp_path, [
        event(hours(8, day), name, {}, weight=float(count)) for day, names in counts.items() for name, count in names.items()
    ])  # fmt: skip
    found = rows(tmp_path, "events-by-type", since="2026-03-10", until="2026-03-11", top="2")
    assert [(row[0], row[1], *row[4:]) for row in found] == [("c", 9, 3.0, 200.0), ("a", 5, 5.0, 0.0)]


def test_days_that_are_dates_are_compared_as_times_are(tmp_path: Path) -> None:
    report = Report.from_toml("dates", """
title = "Events by date"
sql = "SELECT date, count(*) AS n FROM events WHERE timestamp >= $since AND timestamp < $until GROUP BY date ORDER BY date"
chart = { kind = "bars", x = "date", y = ["n"], step = "day" }
""")  # fmt: skip
    write(tmp_path, [event(hours(8, day), "a", {}) for day in (-2, -2, -1, 0, 1)])
    with Lake(tmp_path) as lake:
        found = compared(report, lake, {"since": "2026-03-10", "until": "2026-03-12"}, now=NOW).rows
    assert found == [(D0.date(), 1, 2.0, -50.0), (D0.date() + timedelta(days=1), 1, 1.0, 0.0)]


def test_series_are_compared_each_with_itself(tmp_path: Path) -> None:
    write(tmp_path, [
        event(hours(8, day), "counter", {"name": name, "count": count})
        for day, name, count in ((-1, "x", 5), (-1, "y", 7), (0, "x", 10), (0, "y", 7))
    ])  # fmt: skip
    found = rows(tmp_path, "counters", since="2026-03-10", until="2026-03-11", by="day")
    assert [row[1:] for row in found] == [("x", 10, 5.0, 100.0), ("y", 7, 7.0, 0.0)]


@pytest.mark.parametrize(
    ("params", "back"),
    [
        ({"since": "7d", "by": "day"}, timedelta(days=7)), ({"since": "today", "by": "day"}, timedelta(days=1)),
        ({"since": "24h", "by": "hour"}, timedelta(hours=24)), ({"since": "4w", "by": "week"}, timedelta(weeks=4)),
        ({"since": "90m", "by": "minute"}, timedelta(minutes=90)), ({"since": "7d", "by": "hour"}, timedelta(days=7)),
    ],
)  # fmt: skip
def test_the_time_before_begins_whole_steps_earlier(params: dict[str, str], back: timedelta) -> None:
    report = Library()["unique-users"]
    assert before(report, report.values(params, NOW)) == back


def test_days_stay_days_where_the_clocks_change(tmp_path: Path) -> None:
    """In Berlin 29 March 2026 has 23 hours; the day before it begins at its own midnight."""
    moments = [
        datetime(2026, 3, 28, 23, 30, tzinfo=UTC),
        datetime(2026, 3, 27, 23, 30, tzinfo=UTC),
        datetime(2026, 3, 27, 22, 30, tzinfo=UTC),
    ]
    write(tmp_path, [event(moment, "visit", {"user": f"u{at}"}) for at, moment in enumerate(moments)])
    with Lake(tmp_path) as lake:
        asked = {"since": "2026-03-29", "until": "2026-03-30", "tz": "Europe/Berlin"}
        found = compared(Library()["unique-users"], lake, asked, now=NOW)
    assert found.rows == [(datetime(2026, 3, 29), 1, 1.0, 0.0)]


def test_what_cannot_be_compared_is_refused() -> None:
    report = Library()["unique-users"]
    with pytest.raises(ConfigError, match="by = 'month'"):
        before(report, report.values({"by": "month"}, NOW))


def test_one_value_over_time_is_drawn_as_two_lines(tmp_path: Path) -> None:
    write(tmp_path, [event(hours(8, day), "visit", {"user": "u1"}) for day in (-1, 0)])
    report = Library()["unique-users"]
    with Lake(tmp_path) as lake:
        found = compared(report, lake, {"since": "2026-03-10", "until": "2026-03-11"}, now=NOW)
    shown = comparing(report)
    spec = specification(shown, found)
    assert spec["encoding"]["color"]["scale"]["domain"] == ["users", "before"]
    assert label(shown, "users change") == "users change, %"
    assert report.chart_spec is not None
    assert report.chart_spec.kind == "bars"  # the report itself stays as it is
