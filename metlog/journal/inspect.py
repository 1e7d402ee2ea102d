"""What lies in a journal, read without a lock on its listener: for `metlog journal status`, `check` and `export`."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from metlog.journal.cursor import Cursor, Position
from metlog.journal.folder import Folder
from metlog.journal.folder import journals as every_journal
from metlog.journal.idempotency import damaged as keys_damaged
from metlog.journal.reader import Damage, Entry, read
from metlog.journal.recovery import is_quarantined
from metlog.journal.rows import rows_of
from metlog.journal.segment import ACTIVE, END, HEADER_SIZE, RESCUE, SEALED, SegmentName, end_of, listing, read_end

__all__ = [
    "Backlog",
    "CheckedSegment",
    "JournalState",
    "Segment",
    "check",
    "cursors",
    "entries",
    "journals",
    "listener_of",
    "look",
    "STATUS_AHEAD",
    "segments",
    "status_file",
    "status_of",
    "strangers",
    "told_by",
]

_CURSOR: Final = ".cursor"
_OURS: Final = ("lock", "keys", "identity.json")
_FOLDERS: Final = ("cursors", "quarantine")
_TAKEOVER: Final = "takeover"
"""The socket that a process which takes over from the listener connects to."""
_STATUS: Final = re.compile(r"status(?:-([A-Za-z0-9_-]+))?\.json")
STATUS_AHEAD: Final = 300.0
"""Seconds that a status may lie ahead, on a folder that machines share; one further ahead was written before the clock was set back."""


class Segment(Struct, frozen=True):
    """One segment's file."""

    name: SegmentName
    open: bool
    """Whether its listener has not sealed it."""
    bytes: int
    written_at: datetime

    @property
    def file(self) -> str:
        return f"{self.name}{ACTIVE if self.open else SEALED}"


class Backlog(Struct):
    """How far an output is."""

    output: str
    at: Position
    damaged: bool
    """Whether its cursor cannot be read: then it begins at the oldest segment."""
    segments: int
    bytes: int
    """Of the journal, what it has not handed on."""
    by_segment: bool
    """Whether it takes whole segments when they are sealed, as the lake does."""


class JournalState(Struct):
    """What `look` found."""

    name: str
    path: Path
    listener: int | None
    """The process that writes it now."""
    segments: list[Segment]
    outputs: list[Backlog]
    quarantined: int
    quarantined_bytes: int
    free: int
    """Bytes that are free on its disk."""
    status: dict[str, Any]
    """What its listener said last; empty when it has said nothing."""

    @property
    def bytes(self) -> int:
        return sum(segment.bytes for segment in self.segments)


class CheckedSegment(Struct):
    """A segment that was read from its first byte to its last."""

    segment: Segment
    records: int = 0
    events: int = 0
    damaged: list[tuple[int, int]] = []
    """Ranges of bytes (start, end) that do not verify."""
    kept: list[tuple[int, int]] = []
    """Of these, the ones that were copied to the quarantine before."""
    unreadable: int = 0
    """Events that verify, and that this release cannot decode."""


def journals(data: Folder, only: str | None = None) -> Iterator[tuple[str, Folder]]:
    """The journals of a data folder, or the one that is asked for. Raises FileNotFoundError when it is not there."""
    with data.sub("journal") as folder:
        if only is not None and only not in folder.names():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), only)
    for name, journal in every_journal(data):
        if only in {None, name}:
            yield name, journal


