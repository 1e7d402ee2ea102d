"""A journal whose cursors are gone is one that nobody has read, not an empty one: everything is handed on, to the lake once."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.helpers.reliability import Client, Listener, faults_in, in_file, in_lake
from tests.helpers.waiting import wait_for

Make = Callable[..., Listener]


@pytest.mark.parametrize("gone", ["cursors", "cursors/lake.cursor"])
def test_segments_without_a_cursor_are_recovered(gone: str, listener: Make) -> None:
    made = listener()
    assert made.start(), made.told.read_text()
    client = Client(count=10)
    for _ in range(10):
        assert client.submit(made.port("http"))
    cursors = made.data / "journal/main/cursors"
    wait_for(lambda: len(in_file(made.lines)) == 100 and len(list(cursors.glob("*.cursor"))) == 2)
    made.kill()
    left = made.journaled()
    assert left
    path = made.data / "journal/main" / gone
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert made.start(), made.told.read_text()
    assert client.submit(made.port("http"))
    wait_for(lambda: len(in_file(made.lines)) >= 110)
    assert made.stop() == 0
    assert faults_in(in_lake(made.data), client.acknowledged, client.sent) == []
    assert {
        n for n, _ in in_file(made.lines)
    } == client.acknowledged  # a file has no names: some lines may be there twice
    assert made.journaled() == []
    assert {path.stem.rpartition("-")[0] for path in left} & {
        file.stem.rpartition("-")[0] for file in made.data.glob("events/*/*.parquet")
    }
