"""SQL over the lake: which files are read, what the view says, what is refused."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from metlog.errors import ConfigError
from metlog.lake import query
from metlog.lake.query import Cancel, Lake, QueryError
from metlog.reports.sample import fill

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    fill(folder, days=10, per_day=300, until=NOW)
    return folder


def day(back: int) -> str:
    return (NOW - timedelta(days=back)).strftime("%Y-%m-%d")


@pytest.mark.parametrize(
    ("where", "needed"),
    [
        (f"timestamp >= TIMESTAMPTZ '{day(1)} 00:00:00+00'", {0, 1}),
        (f"timestamp < TIMESTAMPTZ '{day(8)} 00:00:00+00'", {8, 9}),
        (f"timestamp BETWEEN TIMESTAMPTZ '{day(4)} 06:00+00' AND TIMESTAMPTZ '{day(4)} 08:00+00'", {4}),
        (f"date = DATE '{day(3)}'", {3}),
        (f"type = 'request' AND (timestamp > TIMESTAMPTZ '{day(0)} 01:00+00')", {0}),
    ],
)
def test_a_condition_on_time_reads_only_the_files_of_its_days(tmp_path: Path, where: str, needed: set[int]) -> None:
    fill(tmp_path, days=10, per_day=50, until=NOW)
    with Lake(tmp_path) as lake:
        wanted = lake.query(f"SELECT count(*) FROM events WHERE {where}").rows
    read = 0
    for file in tmp_path.glob("events/date=*/*.parquet"):
        back = (NOW.date() - datetime.strptime(file.parent.name, "date=%Y-%m-%d").date()).days
        if back in needed:
            read += 1
        else:
            written = file.stat().st_mtime_ns
            file.write_bytes(b"no Parquet: to read this fails")
            os.utime(file, ns=(written, written))  # as the same file: its columns are known already
    assert read == len(needed)
    with Lake(tmp_path) as lake:
        assert lake.query(f"SELECT count(*) FROM events WHERE {where}").rows == wanted
        assert lake.query(f"WITH e AS (SELECT * FROM events WHERE {where}) SELECT count(*) FROM e").rows == wanted
        with pytest.raises(QueryError):
            lake.query("SELECT count(payload) FROM events WHERE payload <> ''")


@pytest.mark.parametrize("column", ["date", "timestamp::DATE"])
@pytest.mark.parametrize("clock", [" 01:00:00+02:00", "T22:00:00-05:00"])
def test_a_day_that_is_given_with_a_time_and_an_offset_is_that_day(data: Path, column: str, clock: str) -> None:
    text = f"{day(4)}{clock}"
    with Lake(data) as lake:
        for op in ("=", "<=", ">="):
            wanted = lake.query(f"SELECT count(*) FROM events WHERE date {op} DATE '{day(4)}'").rows
            assert lake.query(f"SELECT count(*) FROM events WHERE {column} {op} '{text}'").rows == wanted
            assert lake.query(f"SELECT count(*) FROM events WHERE {column} {op} $day", {"day": text}).rows == wanted


def test_the_days_of_many_conditions_are_asked_at_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    expressions = query.expressions
    monkeypatch.setattr(
        query, "expressions", lambda trees, values: asked.append(len(trees)) or expressions(trees, values)
    )
    times = [f"timestamp >= TIMESTAMPTZ '{day(4)} 00:00+00' + INTERVAL {n} MINUTE + $later" for n in range(200)]
    with Lake(data) as lake:
        wanted = lake.query(f"SELECT count(*) FROM events WHERE date >= '{day(3)}'").rows
        asked.clear()
        sql = f"SELECT count(*) FROM events WHERE date >= '{day(3)}' AND {' AND '.join(times)}"
        assert lake.query(sql, {"later": timedelta()}).rows == wanted
        assert asked == [201]
        monkeypatch.setattr(query, "snapshot", lambda *_, since_date, **__: days.append(since_date) or 1 / 0)
        days: list[date] = []
        with pytest.raises(ZeroDivisionError):
            lake.query(f"{sql} AND timestamp < 'no time'", {"later": timedelta()})
        assert days == [(NOW - timedelta(days=3)).date()], "a value that is none keeps no other from being known"


def test_the_view_names_its_columns_and_types(data: Path) -> None:
    with Lake(data) as lake:
        found = {column.name: column.type for column in lake.columns()}
    assert found["timestamp"] == "TIMESTAMP WITH TIME ZONE"
    assert found["tokens"] == "VARCHAR[]"
    assert found["weight"] == "DOUBLE"
    assert found["date"] == "DATE"
    assert {"received_at", "source", "claimed_timestamp", "stream", "seq", "fields"} <= set(found)


def test_values_are_bound_and_limits_hold(data: Path) -> None:
    with Lake(data) as lake:
        hostile = "x' OR '1'='1"
        assert lake.query("SELECT count(*) FROM events WHERE logger = $l", {"l": hostile}).rows == [(0,)]
        result = lake.query("SELECT * FROM events", limit=5)
        assert (len(result.rows), result.truncated) == (5, True)


def test_only_the_loggers_that_are_allowed_are_seen(data: Path) -> None:
    with Lake(data) as lake:
        assert lake.query("SELECT count(*) FROM events", loggers=["other"]).rows == [(0,)]
        assert lake.query("SELECT count(*) FROM events", loggers=["shop"]).rows[0][0] > 0


@pytest.mark.parametrize(
    "sql",
    [
        "COPY events TO 'out.csv'", "COPY (SELECT 1) TO '/tmp/metlog-out'", "CREATE TABLE t (a INT)", "DROP VIEW events",
        "INSERT INTO events SELECT * FROM events", "ATTACH '/tmp/x.db'", "INSTALL httpfs", "LOAD httpfs",
        "SET memory_limit = '1TB'", "PRAGMA database_list", "SELECT 1; SELECT 2", "SELECT 1; DROP VIEW events",
        "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM glob('/*')", "SELECT * FROM read_parquet('events/**/*.parquet')", "SELECT getenv('PATH')",
        "SELECT * FROM duckdb_settings()", "SELECT * FROM information_schema.tables", "SELECT * FROM sqlite_master",
        "WITH x AS (SELECT * FROM read_blob('/etc/passwd')) SELECT * FROM x", "EXPORT DATABASE '/tmp/metlog-x'",
        "SELECT * FROM (SELECT * FROM read_text('/etc/shadow')) AS t", "CALL pragma_version()", "VACUUM", "CHECKPOINT",
        "SELECT (SELECT content FROM read_text('/etc/passwd') LIMIT 1)", "",
    ],
)  # fmt: skip
def test_everything_but_a_select_over_the_views_is_refused(data: Path, sql: str) -> None:
    before = sorted(path.name for path in data.rglob("*"))
    with Lake(data) as lake, pytest.raises(QueryError) as caught:
        lake.query(sql)
    assert str(caught.value)
    assert sorted(path.name for path in data.rglob("*")) == before


@pytest.mark.parametrize(
    "call",
    [
        "date_trunc('day', timestamp)", "timezone('Europe/Berlin', timestamp)", "date_part('hour', timestamp)", "hour(timestamp)",
        "strftime(timestamp, '%H')", "time_bucket(INTERVAL 1 HOUR, timestamp)", "date_diff('day', timestamp, now())",
        "age(timestamp)", "last_day(timestamp)", "dayname(timestamp)", "today()", "current_date", "random()", "uuid()",
        "range(3)", "generate_series(1, 3)", "timestamp + INTERVAL 1 DAY", "pg_typeof(payload)",
    ],
)  # fmt: skip
def test_a_function_that_only_computes_is_available(data: Path, call: str) -> None:
    with Lake(data) as lake:
        assert lake.query(f"SELECT {call} FROM events", limit=1).rows


@pytest.mark.parametrize(
    "call",
    [
        "getenv('PATH')", "current_setting('memory_limit')", "write_log('x')", "nextval('s')", "sleep_ms(1000000)",
        "setseed(0.5)", "current_query()", "current_database()", "getvariable('x')", "stats(1)", "txid_current()",
        "current_user()", "current_schemas(true)", "in_search_path('a', 'b')", "main.abs(1)", "system.main.abs(1)",
    ],
)  # fmt: skip
def test_a_function_that_sees_or_changes_more_is_refused(data: Path, call: str) -> None:
    with Lake(data) as lake, pytest.raises(QueryError) as caught:
        lake.query(f"SELECT {call} FROM events")
    assert caught.value.kind == "refused"


def test_a_query_without_an_end_is_ended_by_its_time_limit(data: Path) -> None:
    sql = "SELECT count(*) FROM range(100000000000) a, range(100000) b WHERE a.range % 7 = b.range % 5"
    with Lake(data) as lake, pytest.raises(QueryError) as caught:
        lake.query(sql, timeout=0.3)
    assert caught.value.kind == "timeout"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e10, 10**400])
def test_a_time_limit_that_is_none_is_refused(data: Path, seconds: float) -> None:
    with pytest.raises(ConfigError, match=r"timeout = .*: wants more than 0 seconds"):
        Lake(data, timeout=seconds)
    with Lake(data) as lake, pytest.raises(ConfigError, match=r"timeout = .*: wants more than 0 seconds"):
        lake.query("SELECT 1", timeout=seconds)


def test_a_cancelled_query_says_so(data: Path) -> None:
    cancel = Cancel()
    cancel.cancel()
    with Lake(data) as lake, pytest.raises(QueryError) as caught:
        lake.query(
            "SELECT count(*) FROM range(100000000000) a, range(1000) b WHERE a.range % 7 = b.range", cancel=cancel
        )
    assert caught.value.kind == "cancelled"


def test_a_mistake_is_told_with_its_place_and_the_nearest_name(data: Path) -> None:
    with Lake(data) as lake, pytest.raises(QueryError, match="payload") as caught:
        lake.query("SELECT\n  paylod FROM events")
    assert "line 2" in str(caught.value)


@pytest.mark.parametrize("part", ["type=prod", "date=2020-01-01", "Logger=other", "env=prod", "fields="])
def test_folders_above_the_data_are_no_columns_of_it(tmp_path: Path, part: str) -> None:
    fill(tmp_path / "plain", days=3, per_day=50, until=NOW)
    questions = (
        "SELECT date, count(*) FROM events GROUP BY date ORDER BY date", "SELECT DISTINCT logger FROM events",
        "SELECT type, date, count(*) FROM arrivals GROUP BY ALL ORDER BY ALL", "SELECT json_valid(fields) FROM events LIMIT 1",
        f"SELECT count(*) FROM events WHERE date = DATE '{day(1)}'", "SELECT stream, lost FROM delivery ORDER BY stream",
    )  # fmt: skip
    with Lake(tmp_path / "plain") as lake:
        expected = [lake.query(question).rows for question in questions]
    assert expected[4][0][0] > 0
    below = tmp_path / part / "data"
    below.parent.mkdir()
    (tmp_path / "plain").rename(below)
    with Lake(below) as lake:
        assert [lake.query(question).rows for question in questions] == expected
