"""Checks of a sending configuration: is it right, and can what it names be reached?

A check goes by a component's options (`host` and `port`, `path`, `endpoint`), not by its name, so that it works for
anyone's.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from metlog.config import Plan, gather, plan
from metlog.errors import ConfigError
from metlog.plugins import Component

__all__ = ["Finding", "Verdict", "check_settings", "check_threads", "reach"]


class Verdict(Enum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


class Finding(NamedTuple):
    """One line of the checklist."""

    verdict: Verdict
    what: str
    remedy: str = ""


def check_settings(settings: object) -> Iterator[Finding]:
    """Checks settings (anything that `configure` takes) as a whole, then tries to reach what they name."""
    try:
        made = plan(gather(settings))
    except ConfigError as error:
        for line in error.problems:
            yield Finding(Verdict.FAIL, line)
        return
    yield Finding(Verdict.OK, "the configuration is right")
    if not made.logger:
        yield Finding(
            Verdict.WARN,
            "logger is not set",
            "set it to the name of the service, so that reports can tell services apart",
        )
    yield from _plan(made)
    if made.tests:
        yield Finding(Verdict.OK, f"it has {len(made.tests)} tests", "run them with `metlog test`")
    if made.statsd and isinstance(made.statsd, Mapping):
        host, port = made.statsd.get("host", "127.0.0.1"), int(made.statsd.get("port", 8125))
        yield from _datagram("statsd", host, port, b"")


def check_threads() -> Iterator[Finding]:
    """Whether threads get their turn in this process: inside uWSGI they may not (`has_threads` is uWSGI's own word for it)."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None or not hasattr(uwsgi, "masterpid"):
        return
    if getattr(uwsgi, "has_threads", 0):
        yield Finding(Verdict.OK, "uWSGI runs with threads")
    else:
        yield Finding(
            Verdict.WARN,
            "uWSGI runs without threads: an event waits for the next call that logs, or for metlog.flush()",
            "set enable-threads = true, or wrap the application with metlog.job()",
        )


def _plan(made: Plan) -> Iterator[Finding]:
    assert made.sender is not None
    sender = made.sender
    inner = sender.options.get("senders")
    if inner is None:
        yield from reach(sender)
    else:
        for index, spec in enumerate(inner):
            settings = spec if isinstance(spec, Mapping) and "sender" in spec else {"sender": spec}
            yield Finding(Verdict.OK, f"{sender.name}: branch {index}")
            yield from _plan(plan(settings, f"senders[{index}]"))
    if made.statsd is False:
        yield Finding(Verdict.OK, "statsd is off")


def reach(component: Component) -> Iterator[Finding]:
    """Tries to reach what a sender's options name; sends nothing that would become an event."""
    options: dict[str, Any] = {**_defaults(component), **component.options}
    label = f"sender {component.name}"
    hosts = options.get("host")
    if hosts is not None and options.get("port") is not None:
        for host in [hosts] if isinstance(hosts, str) else hosts:
            if getattr(component.factory, "nonblocking", False):
                yield from _datagram(label, host, int(options["port"]), b"\n")
            else:
                yield _connect(label, host, int(options["port"]))
    elif options.get("endpoint") is not None:
        endpoints = options["endpoint"]
        for endpoint in [endpoints] if isinstance(endpoints, str) else endpoints:
            parts = urlsplit(endpoint)
            if options.get("bind") or parts.scheme != "tcp" or not parts.hostname or not parts.port:
                yield Finding(Verdict.OK, f"{label}: {endpoint} (not tried)")
            else:
                yield _connect(label, parts.hostname, parts.port)
    elif options.get("path") is not None:
        yield _path(label, Path(str(options["path"])))
    else:
        yield Finding(Verdict.OK, f"{label}: nothing to reach")


def _defaults(component: Component) -> dict[str, Any]:
    import inspect

    try:
        parameters = inspect.signature(component.factory).parameters
    except (TypeError, ValueError):
        return {}
    return {key: item.default for key, item in parameters.items() if item.default not in {item.empty, None}}


def _resolve(label: str, host: str, port: int, kind: int) -> list[Any] | Finding:
    try:
        return socket.getaddrinfo(host, port, 0, kind)
    except OSError as error:
        return Finding(
            Verdict.FAIL, f"{label}: the name {host} does not resolve: {error.strerror}", "check host and DNS"
        )


def _datagram(label: str, host: str, port: int, probe: bytes) -> Iterator[Finding]:
    found = _resolve(label, host, port, socket.SOCK_DGRAM)
    if isinstance(found, Finding):
        yield found
        return
    family, kind, _, _, address = found[0]
    with socket.socket(family, kind) as tried:
        try:
            tried.connect(address)
            for _ in range(2):  # a refusal is told on the call after the one that was refused
                tried.send(probe)
                time.sleep(0.05)
        except OSError as error:
            yield Finding(
                Verdict.FAIL,
                f"{label}: nothing listens on {host}:{port} ({error.strerror})",
                "start it (`metlog listen`), or correct host and port",
            )
            return
    local = (":" in str(address[0]) and str(address[0]) == "::1") or str(address[0]).startswith("127.")
    known = "is taken" if local else "leaves (a datagram to another machine tells no more)"
    yield Finding(Verdict.OK, f"{label}: a datagram to {host}:{port} {known}")


def _connect(label: str, host: str, port: int) -> Finding:
    found = _resolve(label, host, port, socket.SOCK_STREAM)
    if isinstance(found, Finding):
        return found
    try:
        with socket.create_connection((host, port), timeout=3):
            return Finding(Verdict.OK, f"{label}: {host}:{port} accepts connections")
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding(
            Verdict.FAIL,
            f"{label}: {host}:{port} cannot be reached ({reason})",
            "start the receiver, or correct host and port",
        )


def _path(label: str, path: Path) -> Finding:
    if path.is_socket():
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_UNIX, kind) as tried:
                try:
                    tried.connect(str(path))
                except OSError:
                    continue
                return Finding(Verdict.OK, f"{label}: {path} is served")
        return Finding(Verdict.FAIL, f"{label}: nobody serves the socket {path}", "start the receiver")
    existing = path if path.exists() else path.parent
    if not existing.exists():
        return Finding(
            Verdict.FAIL, f"{label}: the folder {existing} does not exist", "make it, writable for this user"
        )
    if not os.access(existing, os.W_OK):
        return Finding(Verdict.FAIL, f"{label}: {existing} is not writable for this user", "change its owner or mode")
    return Finding(Verdict.OK, f"{label}: {path} can be written")
