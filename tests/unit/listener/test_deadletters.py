"""Dead letters that must be on disk are, the names of their files too, whatever was rotated away."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from metlog.journal.folder import Folder
from metlog.listener.deadletters import DeadLetters

LETTER = (b"x" * 700, "kafka://t/0", "not JSON: offset 1")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with Folder.root(tmp_path) as opened:
        yield opened


class Disk:
    """What an fsync has confirmed of the files and names in a folder."""

    def __init__(self, folder: Folder, patch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self.sizes: dict[int, int] = {}
        """Durable bytes of each inode."""
        self.names: dict[str, int] = {}
        """Durable names, each with its inode."""
        real = os.fsync

        def fsync(fd: int) -> None:
            real(fd)
            facts = os.fstat(fd)
            self.sizes[facts.st_ino] = facts.st_size
            if fd == folder.fd:
                self.names = {name: self.inode(name) for name in folder.names()}

        patch.setattr(os, "fsync", fsync)

    def inode(self, name: str) -> int:
        return os.stat(name, dir_fd=self._folder.fd).st_ino

    def letters(self) -> int:
        """How many letters a crash would leave."""
        found = 0
        for path, inode in self.names.items():
            name = next(name for name in self._folder.names() if self.inode(name) == inode)
            assert path == name
            found += self._folder.read(name)[: self.sizes.get(inode, 0)].count(b"\n")
        return found


def test_what_must_be_durable_is_in_files_that_a_crash_leaves(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(folder, monkeypatch)
    dead = DeadLetters(folder, "main.input", max_bytes=4000)
    dead.add([LETTER], durable=True)
    assert disk.letters() == 1
    dead.add([LETTER] * 3, durable=True)  # two fit into a file
    assert folder.names() == ["main.input.1.ndjson", "main.input.ndjson"]
    assert disk.letters() == 3
    dead.close()
    again = DeadLetters(folder, "main.input", max_bytes=4000)
    again.add([LETTER], durable=True)
    assert disk.letters() == 4
    again.close()


def test_a_file_that_others_began_is_durable_with_its_name(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(folder, monkeypatch)
    dead = DeadLetters(folder, "main.input", max_bytes=4000)
    dead.add([LETTER] * 3)
    assert disk.letters() == 0
    dead.add([LETTER], durable=True)
    assert disk.letters() >= 1
    dead.add([], durable=True)
    dead.close()


def test_a_file_that_cannot_be_closed_is_not_written_to_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = DeadLetters(folder, "main.input", max_bytes=4000)
    dead.add([LETTER] * 2)
    real = os.close

    def close(fd: int) -> None:
        real(fd)
        raise OSError(errno.EIO, "made up")

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close)
        dead.add([LETTER])
    assert dead.unwritten == 1
    other = folder.open("other", os.O_WRONLY | os.O_CREAT)  # gets the number
    dead.add([LETTER])
    assert folder.size("other") == 0
    assert folder.read("main.input.ndjson").count(b"\n") == 1
    os.close(other)
    dead.close()
