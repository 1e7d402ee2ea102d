"""IP addresses, cut to the network they are in."""

from __future__ import annotations

import ipaddress

__all__ = ["cut_ip"]


def cut_ip(text: str) -> str | None:
    """The networks of one address or of several with commas (`X-Forwarded-For`); None for what is no address."""
    networks = [_network(part.strip()) for part in text.split(",")]
    return None if None in networks else ", ".join(network for network in networks if network)


def _network(text: str) -> str | None:
    if text.startswith("["):  # [2001:db8::1]:443
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # 192.0.2.1:443
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    bits = 24 if address.version == 4 else 48
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return _network(str(address.ipv4_mapped))
        if address.sixtofour is not None:
            bits = 16 + 24  # its first 48 bits hold a whole IPv4 address (RFC 3056)
    return str(ipaddress.ip_network(f"{address}/{bits}", strict=False).network_address)
