"""Over UDP."""

from __future__ import annotations

from collections.abc import Sequence

from metlog.compat.senders._mapped import Mapped
from metlog.errors import ConfigError

__all__ = ["UdpSender"]


class UdpSender(Mapped):
    """Sender `udp`; with several hosts a `tee` of one each, since the original sent every message to all of them.

    Ports are paired with the hosts; the last one serves the hosts that are left.
    """

    def __init__(self, host: str | Sequence[str], port: int | str | Sequence[int | str]) -> None:
        hosts = [host] if isinstance(host, str) else list(host)
        ports: list[int | str] = [port] if isinstance(port, int | str) else list(port)
        if not hosts or not ports:
            raise ConfigError(f"host = {host!r}, port = {port!r}: want at least one of each")
        ports += ports[-1:] * (len(hosts) - len(ports))
        each = [{"name": "udp", "host": name, "port": number} for name, number in zip(hosts, ports, strict=False)]
        super().__init__(each[0] if len(each) == 1 else {"name": "tee", "senders": each})
