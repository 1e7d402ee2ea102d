"""Queries that try to write, to read what they may not, or to see another service's events; and why none of them does."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metlog.lake.query import Lake, QueryError
from metlog.lake.schema import SCHEMA
from metlog.lake.segment import Clock, encode_record, header

SECRET = "TOPSECRET"


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


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM events",
        "SELECT * FROM events WHERE payload LIKE 'TOP%' OR logger = 'bank'",
        "SELECT CAST(payload AS INT) FROM events WHERE payload LIKE 'TOP%'",
        "SELECT error(payload) FROM events WHERE logger <> 'shop'",
        "SELECT * FROM events WHERE CASE WHEN logger <> 'shop' THEN CAST(error(payload) AS BOOL) ELSE true END",
        "SELECT CASE WHEN logger <> 'shop' THEN error(payload) END FROM events",
        "SELECT CASE WHEN severity < 6 THEN error(hostname) END FROM events",
        "SELECT count(*) FILTER (CASE WHEN logger <> 'shop' THEN CAST(error(payload) AS BOOL) END) FROM events",
        "SELECT * FROM events WHERE CAST(payload AS INT) > 0",
        "SELECT * FROM events WHERE CAST(fields->>'k' AS INT) > 0",
        "SELECT * FROM events WHERE 1 / (CASE WHEN logger = 'bank' THEN 0 ELSE 1 END) > 0",
        "SELECT a.* FROM events a JOIN events b ON CAST(b.payload AS INT) = a.seq",
        "SELECT a.* FROM events a, LATERAL (SELECT error(a.payload) WHERE a.logger <> 'shop') x",
        "SELECT a.payload, b.payload FROM events a POSITIONAL JOIN events b",
        "SELECT * FROM events ASOF JOIN events b ON events.timestamp >= b.timestamp AND b.logger = 'bank'",
        "SELECT * FROM events UNION ALL SELECT * FROM events",
        "SELECT * FROM events EXCEPT SELECT * FROM events WHERE logger = 'shop'",
        "WITH e AS MATERIALIZED (SELECT * FROM events) SELECT * FROM e WHERE logger = 'bank'",
        "WITH e AS NOT MATERIALIZED (SELECT * FROM events) SELECT * FROM e WHERE CAST(payload AS INT) > 0",
        "WITH RECURSIVE r AS (SELECT seq, payload FROM events UNION SELECT e.seq, e.payload FROM events e JOIN r ON e.seq = r.seq + 1)"
        " SELECT * FROM r",
        "WITH ｍetlog_loggers AS (SELECT 'bank' AS logger) SELECT * FROM events",
        "WITH metlog＿loggers AS (SELECT 'bank' AS logger) SELECT * FROM events",
        "SELECT * FROM delivery", "SELECT max(hostname), sum(received) FROM delivery WHERE logger = 'bank'",
        "SUMMARIZE events", "SELECT * FROM (SUMMARIZE SELECT * FROM events)", "DESCRIBE events",
        "SELECT approx_top_k(logger, 10), histogram(hostname), min(payload), max(payload), max(severity), min(severity) FROM events",
        "SELECT reservoir_quantile(severity, 0.01), any_value(payload), mode(logger), list(DISTINCT stream) FROM events",
        "SELECT * FROM events TABLESAMPLE 100%", "SELECT * FROM events USING SAMPLE reservoir(1000)",
        "SELECT * FROM events ORDER BY CASE WHEN logger = 'bank' THEN CAST(payload AS INT) END",
        "SELECT * FROM events LIMIT (SELECT count(*) FROM events WHERE logger = 'bank')",
        "SELECT * FROM events QUALIFY row_number() OVER (PARTITION BY logger ORDER BY payload DESC) < 3",
        "SELECT max(payload) OVER (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM events",
        "SELECT * FROM events WHERE payload = ANY (SELECT payload FROM events WHERE logger = 'bank')",
        "SELECT * FROM events e WHERE NOT EXISTS (SELECT 1 FROM events o WHERE o.logger = e.logger AND o.logger = 'shop')",
        "SELECT to_json(e), e FROM events e", "SELECT events FROM events", "SELECT COLUMNS('.*') FROM events",
        "SELECT * FROM events AS e(\"timestamp\", type, tokens, hidden) WHERE hidden = 'bank'",
        "FROM (FROM events) WHERE logger IN ('bank')", "SELECT string_agg(payload), string_agg(fields::VARCHAR) FROM events",
        "SELECT * FROM EVENTS -- WHERE logger = 'shop'", "/* */ SELECT * FROM \"eVeNtS\";",
        "SELECT * FROM 'events'", "SELECT\u00a0* FROM events WHERE\u2003logger = 'bank'",
        "SELECT min(timestamp), max(received_at), count(*), max(seq) FROM events WHERE date = current_date",
    ],
)  # fmt: skip
def test_another_services_events_are_neither_in_the_answer_nor_in_the_error(data: Path, sql: str) -> None:
    with Lake(data) as lake:
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
def test_without_the_limit_the_same_words_would_tell(data: Path, sql: str) -> None:
    """So the test before this one can fail."""
    with Lake(data) as lake, pytest.raises(QueryError, match=SECRET):
        lake.query(sql + (" WHERE logger = 'bank'" if "WHERE" not in sql else ""))


@pytest.mark.parametrize(
    "sql",
    [
        "WITH {} AS (SELECT 'bank' AS logger) SELECT * FROM events", "WITH RECURSIVE {} AS (SELECT 'bank' AS logger UNION SELECT 'x') SELECT * FROM events",
        "SELECT * FROM (WITH {} AS (SELECT 'bank' AS logger) SELECT * FROM events) x", "SELECT * FROM {}", "SELECT (SELECT max(logger) FROM {})",
        "SELECT * FROM temp.{}", "SELECT * FROM temp.main.{}", "SELECT * FROM memory.main.{}", "SELECT * FROM events NATURAL JOIN {}",
        "SELECT * FROM events WHERE logger IN (FROM {})", "DESCRIBE {}", "SUMMARIZE {}", "SELECT * FROM events, LATERAL (SELECT * FROM {}) y",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "name", ["metlog_loggers", "METLOG_fresh", '"metlog_fresh"', '"Metlog_Loggers"', "metlog_streams"]
)
def test_the_parts_of_the_views_can_be_neither_shadowed_nor_read(data: Path, sql: str, name: str) -> None:
    with Lake(data) as lake, pytest.raises(QueryError) as caught:
        lake.query(sql.format(name), loggers=["shop"])
    assert caught.value.kind == "refused"


@pytest.mark.parametrize("name", ["events", "EVENTS", '"events"', "delivery", "files"])
def test_a_view_cannot_be_shadowed(data: Path, name: str) -> None:
    with Lake(data) as lake, pytest.raises(QueryError, match="taken"):
        lake.query(f"WITH {name} AS (SELECT 1 AS x) SELECT * FROM {name}", loggers=["shop"])


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM files", "SELECT (SELECT count(*) FROM files)", "WITH f AS (FROM FILES) FROM f", "SELECT 1 WHERE EXISTS (FROM files)",
     "SUMMARIZE files", "SELECT * FROM events WHERE seq IN (SELECT bytes FROM files)"],
)  # fmt: skip
def test_the_list_of_files_is_not_for_those_who_see_some_services(data: Path, sql: str) -> None:
    with Lake(data) as lake:
        lake.query(sql)
        with pytest.raises(QueryError, match="`files`"):
            lake.query(sql, loggers=["shop"])


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{data}/events/x.parquet'", "COPY (SELECT 1) TO '{data}/out.csv'", "COPY events TO '/tmp/metlog-out'",
        "COPY (SELECT 1) TO STDOUT", "COPY events FROM '/etc/passwd'", "EXPORT DATABASE '{data}/events/x'", "IMPORT DATABASE '{data}'",
        "INSERT INTO events SELECT * FROM events", "UPDATE events SET payload = ''", "DELETE FROM events", "TRUNCATE events",
        "MERGE INTO events USING delivery ON true WHEN MATCHED THEN DELETE", "ALTER TABLE events ADD COLUMN x INT", "DROP VIEW events",
        "CREATE TABLE t (a INT)", "CREATE TEMP TABLE t AS SELECT 1", "CREATE VIEW v AS SELECT 1", "CREATE MACRO events() AS 1",
        "CREATE SEQUENCE s", "CREATE TYPE t AS ENUM ('a')", "CREATE SECRET x (TYPE s3)", "CREATE FUNCTION f(a) AS a", "CREATE SCHEMA s",
        "WITH x AS (INSERT INTO y VALUES (1) RETURNING *) SELECT * FROM x", "SELECT * FROM (DELETE FROM events RETURNING *)",
        "WITH x AS (DELETE FROM events RETURNING *) SELECT * FROM x", "WITH x AS (UPDATE events SET payload = '' RETURNING 1) FROM x",
        "SELECT * INTO x FROM events", "SELECT * FROM events FOR UPDATE",
        "ATTACH '{data}/x.db'", "ATTACH '/tmp/x.db' AS x (READ_ONLY)", "DETACH memory", "USE memory", "LOAD json", "LOAD '/tmp/x.so'",
        "INSTALL httpfs", "FORCE INSTALL httpfs FROM 'http://127.0.0.1'", "UPDATE EXTENSIONS", "SET memory_limit = '1TB'",
        "SET GLOBAL threads = 100", "SET VARIABLE x = 1", "RESET memory_limit", "PRAGMA database_list", "PRAGMA enable_profiling",
        "CALL pragma_version()", "CALL force_checkpoint()", "CHECKPOINT", "VACUUM", "ANALYZE", "BEGIN", "COMMIT", "PREPARE x AS SELECT 1",
        "EXECUTE x", "DEALLOCATE x", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1", "SHOW TABLES", "SHOW ALL TABLES", "SHOW events",
        "COMMENT ON VIEW events IS 'x'", "PIVOT events ON logger USING count(*)", "SELECT 1; SELECT 2", "SELECT 1; DROP VIEW events",
        "SELECT 1;;DELETE FROM events", "SELECT 1 /* ; */ ; COPY events TO '/tmp/x' --", "", ";", "--", "/*",
        "SELECT * FROM '{data}/secret.txt'", "SELECT * FROM '{data}/events/**/*.parquet'", "SELECT * FROM \"{data}/journal/main/*\"",
        "FROM '/etc/passwd'", "SELECT * FROM read_text('{data}/secret.txt')", "SELECT * FROM read_blob('{data}/events/*/*')",
        "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM read_csv_auto('/etc/passwd', sep = ':')", "SELECT * FROM read_json('{data}/x')",
        "SELECT * FROM read_parquet('{data}/events/*/*.parquet')", "SELECT * FROM parquet_scan('{data}/events/*/*.parquet')",
        "SELECT * FROM parquet_metadata('{data}/events/*/*.parquet')", "SELECT * FROM parquet_kv_metadata('{data}/events/*/*')",
        "SELECT * FROM parquet_bloom_probe('{data}/events/*/*', 'logger', 'bank')", "SELECT * FROM read_duckdb('{data}/x')",
        "SELECT * FROM glob('{data}/**')", "SELECT * FROM sniff_csv('/etc/passwd')", "SELECT (SELECT content FROM read_text('/etc/passwd'))",
        "WITH x AS (SELECT * FROM read_blob('/etc/passwd')) SELECT * FROM x", "SELECT * FROM events, LATERAL (SELECT * FROM read_text(payload))",
        "SELECT * FROM events WHERE payload IN (SELECT content FROM read_text('/etc/passwd'))", "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('events')", "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
        "SELECT json_execute_serialized_sql('x')", "SELECT getenv('PATH')", "SELECT current_setting('secret_directory')", "SELECT getvariable('x')",
        "SELECT * FROM duckdb_settings()", "SELECT * FROM duckdb_secrets()", "SELECT * FROM duckdb_logs()", "SELECT * FROM duckdb_views()",
        "SELECT * FROM duckdb_views", "SELECT * FROM information_schema.tables", "SELECT * FROM pg_catalog.pg_class", "SELECT * FROM sqlite_master",
        "SELECT * FROM pragma_table_info('events')", "SELECT write_log('x')", "SELECT * FROM enable_logging()", "SELECT main.upper('x')",
        "SELECT system.main.getenv('PATH')", 'SELECT "getenv"(\'PATH\')', "SELECT GETENV('PATH')", "SELECT 'PATH'.getenv()",
        "SELECT list_transform(['PATH'], lambda x: getenv(x))", "SELECT * FROM range(1) ORDER BY getenv('PATH')", "SELECT count(*) FILTER (getenv('P') = '')",
        "SELECT sum(1) OVER (PARTITION BY getenv('PATH'))", "SELECT 1 LIMIT (SELECT length(getenv('PATH')))", "SELECT {{'a': getenv('PATH')}}",
        "SELECT CASE WHEN true THEN getenv('PATH') END", "SELECT [getenv('PATH')]", "VALUES (getenv('PATH'))", "SELECT list_aggregate(['PATH'], 'getenv')",
        "SELECT 1 UNION SELECT getenv('PATH')", "WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT length(getenv('PATH')) FROM r) SELECT * FROM r",
        "SELECT sum(1) OVER w FROM events WINDOW w AS (ORDER BY getenv('PATH'))", "SELECT 1 GROUP BY GROUPING SETS ((getenv('PATH')))", "SELECT * FROM generate_series(1, length(getenv('P')))",
        "SELECT * REPLACE (getenv('PATH') AS payload) FROM events", "SELECT DISTINCT ON (getenv('PATH')) 1", "SELECT 1 QUALIFY getenv('PATH') = ''", "SELECT * FROM events LIMIT 1 OFFSET length(getenv('P'))",
        "SELECT COLUMNS(lambda c: c = getenv('PATH')) FROM events", "SELECT nextval('s')", "SELECT pg_sleep(1)", "SELECT sleep_ms(1)",
    ],
)  # fmt: skip
def test_what_is_more_than_reading_the_views_is_refused_and_changes_nothing(data: Path, sql: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    with Lake(data) as lake:
        with pytest.raises(QueryError) as caught:
            lake.query(sql.format(data=data))
        assert lake.query("SELECT count(*) FROM events").rows == [(80,)], "the next query is as before"
    assert caught.value.kind in {"refused", "syntax", "failed"}
    assert SECRET not in str(caught.value)
    assert "root:" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_behind_the_check_the_engine_itself_is_locked(data: Path, tmp_path: Path) -> None:
    """Were the check of the tree wrong, the engine would still not leave its folder."""
    with Lake(data) as lake:
        cursor = lake._connection.cursor()
        for sql in (
            "SELECT * FROM read_text('/etc/passwd')", f"COPY (SELECT 1) TO '{tmp_path}/x.csv'", f"SELECT * FROM read_text('{data}/secret.txt')",
            f"SELECT * FROM read_blob('{data}/journal/main/*')", f"ATTACH '{tmp_path}/x.db'", "INSTALL httpfs", "LOAD '/tmp/x.duckdb_extension'",
            "SET memory_limit = '1TB'", "SET GLOBAL enable_external_access = true", "SET lock_configuration = false", "SET threads = 99",
            "SET max_temp_directory_size = '1TB'", "SET allowed_directories = ['/']", "RESET GLOBAL allowed_directories",
            f"EXPORT DATABASE '{tmp_path}/out'", "SELECT * FROM read_csv('http://127.0.0.1:1/x')",
        ):  # fmt: skip
            with pytest.raises(Exception, match=r"(?i)permission|disabled|locked|cannot|not allowed|not found|failed"):
                cursor.execute(sql).fetchall()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "sql",
    ["SELECT " + "(" * 200_000 + "1" + ")" * 200_000, "SELECT " + "NOT " * 100_000 + "true", "SELECT " + "-" * 3 + "1" * 100_000,
     "SELECT 1" + " + 1" * 100_000, "SELECT '" + "x" * 1_000_000, "SELECT " + "[" * 50_000, "SELECT 1 WHERE " + "1 IN (SELECT " * 3_000 + "1" + ")" * 3_000,
     "SELECT " + "CASE WHEN true THEN " * 5_000 + "1" + " END" * 5_000, "WITH " + ", ".join(f"c{n} AS (SELECT 1)" for n in range(5_000)) + " SELECT 1",
     "SELECT \x00", "SELECT 1 \ud800"],
    ids=lambda sql: sql[:20],
)  # fmt: skip
def test_a_query_made_to_break_the_parser_is_an_error_like_any_other(data: Path, sql: str) -> None:
    with Lake(data) as lake:
        try:
            lake.query(sql)
        except QueryError as error:
            assert str(error)
        assert lake.query("SELECT 1").rows == [(1,)]
