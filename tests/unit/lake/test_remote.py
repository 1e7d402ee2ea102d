"""Copies of files that Arrow cannot read where they lie: how many bytes of them there are at once."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from metlog.lake import remote as module
from metlog.lake.remote import Remote
from metlog.lake.sql.guard import QueryError

DAY = date(2026, 10, 1)


class Store:
    """Files of 1000 bytes each; counts how many were read."""

    def __init__(self) -> None:
        self.read_names: list[str] = []
        self.fails = False

    def read(self, path: str) -> bytes:
        self.read_names.append(path.rpartition("/")[2])
        if self.fails:
            raise OSError("gone")
        return b"x" * 1000

    def describe(self) -> str:
        return "hdfs://cluster/lake"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    found = Store()
    monkeypatch.setattr(module, "open_storage", lambda uri, credentials: found)
    monkeypatch.setattr(module, "_COPIED", 5000)
    return found


@pytest.fixture
def remote(store: Store) -> Remote:
    return Remote("hdfs://cluster/lake", {})


def files(*numbers: int) -> list[tuple[date, str]]:
    return [(DAY, f"{number}.parquet") for number in numbers]


def on_disk(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_no_more_is_copied_than_a_file_beyond_the_limit(remote: Remote, store: Store, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="would have to be copied from hdfs://cluster/lake; ask for fewer days"):
        remote.fetch(files(*range(1000)), tmp_path)
    assert len(store.read_names) == 6
    with pytest.raises(QueryError, match="ask for fewer days"):
        remote.fetch(files(*range(1000)), tmp_path)
    assert len(store.read_names) == 6, "what is there already counts before another one is read"


def test_copies_of_earlier_queries_make_room_before_others_are_read(
    remote: Remote, store: Store, tmp_path: Path
) -> None:
    assert remote.fetch(files(1, 2, 3, 4, 5), tmp_path)
    found = remote.fetch(files(4, 5, 6, 7), tmp_path)
    assert [path.name for _, path in found] == ["4.parquet", "5.parquet", "6.parquet", "7.parquet"]
    assert on_disk(tmp_path) == ["3.parquet", "4.parquet", "5.parquet", "6.parquet", "7.parquet"]
    assert store.read_names == [name for _, name in files(1, 2, 3, 4, 5, 6, 7)]


def test_a_copy_that_fails_leaves_nothing_and_is_made_again(remote: Remote, store: Store, tmp_path: Path) -> None:
    store.fails = True
    with pytest.raises(OSError, match="gone"):
        remote.fetch(files(1), tmp_path)
    assert on_disk(tmp_path) == []
    store.fails = False
    assert remote.fetch(files(1), tmp_path)
    remote._fetched.clear()  # interrupted after the copy was in its place
    assert remote.fetch(files(1), tmp_path)
    assert on_disk(tmp_path) == ["1.parquet"]
