"""What goes to an engine, and what does not: values stay values, an unknown construct ends the translation, services stay apart."""

from __future__ import annotations

import base64
import contextlib
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import msgspec
import pyarrow as pa
import pytest
import sqlglot
from hypothesis import example, given
from hypothesis import strategies as st
from sqlglot import exp

from metlog.engines.dialects import Dialect, Sources, translate
from metlog.engines.dialects.clickhouse import CLICKHOUSE
from metlog.engines.dialects.hive import HIVE
from metlog.engines.dialects.paths import read_path
from metlog.engines.dialects.spark import SPARK
from metlog.journal.rows import micros
from metlog.lake.cancel import Cancel
from metlog.lake.result import Column, Result
from metlog.lake.sql.guard import QueryError
from metlog.lake.sql.loss import LOSS_BY_LOGGER
from metlog.reports import Library
from metlog.web import overview
from metlog.web.conditions import Search
from metlog.web.console import EXAMPLES
from metlog.web.histogram import Steps
from metlog.web.overview import look
from metlog.web.search import around, page
from metlog.web.times import Times
from tests.helpers.engines import NASTY

SOURCES = Sources({"events": "m.events", "arrivals": "m.arrivals", "files": "m.files"})
DIALECTS = [SPARK, HIVE, CLICKHOUSE]
EACH = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


def turned(sql: str, dialect: Dialect, params: Any = None, **more: Any) -> str:
    return translate(sql, params, dialect, SOURCES, **more)


@EACH
@given(text=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), max_size=40))
@example(text="' OR 1=1 --")
@example(text="\\")
@example(text="\\' OR 1=1 --")
def test_a_text_stays_one_literal_whatever_it_holds(dialect: Dialect, text: str) -> None:
    found = sqlglot.parse_one(
        turned("SELECT payload FROM events WHERE payload = $x", dialect, {"x": text}), read=dialect.sqlglot
    )
    literals = [node.this for node in found.find_all(exp.Literal)]
    assert "".join(literals) == text
    marks = {CLICKHOUSE.name: [], SPARK.name: ["${"], HIVE.name: ["${", "--"]}[dialect.name]
    assert len(literals) == 1 + sum(text[at : at + 2] in marks for at in range(len(text)))
    assert not found.args.get("joins")
    assert len(list(found.find_all(exp.EQ))) == 1


@EACH
@pytest.mark.parametrize("text", NASTY)
def test_a_service_name_stays_one_literal(dialect: Dialect, text: str) -> None:
    found = sqlglot.parse_one(turned("SELECT count(*) FROM events", dialect, loggers=[text]), read=dialect.sqlglot)
    assert "".join(node.this for node in found.find_all(exp.Literal)) == text


@EACH
def test_who_sees_some_services_reads_events_behind_a_condition_everywhere(dialect: Dialect) -> None:
    sql = "WITH a AS (SELECT * FROM events) SELECT count(*) FROM a JOIN events b USING (seq) WHERE b.type IN (SELECT type FROM events)"
    found = sqlglot.parse_one(turned(sql, dialect, loggers=["shop"]), read=dialect.sqlglot)
    tables = [table for table in found.find_all(exp.Table) if table.name == "events"]
    assert len(tables) == 3
    for table in tables:
        select = table.find_ancestor(exp.Select)
        assert select is not None
        assert select.args["where"].this.sql("duckdb").replace('"', "") == "logger IN ('shop')"


@pytest.mark.parametrize("dialect", [SPARK, HIVE], ids=lambda dialect: dialect.name)
def test_no_variable_of_the_server_gets_into_a_statement(dialect: Dialect) -> None:
    found = turned(
        "SELECT $x AS x, fields->>'a' AS b FROM events WHERE type LIKE 'a${y}%'",
        dialect,
        {"x": "${env:HOME}"},
        loggers=["${z}"],
    )
    assert "${" not in found
    with pytest.raises(QueryError, match="a name with"):
        turned('SELECT 1 AS "${env:HOME}"', dialect)


def test_no_text_holds_what_hive_takes_for_a_comment() -> None:
    found = turned("SELECT $x AS x, $y AS y", HIVE, {"x": "\\", "y": "a---b"})
    assert "CONCAT('a-', '-', '-b')" in found
    assert "--" not in found
    with pytest.raises(QueryError, match="a name with"):
        turned('SELECT 1 AS "a--b"', HIVE)


