"""Kept import path: `metlog.statsd.client`."""

from metlog.statsd.client import (
    DisabledStatsd,
    Settings,
    StatsdStats,
    TcpStatsd,
    UdpStatsd,
    UnixStatsd,
    check_settings,
    make,
)

__all__ = [
    "DisabledStatsd",
    "Settings",
    "StatsdStats",
    "TcpStatsd",
    "UdpStatsd",
    "UnixStatsd",
    "check_settings",
    "make",
]
