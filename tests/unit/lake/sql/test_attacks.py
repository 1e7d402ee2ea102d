"""Queries that try to write, to read what they may not, or to see another service's events; and why none of them does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metlog.journal.segment import Clock, encode_record, header
from metlog.lake.engine.client import GuardedLake
from metlog.lake.query import Lake, QueryError
from metlog.lake.schema import SCHEMA

SECRET = "TOPSECRET"


def read(name: str) -> list[str]:
    """The queries in `attacks/NAME.sql`; its first line says what they have in common."""
    return (Path(__file__).parent / "attacks" / f"{name}.sql").read_text("utf-8").splitlines()[1:]


def rows(logger: str, words: str, day: datetime) -> list[dict[str, object]]:
    return [
        {
            "timestamp": day - timedelta(minutes=n), "type": f"{words}type", "tokens": [f"{words}token"], "logger": logger,
            "severity": 2 if words else 6, "payload": f"{words}{n}", "fields": f'{{"k": "{words}", "n": {n}}}', "weight": 1.0,
            "env_version": "1", "pid": 7, "hostname": f"{words}host", "stream": f"{words}{logger}1", "seq": n,
            "received_at": day, "source": f"udp://{words}", "claimed_timestamp": None,
        }
        for n in range(1, 40)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shop` and `bank` in the same file and in the journal; every value of `bank` has the word SECRET in it."""
    folder = tmp_path_factory.mktemp("lake")
    now = datetime.now(UTC)
    (folder / "events" / f"date={date.today().isoformat()}").mkdir(parents=True)
    written = sorted([*rows("shop", "", now), *rows("bank", SECRET, now)], key=lambda row: str(row["timestamp"]))
    for row in written:
        row["timestamp"] = now
    pq.write_table(pa.Table.from_pylist(written, SCHEMA), folder / "events" / f"date={now:%Y-%m-%d}" / "part.parquet")
    (folder / "journal" / "main").mkdir(parents=True)
    fresh = [
        {"type": SECRET, "logger": "bank", "payload": SECRET},
        {"type": "request", "logger": "shop", "payload": "GET"},
    ]
    lines = b"\n".join(msgspec.json.encode(event) for event in fresh)
    segment = header(Clock()) + encode_record(int(now.timestamp() * 1e6), 2, b"udp://10.0.0.1", b"", lines)
    (folder / "journal" / "main" / "000000000001-0123456789abcdef.open").write_bytes(segment)
    (folder / "reports").mkdir()
    (folder / "secret.txt").write_text(SECRET)
    return folder


@pytest.fixture(scope="module")
def lake(data: Path) -> Iterator[Lake]:
    with Lake(data) as made:
        yield made


@pytest.mark.parametrize("sql", read("other_services"))
def test_another_services_events_are_neither_in_the_answer_nor_in_the_error(lake: Lake, sql: str) -> None:
    whole = ""
    for limit in (None, 3):
        try:
            found = lake.query(sql, loggers=["shop"], limit=limit)
            whole += str(found.rows)
        except QueryError as error:  # of its own events
            whole += str(error).replace(sql, "")
    assert SECRET not in whole
    assert "bank" not in whole


@pytest.mark.parametrize(
    "sql", ["SELECT CAST(payload AS INT) FROM events", "SELECT error(payload) FROM events WHERE logger = 'bank'"]
)
def test_without_the_limit_the_same_words_would_tell(lake: Lake, sql: str) -> None:
    """So the test before this one can fail."""
    with pytest.raises(QueryError, match=SECRET):
        lake.query(sql + (" WHERE logger = 'bank'" if "WHERE" not in sql else ""))


@pytest.mark.parametrize("view", ["events", "arrivals"])
def test_who_sees_a_service_finds_its_events_in_every_view(lake: Lake, view: str) -> None:
    """So the attacks do not fail for want of an answer."""
    found = lake.query(f"SELECT count(*), count(DISTINCT logger), min(logger) FROM {view}", loggers=["shop"])
    assert found.rows == [(40, 1, "shop")]
    assert lake.query("SELECT logger, stream, received FROM delivery", loggers=["shop"]).rows == [("shop", "shop1", 39)]
    assert len(lake.query("FROM delivery").rows) == 2


