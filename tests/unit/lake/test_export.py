"""The same query gives the same CSV, JSON and Parquet from the command and from the page."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from metlog.lake.export import json_rows, write
from metlog.lake.query import Lake, QueryError

SQL = """
SELECT * FROM (VALUES
  (1, 1234567.0::DOUBLE, 'NaN'::DOUBLE, 1.50::DECIMAL(9, 2), TIMESTAMPTZ '2026-05-01 12:00:00Z', TIMESTAMP '2026-05-01 12:00:00.5',
   DATE '2026-05-01', 'ä"\n,', '{"a": [1, 2.50]}'::JSON, '\\x01'::BLOB, INTERVAL 90 MINUTE, [1, NULL], {'a': DATE '2026-05-01'},
   MAP {'k': 1}, true, NULL::VARCHAR, ['{"b":1}'::JSON])
) AS t(i, d, nan, dec, tz, ts, day, text, js, blob, span, list, struct, map, yes, nothing, jsons)
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    folder: Path = tmp_path_factory.mktemp("lake")
    with Lake(folder) as lake:
        yield lake


def exported(lake: Lake, kind: str, sql: str = SQL, **options: bool | int) -> bytes:
    file = io.BytesIO()
    with lake.stream(sql) as stream:
        write(stream, kind, file, **options)  # type: ignore[arg-type]
    return file.getvalue()


def test_each_type_as_json(lake: Lake) -> None:
    (row,) = msgspec.json.decode(exported(lake, "json"))
    assert row == {
        "i": 1, "d": 1234567.0, "nan": None, "dec": 1.5, "tz": "2026-05-01T12:00:00Z", "ts": "2026-05-01T12:00:00.500000",
        "day": "2026-05-01", "text": 'ä"\n,', "js": {"a": [1, 2.5]}, "blob": "01", "span": "PT5400S", "list": [1, None],
        "struct": {"a": "2026-05-01"}, "map": {"k": 1}, "yes": True, "nothing": None, "jsons": [{"b": 1}],
    }  # fmt: skip
    result = lake.query(SQL)
    assert msgspec.json.decode(msgspec.json.encode(json_rows(result.columns, result.rows)))[0][0] == 1


def test_each_type_as_csv(lake: Lake) -> None:
    names, values = csv.reader(io.StringIO(exported(lake, "csv").decode(), newline=""))
    found = dict(zip(names, values, strict=True))
    assert found["tz"] == "2026-05-01T12:00:00Z"
    assert found["ts"] == "2026-05-01T12:00:00.500000"
    assert found["d"] == "1234567"
    assert (found["dec"], found["day"], found["text"], found["nothing"], found["yes"]) == (
        "1.50",
        "2026-05-01",
        'ä"\n,',
        "",
        "true",
    )
    assert (found["blob"], found["span"], found["list"], found["map"]) == ("01", "PT5400S", "[1,null]", '{"k":1}')
    assert msgspec.json.decode(found["js"]) == {"a": [1, 2.5]}


def test_json_is_an_object_a_line_also_where_a_value_holds_lines(lake: Lake) -> None:
    text = exported(lake, "json", """SELECT '{"a":\n1}'::JSON AS js FROM range(3)""")
    assert len(text.splitlines()) == 5
    assert msgspec.json.decode(text) == [{"js": {"a": 1}}] * 3


def test_json_that_is_too_deep_for_most_readers_is_text(lake: Lake) -> None:
    deep = "[" * 2000 + "]" * 2000
    text = exported(lake, "ndjson", f"SELECT '{deep}'::JSON AS js, ['{deep}'::JSON] AS several")
    assert msgspec.json.decode(text) == {"js": deep, "several": [deep]}


def test_a_map_without_a_type_is_text_in_parquet(lake: Lake) -> None:
    content = exported(lake, "parquet", "SELECT MAP {} AS m, [MAP {}] AS several, MAP {1: NULL} AS typed")
    assert pq.read_table(io.BytesIO(content)).to_pylist() == [{"m": "{}", "several": "[{}]", "typed": [(1, None)]}]


def test_a_limit_of_rows_holds_in_each_format(lake: Lake) -> None:
    sql = "SELECT range AS n FROM range(10000)"
    assert len(msgspec.json.decode(exported(lake, "json", sql, limit=2500))) == 2500
    assert len(exported(lake, "csv", sql, limit=2500).splitlines()) == 2501
    assert exported(lake, "json", "SELECT 1 AS n WHERE false") == b"[]\n"


def test_a_file_beyond_its_bytes_is_an_error(lake: Lake) -> None:
    with pytest.raises(QueryError, match="larger than 0 MiB"):
        exported(lake, "csv", "SELECT range AS n FROM range(100000)", max_bytes=1000)


def test_a_spreadsheet_gets_no_formula(lake: Lake) -> None:
    sql = """SELECT '=1+1' AS "=x", '-5' AS n, -5 AS m"""
    assert exported(lake, "csv", sql, spreadsheet=True) == b"'=x,n,m\n'=1+1,-5,-5\n"
    assert exported(lake, "csv", sql) == b"=x,n,m\n=1+1,-5,-5\n"


def test_ndjson_is_json_a_line_without_the_array(lake: Lake) -> None:
    sql = "SELECT range AS n, 'a' || chr(10) AS text FROM range(3)"
    lines = exported(lake, "ndjson", sql).decode().splitlines()
    assert [msgspec.json.decode(line) for line in lines] == msgspec.json.decode(exported(lake, "json", sql))
    assert len(lines) == 3
    assert exported(lake, "ndjson", "SELECT 1 AS n WHERE false") == b""
    assert exported(lake, "ndjson", sql, limit=1).count(b"\n") == 1


def test_markdown_and_blocks_take_every_type_and_the_limit(lake: Lake) -> None:
    assert len(exported(lake, "markdown").decode().splitlines()) == 3
    assert "P" in exported(lake, "vertical").decode()
    assert exported(lake, "vertical", "SELECT * FROM range(9)", limit=2).decode().count("─[ ") == 2
