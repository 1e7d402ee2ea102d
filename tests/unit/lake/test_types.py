"""Results of every type that DuckDB has: the same from JSON, CSV, Parquet, the table, the page and the engine's process."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

from metlog.cli.output import print_table
from metlog.lake.engine.client import GuardedLake
from metlog.lake.export import encode, json_rows, write
from metlog.lake.query import Lake
from metlog.lake.result import Queryable, collected
from metlog.lake.sqltypes import carried, type_named
from metlog.web.results import cell


class Shown(NamedTuple):
    """What a value becomes. `parquet`: DuckDB's text of it, read back out of a file; None: as that of the value itself."""

    sql: str
    text: str
    json: str
    python: Any
    parquet: str | None = None


TYPES = {
    "NULL": [Shown("NULL", "", "null", None)],
    "BOOLEAN": [Shown("true", "true", "true", True)],
    "TINYINT": [Shown("'-128'::TINYINT", "-128", "-128", -128)],
    "SMALLINT": [Shown("'-32768'::SMALLINT", "-32768", "-32768", -32768)],
    "INTEGER": [Shown("7", "7", "7", 7)],
    "BIGINT": [Shown("'-9223372036854775808'::BIGINT", f"{-(2**63)}", f"{-(2**63)}", -(2**63))],
    "HUGEINT": [
        Shown("sum(1)", "1", "1", 1),
        Shown("170141183460469231731687303715884105727::HUGEINT", f"{2**127 - 1}", f"{2**127 - 1}", 2**127 - 1),
    ],
    "UTINYINT": [Shown("255::UTINYINT", "255", "255", 255)],
    "USMALLINT": [Shown("65535::USMALLINT", "65535", "65535", 65535)],
    "UINTEGER": [Shown("4294967295::UINTEGER", "4294967295", "4294967295", 2**32 - 1)],
    "UBIGINT": [Shown("18446744073709551615::UBIGINT", f"{2**64 - 1}", f"{2**64 - 1}", 2**64 - 1)],
    "UHUGEINT": [
        Shown("340282366920938463463374607431768211455::UHUGEINT", f"{2**128 - 1}", f"{2**128 - 1}", 2**128 - 1)
    ],
    "BIGNUM": [Shown(f"'{10**50}'::BIGNUM", f"{10**50}", f"{10**50}", 10**50)],
    "FLOAT": [
        Shown("1.1::FLOAT", "1.1", "1.1", 1.1),
        Shown("'-inf'::FLOAT", "-inf", "null", float("-inf")),
    ],
    "DOUBLE": [
        Shown("0.1::DOUBLE", "0.1", "0.1", 0.1),
        Shown("1e300::DOUBLE", "1e+300", "1e300", 1e300),
        Shown("'inf'::DOUBLE", "inf", "null", float("inf")),
    ],
    "DECIMAL": [
        Shown("1.50::DECIMAL(9, 2)", "1.50", "1.50", Decimal("1.50")),
        Shown(f"'{'9' * 38}'::DECIMAL(38, 0)", "9" * 38, "9" * 38, Decimal("9" * 38)),
    ],
    "VARCHAR": [Shown("'ä\"'", 'ä"', '"ä\\""', 'ä"')],
    "ENUM": [Shown("'it''s'::ENUM('a(', 'it''s')", "it's", '"it\'s"', "it's")],
    "UUID": [Shown(f"'{'a' * 8}-bbbb-4ccc-8ddd-{'e' * 12}'::UUID", f"{'a' * 8}-bbbb-4ccc-8ddd-{'e' * 12}",
                   f'"{"a" * 8}-bbbb-4ccc-8ddd-{"e" * 12}"', f"{'a' * 8}-bbbb-4ccc-8ddd-{'e' * 12}")],
    "JSON": [
        Shown("""'{"a": [1, 2.50]}'::JSON""", '{"a": [1, 2.50]}', '{"a": [1, 2.50]}', '{"a": [1, 2.50]}'),
        Shown("to_json(['nan'::DOUBLE])", "[NaN]", '"[NaN]"', "[NaN]"),
        Shown("'[1,]'::JSON", "[1,]", '"[1,]"', "[1,]"),
    ],
    "BLOB": [Shown(r"'\x01\xAA'::BLOB", "01aa", '"01aa"', b"\x01\xaa")],
    "BIT": [Shown("'0101'::BIT", "0101", '"0101"', "0101")],
    "DATE": [
        Shown("DATE '2026-05-01'", "2026-05-01", '"2026-05-01"', date(2026, 5, 1)),
        Shown("DATE '20000-01-01'", "20000-01-01", '"20000-01-01"', "20000-01-01"),
        Shown("DATE '0044-03-15 (BC)'", "0044-03-15 (BC)", '"0044-03-15 (BC)"', "0044-03-15 (BC)"),
        Shown("'infinity'::DATE", "infinity", '"infinity"', "infinity"),
        Shown("'-infinity'::DATE", "-infinity", '"-infinity"', "-infinity"),
    ],
    "TIME": [
        Shown("TIME '01:02:03.5'", "01:02:03.500000", '"01:02:03.500000"', time(1, 2, 3, 500000)),
        Shown("TIME '24:00:00'", "24:00:00", '"24:00:00"', "24:00:00"),
    ],
    "TIME_NS": [
        Shown("'01:02:03.123456789'::TIME_NS", "01:02:03.123456789", '"01:02:03.123456789"', "01:02:03.123456789")
    ],
    "TIME WITH TIME ZONE": [
        Shown("'01:02:03.5+02:30'::TIMETZ", "01:02:03.5+02:30", '"01:02:03.5+02:30"', "01:02:03.5+02:30")
    ],
    "TIMESTAMP": [
        Shown("TIMESTAMP '2026-05-01 12:00:00.5'", "2026-05-01T12:00:00.500000", '"2026-05-01T12:00:00.500000"',
              datetime(2026, 5, 1, 12, 0, 0, 500000)),
        Shown("TIMESTAMP '20000-01-01 00:00:01'", "20000-01-01T00:00:01", '"20000-01-01T00:00:01"', "20000-01-01T00:00:01"),
        Shown("'0044-03-15 (BC) 00:00:00.5'::TIMESTAMP", "0044-03-15 (BC) 00:00:00.500000",
              '"0044-03-15 (BC) 00:00:00.500000"', "0044-03-15 (BC) 00:00:00.500000"),
        Shown("'-infinity'::TIMESTAMP", "-infinity", '"-infinity"', "-infinity"),
    ],
    "TIMESTAMP_S": [
        Shown("'2026-05-01 12:00:00'::TIMESTAMP_S", "2026-05-01T12:00:00", '"2026-05-01T12:00:00"', datetime(2026, 5, 1, 12)),
        Shown("'20000-01-01'::TIMESTAMP_S", "20000-01-01T00:00:00", '"20000-01-01T00:00:00"', "20000-01-01T00:00:00"),
        Shown("'infinity'::TIMESTAMP_S", "infinity", '"infinity"', "infinity"),
    ],
    "TIMESTAMP_MS": [
        Shown("'2026-05-01 12:00:00.125'::TIMESTAMP_MS", "2026-05-01T12:00:00.125000", '"2026-05-01T12:00:00.125000"',
              datetime(2026, 5, 1, 12, 0, 0, 125000)),
        Shown("'infinity'::TIMESTAMP_MS", "infinity", '"infinity"', "infinity"),
    ],
    "TIMESTAMP_NS": [
        Shown("make_timestamp_ns(1767225600123456789)", "2026-01-01T00:00:00.123456789",
              '"2026-01-01T00:00:00.123456789"', "2026-01-01T00:00:00.123456789"),
        Shown("make_timestamp_ns(1767225600123456000)", "2026-01-01T00:00:00.123456", '"2026-01-01T00:00:00.123456"',
              datetime(2026, 1, 1, 0, 0, 0, 123456)),
        Shown("'infinity'::TIMESTAMP_NS", "infinity", '"infinity"', "infinity"),
    ],
    "TIMESTAMP WITH TIME ZONE": [
        Shown("TIMESTAMPTZ '2026-05-01 12:00:00+02'", "2026-05-01T10:00:00Z", '"2026-05-01T10:00:00Z"',
              datetime(2026, 5, 1, 10, tzinfo=UTC)),
        Shown("TIMESTAMPTZ '20000-01-01 00:00:00Z'", "20000-01-01T00:00:00Z", '"20000-01-01T00:00:00Z"', "20000-01-01T00:00:00Z"),
        Shown("'infinity'::TIMESTAMPTZ", "infinity", '"infinity"', "infinity"),
    ],
    "TIMESTAMPTZ_NS": [
        Shown("'2026-01-01 00:00:00.123456789+02'::TIMESTAMPTZ_NS", "2025-12-31T22:00:00.123456789Z",
              '"2025-12-31T22:00:00.123456789Z"', "2025-12-31T22:00:00.123456789Z"),
    ],
    "INTERVAL": [
        Shown("INTERVAL '1 month 2 days 3.5 seconds'", "P1M2DT3.5S", '"P1M2DT3.5S"', "P1M2DT3.5S", "P1M2DT3.5S"),
        Shown("-INTERVAL 90 SECOND", "PT-90S", '"PT-90S"', "PT-90S", "PT-90S"),
        Shown("INTERVAL 0 SECOND", "PT0S", '"PT0S"', "PT0S", "PT0S"),
    ],
    "LIST": [
        Shown("[1, NULL]", "[1,null]", "[1,null]", [1, None]),
        Shown("""['{"b":1}'::JSON]""", '[{"b":1}]', '[{"b":1}]', ['{"b":1}'], "['{\"b\":1}']"),
        Shown("[DATE '20000-01-01', NULL, 'infinity']", '["20000-01-01",null,"infinity"]', '["20000-01-01",null,"infinity"]',
              ["20000-01-01", None, "infinity"]),
    ],
    "ARRAY": [Shown("array_value('01'::BIT, NULL)", '["01",null]', '["01",null]', ["01", None])],
    "STRUCT": [
        Shown("""{'a b': 1.1::FLOAT, 'c"': ['1'::JSON], 'u': 5::UHUGEINT, 'd': 1.50}""", '{"a b":1.1,"c\\"":[1],"u":5,"d":1.50}',
              '{"a b":1.1,"c\\"":[1],"u":5,"d":1.50}', {"a b": 1.1, 'c"': ["1"], "u": 5, "d": Decimal("1.50")}),
        Shown("{'i': [INTERVAL 90 SECOND]}", '{"i":["PT90S"]}', '{"i":["PT90S"]}', {"i": ["PT90S"]}, '{"i":["PT90S"]}'),
    ],
    "TUPLE": [Shown("row('01'::BIT, 1)", '["01",1]', '["01",1]', ("01", 1), "{'element1': 01, 'element2': 1}")],
    "MAP": [
        Shown("MAP {'k': '01'::BIT, 'l': NULL}", '{"k":"01","l":null}', '{"k":"01","l":null}', {"k": "01", "l": None}),
        Shown("MAP {DATE '2026-05-01': 1}", '{"2026-05-01":1}', '{"2026-05-01":1}', {date(2026, 5, 1): 1}),
        Shown("MAP {[1, 2]: true}", '{"[1,2]":true}', '{"[1,2]":true}', {(1, 2): True}),
    ],
    "UNION": [
        Shown("union_value(n := 1)", '{"n":1}', '{"n":1}', '{"n":1}'),
        Shown("[union_value(n := 1)]", '[{"n":1}]', '[{"n":1}]', ['{"n":1}'], "['{\"n\":1}']"),
    ],
    "VARIANT": [Shown("{'a': 1}::VARIANT", '{"a":1}', '{"a":1}', '{"a":1}')],
    "GEOMETRY": [Shown("'POINT(1 2)'::GEOMETRY", "POINT (1 2)", '"POINT (1 2)"', "POINT (1 2)")],
    "TYPE": [Shown("get_type(1)", "INTEGER", '"INTEGER"', "INTEGER")],
}  # fmt: skip
"""Every logical type, each with what decides how it is written."""

