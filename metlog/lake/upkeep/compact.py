"""Small files of a day merged into large ones, in the order in which their events were received."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from metlog.journal import failpoints
from metlog.lake.chains import last_files
from metlog.lake.replacing import Replacement, replace
from metlog.lake.upkeep.folders import PATIENCE, Day, Progress, Upkeep, days, opened, write_hidden
from metlog.lake.upkeep.imports import Finished, finished
from metlog.lake.upkeep.reading import engine, ordered, schema_of

__all__ = ["Compacted", "compact"]

TARGET: Final = 128 << 20
"""Bytes that a merged file has, about; a file of half of that is large enough to be left alone."""
_FEWEST: Final = 4
"""Small files of a day that are worth a merge."""


class Compacted(Struct):
    """What was merged, or would be."""

    days: int = 0
    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    events: int = 0


def compact(
    data: Path,
    *,
    target: int = TARGET,
    fewest: int = _FEWEST,
    level: int = 3,
    dry_run: bool = False,
    patience: float = PATIENCE,
    progress: Progress = lambda what, done, of: None,
) -> Compacted:
    """Merges a day's small files where there are `fewest` of them or more. Returns what was merged, or with `dry_run` what would be.

    Only files that no listener, and no import that was interrupted, will write again are taken. metlog's queries, those that run included,
    see each event once all the time; how other engines fare is described in docs/upkeep.md. Raises `UpkeepError`, `ReadersHold`, OSError.
    """
    done = Compacted()
    with opened(data) as upkeep:
        imports = finished(upkeep.root)
        for day in days(upkeep):
            groups = _groups(day, target, fewest, imports)
            if not groups:
                continue
            progress(f"{day.day}", done.days, 0)
            _one_day(upkeep, day, groups, done, level, dry_run, patience)
    return done


def _groups(day: Day, target: int, fewest: int, imports: Finished) -> list[list[str]]:
    """Runs of neighbouring small files, each of about `target` bytes, without those that an import may write again."""
    groups: list[list[str]] = []
    current: list[str] = []
    size = 0
    # A merged file has the name and the footer of the last one in it, and the last file of a chain must keep both.
    ends = set(last_files(day.names).values())
    for name in day.names:
        if imports.may_write(name):
            continue
        bytes_of = day.folder.size(name)
        if bytes_of >= target // 2 or (current and size + bytes_of > target):
            groups.append(current)
            current, size = [], 0
        if bytes_of < target // 2:
            current.append(name)
            size += bytes_of
            if name in ends:
                groups.append(current)
                current, size = [], 0
    groups.append(current)
    return [group for group in groups if len(group) >= fewest]


def _one_day(
    upkeep: Upkeep, day: Day, groups: Sequence[list[str]], done: Compacted, level: int, dry_run: bool, patience: float
) -> None:
    before = [name for group in groups for name in group]
    done.days += 1
    done.files_before += len(before)
    done.files_after += len(groups)
    bytes_before = sum(day.folder.size(name) for name in before)
    done.bytes_before += bytes_before
    if dry_run:
        return
    replacements: list[Replacement] = []
    events = bytes_after = 0
    for group in groups:
        schema = schema_of(day.folder, group)
        with engine(day.folder) as connection:
            batches = ordered(connection, day.folder, group)
            replacement, count = write_hidden(day.folder, group, batches, schema, level, upkeep.promotion)
        replacements.append(replacement)
        events += count
        bytes_after += day.folder.size(replacement.new) if replacement.new else 0
    failpoints.point("compact.merged")
    replace(upkeep.events, day.folder, replacements, patience=patience)
    done.events += events
    done.bytes_after += bytes_after
    upkeep.record(
        "compact", date=str(day.day), files_before=len(before), files_after=len(groups), bytes_before=bytes_before,
        bytes_after=bytes_after, events=events,
    )  # fmt: skip
