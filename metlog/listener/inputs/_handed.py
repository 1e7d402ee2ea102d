"""Listening sockets that go from one input to the next: at a reload within the process, at a takeover from the process before."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

__all__ = ["NONE", "Handed", "HandedSocket"]


class HandedSocket(NamedTuple):
    """A duplicate of a socket that an input listens on; what the kernel holds for it is read by whoever reads first."""

    owner: str
    """Id of the input that it is from."""
    name: str
    """What that input was asked to listen on, as `BaseInput.listening` names it."""
    sock: socket.socket


class Handed:
    """Sockets that inputs before these listened on, for those that come after to choose from."""

    def __init__(self, sockets: Iterable[HandedSocket] = ()) -> None:
        self.sockets = list(sockets)
        self._taken: set[int] = set()
        self.heir = ""
        """Id of the input that takes now; those of its own id come before others of the same name."""

    @classmethod
    def of(cls, listening: Iterable[tuple[str, str, socket.socket]]) -> Handed:
        """Returns duplicates of sockets that are in use: (id of the input, name, socket)."""
        return cls(HandedSocket(owner, name, sock.dup()) for owner, name, sock in listening)

    def take(self, name: str, kind: int, host: str = "", port: int = 0) -> socket.socket | None:
        """Returns a socket of a kind that was asked for by the same name, or that is bound to this address; None when there is none."""
        free = [
            index
            for index, item in enumerate(self.sockets)
            if index not in self._taken and item.sock.type == kind and not _is_quiet(item.sock)
        ]
        fitting = [index for index in free if self.sockets[index].name == name]
        if not fitting and port and (wanted := _addresses(host, port, kind)):
            fitting = [index for index in free if _bound(self.sockets[index].sock) in wanted]
        if not fitting:
            return None
        chosen = next((index for index in fitting if self.sockets[index].owner == self.heir), fitting[0])
        self._taken.add(chosen)
        return self.sockets[chosen].sock

    def take_all(self, name: str, kind: int) -> list[socket.socket]:
        """Returns all sockets of a kind that were asked for by this name."""
        found = []
        while (sock := self.take(name, kind)) is not None:
            found.append(sock)
        return found

    @property
    def taken(self) -> list[int]:
        """Which of `sockets` were taken."""
        return sorted(self._taken)

    def heirs(self, taken: Iterable[int]) -> set[str]:
        """Returns the ids of the inputs whose sockets, these of them, live on."""
        return {self.sockets[index].owner for index in taken if 0 <= index < len(self.sockets)}

    def quiet(self, taken: Collection[int]) -> None:
        """Lets nothing more come to a datagram socket that was not taken while others of its address were (an input that has fewer sockets
        now): the kernel gives what comes to the others, and what it holds can be read to the end."""
        kept = {_bound(self.sockets[index].sock) for index in taken if 0 <= index < len(self.sockets)}
        for index, item in enumerate(self.sockets):
            address = _bound(item.sock)
            if index not in taken and item.sock.type == socket.SOCK_DGRAM and address is not None and address in kept:
                item.sock.connect(_itself(item.sock))

    def close(self, owner: str = "") -> None:
        """Closes what nobody took, or of that only what is from one input."""
        for index, item in enumerate(self.sockets):
            if index not in self._taken and (not owner or item.owner == owner):
                item.sock.close()
                self._taken.add(index)

    def close_all(self) -> None:
        for item in self.sockets:
            item.sock.close()


NONE: Final = Handed()
"""No sockets."""


def _itself(sock: socket.socket) -> tuple[str, int]:
    """An address that nobody else sends from."""
    host, port = sock.getsockname()[:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104 - compared with, not bound


def _is_quiet(sock: socket.socket) -> bool:
    """Whether it was connected by `quiet`."""
    if sock.type != socket.SOCK_DGRAM or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _addresses(host: str, port: int, kind: int) -> set[tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host or None, port, type=kind, flags=socket.AI_PASSIVE)
    except OSError:
        return set()
    return {(str(item[4][0]), int(item[4][1])) for item in found[:1]}


def _bound(sock: socket.socket) -> tuple[str, int] | None:
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    host, port = sock.getsockname()[:2]
    return str(host), int(port)
