"""Input `unix`: frames over a Unix socket, datagram or stream."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from metlog.listener.inputs import BaseInput, Handed, Sink
from metlog.listener.inputs._datagrams import DatagramReader
from metlog.listener.inputs._framing import FRAMINGS, MAX_FRAME, framing
from metlog.listener.inputs._handed import NONE
from metlog.listener.inputs._listening import bind_unix
from metlog.listener.inputs._stream_server import StreamLimits, StreamServer
from metlog.plugins.conversion import Seconds, Size
from metlog.senders.options import C_INT

__all__ = ["UnixInput"]

_LONGEST: Final = 107  # bytes: sun_path of Linux, less its closing NUL


class UnixInput(BaseInput):
    """Listens on a Unix socket, for services of the same machine: nothing is lost while the listener is slow, its peers wait.

    path
        Where the socket is made, at most 107 bytes; `@name` is an abstract name (Linux). A socket that an ended listener left there is
        replaced.
    kind
        `dgram` (each datagram a frame) or `stream`.
    mode
        Who may connect: the socket's permissions as octal digits.
    framing
        Of a stream: `lines`, `length`, `msgpack` or `octets`, as for the input `tcp`.
    max_frame
        Bytes.
    receive_buffer
        Bytes asked of the kernel for a datagram socket.
    max_connections, idle_timeout, frame_timeout
        Of a stream, as for the input `tcp`.
    """

    def __init__(
        self,
        *,
        path: str,
        kind: str = "dgram",
        mode: str = "0660",
        framing: str = "lines",
        max_frame: Size = 1 << 20,
        receive_buffer: Size = 8 << 20,
        max_connections: int = 512,
        idle_timeout: Seconds = 86_400.0,
        frame_timeout: Seconds = 60.0,
    ) -> None:
        if not path.strip("@") or len(os.fsencode(path)) > _LONGEST:
            raise ValueError(f"path = {path!r}: wants the path of a socket, at most {_LONGEST} bytes, or @name")
        if kind not in {"dgram", "stream"}:
            raise ValueError(f"kind = {kind!r}: wants dgram or stream")
        if framing not in FRAMINGS:
            raise ValueError(f"framing = {framing!r}: wants one of {', '.join(sorted(FRAMINGS))}")
        try:
            self._mode = int(mode, 8)
        except ValueError:
            self._mode = -1
        if not 0 <= self._mode <= 0o777:
            raise ValueError(f"mode = {mode!r}: wants octal digits, as 0660")
        if not 64 <= max_frame <= MAX_FRAME:
            raise ValueError(f"max_frame = {max_frame}: wants 64 to {MAX_FRAME} bytes")
        numbers = {"max_connections": max_connections, "idle_timeout": idle_timeout, "frame_timeout": frame_timeout}
        for key, value in numbers.items():
            if value <= 0:
                raise ValueError(f"{key} = {value}: wants a number above 0")
        if not 0 < receive_buffer <= C_INT:
            raise ValueError(f"receive_buffer = {receive_buffer}: wants 1 to {C_INT} bytes")
        self._path, self._kind, self._framing, self._max_frame = path, kind, framing, max_frame
        self._buffer = receive_buffer
        self._limits = StreamLimits(connections=max_connections, idle_timeout=idle_timeout, frame_timeout=frame_timeout)
        self._inode: tuple[int, int] | None = None
        self._sock: socket.socket | None = None
        self._server: StreamServer | None = None
        self._reader: DatagramReader | None = None

    @property
    def addresses(self) -> list[str]:
        return [f"unix://{self._path}"] if self._server or self._reader else []

    def bind_sockets(self, handed: Handed) -> None:
        kind = socket.SOCK_STREAM if self._kind == "stream" else socket.SOCK_DGRAM
        self._sock = bind_unix(self._path, kind, self._mode, handed)
        if not self._path.startswith("@"):
            found = os.stat(self._path)  # noqa: PTH116 - device and inode tell whether the path is still ours
            self._inode = found.st_dev, found.st_ino

    def listening(self) -> list[tuple[str, socket.socket]]:
        return [(f"unix://{self._path}", self._sock)] if self._sock is not None else []

    def start(self, sink: Sink) -> None:
        stream = self._kind == "stream"
        if self._sock is None:
            self.bind_sockets(NONE)
        sock = self._sock
        assert sock is not None
        source = "unix://localhost"

        def take(frames: Sequence[bytes], _: str = "") -> None:
            sink.frames([(frame, source) for frame in frames])

        if stream:
            self._server = StreamServer(
                sock, "unix", lambda: framing(self._framing, self._max_frame), take, sink.reject, self._limits,
                source=lambda peer: source,
            )  # fmt: skip
            self._server.start()
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
            self._reader = DatagramReader(
                sock, "unix", self._max_frame, take, lambda data, reason: sink.reject(data, source, reason)
            )
            self._reader.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(handed_over=self.handed_over)
        if self._reader is not None:
            self._reader.stop()
        if self._sock is not None:
            self._sock.close()
        if not self.handed_over:
            self._unlink()

    def _unlink(self) -> None:
        """Removes the socket, unless another process has bound the path anew."""
        if self._inode is None:
            return
        inode, self._inode = self._inode, None
        try:
            found = os.lstat(self._path)
        except FileNotFoundError:
            return
        if (found.st_dev, found.st_ino) == inode:
            Path(self._path).unlink(missing_ok=True)

    def stats(self) -> dict[str, int]:
        """`frames`, `bytes`, `oversized`; of a stream also what became of connections."""
        if self._server is not None:
            return {**self._server.counts, "open": self._server.open}
        if self._reader is not None:
            return {"frames": self._reader.frames, "bytes": self._reader.bytes, "oversized": self._reader.oversized}
        return {"frames": 0, "bytes": 0}

    def health(self) -> str:
        part = self._server or self._reader
        return part.health() if part is not None else ""
