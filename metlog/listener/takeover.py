"""A new process takes the sockets and the journal of one that runs: `metlog listen --takeover`.

The process that runs listens on a Unix socket in the folder of its journal (`takeover`, mode 0600), and speaks only with processes
of its own user, or root's. One message each way, in turn:

1. The new one asks. The old one sends duplicates of its listening sockets (SCM_RIGHTS), and goes on.
2. The new one binds what else it wants, and says `ready` with the sockets that it goes on with. One that fails until here has
   changed nothing.
3. The old one ends its inputs, journals what they have read, seals and closes the journal, and says `released`. What comes meanwhile
   waits in the kernel: in the receive buffers of datagram sockets, in the backlogs of the others.
4. The new one opens the journal, starts outputs and inputs, and says `taken`. The old one ends. If the new one dies before that, the
   old one takes its sockets and the journal up again.
"""

from __future__ import annotations

import array
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

from metlog.errors import MetlogError
from metlog.journal.folder import Folder
from metlog.listener.inputs import Handed, HandedSocket

__all__ = ["Predecessor", "TakeoverServer"]

log = logging.getLogger("metlog.listener")

_NAME: Final = "takeover"
_LARGEST: Final = 1 << 16
_MOST: Final = 250
"""Sockets that one message carries; the kernel takes 253."""
_PATIENCE: Final = 300.0
"""Seconds that a process which has asked may take to be ready."""
_CREDENTIALS: Final = "3i"
"""struct ucred: pid, uid, gid."""


class _Message(Struct, omit_defaults=True):
    """One message, either way."""

    what: str
    """`ask`, `offer`, `ready`, `released`, `taken` or `refused`."""
    pid: int = 0
    sockets: list[tuple[str, str]] = []
    """Of an offer: input and name of each socket that comes with it."""
    taken: list[int] = []
    """Of `ready`: which of these the process goes on with."""
    error: str = ""


class Relieved(Protocol):
    """What a takeover wants of the listener that runs: see `metlog.listener.service.Service`."""

    def offer(self) -> Handed: ...
    def give_up(self, heirs: Collection[str]) -> None: ...
    def end_outputs(self) -> None: ...
    def resume(self, handed: Handed) -> None: ...


class TakeoverServer:
    """Waits, in a thread, for a process that takes over. `gone(pid)` is called when one has, `lost(error)` when the listener could
    not take events again after one that failed."""

    def __init__(
        self, service: Relieved, folder: Path, gone: Callable[[int], None], lost: Callable[[Exception], None]
    ) -> None:
        self._service = service
        self._path = folder
        self._gone, self._lost = gone, lost
        self._over = False
        self.seconds = 0.0
        """How long nobody took events, at most."""
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="metlog-takeover", daemon=True)

    def start(self) -> None:
        """Raises OSError where there are no Unix sockets to be had, as on some shared file systems."""
        with Folder.root(self._path) as folder:
            temporary = f".{_NAME}.{os.getpid()}"
            folder.unlink(temporary, missing_ok=True)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                sock.bind(_within(folder, temporary))
                os.chmod(temporary, 0o600, dir_fd=folder.fd)
                sock.listen(4)
                folder.rename(temporary, _NAME)
            except OSError:
                sock.close()
                folder.unlink(temporary, missing_ok=True)
                raise
        self._socket = sock
        self._thread.start()

    def stop(self) -> None:
        """Takes no more processes; removes the socket unless another process has its own there."""
        if self._socket is None:
            return
        if not self._over:
            with Folder.root(self._path) as folder:
                folder.unlink(_NAME, missing_ok=True)
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept
        if threading.current_thread() is not self._thread:
            self._thread.join(1.0)
        self._socket.close()

    def _run(self) -> None:
        assert self._socket is not None
        while not self._over:
            try:
                peer, _ = self._socket.accept()
            except OSError:  # stopped
                return
            with peer:
                try:
                    self._serve(peer)
                except (OSError, msgspec.MsgspecError) as error:
                    log.warning("a takeover failed before anything was handed over: %s", error)

    def _serve(self, peer: socket.socket) -> None:
        pid, uid = _credentials(peer)
        if uid not in {os.geteuid(), 0}:
            log.warning("refused a takeover by process %d of user %d", pid, uid)
            return
        peer.settimeout(_PATIENCE)
        if _receive(peer).what != "ask":
            return
        handed = self._service.offer()
        try:
            if len(handed.sockets) > _MOST:
                _send(peer, _Message("refused", error=f"{len(handed.sockets)} sockets; a takeover carries {_MOST}"))
                return
            offer = _Message("offer", os.getpid(), [(item.owner, item.name) for item in handed.sockets])
            _send(peer, offer, [item.sock.fileno() for item in handed.sockets])
            ready = _receive(peer)
            if ready.what != "ready":  # it has ended, and said why on its own standard error
                log.warning("process %d wanted to take over, and could not: this one goes on", pid)
                return
            self._hand_over(peer, pid, handed, ready.taken)
        finally:
            if self._over:
                handed.close_all()
            else:
                handed.close()

    def _hand_over(self, peer: socket.socket, pid: int, handed: Handed, taken: Sequence[int]) -> None:
        began = time.monotonic()
        handed.quiet(taken)
        self._service.give_up(handed.heirs(taken))
        try:
            try:
                _send(peer, _Message("released"))
            finally:
                self._service.end_outputs()
            peer.settimeout(None)  # until it has taken over or has ended
            self._over = _receive(peer).what == "taken"
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("process %d did not take over: %s", pid, error)
        if self._over:
            self.seconds = time.monotonic() - began
            self._gone(pid)
            return
        log.error("process %d ended while it took over: this one takes events again", pid)
        try:
            self._service.resume(handed)
        except (OSError, MetlogError) as error:
            self._lost(error)


