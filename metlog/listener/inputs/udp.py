"""Input `udp`: datagrams, each of them a frame."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
import time
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from metlog.core.hosts import host_port
from metlog.errors import ConfigError
from metlog.listener.inputs import BaseInput, Handed, Sink
from metlog.listener.inputs import _systemd as passed
from metlog.listener.inputs._handed import NONE
from metlog.listener.inputs._heartbeat import Heartbeat
from metlog.listener.inputs._listening import unbound
from metlog.listener.inputs._peers import PeerNames
from metlog.listener.inputs._stop import StopSignal
from metlog.plugins.conversion import Size
from metlog.senders.options import C_INT

if TYPE_CHECKING:
    from metlog.listener.inputs._many import ManyDatagrams

__all__ = ["UdpInput"]

log = logging.getLogger("metlog.listener")

_LARGEST: Final = 65_535
"""More than a datagram can carry (65,507 bytes of payload over IPv4): none is ever cut."""
_RECV_BATCH: Final = 1024
"""Datagrams taken before they are journaled together."""
_AT_ONCE: Final = 32
"""Datagrams of one call of the kernel."""
_RECV_BYTES: Final = 4 << 20
"""Bytes taken before that."""
_GATHER: Final = 0.01
"""Least seconds between two turns while datagrams keep coming: what is checked and journaled together costs less by the event."""
_HELD: Final = 1 / 16
"""Share of the receive buffer that may be taken in one turn, for the next to wait."""
_BESIDE: Final = 1024
"""Bytes that the kernel counts for a datagram beside its own."""
_NO_CALL: Final = frozenset({errno.ENOSYS, errno.EPERM, errno.EACCES})
"""What a sandbox answers to a call that it does not let through."""
_LAST: Final = 3.0
"""Max seconds to drain a socket at shutdown."""

_SO_RCVBUFFORCE: Final = 33  # Linux; the socket module does not name it


class UdpInput(BaseInput):
    """Listens on UDP.

    Options: `host`, `port` (0 takes a free one), `sockets` (several share the port with SO_REUSEPORT, each with a
    receive buffer and a thread of its own; the kernel spreads the senders over them), `receive_buffer` in bytes asked of the
    kernel for each socket, `systemd` (takes the ListenDatagram= sockets that systemd bound, so that the kernel keeps the
    datagrams while the listener restarts; a text takes those of that FileDescriptorName=; host and port are then the unit's
    business), `fd` (takes this descriptor, which another supervisor passed).
    """

    port_option: str = "--udp HOST:PORT, or port of the input udp"
    """What chooses the port; another input that has this one as a part says its own."""
    takes_signed = True
    """A frame, or a body, comes whole, so that its signature can be checked."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 5565,
        sockets: int = 1,
        receive_buffer: Size = 64 << 20,
        systemd: bool | str = False,
        fd: int = -1,
    ) -> None:
        if not 0 <= port <= 65_535:
            raise ConfigError(f"udp.port = {port}: wants 0 to 65535")
        if not 1 <= sockets <= 64:
            raise ConfigError(f"udp.sockets = {sockets}: wants 1 to 64")
        if not 4096 <= receive_buffer <= C_INT:
            raise ConfigError(f"udp.receive_buffer = {receive_buffer}: wants 4096 to {C_INT} bytes")
        passed.check("udp", systemd, fd)
        self._host, self._port, self._count = host, port, sockets
        self._buffer = receive_buffer
        self._systemd, self._fd = systemd, fd
        self._stop: StopSignal | None = None
        self._opened: list[socket.socket] = []
        self._receivers: list[_Receiver] = []
        self.warnings: list[str] = []
        """What an operator should know, such as a receive buffer smaller than asked for."""

    @property
    def addresses(self) -> list[str]:
        return list(dict.fromkeys(receiver.address for receiver in self._receivers))

    def bind_sockets(self, handed: Handed) -> None:
        self._opened = self._open(handed)

    def listening(self) -> list[tuple[str, socket.socket]]:
        return [(self._name, receiver.socket) for receiver in self._receivers]

    @property
    def port(self) -> int:
        """The port that is bound; known once bound."""
        found = [*self._opened, *(receiver.socket for receiver in self._receivers)]
        return int(found[0].getsockname()[1])

    @property
    def _name(self) -> str:
        return passed.name_of("udp", self._host, self._port, self._systemd, self._fd)

    def start(self, sink: Sink) -> None:
        opened = self._opened or self._open(NONE)
        self._stop = StopSignal()
        for sock in opened:
            self._enlarge(sock)
            self._receivers.append(_Receiver(sock, sink, self._stop))
        self._opened = []
        for receiver in self._receivers:
            receiver.thread.start()

    def _open(self, handed: Handed) -> list[socket.socket]:
        if self._fd >= 0:
            return handed.take_all(self._name, socket.SOCK_DGRAM) or [passed.of_descriptor(self._fd, socket.SOCK_DGRAM)]
        if self._systemd:
            return handed.take_all(self._name, socket.SOCK_DGRAM) or passed.sockets(
                socket.SOCK_DGRAM, self._systemd if isinstance(self._systemd, str) else ""
            )
        return self._bind(handed)

    def _bind(self, handed: Handed) -> list[socket.socket]:
        opened: list[socket.socket] = []
        port = self._port
        while len(opened) < self._count:
            sock = handed.take(self._name, socket.SOCK_DGRAM, self._host, self._port)
            if sock is None:
                break
            opened.append(sock)
            port = sock.getsockname()[1]
        try:
            if self._count > 1:
                for sock in opened:  # else no other may be bound beside it
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            family, _, _, _, address = socket.getaddrinfo(
                self._host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
            )[0]
            while len(opened) < self._count:
                sock = socket.socket(family, socket.SOCK_DGRAM)
                opened.append(sock)
                if self._count > 1:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.bind((address[0], port, *address[2:]))
                port = sock.getsockname()[1]
        except OSError as error:
            for sock in opened:
                sock.close()
            raise unbound(f"udp://{self._host}:{port}", error, f"choose another {self.port_option}") from error
        return opened

    def _enlarge(self, sock: socket.socket) -> None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, self._buffer)  # passes over net.core.rmem_max, for root
        except OSError:
            # Asked for more than that limit, the kernel gives the limit, even when the process that bound the socket had set more.
            with socket.socket(sock.family, socket.SOCK_DGRAM) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
                given, has = (each.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for each in (trial, sock))
            if given > has:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        got = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # the kernel counts its bookkeeping, twofold
        if got < self._buffer:
            text = (
                f"{_address(sock)}: the kernel gave a receive buffer of {got} bytes, not {self._buffer}; "
                f"sysctl -w net.core.rmem_max={self._buffer} gives it"
            )
            self.warnings.append(text)
            log.warning(text)

    def stop(self) -> None:
        for sock in self._opened:
            sock.close()
        if self._stop is None:
            return
        for receiver in self._receivers:
            receiver.lives_on = self.handed_over
        self._stop.set()
        for receiver in self._receivers:
            if receiver.thread.ident is not None:
                receiver.thread.join()
        self.sockets()  # a last look at what the kernel dropped
        for receiver in self._receivers:
            receiver.close()
        self._stop.close()

    def stats(self) -> dict[str, int]:
        sockets = self.sockets()
        totals = {key: sum(item[key] for item in sockets) for key in ("frames", "bytes", "kernel_drops")}
        return {**totals, "sockets": len(sockets)}

    def sockets(self) -> list[dict[str, Any]]:
        """Of each socket `address`, `receive_buffer`, `frames`, `bytes`, `kernel_drops`."""
        drops = _kernel_drops()
        for receiver in self._receivers:
            receiver.drops = drops.get(receiver.inode, receiver.drops)
        return [
            {
                "address": receiver.address, "receive_buffer": receiver.buffer,
                "frames": receiver.frames, "bytes": receiver.bytes, "kernel_drops": receiver.drops,
            }
            for receiver in self._receivers
        ]  # fmt: skip

    def health(self) -> str:
        return next((text for receiver in self._receivers if (text := receiver.heart.health())), "")


