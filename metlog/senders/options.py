"""Checks of options that the built-in senders share, and a base for senders that cannot be pickled."""

from __future__ import annotations

import math
import socket
from typing import Any, Final, NoReturn

from metlog.core.hosts import bare
from metlog.core.interfaces import BaseSender
from metlog.core.timeouts import LONGEST
from metlog.errors import SenderError

__all__ = [
    "C_INT", "Address", "NotPicklable", "at_least", "at_most", "closed", "host_list", "numeric", "one_of", "port_number", "positive",
]  # fmt: skip

C_INT: Final = 2**31 - 1
"""The largest number that a socket takes as an option."""

Address = tuple[socket.AddressFamily, Any]
"""Family and socket address, as `socket.connect` takes them."""


class NotPicklable(BaseSender):
    """A sender with a socket, a file or a thread: a copy in another process would share or lack them."""

    def __reduce__(self) -> NoReturn:
        name = type(self).__name__
        raise TypeError(f"a {name} cannot be pickled: it holds what belongs to this process; build one there instead")


def closed(sender: object) -> SenderError:
    """What `send` raises after `close`."""
    return SenderError(f"the {type(sender).__name__} is closed", reason="closed")


def positive(name: str, value: float, unit: str) -> None:
    """Raises ValueError unless the value is above zero, and no longer than one can wait."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} = {value!r}: wants a number of {unit} above 0")
    _waitable(name, value, unit)


def at_least(name: str, value: float, least: float, unit: str) -> None:
    """Raises ValueError when the value is below `least`, or longer than one can wait."""
    if not least <= value < math.inf:
        raise ValueError(f"{name} = {value!r}: wants a number of {unit}, {least} or more")
    _waitable(name, value, unit)


def _waitable(name: str, value: float, unit: str) -> None:
    if unit == "seconds" and value > LONGEST:
        raise ValueError(f"{name} = {value!r}: wants {LONGEST:.0f} seconds at most")


def at_most(name: str, value: float, most: float, unit: str) -> None:
    """Raises ValueError when the value is above `most`."""
    if not value <= most:
        raise ValueError(f"{name} = {value!r}: wants a number of {unit}, {most} or less")


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raises ValueError unless the value is one of those known."""
    if value not in known:
        raise ValueError(f"{name} = {value!r}: wants one of {', '.join(known)}")


def port_number(value: int) -> None:
    """Raises ValueError unless the value is a port that one can send to."""
    if not 1 <= value <= 65535:
        raise ValueError(f"port = {value!r}: wants a port from 1 to 65535")


def host_list(host: str | list[str]) -> list[str]:
    """One host, several, or several in one text with commas (as an INI file has them); brackets of IPv6 go."""
    hosts = host.split(",") if isinstance(host, str) else list(host)
    hosts = [bare(each) for each in hosts]
    if not hosts or not all(hosts):
        raise ValueError(f"host = {host!r}: wants a host name or IP address, or a list of them")
    return hosts


def numeric(host: str, port: int, kind: socket.SocketKind) -> list[Address] | None:
    """The addresses of a literal IP or of `localhost`, without a lookup; None for any other name.

    `localhost` is always the loopback (RFC 6761, section 6.3); IPv4 first, where a listener binds by default.
    """
    literals = ["127.0.0.1", "::1"] if host.lower() == "localhost" else [host]
    found: list[Address] = []
    for literal in literals:
        try:
            # As bytes: a text would be encoded by IDNA, whose import takes 10 ms at the first one.
            answers = socket.getaddrinfo(literal.encode("ascii"), port, type=kind, flags=socket.AI_NUMERICHOST)
        except (socket.gaierror, UnicodeError):
            return None
        found.extend((answer[0], answer[4]) for answer in answers)
    return found
