"""What upkeep leaves of promoted columns: it makes them anew, and removes from them whom it removes."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq

from metlog.lake.query import Lake
from metlog.lake.upkeep.compact import compact
from metlog.lake.upkeep.expire import expire
from metlog.lake.upkeep.forget import forget
from metlog.lake.upkeep.importing import import_file
from tests.helpers.promoted import data_set, promoted_in

_SQL = "SELECT seq, fields->>'user' AS u, fields->'ms' AS ms, TRY_CAST(fields->>'n' AS BIGINT) AS n FROM events ORDER BY seq"


def files(data: Path) -> list[Path]:
    return sorted((data / "events").rglob("*.parquet"))


def test_merged_files_have_promoted_columns_of_their_own(tmp_path: Path) -> None:
    data_set(
        tmp_path,
        [
            [[{"user": "u1", "ms": 1, "n": 5}], [{"n": 6}]],
            [[{"user": "u2", "ms": 1.5}]],
            [[{"user": "u3"}], [{"user": 1.5}]],  # its column lacks a value
            [[{"n": "7", "ms": 3}]],
        ],
        promote=["user", "ms", "n"],
    )
    with Lake(tmp_path) as lake:
        before = lake.query(_SQL).rows
        assert compact(tmp_path).files_after == 1
        assert lake.query(_SQL).rows == before
    (merged,) = files(tmp_path)
    said = promoted_in(merged)
    assert said["ms"].kind == "double"
    assert said["n"].kind == "text"
    assert "user" not in said, "a number with a fraction among texts"
    columns = [name for name in pq.read_schema(merged).names if name.startswith("field_")]
    assert sorted(columns) == ["field_double_ms", "field_text_n"]


def test_files_from_before_get_columns_when_they_are_merged(tmp_path: Path) -> None:
    data_set(tmp_path, [[[{"user": f"u{n % 9}"} for n in range(200)]]] * 4, promote=False)
    assert not any(promoted_in(path) for path in files(tmp_path))
    (tmp_path / "promoted" / "00000002.json").write_text(json.dumps({"names": [], "auto": True}))
    compact(tmp_path)
    assert set(promoted_in(files(tmp_path)[0])) == {"user"}


def test_without_promotion_a_merge_makes_none(tmp_path: Path) -> None:
    data_set(tmp_path, [[[{"user": f"u{n % 9}"} for n in range(200)]]] * 4, promote=["user"])
    (tmp_path / "promoted" / "00000002.json").write_text(json.dumps({"names": [], "auto": False}))
    compact(tmp_path)
    (merged,) = files(tmp_path)
    assert not promoted_in(merged)
    assert not [name for name in pq.read_schema(merged).names if name.startswith("field_")]


def test_a_person_is_gone_from_the_columns_too(tmp_path: Path) -> None:
    data_set(tmp_path, [[[{"user": "ada-lovelace", "n": 1}, {"user": "bob", "n": 2}]]], promote=["user", "n"])
    assert forget(tmp_path, "fields->>'user' = 'ada-lovelace'").parquet == 1
    (path,) = files(tmp_path)
    table = pq.read_table(path, partitioning=None)
    assert table["field_text_user"].to_pylist() == ["bob"]
    assert (table["field_integer_n"].to_pylist(), table["field_text_n"].to_pylist()) == ([2], ["2"])
    assert b"ada-lovelace" not in path.read_bytes()
    assert set(promoted_in(path)) == {"user", "n"}


def test_expired_types_leave_the_columns_of_the_others(tmp_path: Path) -> None:
    data_set(tmp_path, [[[{"user": "a"}, {"user": "b"}]]], promote=["user"])
    assert expire(tmp_path, timedelta(0), types=["other"]).events == 0
    assert set(promoted_in(files(tmp_path)[0])) == {"user"}


def test_imported_events_get_the_columns_of_the_data_set(tmp_path: Path) -> None:
    data = (
        data_set(tmp_path / "data", [[[{"user": "a"}]]], promote=["user"])
        if (tmp_path / "data").mkdir() is None
        else tmp_path
    )
    source = tmp_path / "more.ndjson"
    source.write_text("".join(json.dumps({"time": "2026-03-02T00:00:00Z", "user": f"u{n}"}) + "\n" for n in range(5)))
    assert import_file(data, source).events == 5
    (imported,) = (data / "events" / "date=2026-03-02").glob("*.parquet")
    assert pq.read_table(imported, partitioning=None)["field_text_user"].to_pylist() == [f"u{n}" for n in range(5)]
    with Lake(data) as lake:
        assert lake.query("SELECT count(DISTINCT fields->>'user') FROM events").rows == [(6,)]
