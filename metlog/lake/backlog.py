"""Sealed segments that the lake's output has not written yet, as Parquet files of a query engine's own.

An output that stands still for an hour must not be the end of queries: what it is behind by would neither fit into memory nor be
decoded for each of them. So it is written once, as the output would have done, into a folder that ends with the engine.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Collection
from datetime import date
from pathlib import Path
from typing import Final

from metlog.journal.folder import Folder
from metlog.journal.routing import AnyRoute
from metlog.journal.segment import SEALED, SegmentName
from metlog.lake.days import day_folders
from metlog.lake.writer import file_name, has_log, write_segment

__all__ = ["Backlog"]

_LINGER: Final = 300.0
"""Seconds that a file stays when the lake has its own: a query that runs may yet read it."""


class Backlog:
    """Writes into `folder`, which need not be there yet. Not safe to use from several threads at once."""

    def __init__(self, folder: Path) -> None:
        self._path = folder
        self._written: dict[tuple[SegmentName, AnyRoute], list[tuple[date, Path]]] = {}
        self._made_of: dict[SegmentName, tuple[int, int]] = {}
        """Inode and time of the last write of the segment's file when its files were made: another one has its name after `forget`."""
        self._logged: set[SegmentName] = set()
        """Segments with events of a partitioned log."""
        self._unwanted: deque[tuple[float, Path]] = deque()

    def files(
        self, journal: Folder, name: SegmentName, route: AnyRoute, check: Callable[[], None]
    ) -> list[tuple[date, Path]] | None:
        """A segment's files with their days; None for one with events of a partitioned log, which other listeners may write
        meanwhile: no file of it would stay right. Raises FileNotFoundError when the segment is gone, OSError when there is no room,
        and what `check` raises."""
        if name in self._logged:
            return None
        facts = os.stat(f"{name}{SEALED}", dir_fd=journal.fd, follow_symlinks=False)
        made_of = (facts.st_ino, facts.st_mtime_ns)
        found = self._written.get((name, route)) if self._made_of.get(name) == made_of else None
        if found is None:
            if has_log(journal, name):
                self._logged.add(name)
                return None
            with Folder.root(self._path, create=True) as root:
                before = {path: path.stat().st_ino for _, path in _days_of(root, file_name(name))}
                write_segment(journal, name, root, route, check=check)
                for path, inode in before.items():
                    if path.stat().st_ino == inode:  # of a day that the segment has no event of any more
                        path.unlink()
                found = self._written[name, route] = _days_of(root, file_name(name))
            self._made_of[name] = made_of
        return found

    def keep(self, wanted: Collection[tuple[SegmentName, AnyRoute]]) -> None:
        """Lets go of everything else."""
        now = time.monotonic()
        for key in self._written.keys() - wanted:
            self._unwanted += [(now, path) for _, path in self._written.pop(key)]
            self._made_of.pop(key[0], None)
        while self._unwanted and now - self._unwanted[0][0] > _LINGER:
            _, path = self._unwanted.popleft()
            # Of a segment whose route changed, the same name is in use.
            if not any(path == used for found in self._written.values() for _, used in found):
                path.unlink(missing_ok=True)


def _days_of(root: Folder, name: str) -> list[tuple[date, Path]]:
    return [(day, folder.path / name) for day, folder in day_folders(root) if folder.exists(name)]
