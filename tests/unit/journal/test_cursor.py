"""Which of several cursors of lakes count."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from metlog.journal.cursor import LOCK, Cursor, Position, retire_lakes
from metlog.journal.folder import Folder


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Folder]:
    with Folder.root(tmp_path) as found:
        yield found


def lakes(journal: Folder) -> list[tuple[str, int]]:
    return [(cursor.output, cursor.at.number) for cursor in Cursor.of_lakes(journal)]


def test_a_journal_without_a_lake_has_one_that_has_committed_nothing(journal: Folder) -> None:
    assert lakes(journal) == [("", 0)]
    Cursor("file", Position(4)).save(journal.sub("cursors", create=True))
    assert lakes(journal) == [("", 0)]


def test_a_lake_that_does_not_run_any_more_says_nothing_of_what_is_committed(journal: Folder) -> None:
    cursors = journal.sub("cursors", create=True)
    for name, number in (("gone", 3), ("runs", 9), ("lake", 5)):
        Cursor(name, Position(number), lake=True).save(cursors)
    descriptor = cursors.open(f"runs{LOCK}", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert lakes(journal) == [("gone", 3), ("lake", 5), ("runs", 9)]
    retire_lakes(cursors, {"lake"})
    assert lakes(journal) == [("lake", 5), ("runs", 9)]
    os.close(descriptor)
    found = Cursor.load(cursors, "gone")
    assert found is not None
    assert found.at == Position(3), "if it comes again it goes on where it was"


def test_lakes_that_answer_are_not_retired_before_their_processes_run(journal: Folder) -> None:
    cursors = journal.sub("cursors", create=True)
    for name, number in (("near", 3), ("far", 5), ("gone", 2)):
        Cursor(name, Position(number), lake=True).save(cursors)
    retire_lakes(cursors, {"near", "far"})
    assert lakes(journal) == [("near", 3), ("far", 5)]