class Predecessor:
    """The process that runs, as the one that takes over from it sees it."""

    def __init__(self, sock: socket.socket, pid: int, handed: Handed) -> None:
        self._socket = sock
        self.pid = pid
        self.handed = handed

    @classmethod
    def of(cls, folder: Path) -> Predecessor | None:
        """Returns the process that writes the journal in a folder, with duplicates of its sockets; None when none runs. Raises
        OSError when it does not hand over."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with Folder.root(folder) as opened:
                sock.connect(_within(opened, _NAME))
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None
        try:
            _, uid = _credentials(sock)
            if uid not in {os.geteuid(), 0}:
                raise OSError(f"{folder / _NAME}: belongs to a process of user {uid}; start this one as that user")
            _send(sock, _Message("ask", os.getpid()))
            offer, descriptors = _receive_with(sock)
            if offer.what != "offer" or len(descriptors) != len(offer.sockets):
                raise OSError(f"the listener that runs does not hand over: {offer.error or offer.what or 'it ended'}")
        except OSError:
            sock.close()
            raise
        found = [
            HandedSocket(owner, name, socket.socket(fileno=fd))
            for (owner, name), fd in zip(offer.sockets, descriptors, strict=True)
        ]
        return cls(sock, offer.pid, Handed(found))

    def release(self) -> None:
        """Lets it close its journal; returns when it has. Raises OSError when it ended instead."""
        _send(self._socket, _Message("ready", os.getpid(), taken=self.handed.taken))
        if _receive(self._socket).what != "released":
            raise OSError(f"process {self.pid} ended without handing over its journal; start this one again")
        self.handed.close()

    def confirm(self) -> None:
        """Lets it end: this process takes events now."""
        try:
            _send(self._socket, _Message("taken", os.getpid()))
        except OSError:  # it was ended meanwhile
            pass
        self._socket.close()


def _within(folder: Folder, name: str) -> str:
    """A path that is short enough for a socket, wherever the folder is."""
    return f"/proc/self/fd/{folder.fd}/{name}"


def _credentials(sock: socket.socket) -> tuple[int, int]:
    """Process and user at the other end."""
    size = struct.calcsize(_CREDENTIALS)
    pid, uid, _ = struct.unpack(_CREDENTIALS, sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return pid, uid


def _send(sock: socket.socket, message: _Message, descriptors: Sequence[int] = ()) -> None:
    data = msgspec.json.encode(message)
    ancillary: list[Any] = []
    if descriptors:
        ancillary.append((socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors)))
    sock.sendmsg([data], ancillary)


def _receive(sock: socket.socket) -> _Message:
    """The next message; one that says nothing when the peer has ended."""
    message, descriptors = _receive_with(sock)
    for descriptor in descriptors:  # none belongs here
        os.close(descriptor)
    return message


def _receive_with(sock: socket.socket) -> tuple[_Message, list[int]]:
    data, descriptors, _, _ = socket.recv_fds(sock, _LARGEST, _MOST + 3)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    if not data:
        return _Message(""), list(descriptors)
    return msgspec.json.decode(data, type=_Message), list(descriptors)
