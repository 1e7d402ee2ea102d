"""Reads a journal from a position on, while it grows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from metlog.journal.blocks import read_blocks
from metlog.journal.cursor import Position
from metlog.journal.folder import Folder
from metlog.journal.segment import (
    ACTIVE,
    HEADER_SIZE,
    SEALED,
    Clock,
    Record,
    SegmentName,
    end_of,
    header,
    listing,
    read_header,
)

__all__ = ["Damage", "Entry", "read"]

_BLOCK: Final = 8 << 20
"""Bytes read at once: what bounds the memory of a reader that is far behind."""


class Entry(NamedTuple):
    """A record with the segment it stands in."""

    segment: SegmentName
    clock: Clock
    record: Record


class Damage(NamedTuple):
    """Bytes of a segment that do not verify, and are skipped."""

    segment: SegmentName
    offset: int
    data: bytes


def read(
    journal: Folder, at: Position, end: Position, on_damage: Callable[[Damage], None] = lambda _: None
) -> Iterator[Entry]:
    """The records from `at` (an offset within a record's segment; `skip` is the caller's) up to `end`."""
    sealed, active = listing(journal)
    for name in sorted({*sealed, *active}):
        if at.number <= name.number and Position(name.number) < end:
            start = at.offset if name.number == at.number else 0
            limit = end.offset if name.number == end.number else None
            yield from _segment(journal, name, start, limit, on_damage)


def _segment(
    journal: Folder, name: SegmentName, start: int, limit: int | None, on_damage: Callable[[Damage], None]
) -> Iterator[Entry]:
    fd = _open(journal, name)
    try:
        head = os.pread(fd, HEADER_SIZE, 0)
        clock = read_header(head)
        if start < HEADER_SIZE and head != header(clock):
            on_damage(Damage(name, 0, head))
        size = os.fstat(fd).st_size
        final = end_of(journal, name)
        stop = min(x for x in (size, limit, final) if x is not None)
        for record in read_blocks(
            fd,
            max(start, HEADER_SIZE),
            stop,
            lambda offset, data: on_damage(Damage(name, offset, data)),
            complete=limit is None,
            block=_BLOCK,
        ):
            yield Entry(name, clock, record)
    finally:
        os.close(fd)


def _open(journal: Folder, name: SegmentName) -> int:
    for suffix in (ACTIVE, SEALED, ACTIVE):
        try:
            return journal.open(f"{name}{suffix}", os.O_RDONLY)
        except FileNotFoundError:  # sealed since it was listed
            continue
    raise FileNotFoundError(f"{journal.path / str(name)}: the segment is gone before its reader was past it")
