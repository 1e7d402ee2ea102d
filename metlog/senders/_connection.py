"""A sender over a connected socket: connects when needed, comes back with backoff, notices a peer that has gone."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator
from time import monotonic
from typing import Final

from metlog.core.backoff import Backoff
from metlog.errors import SenderError
from metlog.senders._blocking import BlockingSender
from metlog.senders.options import at_least, positive

__all__ = ["ConnectionSender"]

FIRST_PAUSE = 0.1
MOST_PAUSE = 5.0
"""Seconds between two attempts to connect, growing from the first to the most."""

_READ: Final = 65536
"""Bytes of what a peer sends that are discarded at once."""

_MOST_READS: Final = 64
"""How often before a frame: a peer that never stops sending holds no frame up."""

PROBE_WAIT = 3.0
"""Seconds that `probe` waits for a peer."""


class ConnectionSender(BlockingSender):
    """Keeps one connection. A frame is tried again, on a new one, until `timeout` seconds are over.

    Each try sends the whole frame: a peer never sees the rest of a frame on a connection that did not begin it. A frame
    that was delivered just before its connection broke can arrive twice; its events' `seq` tells.
    """

    def __init__(self, *, timeout: float, max_frame: int) -> None:
        positive("timeout", timeout, "seconds")
        at_least("max_frame", max_frame, 64, "bytes")
        self.timeout, self.max_frame = timeout, max_frame
        self._socket: socket.socket | None = None
        super().__init__()

    def _fresh_state(self) -> None:
        super()._fresh_state()
        self._backoff = Backoff(FIRST_PAUSE, MOST_PAUSE)
        self._not_before = 0.0
        self._last_error: OSError | None = None

    def _send(self, frame: bytes) -> None:
        end = self._deadline.until(self.timeout)
        while True:
            pause = self._not_before - monotonic()
            if pause > 0 and (monotonic() + pause >= end or not self._deadline.sleep(pause)):
                raise self._lost(self._last_error)
            try:
                connected = self._connected(end)
                self._put(connected, frame, end)
            except OSError as error:
                self._release()
                if error.errno == errno.EMSGSIZE:
                    raise SenderError(f"{len(frame)} bytes do not fit a datagram", reason="too_large") from error
                self._last_error = error
                self._not_before = monotonic() + self._backoff.pause()
                if self._deadline.closed or monotonic() >= end:
                    raise self._lost(error) from error
            else:
                self._backoff.reset()
                self._not_before = 0.0
                return

    def _connected(self, end: float) -> socket.socket:
        if self._socket is not None and not self._gone(self._socket):
            return self._socket
        self._release()
        self._connect(end)
        assert self._socket is not None
        return self._hold(self._socket)

    def _hold(self, made: socket.socket) -> socket.socket:
        """Keeps a new socket, so that `close` can wake a call that waits on it; raises if `close` came first."""
        self._socket = made
        if self._deadline.closed:
            raise OSError(errno.ECANCELED, "closed")
        return made

    def _put(self, connected: socket.socket, frame: bytes, end: float) -> None:
        connected.settimeout(max(0.001, end - monotonic()))
        connected.sendall(frame)

    def _gone(self, connected: socket.socket) -> bool:
        """Whether the peer has closed: without this check, one more frame would be lost.

        What a peer sends is discarded, all of it: its close stands behind it. On TLS that includes the session tickets that
        arrive after the handshake.
        """
        poll = select.poll()  # unlike `select.select`, for any descriptor: a process may have more than 1,024
        poll.register(connected, select.POLLIN)
        if not poll.poll(0):
            return False
        connected.settimeout(0)
        try:
            return any(connected.recv(_READ) == b"" for _ in range(_MOST_READS))
        except (BlockingIOError, TimeoutError):
            return False
        except OSError as error:
            return not _only_wants_more(error)

    def probe(self) -> Iterator[str | SenderError]:
        """Connects, with the handshake of TLS, and closes the connection."""
        try:
            self._connect(monotonic() + min(self.timeout, PROBE_WAIT))
        except OSError as error:
            yield self._lost(error)
        else:
            yield f"{self._peer()} takes the connection"
        finally:
            self._release()

    def _lost(self, error: OSError | None) -> SenderError:
        if isinstance(error, ConnectionRefusedError | FileNotFoundError):
            reason = "refused"
        elif isinstance(error, socket.gaierror):
            reason = "unresolved"
        elif error is None or isinstance(error, TimeoutError):
            reason = "timeout"
        elif type(error).__module__ == "ssl":
            reason = "tls"
        else:
            reason = "unreachable"
        return SenderError(f"{self._peer()}: {error or 'no answer'}", reason=reason)

    def interrupt(self) -> None:
        current = self._socket
        if current is not None:
            try:
                # The plain socket's method: on TLS, too, nothing here may wait for the peer. It wakes a call that waits on
                # the socket, and what the kernel has is still delivered.
                socket.socket.shutdown(current, socket.SHUT_RDWR)
            except OSError:
                pass  # not connected: no call waits

    def _release(self) -> None:
        current, self._socket = self._socket, None
        if current is not None:
            current.close()

    # The transport.

    def _connect(self, end: float) -> None:
        """Makes a socket, passes it to `_hold`, and connects it before `end` (monotonic seconds)."""
        raise NotImplementedError

    def _peer(self) -> str:
        """The peer in an error message."""
        raise NotImplementedError


def _only_wants_more(error: OSError) -> bool:
    """Whether a TLS record held no data of the application."""
    return type(error).__name__ in {"SSLWantReadError", "SSLWantWriteError"}
