"""What tells upkeep that a query still reads files, or that the lake has a segment in hand: shared locks. The kernel lets go of them when
their process dies.

A query holds one on `events/.lease` for as long as it runs. `wait_for_readers` puts a new file in the place of the old one and waits until
nobody holds the old one any more: every query that began before has ended then, and none that began later is waited for.

The lake holds one on a segment's file, from before it opens the segment until its cursor is past it or the attempt has failed
(`SegmentLease`). Who puts another file in the segment's place waits for that (`segment_alone`): what the lake has read is committed by
then, or is read again from the new file.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from metlog.journal.folder import FILE_MODE, Folder

__all__ = ["SegmentLease", "make_lease", "reading", "segment_alone", "wait_for_readers"]

_LEASE: Final = ".lease"
_LOOK: Final = 0.02
"""Seconds between two tries of a lock that a query holds."""


@contextmanager
def reading(data: Path) -> Iterator[None]:
    """Holds the lease of a data folder while its files are listed and read. It is made where there is none; a process that may not do so
    holds nothing until a listener or an upkeep has made it."""
    descriptor = _taken(data / "events" / _LEASE)
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _taken(path: Path) -> int:
    while True:
        try:
            descriptor = _open(path)
        except (FileNotFoundError, NotADirectoryError):
            return -1
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.stat(path, follow_symlinks=False).st_ino == os.fstat(descriptor).st_ino:  # noqa: PTH116 - beside fstat
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # replaced since it was opened: the new one counts


def _open(path: Path) -> int:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        try:
            return os.open(path, flags | os.O_CREAT, FILE_MODE)
        except OSError:  # a reader without the right to write
            raise FileNotFoundError(path) from None


def make_lease(events: Folder) -> bool:
    """Makes the lease where there is none; returns whether it did."""
    try:
        os.close(events.open(_LEASE, os.O_RDONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def wait_for_readers(events: Folder, seconds: float) -> bool:
    """Returns True once every query that began before this call has ended; False when that takes longer than `seconds`."""
    make_lease(events)
    old = events.open(_LEASE, os.O_RDONLY)
    try:
        events.replace(_LEASE, b"", durable=False)
        return _locked(old, seconds)
    finally:
        os.close(old)


class SegmentLease:
    """The lake's hold on the segment that it writes."""

    def __init__(self) -> None:
        self._descriptor = -1

    def take(self, journal: Folder, file: str) -> None:
        """Takes hold of a segment's file, before it is opened to be read; waits while it is being replaced. Raises FileNotFoundError."""
        self.release()
        self._descriptor = journal.open(file, os.O_RDONLY)
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def release(self) -> None:
        """Lets go of it: the cursor is past it, or nothing of this attempt is kept."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextmanager
def segment_alone(journal: Folder, file: str, seconds: float) -> Iterator[None]:
    """Keeps the lake from a segment's file until another one has its place. Raises FileNotFoundError when the segment is gone, TimeoutError
    when the lake has it in hand for longer than `seconds`."""
    descriptor = journal.open(file, os.O_RDONLY)
    try:
        if not _locked(descriptor, seconds):
            raise TimeoutError(f"{journal.path / file}: the lake has been writing it for more than {seconds:g} s")
        if not journal.exists(file):
            raise FileNotFoundError(journal.path / file)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int, seconds: float) -> bool:
    """Whether a lock that excludes all others was to be had in that time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK)
        else:
            return True
