"""Input `tcp`: frames over TCP, with or without TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from typing import Any

from metlog.listener.inputs import BaseInput, Handed, Sink
from metlog.listener.inputs import _systemd as passed
from metlog.listener.inputs._framing import FRAMINGS, MAX_FRAME, framing
from metlog.listener.inputs._handed import NONE
from metlog.listener.inputs._listening import bind_stream, server_tls, url_of
from metlog.listener.inputs._stream_server import StreamLimits, StreamServer, peer_name
from metlog.plugins.conversion import Seconds, Size

__all__ = ["TcpInput"]


class TcpInput(BaseInput):
    """Listens for TCP connections that carry frames, as the sender `tcp`, log shippers and `nc` send them. Nothing is answered.

    host, port
        Loopback by default; port 0 takes a free one.
    framing
        `lines`: a frame a line, JSON. `length`: each frame after its length as four bytes, the highest first.
        `msgpack`: MessagePack objects one after another. `octets`: RFC 6587's octet counting, else lines.
    cert_file, key_file, client_ca_file
        PEM files. With the first, TLS (the key may be in the same file); with the last, only clients with a certificate of
        that authority.
    max_frame
        Bytes; a longer line is dead-lettered by its beginning, a longer frame ends the connection.
    max_connections
        Beyond, new connections are closed at once.
    idle_timeout, frame_timeout
        Seconds between two frames, and from the first byte of a frame to its last.
    systemd, fd
        As for the input `udp`: a ListenStream= socket of systemd's, or a descriptor that was passed.
    """

    port_option: str = "port of the input tcp"
    """What chooses the port; another input that has this one as a part says its own."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 5565,
        framing: str = "lines",
        cert_file: str = "",
        key_file: str = "",
        client_ca_file: str = "",
        max_frame: Size = 1 << 20,
        max_connections: int = 512,
        idle_timeout: Seconds = 3600.0,
        frame_timeout: Seconds = 60.0,
        systemd: bool | str = False,
        fd: int = -1,
    ) -> None:
        if not 0 <= port <= 65_535:
            raise ValueError(f"port = {port}: wants 0 to 65535")
        if framing not in FRAMINGS:
            raise ValueError(f"framing = {framing!r}: wants one of {', '.join(sorted(FRAMINGS))}")
        if framing == "msgpack":
            import msgpack  # noqa: F401 - a missing package is told now, with its extra
        if not 64 <= max_frame <= MAX_FRAME:
            raise ValueError(f"max_frame = {max_frame}: wants 64 to {MAX_FRAME} bytes")
        for key, value in {
            "max_connections": max_connections, "idle_timeout": idle_timeout, "frame_timeout": frame_timeout,
        }.items():  # fmt: skip
            if value <= 0:
                raise ValueError(f"{key} = {value}: wants a number above 0")
        passed.check("tcp", systemd, fd)
        self._host, self._port, self._framing, self._max_frame = host, port, framing, max_frame
        self._systemd, self._fd = systemd, fd
        self._tls = server_tls(cert_file, key_file, client_ca_file)
        self._limits = StreamLimits(connections=max_connections, idle_timeout=idle_timeout, frame_timeout=frame_timeout)
        self._server: StreamServer | None = None
        self._sock: socket.socket | None = None
        self._address = ""
        self.warnings: list[str] = []
        """What an operator should know."""

    @property
    def addresses(self) -> list[str]:
        return [self._address] if self._address else []

    def take_port(self, port: int) -> None:
        """Asks for this port instead of the one in the options; before `start`."""
        self._port = port

    @property
    def port(self) -> int:
        """The port that is bound; known once bound."""
        assert self._sock is not None
        return int(self._sock.getsockname()[1])

    def bind_sockets(self, handed: Handed) -> None:
        scheme = "tls" if self._tls else "tcp"
        self._sock = bind_stream(
            scheme, self._host, self._port, self._systemd, self._fd, handed, f"choose another {self.port_option}"
        )

    def listening(self) -> list[tuple[str, socket.socket]]:
        scheme = "tls" if self._tls else "tcp"
        name = passed.name_of(scheme, self._host, self._port, self._systemd, self._fd)
        return [(name, self._sock)] if self._sock is not None else []

    def start(self, sink: Sink) -> None:
        if self._sock is None:
            self.bind_sockets(NONE)
        scheme, sock = "tls" if self._tls else "tcp", self._sock
        assert sock is not None
        self._address = url_of(scheme, sock)
        warn_if_open(self._address, sock, self._tls, self.warnings)

        def take(frames: Sequence[bytes], source: str) -> None:
            sink.frames([(frame, source) for frame in frames])

        self._server = StreamServer(
            sock, "tcp", lambda: framing(self._framing, self._max_frame), take, sink.reject, self._limits, self._tls,
            peer_name(scheme),
        )  # fmt: skip
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(handed_over=self.handed_over)
        elif self._sock is not None:
            self._sock.close()

    def stats(self) -> dict[str, int]:
        """`frames`, `bytes`, and what became of connections (`metlog.listener.inputs._stream_server`)."""
        if self._server is None:
            return {"frames": 0, "bytes": 0}
        return {**self._server.counts, "open": self._server.open}

    def health(self) -> str:
        return self._server.health() if self._server is not None else ""

    def sockets(self) -> list[dict[str, Any]]:
        """None of which the kernel drops datagrams: TCP makes its peers wait."""
        return []


def warn_if_open(address: str, sock: socket.socket, tls: ssl.SSLContext | None, warnings: list[str]) -> None:
    """Notes that everybody who reaches the address may send: it is not on loopback and asks for no certificate."""
    host = sock.getsockname()[0]
    if not (host == "::1" or host.startswith("127.") or (tls is not None and tls.verify_mode is ssl.CERT_REQUIRED)):
        warnings.append(f"{address} takes events from everybody who reaches it; set client_ca_file, or a firewall")
