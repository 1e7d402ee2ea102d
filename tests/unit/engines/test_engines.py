"""Engines by name, their options and messages, DDL, rows as Arrow, days of a metastore."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from metlog.engines import Engine, open_engine, shown_engine
from metlog.engines.arrow import batches, moment
from metlog.engines.base import Rows, Run, TranslatedEngine
from metlog.engines.ddl import ddl, location_of
from metlog.engines.dialects import Sources
from metlog.engines.dialects.spark import SPARK
from metlog.engines.metastore import Metastore, days_in
from metlog.errors import ConfigError
from metlog.lake.cancel import Cancel
from metlog.lake.columns import COLUMNS
from metlog.lake.query import Lake
from metlog.lake.sql.guard import QueryError
from tests.helpers.engines import make_lake


class Canned(TranslatedEngine):
    """An engine that gives what it is told to give, and keeps what it was sent."""

    name = "canned"
    dialect = SPARK

    def __init__(self, rows: list[list[Any]], **options: Any) -> None:
        super().__init__(Sources({"events": "events"}), **options)
        self.rows, self.sent = rows, list[str]()

    @contextmanager
    def run(self, sql: str, run: Run) -> Iterator[Rows]:
        self.sent.append(sql)
        while run.reason() is None and not self.rows:
            run.tell("canned: waits", 0.5)
            time.sleep(0.005)
        run.check()
        yield Rows([("x", pa.string())], [self.rows])


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lake(tmp_path_factory.mktemp("lake"), days=2, per_day=20)


def test_duckdb_is_an_engine_like_the_others(lake: Path) -> None:
    engine = open_engine(data=lake)
    assert isinstance(engine, Engine)
    assert (engine.name, engine.slow) == ("duckdb", False)
    with Lake(lake) as direct:
        sql = "SELECT type, count(*) FROM events GROUP BY type ORDER BY type"
        assert engine.query(sql).rows == direct.query(sql).rows
    with engine.raw("SELECT 1 AS one") as stream:
        assert [batch.to_pylist() for batch in stream.batches] == [[{"one": 1}]]
    engine.close()


def test_a_url_names_the_folder_and_options(lake: Path) -> None:
    engine = open_engine(f"duckdb://{lake}?threads=1")
    assert engine.query("SELECT count(*) > 10 FROM events").rows == [(True,)]
    engine.close()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("sparc://h", ["sparc", "did you mean 'spark'"]), ("spark:", ["host"]), ("spark://h?prot=1", ["prot", "port"]),
        ("spark://u:secret@h/x", ["must not hold a user name or password"]), ("spark://h/a;b", ["name of a database"]),
        ("spark://h?auth=LDAP", ["METLOG_ENGINE_PASSWORD"]), ("spark://h?auth=nope", ["NONE", "LDAP"]), ("spark://h?auth=KERBEROS",
        ["kerberos_service"]),
        ("spark://h?ca=/x", ["tls=true"]), ("spark://h?set=a%3Bb%3D1", ["NAME=VALUE"]), ("duckdb", ["--data"]), ("clickhouse", ["--data"]),
        ("spark://h?password_file=/nope", ["auth=LDAP"]), ("spark://h?auth=LDAP&password_file=/nope", ["No such file"]),
        ("spark://h?tls=true&ca=/nope", ["No such file"]),
    ],
)  # fmt: skip
def test_a_wrong_engine_is_told_by_key_and_remedy(spec: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyhive")
    pytest.importorskip("chdb")
    monkeypatch.delenv("METLOG_ENGINE_PASSWORD", raising=False)
    with pytest.raises(ConfigError) as caught:
        open_engine(spec, where="--engine")
    for word in (*words, "--engine"):
        assert word in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_shown_url_has_no_options() -> None:
    assert shown_engine("spark://h:1/db?user=me&password_file=/x") == "spark://h:1/db"
    assert shown_engine({"name": "spark", "host": "h"}) == "spark"


def test_values_take_the_types_that_duckdb_gives(lake: Path) -> None:
    with Lake(lake) as duck:
        sql = (
            "SELECT timestamp, timezone('UTC', timestamp) AS local, date, tokens, seq, weight, severity = 6 AS six,"
            " sum(seq) OVER () AS s FROM events LIMIT 0"
        )
        schema = duck.query(sql).arrow.schema
    engine = Canned([["2026-03-01 01:02:03.5", "2026-03-01 01:02:03", "2026-03-01", '["a","b"]', "7", 1, "true", 9]])
    found = engine.query(sql.replace("LIMIT 0", "LIMIT 1"))
    assert found.arrow.schema == schema
    at = datetime(2026, 3, 1, 1, 2, 3, 500000, UTC)
    assert found.rows[0][:7] == (at, datetime(2026, 3, 1, 1, 2, 3), date(2026, 3, 1), ["a", "b"], 7, 1.0, True)
    engine.close()


def test_a_value_of_another_type_is_told() -> None:
    schema = pa.schema([pa.field("n", pa.int64())])
    with pytest.raises(QueryError, match="column 'n'"):
        list(batches([[[1.5]]], schema, "x"))
    with pytest.raises(QueryError, match="2 columns"):
        list(batches([[[1, 2]]], schema, "x"))
    assert next(batches([[[-1]]], pa.schema([pa.field("u", pa.uint64())]), "x")).to_pydict() == {"u": [2**64 - 1]}


@pytest.mark.parametrize(
    "text", ["2026-03-01T00:00:00Z", "2026-03-01 00:00:00.000000", "2026-03-01", "2026-03-01 00:00"]
)
def test_times_are_read(text: str) -> None:
    assert moment(text) == datetime(2026, 3, 1)


def test_mistakes_are_told_in_duckdbs_words_with_their_place() -> None:
    engine = Canned([[1]])
    with pytest.raises(QueryError, match="did you mean 'type'") as caught:
        engine.query("SELECT tipe FROM events")
    assert (caught.value.line, caught.value.column) == (1, 8)
    assert engine.sent == []
    engine.close()


def test_a_view_that_the_engine_lacks_is_answered_from_the_data_folder(lake: Path) -> None:
    engine = Canned([[1]], data=lake)
    found = engine.query("SELECT sum(events) FROM files")
    with Lake(lake) as duck:
        assert found.rows == duck.query("SELECT count(*) FROM events").rows
    assert engine.sent == []
    engine.close()


@pytest.mark.slow
def test_a_query_ends_at_its_limit_and_when_it_is_cancelled() -> None:
    engine, cancel = Canned([], timeout=1), Cancel()
    with pytest.raises(QueryError) as caught:
        engine.query("SELECT 1 AS x", cancel=cancel)
    assert caught.value.kind == "timeout"
    assert "1 s" in str(caught.value)
    assert cancel.progress == ("canned: waits", 0.5)
    cancel.cancel()
    with pytest.raises(QueryError) as caught:
        engine.query("SELECT 1 AS x", cancel=cancel)
    assert caught.value.kind == "cancelled"
    engine.close()


def test_raw_statements_go_as_they_are() -> None:
    engine = Canned([["a"]])
    with engine.raw("SHOW TABLES") as stream:
        assert [batch.to_pydict() for batch in stream.batches] == [{"x": ["a"]}]
    assert engine.sent == ["SHOW TABLES"]
    engine.close()


@pytest.mark.parametrize("engine", ["spark", "hive", "trino"])
def test_ddl_names_every_column_and_ends_each_statement(engine: str) -> None:
    text = ddl(engine, location_of(None, "hdfs://name/metlog/"), "shop")
    assert "hdfs://name/metlog/events" in text
    for name in COLUMNS:
        assert f"`{name}`" in text or f'"{name}"' in text
    statements = [part for part in text.split(";\n") if part.strip()]
    assert all("CREATE" in part or "MSCK" in part or "CALL" in part for part in statements)
    assert "shop" in text


@pytest.mark.parametrize(
    "location",
    [
        "file:///a'b",
        "file:///a`b",
        "s3://x/;DROP",
        "/no/scheme",
        "file:///a\\b",
        "file:///a\nb",
        "file:///a*b",
        "file:///a%20b",
    ],
)
def test_a_location_that_would_end_a_text_is_refused(location: str) -> None:
    with pytest.raises(ConfigError, match="location"):
        location_of(None, location)


def test_a_folder_with_spaces_is_named_as_it_is_and_one_with_quotes_refused(tmp_path: Path) -> None:
    assert location_of(tmp_path / "a b ü", None) == f"file://{tmp_path}/a b ü/events"
    with pytest.raises(ConfigError, match="rename the folder"):
        location_of(tmp_path / "a'b", None)


@pytest.mark.parametrize(("engine", "database"), [("mysql", "x"), ("hive", "a-b"), ("hive", "a; DROP")])
def test_a_wrong_engine_or_database_is_refused(engine: str, database: str) -> None:
    with pytest.raises(ConfigError):
        ddl(engine, "file:///x/events", database)


def test_days_are_those_with_files(tmp_path: Path, lake: Path) -> None:
    assert days_in(lake) == [date(2026, 3, 30), date(2026, 3, 31), date(2026, 4, 1)]
    (tmp_path / "events" / "date=2026-01-01").mkdir(parents=True)
    (tmp_path / "events" / "other").mkdir()
    assert days_in(tmp_path) == []
    assert days_in(tmp_path / "nothing") == []


@pytest.mark.parametrize("url", ["http://h", "thrift://", "thrift://u:p@h:1", "thrift://h/x"])
def test_a_wrong_metastore_is_refused(url: str) -> None:
    pytest.importorskip("thrift")
    with pytest.raises(ConfigError, match="thrift://HOST:PORT") as caught:
        Metastore(url)
    assert "u:p" not in str(caught.value)
