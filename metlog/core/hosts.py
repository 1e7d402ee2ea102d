"""Hosts as texts: an IPv6 address stands in brackets in a URL, and before a port."""

from __future__ import annotations

__all__ = ["bare", "bracketed", "host_port"]


def bare(host: str) -> str:
    """Returns a host without white space around it and without brackets: `[::1]` becomes `::1`."""
    return host.strip().removeprefix("[").removesuffix("]")


def bracketed(host: str) -> str:
    """Returns a host as a URL has it: `::1` becomes `[::1]`, others stay."""
    return f"[{host}]" if ":" in host else host


def host_port(host: str, port: int) -> str:
    """Returns `host:port`, `[host]:port` for IPv6."""
    return f"{bracketed(host)}:{port}"
