"""UDP datagrams: one frame a datagram, never a wait."""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Final

from metlog.errors import SenderError
from metlog.plugins.conversion import Seconds, Size
from metlog.senders._resolver import Resolver
from metlog.senders.options import (
    C_INT,
    Address,
    NotPicklable,
    at_least,
    at_most,
    closed,
    host_list,
    numeric,
    port_number,
    positive,
)

__all__ = ["UdpSender"]

LOOPBACK_FRAME = 8192
REMOTE_FRAME = 1432
"""An Ethernet packet of 1,500 bytes less the headers of IPv4 or IPv6 and UDP, and 20 bytes to spare for a tunnel."""

HELD_BYTES = 256 * 1024
"""What is kept while a name has not been resolved yet."""

HELD_RETRIES = 50
"""Attempts, a millisecond apart, to hand a burst of kept frames to the kernel."""

LAST_WAIT = 1.0
"""Seconds that `close` waits for the first lookup while frames wait for it."""

_FULL = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS}
_REASONS: Final = {**dict.fromkeys(_FULL, "full"), errno.EMSGSIZE: "too_large", errno.ECONNREFUSED: "refused"}
"""Under which reason a frame counts that was not sent; `unreachable` for every other error."""

_log: Final = logging.getLogger("metlog")


class _Socket(socket.socket):
    """Closes itself when nobody uses it any more: closed while a thread sends, its descriptor could be another file's by then."""

    def __del__(self) -> None:
        self.close()


