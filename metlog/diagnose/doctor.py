"""Checks of a sending configuration: is it right, and can what it names be reached?

A sender with a `probe()` reports what it can reach; for others the options decide (`host` and `port`, `path`,
`endpoint`), so that it works for third-party senders.
"""

from __future__ import annotations

import inspect
import os
import socket
import sys
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from metlog.config import DEFAULT_SENDER, Plan, gather, plan
from metlog.config.sources import sources
from metlog.core.hosts import bare
from metlog.core.wakeup import threads_run
from metlog.diagnose.selftest import check as check_tests
from metlog.errors import ConfigError, SenderError
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


_START: Final = "start the receiver (`metlog listen`), or correct host and port"
_REMEDIES: Final = {
    "refused": _START,
    "unresolved": "correct the host, or this machine's DNS",
    "timeout": "see that the receiver answers, and that no firewall is between",
    "tls": "set ca_file to the authority of the receiver's certificate, and the host to the name in it",
    "unauthorized": "correct the token",
    "no_such_path": "correct path; for a metlog listener it is /submit/NAMESPACE",
    "server_error": "see the receiver's own log",
    "keys": "compare server_key with the listener's public key",
}


def check_settings(settings: object) -> Iterator[Finding]:
    """Checks settings (anything that `configure` takes) as a whole, then tries to reach what they name."""
    if settings is None:
        found = sources()
        if found:
            yield Finding(Verdict.OK, f"settings from the environment: {', '.join(found)}")
        else:
            yield Finding(
                Verdict.WARN,
                f"no settings: neither --config nor METLOG_CONFIG, METLOG_SENDER, …; events go to {DEFAULT_SENDER}",
                "name a file with --config, or set METLOG_CONFIG or METLOG_SENDER",
            )
    try:
        made = plan(gather(settings))
    except ConfigError as error:
        for line in error.problems:
            yield Finding(Verdict.FAIL, line)
        return
    try:
        yield Finding(Verdict.OK, "the configuration is right")
        if not made.logger:
            yield Finding(
                Verdict.WARN,
                "logger is not set",
                "set it to the name of the service, so that reports can tell services apart",
            )
        yield from _tests(made)
        yield from _sender(made)
    finally:
        made.discard()
    yield from _statsd(made.statsd)


def check_threads() -> Iterator[Finding]:
    """Whether threads get their turn in this process: inside uWSGI they may not."""
    if not hasattr(sys.modules.get("uwsgi"), "masterpid"):
        return
    if threads_run():
        yield Finding(Verdict.OK, "uWSGI runs with threads")
    else:
        yield Finding(
            Verdict.WARN,
            "uWSGI runs without threads: an event waits for the next call that logs, or for metlog.flush()",
            "set enable-threads = true, or wrap the application with metlog.job()",
        )


def _tests(made: Plan) -> Iterator[Finding]:
    try:
        tests = check_tests(made.tests)
    except ConfigError as error:
        for line in error.problems:
            yield Finding(Verdict.FAIL, line)
        return
    if tests:
        count = f"{len(tests)} test{'s' * (len(tests) > 1)}"
        yield Finding(Verdict.OK, f"it has {count}", "run them with `metlog test FILE`")


def _sender(made: Plan) -> Iterator[Finding]:
    if made.branches is None:
        assert made.sender is not None
        yield from reach(made.sender)
        return
    for branch in made.branches:
        yield from _sender(branch)


def reach(component: Component, above: str = "") -> Iterator[Finding]:
    """Tries to reach what a sender names; sends nothing that would become an event. `above`: the key it stands under."""
    made = component.prepare()
    label = f"{above}{component.where} {component.name}"
    if made.parts:
        for part in made.parts:
            yield from reach(part, f"{above}{component.where}.")
    elif (probed := made.probe()) is not None:
        for found in probed:
            if isinstance(found, SenderError):
                yield Finding(Verdict.FAIL, f"{label}: {found}", _REMEDIES.get(found.reason, "correct the options"))
            else:
                yield Finding(Verdict.OK, f"{label}: {found}")
    else:
        yield from _by_options(component, label)


def _by_options(component: Component, label: str) -> Iterator[Finding]:
    options: dict[str, Any] = {**_defaults(component), **component.options}
    hosts = options.get("host")
    if hosts is not None and options.get("port") is not None:
        for host in hosts.split(",") if isinstance(hosts, str) else hosts:
            address = (bare(host), int(options["port"]))
            if component.prepare().nonblocking:
                yield _datagram(label, *address, b"\n")
            else:
                yield _connect(label, *address)
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
    try:
        parameters = inspect.signature(component.factory).parameters
    except (TypeError, ValueError):
        return {}
    return {
        key: item.default
        for key, item in parameters.items()
        if item.default is not item.empty and item.default is not None
    }


def _resolve(label: str, host: str, port: int, kind: int) -> list[Any] | Finding:
    try:
        return socket.getaddrinfo(host, port, 0, kind)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        return Finding(Verdict.FAIL, f"{label}: the name {host!r} does not resolve: {why}", _REMEDIES["unresolved"])


def _datagram(label: str, host: str, port: int, probe: bytes) -> Finding:
    found = _resolve(label, host, port, socket.SOCK_DGRAM)
    if isinstance(found, Finding):
        return found
    family, kind, _, _, address = found[0]
    try:
        with socket.socket(family, kind) as tried:
            tried.connect(address)
            for _ in range(2):  # the error of a refusal comes with the next call
                tried.send(probe)
                time.sleep(0.05)
    except ConnectionRefusedError as error:
        return Finding(Verdict.FAIL, f"{label}: nothing listens on {host}:{port} ({error.strerror})", _START)
    except OSError as error:
        return Finding(Verdict.FAIL, f"{label}: {host}:{port}: {error.strerror}", "correct the host, or the way there")
    if str(address[0]) == "::1" or str(address[0]).startswith("127."):
        return Finding(Verdict.OK, f"{label}: a datagram to {host}:{port} is taken")
    return Finding(
        Verdict.OK,
        f"{label}: a datagram to {host}:{port} leaves; UDP does not tell whether it arrives",
        f"send one, `metlog send --to udp://{host}:{port} hello`, and look for it there: `metlog tail`",
    )


def _connect(label: str, host: str, port: int) -> Finding:
    found = _resolve(label, host, port, socket.SOCK_STREAM)
    if isinstance(found, Finding):
        return found
    try:
        with socket.create_connection((host, port), timeout=3):
            return Finding(Verdict.OK, f"{label}: {host}:{port} accepts connections")
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding(Verdict.FAIL, f"{label}: {host}:{port} cannot be reached ({reason})", _START)


def _path(label: str, path: Path) -> Finding:
    existing = path if path.exists() else path.parent
    if not existing.exists():
        return Finding(
            Verdict.FAIL, f"{label}: the folder {existing} does not exist", "make it, writable for this user"
        )
    if not os.access(existing, os.W_OK):
        return Finding(Verdict.FAIL, f"{label}: {existing} is not writable for this user", "change its owner or mode")
    return Finding(Verdict.OK, f"{label}: {path} can be written")


def _statsd(settings: Any) -> Iterator[Finding]:
    if not settings:
        yield Finding(Verdict.OK, "statsd is off")
    elif settings.transport == "udp":
        yield _datagram("statsd udp", settings.host, settings.port, b"\n")
    elif settings.transport == "tcp":
        yield _connect("statsd tcp", settings.host, settings.port)
    else:
        from metlog.senders.unix import UnixSender

        yield from reach(Component("sender", "unix", "statsd", UnixSender, {"path": settings.path, "kind": "stream"}))
