"""The journal: append-only segments, group commit, retention. One process writes it.

What is promised:

- `wait(lsn)` returns when everything up to there is on disk as `sync` has it.
- A segment's name is never used twice. A live segment becomes a sealed one by a rename, after an fsync.
- An fsync that fails is never tried again on that file: what it did not confirm is written to a new segment.
- A full disk or the cap refuse what comes, and touch nothing that is there; when there is room it goes on.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from metlog.lake import faults
from metlog.lake.cursor import Cursor, Position
from metlog.lake.files import Folder, write_all
from metlog.lake.segment import HEADER_SIZE, LIVE, SEALED, Clock, SegmentName, header, listing
from metlog.listener.inputs import Full
from metlog.listener.recovery import recover

__all__ = ["Journal", "JournalOptions"]

log = logging.getLogger("metlog.listener")

_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNCONFIRMED: Final = 64 << 20
"""Bytes that may wait for their fsync; then appending waits, so that a slow disk does not fill the memory."""
_RETRY: Final = 1.0
"""Seconds between looks for room, or for a disk that works again."""


class JournalOptions(Struct, frozen=True, kw_only=True):
    """`[journal]` of the configuration; sizes in bytes, times in seconds."""

    sync: str = "interval"
    """`always`: nothing counts before its fsync; `interval`: an fsync at most `sync_interval` or `sync_bytes` later, for all
    that came meanwhile; `never`: the kernel writes when it likes (a process killed loses nothing, a machine does)."""
    sync_interval: float = 0.05
    sync_bytes: int = 8 << 20
    segment_bytes: int = 64 << 20
    segment_age: float = 300.0
    max_bytes: int = 8 << 30
    min_free: int = 256 << 20
    """Bytes of the disk left to others, above all to the lake, whose files make room in the journal."""


class _Segment:
    def __init__(self, name: SegmentName, fd: int, base: int) -> None:
        self.name = name
        self.fd = fd
        self.base = base
        """Log sequence number of offset 0."""
        self.written = HEADER_SIZE
        self.synced = 0
        self.since = time.monotonic()
        self.named = False
        """Whether the folder that names it is on disk."""
        self.pending: deque[bytes] = deque()
        """Written and not confirmed by an fsync: what a new segment gets when the fsync fails."""
        self.failed = False


class Journal:
    """Appends records, durable by group commit. `on_progress(position, sealed)` is called (from the committing thread) when more may be
    read: everything before the position is durable, every segment before its number sealed."""

    def __init__(
        self,
        folder: Folder,
        options: JournalOptions,
        clock: Clock,
        on_progress: Callable[[Position], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._options = options
        self._clock = clock
        self._on_progress = on_progress
        self._run = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._durable_changed = threading.Condition(self._lock)
        self._wake = threading.Event()
        self._live: _Segment | None = None
        self._to_seal: deque[_Segment] = deque()
        self._appended = 0
        self._durable = 0
        self._refuses = ""
        self._look_again = 0.0
        self._closed = False
        self.syncs = 0
        self.failures = 0
        self._lock_fd = self._take_lock()
        self.recovered = recover(folder)
        sealed, _ = listing(folder)
        self._sealed = deque((name, folder.size(f"{name}{SEALED}")) for name in sealed)
        self._bytes = sum(size for _, size in self._sealed)
        self._number = max([name.number for name in sealed] + [self._greatest_cursor()], default=0) + 1
        self._end = Position(self._number)
        self._thread = threading.Thread(target=self._commit_loop, name="metlog-journal", daemon=True)
        self._thread.start()

    def _take_lock(self) -> int:
        fd = self._folder.open("lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise OSError(
                f"{self._folder.path}: another listener (process {owner or 'unknown'}) writes this journal; "
                "stop it, or give this one another data folder or journal name"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        return fd

    def _greatest_cursor(self) -> int:
        with self._folder.sub("cursors", create=True) as folder:
            return max((cursor.at.number for cursor in Cursor.load_all(folder)), default=0)

    # Appending: any thread.

    def append(self, records: bytes) -> int:
        """Writes encoded records; gives the log sequence number to wait for. Raises Full."""
        if self._appended - self._durable > _UNCONFIRMED and self._options.sync != "never":
            self.wait(self._appended - _UNCONFIRMED)
        with self._lock:
            self._check_room(len(records))
            segment = self._live
            if segment is not None and segment.written + len(records) > self._options.segment_bytes > HEADER_SIZE:
                self._retire_live()
                segment = None
            if segment is None:
                segment = self._create()
            faults.point("append")
            self._write(segment, records)
            self._appended += len(records)
            unconfirmed = segment.written - segment.synced
            lsn = self._appended
        if unconfirmed >= self._options.sync_bytes or self._options.sync == "always":
            self._wake.set()
        if self._options.sync == "always":
            self.wait(lsn)
        return lsn

    def wait(self, lsn: int, timeout: float = 30.0) -> None:
        """Returns when everything up to `lsn` is on disk. Raises Full when the disk does not take it."""
        if self._options.sync == "never":
            return
        deadline = time.monotonic() + timeout
        with self._durable_changed:
            while self._durable < lsn:
                left = deadline - time.monotonic()
                if left <= 0 or (self._closed and not self._thread.is_alive()):
                    raise Full(self._refuses or "the disk did not confirm in time")
                self._wake.set()
                self._durable_changed.wait(min(left, 1.0))

    def _check_room(self, size: int) -> None:
        if self._closed:
            raise Full("the listener is stopping")
        if self._refuses:
            if time.monotonic() < self._look_again:
                raise Full(self._refuses)
            self._look_again = time.monotonic() + _RETRY
            if self._broken():
                raise Full(self._refuses)
        if self._bytes + size > self._options.max_bytes:
            self._refuse(f"the journal holds its {self._options.max_bytes} bytes (journal.max_bytes)")
        if self._refuses or self._appended >= self._next_statvfs:
            self._next_statvfs = self._appended + min(self._options.min_free // 4, 16 << 20)
            disk = os.fstatvfs(self._folder.fd)
            if disk.f_bavail * disk.f_frsize < self._options.min_free + size:
                self._refuse(f"less than {self._options.min_free} bytes are free on its disk (journal.min_free)")
        if self._refuses:
            log.warning("the journal takes events again")
        self._refuses = ""

    _next_statvfs = 0

    def _refuse(self, reason: str) -> None:
        if not self._refuses:
            log.error("the journal takes no events: %s", reason)
        self._refuses = reason
        self._look_again = time.monotonic() + _RETRY
        raise Full(reason)

    def _broken(self) -> bool:
        return any(segment.failed for segment in self._to_seal)

    def _create(self) -> _Segment:
        name = SegmentName(self._number, self._run)
        self._number += 1  # also when it fails: a name is never used twice
        faults.point("create")
        try:
            fd = self._folder.open(f"{name}{LIVE}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        except OSError as error:
            self._refuse(f"cannot make a segment: {error.strerror}")
            raise  # not reached: _refuse raises
        segment = _Segment(name, fd, self._appended - HEADER_SIZE)
        try:
            write_all(fd, header(self._clock))
        except OSError as error:
            os.close(fd)
            self._folder.unlink(f"{name}{LIVE}", missing_ok=True)
            self._refuse(f"cannot write a segment: {error.strerror}")
        self._bytes += HEADER_SIZE
        self._live = segment
        return segment

    def _write(self, segment: _Segment, records: bytes) -> None:
        try:
            write_all(segment.fd, records)
        except OSError as error:
            if error.errno in _NO_ROOM:
                try:
                    os.ftruncate(segment.fd, segment.written)  # half a record would do no harm; it goes all the same
                except OSError:
                    self._give_up(segment)
                self._refuse(f"no room on its disk ({error.strerror})")
            self._give_up(segment)
            self._refuse(f"cannot write to its disk ({error.strerror})")
        segment.written += len(records)
        self._bytes += len(records)
        if self._options.sync != "never":
            segment.pending.append(records)

    def _retire_live(self) -> None:
        if self._live is not None:
            self._to_seal.append(self._live)
            self._live = None
            self._wake.set()

    def _give_up(self, segment: _Segment) -> None:
        segment.failed = True
        self.failures += 1
        if segment is self._live:
            self._retire_live()

    # Committing: one thread.

    def _commit_loop(self) -> None:
        while True:
            closing = self._closed
            try:
                self._commit(closing)
            except OSError as error:  # told and tried again: the thread must not end while the listener runs
                log.error("the journal's disk fails: %s", error)
                with self._lock:
                    self._refuses = f"its disk fails ({error.strerror})"
                    self._look_again = time.monotonic() + _RETRY
                time.sleep(0 if closing else _RETRY)
            if closing:
                return
            self._wake.wait(self._options.sync_interval)
            self._wake.clear()

    def _commit(self, closing: bool) -> None:
        with self._lock:
            live = self._live
            if live is not None and (closing or time.monotonic() - live.since >= self._options.segment_age):
                self._retire_live()
            batch = [*self._to_seal]
            live = self._live
            target = live.written if live is not None else 0
        for segment in batch:
            self._sync(segment, segment.written)
            if segment.failed:
                self._rescue(segment)
            else:
                self._seal(segment)
            with self._lock:
                self._to_seal.popleft()
            self._progress(segment.base + segment.written)
        if live is not None and target > live.synced:
            self._sync(live, target)
            if live.failed:
                self._wake.set()
            else:
                self._progress(live.base + target)

    def _sync(self, segment: _Segment, target: int) -> None:
        """Makes a segment durable up to `target`, or marks it as failed."""
        if segment.failed or segment.synced >= target:
            return
        with self._lock:
            confirmed = len(segment.pending)
        if self._options.sync != "never":
            faults.point("fsync")
            try:
                os.fdatasync(segment.fd)
                if not segment.named:
                    self._folder.sync()
                    segment.named = True
            except OSError as error:
                log.error("fsync of segment %s failed (%s): writing anew what it did not confirm", segment.name, error)
                with self._lock:
                    self._give_up(segment)
                return
            self.syncs += 1
        with self._lock:
            # Appends that came between are confirmed by the next one: target was taken before.
            size = segment.synced or HEADER_SIZE
            while segment.pending and confirmed and size + len(segment.pending[0]) <= target:
                size += len(segment.pending.popleft())
                confirmed -= 1
        segment.synced = target

    def _rescue(self, segment: _Segment) -> None:
        """Ends a failed segment where its last fsync left it, and writes the rest to a new one."""
        kept = max(segment.synced, HEADER_SIZE)
        self._folder.replace(f"{segment.name}.end", b"%d\n" % kept)
        if segment.pending:
            with self._lock:
                name = SegmentName(self._number, self._run)
                self._number += 1
            fd = self._folder.open(f"{name}{LIVE}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                write_all(fd, header(self._clock) + b"".join(segment.pending))
                os.fsync(fd)
                size = os.fstat(fd).st_size
            finally:
                os.close(fd)
            self._folder.rename(f"{name}{LIVE}", f"{name}{SEALED}")
            with self._lock:
                self._sealed.append((name, size))
                self._bytes += size
            segment.pending.clear()
        self._finish(segment)
        with self._lock:
            self._refuses = self._refuses and "its disk failed"
            self._look_again = 0.0

    def _seal(self, segment: _Segment) -> None:
        faults.point("seal")
        self._finish(segment)

    def _finish(self, segment: _Segment) -> None:
        self._folder.rename(f"{segment.name}{LIVE}", f"{segment.name}{SEALED}")
        faults.point("rename")
        if self._options.sync != "never":
            self._folder.sync()
        os.close(segment.fd)
        with self._lock:
            self._sealed.append((segment.name, segment.written))

    def _progress(self, lsn: int) -> None:
        with self._durable_changed:
            self._durable = max(self._durable, lsn)
            unsealed = [*self._to_seal] + ([self._live] if self._live else [])
            first = min(unsealed, key=lambda segment: segment.name.number, default=None)
            self._end = Position(first.name.number, first.synced) if first else Position(self._number)
            self._durable_changed.notify_all()
        self._on_progress(self._end)

    # Retention.

    def retire(self, number: int) -> int:
        """Unlinks every sealed segment below `number`: all outputs are durably past them. Gives how many."""
        gone = 0
        with self._lock:
            going = [entry for entry in self._sealed if entry[0].number < number]
        for name, size in going:
            faults.point("before_unlink")
            self._folder.unlink(f"{name}{SEALED}", missing_ok=True)
            self._folder.unlink(f"{name}.end", missing_ok=True)
            faults.point("after_unlink")
            gone += 1
            with self._lock:
                self._sealed.remove((name, size))
                self._bytes -= size
        return gone

    @property
    def end(self) -> Position:
        """Everything before it is durable."""
        return self._end

    @property
    def refuses(self) -> str:
        """Why it takes no events now, or the empty string."""
        return self._refuses

    def stats(self) -> dict[str, int]:
        with self._lock:
            return {
                "bytes": self._bytes,
                "segments": len(self._sealed) + len(self._to_seal) + (self._live is not None),
                "appended_bytes": self._appended,
                "durable_bytes": self._durable,
                "syncs": self.syncs,
                "failures": self.failures,
                "oldest": self._sealed[0][0].number if self._sealed else 0,
            }

    def close(self) -> None:
        """Seals what is open; everything appended is durable when it returns."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._wake.set()
        self._thread.join()

    def release(self) -> None:
        """Lets another listener write this journal."""
        os.close(self._lock_fd)
