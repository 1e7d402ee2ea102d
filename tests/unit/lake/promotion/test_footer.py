"""What a file's footer says of its columns is taken for those columns only that metlog itself would have made."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metlog.lake.promotion.footer import PROMOTED, Kind, Promoted, column_name, decode, encode
from metlog.lake.query import Lake
from metlog.lake.sql.promoted import Hidden
from metlog.lake.upkeep.compact import compact
from tests.helpers.promoted import events_table

SOUND = [
    Promoted("user", "text", column_name("user", "text")),
    Promoted("größe", "integer", column_name("größe", "integer"), texts=column_name("größe", "text")),
    Promoted("ms", "double", column_name("ms", "double")),
    Promoted("ok", "boolean", column_name("ok", "boolean"), texts=column_name("ok", "text")),
    Promoted("nobody", "none"),
]
UNSOUND = [
    Promoted("user", "text", "payload"),
    Promoted("user", "text", "(SELECT string_agg(logger, ',') FROM metlog_fresh)"),
    Promoted("user", "text", column_name("other", "text")),
    Promoted("user", "text", ""),
    Promoted("user", "integer", column_name("user", "integer"), texts="payload"),
    Promoted("user", "text", column_name("user", "text"), texts=column_name("user", "text")),
    Promoted("user", "none", "payload"),
    Promoted("user", "none", texts="payload"),
]


def test_an_entry_whose_columns_are_called_otherwise_counts_as_none() -> None:
    said = decode({PROMOTED: encode([*SOUND, *UNSOUND])})
    assert list(said) == SOUND


@pytest.mark.parametrize("text", [b"", b"{", b"7", b'[{"name":1}]', b'[{"name":"a","kind":"huge"}]'])
def test_a_footer_that_says_something_else_says_nothing(text: bytes) -> None:
    assert decode({PROMOTED: text}) == ()


def test_a_column_stands_in_sql_as_an_identifier() -> None:
    entry = Promoted("user", "integer", 'a" || (SELECT 1)', texts='b"')
    for form in ("text", "text or double", "json or integer", "double", "integer"):
        sql = Hidden("h", form, "$.user", "user").sql("fields", {"user": entry})  # type: ignore[arg-type]
        assert '"a"" || (SELECT 1)"' in sql or '"b"""' in sql or "NULL" in sql


def write(path: Path, entries: list[Promoted], **columns: pa.Array) -> None:
    rows = events_table([{"user": "anna"}, {"user": "otto"}], payload="not a user")
    for name, column in columns.items():
        rows = rows.append_column(name, column)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, rows.schema) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata({PROMOTED: encode(entries)})


@pytest.mark.parametrize("entry", UNSOUND[:-2])
def test_a_query_answers_from_fields_where_the_footer_is_not_to_be_believed(tmp_path: Path, entry: Promoted) -> None:
    day = tmp_path / "events" / "date=2026-03-01"
    for number in range(2):
        write(day / f"{number:012d}-a.parquet", [entry])
    with Lake(tmp_path, threads=1) as lake:
        users = "SELECT fields->>'user' AS u, count(*)::INT FROM events GROUP BY 1 ORDER BY 1"
        assert lake.query(users).rows == [("anna", 2), ("otto", 2)]
        compact(tmp_path, fewest=2)
        assert lake.query(users).rows == [("anna", 2), ("otto", 2)]
        assert lake.query("SELECT DISTINCT payload FROM events").rows == [("not a user",)], (
            "no column is taken for ours"
        )


@pytest.mark.parametrize("kind", ["text", "integer", "double", "boolean"])
def test_a_column_of_another_type_than_the_footer_says_is_not_read(tmp_path: Path, kind: Kind) -> None:
    wrong = pa.array([[1], [2]], pa.list_(pa.int8()))
    column = column_name("user", kind)
    write(tmp_path / "events" / "date=2026-03-01" / "a.parquet", [Promoted("user", kind, column)], **{column: wrong})
    with Lake(tmp_path, threads=1) as lake:
        assert lake.query("SELECT count(*)::INT FROM events WHERE fields->>'user' = 'anna'").rows == [(1,)]
