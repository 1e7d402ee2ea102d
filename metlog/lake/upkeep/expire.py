"""Events removed by their age: files whose newest event is old enough, or only some types of events in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import Struct

from metlog.journal.folder import Folder
from metlog.lake.chains import last_files
from metlog.lake.replacing import Replacement, replace
from metlog.lake.upkeep.folders import PATIENCE, Day, Progress, Upkeep, days, opened, write_hidden
from metlog.lake.upkeep.reading import engine, matching, ordered, schema_of

__all__ = ["Expired", "expire"]


class Expired(Struct):
    """What was removed, or would be."""

    files: int = 0
    """Files that are gone."""
    rewritten: int = 0
    """Files that lost some events and keep others."""
    events: int = 0
    bytes: int = 0
    days: list[str] = []


def expire(
    data: Path,
    older_than: timedelta,
    *,
    types: Sequence[str] = (),
    level: int = 3,
    dry_run: bool = False,
    patience: float = PATIENCE,
    now: datetime | None = None,
    progress: Progress = lambda what, done, of: None,
) -> Expired:
    """Removes what is older than an age. Returns what went, or with `dry_run` what would.

    Without `types` whole files are removed, each once its newest event is old enough. With `types` the events of these types
    (`name.*` for all that begin so) are removed from files whose newest event is old enough. Raises ValueError for an age
    below zero, `UpkeepError`, `ReadersHold`, OSError.
    """
    if older_than < timedelta(0):
        raise ValueError(f"older_than = {older_than}: wants an age of 0 or more")
    done = Expired()
    try:
        before = (now or datetime.now(UTC)) - older_than
    except OverflowError:  # before every time that there is
        return done
    with opened(data) as upkeep:
        for day in days(upkeep):
            if day.day > before.date():
                break
            progress(str(day.day), len(done.days), 0)
            old = [name for name in day.names if newest(day.folder, name) < before]
            if len(old) < len(day.names):  # the last file of a chain says what the data set holds: it goes with its day
                ends = set(last_files(day.names).values())
                old = [name for name in old if name not in ends]
            if old:
                _one_day(upkeep, day, old, types, done, level, dry_run, patience)
    return done


def newest(folder: Folder, name: str) -> datetime:
    """Returns the time of the newest event in a file, out of its statistics; reads the column where there are none. A file without events,
    as the last one of a chain may be, counts as older than any other."""
    metadata = pq.read_metadata(folder.path / name)
    index = metadata.schema.names.index("timestamp")
    found = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(index).statistics
        if statistics is None or not statistics.has_min_max:
            column = pq.read_table(folder.path / name, columns=["timestamp"], partitioning=None)["timestamp"]
            latest = pc.max(column).as_py()
            found = [] if latest is None else [_aware(latest)]
            break
        found.append(_aware(statistics.max))
    return max(found, default=datetime.min.replace(tzinfo=UTC))


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _one_day(
    upkeep: Upkeep,
    day: Day,
    old: list[str],
    types: Sequence[str],
    done: Expired,
    level: int,
    dry_run: bool,
    patience: float,
) -> None:
    replacements: list[Replacement] = []
    events = sum(pq.read_metadata(day.folder.path / name).num_rows for name in old)
    size = sum(day.folder.size(name) for name in old)
    files = rewritten = 0
    if not types:
        replacements, files = [Replacement([name]) for name in old], len(old)
    else:
        events = size = 0
        condition = _is_of(types)
        for name in old:
            with engine(day.folder) as connection:
                rows = pq.read_metadata(day.folder.path / name).num_rows
                kept = rows - matching(connection, day.folder, name, condition)
                if kept == rows:
                    continue
                events += rows - kept
                files, rewritten = files + (kept == 0), rewritten + (kept > 0)
                if dry_run:
                    continue
                schema = schema_of(day.folder, [name])
                batches = ordered(connection, day.folder, [name], condition)
                replacement, _ = write_hidden(day.folder, [name], batches, schema, level, upkeep.promotion)
                replacements.append(replacement)
                size += day.folder.size(name) - (day.folder.size(replacement.new) if replacement.new else 0)
    if not files and not rewritten:
        return
    done.files, done.rewritten = done.files + files, done.rewritten + rewritten
    done.events, done.bytes = done.events + events, done.bytes + size
    done.days.append(str(day.day))
    if dry_run:
        return
    replace(upkeep.events, day.folder, replacements, patience=patience)
    upkeep.record(
        "expire", date=str(day.day), files=files, rewritten=rewritten, events=events, bytes=size, types=list(types)
    )
    if not day.folder.names():
        Path(day.folder.path).rmdir()


def _is_of(types: Sequence[str]) -> str:
    """A condition that holds for events of these types."""
    parts = []
    for name in types:
        text = name.replace("'", "''")
        parts.append(f"starts_with(type, '{text[:-1]}')" if name.endswith(".*") else f"type = '{text}'")
    return " OR ".join(parts)