def segments(journal: Folder) -> list[Segment]:
    """Oldest first. What goes while it is looked at is left out."""
    sealed, active = listing(journal)
    found = []
    for name in sorted({*sealed, *active}):
        for is_open in (name in active, False):  # sealed since it was listed
            try:
                facts = os.stat(f"{name}{ACTIVE if is_open else SEALED}", dir_fd=journal.fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            size = min(facts.st_size, end_of(journal, name) or facts.st_size)
            found.append(Segment(name, is_open, size, datetime.fromtimestamp(facts.st_mtime, UTC)))
            break
    return found


def look(data: Folder, name: str, journal: Folder) -> JournalState:
    """The state of a journal."""
    found = segments(journal)
    quarantined = quarantined_bytes = 0
    try:
        with journal.sub("quarantine") as folder:
            for file in folder.names():
                with contextlib.suppress(FileNotFoundError):
                    quarantined_bytes += folder.size(file)
                    quarantined += 1
    except FileNotFoundError:
        pass
    disk = os.fstatvfs(journal.fd)
    return JournalState(
        name, journal.path, listener_of(journal), found, list(_outputs(journal, found)), quarantined, quarantined_bytes,
        disk.f_bavail * disk.f_frsize, status_of(data, name) or {},
    )  # fmt: skip


def _outputs(journal: Folder, found: list[Segment]) -> Iterator[Backlog]:
    for output, cursor in cursors(journal):
        at = cursor.at if cursor is not None else Position()
        left = [segment for segment in found if segment.name.number >= at.number]
        size = sum(
            max(0, segment.bytes - (max(at.offset, HEADER_SIZE) if segment.name.number == at.number else HEADER_SIZE))
            for segment in left
        )
        count = sum(1 for s in left if s.name.number > at.number or s.bytes > max(at.offset, HEADER_SIZE))
        yield Backlog(output, at, cursor is None, count, size, cursor is not None and cursor.lake)


def cursors(journal: Folder) -> list[tuple[str, Cursor | None]]:
    """Every output that has a cursor, with it; None for a damaged one."""
    try:
        with journal.sub("cursors") as folder:
            names = [name.removesuffix(_CURSOR) for name in folder.names() if name.endswith(_CURSOR)]
            found = [(name, Cursor.load(folder, name)) for name in names if not name.startswith(".")]
            there = folder.names()
            return [(name, cursor) for name, cursor in found if cursor is not None or f"{name}{_CURSOR}" in there]
    except FileNotFoundError:
        return []


def listener_of(journal: Folder) -> int | None:
    """The process that holds the journal's lock. Read from the kernel's list of locks: to try the lock would be to hold it for a moment, in
    which a listener that starts would be refused."""
    try:
        facts = os.stat("lock", dir_fd=journal.fd, follow_symlinks=False)
        with open("/proc/locks", encoding="ascii") as lines:  # noqa: PTH123 - a kernel table, not a file of ours
            for line in lines:
                _, kind, _, _, pid, place, *_ = line.split()
                if kind == "FLOCK" and place.rpartition(":")[2] == str(facts.st_ino):
                    return int(pid)
    except (OSError, ValueError):  # no lock, or no such list on this system
        pass
    return None


def told_by(data: Folder) -> list[str]:
    """Returns the journals whose listeners have written their status into a data folder, `main` first."""
    names = [match[1] or "main" for entry in data.regular(".json") if (match := _STATUS.fullmatch(entry.name))]
    return sorted(names, key=lambda name: (name != "main", name))


def status_file(journal: str) -> str:
    """Returns the name of the file in a data folder into which the listener of a journal writes its status."""
    return "status.json" if journal == "main" else f"status-{journal}.json"


def status_of(data: Folder, journal: str = "main") -> dict[str, Any] | None:
    """What the listener of a journal said last; None when it has said nothing yet, empty when the file is damaged: it is not made durable,
    so that a crash of the machine may leave it without content. Raises OSError."""
    try:
        found = msgspec.json.decode(data.read(status_file(journal)))
        if datetime.fromisoformat(found["time"]).tzinfo is None:
            return {}
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, ValueError, TypeError, KeyError):
        return {}
    return dict(found)


def check(journal: Folder, *, running: bool) -> Iterator[CheckedSegment]:
    """Reads every segment whole. `running`: a listener writes, so that the last record of an open segment may be half there."""
    for segment in segments(journal):
        found = CheckedSegment(segment)

        def damaged(damage: Damage, found: CheckedSegment = found) -> None:
            found.damaged.append((damage.offset, damage.offset + len(damage.data)))

        for entry in _of(journal, segment, damaged=damaged):
            found.records += 1
            _, bad = rows_of(entry.record.events)
            found.events += entry.record.count - len(bad)
            found.unreadable += len(bad)
        if running and found.damaged and _may_be_half_there(segment, found.damaged[-1][1]):
            del found.damaged[-1]
        found.kept = [span for span in found.damaged if is_quarantined(journal, segment.name, *span)]
        yield found


