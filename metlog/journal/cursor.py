"""The durable position of an output in a journal."""

from __future__ import annotations

import errno
import fcntl
import os
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from msgspec import Struct

from metlog.journal.folder import Folder
from metlog.journal.routing import Route

__all__ = ["LOCK", "Cursor", "Position", "is_running", "lakes_but", "retire_lakes"]

_SUFFIX: Final = ".cursor"
LOCK: Final = ".lock"
"""Suffix of the file beside a cursor that the output's process holds a lock on while it lives."""


class Position(Struct, order=True, frozen=True, array_like=True):
    """A place in a journal: everything before it is dealt with."""

    number: int = 0
    """Number of the segment."""
    offset: int = 0
    """Offset of a record in it."""
    skip: int = 0
    """Events of that record that are dealt with."""


class Cursor(Struct, omit_defaults=True):
    """What an output remembers. Written whole, checksummed, renamed into place."""

    output: str
    at: Position = Position()
    pending: Position | None = None
    """Where the batch ends that may have been delivered already: after a crash the same batch is formed again."""
    lake: bool = False
    """True when `at` means: every segment below `at.number` stands as Parquet where queries over the data folder read it."""
    route: Route = Route()
    """Which events the output takes; a snapshot needs it for those that are not in Parquet yet."""

    def save(self, folder: Folder) -> None:
        """Durable when it returns."""
        body = msgspec.json.encode(self)
        folder.replace(self.output + _SUFFIX, b"%08x %s\n" % (zlib.crc32(body), body), point="cursor")

    @classmethod
    def load(cls, folder: Folder, output: str) -> Cursor | None:
        """None when there is none or it is damaged: then the output begins at the oldest segment, and nothing is skipped."""
        try:
            crc, _, body = folder.read(output + _SUFFIX).rstrip(b"\n").partition(b" ")
            if int(crc, 16) != zlib.crc32(body):
                return None
            return msgspec.json.decode(body, type=cls)
        except (FileNotFoundError, ValueError, msgspec.DecodeError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:  # a planted link, which the next save replaces
                return None
            raise

    @classmethod
    def load_all(cls, folder: Folder) -> list[Cursor]:
        """Every readable cursor of a journal."""
        names = [name.removesuffix(_SUFFIX) for name in folder.names() if name.endswith(_SUFFIX)]
        return [cursor for name in names if (cursor := cls.load(folder, name))]

    @classmethod
    def of_lakes(cls, journal: Folder) -> list[Cursor]:
        """The cursors of a journal's lakes: of one, but for configurations with several in different places. The one that is furthest
        behind comes first: no segment before it is written again. Where there is none, one that stands before every segment."""
        try:
            with journal.sub("cursors") as folder:
                found = [cursor for cursor in cls.load_all(folder) if cursor.lake]
        except FileNotFoundError:
            found = []
        return sorted(found, key=lambda cursor: cursor.at) or [cls("")]


def retire_lakes(cursors: Folder, but: Collection[str]) -> None:
    """Makes the cursors of lakes whose processes do not run, and which are none of these outputs, say nothing of what is committed any
    more: a lake that was taken out of the configuration stands still. One that comes again says so again."""
    for cursor in lakes_but(cursors, but):
        with _stopped(cursors, cursor.output) as stopped:
            found = Cursor.load(cursors, cursor.output) if stopped else None
            if found is not None:
                found.lake = False
                found.save(cursors)


def lakes_but(cursors: Folder, but: Collection[str]) -> list[Cursor]:
    """The cursors of lakes other than these outputs."""
    return [cursor for cursor in Cursor.load_all(cursors) if cursor.lake and cursor.output not in but]


def is_running(cursors: Folder, output: str) -> bool:
    """Whether the output has a process."""
    with _stopped(cursors, output) as stopped:
        return not stopped


@contextmanager
def _stopped(cursors: Folder, output: str) -> Iterator[bool]:
    """Whether the output has no process; then none can begin meanwhile."""
    descriptor = cursors.open(f"{output}{LOCK}", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
