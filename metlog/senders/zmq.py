"""ZeroMQ: PUSH to one of several listeners, or PUB to all who subscribe."""

from __future__ import annotations

import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Final

import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from metlog.errors import SenderError
from metlog.plugins.conversion import Seconds, Size
from metlog.senders._events import events_in
from metlog.senders.options import C_INT, NotPicklable, at_least, at_most, closed, one_of

__all__ = ["ZmqSender"]

PROBE_WAIT: Final = 3.0
"""Seconds that `probe` waits for a handshake."""

_HANDSHAKE_FAILED: Final = frozenset({
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_AUTH,
})  # fmt: skip
_FOUND: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED
_PEERS: Final = _FOUND | zmq.EVENT_DISCONNECTED
_ENDPOINT: Final = re.compile(r"(tcp|ws|wss)://[^\s/]+:(\d{1,5}|\*)(/\S*)?|(ipc|inproc|pgm|epgm|udp|vmci|tipc)://\S+")


class ZmqSender(NotPicklable):
    """Sends each frame as one message; ZeroMQ connects, and connects again, in a thread of its own.

    endpoint
        `tcp://host:port`, `ipc:///path` or another of ZeroMQ's.
    pattern
        `push`: each frame to one of the connected listeners, kept while there is none. `pub`: to all subscribers, to
        none when there is none.
    bind
        Whether to bind the endpoint and let listeners connect. Only one process can: not for servers that fork workers.
    hwm
        High-water mark: messages that ZeroMQ may hold for a peer.
    linger
        Seconds that `close` waits for messages that are not out yet.
    server_key
        CURVE public key of the listener (40 characters, Z85): encrypts, and sends to nobody else.
    public_key, secret_key
        Our own CURVE keys; made for the occasion when only `server_key` is given. With `bind` we are CURVE's server:
        `secret_key` is enough, and `server_key` must be left out.
    max_frame
        Bytes.

    `send` raises `metlog.errors.SenderError` with the reason `full` (the high-water mark), `unreachable` or `closed`. Events that
    still wait for a listener when `close` ends, since none has been connected, count as dropped: `unreachable`. What was on its way to a
    listener that went away cannot be told.
    """

    nonblocking = True

    def __init__(
        self,
        *,
        endpoint: str = "tcp://127.0.0.1:5566",
        pattern: str = "push",
        bind: bool = False,
        hwm: int = 1000,
        linger: Seconds = 1.0,
        server_key: str | None = None,
        public_key: str | None = None,
        secret_key: str | None = None,
        max_frame: Size = 65536,
    ) -> None:
        one_of("pattern", pattern, ("push", "pub"))
        at_least("hwm", hwm, 1, "messages")
        at_most("hwm", hwm, C_INT, "messages")
        at_least("linger", linger, 0, "seconds")
        at_least("max_frame", max_frame, 64, "bytes")
        if not _ENDPOINT.fullmatch(endpoint):
            raise ValueError(
                f"endpoint = {endpoint!r}: wants an endpoint such as tcp://127.0.0.1:5566 or ipc:///run/app"
            )
        _check_keys(bind, server_key, public_key, secret_key)
        self.endpoint, self.pattern, self.bind, self.hwm, self.linger = endpoint, pattern, bind, hwm, linger
        self.max_frame = max_frame
        self._server_key, self._public_key, self._secret_key = server_key, public_key, secret_key
        self._end = float("inf")
        self._closed = False
        self._prepare_lock()
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._peers = self._waiting = 0
        self._lost: Callable[[str, int], None] | None = None
        self._owner = os.getpid()

    def _prepare_lock(self) -> None:
        # A ZeroMQ socket used by two threads at once ends the process. Re-entrant: a signal handler may close in the middle of `send`.
        self._lock = threading.RLock()
        self._sending = False

    def on_loss(self, lost: Callable[[str, int], None]) -> None:
        """Who counts the events that no listener came for."""
        self._lost = lost

    def open(self) -> None:
        """Binds or connects now and not at the first frame: neither waits, and peers need a moment to find each other.

        Raises ValueError when the endpoint cannot be bound.
        """
        with self._lock:
            if self._closed or self._socket is not None:
                return
            try:
                self._open()
            except zmq.ZMQError as error:
                self._release()
                raise ValueError(
                    f"endpoint = {self.endpoint!r}: {error.strerror}; another process may have it, or this machine lacks it"
                ) from error

    def probe(self) -> Iterator[str | SenderError]:
        """Connects, with CURVE's handshake, or binds, on a socket of its own."""
        with zmq.Context() as context, context.socket(zmq.PUSH if self.pattern == "push" else zmq.PUB) as tried:
            tried.linger = 0
            self._secure(tried)
            monitor = tried.get_monitor_socket()
            try:
                tried.bind(self.endpoint) if self.bind else tried.connect(self.endpoint)
                yield f"{self.endpoint} can be bound" if self.bind else self._handshake(monitor)
            except zmq.ZMQError as error:
                yield SenderError(f"{self.endpoint}: {error.strerror}", "unreachable")
            finally:
                tried.disable_monitor()

    def _handshake(self, monitor: zmq.Socket[bytes]) -> str | SenderError:
        seen: str | SenderError = SenderError(f"{self.endpoint}: no answer", "timeout")
        end = monotonic() + PROBE_WAIT
        while monitor.poll(int(max(0.0, end - monotonic()) * 1000)):
            event = recv_monitor_message(monitor)["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return f"{self.endpoint} takes the connection"
            if event == zmq.EVENT_CONNECTED:
                seen = SenderError(
                    f"{self.endpoint}: connected, and no handshake: another server_key, or no ZeroMQ", "keys"
                )
            elif event in _HANDSHAKE_FAILED:
                return SenderError(f"{self.endpoint}: the handshake failed: the keys do not fit", "keys")
            elif event == zmq.EVENT_CLOSED:  # before it was ever connected
                return SenderError(f"{self.endpoint}: connection refused", "refused")
        return seen

    def _secure(self, made: zmq.Socket[bytes]) -> None:
        """Sets the CURVE keys."""
        if self._server_key is not None:
            made.curve_serverkey = self._server_key.encode("ascii")
            public, secret = self._public_key, self._secret_key
            made.curve_publickey, made.curve_secretkey = (
                (public.encode("ascii"), secret.encode("ascii")) if public and secret else zmq.curve_keypair()
            )
        elif self._secret_key is not None:
            made.curve_secretkey = self._secret_key.encode("ascii")
            made.curve_server = True

    def _open(self) -> zmq.Socket[bytes]:
        if self.bind and self._owner != os.getpid():
            raise SenderError(f"{self.endpoint} is bound by the process that forked this one", reason="unreachable")
        self._context = context = zmq.Context()
        self._socket = made = context.socket(zmq.PUSH if self.pattern == "push" else zmq.PUB)
        made.setsockopt(zmq.SNDHWM, self.hwm)
        made.setsockopt(zmq.IPV6, 1)
        if self.pattern == "pub":
            made.setsockopt(zmq.XPUB_NODROP, 1)  # report the high-water mark; the default is to drop silently
            self._monitor = None  # messages without a subscriber are left out, as `pattern` says
        else:
            self._monitor = made.get_monitor_socket(_PEERS)
        self._peers = self._waiting = 0
        self._secure(made)
        if self.bind:
            made.bind(self.endpoint)
        else:
            made.connect(self.endpoint)
        return made

    def send(self, frame: bytes) -> None:
        """Hands one message to ZeroMQ; raises SenderError when it does not take it."""
        with self._lock:
            if self._closed:
                raise closed(self)
            self._sending = True
            try:
                (self._socket or self._open()).send(frame, zmq.NOBLOCK)
            except zmq.Again as error:
                raise SenderError(f"{self.endpoint}: {self.hwm} messages wait already", reason="full") from error
            except zmq.ZMQError as error:
                raise SenderError(f"{self.endpoint}: {error.strerror}", reason="unreachable") from error
            else:
                if self._monitor is not None and not self._connected():
                    self._waiting += events_in(frame)
            finally:
                self._sending = False
                if self._closed:
                    self._release()

    def _connected(self, seconds: float = 0.0) -> bool:
        """Whether a listener is connected, or becomes so within so many seconds: what waits then goes to it."""
        monitor, end = self._monitor, monotonic() + seconds
        while monitor is not None and monitor.poll(int(max(0.0, end - monotonic()) * 1000) if not self._peers else 0):
            if recv_monitor_message(monitor)["event"] == _FOUND:
                self._peers += 1
                self._waiting = 0
            else:
                self._peers -= 1
        return self._peers > 0

    def flush(self) -> None:
        """ZeroMQ has what was sent; `close` waits for it."""

    def deadline(self, seconds: float) -> None:
        """From now on all waiting together ends within so many seconds."""
        self._end = min(self._end, monotonic() + seconds)

    def close(self) -> None:
        """Closes the socket; waits at most `linger` seconds for what is not out yet. In a signal handler that has interrupted
        `send`: `send` does so, at its end."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if not self._sending:
                self._release()

    def _release(self) -> None:
        end = monotonic() + min(self.linger, max(0.0, self._end - monotonic()))
        if self._waiting and not self._connected(end - monotonic()) and self._lost is not None:
            self._lost("unreachable", self._waiting)
        self._waiting = 0
        if self._monitor is not None and self._socket is not None:
            self._socket.disable_monitor()
            self._monitor = None
        if self._socket is not None:
            self._socket.close(linger=int(max(0.0, end - monotonic()) * 1000))
            self._socket = None
        if self._context is not None:
            self._context.term()
            self._context = None

    def after_fork(self) -> None:
        """The child makes a context of its own; ZeroMQ's threads stayed with the parent, and so do its messages."""
        self._prepare_lock()
        if self._context is not None and self._socket is not None:
            _parents.append((self._context, self._socket, self._monitor))
        self._context = self._socket = self._monitor = None
        self._peers = self._waiting = 0


def _is_key(text: str) -> bool:
    """Whether it is the Z85 form of 32 bytes (ZeroMQ RFC 32)."""
    try:
        return len(text) == 40 and len(z85.decode(text)) == 32
    except (ValueError, KeyError, struct.error):
        return False


_parents: list[tuple[object, ...]] = []
# What a forked child must neither use nor close: it has the descriptors of the parent's threads, and not the threads.


def _check_keys(bind: bool, server_key: str | None, public_key: str | None, secret_key: str | None) -> None:
    for name, key in (("server_key", server_key), ("public_key", public_key), ("secret_key", secret_key)):
        if key is not None and not _is_key(key):  # the value stays out of the message: a secret
            raise ValueError(f"{name}: wants a CURVE key, 40 characters in Z85, as zmq.curve_keypair() gives them")
    if (public_key is None) != (secret_key is None) and not (bind and secret_key):
        raise ValueError("public_key, secret_key: one is of no use without the other; give both")
    if bind and server_key is not None:
        raise ValueError("server_key: with bind = true we are the server; give secret_key")
    if not bind and secret_key is not None and server_key is None:
        raise ValueError("server_key: needed too, the listener's public key, or nothing is encrypted")
    if (server_key or secret_key) and not zmq.has("curve"):
        raise ValueError("server_key, secret_key: this libzmq was built without CURVE; install pyzmq's own wheel")
