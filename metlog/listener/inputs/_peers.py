"""Names of the peers of a UDP socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from metlog.core.hosts import host_port

__all__ = ["PeerNames"]

_MOST: Final = 65_536
"""Peers whose name is kept as text."""


class PeerNames(dict[Any, str]):
    """`udp://HOST:PORT` by an address in whatever form it comes; made at the first look."""

    def __init__(self, read: Callable[[Any], tuple[str, int]]) -> None:
        """`read` gives host and port of an address."""
        super().__init__()
        self._read = read

    def __missing__(self, address: Any) -> str:
        if len(self) >= _MOST:
            self.clear()
        host, port = self._read(address)
        name = self[address] = f"udp://{host_port(host, port)}"
        return name
