"""The folders of a data set: one a day, `date=2026-11-29`, as Hive names partitions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from metlog.journal.folder import Folder

__all__ = ["day_folders", "day_of"]


def day_of(folder: str) -> date | None:
    """The day of a folder's name; None for a folder of another kind."""
    try:
        return date.fromisoformat(folder.removeprefix("date=")) if folder.startswith("date=") else None
    except ValueError:
        return None


def day_folders(events: Folder) -> Iterator[tuple[date, Folder]]:
    """Yields each day that there is a folder of, and the folder, open while the caller has it; the oldest first.

    One that `expire` removes meanwhile is left out.
    """
    for name in events.names():
        day = day_of(name)
        if day is not None and (found := events.sub_if(name)) is not None:
            with found as folder:
                yield day, folder
