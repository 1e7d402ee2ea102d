"""A listener's name on storage that several share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from metlog.journal.folder import Folder
from metlog.journal.identity import FILE, identity_of
from metlog.lake.claims import Claim, CopiedError
from metlog.lake.storage import FolderStorage


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    return FolderStorage(Folder.root(tmp_path / "lake", create=True))


def journal(path: Path) -> Folder:
    return Folder.root(path, create=True)


def test_a_name_stays_over_restarts(storage: FolderStorage, tmp_path: Path) -> None:
    first = Claim(storage, journal(tmp_path / "a"))
    again = Claim(storage, journal(tmp_path / "a"))
    assert (again.id, again.generation) == (first.id, first.generation + 1)
    again.check()
    assert storage.names("listeners") == [f"{first.id}-{again.generation:08d}.json"]


def test_two_listeners_have_two_names(storage: FolderStorage, tmp_path: Path) -> None:
    one, other = (Claim(storage, journal(tmp_path / name)) for name in "ab")
    assert one.id != other.id
    one.check()
    other.check()


def test_a_copy_that_starts_while_the_original_runs_stops_the_original(storage: FolderStorage, tmp_path: Path) -> None:
    original = Claim(storage, journal(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    copy = Claim(storage, journal(tmp_path / "copy"))
    copy.check()
    with pytest.raises(CopiedError, match="one data folder is a copy of the other's"):
        original.check()
    with pytest.raises(CopiedError, match=FILE):
        Claim(storage, journal(tmp_path / "a"))


def test_of_two_copies_that_start_the_second_is_refused(storage: FolderStorage, tmp_path: Path) -> None:
    identity_of(journal(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    Claim(storage, journal(tmp_path / "a"))
    with pytest.raises(CopiedError):
        Claim(storage, journal(tmp_path / "copy"))
    (tmp_path / "copy" / FILE).unlink()
    Claim(storage, journal(tmp_path / "copy")).check()


def test_a_claim_whose_answer_was_lost_is_the_listeners_own(
    storage: FolderStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = FolderStorage.create

    def lost(self: FolderStorage, path: str, content: bytes) -> bool:
        create(self, path, content)
        raise OSError("connection reset")

    monkeypatch.setattr(FolderStorage, "create", lost)
    with pytest.raises(OSError, match="connection reset"):
        Claim(storage, journal(tmp_path / "a"))
    monkeypatch.undo()
    Claim(storage, journal(tmp_path / "a")).check()
