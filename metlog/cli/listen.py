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
        typer.Option("--config", help="TOML file with inputs, outputs and journal; see docs/listener.md."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Data folder, or the URI of a data set on shared storage; METLOG_DATA, else ./metlog-data, by default.",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="DIR",
            help="With a URI: the local folder for the journal; METLOG_STATE, else ./metlog-data.",
        ),
    ] = None,
    udp: Annotated[
        list[str] | None,
        typer.Option(
            "--udp",
            metavar="HOST:PORT",
            help="Take UDP datagrams there; `off`: none; `systemd`, `systemd:NAME` and `fd://3`: on a socket that was passed.",
        ),
    ] = None,
    zmq: Annotated[list[str] | None, typer.Option("--zmq", metavar="ENDPOINT", help="Take ZeroMQ messages.")] = None,
    http: Annotated[list[str] | None, typer.Option("--http", metavar="HOST:PORT", help="Take HTTP requests.")] = None,
    statsd: Annotated[
        list[str] | None, typer.Option("--statsd", metavar="HOST:PORT", help="Take the statsd line protocol.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check the configuration, say all that is wrong with it, and start nothing.")
    ] = False,
) -> None:
    """Take events and write them to the lake: on UDP 127.0.0.1:5565 unless --udp says otherwise; other inputs add to it."""
    from metlog.listener.config import from_file, from_mapping
    from metlog.listener.inputs._systemd import notify
    from metlog.listener.service import Service

    logging.basicConfig(format="metlog: %(message)s", level=logging.WARNING)
    logging.getLogger("stevedore").setLevel(logging.CRITICAL)  # what it cannot load is told by us, with the remedy
    try:
        without = {"udp"} if "off" in (udp or ()) else set()
        said: dict[str, Any] = {
            "data": data,
            "state": state,
            "inputs": _inputs([text for text in udp or () if text != "off"], zmq or [], http or [], statsd or []),
            "without": without,
        }
        checked = from_file(config, **said) if config else from_mapping({}, **said)
        service = Service(checked)
    except ConfigError as error:
        raise _failure(error, 2) from None
    if check:
        names = ", ".join([item.id for item in checked.inputs] + [item.id for item in checked.outputs])
        print(f"the configuration is right: {names}")
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        service.start()
    except ConfigError as error:
        raise _failure(error, 2) from None
    except OSError as error:
        raise _failure(error, 1) from None
    if service.journal.refuses:
        print(f"takes no events: {service.journal.refuses}", flush=True)
    for address in service.addresses:
        print(f"listening on {address}")
    print(f"ready: events go to {checked.where}", flush=True)
    notify("READY=1")
    # A signal that comes in the very moment in which the waiting begins is noticed when it ends: so by turns.
    while not stop.wait(0.5):
        pass
    notify("STOPPING=1")
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
    found = [_socket("udp", text) for text in udp]
    found += [{"name": "zmq", "endpoint": text} for text in zmq]
    found += [_socket("http", text) for text in http]
    found += [_socket("statsd", text) for text in statsd]
    return found


def _socket(name: str, text: str) -> dict[str, Any]:
    """HOST:PORT, or a socket that systemd or another supervisor passes."""
    scheme, colon, rest = text.partition(":")
    if scheme == "systemd" and (rest or not colon):
        return {"name": name, "systemd": rest or True}
    if scheme == "fd" and rest.startswith("//") and rest[2:].isdecimal():
        return {"name": name, "fd": int(rest[2:])}
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"--{name} {text!r}: wants HOST:PORT, as 127.0.0.1:5565, or systemd, systemd:NAME, fd://3")
    return {"name": name, "host": host.strip("[]") or "0.0.0.0", "port": int(port)}  # noqa: S104 - ":5565" asks for every interface
