"""A file that frames are appended to, rotated by size or from outside."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from metlog.errors import SenderError
from metlog.plugins.conversion import Seconds, Size, convert
from metlog.senders._blocking import BlockingSender
from metlog.senders.options import at_least, at_most, positive

__all__ = ["FileSender"]

LOCK_WAIT = 5.0
"""Seconds that another process may hold the file before a frame is given up."""

LOCK_RETRY = 0.005

_FULL = {errno.ENOSPC: "no space left", errno.EDQUOT: "over the quota", errno.EFBIG: "over the size limit"}
_OPEN = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class FileSender(BlockingSender):
    """Appends each frame to a file in one write; several processes may share the file.

    path
        The file. Its folder must exist. A symbolic link is not followed: a planted one must not redirect events.
    max_bytes
        Rotate before the file would grow beyond so many bytes: `app.ndjson` becomes `app.ndjson.1`, that one `.2`, ….
        0, the default, never rotates. Rotation from outside (logrotate, without `copytruncate`) is noticed at the next
        frame in any case.
    keep
        How many rotated files stay; 1 or more.
    fsync
        `never`; `always`, after each frame; or seconds: after a frame when the last fsync is that long ago, at `flush`
        and at rotation.
    mode
        Permissions of a new file, octal digits; the process's umask is taken off.
    max_frame
        Bytes.

    A frame that does not fit the disk is taken back whole, so that no half line stays, and `send` raises
    `metlog.errors.SenderError` with the reason `full`; others are `unreachable` (cannot be opened or written), `fsync`,
    `timeout` and `closed`.
    """

    def __init__(
        self,
        *,
        path: str,
        max_bytes: Size = 0,
        keep: int = 5,
        fsync: str | float = "never",
        mode: int | str = "0640",
        max_frame: Size = 65536,
    ) -> None:
        if not path:
            raise ValueError(f"path = {path!r}: wants the path of a file")
        self.path = Path(path).absolute()  # a later chdir must not move it
        if not self.path.parent.is_dir():
            raise ValueError(f"path = {path!r}: there is no folder {str(self.path.parent)!r}; create it first")
        if self.path.is_dir():
            raise ValueError(f"path = {path!r}: this is a folder; wants the path of a file")
        at_least("max_bytes", max_bytes, 0, "bytes")
        at_least("keep", keep, 1, "files")
        at_most("keep", keep, 10_000, "files")
        at_least("max_frame", max_frame, 64, "bytes")
        self.max_bytes, self.keep, self.max_frame = max_bytes, keep, max_frame
        self.fsync = _seconds(fsync)
        self.mode = _permissions(mode)
        self._fd: int | None = None
        self._identity = (0, 0)
        self._unsynced = False
        self._end = -1  # where our last frame ended
        self._synced = monotonic()
        super().__init__()

    def probe(self) -> Iterator[str | SenderError]:
        """Checks whether this user may write there; creates nothing."""
        if self.path.is_symlink():
            yield SenderError(f"{self.path} is a symbolic link, which is not followed", "unreachable")
        elif not os.access(self.path if self.path.exists() else self.path.parent, os.W_OK):
            yield SenderError(f"{self.path} cannot be written by this user", "unreachable")
        else:
            yield f"{self.path} can be written"

    def _send(self, frame: bytes) -> None:
        """Appends the frame; raises SenderError when not all of it is in the file."""
        try:
            fd = self._lock(len(frame))
            try:
                self._append(fd, frame)
            finally:
                _unlock(fd)
        except OSError as error:
            if error.errno in _FULL:
                raise SenderError(f"{self.path}: {_FULL[error.errno]}", reason="full") from error
            self._release()  # the next frame opens the path anew
            hint = "; a symbolic link is not followed" if error.errno == errno.ELOOP else ""
            raise SenderError(f"{self.path}: {error.strerror}{hint}", reason="unreachable") from error
        self._unsynced = True
        if self.fsync is not None and monotonic() - self._synced >= self.fsync:
            self._sync()

    def _flush(self) -> None:
        if self.fsync is not None:
            self._sync()

    # One frame.

    def _lock(self, size: int) -> int:
        """The file that `path` names now, locked against other processes, with room for `size` bytes."""
        rotated = False
        while True:
            fd = self._open()
            self._wait_for_lock(fd)
            # From here on, closing the file releases the lock.
            if not self._is_current():
                self._leave()  # rotated or removed by another process
                continue
            held = os.lseek(fd, 0, os.SEEK_END) if self.max_bytes else 0
            if not held or held + size <= self.max_bytes or rotated:
                return fd
            try:
                self._rotate()
            except OSError as error:
                raise SenderError(
                    f"{self.path}: cannot be renamed to {self.path.name}.1: {error.strerror}; with max_bytes its folder"
                    " must be writable, and the file no mount point",
                    reason="unreachable",
                ) from error
            finally:
                self._leave()
            rotated = True

    def _wait_for_lock(self, fd: int) -> None:
        until = self._deadline.until(LOCK_WAIT)
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if monotonic() >= until or not self._deadline.sleep(LOCK_RETRY):
                    raise SenderError(f"{self.path}: another process keeps it locked", reason="timeout") from error
            except OSError as error:
                if error.errno in {errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}:
                    return  # this file system has no locks: one process only
                raise
            else:
                return

    def _append(self, fd: int, frame: bytes) -> None:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        begin = os.lseek(fd, 0, os.SEEK_END) if regular else 0
        if begin and begin != self._end and frame[:1] == b"{" and os.pread(fd, 1, begin - 1) != b"\n":
            frame = b"\n" + frame  # a process that was killed left half a line: it must not take ours with it
        written = 0
        try:
            while written < len(frame):  # a second round is rare: a signal, or a disk that has just become full
                written += os.write(fd, frame[written:] if written else frame)
        except OSError:
            if written and regular:
                os.ftruncate(fd, begin)  # under the lock, so these bytes are ours
            raise
        self._end = begin + len(frame)

    def _sync(self) -> None:
        if self._fd is None or not self._unsynced:
            return
        try:
            os.fsync(self._fd)
        except OSError as error:
            if error.errno in {errno.EINVAL, errno.EROFS}:  # a device: there is nothing to bring to a disk
                self._unsynced = False
                return
            # Linux forgets the pages that failed: a second fsync on this descriptor would succeed.
            self._release()
            raise SenderError(f"{self.path}: fsync: {error.strerror}", reason="fsync") from error
        self._unsynced, self._synced = False, monotonic()

    # The file.

    def _open(self) -> int:
        if self._fd is not None:
            return self._fd
        fd = os.open(self.path, _OPEN, self.mode)
        status = os.fstat(fd)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISCHR(status.st_mode)):
            os.close(fd)
            raise SenderError(f"{self.path} is neither a file nor a character device", reason="unreachable")
        self._fd, self._identity, self._end = fd, (status.st_dev, status.st_ino), -1
        if self.fsync is not None and not status.st_size:
            _sync_folder(self.path.parent)  # or a crash may lose the name of a file whose bytes are safe
        return fd

    def _is_current(self) -> bool:
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def _rotate(self) -> None:
        rotated = [Path(f"{self.path}.{number}") for number in range(1, self.keep + 1)]
        # Those up to the first number that is free move on: a rotation that fails at its last step, and is tried again with each
        # frame, moves them once.
        free = next((index for index, older in enumerate(rotated) if not older.exists()), self.keep - 1)
        for index in range(free, 0, -1):
            rotated[index - 1].replace(rotated[index])
        self.path.replace(rotated[0])

    def _leave(self) -> None:
        """Closes a file that gets no more frames: it was rotated, or removed."""
        try:
            self._flush()
        finally:
            self._release()

    def _release(self) -> None:
        self._unsynced = False
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _unlock(fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError:
        pass  # this file system has no locks


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _seconds(fsync: str | float) -> float | None:
    if isinstance(fsync, str):
        if fsync in {"never", "always"}:
            return None if fsync == "never" else 0.0
        try:
            fsync = _number(fsync)
        except ValueError:
            raise ValueError(f"fsync = {fsync!r}: wants never, always or a number of seconds") from None
    positive("fsync", fsync, "seconds")
    return float(fsync)


def _number(seconds: str) -> float:
    try:
        return float(seconds)
    except ValueError:
        return float(convert(seconds, Seconds))


def _permissions(mode: int | str) -> int:
    if isinstance(mode, str):
        if not re.fullmatch(r"(0o?)?[0-7]{3}", mode):
            raise ValueError(f"mode = {mode!r}: wants octal digits such as 0640")
        return int(mode, 8)
    if not 0 <= mode <= 0o777:
        raise ValueError(f"mode = {mode!r}: wants permissions from 0 to 0o777, such as 0o640")
    return mode
