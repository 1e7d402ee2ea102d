"""Folders of days, while upkeep removes some of what is in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from metlog.journal.folder import Folder
from metlog.lake.days import day_folders
from metlog.listener.overview import overview


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for day in ("2026-11-02", "2026-11-03", "2026-11-04"):
        folder = tmp_path / "events" / f"date={day}"
        folder.mkdir(parents=True)
        for name in ("a.parquet", "b.parquet", ".c.parquet", "d.tmp"):
            (folder / name).write_bytes(b"12345")
    return tmp_path


def test_a_day_that_expires_meanwhile_is_left_out(data: Path) -> None:
    (data / "events" / "date=2026-11-01").write_text("a file")
    (data / "events" / "date=2026-11-05").symlink_to(data / "events" / "date=2026-11-04")
    (data / "events" / "date=soon").mkdir()
    found = []
    with Folder.root(data) as root, root.sub("events") as events:
        for day, folder in day_folders(events):
            found.append(day)
            for name in folder.names() if day.day == 2 else ():
                (data / "events" / "date=2026-11-03" / name).unlink()
            if day.day == 2:
                (data / "events" / "date=2026-11-03").rmdir()
    assert found == [date(2026, 11, 2), date(2026, 11, 4)]


def test_the_overview_counts_what_is_there_while_files_are_merged(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 11, 4, 12, tzinfo=UTC)
    assert overview(data, now).parquet == {"files": 6, "bytes": 30, "days": 3, "bytes_a_day": 10}
    regular = Folder.regular

    def merged(folder: Folder, suffix: str) -> Iterator[os.DirEntry[str]]:
        for entry in regular(folder, suffix):
            if entry.name == "a.parquet":
                (folder.path / entry.name).unlink()
            yield entry

    monkeypatch.setattr(Folder, "regular", merged)
    assert overview(data, now).parquet == {"files": 3, "bytes": 15, "days": 3, "bytes_a_day": 5}


def test_a_data_folder_without_a_data_set(tmp_path: Path) -> None:
    assert overview(tmp_path).parquet == {"files": 0, "bytes": 0, "days": 0, "bytes_a_day": 0}
