"""A query that runs in another form than it was written in: its errors, and its answer, are those of the query as written."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from metlog.lake import running
from metlog.lake.cancel import Watch
from metlog.lake.query import Lake, QueryError
from metlog.lake.running import Running
from metlog.lake.values import Column
from tests.helpers.promoted import data_set

LATE = 50_000
WIDE = ", ".join(f"i + {number} AS c{number}" for number in range(200))
"""As many rows and columns make more than the engine holds back: some are given before the error."""


@pytest.fixture(scope="module", params=[["n", "user"], False], ids=["promoted", "plain"])
def lake(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Lake]:
    folder = tmp_path_factory.mktemp("lake")
    fields = [{"n": n, "user": "u1"} for n in range(100)] + [{"n": 2**40, "user": "x"}]
    with Lake(data_set(folder, [[fields]], request.param), threads=1) as lake:
        yield lake


@pytest.mark.parametrize(
    ("sql", "column", "message"),
    [
        ("SELECT (fields->>'n')::INT FROM events", 22, "'1099511627776' to INT32"),
        ("SELECT count((fields->>'n')::INT) FROM events WHERE timestamp > '2026-01-01'", 28, "'1099511627776' to INT32"),
        ("SELECT seq, CAST(fields->>'user' AS DOUBLE) FROM events", 13, "'u1' to DOUBLE"),
        ("SELECT 1 FROM events WHERE (fields->>'user')::DATE > '2026-01-01'", 45, 'date field format: "u1"'),
    ],
)  # fmt: skip
def test_the_place_of_an_error_is_known(lake: Lake, sql: str, column: int, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        lake.query(sql)
    assert (caught.value.line, caught.value.column, caught.value.kind) == (1, column, "failed")
    assert message in caught.value.message
    assert "metlog_" not in caught.value.message


def _running(form: str, sql: str) -> Running:
    cursor = duckdb.connect(config={"errors_as_json": True, "threads": 1})
    late = f"CASE i WHEN {LATE} THEN 'x' ELSE '1' END AS metlog_field_0"
    cursor.execute(f"CREATE VIEW numbers AS SELECT i, {late} FROM range({LATE + 1}) t(i)")
    relation = cursor.sql(form)
    columns = [Column(name, "BIGINT") for name in relation.columns]
    return Running(cursor, sql, None, columns, (relation, form), Watch(None, None))


def test_a_form_that_fails_before_it_gives_rows_is_replaced() -> None:
    form, sql = "SELECT CAST(max(metlog_field_0) AS BIGINT) AS x FROM numbers", "SELECT max(i) AS x FROM numbers"
    assert [batch.to_pylist() for batch in _running(form, sql).batches()] == [[{"x": LATE}]]


FORM = f"SELECT CAST(metlog_field_0 AS BIGINT) AS x, {WIDE} FROM numbers"


def _told(sql: str) -> QueryError:
    """The error of `FORM`, of a query that was written so, after some rows."""
    batches = _running(FORM, sql).batches()
    next(batches)
    with pytest.raises(QueryError) as caught:
        list(batches)
    return caught.value


@pytest.mark.slow
def test_an_error_after_some_rows_is_that_of_the_query_as_written() -> None:
    error = _told(f"SELECT CAST(text AS BIGINT) AS x, {WIDE} FROM (SELECT i, metlog_field_0 AS text FROM numbers)")
    assert (error.line, error.column, error.message) == (
        1,
        8,
        "Could not convert string 'x' to INT64 when casting from source column text",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT i AS x, {WIDE} FROM numbers",  # has no such error
        f"SELECT i AS x, {WIDE} FROM "  # takes too long
        "(SELECT count(*) AS i FROM range(1000000) a, range(1000000) b WHERE a.range + b.range = -1)",
    ],
)
def test_an_error_that_the_query_as_written_does_not_show_names_no_column_of_the_form(
    sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_SEARCH", 0.5)
    assert str(_told(sql)) == "Could not convert string 'x' to INT64"
