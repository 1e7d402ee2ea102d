"""Reads a journal from a position on, while it grows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, NamedTuple

from metlog.lake.cursor import Position
from metlog.lake.files import Folder
from metlog.lake.segment import (
    HEADER_SIZE,
    LIVE,
    SEALED,
    Clock,
    Record,
    Scan,
    SegmentName,
    end_of,
    listing,
    read_header,
)

__all__ = ["Entry", "read"]

_BLOCK: Final = 8 << 20
"""Bytes read at once: what bounds the memory of a reader that is far behind."""


class Entry(NamedTuple):
    """A record with the segment it stands in."""

    segment: SegmentName
    clock: Clock
    record: Record


def read(journal: Folder, at: Position, end: Position) -> Iterator[Entry]:
    """The records from `at` (an offset within a record's segment; `skip` is the caller's) up to `end`."""
    sealed, live = listing(journal)
    for name in sorted({*sealed, *live}):
        if at.number <= name.number and Position(name.number) < end:
            start = at.offset if name.number == at.number else 0
            limit = end.offset if name.number == end.number else None
            yield from _segment(journal, name, start, limit)


def _segment(journal: Folder, name: SegmentName, start: int, limit: int | None) -> Iterator[Entry]:
    fd = _open(journal, name)
    try:
        clock = read_header(os.pread(fd, HEADER_SIZE, 0))
        size = os.fstat(fd).st_size
        final = end_of(journal, name)
        stop = min(x for x in (size, limit, final) if x is not None)
        offset = max(start, HEADER_SIZE)
        block = _BLOCK
        while offset < stop:
            data = os.pread(fd, min(block, stop - offset), offset)
            if not data:
                return
            records = Scan(data, offset)
            for record in records:
                yield Entry(name, clock, record)
            reached = offset + len(data)
            cut = records.damaged[-1] if records.damaged else (reached, reached)
            if cut[1] < reached or reached >= stop:
                offset = reached
            elif cut[0] > offset:  # the block ends within a record: the next one begins there
                offset = cut[0]
                block = _BLOCK
            else:
                block *= 2
    finally:
        os.close(fd)


def _open(journal: Folder, name: SegmentName) -> int:
    for suffix in (LIVE, SEALED, LIVE):
        try:
            return journal.open(f"{name}{suffix}", os.O_RDONLY)
        except FileNotFoundError:  # sealed since it was listed
            continue
    raise FileNotFoundError(f"{journal.path / str(name)}: the segment is gone before its reader was past it")