NOT_A_RESULT = {"PARQUET_VARIANT": "the form of VARIANT within a Parquet file"}
"""Names of types that no column of a result has."""

CASES = [(kind, shown) for kind, cases in TYPES.items() for shown in cases]
each_case = pytest.mark.parametrize(("kind", "shown"), CASES, ids=[f"{kind}: {case.sql}" for kind, case in CASES])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def lake(folder: Path) -> Iterator[Lake]:
    with Lake(folder) as lake:
        yield lake


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[GuardedLake]:
    lake = GuardedLake(folder)
    yield lake
    lake.close()


@pytest.mark.parametrize(
    ("name", "logical"),
    duckdb.sql("SELECT DISTINCT type_name, logical_type FROM duckdb_types() ORDER BY ALL").fetchall(),
)
def test_each_type_of_the_engine_has_its_form(name: str, logical: str) -> None:
    logical = name if name == "JSON" else logical
    assert logical in TYPES or name in NOT_A_RESULT, f"{name}: decide how a result of the type {logical} is written"


def question(shown: Shown) -> str:
    """The value, and NULL of its type, which comes second."""
    return f"SELECT x FROM (SELECT {shown.sql} AS x, 1 AS n UNION ALL SELECT NULL, 2) ORDER BY n"


def exported(lake: Queryable, sql: str, kind: str) -> bytes:
    file = io.BytesIO()
    with lake.stream(sql) as stream:
        write(stream, kind, file)
    return file.getvalue()


