"""The columns of a file: their kinds, what the footer says of them, and values that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metlog.journal.folder import Folder
from metlog.lake.promotion.choice import Promotion
from metlog.lake.promotion.footer import Promoted, column_name
from metlog.lake.query import Lake
from metlog.lake.schema import SCHEMA
from metlog.lake.storage import FolderStorage
from tests.helpers.promoted import data_set, events_table, promoted_in, write_file


def made(folder: Path, *groups: list[Any]) -> tuple[Promoted | None, pa.Table]:
    """What a file says of the name `x`, whose values in its row groups are these; `...` is a missing one."""
    files = [[{} if value is ... else {"x": value} for value in values] for values in groups]
    data_set(folder, [files], promote=["x"])
    (path,) = (folder / "events").rglob("*.parquet")
    return promoted_in(path).get("x"), pq.read_table(path, partitioning=None)


@pytest.mark.parametrize(
    ("values", "kind", "text", "whole", "json"),
    [
        (["a", ..., "é\u0000\n"], "text", True, False, True),
        (["a", None], "text", True, False, False),
        (["a", 1, True], "text", True, False, False),
        ([1, ..., -(2**63)], "integer", True, False, True),
        ([1, None], "integer", True, False, False),
        ([1.5, 2.0, -0.0], "double", True, False, True),
        ([1.5, 2, 1e-3], "double", True, True, True),
        ([1.5, 2, 2.0], "double", False, True, False),
        ([1.5, 1e-5], "double", False, False, False),
        ([1.5, 1e15], "double", False, False, False),
        ([True, False], "boolean", True, False, True),
        ([..., ...], "none", True, False, True),
        ([..., None], "none", True, False, False),
    ],
)
def test_a_column_has_the_kind_of_its_values(
    tmp_path: Path, values: list[Any], kind: str, text: bool, whole: bool, json: bool
) -> None:
    said, table = made(tmp_path, values)
    assert said is not None
    assert (said.kind, said.text, said.whole, said.json, said.right) == (kind, text, whole, json, True)
    assert (f"field_{kind}_x" in table.column_names) == (kind != "none")


@pytest.mark.parametrize("values", [[1.5, "a"], [{}, "a"], [[1]], [2**63], [0.5, 2**53 + 1], [1, {"a": 1}]])
def test_values_that_no_column_can_tell_apart_get_none(tmp_path: Path, values: list[Any]) -> None:
    said, table = made(tmp_path, values)
    assert said is None
    assert table.column_names == SCHEMA.names


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (["a"], [1.5]), (["a"], [{}]), ([1], ["a"]), ([1], [1.0]), ([1], [2**63]), ([1.5], ["a"]), ([1.5], [2**60]), ([True], [1]),
        ([...], ["a"]), ([...], [None, 1]),
    ],
)  # fmt: skip
def test_a_later_value_that_does_not_fit_leaves_the_answer_to_fields(
    tmp_path: Path, first: list[Any], later: list[Any]
) -> None:
    said, _ = made(tmp_path, first, later)
    assert said is None or not said.right
    with Lake(tmp_path) as lake:
        for arrow in ("->>", "->"):
            promoted = lake.query(f"SELECT fields{arrow}'x' AS v FROM events ORDER BY seq").rows
            plain = lake.query(f"SELECT (fields || '')::JSON{arrow}'x' AS v FROM events ORDER BY seq").rows
            assert promoted == plain


@pytest.mark.parametrize(
    ("values", "texts"),
    [([200, 500] * 300, True), ([*range(600)], False), ([True, False, None], True), ([1.5, 2.5], False)],
)
def test_few_different_values_have_a_column_of_their_texts(tmp_path: Path, values: list[Any], texts: bool) -> None:
    said, table = made(tmp_path, values, *([[7, -1]] if type(values[0]) is int else []))
    assert said is not None
    assert bool(said.texts) == texts == ("field_text_x" in table.column_names)
    if texts:
        wanted = [None if value is None else str(value).lower() for value in values]
        assert table["field_text_x"].to_pylist()[: len(values)] == wanted


def test_later_values_that_fit_in_another_way_are_taken(tmp_path: Path) -> None:
    said, table = made(tmp_path, ["a"], [1, False], ["b", ...])
    assert said is not None
    assert (said.right, said.json) == (True, False)
    assert table["field_text_x"].to_pylist() == ["a", "1", "false", "b", None]


def test_integers_among_numbers_come_out_as_they_went_in(tmp_path: Path) -> None:
    made(tmp_path, [1.5], [2, 2**53], [-3])
    with Lake(tmp_path) as lake:
        rows = lake.query("SELECT fields->>'x' AS v FROM events ORDER BY seq").rows
    assert [value for (value,) in rows] == ["1.5", "2", "9007199254740992", "-3"]


def test_fields_that_are_no_objects_get_no_columns(tmp_path: Path) -> None:
    with Folder.root(tmp_path) as root:
        promotion = Promotion(FolderStorage(root), ["x"])
        path = write_file(tmp_path, "f", [events_table(['{"x":1}', "[1]", '{"x":2}'])], promotion)
    assert promoted_in(path) == {}


@pytest.mark.parametrize(
    ("texts", "right"),
    [
        (['{"x":"a","x":"b"}', '{"x":"c"}'], False),
        (['{"x":"a", "x" : "b"}'], False),
        (['{"x":"a","\\u0078":"b"}'], False),
        (['{"x":null,"x":"b"}'], False),
        (['{"x":"a","y":{"x":1,"x":2}}'], True),
        (['{"x":"\\"x\\":","y":"\\u00e9"}', '{"x":"x"}'], True),
    ],
)
def test_a_name_that_an_object_has_twice_is_left_to_fields(tmp_path: Path, texts: list[str], right: bool) -> None:
    with Folder.root(tmp_path) as root:
        path = write_file(tmp_path, "f", [events_table(texts)], Promotion(FolderStorage(root), ["x"]))
    assert ("x" in promoted_in(path)) == right
    with Lake(tmp_path) as lake:
        promoted = lake.query("SELECT fields->>'x' AS v FROM events ORDER BY seq").rows
        assert promoted == lake.query("SELECT (fields || '')::JSON->>'x' AS v FROM events ORDER BY seq").rows


def test_names_of_columns_are_plain_and_differ() -> None:
    names = ["user", "User", "USER", "größe", "a.b", "a_b", "a b", "", "x" * 100, "1", "ms;drop"]
    columns = [column_name(name, "text") for name in names]
    assert len({column.lower() for column in columns}) == len(names)
    assert all(column.replace("_", "a").isalnum() and column.isascii() for column in columns)
    assert columns[0] == "field_text_user"


def test_without_promotion_a_file_has_the_columns_of_the_schema_alone(tmp_path: Path) -> None:
    path = write_file(tmp_path, "f", [events_table([{"x": 1}])], None)
    assert pq.read_schema(path).names == SCHEMA.names
    assert promoted_in(path) == {}
