"""What a crash left: live segments are read, what is damaged is copied aside and told, and they are sealed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from msgspec import Struct

from metlog.lake.files import Folder, read_all
from metlog.lake.segment import END, HEADER_SIZE, LIVE, SEALED, Scan, SegmentName, end_of, listing

__all__ = ["Recovered", "quarantine", "recover"]

log = logging.getLogger("metlog.listener")


class Recovered(Struct):
    """What was found at start."""

    segments: int = 0
    events: int = 0
    damaged_bytes: int = 0


def recover(journal: Folder) -> Recovered:
    """Seals the segments that were live when the listener was killed; its cost is theirs, not the backlog's.

    Nothing is cut: whoever reads a segment skips what does not verify. It is copied into `quarantine/` for whoever
    wants to look, and told.
    """
    found = Recovered()
    sealed, live = listing(journal)
    for name in live:
        limit = end_of(journal, name)
        fd = journal.open(f"{name}{LIVE}", os.O_RDWR)
        try:
            data = read_all(fd, limit)
            records = Scan(data)
            count = sum(record.count for record in records)
            if limit is None and len(data) <= HEADER_SIZE:  # not a byte of a record
                journal.unlink(f"{name}{LIVE}")
                continue
            if records.damaged:
                found.damaged_bytes += quarantine(journal, name, data, records.damaged)
            os.fsync(fd)
        finally:
            os.close(fd)
        journal.rename(f"{name}{LIVE}", f"{name}{SEALED}")
        found.segments += 1
        found.events += count
    known = {str(name) for name in (*sealed, *live)}
    for entry in journal.regular(END):
        if entry.name.removesuffix(END) not in known:  # its segment went first
            journal.unlink(entry.name, missing_ok=True)
    for entry in journal.regular(".tmp"):
        journal.unlink(entry.name, missing_ok=True)
    journal.sync()
    if found.segments:
        log.warning(
            "recovered %d events of %d segments that were open when the listener ended", found.events, found.segments
        )
    return found


def quarantine(journal: Folder, name: SegmentName, data: bytes, damaged: Iterable[tuple[int, int]]) -> int:
    """Copies damaged ranges of a segment to `quarantine/`, and says so; gives their bytes."""
    total = 0
    with journal.sub("quarantine", create=True) as folder:
        for start, end in damaged:
            total += end - start
            file = f"{name}-{start}.bin"
            try:
                folder.replace(file, data[start:end])
            except OSError as error:  # a full disk must not keep the listener from starting
                log.error("cannot keep %d damaged bytes of segment %s: %s", end - start, name, error)
            log.warning(
                "segment %s: %d bytes at offset %d do not verify and are skipped (copied to %s)",
                name, end - start, start, folder.path / file,
            )  # fmt: skip
    return total
