"""Unix sockets, datagram or stream: to a collector on the same machine, without loss while it is slow."""

from __future__ import annotations

import os
import socket
from time import monotonic

from metlog.plugins.conversion import Seconds, Size
from metlog.senders._connection import ConnectionSender
from metlog.senders.options import one_of

__all__ = ["UnixSender"]

LONGEST_PATH = 107
"""Bytes: `sun_path` of Linux, less its closing NUL."""

LARGEST_DATAGRAM = 131072
"""Bytes, safely below the default send buffer of Linux (212,992, of which the kernel's bookkeeping takes a part)."""


class UnixSender(ConnectionSender):
    """Sends each frame as one datagram, or frames one after another in one stream.

    path
        The socket's path, at most 107 bytes; `@name` is an abstract name (Linux).
    kind
        `dgram` or `stream`.
    timeout
        Seconds that one frame may take: while the peer does not read, and while it is not there (a restart).
    max_frame
        Bytes.

    A path that was bound anew is noticed at the next frame: a datagram into the old socket would be lost without an
    error. `send` raises `metlog.errors.SenderError` with the reason `refused` (nobody there), `timeout`, `too_large`,
    `unreachable` or `closed`.
    """

    def __init__(self, *, path: str, kind: str = "dgram", timeout: Seconds = 5.0, max_frame: Size = 65536) -> None:
        one_of("kind", kind, ("dgram", "stream"))
        self.path, self.kind = path, kind
        self._address = "\0" + path[1:] if path[:1] in {"@", "\0"} else path
        if not path.strip("@\0"):
            raise ValueError(f"path = {path!r}: wants the path of a socket, or @name")
        if len(os.fsencode(self._address)) > LONGEST_PATH:
            raise ValueError(f"path = {path!r}: a socket's path has at most {LONGEST_PATH} bytes; use a shorter one")
        self.max_event: int | None = LARGEST_DATAGRAM if kind == "dgram" else None
        if kind == "dgram" and max_frame > LARGEST_DATAGRAM:
            raise ValueError(f"max_frame = {max_frame!r}: a datagram carries at most {LARGEST_DATAGRAM} bytes here")
        self._inode: tuple[int, int] | None = None
        super().__init__(timeout=timeout, max_frame=max_frame)

    def _gone(self, connected: socket.socket) -> bool:
        # A stream ends with its listener; a datagram socket does not, and its path may name another one by now.
        return super()._gone(connected) if self.kind == "stream" else self._inode != self._inode_of_path()

    def _inode_of_path(self) -> tuple[int, int] | None:
        """Returns device and inode of what the path names now; None where it names nothing, and for an abstract name."""
        if self._address[0] == "\0":
            return None
        try:
            status = os.stat(self.path)  # noqa: PTH116 - once a frame
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _connect(self, end: float) -> None:
        kind = socket.SOCK_DGRAM if self.kind == "dgram" else socket.SOCK_STREAM
        made = self._hold(socket.socket(socket.AF_UNIX, kind))
        made.settimeout(max(0.001, end - monotonic()))
        # Before it connects: when the path is bound anew in between, the next frame finds another inode there.
        self._inode = self._inode_of_path()
        made.connect(self._address)

    def _put(self, connected: socket.socket, frame: bytes, end: float) -> None:
        if self.kind == "stream":
            super()._put(connected, frame, end)
        else:
            connected.settimeout(max(0.001, end - monotonic()))
            connected.send(frame)

    def _peer(self) -> str:
        return self.path