class UdpSender(NotPicklable):
    """Sends each frame as one datagram through a connected, non-blocking socket.

    host
        A name or IP address (IPv4 or IPv6), or several. Several hosts, and the several addresses of a name, are
        alternatives: frames go to one of them until it fails, then to the next. Names are looked up in a background
        thread at start, every `resolve_interval` and after errors, never by `send`; what is sent before the first
        answer is kept, up to 256 KiB, and sent when it comes. Meanwhile it counts as sent, and as `waiting` in `stats()`;
        what still waits at `close` counts as dropped, as `unresolved`.
    port
        1 to 65535.
    max_frame
        Bytes; by default 8,192 when every host is the loopback and 1,432 otherwise, which no Ethernet fragments.
    send_buffer
        Bytes that the kernel may hold for the socket (SO_SNDBUF); the system's default when left out.
    resolve_interval
        Seconds between two lookups of a name.

    `send` raises `metlog.errors.SenderError` with the reason `full` (the kernel's buffer), `too_large`, `refused`,
    `unreachable`, `unresolved` or `closed`. Datagrams that the peer's host refused after they were sent are counted by
    `stats()`.
    """

    # It is in one of four states, each with a function in `transmit`, which `send` calls:
    #   unresolved   `_send_unresolved`: no address is known; frames are kept, and sent when the lookup has an answer
    #   unconnected  `_send_unconnected`: there are addresses and no socket, or the socket is to be made anew
    #   connected    the `send` of the socket itself
    #   closed       `_send_closed`: frames are refused
    # A thread that sends makes the socket; the resolver's thread asks for it by the state `unconnected`. Several threads may
    # send at once: a socket that is replaced meanwhile closes itself when the last call that uses it has returned.

    nonblocking = True
    concurrent = True
    max_event = 65507
    """Bytes: what an IPv4 datagram can carry."""
    _family: socket.AddressFamily = socket.AF_UNSPEC
    """Which addresses of a name are used: here those of either family."""

    def __init__(
        self,
        *,
        host: str | list[str] = "127.0.0.1",
        port: int = 5565,
        max_frame: Size | None = None,
        send_buffer: Size | None = None,
        resolve_interval: Seconds = 60.0,
    ) -> None:
        self.hosts = host_list(host)
        self.port = port
        port_number(port)
        positive("resolve_interval", resolve_interval, "seconds")
        if send_buffer is not None:
            positive("send_buffer", send_buffer, "bytes")
            at_most("send_buffer", send_buffer, C_INT, "bytes")
        if max_frame is not None:
            at_least("max_frame", max_frame, 64, "bytes")
            if max_frame > self.max_event:
                raise ValueError(f"max_frame = {max_frame!r}: a datagram carries at most {self.max_event} bytes")
        literals = [numeric(each, port, socket.SOCK_DGRAM) for each in self.hosts]
        self._addresses: list[Address] = [
            address for found in literals for address in found or [] if self._family in {socket.AF_UNSPEC, address[0]}
        ]
        names = not all(literals)
        if max_frame is None:
            local = not names and all(_is_loopback(address) for address in self._addresses)
            max_frame = LOOPBACK_FRAME if local else REMOTE_FRAME
        self.max_frame: int = max_frame
        self.refused = 0
        """Datagrams that left and were refused by the peer's host (nobody listens there)."""
        self._told_refusal = False
        self.lost = 0
        """Frames that waited for a lookup, and that no address took then, or for which no address was found until `close`."""
        self._told_wait = False
        self._tell_loss: Callable[[str, int], None] | None = None
        self._send_buffer = send_buffer
        self._interval = resolve_interval
        self._current = 0
        self._socket: _Socket | None = None
        self._closed = False
        self._last_wait = LAST_WAIT
        self._prepare(names=names)

    def _prepare(self, *, names: bool) -> None:
        """Sets the state that a process starts with: no socket, and its own resolver."""
        # Taken on slow paths only, by the resolver's thread and by threads that send. Re-entrant: a signal handler may log.
        self._lock = threading.RLock()
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._resolver: Resolver | None = None
        self.transmit: Callable[[bytes], object] = self._send_unconnected if self._addresses else self._send_unresolved
        if not self._addresses:
            # Frames may wait. What counts their events is imported now: a child forked during an import waits for it without end.
            self._events_in = self._counter()
        if names:
            self._resolver = Resolver(
                self.hosts, self.port, socket.SOCK_DGRAM, self._resolved, self._unresolved,
                family=self._family, interval=self._interval,
            )  # fmt: skip

    def on_loss(self, lost: Callable[[str, int], None]) -> None:
        """Who counts the events of frames that waited for a lookup and are lost."""
        self._tell_loss = lost

    def open(self) -> None:
        """Starts to look names up, so that an address may be known when the first frame comes."""
        if self._resolver is not None:
            self._resolver.start()

    def send(self, frame: bytes) -> None:
        """Sends one datagram; raises SenderError when it is known to be lost."""
        used = self.transmit
        try:
            used(frame)
        except OSError as error:
            self.recover(frame, error, used)

    def flush(self) -> None:
        """The kernel has what was sent; what waits for a lookup goes when the answer comes. Asks whether the last datagram was refused."""
        self._ask_refusal()

    def deadline(self, seconds: float) -> None:
        """From now on all waiting together ends within so many seconds."""
        self._last_wait = min(self._last_wait, max(0.0, seconds))

    def close(self) -> None:
        """Closes the socket. Frames that wait for the first lookup get a second, and are then counted as lost."""
        if self._closed:
            return
        if self._held and self._resolver is not None:
            self._resolver.wait(self._last_wait)
            self._unresolved(self._resolver.error)
        self._ask_refusal()
        with self._lock:
            self._closed = True
            self.transmit = self._send_closed
            if self._resolver is not None:
                self._resolver.close()
            self._drop_socket()
            held = self._take_held()
        self._lose("unresolved", held)

    def stats(self) -> dict[str, int]:
        """Returns `refused`, datagrams that were refused after they had left; `waiting`, frames that wait for a lookup; `lost`, frames
        that waited for one and were not sent."""
        return {"refused": self.refused, "waiting": len(self._held), "lost": self.lost}

    def after_fork(self) -> None:
        """The child makes its own socket: ICMP errors are delivered once per socket, so sharing it would lose them."""
        if self._socket is not None:
            self._socket.close()  # now, also where a thread that is not in the child was using it
        self._drop_socket()
        if not self._closed:
            self._prepare(names=self._resolver is not None)

    # The states.

    def _send_unresolved(self, frame: bytes) -> None:
        with self._lock:
            if self._closed:
                raise closed(self)
            if self._addresses:  # the answer came between the call and the lock
                self._connect()
                self.transmit(frame)
                return
            if self._held_bytes + len(frame) > HELD_BYTES:
                error = self._resolver.error if self._resolver else None
                raise SenderError(
                    f"{', '.join(self.hosts)} not resolved yet{f' ({error})' if error else ''}", reason="unresolved"
                )
            self._held.append(frame)
            self._held_bytes += len(frame)
        self.open()

    def _send_unconnected(self, frame: bytes) -> None:
        with self._lock:
            if self.transmit == self._send_unconnected:  # no other thread has connected meanwhile
                self._connect()
        self.transmit(frame)

    def _send_closed(self, _frame: bytes) -> None:
        raise closed(self)

    # Slow paths.

    def _connect(self) -> None:
        """Makes the socket for the current address; called with the lock held, by a thread that sends."""
        if self._closed:
            raise closed(self)
        self.open()  # in a forked child that knows the addresses, the resolver is not started yet
        self._drop_socket()
        family, address = self._addresses[self._current % len(self._addresses)]
        made = _Socket(family, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            if self._send_buffer is not None:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
            made.connect(address)
        except OSError:
            made.close()
            self.transmit = self._send_unconnected
            raise
        self._socket = made
        self.transmit = made.send

    def _resolved(self, addresses: list[Address]) -> None:
        """New addresses, from the resolver's thread."""
        lost: dict[str, list[bytes]] = {}
        with self._lock:
            if self._closed:
                return
            self._addresses, self._current = addresses, 0
            # Frames that waited go here and now, before `send` may overtake them. There is no socket yet in that case.
            for frame in self._take_held():
                error = self._send_held(frame)
                if error is not None:
                    lost.setdefault(_reason(error), []).append(frame)
            self.transmit = self._send_unconnected
        for reason, frames in lost.items():
            self._lose(reason, frames)

    def _unresolved(self, error: Exception | None) -> None:
        """No address is known yet: says so, once, if frames wait for one."""
        if self._held and not self._told_wait:
            self._told_wait = True
            _log.warning(
                "%s not resolved yet%s: what is sent there waits, up to %d KiB (told once); `metlog doctor` looks for the reason",
                ", ".join(self.hosts),
                f" ({error})" if error else "",
                HELD_BYTES >> 10,
            )

    def _take_held(self) -> deque[bytes]:
        """The frames that wait for a lookup, which wait here no more; called with the lock held."""
        held, self._held, self._held_bytes = self._held, deque(), 0
        return held

    def _send_held(self, frame: bytes) -> OSError | None:
        """Sends a frame that waited for the lookup; returns why no address took it. Called with the lock held."""
        failed: OSError | None = None
        for _ in range(len(self._addresses) + HELD_RETRIES):
            try:
                if self._socket is None:
                    self._connect()
                self.transmit(frame)
            except OSError as error:
                failed = error
                if error.errno in _FULL:  # a burst: the kernel hands these on within microseconds
                    time.sleep(0.001)
                else:
                    self._current += 1
                    self._drop_socket()
            else:
                return None
        return failed

    def _lose(self, reason: str, frames: Collection[bytes]) -> None:
        """Counts frames that waited for a lookup. Called without the lock: whoever is told may log, and a handler of logging may wait
        for a thread that sends."""
        self.lost += len(frames)
        if self._tell_loss is not None and frames:
            self._tell_loss(reason, sum(map(self._events_in, frames)))

    def _counter(self) -> Callable[[bytes], int]:
        """Returns what counts the events of a frame."""
        from metlog.senders._events import events_in

        return events_in

    def _ask_refusal(self) -> None:
        """Linux tells a refusal with the next call on the socket; where none comes, it can be asked for. Called without the lock, as
        `_lose`."""
        current = self._socket
        if current is not None and current.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED:
            self._count_refusal()

    def _count_refusal(self) -> None:
        self.refused += 1
        if not self._told_refusal:
            self._told_refusal = True
            _log.warning(
                "nobody takes datagrams at %s port %s: they are refused there (counted in stats(); told once); "
                "`metlog doctor` looks for the reason",
                ", ".join(self.hosts),
                self.port,
            )

    def _drop_socket(self) -> None:
        self._socket = None

    def recover(self, frame: bytes, error: OSError, used: Callable[[bytes], object]) -> None:
        """Decides by the error that `used(frame)` raised; sends the frame again where that can help."""
        # Each address once, and the first twice: a refusal there may belong to the frame before.
        for _ in range(len(self._addresses) + 1):
            reason = _reason(error)
            if reason == "full":
                raise SenderError("the socket's send buffer is full", reason=reason) from error
            if reason == "too_large":
                raise SenderError(f"{len(frame)} bytes do not fit a datagram", reason=reason) from error
            if reason == "refused":
                # Linux reports the refusal of the last datagram on the next one and drops that: this one was not sent.
                self._count_refusal()
                self._ask_again()  # the name may stand for another host by now
            try:
                if reason != "refused" or len(self._addresses) > 1:
                    with self._lock:
                        if self.transmit == used:  # no other thread has gone on to the next address meanwhile
                            self._current += 1
                            self._connect()
                used = self.transmit
                used(frame)
            except OSError as again:
                error = again
            else:
                return
        self._ask_again()
        raise SenderError(f"{', '.join(self.hosts)} port {self.port}: {error}", reason=_reason(error)) from error

    def _ask_again(self) -> None:
        if self._resolver is not None:
            self._resolver.kick()


def _reason(error: OSError) -> str:
    return _REASONS.get(error.errno or 0, "unreachable")


def _is_loopback(address: Address) -> bool:
    host = str(address[1][0])
    return host == "::1" or host.startswith(("127.", "::ffff:127."))
