"""From a row of a report to the events behind it: as many are found as the row counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from metlog.lake.query import Lake
from metlog.reports import Library
from metlog.reports.behind import conditions
from metlog.reports.report import Report
from metlog.reports.sample import fill
from metlog.web.conditions import Search

COUNTED = {
    "error-rate": "requests",
    "errors-by-type": "events",
    "events-by-type": "events",
    "request-times": "requests",
    "slowest-routes": "requests",
    "status-codes": "requests",
    "timers": "calls",
    "top-pages": "views",
    "top-values": "events",
}
"""Reports with a column that counts the events of the whole row."""
UNTIL = datetime(2026, 3, 31, 12, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    data: Path = tmp_path_factory.mktemp("sample")
    fill(data, 5, per_day=400, until=UNTIL)
    with Lake(data) as made:
        yield made


def counted(lake: Lake, pairs: list[tuple[str, str]], what: str = "sum(weight)") -> float:
    """The sum of the weights that the search finds, or something else of these events."""
    given = dict(pairs)
    moments = (datetime.fromisoformat(given[key]) for key in ("since", "until"))
    where, values = Search.parse(pairs, *moments).where()
    found = lake.query(f"SELECT coalesce({what}, 0) FROM events WHERE {' AND '.join(where)}", values)
    return float(found.rows[0][0])


def rows_of(lake: Lake, report: Report, **given: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    result = report.run(lake, {"since": "2026-03-26", "until": "2026-03-31T12:30", **given})
    return result.dicts(), result.values


@pytest.mark.parametrize("name", [report.name for report in Library()])
def test_every_row_of_a_report_leads_to_its_events(lake: Lake, name: str) -> None:
    report = Library()[name]
    assert report.events, "a report says which events its rows count"
    rows, values = rows_of(lake, report, **({"logger": "shop"} if name == "top-values" else {}))
    assert rows
    own = {column for entry in report.events for column in entry.columns}
    for row in [*rows[:8], *rows[-8:]]:
        pairs = conditions(report, row, values)
        if name == "volume" and row["kind"] != "parquet":
            assert pairs is None
            continue
        assert pairs is not None, row
        found = counted(lake, pairs)
        if column := COUNTED.get(name):
            assert found == pytest.approx(row[column]), (row, pairs)
        elif name == "delivery" and row["received"] is not None:
            assert counted(lake, pairs, "count(*)") == row["received"] + row["duplicates"]
        else:
            assert found > 0, (row, pairs)
        for column in own:
            more = conditions(report, row, values, column)
            assert more is not None
            assert counted(lake, more) == pytest.approx(row[column]), (row, more)


@pytest.mark.parametrize("by", ["hour", "day", "week", "month"])
def test_a_step_is_of_the_zone_and_within_the_span(lake: Lake, by: str) -> None:
    """Over the night in which Berlin's clocks went on."""
    report = Library()["logins"]
    rows, values = rows_of(lake, report, by=by, tz="Europe/Berlin", since="2026-03-26T05:00")
    total = 0.0
    for row in rows:
        pairs = conditions(report, row, values)
        assert pairs is not None
        assert counted(lake, pairs) == row["logins"] + row["failures"]
        total += row["logins"] + row["failures"]
    assert total == counted(
        lake, [("type", "login"), ("since", "2026-03-26T04:00:00Z"), ("until", "2026-03-31T10:30:00Z")]
    )


def test_a_mark_that_several_rows_share_leads_to_all_of_them(lake: Lake) -> None:
    report = Library()["delivery-by-minute"]
    rows, values = rows_of(lake, report)
    minute = rows[0]["minute"]
    pairs = conditions(report, {"minute": minute}, values, "lost", whole=False)
    assert pairs is not None
    assert [key for key, _ in pairs] == ["since", "until"]


def made(events: str) -> Report:
    return Report.from_toml("x", f"title = 'x'\nsql = 'SELECT 1 AS a WHERE $since < $until'\n{events}")


VALUES = {"since": datetime(2026, 1, 1, tzinfo=UTC), "until": datetime(2026, 1, 2, tzinfo=UTC), "logger": ""}


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"a": "x"}, "f=x"),
        ({"a": None}, "!f"),
        ({"a": "?"}, "!f"),
        ({"a": "a=b {a}"}, "f=a=b {a}"),
        ({"a": ""}, "f="),
        ({"a": " x"}, None),
        ({"a": "x" * 501}, None),
        ({}, None),
    ],
)
def test_what_a_value_means(row: dict[str, Any], wanted: str | None) -> None:
    report = made("[[events]]\nfield = ['f={a}']\nmissing = { a = '?' }")
    pairs = conditions(report, row, VALUES)
    assert pairs is None if wanted is None else pairs is not None and pairs[2:] == [("field", wanted)]


def test_without_a_word_about_events_there_is_no_link() -> None:
    assert conditions(made(""), {"a": 1}, VALUES) is None
    report = made("[[events]]\nwhen = { a = '1' }\ntype = '{a}'")
    assert conditions(report, {"a": 2}, VALUES) is None
    assert conditions(report, {"a": 1}, VALUES | {"logger": "shop"}) == [
        ("since", "2026-01-01T00:00:00Z"), ("until", "2026-01-02T00:00:00Z"), ("logger", "shop"), ("type", "1"),
    ]  # fmt: skip
