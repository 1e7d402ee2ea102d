"""A segment's files: written again over themselves, never over what upkeep made, and without leaving anything open or behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from metlog.journal import failpoints
from metlog.journal.cursor import Cursor, Position
from metlog.journal.folder import Folder
from metlog.journal.routing import Route
from metlog.journal.segment import SEALED, Clock, SegmentName, encode_record, header
from metlog.lake.query import Lake
from metlog.lake.storage import FolderStorage
from metlog.lake.upkeep.compact import compact
from metlog.lake.writer import LakeWriter, file_name, write_segment

DAY = 86_400_000_000
RECEIVED = 20_700 * DAY


class Journaled:
    """A data folder with segments of two events a type."""

    def __init__(self, data: Path) -> None:
        self.root = Folder.root(data, create=True)
        self.journal = self.root.sub("journal", create=True).sub("main", create=True)
        self.cursors = self.journal.sub("cursors", create=True)
        self.events = self.root.sub("events", create=True)
        self.data = data

    def segment(self, number: int, *types: str, days: int = 1) -> SegmentName:
        name = SegmentName(number, "abcdef123456aaaaaaaa")
        records = [
            encode_record(RECEIVED + day * DAY, 2, b"s", b"", b'{"type":"%s"}\n' % kind.encode() * 2)
            for day in range(days)
            for kind in types
        ]
        (self.journal.path / f"{name}{SEALED}").write_bytes(header(Clock()) + b"".join(records))
        return name

    def commit(self, number: int) -> None:
        Cursor("lake", Position(number), lake=True).save(self.cursors)

    def counts(self) -> dict[str, int]:
        with Lake(self.data, threads=1) as lake:
            return dict(lake.query("SELECT type, count(*)::INT FROM events GROUP BY 1").rows)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.events.path.rglob("*") if path.is_file() and path.name != ".lease")


@pytest.fixture
def made(tmp_path: Path) -> Journaled:
    return Journaled(tmp_path)


def test_a_segment_that_is_written_again_has_its_own_file_only(made: Journaled) -> None:
    name = made.segment(1, "a", "b")
    write_segment(made.journal, name, made.events, Route())
    write_segment(made.journal, name, made.events, Route(types=("b",)))
    made.commit(2)
    assert made.counts() == {"b": 2}
    assert made.files() == [file_name(name)]


def test_a_segment_that_is_written_again_leaves_a_merged_file_as_it_is(
    made: Journaled, caplog: pytest.LogCaptureFixture
) -> None:
    """The cursor was lost, and before that the segment's file was merged with others, under its own name."""
    names = [made.segment(number, f"t{number}") for number in range(1, 6)]
    for name in names:
        write_segment(made.journal, name, made.events, Route())
    made.commit(6)
    for name in names[:-1]:
        (made.journal.path / f"{name}{SEALED}").unlink()
    compact(made.data)
    assert made.files() == [file_name(names[-1])]
    write_segment(made.journal, names[-1], made.events, Route())
    assert made.counts() == {f"t{number}": 2 for number in range(1, 6)}
    assert "left as it is" in caplog.text
    assert made.files() == [file_name(names[-1])]


def test_a_name_that_a_file_of_another_kind_has_is_told(made: Journaled) -> None:
    name = made.segment(1, "a")
    write_segment(made.journal, name, made.events, Route())
    (path,) = made.events.path.rglob("*.parquet")
    path.write_bytes(b"what somebody put there")
    with pytest.raises(OSError, match="is no Parquet file"):
        write_segment(made.journal, name, made.events, Route())
    assert path.read_bytes() == b"what somebody put there"


@pytest.mark.parametrize("point", ["lake.write", "lake.fsync", "lake.rename", "lake.sync"])
def test_a_try_that_fails_leaves_nothing_open_and_nothing_behind(
    made: Journaled, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = made.segment(1, "a", days=3)
    writer = LakeWriter(FolderStorage(made.root), "zstd", 1, made.events)

    def fails(reached: str) -> None:
        if reached == point:
            raise OSError(errno.ENOSPC, "no room")

    writer.write(made.journal, name, Route())  # what is opened once
    before = open_files()
    with monkeypatch.context() as patched:
        patched.setattr(failpoints, "point", fails)
        for _ in range(3):
            with pytest.raises(OSError, match="no room"):
                writer.write(made.journal, name, Route())
            assert open_files() == before
    assert not [file for file in made.files() if file.startswith(".")]
    writer.write(made.journal, name, Route())
    made.commit(2)
    assert made.counts() == {"a": 6}
    assert pq.read_metadata(next(made.events.path.rglob("*.parquet"))).num_rows == 2


def test_a_file_that_cannot_be_made_leaves_its_folder_closed(made: Journaled, monkeypatch: pytest.MonkeyPatch) -> None:
    name = made.segment(1, "a")
    real = Folder.open

    def fails(self: Folder, file: str, flags: int) -> int:
        if file.endswith(".tmp"):
            raise OSError(errno.EMFILE, "too many open files")
        return real(self, file, flags)

    before = open_files()
    with monkeypatch.context() as patched:
        patched.setattr(Folder, "open", fails)
        for _ in range(3):
            with pytest.raises(OSError, match="too many"):
                write_segment(made.journal, name, made.events, Route())
    assert open_files() == before


def open_files() -> set[str]:
    return set(targets())


def targets() -> Iterator[str]:
    """What the descriptors of this process lead to; a number more for each further one."""
    for descriptor in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            yield f"{descriptor} {os.readlink(f'/proc/self/fd/{descriptor}')}"
        except FileNotFoundError:  # that of the listing itself
            continue
