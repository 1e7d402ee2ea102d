"""ClickHouse, embedded, beside DuckDB: every report, expressions one by one, the limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from metlog.engines import Engine, open_engine
from metlog.lake.cancel import Cancel
from metlog.lake.query import Lake
from metlog.lake.sql.guard import QueryError
from metlog.reports import Library
from tests.helpers.comparing import aggregates, expressions, refused
from tests.helpers.engines import NASTY, differences, make_lake
from tests.helpers.waiting import wait_for

pytestmark = [pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lake(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def engines(data: Path) -> Iterator[tuple[Engine, Engine]]:
    pytest.importorskip("chdb", reason="needs chdb: pip install 'metlog[clickhouse]'")
    clickhouse = open_engine(f"clickhouse://{data}")
    with Lake(data) as lake:
        yield lake, clickhouse
    clickhouse.close()


@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("name", [report.name for report in Library()])
def test_a_report_is_the_same(engines: tuple[Engine, Engine], name: str, tz: str) -> None:
    report = Library()[name]
    given = {"since": "2026-03-01", "until": "2026-04-02", "tz": tz}
    ours, theirs = (report.run(engine, given, limit=None) for engine in engines)
    assert ours.arrow.schema == theirs.arrow.schema
    assert ours.rows
    assert differences(ours.rows, theirs.rows) == []


def test_expressions_are_the_same(engines: tuple[Engine, Engine]) -> None:
    assert list(expressions(*engines)) == []
    assert list(aggregates(*engines)) == []
    assert set(refused(engines[1])) == {
        "md5(payload)",
        "strftime(timestamp, '%Y-%m-%d %H:%M')",
    }


@pytest.mark.parametrize("text", NASTY)
def test_a_value_arrives_as_it_is(engines: tuple[Engine, Engine], text: str) -> None:
    sql = "SELECT $x AS x, count(*) AS n FROM events WHERE type = 'text' AND payload = $x"
    assert engines[1].query(sql, {"x": text}).rows == [(text, 1)]


def test_hidden_files_are_not_read(engines: tuple[Engine, Engine], data: Path) -> None:
    sql = "SELECT count(*) FROM events WHERE date = DATE '2026-03-30'"
    before = engines[1].query(sql).rows
    whole = next((data / "events" / "date=2026-03-30").glob("[!.]*.parquet"))
    hidden = [whole.with_name(f".new-{whole.name}"), whole.with_name(".new-half.parquet")]
    hidden[0].write_bytes(whole.read_bytes())
    hidden[1].write_bytes(b"PAR1half")
    assert engines[1].query(sql).rows == before
    for path in hidden:
        path.unlink()


def test_who_sees_some_services_only_is_refused(engines: tuple[Engine, Engine]) -> None:
    with pytest.raises(QueryError, match="ask duckdb") as caught:
        engines[1].query("SELECT 1 AS x", loggers=["shop"])
    assert caught.value.kind == "refused"


def test_an_error_of_the_engine_is_told_without_its_version(engines: tuple[Engine, Engine]) -> None:
    with pytest.raises(QueryError, match="clickhouse: ") as caught:
        engines[1].query("SELECT CAST(payload AS INTEGER) FROM events")
    assert "version" not in str(caught.value)


def test_a_query_ends_at_its_limit_and_when_it_is_cancelled(engines: tuple[Engine, Engine]) -> None:
    sql = "SELECT count(*) FROM events a, events b, events c WHERE a.seq + b.seq + c.seq = -1"
    with pytest.raises(QueryError) as caught:
        engines[1].query(sql, timeout=2)
    assert caught.value.kind == "timeout"
    cancel = Cancel()
    threading.Thread(target=lambda: (wait_for(lambda: cancel.progress, 60), cancel.cancel())).start()
    began = time.monotonic()
    with pytest.raises(QueryError) as caught:
        engines[1].query(sql, cancel=cancel)
    assert caught.value.kind == "cancelled"
    assert time.monotonic() - began < 60
