"""What the journal holds that no Parquet file has yet, as columns: decoded once, so that each query costs what came since the last."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc

from metlog.journal.blocks import read_blocks
from metlog.journal.folder import Folder, read_all
from metlog.journal.offsets import Partition, Spans, first_only
from metlog.journal.routing import AnyRoute
from metlog.journal.segment import HEADER_SIZE, SEALED, Clock, Record, SegmentName, end_of, read_header
from metlog.lake.chains import outside
from metlog.lake.pieces import uncollected
from metlog.lake.schema import UNCOMMITTED_SCHEMA, chain_of, tables

__all__ = ["Part", "Uncommitted", "without"]

_ROWS: Final = 3000
"""Rows of a table below which it is joined with the next: many queries in a row must not leave many small ones."""
_BYTES: Final = 1 << 20
"""Bytes of a table above which it is not."""


@dataclass(slots=True)
class _Kept:
    """The events of a segment up to the end of a record."""

    clock: Clock
    route: AnyRoute
    file: tuple[int, int] = (0, 0)
    """Inode, and for a sealed segment time of its last write: of another file under the segment's name nothing is known."""
    end: int = 0
    tables: list[pa.Table] = field(default_factory=list)
    size: int = 0
    """Bytes of the tables."""
    seen: dict[Partition, Spans] = field(default_factory=dict)
    """Of events that were read from a partitioned log: their offsets."""


@dataclass(slots=True)
class Part:
    """A segment as it was when it was opened: what is known of it, and the bytes after that."""

    name: SegmentName
    known: _Kept
    file: BinaryIO
    """Read when its turn comes: all segments at once would not fit into memory."""
    end: int

    def decode(self) -> None:
        """Takes up the bytes. What ends in the middle of a record is read again the next time."""
        known = self.known
        with self.file:
            if not known.end:
                known.clock = read_header(read_all(self.file.fileno(), HEADER_SIZE))
            with uncollected():
                self._take(known)

    def _take(self, known: _Kept) -> None:
        for table in tables(first_only(self._records(), known.seen), known.clock, known.route):
            known.size += table.nbytes
            if known.tables and _small(known.tables[-1], table):
                known.tables[-1] = pa.concat_tables([known.tables[-1], table]).combine_chunks()
            else:
                known.tables.append(table)

    def _records(self) -> Iterator[Record]:
        start = max(self.known.end, HEADER_SIZE)
        for record in read_blocks(self.file.fileno(), start, self.end, lambda *_: None, complete=False):
            self.known.end = record.end
            yield record


class Uncommitted:
    """Keeps what it has decoded, up to `most` bytes: prefers the oldest segments, which are queried most often before they are committed.

    Not safe to use from several threads at once: a query's `open` and `table` belong together.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[SegmentName, _Kept] = {}

    def open(self, journal: Folder, name: SegmentName, suffix: str, route: AnyRoute) -> Part:
        """Opens a segment, to be read up to its end of now. Raises FileNotFoundError when it is gone."""
        descriptor = journal.open(f"{name}{suffix}", os.O_RDONLY)
        try:
            end = end_of(journal, name)  # after an fsync that failed, less may count than did before
            facts = os.fstat(descriptor)
            file = (facts.st_ino, facts.st_mtime_ns if suffix == SEALED else 0)
            known = self._kept.get(name)
            if (
                known is None
                or known.route != route
                or (end is not None and end < known.end)
                or not _same(known.file, file)
            ):
                known = _Kept(Clock(), route)
            known.file = file
            size = facts.st_size if end is None else end
        except BaseException:
            os.close(descriptor)
            raise
        return Part(name, known, os.fdopen(descriptor, "rb", buffering=0), size)

    def table(self, parts: Sequence[Part]) -> pa.Table:
        """The events of all that was opened; what else was kept is let go."""
        found: list[pa.Table] = []
        kept: dict[SegmentName, _Kept] = {}
        size = 0
        seen: dict[Partition, Spans] = {}
        self._kept = {}  # in case that it ends halfway
        for part in parts:
            part.decode()
            found += _unseen(part.known, seen)
            size += part.known.size
            if size <= self._most:
                kept[part.name] = part.known
        self._kept = kept
        return pa.concat_tables(found) if found else pa.Table.from_batches([], UNCOMMITTED_SCHEMA)


def _same(known: tuple[int, int], file: tuple[int, int]) -> bool:
    """Whether a segment's file is the one that is known, sealed since then or not."""
    return known[0] == file[0] and known[1] in {0, file[1]}


def _small(last: pa.Table, table: pa.Table) -> bool:
    """Whether two tables are better one: few rows, and few bytes, since each time all of them are copied."""
    return bool(last.num_rows + table.num_rows <= _ROWS and last.nbytes + table.nbytes <= _BYTES)


def _unseen(known: _Kept, seen: dict[Partition, Spans]) -> list[pa.Table]:
    """A segment's events without those of a partitioned log that an earlier segment has too: it was read again after a rebalance."""
    found = known.tables
    for partition, spans in known.seen.items():
        before = seen.setdefault(partition, Spans())
        if any(True for begin, end in spans.ranges for _ in before.overlapping(begin, end)):
            found = [without(table, chain_of(partition), before) for table in found]
        seen[partition] = before.merge(spans)
    return found


def without(table: pa.Table, chain: str, held: Spans) -> pa.Table:
    """The events that are not of this chain, or of offsets that are not held."""
    mine = pc.fill_null(pc.equal(table["log"], chain), fill_value=False)
    wanted = outside(table["log_offset"].filter(mine), held) if pc.any(mine).as_py() else None
    if wanted is None:
        return table
    return pa.concat_tables([table.filter(pc.invert(mine)), table.filter(mine).filter(wanted)])
