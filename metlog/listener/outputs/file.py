"""Output `file`: appends to a file, each event exactly once."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec
from msgspec import Struct

from metlog import plugins
from metlog.journal.folder import Folder, write_all
from metlog.listener.outputs import BaseOutput, Batch
from metlog.plugins.conversion import Size
from metlog.senders.options import at_least

__all__ = ["FileOutput"]

log = logging.getLogger("metlog.listener")

_OPEN: Final = os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY


class _State(Struct):
    """What is known to be written, kept beside the file as `.NAME.state`."""

    batch: str = ""
    """Id of the last batch."""
    inode: int = 0
    size: int = 0
    """Bytes of that file at its end."""


class FileOutput(BaseOutput):
    """Appends batches, encoded, and keeps beside the file which batch it ends with and at which size.

    A batch that was half written at a crash is cut off and written again; one that was written whole is not repeated.
    The file is this output's own: what others append may be cut off too, when the listener was killed in a batch.

    path
        The file. Its folder must exist; a symbolic link in the file's place is not followed. Made with mode 0640.
    encoder
        `json` by default (one event a line); `text`, `msgpack`, ….
    max_bytes
        Rotate before the file would grow beyond so many bytes: `app.ndjson` becomes `app.ndjson.1`, that one `.2`, ….
        0, the default, never rotates; a batch that is larger (`batch_bytes`) is a file of its own. Rotation from outside
        (logrotate, without `copytruncate`), and a folder that was replaced (a volume mounted over it, a new release beside
        the old one), are noticed at the next batch.
    keep
        Rotated files that stay.
    fsync
        Whether each batch is on disk before it counts as delivered. Without, a crash of the machine (not of the
        listener) may lose or repeat the last ones.
    """

    batch_defaults: ClassVar[dict[str, Any]] = {"batch_events": 10_000, "batch_bytes": 4 << 20, "batch_age": 1.0}

    def __init__(
        self, *, path: str, encoder: Any = "json", max_bytes: Size = 0, keep: int = 5, fsync: bool = True
    ) -> None:
        if not Path(path).name:
            raise ValueError(f"path = {path!r}: wants the path of a file")
        at_least("max_bytes", max_bytes, 0, "bytes")
        at_least("keep", keep, 1, "files")
        self._path = Path(path)
        self._name = self._path.name
        self._encoder = plugins.build("encoder", encoder, "encoder")
        self._max_bytes, self._keep, self._fsync = max_bytes, keep, fsync
        self._folder: Folder | None = None
        self._fd = -1
        self._state = _State()
        self._torn = False

    def describe(self) -> str:
        return f"file://{self._path}"

    def start(self) -> None:
        self.close()
        self._folder = Folder.root(self._path.parent)
        try:
            self._state = msgspec.json.decode(self._folder.read(f".{self._name}.state"), type=_State)
        except FileNotFoundError:
            self._state = _State()
        except msgspec.DecodeError as error:  # another program's doing: this one replaces it whole
            log.warning(
                "file output: %s is damaged and set aside: %s", self._path.parent / f".{self._name}.state", error
            )
            self._state = _State()
        self._torn = True  # what lies beyond the known size was being written when the process ended
        self._open(self._folder)
        self._folder.tidy(f".{self._name}.state.")  # what a process left that was killed while it wrote

    def write(self, batch: Batch) -> None:
        if self._folder is None or self._replaced(self._folder):
            self.start()
        assert self._folder is not None
        if batch.id == self._state.batch:
            return
        self._follow(self._folder)
        encode = self._encoder.encode
        data = self._encoder.frame([encode(delivery.event) for delivery in batch.deliveries])
        if self._max_bytes and self._state.size and self._state.size + len(data) > self._max_bytes:
            self._rotate(self._folder)
        self._mend()
        self._torn = True
        write_all(self._fd, data)
        if self._fsync:
            os.fsync(self._fd)
        self._keep_state(self._folder, batch.id, self._state.size + len(data))
        self._torn = False

    def _mend(self) -> None:
        """Cuts off what an unfinished batch left. Without one the file's size counts as it is, with what others appended."""
        size = os.fstat(self._fd).st_size
        if self._torn and size > self._state.size:
            log.warning("file output: %s: cut off %d bytes of an unfinished batch", self._path, size - self._state.size)
            os.ftruncate(self._fd, self._state.size)
        else:
            self._state.size = size

    def _replaced(self, folder: Folder) -> bool:
        """Whether the path leads to another folder now, which has a state of its own. Raises OSError when it leads to none."""
        there, held = self._path.parent.stat(), os.fstat(folder.fd)
        return (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino)

    def _follow(self, folder: Folder) -> None:
        """Opens the file anew when another one, or none, has its name now."""
        try:
            there = os.stat(self._name, dir_fd=folder.fd, follow_symlinks=False).st_ino
        except FileNotFoundError:
            there = 0
        if there != self._state.inode:
            if self._torn:
                self._mend()  # the last time that the old file is open
            self._open(folder)

    def _open(self, folder: Folder) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        fd = folder.open(self._name, _OPEN | os.O_CREAT)
        try:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                raise OSError(f"{self._path} is no regular file; the output stdout writes to pipes")
            if facts.st_nlink > 1:  # somebody's link to a file of theirs, or of ours to read it elsewhere
                raise OSError(
                    f"{self._path} has {facts.st_nlink} names (hard links); give the output a file of its own"
                )
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise OSError(
                f"{self._path}: another process writes this file; give each output a file of its own"
            ) from None
        except OSError:
            os.close(fd)
            raise
        self._fd = fd
        if facts.st_ino != self._state.inode:  # before the first byte: after a crash its size must be known
            self._torn = False
            self._state.inode = facts.st_ino
            self._keep_state(folder, self._state.batch, facts.st_size)

    def _rotate(self, folder: Folder) -> None:
        # Up to the first number that is free: one that a crash in the middle of these left is filled, and no file pushed out.
        free = next((n for n in range(1, self._keep) if not folder.exists(f"{self._name}.{n}")), self._keep)
        for number in range(free - 1, 0, -1):
            folder.rename(f"{self._name}.{number}", f"{self._name}.{number + 1}")
        folder.rename(self._name, f"{self._name}.1")
        self._open(folder)

    def _keep_state(self, folder: Folder, batch: str, size: int) -> None:
        state = _State(batch, self._state.inode, size)
        folder.replace(f".{self._name}.state", msgspec.json.encode(state), durable=self._fsync)
        self._state = state

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._folder is not None:
            self._folder.close()
            self._folder = None