def _may_be_half_there(segment: Segment, end: int) -> bool:
    """Whether damage up to `end` may be a record that a listener writes."""
    return segment.open and end >= segment.bytes


def _of(
    journal: Folder, segment: Segment, offset: int = 0, damaged: Callable[[Damage], None] = lambda _: None
) -> Iterator[Entry]:
    """The records of one segment that verify. Nothing when it is gone by now: then every output is past it."""
    number = segment.name.number
    try:
        for entry in read(journal, Position(number, offset), Position(number + 1), damaged):
            if entry.segment == segment.name:
                yield entry
    except FileNotFoundError:
        return


def strangers(journal: Folder, *, running: bool) -> list[str]:
    """What is wrong beside the segments, a line each: damaged small files, and names that are no part of a journal."""
    wrong = [f"cursors/{output}{_CURSOR} is damaged" for output, cursor in cursors(journal) if cursor is None]
    if keys_damaged(journal):
        wrong.append("keys is damaged")
    for entry in sorted(journal.names()):
        try:
            mode = os.stat(entry, dir_fd=journal.fd, follow_symlinks=False).st_mode
        except FileNotFoundError:  # handed on, or written under its own name, since the folder was listed
            continue
        if stat.S_ISDIR(mode) and entry in _FOLDERS:
            continue
        stem, suffix = Path(entry).stem, Path(entry).suffix
        if stat.S_ISSOCK(mode) and entry.lstrip(".").startswith(_TAKEOVER):
            continue
        if not stat.S_ISREG(mode):
            wrong.append(f"{entry} is no regular file: nobody reads it")
        elif suffix == END:
            if read_end(journal, stem) is None and journal.exists(entry):
                wrong.append(f"{entry} is damaged")
        elif entry in _OURS or (suffix in {ACTIVE, SEALED, RESCUE} and SegmentName.parse(stem)):
            continue
        elif entry.startswith(".") and suffix == ".tmp":
            if not running:  # else it is being written
                wrong.append(f"{entry} was left behind by a process that was killed")
        else:
            wrong.append(f"{entry} is no part of a journal")
    return wrong


def entries(
    journal: Folder,
    only: Sequence[str] = (),
    output: str = "",
    damaged: Callable[[str, int, int], None] = lambda *_: None,
) -> Iterator[tuple[Entry, Cursor]]:
    """Every record that verifies; of the segments named in `only`, or those that `output` has not handed on whole. With each
    comes the cursor of the output, whose `at.skip` and `route` are the caller's. `damaged` is told what is left out: a segment's file,
    where the damage begins, and its bytes. Raises LookupError for names that are not there."""
    running = listener_of(journal) is not None
    found = segments(journal)
    cursor = _cursor(journal, output) if output else Cursor("")
    missing = set(only) - {text for segment in found for text in (str(segment.name), segment.file)}
    if missing:
        raise LookupError(f"no segment {', '.join(sorted(missing))} here; metlog journal check lists them")
    for segment in found:
        if (only and not {str(segment.name), segment.file} & set(only)) or segment.name.number < cursor.at.number:
            continue
        offset = cursor.at.offset if segment.name.number == cursor.at.number else 0

        def told(damage: Damage, segment: Segment = segment) -> None:
            if not (running and _may_be_half_there(segment, damage.offset + len(damage.data))):
                damaged(segment.file, damage.offset, len(damage.data))

        for entry in _of(journal, segment, offset, told):
            yield entry, cursor


def _cursor(journal: Folder, output: str) -> Cursor:
    known = dict(cursors(journal))
    if output not in known:
        raise LookupError(f"no output {output!r} has a cursor here; there is {', '.join(sorted(known)) or 'none'}")
    return known[output] or Cursor(output)
