"""Which files of a data set are final while a listener goes on writing."""

from __future__ import annotations

import errno
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from metlog.journal.cursor import Cursor, Position
from metlog.journal.folder import Folder
from metlog.journal.routing import Route
from metlog.journal.segment import SEALED, SegmentName
from metlog.lake.query import Lake
from metlog.lake.sql.guard import QueryError
from metlog.lake.upkeep import compact as module
from metlog.lake.upkeep.compact import compact
from metlog.lake.upkeep.expire import expire
from metlog.lake.upkeep.folders import committed
from metlog.lake.writer import write_segment
from tests.helpers.lakes import table
from tests.unit.lake.test_writer import RECEIVED, Journaled

OLD = date(2026, 1, 1)
NEW = date.fromordinal(date(1970, 1, 1).toordinal() + RECEIVED // 86_400_000_000)


@pytest.fixture
def made(tmp_path: Path) -> Journaled:
    """Five files of ten events on each of two days, all of them final; the events of a segment that comes fall on the second."""
    found = Journaled(tmp_path)
    for day in (OLD, NEW):
        folder = found.events.path / f"date={day}"
        folder.mkdir()
        for number in range(5):
            pq.write_table(table(range(10), day), folder / f"{number:012d}-aaaaaaaaaaaabbbbbbbb.parquet")
    return found


@pytest.mark.parametrize("number", [1, 10])  # of a name before, and behind, all others of its day
@pytest.mark.parametrize("again", [False, True])
def test_a_segment_that_begins_while_an_earlier_day_is_merged_is_not_final(
    made: Journaled, number: int, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.commit(number)
    real, came = module._one_day, list[SegmentName]()

    def one_day(*arguments: Any) -> None:
        real(*arguments)
        if not came:
            came.append(made.segment(number, "new"))
            write_segment(made.journal, came[0], made.events, Route())  # and its cursor is not there yet

    monkeypatch.setattr(module, "_one_day", one_day)
    assert compact(made.data).days == 2
    whole = {"request": 30, "counter": 30, "login": 20, "timer": 20, "new": 2}
    assert made.counts() == whole
    if again:
        write_segment(made.journal, came[0], made.events, Route())
    made.commit(number + 1)
    assert made.counts() == whole


def test_of_several_lakes_the_one_that_is_furthest_behind_says_what_is_final(made: Journaled) -> None:
    name = made.segment(3, "a")
    for output, at in (("another", 9), ("lake", 3), ("statsd", 1)):
        Cursor(output, Position(at), lake=output != "statsd").save(made.cursors)
    assert not committed(made.root)(f"{name}.parquet")
    made.commit(4)
    assert committed(made.root)(f"{name}.parquet")
    assert [cursor.output for cursor in Cursor.of_lakes(made.journal)] == ["lake", "another"]


def test_what_is_no_journal_is_passed_over_and_one_that_cannot_be_opened_is_told(
    made: Journaled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = made.segment(3, "a")
    journals = made.data / "journal"
    (journals / "a-file").write_text("")
    (journals / "lost+found").mkdir()
    (journals / "a-link").symlink_to(tmp_path)
    assert not committed(made.root)(f"{name}.parquet")
    real: Callable[..., Folder] = Folder.sub

    def no_descriptor(self: Folder, name: str, *, create: bool = False) -> Folder:
        if name == "main":
            raise OSError(errno.EMFILE, "too many open files")
        return real(self, name, create=create)

    monkeypatch.setattr(Folder, "sub", no_descriptor)
    with pytest.raises(OSError, match="too many"):
        compact(made.data)
    with pytest.raises(QueryError, match="too many"), Lake(made.data, threads=1) as lake:
        lake.query("SELECT 1 FROM events")
    assert len(list(made.events.path.rglob("*.parquet"))) == 10


def test_a_segment_that_is_sealed_is_pending_until_the_cursor_is_past_it(made: Journaled) -> None:
    name = made.segment(7, "a")
    write_segment(made.journal, name, made.events, Route())
    made.commit(7)
    expire(made.data, timedelta(0))
    assert made.files() == [f"{name}.parquet"]
    (made.journal.path / f"{name}{SEALED}").unlink()
    expire(made.data, timedelta(0))
    assert made.files() == []