def test_the_numbers_of_arrivals_do_not_tell_how_much_others_log(lake: Lake) -> None:
    sql = "SELECT arrival_row FROM arrivals WHERE logger = 'shop' AND arrival_file <> '~' ORDER BY arrival_row"
    everything = [row for (row,) in lake.query(sql).rows]
    assert len(everything) == 39
    assert everything != list(range(39)), "events of the other service are between them"
    assert [row for (row,) in lake.query(sql, loggers=["shop"]).rows] == list(range(39))


@pytest.mark.parametrize(
    "sql",
    [
        "WITH {} AS (SELECT 'bank' AS logger) SELECT * FROM events",
        "WITH RECURSIVE {} AS (SELECT 'bank' AS logger UNION SELECT 'x') SELECT * FROM events",
        "SELECT * FROM (WITH {} AS (SELECT 'bank' AS logger) SELECT * FROM events) x",
        "SELECT * FROM {}",
        "TABLE {}",
        "SELECT (SELECT max(logger) FROM {})",
        "SELECT * FROM temp.{}",
        "SELECT * FROM temp.main.{}",
        "SELECT * FROM memory.main.{}",
        "SELECT * FROM events NATURAL JOIN {}",
        "SELECT * FROM events WHERE logger IN (FROM {})",
        "DESCRIBE {}",
        "SUMMARIZE {}",
        "SELECT * FROM events, LATERAL (SELECT * FROM {}) y",
    ],
)
@pytest.mark.parametrize(
    "name", ["metlog_loggers", "METLOG_fresh", '"metlog_fresh"', '"Metlog_Loggers"', "metlog_streams"]
)
def test_the_parts_of_the_views_can_be_neither_shadowed_nor_read(lake: Lake, sql: str, name: str) -> None:
    with pytest.raises(QueryError) as caught:
        lake.query(sql.format(name), loggers=["shop"])
    assert caught.value.kind == "refused"


@pytest.mark.parametrize("name", ["events", "EVENTS", '"events"', "arrivals", "delivery", "files"])
def test_a_view_cannot_be_shadowed(lake: Lake, name: str) -> None:
    with pytest.raises(QueryError, match="taken"):
        lake.query(f"WITH {name} AS (SELECT 1 AS x) SELECT * FROM {name}", loggers=["shop"])


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM files", "SELECT (SELECT count(*) FROM files)", "WITH f AS (FROM FILES) FROM f", "SELECT 1 WHERE EXISTS (FROM files)",
     "SUMMARIZE files", "SELECT * FROM events WHERE seq IN (SELECT bytes FROM files)"],
)  # fmt: skip
def test_the_list_of_files_is_not_for_those_who_see_some_services(lake: Lake, sql: str) -> None:
    lake.query(sql)
    with pytest.raises(QueryError, match="`files`"):
        lake.query(sql, loggers=["shop"])


