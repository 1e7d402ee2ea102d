"""metlog: structured events and metrics from Python services to storage that answers SQL.

>>> import metlog
>>> client = metlog.configure("memory:", logger="sync")
>>> metlog.log(("login", "sync"), "user logged in", fields={"user": "u1"})
>>> metlog.flush()
True
>>> metlog.stats().sent
1
>>> metlog.close()
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from metlog.client import MetlogClient, default, get_client
from metlog.core.context import context
from metlog.core.lifecycle import flush_on_signal, job
from metlog.core.pipeline import Stats
from metlog.errors import ConfigError, DecodeError, MetlogError, SenderError
from metlog.event import Event, Severity

__version__ = "0.1.0"

__all__ = [
    "configure", "log", "metlog", "debug", "info", "warn", "warning", "error", "exception", "critical",
    "incr", "timer_send", "timer", "bind", "context", "job", "flush", "close", "stats", "add_method",
    "get_client", "flush_on_signal", "MetlogClient", "Event", "Severity", "Stats",
    "ConfigError", "DecodeError", "MetlogError", "SenderError",
]  # fmt: skip

configure = default.configure
log = default.log
metlog = default.metlog
debug = default.debug
info = default.info
warn = default.warn
warning = default.warning
error = default.error
exception = default.exception
critical = default.critical
incr = default.incr
timer_send = default.timer_send
timer = default.timer
bind = default.bind
flush = default.flush
close = default.close
stats = default.stats
add_method = default.add_method


def __getattr__(name: str) -> ModuleType:
    """`metlog.integrations` and `metlog.testing`, imported when they are first named."""
    if name in {"integrations", "testing"}:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
