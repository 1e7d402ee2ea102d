"""A report beside the time before: days with days, hours with hours, by the clock of the zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from metlog.errors import ConfigError
from metlog.lake.query import Lake
from metlog.reports import Library
from metlog.reports.charts.labels import label
from metlog.reports.charts.vega import specification
from metlog.reports.compare import before, compared, comparing
from metlog.reports.report import Report
from tests.helpers.reportdata import NOW, event, hours, request, write

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


@pytest.mark.parametrize(
    ("tz", "day", "next_day"),
    [
        ("Europe/Berlin", "2026-03-29", "2026-03-30"), ("Europe/Berlin", "2026-10-25", "2026-10-26"),
        ("America/Havana", "2025-03-09", "2025-03-10"), ("America/Havana", "2025-11-02", "2025-11-03"),
    ],
)  # fmt: skip
def test_a_day_on_which_the_clocks_change_is_compared_with_the_day_before_hour_by_hour(
    tmp_path: Path, tz: str, day: str, next_day: str
) -> None:
    zone, begin = ZoneInfo(tz), datetime.fromisoformat(day)
    moments = [(begin + timedelta(days=back, hours=hour)).replace(tzinfo=zone) for back in (-1, 0) for hour in (9, 23)]
    write(tmp_path, [
        request(moment.astimezone(UTC), "/", 200, 1.0, weight=float(moment.hour + (moment.date() == begin.date()))) for moment in moments
    ])  # fmt: skip
    with Lake(tmp_path) as lake:
        asked = {"since": day, "until": next_day, "tz": tz, "by": "hour"}
        found = compared(Library()["requests-by-hour"], lake, asked, now=datetime(2026, 12, 1, tzinfo=UTC)).dicts()
    assert [(row["time"], row["served"], row["served before"]) for row in found] == [
        (begin + timedelta(hours=9), 10, 9.0), (begin + timedelta(hours=23), 24, 23.0)
    ]  # fmt: skip


def test_within_a_day_hours_are_compared_by_the_time_that_passes(tmp_path: Path) -> None:
    """In Berlin 3 o'clock follows upon 1:59 on 29 March 2026: midnight is two hours before 3, and 1 o'clock two before 4."""
    moments = [datetime(2026, 3, 28, 23, tzinfo=UTC) + timedelta(hours=hour) for hour in range(4)]
    write(tmp_path, [request(moment, "/", 200, 1.0, weight=at + 1.0) for at, moment in enumerate(moments)])
    with Lake(tmp_path) as lake:
        asked = {"since": "2026-03-29T03:00", "until": "2026-03-29T05:00", "tz": "Europe/Berlin", "by": "hour"}
        found = compared(Library()["requests-by-hour"], lake, asked, now=datetime(2026, 12, 1, tzinfo=UTC)).dicts()
    assert [(row["time"].hour, row["served"], row["served before"]) for row in found] == [(3, 3, 1.0), (4, 4, 2.0)]


def test_steps_of_a_funnel_with_one_page_are_compared_each_with_itself(tmp_path: Path) -> None:
    def visit(hour: float, day: int, user: str, *pages: str) -> list[dict[str, Any]]:
        return [request(hours(hour + at / 60, day), page, 200, 1.0, user=user) for at, page in enumerate(pages)]

    write(tmp_path, [
        *visit(8, -1, "u1", "/", "/cart", "/"), *visit(8, -1, "u2", "/"), *visit(8, 0, "u1", "/", "/cart"), *visit(8, 0, "u2", "/"),
        *visit(8, 0, "u3", "/"),
    ])  # fmt: skip
    asked = {"first": "/", "second": "/cart", "third": "/", "fourth": ""}
    found = rows(tmp_path, "funnel", since="2026-03-10", until="2026-03-11", **asked)
    assert [(row[1], row[2], row[4]) for row in found] == [("/", 3, 2.0), ("/cart", 1, 1.0), ("/", 0, 1.0)]


def test_streams_of_one_client_are_compared_each_with_itself(tmp_path: Path) -> None:
    numbers = {("a", -1): (1, 4), ("b", -1): (1, 9), ("a", 0): (5, 8), ("c", 0): (1, 3), ("c", 1): ()}
    write(tmp_path, [
        event(hours(8 + seq / 60, day), "x", {}, stream=stream, seq=seq) for (stream, day), found in numbers.items() for seq in found
    ])  # fmt: skip
    found = rows(tmp_path, "delivery", since="2026-03-10", until="2026-03-11")
    assert {row[1]: (row[4], row[-2]) for row in found} == {"a": (2, 2.0), "c": (1, None)}


def test_rows_that_nothing_tells_apart_and_lists_are_compared_with_nothing(tmp_path: Path) -> None:
    report = Report.from_toml("lists", """
title = "Tokens"
sql = "SELECT tokens, weight AS n FROM events WHERE timestamp >= $since AND timestamp < $until ORDER BY timestamp"
chart = { kind = "ranked", x = "tokens", y = ["n"] }
""")  # fmt: skip
    write(tmp_path, [event(hours(8 + at, day), name, {}) for day in (-1, 0) for at, name in enumerate("abb")])
    with Lake(tmp_path) as lake:
        found = compared(report, lake, {"since": "2026-03-10", "until": "2026-03-11"}, now=NOW).rows
    assert [(row[0], row[2]) for row in found] == [(["a"], 1.0), (["b"], None), (["b"], None)]


def test_a_step_by_itself_is_one_that_the_report_has(tmp_path: Path) -> None:
    report = Library()["volume"]
    assert report.values({"by": "auto", "since": "2h"}, NOW)["by"] == "day"
    assert report.values({"by": "auto", "since": "52w"}, NOW)["by"] == "week"
    write(tmp_path, [event(hours(8, day), "x", {}) for day in (-1, 0)])
    with Lake(tmp_path) as lake:
        asked = {"by": "auto", "since": "2026-03-10T07:00", "until": "2026-03-10T09:00"}
        assert len(compared(report, lake, asked, now=NOW).rows) == 1


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