@pytest.mark.parametrize("sql", read("refused"))
def test_what_is_more_than_reading_the_views_is_refused_and_changes_nothing(data: Path, lake: Lake, sql: str) -> None:
    lake.query("SELECT count(*) FROM events")  # the first query of a data set makes `.lease`
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    with pytest.raises(QueryError) as caught:
        lake.query(sql.replace("{data}", str(data)))
    assert caught.value.kind in {"refused", "syntax"}
    assert SECRET not in str(caught.value)
    assert "root:" not in str(caught.value)
    assert lake.query("SELECT count(*) FROM events").rows == [(80,)], "the next query is as before"
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_behind_the_check_the_engine_itself_is_locked_on_every_connection(
    data: Path, lake: Lake, tmp_path: Path
) -> None:
    """Were the check of the tree wrong, the engine would still not leave its folder."""
    for sql in (
        "SELECT * FROM read_text('/etc/passwd')",
        f"COPY (SELECT 1) TO '{tmp_path}/x.csv'",
        f"SELECT * FROM read_text('{data}/secret.txt')",
        f"SELECT * FROM read_blob('{data}/journal/main/*')",
        f"ATTACH '{tmp_path}/x.db'",
        "INSTALL httpfs",
        "LOAD '/tmp/x.duckdb_extension'",
        "SET memory_limit = '1TB'",
        "SET GLOBAL enable_external_access = true",
        "SET lock_configuration = false",
        "SET threads = 99",
        "SET max_temp_directory_size = '1TB'",
        "SET max_execution_time = 0",
        "SET allowed_directories = ['/']",
        "RESET GLOBAL allowed_directories",
        f"EXPORT DATABASE '{tmp_path}/out'",
        "SELECT * FROM read_csv('http://127.0.0.1:1/x')",
    ):
        for _ in range(2):
            cursor = lake._connection.cursor()
            with pytest.raises(Exception, match=r"(?i)permission|disabled|locked|cannot|not allowed|not found|failed"):
                cursor.execute(sql).fetchall()
    assert list(tmp_path.iterdir()) == []


def test_the_limits_reach_every_connection(data: Path) -> None:
    names = ("memory_limit", "max_temp_directory_size", "max_execution_time", "threads", "TimeZone", "lock_configuration",
             "enable_external_access")  # fmt: skip
    with Lake(data, memory="300MB", spill="50MB", timeout=3, threads=1) as lake:
        wanted = lake._connection.execute(
            f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}"
        ).fetchone()
        assert wanted == ("286.1 MiB", "47.6 MiB", 5000, 1, "UTC", True, False)
        for _ in range(3):
            cursor = lake._connection.cursor().cursor()
            assert (
                cursor.execute(f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}").fetchone()
                == wanted
            )


BREAKERS = {
    "brackets": "SELECT " + "(" * 200_000 + "1" + ")" * 200_000,
    "negations": "SELECT " + "NOT " * 100_000 + "true",
    "digits": "SELECT ---" + "1" * 100_000,
    "sums": "SELECT 1" + " + 1" * 100_000,
    "an open text": "SELECT '" + "x" * 1_000_000,
    "open lists": "SELECT " + "[" * 50_000,
    "subqueries": "SELECT 1 WHERE " + "1 IN (SELECT " * 3_000 + "1" + ")" * 3_000,
    "cases": "SELECT " + "CASE WHEN true THEN " * 5_000 + "1" + " END" * 5_000,
    "tables": "WITH " + ", ".join(f"c{n} AS (SELECT 1)" for n in range(5_000)) + " SELECT 1",
    "conjunctions": "SELECT 1 FROM events WHERE " + " AND ".join(["timestamp > now()"] * 2_000),
    "a tree of tables": "WITH c0 AS (FROM events)"
    + "".join(f", c{n} AS (SELECT a.* FROM c{n - 1} a, c{n - 1} b)" for n in range(1, 40))
    + " SELECT 1 FROM c39 WHERE timestamp > now()",
    "joins": "SELECT 1 FROM events" + " NATURAL JOIN events" * 2_000,
    "unions": "SELECT 1" + " UNION ALL SELECT 1" * 2_000,
    "NUL": "SELECT \x00",
    "half a character": "SELECT 1 \ud800",
}


@pytest.fixture(scope="module")
def guarded(data: Path) -> Iterator[GuardedLake]:
    made = GuardedLake(data, timeout=4)
    yield made
    made.close()


@pytest.mark.process
@pytest.mark.parametrize("name", BREAKERS)
def test_a_query_made_to_break_the_parser_is_an_error_like_any_other(guarded: GuardedLake, name: str) -> None:
    with contextlib.suppress(QueryError):  # and nothing else
        guarded.query(BREAKERS[name])
    assert guarded.query("SELECT 1").rows == [(1,)]
