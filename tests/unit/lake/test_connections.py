"""A query leaves its cursor to the next one: nothing else may pass from the one to the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from metlog.lake.query import Cancel, Lake, QueryError
from metlog.reports.sample import fill

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
COUNT = "SELECT count(*) FROM events"
ENDLESS = "SELECT count(*) FROM events, range(100000000000) r WHERE r.range % 7 = severity"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    fill(tmp_path, days=3, per_day=100, until=NOW)
    return tmp_path


@pytest.fixture
def lake(data: Path) -> Iterator[Lake]:
    with Lake(data) as lake:
        yield lake


def in_files(data: Path) -> int:
    return duckdb.sql(f"SELECT count(*) FROM '{data}/events/*/*.parquet'").fetchall()[0][0]


def made(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one a cursor that is made from here on."""
    found: list[object] = []
    connection = lake._cursors._connection

    class Counted:
        def cursor(self) -> duckdb.DuckDBPyConnection:
            found.append(cursor := connection.cursor())
            return cursor

    monkeypatch.setattr(lake._cursors, "_connection", Counted())
    return found


def test_a_second_query_over_the_same_files_makes_no_view_again(lake, data, monkeypatch):
    cursors = made(lake, monkeypatch)
    for sql in (COUNT, "SELECT count(*) FROM events WHERE severity <= 7", COUNT):
        assert lake.query(sql).rows == [(in_files(data),)]
    assert len(cursors) == 1


def test_a_file_that_comes_or_goes_is_seen_by_the_same_query(lake, data):
    before = lake.query(COUNT).rows[0][0]
    fill(data, days=1, per_day=100, until=NOW - timedelta(days=5))
    after = lake.query(COUNT).rows[0][0]
    assert after == in_files(data) > before
    next(data.glob("events/*/*.parquet")).unlink()
    assert lake.query(COUNT).rows == [(in_files(data),)]


def test_whoever_sees_some_services_only_gets_no_other_ones_cursor(lake, data):
    everything = [(in_files(data),)]
    for _ in range(2):
        assert lake.query(COUNT).rows == everything
        assert lake.query(COUNT, loggers=["nobody"]).rows == [(0,)]


@pytest.mark.parametrize("how", ["cancelled", "timeout", "broken off", "failed"])
def test_a_query_that_did_not_come_to_its_end_does_not_trouble_the_next(lake, data, monkeypatch, how):
    everything = [(in_files(data),)]
    assert lake.query(COUNT).rows == everything
    cursors = made(lake, monkeypatch)
    for _ in range(3):
        if how == "cancelled":
            cancel = Cancel()
            threading.Timer(0.05, cancel.cancel).start()
            with pytest.raises(QueryError, match="cancelled"):
                lake.query(ENDLESS, cancel=cancel)
        elif how == "timeout":
            with pytest.raises(QueryError, match="longer than the limit"):
                lake.query(ENDLESS, timeout=0.05)
        elif how == "broken off":
            assert lake.query("SELECT * FROM events, range(100000)", limit=1).truncated
        else:
            with pytest.raises(QueryError, match="ould not convert"):
                lake.query("SELECT sum(CAST(payload || 'x' AS INTEGER)) FROM events")
        assert lake.query(COUNT).rows == everything
        time.sleep(0.05)  # a late interrupt would reach the cursor that waits
        assert lake.query(COUNT).rows == everything
    assert cursors  # whatever ended so was not used again


def test_queries_at_once_have_cursors_of_their_own_and_few_are_kept(lake, data):
    everything = [(in_files(data),)]
    with ThreadPoolExecutor(12) as pool:
        assert all(found.rows == everything for found in pool.map(lambda _: lake.query(COUNT), range(200)))
    assert 1 <= len(lake._cursors._kept) <= 4


def test_a_query_that_comes_again_has_its_own_values_and_days(lake, data):
    sql = "SELECT count(*) FROM events WHERE timestamp >= $since"
    counts = [lake.query(sql, {"since": NOW - timedelta(days=back)}).rows[0][0] for back in (10, 1, 0, 10)]
    assert counts[0] == counts[3] == in_files(data) > counts[1] > counts[2]


@pytest.mark.slow
def test_a_cursor_that_waited_is_behind_the_same_limits(data: Path) -> None:
    names = (
        "memory_limit",
        "max_temp_directory_size",
        "max_execution_time",
        "enable_external_access",
        "lock_configuration",
    )
    settings = f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}"
    with Lake(data, memory="300MB", spill="50MB", timeout=60) as lake:
        assert lake.query(COUNT).rows == [(in_files(data),)]
        ((_, kept),) = lake._cursors._kept
        assert kept.execute(settings).fetchall() == [("286.1 MiB", "47.6 MiB", 62000, False, True)]
        with pytest.raises(QueryError) as caught:  # over the same view, so on this very cursor
            lake.query("SELECT list(uuid()::VARCHAR || payload) FROM events, range(100000)")
        assert caught.value.kind == "memory"
        assert lake.query(COUNT).rows == [(in_files(data),)]
    with Lake(data, timeout=3) as lake:
        assert lake.query(COUNT).rows == [(in_files(data),)]
        with pytest.raises(QueryError, match="longer than the limit of 3 s"):
            lake.query(ENDLESS, timeout=600)


@pytest.mark.parametrize("view", ["events", "arrivals", "delivery", "files"])
def test_only_cursors_that_show_everything_to_everybody_are_kept(lake: Lake, data: Path, view: str) -> None:
    """Whatever stands in a table of its own is of a moment, or of what one user may see."""
    sql = f"SELECT count(*) FROM {view}"
    if view != "files":
        lake.query(sql, loggers=["shop"])
        assert lake._cursors._kept == []
    lake.query(sql)
    assert len(lake._cursors._kept) == (0 if view == "files" else 1)
    for _ in range(2):
        for loggers in (["nobody"], []):
            if view != "files":
                assert lake.query(sql, loggers=loggers).rows == [(0,)]
        assert lake.query(sql).rows[0][0] > 0
