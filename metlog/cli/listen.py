"""`metlog listen`: the listener."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from metlog.errors import ConfigError

__all__ = ["listen"]


def listen(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="TOML file with inputs, outputs and journal; see docs/reliability.md."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data folder; METLOG_DATA, else ./metlog-data, by default.")
    ] = None,
    udp: Annotated[
        list[str] | None,
        typer.Option("--udp", metavar="HOST:PORT", help="Take UDP datagrams; `systemd` takes its sockets."),
    ] = None,
    zmq: Annotated[list[str] | None, typer.Option("--zmq", metavar="ENDPOINT", help="Take ZeroMQ messages.")] = None,
    http: Annotated[list[str] | None, typer.Option("--http", metavar="HOST:PORT", help="Take HTTP requests.")] = None,
    statsd: Annotated[
        list[str] | None, typer.Option("--statsd", metavar="HOST:PORT", help="Take the statsd line protocol.")
    ] = None,
) -> None:
    """Take events and write them to the lake. Without inputs it listens on UDP 127.0.0.1:5565."""
    from metlog.listener.config import from_file, from_mapping
    from metlog.listener.service import Service

    logging.basicConfig(format="metlog: %(message)s", level=logging.WARNING)
    try:
        inputs = _inputs(udp or [], zmq or [], http or [], statsd or [])
        checked = from_file(config, data=data, inputs=inputs) if config else from_mapping({}, data=data, inputs=inputs)
        service = Service(checked)
    except ConfigError as error:
        raise _failure(error, 2) from None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        service.start()
    except ConfigError as error:
        raise _failure(error, 2) from None
    except OSError as error:
        raise _failure(error, 1) from None
    for address in service.addresses:
        print(f"listening on {address}")
    print(f"ready: events go to {checked.general.data}", flush=True)
    while not stop.wait(3600):
        pass
    drained = service.stop()
    if not drained:
        print(
            "metlog: stopped; what the outputs had no time for is in the journal, for the next start", file=sys.stderr
        )


def _failure(error: Exception, status: int) -> typer.Exit:
    for line in str(error).splitlines():
        print(f"metlog listen: {line}", file=sys.stderr)
    return typer.Exit(status)


def _inputs(udp: list[str], zmq: list[str], http: list[str], statsd: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": "udp", "systemd": True} if text == "systemd" else _host_port("udp", text) for text in udp
    ]
    found += [{"name": "zmq", "endpoint": text} for text in zmq]
    found += [_host_port("http", text) for text in http]
    found += [_host_port("statsd", text) for text in statsd]
    return found


def _host_port(name: str, text: str) -> dict[str, Any]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"--{name} {text!r}: wants HOST:PORT, as 127.0.0.1:5565")
    return {"name": name, "host": host.strip("[]") or "0.0.0.0", "port": int(port)}  # noqa: S104 - ":5565" asks for every interface
