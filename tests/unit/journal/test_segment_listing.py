"""The list of a journal's segments, while they are sealed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from metlog.journal.folder import Folder
from metlog.journal.segment import ACTIVE, SEALED, SegmentName, listing


class Sealing(Folder):
    """Seals every segment after the first look at the folder."""

    def regular(self, suffix: str) -> Iterator[os.DirEntry[str]]:
        entries = list(super().regular(suffix))
        for entry in super().regular(ACTIVE):
            self.rename(entry.name, entry.name.removesuffix(ACTIVE) + SEALED)
        return iter(entries)


def test_no_segment_is_missed_while_it_is_sealed(tmp_path: Path) -> None:
    """A reader that misses one believes that it holds nothing and passes it."""
    names = [SegmentName(number, "run") for number in range(20)]
    for name in names:
        (tmp_path / f"{name}{ACTIVE}").touch()
    with Sealing.root(tmp_path) as folder:
        sealed, live = listing(folder)
        assert sorted([*sealed, *live]) == names  # each once
        assert listing(folder) == (names, [])


def test_only_regular_files_are_segments(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / f"{SegmentName(1, 'run')}{SEALED}").symlink_to("elsewhere")
    (tmp_path / f"{SegmentName(2, 'run')}{ACTIVE}").mkdir()
    (tmp_path / f"{SegmentName(3, 'run')}.other").touch()
    (tmp_path / f"seven{SEALED}").touch()
    with Folder.root(tmp_path) as folder:
        assert listing(folder) == ([], [])