@each_case
def test_the_value_in_python_json_csv_and_the_api(lake: Lake, kind: str, shown: Shown) -> None:
    check(lake, shown)


@pytest.mark.process
@each_case
def test_the_same_out_of_the_engines_process(guarded: GuardedLake, kind: str, shown: Shown) -> None:
    check(guarded, shown)


def check(lake: Queryable, shown: Shown) -> None:
    sql = question(shown)
    result = lake.query(sql)
    assert result.rows == [(shown.python,), (None,)]
    lines = exported(lake, sql, "json").decode().splitlines()
    assert lines == ["[", f' {{"x":{shown.json}}},', ' {"x":null}', "]"]
    assert encode(json_rows(result.columns, result.rows)).decode() == f"[[{shown.json}],[null]]"
    rows = list(csv.reader(io.StringIO(exported(lake, sql, "csv").decode(), newline="")))
    assert [row or [""] for row in rows] == [["x"], [shown.text], [""]]


@each_case
def test_the_value_in_a_table_and_on_the_page(lake: Lake, kind: str, shown: Shown) -> None:
    result = lake.query(f"SELECT {shown.sql} AS x")
    ((value,),) = result.rows
    out = io.BytesIO()
    print_table(result.columns, result.rows, output=out)
    text = shown.text.replace("T", " ", 1) if kind.startswith("TIMESTAMP") else shown.text
    grouped = f"{value:,}" if type(value) is int else text  # a table sets thousands apart
    assert grouped in out.getvalue().decode()
    assert cell(value, result.columns[0].type) == text


