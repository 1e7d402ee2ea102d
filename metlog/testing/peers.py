"""Peers for tests of senders: one that reads, one that is not there, one that accepts and never reads."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["DatagramPeer", "StreamPeer", "closed_port", "silent_peer"]


class _Peer:
    """A bound socket with a thread that reads from it until `close`."""

    def __init__(self, family: socket.AddressFamily, kind: socket.SocketKind, address: Any) -> None:
        self.socket = socket.socket(family, kind)
        try:
            if family != socket.AF_UNIX:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            self.socket.bind(address)
        except OSError:
            self.socket.close()
            raise
        self._stop, self._stopper = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def port(self) -> int:
        """The port that was bound, for internet sockets."""
        return int(self.socket.getsockname()[1])

    def _serve(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Stops reading and releases the address."""
        self._stopper.close()
        self._thread.join(5)
        self.socket.close()
        self._stop.close()

    def __exit__(self, *exc: object) -> None:
        self.close()


class DatagramPeer(_Peer):
    """Keeps every datagram in `frames`; UDP by default, Unix with a path as the address.

    >>> with DatagramPeer() as peer, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    ...     _ = sender.sendto(b"frame", ("127.0.0.1", peer.port))
    ...     while not peer.frames:
    ...         pass
    ...     peer.frames
    [b'frame']
    """

    def __init__(self, address: str | tuple[str, int] = ("127.0.0.1", 0)) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        super().__init__(family, socket.SOCK_DGRAM, address)
        self.frames: list[bytes] = []
        self._thread.start()

    def __enter__(self) -> DatagramPeer:
        return self

    def _serve(self) -> None:
        while self._stop not in _readable(self.socket, self._stop):
            self.frames.append(self.socket.recv(1 << 18))


class StreamPeer(_Peer):
    """Keeps what each connection brought in `streams`, in the order of connecting; TCP by default, Unix with a path.

    `tls` (an `ssl.SSLContext` for servers) wraps each connection. `hang_up()` ends those that are open.
    """

    def __init__(self, address: str | tuple[str, int] = ("127.0.0.1", 0), *, tls: ssl.SSLContext | None = None) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        super().__init__(family, socket.SOCK_STREAM, address)
        self.streams: list[bytearray] = []
        self.errors: list[OSError] = []
        """What handshakes and connections failed with."""
        self._tls = tls
        self._open: dict[socket.socket, bytearray] = {}
        self.socket.listen(100)
        self._thread.start()

    def __enter__(self) -> StreamPeer:
        return self

    @property
    def data(self) -> bytes:
        """What all connections brought, one after another."""
        return b"".join(map(bytes, self.streams))

    def hang_up(self) -> None:
        """Ends every connection that is open, from this side."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _serve(self) -> None:
        while True:
            ready = _readable(self.socket, self._stop, *self._open)
            if self._stop in ready:
                break
            for one in ready:
                try:
                    self._accept() if one is self.socket else self._read(one)
                except OSError as error:
                    self.errors.append(error)
                    self._drop(one)
        for connection in list(self._open):
            self._drop(connection)

    def _accept(self) -> None:
        connection, _ = self.socket.accept()
        if self._tls is not None:
            connection.settimeout(5)
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                raise
        self._open[connection] = bytearray()
        self.streams.append(self._open[connection])

    def _read(self, connection: socket.socket) -> None:
        chunk = connection.recv(1 << 16)
        while isinstance(connection, ssl.SSLSocket) and connection.pending():  # poll does not see what TLS holds
            chunk += connection.recv(1 << 16)
        if chunk:
            self._open[connection] += chunk
        else:
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        if connection is not self.socket:
            self._open.pop(connection, None)
            connection.close()


def _readable(*sockets: socket.socket) -> list[socket.socket]:
    """Waits until one can be read, or has ended; returns those of which that is true. Takes any descriptor, as `select` does not."""
    by_number = {each.fileno(): each for each in sockets}
    poll = select.poll()
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll()]


def closed_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of the loopback on which nobody listens."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def silent_peer(kind: socket.SocketKind = socket.SOCK_STREAM, *, accept: bool = True) -> Iterator[int]:
    """The port of a peer that never reads; a stream's connections are accepted, or left in the kernel's queue.

    The kernel still takes about 1 MB of a stream, most of it on the sender's side: send more, or nothing is held up.
    """
    with socket.socket(socket.AF_INET, kind) as bound, contextlib.ExitStack() as stack:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)  # inherited by its connections
        bound.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            bound.listen(16)
        if kind == socket.SOCK_STREAM and accept:
            stop, stopper = socket.socketpair()

            def take() -> None:
                with contextlib.ExitStack() as held:
                    while stop not in _readable(bound, stop):
                        held.enter_context(bound.accept()[0])

            thread = threading.Thread(target=take, daemon=True)
            thread.start()
            stack.enter_context(stop)
            stack.callback(thread.join, 5)
            stack.enter_context(stopper)
        yield int(bound.getsockname()[1])
