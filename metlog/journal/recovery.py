"""Recovery after a crash: active segments are read and sealed; damaged ranges are copied aside and logged."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from msgspec import Struct

from metlog.journal import failpoints
from metlog.journal.folder import Folder, read_all
from metlog.journal.segment import ACTIVE, END, HEADER_SIZE, RESCUE, SEALED, Scan, SegmentName, listing, read_end

__all__ = ["Recovered", "is_quarantined", "quarantine", "recover"]

log = logging.getLogger("metlog.listener")


class Recovered(Struct):
    """What was found at start."""

    segments: int = 0
    events: int = 0
    damaged_bytes: int = 0


def recover(journal: Folder) -> Recovered:
    """Seals the segments that were active when the listener was killed; its cost is theirs, not the backlog's.

    Nothing is cut: a reader of a segment skips what does not verify. It is copied into `quarantine/` and logged.
    """
    found = Recovered()
    failpoints.point("recover")
    _settle_rescues(journal)
    sealed, active = listing(journal)
    for name in active:
        _seal(journal, name, found)
    known = {str(name) for name in (*sealed, *active)}
    for entry in journal.regular(END):
        if entry.name.removesuffix(END) not in known:  # its segment went first
            journal.unlink(entry.name, missing_ok=True)
    journal.tidy("")
    journal.sync()
    if found.segments:
        log.warning(
            "recovered %d events of %d segments that were open when the listener ended", found.events, found.segments
        )
    return found


def _settle_rescues(journal: Folder) -> None:
    """What was written anew after a failed fsync is a segment as soon as the failed one's mark names it, and nothing before."""
    left = [entry.name.removesuffix(RESCUE) for entry in journal.regular(RESCUE)]
    if not left:
        return
    marks = [read_end(journal, entry.name.removesuffix(END)) for entry in journal.regular(END)]
    named = {mark.rest for mark in marks if mark is not None}
    for name in left:
        if name in named:
            journal.rename(f"{name}{RESCUE}", f"{name}{SEALED}")
        else:
            journal.unlink(f"{name}{RESCUE}")


def _seal(journal: Folder, name: SegmentName, found: Recovered) -> None:
    mark = read_end(journal, str(name))
    fd = journal.open(f"{name}{ACTIVE}", os.O_RDWR)
    try:
        data = read_all(fd, mark.offset if mark is not None else None)
        records = Scan(data)
        count = sum(record.count for record in records)
        if mark is None and len(data) <= HEADER_SIZE:  # not a byte of a record
            journal.unlink(f"{name}{ACTIVE}")
            return
        if records.damaged:
            found.damaged_bytes += quarantine(journal, name, data, records.damaged)
        try:
            os.fsync(fd)
        except OSError as error:  # fsync failed but the data is readable: deliver it, there is no better copy
            log.error("fsync of segment %s failed (%s): it is handed on as it can be read now", name, error)
    finally:
        os.close(fd)
    failpoints.point("recover.seal")
    journal.rename(f"{name}{ACTIVE}", f"{name}{SEALED}")
    found.segments += 1
    found.events += count


def quarantine(
    journal: Folder, name: SegmentName, data: bytes, damaged: Iterable[tuple[int, int]], base: int = 0
) -> int:
    """Copies damaged ranges of a segment to `quarantine/`, and says so; returns their bytes. `data` begins at offset `base`."""
    total = 0
    for start, end in damaged:
        total += end - start
        if is_quarantined(journal, name, start, end):
            continue  # it was found before: told, and kept
        file = f"{name}-{start}.bin"
        try:
            with journal.sub("quarantine", create=True) as folder:
                folder.replace(file, data[start - base : end - base], point="quarantine")
                kept = f"copied to {folder.path / file}"
        except OSError as error:  # a full disk must not keep the listener from starting
            kept = f"and could not be kept: {error.strerror or error}"
        log.warning(
            "segment %s: %d bytes at offset %d do not verify and are skipped (%s)", name, end - start, start, kept
        )
    return total


def is_quarantined(journal: Folder, name: SegmentName, start: int, end: int) -> bool:
    """Whether a damaged range of a segment was copied before."""
    file = f"{name}-{start}.bin"
    try:
        with journal.sub("quarantine") as folder:
            return folder.exists(file) and folder.size(file) == end - start
    except OSError:  # no quarantine, or one that cannot be read: a write to it reports the error
        return False
