"""Files of the data folder: opened relative to a folder, never through a symbolic link, not readable by others."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from metlog.journal import failpoints

__all__ = ["DIR_MODE", "FILE_MODE", "Folder", "journals"]

DIR_MODE: Final = 0o750
FILE_MODE: Final = 0o640

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINK: Final = os.O_NOFOLLOW | os.O_CLOEXEC
_JOURNAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""What a journal may be called; `lost+found`, in a file system's root, is none."""


class Folder:
    """An open folder. Everything below it is reached by name from its descriptor, so that a link planted in
    its place is an error (OSError ELOOP or ENOTDIR) and not a way out of the data folder."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.fd = descriptor
        self.path = path

    @classmethod
    def root(cls, path: Path, *, create: bool = False) -> Folder:
        """The data folder itself; it may be a link, since who starts the listener chose it."""
        if create:
            try:
                path.mkdir(mode=DIR_MODE, parents=True, exist_ok=True)
            except FileExistsError as error:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error
        return cls(os.open(path, _FOLDER), path)

    def sub(self, name: str, *, create: bool = False) -> Folder:
        """A folder below; with `create` made when it is not there (mode 0750) and made durable."""
        if create:
            try:
                os.mkdir(name, DIR_MODE, dir_fd=self.fd)
                os.fsync(self.fd)
            except FileExistsError:
                pass
        return Folder(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=self.fd), self.path / name)

    def sub_if(self, name: str) -> Folder | None:
        """A folder below; None where a file or a link has its name, or nothing has by now. Raises OSError for one that cannot be opened."""
        try:
            return self.sub(name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise

    def open(self, name: str, flags: int) -> int:
        """A descriptor of a file here, made with mode 0640 when `flags` say so."""
        return os.open(name, flags | _NO_LINK, FILE_MODE, dir_fd=self.fd)

    def names(self) -> list[str]:
        return sorted(os.listdir(self.fd))  # noqa: PTH208 - by the open folder, not by a path that can be swapped

    def regular(self, suffix: str) -> Iterator[os.DirEntry[str]]:
        """Regular files (no links) whose names end so; in no order."""
        with os.scandir(self.fd) as entries:
            for entry in entries:
                if entry.name.endswith(suffix) and entry.is_file(follow_symlinks=False):
                    yield entry

    def exists(self, name: str) -> bool:
        try:
            return stat.S_ISREG(os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    def names_open(self, name: str, descriptor: int) -> bool:
        """Whether a name is that of an open file, and not of another one that has taken its place."""
        try:
            there = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(descriptor))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock of this folder; waits for who else holds it."""
        descriptor = os.open(".", _FOLDER, dir_fd=self.fd)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def size(self, name: str) -> int:
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_size

    def read(self, name: str) -> bytes:
        descriptor = self.open(name, os.O_RDONLY)
        try:
            return read_all(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def unlink(self, name: str, *, missing_ok: bool = False) -> None:
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def sync(self) -> None:
        """Makes names (created, renamed, removed) durable."""
        os.fsync(self.fd)

    def replace(self, name: str, content: bytes, *, durable: bool = True, point: str = "") -> None:
        """Writes a whole file so that a reader sees the old or the new one, also after a crash when `durable`.

        `point` names the fault points around it (`metlog.journal.failpoints`): itself, `point.rename`, `point.saved`."""
        if failpoints.ON and point:
            failpoints.point(point)
        temporary = f".{name}.{os.getpid()}.tmp"
        descriptor = self.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(descriptor, content)
            if durable:
                os.fsync(descriptor)
        except BaseException:
            self.unlink(temporary, missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        if failpoints.ON and point:
            failpoints.point(f"{point}.rename")
        self.rename(temporary, name)
        if durable:
            self.sync()
        if failpoints.ON and point:
            failpoints.point(f"{point}.saved")

    def append_line(self, name: str, line: bytes) -> None:
        """Appends a line to a file that has one writer at a time, durably. What a crash left of the line before is ended first, so that it
        spoils no other. Raises OSError; then the file is as it was."""
        descriptor = self.open(name, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            size = os.fstat(descriptor).st_size
            cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            try:
                write_all(descriptor, (b"\n" if cut else b"") + line + b"\n")
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if not size:
            self.sync()

    def tidy(self, prefix: str) -> None:
        """Removes what `replace` of files whose names begin so left behind when its process was killed."""
        for entry in self.regular(".tmp"):
            if entry.name.startswith(f".{prefix}"):
                self.unlink(entry.name, missing_ok=True)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def journals(data: Folder) -> Iterator[tuple[str, Folder]]:
    """Yields the name of each journal of a data folder, and the journal, open while the caller has it; nothing where no listener has run.
    What is no folder in the place of a journal is passed over. Raises OSError for a journal that cannot be opened."""
    try:
        folder = data.sub("journal")
    except FileNotFoundError:
        return
    with folder:
        for name in folder.names():
            journal = folder.sub_if(name) if _JOURNAL.fullmatch(name) else None
            if journal is not None:
                with journal:
                    yield name, journal


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Writes everything; `os.write` may take less."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def read_all(descriptor: int, size: int | None = None, *, start: int = 0) -> bytes:
    """From `start` to the offset `size`, or the end as it is now."""
    wanted = os.fstat(descriptor).st_size if size is None else size
    parts = []
    offset = start
    while offset < wanted:
        part = os.pread(descriptor, min(wanted - offset, 1 << 26), offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
