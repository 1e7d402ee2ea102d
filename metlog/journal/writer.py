"""The journal: append-only segments, group commit, retention. One process writes it.

What is promised:

- `wait(lsn)` returns when everything up to there is on disk as `sync` has it.
- A segment's name is never used twice. An active segment becomes a sealed one by a rename, after an fsync.
- An fsync that fails is never tried again on that file: what it did not confirm is written to a new segment.
- A full disk or the cap refuse what comes, and touch nothing that is there; when there is room it goes on.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from metlog.journal import failpoints
from metlog.journal.active import ActiveSegment
from metlog.journal.capacity import Capacity, why
from metlog.journal.cursor import Cursor, Position
from metlog.journal.errors import Full
from metlog.journal.folder import Folder
from metlog.journal.idempotency import through
from metlog.journal.identity import identity_of
from metlog.journal.recovery import recover
from metlog.journal.segment import END, HEADER_SIZE, SEALED, Clock, SegmentName, listing
from metlog.plugins.schema import Seconds, Size

__all__ = ["Journal", "JournalOptions"]

log = logging.getLogger("metlog.listener")

_UNCONFIRMED: Final = 64 << 20
"""Bytes that may wait for their fsync; then appending waits, so that a slow disk does not fill the memory."""
_PATIENCE: Final = 0.25
"""Seconds between two tries of a disk that fails, and between two looks for room."""
_DISK_FAILS: Final = 2.0
"""Max `wait()` while a failed segment has not been rewritten to a new one."""


class JournalOptions(Struct, frozen=True, kw_only=True):
    """`[journal]` of the configuration; sizes in bytes, times in seconds."""

    sync: Literal["always", "interval", "never"] = "interval"
    """`always`: nothing counts before its fsync; `interval`: an fsync at most `sync_interval` or `sync_bytes` later, for all
    that came meanwhile; `never`: the kernel writes when it likes (a process killed loses nothing, a machine does)."""
    sync_interval: Annotated[Seconds, Meta(ge=0.001, le=60)] = 0.05
    sync_bytes: Size = 8 << 20
    segment_bytes: Annotated[Size, Meta(ge=4096)] = 64 << 20
    segment_age: Annotated[Seconds, Meta(ge=0.1)] = 300.0
    max_bytes: Size = 8 << 30
    min_free: Size = 256 << 20
    """Bytes of the disk left to others, above all to the lake, whose files make room in the journal."""


class Journal:
    """Appends records, durable by group commit. `on_progress(position)` is called (from the committing thread) when more may be
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
        self.run = ""
        """Name of this run: the listener's own and a random part. The names of its segments have it, and so do those of the
        Parquet files made from them."""
        self._lock = threading.Lock()
        self._durable_changed = threading.Condition(self._lock)
        self._wake = threading.Event()
        self._active: ActiveSegment | None = None
        self._to_seal: deque[ActiveSegment] = deque()
        self._appended = 0
        self._durable = 0
        self._capacity = Capacity(folder, options.max_bytes, options.min_free)
        self._capacity.check_free()
        self._closed = False
        self._syncs = 0
        self._failures = 0
        self._lock_fd = self._take_lock()
        try:
            self.run = identity_of(folder).id + secrets.token_hex(4)
            self.recovered = recover(folder)
            sealed, _ = listing(folder)
            self._sealed = deque((name, folder.size(f"{name}{SEALED}")) for name in sealed)
            self._bytes = sum(size for _, size in self._sealed)
            self._number = max([name.number for name in sealed] + [self._greatest_known()], default=0) + 1
        except BaseException:
            os.close(self._lock_fd)
            raise
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
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        except OSError as error:  # a full disk: the lock holds all the same
            log.warning("%s: cannot note this process in the lock file: %s", self._folder.path, error.strerror)
        return fd

    def _greatest_known(self) -> int:
        """The greatest number that a cursor or the memory of keys has met: no later segment may have a smaller one."""
        with self._folder.sub("cursors", create=True) as folder:
            met = [cursor.at.number for cursor in Cursor.load_all(folder)]
        return max([*met, through(self._folder)])

    def configure(self, options: JournalOptions, clock: Clock) -> None:
        """Goes over to other settings. What is open is sealed when the clock's limits, which stand in each segment, are others, and when
        records begin to need an fsync or need none any more: a segment keeps those that wait for one from its first on, or none."""
        with self._lock:
            if clock != self._clock or (options.sync == "never") != (self._options.sync == "never"):
                self._retire_active()
            self._options, self._clock = options, clock
            self._capacity.configure(options.max_bytes, options.min_free)
        self._wake.set()

    def rotate(self) -> Position:
        """Seals what is open; returns how far the journal may be read then. Where the disk does not take it within 30 s, that is less."""
        with self._durable_changed:
            self._retire_active()
            target = self._number
            self._durable_changed.wait_for(lambda: not self._unsealed or self._end.number >= target, 30.0)
            if not self._unsealed:  # numbers of files that could not be made are passed over
                self._end = Position(self._number)
            return self._end

    @property
    def _unsealed(self) -> list[ActiveSegment]:
        return [*self._to_seal] + ([self._active] if self._active else [])

    # Appending: any thread.

    def append(self, records: bytes) -> int:
        """Writes encoded records; returns the log sequence number to `wait` for. Raises Full: then nothing was written."""
        if self._appended - self._durable > _UNCONFIRMED and self._options.sync != "never":
            self.wait(self._appended - _UNCONFIRMED)
        with self._lock:
            if self._closed:
                raise Full("the listener is stopping")
            self._capacity.check(len(records), self._bytes, self._appended)
            segment = self._active
            if segment is not None and segment.written + len(records) > self._options.segment_bytes > HEADER_SIZE:
                self._retire_active()
                segment = None
            try:
                if segment is None:
                    segment = self._begin()
                segment.append(records)
            except OSError as error:
                if segment is not None and segment.failed:
                    self._give_up(segment)
                raise self._capacity.pause(why(error), len(records)) from error
            self._bytes += len(records)
            self._appended += len(records)
            unconfirmed = segment.written - segment.synced
            lsn = self._appended
        if unconfirmed >= self._options.sync_bytes or self._options.sync == "always":
            self._wake.set()
        return lsn

    def confirm(self, lsn: int) -> None:
        """What must be done before events count that nobody waits for: with `always`, `wait`; else nothing."""
        if self._options.sync == "always":
            self.wait(lsn)

    def wait(self, lsn: int, timeout: float = 30.0) -> None:
        """Returns when everything up to `lsn` is on disk. Raises Full when the disk does not take it."""
        if self._options.sync == "never":
            return
        began = time.monotonic()
        with self._durable_changed:
            while self._durable < lsn:
                # A failed disk may block for long: fail early, so that the client tries again later.
                patience = min(timeout, _DISK_FAILS) if self._broken() else timeout
                left = began + patience - time.monotonic()
                if left <= 0 or (self._closed and not self._thread.is_alive()):
                    raise Full(self._capacity.reason or "the disk did not confirm in time")
                self._wake.set()
                self._durable_changed.wait(min(left, 1.0))

    def _broken(self) -> bool:
        return any(segment.failed for segment in self._to_seal)

    def _begin(self) -> ActiveSegment:
        name = self._next_name()
        self._active = ActiveSegment(
            self._folder, name, self._clock, self._appended, confirm=self._options.sync != "never"
        )  # fmt: skip
        self._bytes += HEADER_SIZE
        return self._active

    def _next_name(self) -> SegmentName:
        name = SegmentName(self._number, self.run)
        self._number += 1  # also when no file comes of it: a name is never used twice
        return name

    def _retire_active(self) -> None:
        if self._active is not None:
            self._to_seal.append(self._active)
            self._active = None
            self._wake.set()

    def _give_up(self, segment: ActiveSegment) -> None:
        segment.failed = True
        self._failures += 1
        if segment is self._active:
            self._retire_active()

    # Committing: one thread.

    def _commit_loop(self) -> None:
        while True:
            closing = self._closed
            try:
                self._commit(closing)
            except OSError as error:  # told and tried again: the thread must not end while the listener runs
                log.error("the journal cannot commit: %s", error)
                with self._lock:
                    self._capacity.pause(why(error))
                time.sleep(0 if closing else _PATIENCE)
            if closing:
                return
            wait = self._options.sync_interval
            self._wake.wait(min(wait, _PATIENCE) if self._capacity.reason else wait)
            self._wake.clear()

    def _commit(self, closing: bool) -> None:
        with self._lock:
            active = self._active
            if active is not None and (closing or time.monotonic() - active.since >= self._options.segment_age):
                self._retire_active()
            batch = [*self._to_seal]
            active = self._active
            target = active.written if active is not None else 0
        for segment in batch:
            self._sync(segment, segment.written)
            if segment.failed:
                self._rescue(segment)
            segment.seal()
            with self._lock:
                self._to_seal.popleft()
                self._sealed.append((segment.name, segment.written))
            self._progress(segment.base + segment.written)
        if active is not None and target > active.synced:
            self._sync(active, target)
            if active.failed:
                self._wake.set()
            else:
                self._progress(active.base + target)
        if self._capacity.probe_due and not self._broken():
            reason = self._capacity.probe(self._bytes)
            with self._lock:
                self._capacity.resume_or_pause(reason)

    def _sync(self, segment: ActiveSegment, target: int) -> None:
        """Makes a segment durable up to `target`, or marks it as failed."""
        if segment.failed or segment.synced >= target:
            return
        if self._options.sync != "never":
            try:
                segment.sync()
            except OSError as error:
                log.error("fsync of segment %s failed (%s): writing anew what it did not confirm", segment.name, error)
                with self._lock:
                    self._give_up(segment)
                return
            self._syncs += 1
        with self._lock:
            segment.confirmed(target)  # appends that came between are confirmed by the next one

    def _rescue(self, segment: ActiveSegment) -> None:
        if segment.rescued:
            return
        with self._lock:
            name = self._next_name()
        size = segment.rescue(name)
        with self._lock:
            if segment.rest is not None:
                self._sealed.append((segment.rest, size))
                self._bytes += size
                # It may be younger than the active one, which must be sealed before outputs come to it.
                self._retire_active()

    def _progress(self, lsn: int) -> None:
        with self._durable_changed:
            self._durable = max(self._durable, lsn)
            first = min(self._unsealed, key=lambda segment: segment.name.number, default=None)
            self._end = Position(first.name.number, first.synced) if first else Position(self._number)
            self._durable_changed.notify_all()
        self._on_progress(self._end)

    # Retention.

    def retirable(self, number: int) -> bool:
        """Whether a sealed segment below `number` is there."""
        with self._lock:
            return any(name.number < number for name, _ in self._sealed)

    def retire(self, number: int) -> int:
        """Unlinks every sealed segment below `number`: all outputs are durably past them. Returns how many."""
        gone = 0
        with self._lock:
            going = [entry for entry in self._sealed if entry[0].number < number]
        for name, size in going:
            failpoints.point("before_unlink")
            self._folder.unlink(f"{name}{SEALED}", missing_ok=True)
            failpoints.point("after_unlink")
            self._folder.unlink(f"{name}{END}", missing_ok=True)
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
        return self._capacity.reason

    def stats(self) -> dict[str, Any]:
        """`run`, and figures: `bytes` and `segments` now, `oldest` number; since the start `appended_bytes`,
        `durable_bytes`, `syncs`, `failures` (files given up), `refusals` (writes refused).

        Without the lock, which is held while a record is written: a status request must not wait for a disk that
        hangs. Each figure is right by itself."""
        return {
            "run": self.run,
            "bytes": self._bytes,
            "segments": len(self._sealed) + len(self._to_seal) + (self._active is not None),
            "appended_bytes": self._appended,
            "durable_bytes": self._durable,
            "syncs": self._syncs,
            "failures": self._failures,
            "refusals": self._capacity.refusals,
            "oldest": min((name.number for name, _ in tuple(self._sealed)), default=0),
        }

    def close(self) -> None:
        """Seals what is open. Everything appended is durable when it returns, unless the disk fails: then the log has the error, and the
        next start takes up what it finds."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._wake.set()
        self._thread.join()

    def release(self) -> None:
        """Lets another listener write this journal."""
        os.close(self._lock_fd)
