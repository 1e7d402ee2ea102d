"""A segment read a block at a time, so that its size bounds nobody's memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final

from metlog.journal.folder import Folder
from metlog.journal.segment import HEADER_SIZE, SEALED, Record, Scan, SegmentName, end_of, header, read_header

__all__ = ["SegmentReader", "read_blocks"]

_BLOCK: Final = 1 << 20
"""Bytes: what is read stays in the processor's cache until its records are checked and decoded."""


def read_blocks(
    descriptor: int,
    start: int,
    stop: int,
    on_damage: Callable[[int, bytes], None],
    *,
    complete: bool,
    block: int = _BLOCK,
) -> Iterator[Record]:
    """The records from one offset of a segment to another. `on_damage(offset, data)` gets what does not verify. `complete`: what is
    damaged right before `stop` counts too; else it may be a record that has more to come."""
    offset, size = start, block
    before, held = start, b""  # damaged bytes right before the next block, where more of them may follow
    while offset < stop:
        data = os.pread(descriptor, min(size, stop - offset), offset)
        if not data:
            break
        reached = offset + len(data)
        records = Scan(data, offset, stop)
        yield from records
        begins = reached if records.cut is None else records.cut[0]
        for first, last in records.damaged:
            if last < stop or complete:
                piece = data[first - offset : last - offset]
                if held and before + len(held) == first:
                    held += piece
                    continue
                if held:
                    on_damage(before, held)
                before, held = first, piece
        if held and before + len(held) != begins:
            on_damage(before, held)
            held = b""
        if records.cut is None:
            offset, size = reached, block
        else:
            begin, needed = records.cut
            size = max(block if begin > offset else 2 * size, needed - begin)
            offset = begin
    if held:
        on_damage(before, held)


class SegmentReader:
    """The records of a segment, once; afterwards `damaged` has the ranges that were skipped."""

    def __init__(self, folder: Folder, name: SegmentName, suffix: str = SEALED) -> None:
        """Raises FileNotFoundError when the segment is gone."""
        self._folder, self._file = folder, f"{name}{suffix}"
        descriptor = folder.open(self._file, os.O_RDONLY)
        try:
            stop = end_of(folder, name)
            size = os.fstat(descriptor).st_size
            head = os.pread(descriptor, HEADER_SIZE, 0)
        finally:
            os.close(descriptor)
        self.size = size if stop is None else min(size, stop)
        """Bytes up to its end."""
        self.clock = read_header(head)
        self.damaged: list[tuple[int, int]] = []
        """Offsets (start, end) of what does not verify."""
        if head and head != header(self.clock):
            self.damaged.append((0, min(HEADER_SIZE, self.size)))

    def __iter__(self) -> Iterator[Record]:
        descriptor = self._folder.open(self._file, os.O_RDONLY)
        try:
            yield from read_blocks(
                descriptor,
                HEADER_SIZE,
                self.size,
                lambda offset, data: self.damaged.append((offset, offset + len(data))),
                complete=True,
            )
        finally:
            os.close(descriptor)

    def read(self, start: int, end: int) -> bytes:
        """The bytes of a range. Raises OSError."""
        descriptor = self._folder.open(self._file, os.O_RDONLY)
        try:
            return os.pread(descriptor, end - start, start)
        finally:
            os.close(descriptor)
