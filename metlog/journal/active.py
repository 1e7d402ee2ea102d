"""One segment while it is written: appended to, made durable, and in the end sealed, or given up when its disk failed."""

from __future__ import annotations

import logging
import os
import time
from collections import deque

from metlog.journal import failpoints
from metlog.journal.capacity import NO_ROOM
from metlog.journal.folder import Folder, write_all
from metlog.journal.segment import ACTIVE, END, HEADER_SIZE, RESCUE, SEALED, Clock, SegmentName, end_mark, header

__all__ = ["ActiveSegment"]

log = logging.getLogger("metlog.listener")


class ActiveSegment:
    """The caller sees to it that `append`, `confirmed` and what they count are not used by two threads at once."""

    def __init__(self, folder: Folder, name: SegmentName, clock: Clock, base: int, *, confirm: bool) -> None:
        """Makes the file. `base` is the log sequence number of its first record; with `confirm` what is appended is kept
        until an fsync has confirmed it. Raises OSError, and leaves nothing behind."""
        self.name = name
        self.base = base - HEADER_SIZE
        """Log sequence number of offset 0."""
        self.written = HEADER_SIZE
        self.synced = 0
        """Offset up to which it is durable; 0 when not even its name is."""
        self.since = time.monotonic()
        self.failed = False
        """An fsync or a write went wrong: nothing more is asked of this file."""
        self._folder = folder
        self._clock = clock
        self._confirm = confirm
        self._pending: deque[bytes] = deque()
        """Appended and not confirmed by an fsync: what a new segment gets when the fsync fails."""
        self.rest: SegmentName | None = None
        """That new segment, once it is written."""
        self.rescued = False
        self._sealed = False
        failpoints.point("create")
        self.fd = folder.open(f"{name}{ACTIVE}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        try:
            failpoints.point("header")
            write_all(self.fd, header(clock))
        except OSError:
            os.close(self.fd)
            folder.unlink(f"{name}{ACTIVE}", missing_ok=True)
            raise

    def append(self, records: bytes) -> None:
        """Writes records. Raises OSError: then nothing of them counts, and the segment has `failed` unless there was
        only no room."""
        failpoints.point("append")
        if failpoints.ON:
            failpoints.torn(self.fd, records)
        try:
            write_all(self.fd, records)
        except OSError as error:
            self.failed = error.errno not in NO_ROOM
            try:
                os.ftruncate(self.fd, self.written)
            except OSError:
                self.failed = True
            raise
        self.written += len(records)
        if self._confirm:
            self._pending.append(records)
        failpoints.point("appended")

    def sync(self) -> None:
        """Makes what is written durable, its name too. Raises OSError: then do not call it again."""
        failpoints.point("fsync")
        os.fdatasync(self.fd)
        if not self.synced:
            self._folder.sync()
        failpoints.point("fsynced")

    def confirmed(self, offset: int) -> None:
        """Everything up to `offset` is durable (or as durable as is asked for)."""
        size = self.synced or HEADER_SIZE
        while self._pending and size + len(self._pending[0]) <= offset:
            size += len(self._pending.popleft())
        self.synced = offset

    def seal(self) -> None:
        """Gives the file the name of a finished segment. Raises OSError when that name is not to be had; may be called again."""
        if not self._sealed:
            failpoints.point("seal")
            self._folder.rename(f"{self.name}{ACTIVE}", f"{self.name}{SEALED}")
            self._sealed = True
            os.close(self.fd)
            failpoints.point("rename")
        if self._confirm:
            try:
                self._folder.sync()
            except OSError as error:  # under its old name it would be found, read and sealed at the next start
                log.error("segment %s: the disk did not confirm its new name: %s", self.name, error)

    def rescue(self, name: SegmentName) -> int:
        """Ends a failed segment where its last fsync left it, and writes the rest to a new one, `name`; returns the bytes of
        that, 0 when there was nothing left. One whose records need no fsync to count ends behind the last of them. Raises OSError; may
        be called again, with another name.

        The mark (suffix END) is the moment at which the one counts and the other does not: before, a crash leaves the
        segment as it is, and the new file is removed; after, the new file is a segment whatever its suffix.
        """
        content = b"".join((header(self._clock), *self._pending)) if self._pending else b""
        if content and self.rest is None:
            self._write_rest(name, content)
            self.rest = name
        failpoints.point("rescue.end")
        end = max(self.synced, HEADER_SIZE) if self._confirm else self.written
        mark = end_mark(end, str(self.rest or ""))
        self._folder.replace(f"{self.name}{END}", mark)
        if self.rest is not None and self._folder.exists(f"{self.rest}{RESCUE}"):
            failpoints.point("rescue.rename")
            self._folder.rename(f"{self.rest}{RESCUE}", f"{self.rest}{SEALED}")
        self.rescued = True
        failpoints.point("rescue.seal")
        return len(content)

    def _write_rest(self, name: SegmentName, content: bytes) -> None:
        fd = self._folder.open(f"{name}{RESCUE}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            failpoints.point("rescue.write")
            write_all(fd, content)
            os.fsync(fd)
            self._folder.sync()
        except OSError:
            self._folder.unlink(f"{name}{RESCUE}", missing_ok=True)
            raise
        finally:
            os.close(fd)
