"""Ports of the loopback: of sockets, of addresses as a listener prints them, and unused ones."""

from __future__ import annotations

import contextlib
import random
import socket


def port_of(bound: socket.socket | str) -> int:
    """The port of a bound socket, or of an address that ends in one (`udp://127.0.0.1:5565`)."""
    return int(bound.rpartition(":")[2]) if isinstance(bound, str) else int(bound.getsockname()[1])


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that nobody has."""
    return free_ports(1, kind)[0]


def free_ports(count: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> list[int]:
    """Ports that nobody has, all different, below those that Linux gives to whoever names none: a server can come back to its port."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            each = stack.enter_context(socket.socket(socket.AF_INET, kind))
            with contextlib.suppress(OSError):  # taken: another one
                each.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
                found.append(port_of(each))
    return found