@pytest.mark.process
@each_case
def test_parquet_read_back_is_the_value(
    lake: Lake, guarded: GuardedLake, tmp_path: Path, kind: str, shown: Shown
) -> None:
    content = exported(lake, question(shown), "parquet")
    assert exported(guarded, question(shown), "parquet") == content
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    to = carried(type_named(str(connection.sql(f"SELECT {shown.sql}").types[0])))
    wanted = shown.parquet if shown.parquet is not None else f"CAST(CAST({shown.sql} AS {to}) AS VARCHAR)"
    (found,), (nothing,) = connection.execute(f"SELECT CAST(x AS VARCHAR) FROM '{path}'").fetchall()
    if kind == "NULL":
        wanted = None
    elif shown.parquet is None:
        ((wanted,),) = connection.execute(f"SELECT {wanted}").fetchall()
    assert (found, nothing) == (wanted, None)


def test_a_type_is_taken_apart_and_put_together() -> None:
    for text in (
        'STRUCT("a b" INTEGER, "c""d" DECIMAL(4,1)[])', "MAP(VARCHAR, TIMESTAMP WITH TIME ZONE)[3]", "INTEGER[][]",
        "ENUM('x', 'it''s', 'a,b)')", 'UNION("a b" STRUCT(x BIT), n BIGINT)', "TUPLE(INTEGER, VARCHAR)", "anything(",
    ):  # fmt: skip
        assert str(type_named(text)) == text
    assert str(carried(type_named('STRUCT("a b" BIT[2], u UNION(n BIT))[]'))) == 'STRUCT("a b" VARCHAR[2], u JSON)[]'


@pytest.mark.process
@pytest.mark.parametrize("which", ["lake", "guarded"])
def test_two_columns_of_one_name_are_two(which: str, request: pytest.FixtureRequest) -> None:
    lake: Queryable = request.getfixturevalue(which)
    sql = "SELECT 1 AS a, 2 AS a, 3 AS A, 4 AS a_1"
    result = lake.query(sql)
    assert [column.name for column in result.columns] == ["a", "a_1", "A_2", "a_1_1"]
    assert result.dicts() == [{"a": 1, "a_1": 2, "A_2": 3, "a_1_1": 4}]
    assert json.loads(exported(lake, sql, "json")) == result.dicts()
    assert exported(lake, sql, "csv").decode() == "a,a_1,A_2,a_1_1\n1,2,3,4\n"
    assert duckdb.from_arrow(result.arrow).fetchall() == [(1, 2, 3, 4)]


def test_the_order_of_rows_stays_where_a_column_is_carried_as_text(lake: Lake) -> None:
    sql = "SELECT range::UHUGEINT AS n FROM range(100000) ORDER BY hash(range)"
    with lake.stream(sql) as stream:
        found = [n for (n,) in collected(stream).rows]
    assert found == [n for (n,) in lake.query("SELECT range AS n FROM range(100000) ORDER BY hash(range)").rows]


def test_parameters_are_bound_where_a_column_is_carried_as_text(lake: Lake) -> None:
    assert lake.query("SELECT $b::BIT AS b, $n AS n", {"b": "01", "n": 5}).rows == [("01", 5)]
