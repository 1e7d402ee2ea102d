"""A sealed segment to Parquet files: the same segment gives the same files under the same names, however often it is written."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from datetime import date
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metlog.journal import failpoints
from metlog.journal.folder import Folder, write_all
from metlog.journal.routing import Route
from metlog.journal.segment import Scan, SegmentName, scan
from metlog.lake.schema import SCHEMA, UNCOMMITTED_SCHEMA, tables

__all__ = ["PARQUET", "file_name", "segment_of", "write_segment"]

PARQUET: Final = ".parquet"

_DICTIONARY: Final = [
    "tokens.list.element" if name == "tokens" else name
    for name in SCHEMA.names
    if name not in {"timestamp", "fields", "seq"}
]
"""Columns whose values come again; for the others, making a dictionary is work for nothing, and a larger file."""


def file_name(segment: SegmentName) -> str:
    """Name of a segment's file in the folder of a day."""
    return f"{segment}{PARQUET}"


def segment_of(name: str) -> SegmentName | None:
    """The segment that a Parquet file was written from; None for a file of another origin (a compaction, an import)."""
    return SegmentName.parse(name.removesuffix(PARQUET))


def write_segment(
    journal: Folder,
    segment: SegmentName,
    events: Folder,
    route: Route,
    *,
    level: int = 3,
    bad: list[tuple[bytes, str, str]] | None = None,
    check: Callable[[], None] = lambda: None,
) -> tuple[int, Scan]:
    """Writes a sealed segment's events into `events/date=…/`, durable when it returns; gives their number, and what was
    damaged in the segment. `bad` as for `metlog.lake.schema.tables`. `check` is called every some thousand events, and may raise."""
    clock, records = scan(journal, segment)
    parts = []
    for part in tables(records, clock, route, bad=bad):
        check()
        parts.append(part)
    whole = pa.concat_tables(parts) if parts else UNCOMMITTED_SCHEMA.empty_table()
    days: list[date] = sorted(pc.unique(whole["date"]).to_pylist())
    for day in days:
        rows = whole if len(days) == 1 else whole.filter(pc.equal(whole["date"], pa.scalar(day)))
        with events.sub(f"date={day.isoformat()}", create=True) as folder:
            _write(folder, file_name(segment), rows.drop_columns(["date"]), level)
    return whole.num_rows, records


def _write(folder: Folder, name: str, rows: pa.Table, level: int) -> None:
    buffer = io.BytesIO()
    pq.write_table(rows.cast(SCHEMA), buffer, compression="zstd", compression_level=level, use_dictionary=_DICTIONARY)
    temporary = f".{name}.tmp"
    descriptor = folder.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        failpoints.point("lake.write")
        write_all(descriptor, buffer.getbuffer())
        failpoints.point("lake.fsync")
        os.fsync(descriptor)
    except BaseException:
        folder.unlink(temporary, missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    failpoints.point("lake.rename")
    folder.rename(temporary, name)
    failpoints.point("lake.sync")
    folder.sync()
