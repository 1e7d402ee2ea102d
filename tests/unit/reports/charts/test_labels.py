"""Words above columns, times without what is always 0, and periods that are not over."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from metlog.lake.sql.vocabulary import VIEW_COLUMNS
from metlog.lake.values import Column
from metlog.reports import Library
from metlog.reports.charts.labels import _COLUMNS, _PARAMETERS, label, parameter_label, time_texts
from metlog.reports.charts.scales import spread_range
from metlog.reports.charts.vega import specification
from metlog.reports.report import ReportResult
from metlog.reports.spec import Chart


def test_columns_have_words() -> None:
    report = Library()["request-times"]
    assert [label(report, name) for name in ("p50", "p95", "average", "some_thing")] == [
        "median",
        "95th percentile",
        "average",
        "some thing",
    ]
    assert label(Library()["new-users"], "new_users") == "new"
    assert [parameter_label(name) for name in ("tz", "logger", "target")] == ["Time zone", "Service", "Target"]


def test_words_are_of_columns_and_parameters_that_there_are() -> None:
    library = Library()
    columns = {name for view in VIEW_COLUMNS.values() for name, _ in view}
    queries = " ".join(report.sql for report in library)
    assert [name for name in _COLUMNS if name not in columns and not re.search(rf"\b{name}\b", queries)] == []
    assert [name for name in _PARAMETERS if not any(name in report.parameters for report in library)] == []


@pytest.mark.parametrize(
    ("by", "begin", "text"),
    [
        ("day", datetime(2026, 3, 11), "2026-03-11"), ("day", datetime(2026, 3, 12), "2026-03-12 so far"),
        ("week", datetime(2026, 3, 9), "2026-03-09 so far"), ("month", datetime(2026, 2, 1), "2026-02"),
        ("hour", datetime(2026, 3, 12, 8), "2026-03-12 08:00"), ("hour", datetime(2026, 3, 12, 9), "2026-03-12 09:00 so far"),
    ],
)  # fmt: skip
def test_a_period_that_is_not_over_says_so(by: str, begin: datetime, text: str) -> None:
    values = {"by": by, "tz": "UTC", "until": datetime(2026, 3, 12, 9, 30, tzinfo=UTC)}
    assert time_texts(Library()["unique-users"], values)("time", begin) == text


def test_the_end_is_one_of_the_zone() -> None:
    values = {"by": "day", "tz": "Pacific/Auckland", "until": datetime(2026, 3, 11, 11, tzinfo=UTC)}  # midnight there
    assert time_texts(Library()["unique-users"], values)("time", datetime(2026, 3, 11)) == "2026-03-11"


def _spec(until: datetime) -> dict[str, Any]:
    table = pa.table({"time": [datetime(2026, 3, 11), datetime(2026, 3, 12)], "users": [5, 2]})
    columns = [Column("time", "TIMESTAMP"), Column("users", "BIGINT")]
    values = {"since": datetime(2026, 3, 10, tzinfo=UTC), "until": until, "tz": "UTC", "by": "day", "logger": ""}
    return specification(Library()["unique-users"], ReportResult(columns, table, False, 1.0, values))


def test_a_bar_that_is_not_over_is_paler_and_the_picture_says_why() -> None:
    spec = _spec(datetime(2026, 3, 12, 9, 30, tzinfo=UTC))
    assert "the last day is not over" in spec["title"]["subtitle"]
    assert [row["_part"] for row in spec["data"]["values"]] == [False, True]
    assert "opacity" in spec["encoding"]
    whole = _spec(datetime(2026, 3, 13, tzinfo=UTC))
    assert "not over" not in whole["title"]["subtitle"]
    assert "opacity" not in whole["encoding"]


SPREAD = Chart(kind="spread", x="route", y=("p50", "p99"))


def _rows(*values: tuple[str, float | None, float | None]) -> list[dict[str, Any]]:
    return [{"route": name, "p50": low, "p99": high} for name, low, high in values]


def test_one_route_far_below_all_others_does_not_squeeze_them() -> None:
    usual = (("/a", 10.0, 900.0), ("/b", 20.0, 80.0), ("/c", 15.0, 200.0))
    scale, outside = spread_range(SPREAD, _rows(*usual, ("/nowhere", 0.03, 0.03)))
    assert scale == (10.0, 900.0)
    assert outside == "left of it /nowhere (0.03)"
    near, outside = spread_range(SPREAD, _rows(*usual, ("/d", 1.1, 2.0)))  # within a tenth of the least
    assert near == (1.1, 900.0)
    assert outside == ""


def test_many_that_are_far_below_are_no_exception() -> None:
    scale, outside = spread_range(
        SPREAD, _rows(("/a", 10.0, 900.0), ("/b", 20.0, 80.0), ("/c", 0.02, 0.03), ("/d", 0.02, 0.03))
    )
    assert scale == (0.02, 900.0)
    assert outside == ""
    assert spread_range(SPREAD, []) == (None, "")
    assert spread_range(SPREAD, _rows(("/a", None, None))) == (None, "")