def test_hive_orders_by_results_only() -> None:
    with pytest.raises(QueryError, match="ORDER BY seq"):
        turned("SELECT type FROM events ORDER BY seq", HIVE)
    assert "ORDER BY `n`" in turned("SELECT seq AS n FROM events ORDER BY n", HIVE)


@EACH
def test_nobody_sees_nothing(dialect: Dialect) -> None:
    assert "IN (NULL)" in turned("SELECT count(*) FROM events", dialect, loggers=[])


@EACH
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT list_transform(tokens, x -> upper(x)) FROM events", "SELECT strptime(payload, '%Y') FROM events",
        "SELECT * EXCLUDE (pid) FROM events",
        "SELECT hash(payload) FROM events", "SELECT list(type) FROM events", "SELECT {'a': 1}", "SELECT max(seq, 3) FROM events",
        "SELECT fields->>('$.' || type) FROM events", "SELECT fields->>'$.a[*]' FROM events",
        "SELECT date_trunc(type, timestamp) FROM events",
        "SELECT count(*) FROM events, range(5) r", "SELECT type FROM events QUALIFY row_number() OVER (ORDER BY seq) = 1",
        "SELECT CAST(timestamp AS VARCHAR) FROM events", "SELECT timezone('UTC', timezone('Europe/Berlin', timestamp)) FROM events",
        "WITH a AS (SELECT timezone('Europe/Berlin', timestamp) AS t FROM events) SELECT timezone('UTC', t) FROM a",
        "SELECT timestamp - to_days(severity) FROM events", "SELECT * FROM events USING SAMPLE 10", "SELECT COLUMNS('t.*') FROM events",
        "SELECT type FROM events ORDER BY ALL", "SELECT CAST('1 day' AS INTERVAL)",
    ],
)  # fmt: skip
def test_what_an_engine_lacks_is_told_and_never_sent(dialect: Dialect, sql: str) -> None:
    with pytest.raises(QueryError) as caught:
        turned(sql, dialect)
    assert caught.value.kind == "unsupported", caught.value
    assert any(word in str(caught.value) for word in (dialect.name, "another engine", "other engines"))


@EACH
def test_what_duckdb_refuses_is_refused_for_every_engine(dialect: Dialect) -> None:
    for sql in (
        "DROP TABLE events",
        "SELECT 1; SELECT 2",
        "SELECT * FROM read_parquet('/x')",
        "SELECT getenv('HOME')",
        "SELECT * FROM m.events",
    ):
        with pytest.raises(QueryError) as caught:
            turned(sql, dialect)
        assert caught.value.kind in {"refused", "syntax"}, sql


def test_a_missing_view_is_named() -> None:
    with pytest.raises(QueryError, match="the view 'files'"):
        translate("SELECT * FROM files", None, HIVE, Sources({"events": "m.events"}))


@EACH
def test_a_missing_value_is_named(dialect: Dialect) -> None:
    with pytest.raises(QueryError, match=r"\$x"):
        turned("SELECT payload FROM events WHERE payload = $x", dialect, {})


@EACH
def test_values_of_every_type(dialect: Dialect) -> None:
    values = {
        "a": -5, "b": 2**63 - 1, "c": 1.5, "d": True, "e": None, "f": date(2026, 1, 2), "g": "x",
        "h": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2))), "i": float("inf"),
    }  # fmt: skip
    names = ", ".join(f"${name}" for name in values)
    found = turned(f"SELECT {names}", dialect, values)
    for text in ("-5", "9223372036854775807", "'1.5'", "'2026-01-02'", "'2026-01-02 01:04:05.000006'", "'inf'", "'x'"):
        assert text in found
    with pytest.raises(QueryError, match="type object"):
        turned("SELECT $x", dialect, {"x": object()})


@EACH
def test_a_condition_on_the_time_names_the_days_as_constants(dialect: Dialect) -> None:
    values = {"since": datetime(2026, 3, 1, 5, tzinfo=UTC), "until": datetime(2026, 3, 2, tzinfo=UTC)}
    found = turned("SELECT count(*) FROM events WHERE timestamp >= $since AND timestamp < $until", dialect, values)
    assert "CAST('2026-03-01' AS" in found
    assert "CAST('2026-03-02' AS" in found


