"""What the journal holds that no Parquet file has yet, as columns: decoded once, so that each query costs what came since the last."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from metlog.journal.folder import Folder, read_all
from metlog.journal.routing import Route
from metlog.journal.segment import Clock, Record, Scan, SegmentName, end_of, read_header
from metlog.lake.schema import UNCOMMITTED_SCHEMA, tables

__all__ = ["Uncommitted", "Part"]

_ROWS: Final = 3000
"""Rows of a table below which it is joined with the next: many queries in a row must not leave many small ones."""


@dataclass(slots=True)
class _Kept:
    """The events of a segment up to the end of a record."""

    clock: Clock
    route: Route
    end: int = 0
    tables: list[pa.Table] = field(default_factory=list)
    size: int = 0
    """Bytes of the tables."""


@dataclass(slots=True)
class Part:
    """A segment as it was when it was opened: what is known of it, and the bytes after that."""

    name: SegmentName
    known: _Kept
    data: bytes

    def decode(self) -> None:
        """Takes up the bytes. What ends in the middle of a record is read again the next time."""
        known = self.known
        for table in tables(self._records(), known.clock, known.route):
            known.size += table.nbytes
            if known.tables and known.tables[-1].num_rows + table.num_rows <= _ROWS:
                known.tables[-1] = pa.concat_tables([known.tables[-1], table]).combine_chunks()
            else:
                known.tables.append(table)
        self.data = b""

    def _records(self) -> Iterator[Record]:
        for record in Scan(self.data, self.known.end):
            self.known.end = record.end
            yield record


class Uncommitted:
    """Keeps what it has decoded, up to `most` bytes: the oldest segments first, since these are asked for the longest.

    Not safe to use from several threads at once: a query's `open` and `table` belong together.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[SegmentName, _Kept] = {}

    def open(self, journal: Folder, name: SegmentName, suffix: str, route: Route) -> Part:
        """Reads what came to a segment. Raises FileNotFoundError when it is gone."""
        descriptor = journal.open(f"{name}{suffix}", os.O_RDONLY)
        try:
            end = end_of(journal, name)  # after an fsync that failed, less may count than did before
            known = self._kept.get(name)
            if known is None or known.route != route or (end is not None and end < known.end):
                known = None
            data = read_all(descriptor, end, start=known.end if known is not None else 0)
        finally:
            os.close(descriptor)
        return Part(name, known or _Kept(read_header(data), route), data)

    def table(self, parts: Sequence[Part]) -> pa.Table:
        """The events of all that was opened; what else was kept is let go."""
        found: list[pa.Table] = []
        kept: dict[SegmentName, _Kept] = {}
        size = 0
        self._kept = {}  # in case that it ends halfway
        for part in parts:
            part.decode()
            found += part.known.tables
            size += part.known.size
            if size <= self._most:
                kept[part.name] = part.known
        self._kept = kept
        return pa.concat_tables(found) if found else UNCOMMITTED_SCHEMA.empty_table()
