"""What all upkeep of a data set needs: its days with their committed files, one upkeep at a time, and the record of what was done."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from metlog.errors import MetlogError
from metlog.journal import failpoints
from metlog.journal.cursor import Cursor
from metlog.journal.folder import Folder, journals
from metlog.journal.segment import SegmentName, listing
from metlog.lake.attached import attached
from metlog.lake.chains import FOOTER, parse_chain
from metlog.lake.days import day_folders
from metlog.lake.leases import make_lease
from metlog.lake.promotion.choice import Promotion
from metlog.lake.promotion.columns import FileColumns
from metlog.lake.replacing import HIDDEN, Replacement, finish
from metlog.lake.storage import FolderStorage
from metlog.lake.upkeep.imports import PREFIX
from metlog.lake.writer import PARQUET, segment_of

__all__ = [
    "PATIENCE",
    "Day",
    "Progress",
    "Upkeep",
    "UpkeepError",
    "committed",
    "days",
    "hold",
    "opened",
    "write_hidden",
]

PATIENCE: Final = 300.0
"""Seconds that a step waits for queries that began before it."""
_LOCK: Final = "upkeep.lock"
_RECORD: Final = "upkeep.ndjson"
_ROW_GROUP: Final = 122_880
"""Rows of a row group: what DuckDB reads in one piece."""

Progress = Callable[[str, int, int], None]
"""Is told what is being done, and how many of how many steps are done."""


class UpkeepError(MetlogError):
    """Upkeep cannot be done now; nothing is lost."""


class Day(NamedTuple):
    """A day's folder and the names of its committed files, in the order of the names."""

    day: date
    folder: Folder
    names: list[str]


class Upkeep:
    """An open data folder whose files nobody else replaces meanwhile."""

    def __init__(self, data: Path, root: Folder, events: Folder) -> None:
        self.data = data
        self.root = root
        self.events = events
        self.promotion = Promotion(FolderStorage(root))

    def record(self, action: str, **facts: Any) -> None:
        """Appends what was done to `upkeep.ndjson`, durably."""
        self.root.append_line(_RECORD, msgspec.json.encode({"time": datetime.now(UTC), "action": action, **facts}))


def hold(descriptor: int, refusal: str) -> None:
    """Takes the lock of a file until its descriptor is closed. Raises `UpkeepError`, which says `refusal`, when another one has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UpkeepError(refusal) from None


@contextmanager
def opened(data: Path) -> Iterator[Upkeep]:
    """Opens a data folder for upkeep, and first finishes what an upkeep before began that was killed. Raises `UpkeepError` when
    another upkeep is at work there, FileNotFoundError without a data folder."""
    with Folder.root(data) as root, root.sub("events", create=True) as events:
        if where := attached(root):
            raise UpkeepError(
                f"{data}: its data set lies on {where.partition('?')[0]}, where metlog does no upkeep; see docs/scale.md"
            )
        lock = root.open(_LOCK, os.O_RDWR | os.O_CREAT)
        try:
            hold(lock, f"{data}: another upkeep (compact, expire, forget, import) is at work there")
            make_lease(events)
            for _, folder in day_folders(events):
                finish(events, folder, patience=PATIENCE)
                folder.tidy(PREFIX)
            yield Upkeep(data, root, events)
        finally:
            os.close(lock)


def committed(root: Folder) -> Callable[[str], bool]:
    """Returns what tells whether a Parquet file of this name is final: no listener will write it again. It knows nothing of segments that
    begin later, so the folder with the file must have been listed before."""
    pending: set[SegmentName] = set()
    for _, journal in journals(root):
        sealed, active = listing(journal)
        at = Cursor.of_lakes(journal)[0].at.number
        pending.update(segment for segment in (*sealed, *active) if segment.number >= at)
    return lambda name: segment_of(name) not in pending


def days(upkeep: Upkeep) -> Iterator[Day]:
    """Yields each day with at least one committed file, the oldest first; the folder is open while the caller has the day."""
    for day, folder in day_folders(upkeep.events):
        listed = sorted(entry.name for entry in folder.regular(PARQUET) if not entry.name.startswith("."))
        # Asked for each day: while an earlier one was at hand, segments came.
        names = list(filter(committed(upkeep.root), listed))
        if names:
            yield Day(day, folder, names)


def write_hidden(
    folder: Folder,
    gone: list[str],
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    level: int,
    promotion: Promotion,
) -> tuple[Replacement, int]:
    """Writes the events that take the place of `gone` under a hidden name, durably, in row groups that are sorted as they come, with
    promoted columns of their own.
    Returns the replacement, and its number of events; without events there is no file, but for one of a chain, which says what the
    data set holds (`metlog.lake.chains`)."""
    name = f"{HIDDEN}{gone[-1]}"
    footer = None
    if parse_chain(gone[-1]) is not None:
        with os.fdopen(folder.open(gone[-1], os.O_RDONLY), "rb") as last:
            footer = (pq.read_metadata(last).metadata or {}).get(FOOTER)
    if footer is not None:
        schema = schema.with_metadata({**(schema.metadata or {}), FOOTER: footer})
    descriptor = folder.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    events = 0
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            codec = codec_of(folder, gone[0])
            groups = _row_groups(batches, schema)
            first = next(groups, pa.Table.from_batches([], schema))
            columns = promotion.file(first) if "fields" in schema.names else FileColumns(())
            made = columns.extend(first)
            with pq.ParquetWriter(
                file, made.schema, compression=codec, compression_level=level if codec == "zstd" else None
            ) as writer:
                for table in chain([made], map(columns.extend, groups)):
                    writer.write_table(table, row_group_size=_ROW_GROUP)
                    events += table.num_rows
                if said := columns.footer():
                    writer.add_key_value_metadata(said)
            file.flush()
        failpoints.point("replace.write")
        os.fsync(descriptor)
    except BaseException:
        folder.unlink(name, missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    if not events and footer is None:
        folder.unlink(name)
        return Replacement(gone), 0
    return Replacement(gone, name), events


def codec_of(folder: Folder, name: str) -> str:
    """The compression of a file, as pyarrow's writers name it: what takes its place must be readable for the same engines."""
    with os.fdopen(folder.open(name, os.O_RDONLY), "rb") as file:
        metadata = pq.read_metadata(file)
    if not metadata.num_row_groups:
        return "zstd"
    found = str(metadata.row_group(0).column(0).compression).lower()
    return "none" if found == "uncompressed" else found


def _row_groups(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= _ROW_GROUP:
            yield pa.Table.from_batches(waiting).cast(schema)
            waiting, rows = [], 0
    if rows:
        yield pa.Table.from_batches(waiting).cast(schema)
