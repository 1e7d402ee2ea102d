"""What systemd gives a service: sockets that it bound (sd_listen_fds(3)), and an ear for its state (sd_notify(3)).

The kernel keeps what comes to such a socket while the listener restarts: datagrams as far as the receive buffer holds, connections
as far as the backlog does.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import Final

from metlog.errors import ConfigError

__all__ = ["check", "name_of", "notify", "of_descriptor", "sockets"]

log = logging.getLogger("metlog.listener")

_FIRST: Final = 3
"""Descriptors are handed over from this one on."""
_KINDS: Final = {socket.SOCK_DGRAM: "ListenDatagram=", socket.SOCK_STREAM: "ListenStream="}
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)


def check(where: str, systemd: bool | str, fd: int) -> None:
    """Raises ConfigError for options of an input that cannot be meant."""
    if fd != -1 and not _FIRST <= fd < 2**31:
        raise ConfigError(f"{where}.fd = {fd}: wants the number of a descriptor that is passed, {_FIRST} or more")
    if fd != -1 and systemd:
        raise ConfigError(f"{where}.fd = {fd}: with {where}.systemd = {systemd!r}; give one of the two")


def name_of(scheme: str, host: str, port: int, systemd: bool | str, fd: int) -> str:
    """Returns what an input listens on as it was asked for, by which the one that comes after it finds its socket."""
    if fd != -1:
        return f"fd://{fd}"
    if systemd:
        return f"systemd:{systemd if isinstance(systemd, str) else ''}"
    return f"{scheme}://{host}:{port}"


def sockets(kind: int, name: str = "") -> list[socket.socket]:
    """The Internet sockets of a kind (`socket.SOCK_DGRAM` or `SOCK_STREAM`) that systemd passed and nobody has taken yet; with
    `name` only those of this FileDescriptorName=. Raises OSError that says what is missing."""
    count = int(os.environ.get("LISTEN_FDS") or 0)
    if not count or os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise OSError("systemd passed no sockets to this process; start the listener by its .socket unit")
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    found = []
    for index in range(count):
        fd = _FIRST + index
        if not _taken(fd) and (not name or names[index : index + 1] == [name]) and _is(fd, kind):
            found.append(_take(fd))
    if not found:
        named = f" with FileDescriptorName={name}" if name else ""
        raise OSError(f"systemd passed no (further) socket of a {_KINDS[socket.SocketKind(kind)]} line{named}")
    return found


def of_descriptor(fd: int, kind: int) -> socket.socket:
    """Returns the socket that the parent process left open as that descriptor; raises OSError when there is none."""
    if _taken(fd) or not _is(fd, kind):
        what = "is taken by another input" if _is(fd, kind) else "is no open Internet socket of the right kind"
        raise OSError(f"fd://{fd}: the descriptor {fd} {what}")
    return _take(fd)


def _take(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    return socket.socket(fileno=fd)


def _taken(fd: int) -> bool:
    """Whether an input has the descriptor already: one that was passed can be inherited, until it is taken."""
    try:
        return not os.get_inheritable(fd)
    except OSError:
        return False


def _is(fd: int, kind: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:  # a look that closes nothing
            return sock.type == kind and sock.family in _FAMILIES
    except OSError:
        return False


def notify(state: str) -> None:
    """Tells systemd, when it listens: `READY=1`, `STOPPING=1`."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(state.encode(), f"\0{place[1:]}" if place.startswith("@") else place)
        except OSError as error:  # nobody listens: the service runs all the same
            log.warning("NOTIFY_SOCKET = %r: cannot tell %s: %s", place, state, error.strerror or error)
