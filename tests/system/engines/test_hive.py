"""Hive 2.3 beside DuckDB: the statements of `metlog ddl` as printed, reports, expressions, and days added to its metastore."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from metlog.engines.arrow import batches
from metlog.engines.ddl import ddl, location_of
from metlog.engines.metastore import DayRegistration, Metastore, MetastoreError, days_in
from metlog.lake.interface import Engine
from metlog.lake.query import Lake
from metlog.lake.sql.guard import QueryError
from metlog.reports import Library
from tests.helpers.engines import AGGREGATES, EXPRESSIONS, NASTY, differences, make_lake
from tests.helpers.java import Hive, HiveDriver

pytestmark = [pytest.mark.hive, pytest.mark.timeout(1800)]

DAYS = 4
LACKS = {"delivery", "delivery-by-minute", "retention", "volume"}
GIVEN = {"since": "2026-03-28", "until": "2026-04-02"}
WHERE = "logger = 'odd' AND type <> 'text' AND date >= DATE '2026-03-28'"


class Driver(NamedTuple):
    hive: Hive
    data: Path
    lake: Engine
    engine: HiveDriver


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    folder = tmp_path_factory.mktemp("hive")
    hive = Hive(folder)
    data = make_lake(folder / "lake", days=DAYS, per_day=100)
    said = hive.script(ddl("hive", location_of(data, None)))
    assert said.count("Added partition") >= DAYS
    with Lake(data) as lake:
        yield Driver(hive, data, lake, HiveDriver(hive))


def asked(driver: Driver, queries: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of several queries, by name, in one run of Hive's driver."""
    answers = driver.engine.answers([driver.engine.translated(sql, values) for sql, values in queries.values()])
    found = {}
    for (name, (sql, values)), rows in zip(queries.items(), answers, strict=True):
        _, schema = driver.engine.shape(sql, values)
        made = list(batches([rows], schema, "hive"))
        found[name] = [
            row for batch in made for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        ]
    return found


def test_every_report_that_hive_can_make_is_the_same(driver: Driver) -> None:
    queries = {}
    for report in Library():
        values = {
            key: value for key, value in report.values({**GIVEN, "tz": "Europe/Berlin"}).items() if key in report._used
        }
        if report.name not in LACKS:
            queries[report.name] = (report.sql, values)
    assert len(queries) == len(list(Library())) - len(LACKS)
    answers = asked(driver, queries)
    for name, (sql, values) in queries.items():
        ours = driver.lake.query(sql, values).rows
        assert ours, name
        assert differences(ours, answers[name]) == [], name


def test_the_others_are_refused_with_the_construct(driver: Driver) -> None:
    for name in LACKS:
        report = Library()[name]
        values = {key: value for key, value in report.values(GIVEN).items() if key in report._used}
        with pytest.raises(QueryError, match=r"Hive: .* has no equivalent") as caught:
            driver.engine.translated(report.sql, values)
        assert caught.value.kind == "unsupported"


def test_expressions_are_the_same(driver: Driver) -> None:
    def taken(text: str) -> bool:
        try:
            driver.engine.translated(f"SELECT {text} FROM events")
        except QueryError:
            return False
        return True

    lines = [text for text in EXPRESSIONS if taken(text)]
    many = [text for text in AGGREGATES if taken(text)]
    assert len(lines) > len(EXPRESSIONS) * 0.8
    assert len(many) > len(AGGREGATES) * 0.6
    queries = {
        "lines": (
            f"SELECT {', '.join(lines)}, type AS by_type FROM events WHERE {WHERE} ORDER BY timestamp, by_type, seq",
            {},
        ),
        "many": (f"SELECT severity, {', '.join(many)} FROM events WHERE {WHERE} GROUP BY ALL ORDER BY severity", {}),
    }
    answers = asked(driver, queries)
    for name, texts in (("lines", lines), ("many", ["severity", *many])):
        ours = driver.lake.query(queries[name][0]).rows
        for place, text in enumerate(texts):
            assert differences([[row[place]] for row in ours], [[row[place]] for row in answers[name]]) == [], text


def test_values_arrive_as_they_are(driver: Driver) -> None:
    # Its driver writes rows as lines and cells between tabs, and looks for the ; that ends a statement without regard to what is inside
    # of which quotes: so a text has no ; here, an even number of ", and no \\ at its end.
    plain = [text.replace('"', '""') + "x" * text.endswith("\\") for text in NASTY if not set(text) & set("\n\r\t;")]
    names = [f"x{number}" for number in range(len(plain))]
    columns = ", ".join(f"${name} AS {name}" for name in names)
    sql = f"SELECT {columns}, count(*) AS n FROM events WHERE type = 'text' AND payload = $x1"
    assert plain[1] == "'"
    found = asked(driver, {"values": (sql, dict(zip(names, plain, strict=True)))})["values"]
    assert list(found[0]) == [*plain, 1]


def test_new_days_are_added_to_the_metastore_once(driver: Driver) -> None:
    metlog = [sys.executable, "-m", "metlog", "partitions", "--data", str(driver.data), "--metastore"]
    with driver.hive.metastore() as port:
        url = f"thrift://127.0.0.1:{port}"
        metastore = Metastore(url)
        assert metastore.add_days(days_in(driver.data)) == []  # MSCK has added them
        new = date(2026, 4, 15)
        source = next((driver.data / "events" / "date=2026-03-30").glob("*.parquet"))
        folder = driver.data / "events" / f"date={new.isoformat()}"
        folder.mkdir()
        (folder / "part.parquet").write_bytes(source.read_bytes())
        done = subprocess.run([*metlog, url], capture_output=True, text=True, timeout=300, env={**os.environ})
        assert done.returncode == 0, done.stderr
        assert "added date=2026-04-15" in done.stdout
        assert metastore.add_days([new]) == []
        registration = DayRegistration(url, "metlog.events_raw")
        assert registration.look(driver.data) == ""
        with pytest.raises(MetastoreError, match="nothing"):
            metastore.add_days([new], table="nothing")
    done = subprocess.run([*metlog, url], capture_output=True, text=True, timeout=300, env={**os.environ})
    assert (done.returncode, url in done.stderr) == (1, True)
    again = DayRegistration(url, "metlog.events_raw")
    assert "the metastore was not told of" in again.look(driver.data)
    found = asked(driver, {"new": ("SELECT count(*) AS n FROM events WHERE date = DATE '2026-04-15'", {})})["new"]
    assert found[0][0] == driver.lake.query("SELECT count(*) FROM events WHERE date = DATE '2026-03-30'").rows[0][
        0
    ] - len(
        driver.lake.query(
            "SELECT 1 AS x FROM arrivals WHERE date = DATE '2026-03-30' AND arrival_file <> $f", {"f": source.name}
        ).rows
    )
