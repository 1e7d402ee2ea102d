"""What one evaluation of an alert finds in the rows of an answer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from metlog.alerts.config import alerts_of
from metlog.alerts.readings import Reading, read
from metlog.errors import Problems
from metlog.lake.cancel import Cancel
from metlog.lake.query import Lake
from metlog.reports import Library
from tests.helpers.reportdata import EVENTS, write


def reading(data: Path, sql: str, when: str) -> Reading:
    problems = Problems()
    settings = alerts_of({"alerts": [{"name": "a", "sql": sql, "when": when}]}, None, problems, in_listener=False)
    problems.check()
    with Lake(data) as lake:
        return read(settings.alerts[0], lake, Library(), 30.0, Cancel(), datetime.now(UTC))


@pytest.mark.parametrize(
    ("when", "outcome"),
    [
        ("n > 5", "met"), ("n > 500", "failed"), ("late > 5", "failed"), ("n < 2", "met"), ("n < 1", "failed"), ("rows > 5", "met"),
        ("rows > 15000", "failed"), ("rows < 5", "clear"), ("rows < 15000", "failed"), ("rows != 5", "met"), ("rows = 10000", "failed"),
    ],
)  # fmt: skip
def test_of_more_rows_than_are_read_nothing_is_said_that_the_others_may_change(
    tmp_path: Path, when: str, outcome: str
) -> None:
    write(tmp_path, EVENTS)
    sql = """
    SELECT CASE WHEN i = 17 THEN 100 WHEN i = 11000 THEN 1000 ELSE 1 END AS n, CASE WHEN i = 11000 THEN 9 END AS late
    FROM range(12000) t(i) ORDER BY i
    """
    found = reading(tmp_path, sql, when)
    assert found.outcome == outcome
    assert ("more than 10,000 rows" in found.error) is (outcome == "failed")


def test_as_many_rows_as_are_read_are_all(tmp_path: Path) -> None:
    write(tmp_path, EVENTS)
    assert reading(tmp_path, "SELECT i AS n FROM range(10000) t(i)", "n > 20000").outcome == "clear"