class _Receiver:
    """One socket and the thread that empties it."""

    def __init__(self, sock: socket.socket, sink: Sink, stop: StopSignal) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._many = _many(sock)
        self._sink = sink
        self._stop = stop
        self._names = PeerNames(itemgetter(0, 1))
        self._gathers = False
        """Whether the next turn may wait for more to come."""
        self.address = _address(sock)
        self.inode = os.fstat(sock.fileno()).st_ino
        self.buffer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
        self.frames = 0
        self.bytes = 0
        self.drops = 0
        self.lives_on = False
        """Whether another input goes on with the socket."""
        self.thread = threading.Thread(target=self._run, name=f"metlog-{self.address}", daemon=True)
        self.heart = Heartbeat(self.thread, self.address)

    def _run(self) -> None:
        poll = self._stop.poll_with(self.socket.fileno())
        while not self._stop.is_set():
            now = time.monotonic()
            left = self.heart.turned + _GATHER - now
            if self._gathers and 0 < left <= _GATHER:
                self._stop.wait(left)
                now += left
            self.heart.turned = now
            if poll.poll(500):
                self._recv_batch()
        until = time.monotonic() + _LAST
        while self._recv_batch():
            self.heart.beat()
            if self.heart.turned >= until:
                if not self.lives_on:
                    log.warning(
                        "%s: ends while datagrams keep coming: what its receive buffer holds is not taken", self.address
                    )
                return

    def _recv_batch(self) -> int:
        batch: list[tuple[bytes, str]] = []
        size = 0
        try:
            while len(batch) < _RECV_BATCH and size < _RECV_BYTES:
                some = self._some()
                batch += some
                size += sum([len(data) for data, _ in some])
                if len(some) < _AT_ONCE:
                    break
        except BlockingIOError:
            pass
        except OSError as error:  # an ICMP error reported late, or a lack of memory: the socket goes on
            log.warning("%s: %s", self.address, error)
        self._gathers = size + _BESIDE * len(batch) < self.buffer * _HELD
        if batch:
            self.frames += len(batch)
            self.bytes += size
            self._sink.frames(batch)
        return len(batch)

    def _some(self) -> list[tuple[bytes, str]]:
        """Up to `_AT_ONCE` datagrams with their senders; fewer where the socket holds no more now. Raises OSError."""
        if self._many is not None:
            try:
                return self._many.receive()
            except OSError as error:
                if error.errno not in _NO_CALL:
                    raise
                self._many = None
        found: list[tuple[bytes, str]] = []
        receive, names = self.socket.recvfrom, self._names
        try:
            for _ in range(_AT_ONCE):
                data, peer = receive(_LARGEST)
                found.append((data, names[peer]))
        except OSError:
            if not found:
                raise
        return found

    def close(self) -> None:
        self.socket.close()


def _many(sock: socket.socket) -> ManyDatagrams | None:
    """Takes many datagrams at once; None where the system has no such call. ctypes is not in every build of Python, and where no memory
    may be both written and run, it cannot be loaded."""
    try:
        from metlog.listener.inputs._many import ManyDatagrams

        return ManyDatagrams(sock, _AT_ONCE)
    except (ImportError, MemoryError, OSError) as error:
        log.debug("%s: takes its datagrams one by one: %s", _address(sock), error)
        return None


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"udp://{host_port(host, port)}"


def _kernel_drops() -> dict[int, int]:
    """Datagrams that the kernel dropped for want of buffer, by the socket's inode (/proc/net/udp, last column)."""
    drops: dict[int, int] = {}
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        try:
            with open(table, encoding="ascii") as lines:  # noqa: PTH123 - a kernel table, not a file of ours
                next(lines, "")
                for line in lines:
                    columns = line.split()
                    drops[int(columns[9])] = int(columns[-1])
        except (OSError, ValueError, IndexError):  # not Linux, or a kernel without the column: nothing is known
            continue
    return drops