@pytest.mark.parametrize(
    ("dialect", "lacks"),
    [(SPARK, set()), (CLICKHOUSE, set()), (HIVE, {"delivery", "delivery-by-minute", "retention", "volume"})],
)
def test_every_built_in_report_is_translated(dialect: Dialect, lacks: set[str]) -> None:
    failed = set()
    for report in Library():
        values = {key: value for key, value in report.values({}).items() if key in report._used}
        try:
            turned(report.sql, dialect, values)
        except QueryError as error:
            if error.kind != "unsupported":
                raise
            failed.add(report.name)
    assert failed == lacks


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("user", ["user"]), ("a.b", ["a.b"]), ("$.a.b", ["a", "b"]), ('$."a b"[2]', ["a b", 2]), ('$."a\\"b"', ['a"b']), ("/a/b~1c", ["a",
        "b/c"]),
        ("$", []), (3, [3]), ("", [""]),
    ],
)  # fmt: skip
def test_paths_are_read_as_duckdb_reads_them(text: str | int, steps: list[str | int]) -> None:
    assert read_path(text) == steps


@pytest.mark.parametrize("text", ["$.a[*]", "$.a[#-1]", "$..a", "$.", "/a/0", -1, "$.*"])
def test_paths_to_several_places_are_refused(text: str | int) -> None:
    with pytest.raises(QueryError):
        read_path(text)


class Recorder:
    """An engine that translates what it is asked and answers nothing."""

    name, slow = "recorder", True

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.asked: list[str] = []

    def query(self, sql: str, params: Any = None, **_: Any) -> Any:
        self.asked.append(turned(sql, self.dialect, params))
        return Result(
            [Column("n", "BIGINT")],
            pa.table({"n": pa.array([0] if "count(*) FROM" in sql else [], pa.int64())}),
            False,
            1.0,
        )


@pytest.mark.parametrize("dialect", [SPARK, CLICKHOUSE], ids=lambda dialect: dialect.name)
def test_what_the_page_asks_is_translated(dialect: Dialect) -> None:
    engine: Any = Recorder(dialect)
    with contextlib.suppress(KeyError, IndexError, TypeError, ValueError):  # of the empty answers
        look(engine, Times.of("24h"), loggers=None, cancel=Cancel())
    since, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 4, 2, tzinfo=UTC)
    by = Steps(since, until, 86400, 7200, ((datetime(2026, 3, 29, 1, tzinfo=UTC), -3600),))
    for sql in (overview._COUNTS.format(bar=by.sql), overview._TODAY, LOSS_BY_LOGGER):
        turned(sql, dialect, {"since": since, "until": until, **by.values})
    fields = ["user = u1", "a.b", "status >= 500", "route ~ /cart", "x != 5", "n = 5", "!user", "a|b.c=x", "status=5xx"]
    if dialect is SPARK:
        given = {
            "type": "login", "token": "x", "logger": "s", "severity": "3", "q": "it's", "not_type": "a", "not_logger": "b",
            "not_token": "c", "severities": "error,4", "host": "h", "stream": "s",
        }  # fmt: skip
        times = Times.of("24h")
        found = Search.parse([*given.items(), *(("field", text) for text in fields)], times.begin, times.end)
        page(engine, found, 50, loggers=None, cancel=Cancel())
    around(engine, "s", 5, datetime(2026, 1, 1, tzinfo=UTC), loggers=None, cancel=Cancel())
    for _, sql in EXAMPLES:
        turned(sql, dialect)


@pytest.mark.parametrize(("dialect", "fields"), [(SPARK, ["ms=5", "a.b=5", "early|late=5"]), (HIVE, ["ms=5"])])
def test_every_page_of_a_search_is_translated(dialect: Dialect, fields: list[str]) -> None:
    engine: Any = Recorder(dialect)
    times = Times.of("7d")
    place = [micros(times.end), -1, micros(times.begin), "s", 5, 1]
    after = base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()
    for pairs in ([], [("after", after)]):
        asked = Search.parse([*pairs, *(("field", text) for text in fields)], times.begin, times.end)
        page(engine, asked, 50, loggers=None, cancel=Cancel())
    assert "row_number" in engine.asked[-1].lower()
