"""`metlog listen`: the listener."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metlog.cli.common import fail
from metlog.errors import ConfigError
from metlog.values import whole_number

if TYPE_CHECKING:
    from metlog.listener.config import ListenerConfig
    from metlog.listener.service import Service

__all__ = ["listen"]

log = logging.getLogger("metlog.listener")


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
    takeover: Annotated[
        bool,
        typer.Option(
            "--takeover",
            help="Take sockets and journal over from the listener that runs on this data folder, without a loss.",
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check the configuration, say all that is wrong with it, and start nothing.")
    ] = False,
) -> None:
    """Take events and write them to the lake: on UDP 127.0.0.1:5565 unless --udp says otherwise; other inputs add to it."""
    from metlog.listener.config import from_file, from_mapping
    from metlog.listener.service import Service
    from metlog.listener.takeover import Predecessor

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

        def settings() -> ListenerConfig:
            return from_file(config, **said) if config else from_mapping({}, **said)

        checked = settings()
        service = Service(checked)
    except ConfigError as error:
        fail("listen", error, 2)
    if check:
        names = ", ".join([item.id for item in checked.inputs] + [item.id for item in checked.outputs])
        print(f"the configuration is right: {names}")
        for job in checked.lake.described():
            print(f"lake: {job}")
        for text in checked.lakes.told:
            print(text)
        return
    running = _Running(service, settings if config else None)
    running.take_signals()
    try:
        before = Predecessor.of(service.folder) if takeover else None
        if before is None:
            service.start()
        else:
            service.start(before.handed, before.release)
            before.confirm()
    except ConfigError as error:
        fail("listen", error, 2)
    except OSError as error:
        fail("listen", error)
    if service.journal.refuses:
        print(f"takes no events: {service.journal.refuses}", flush=True)
    for address in service.addresses:
        print(f"listening on {address}")
    if takeover:
        told = f"took over from process {before.pid}" if before else "there was no listener to take over from"
        print(f"metlog: {told}", file=sys.stderr, flush=True)
    for text in checked.lakes.told:
        print(f"metlog: {text}", file=sys.stderr, flush=True)
    running.allow_takeover()
    print(f"ready: events go to {checked.where}", flush=True)
    running.serve()


class _Running:
    """The listener from the moment in which it takes events to its end."""

    def __init__(self, service: Service, settings: Callable[[], ListenerConfig] | None) -> None:
        from metlog.listener.takeover import TakeoverServer

        self._service = service
        self._settings = settings
        self._stop = threading.Event()
        self._reload = threading.Event()
        self._heir = 0
        self._fault: Exception | None = None
        self._terminal = _has_terminal()
        self._takeover = TakeoverServer(service, service.folder, self._gone, self._lost)

    def take_signals(self) -> None:
        """SIGTERM and SIGINT end; SIGHUP reads the configuration file again, and ends where there is none or the terminal is gone."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        signal.signal(signal.SIGHUP, lambda *_: self._hung_up())

    def _hung_up(self) -> None:
        gone = self._terminal and not _has_terminal()
        (self._stop if self._settings is None or gone else self._reload).set()

    def allow_takeover(self) -> None:
        """From here on another process may take over; called before anybody is told that this one is ready."""
        try:
            self._takeover.start()
        except OSError as error:
            print(f"metlog: no other process can take over from this one: {error.strerror or error}", file=sys.stderr)

    def serve(self) -> None:
        """Returns, or raises `typer.Exit`, when it has ended."""
        from metlog.listener.inputs._systemd import notify

        notify("READY=1")
        # A signal that comes in the very moment in which the waiting begins is noticed when it ends: so by turns.
        while not self._stop.wait(0.5):
            if self._reload.is_set():
                self._reload.clear()
                notify("RELOADING=1")
                self._reload_settings()
                notify("READY=1")
        notify("STOPPING=1")
        self._takeover.stop()
        if self._heir:
            told = f"metlog: handed over to process {self._heir}; for {self._takeover.seconds:.2f} s the kernel kept what came"
            print(told, file=sys.stderr, flush=True)
            return
        if self._fault is not None:
            fail("listen", self._fault)
        if not self._service.stop():
            text = "metlog: stopped; what the outputs had no time for is in the journal, for the next start"
            print(text, file=sys.stderr)

    def _gone(self, pid: int) -> None:
        self._heir = pid
        self._stop.set()

    def _lost(self, error: Exception) -> None:
        self._fault = error
        self._stop.set()

    def _reload_settings(self) -> None:
        assert self._settings is not None
        try:
            told = self._service.reload(self._settings())
        except Exception as error:
            text = str(error)
            if not isinstance(error, (ConfigError, OSError)):  # of a part that is not ours, most likely
                text = f"{type(error).__name__}: {error}"
                log.exception("a part failed while the settings were read again")
            self._service.reloads.note(text)
            for line in text.splitlines():
                print(f"metlog listen: not reloaded, everything goes on as before: {line}", file=sys.stderr, flush=True)
            return
        self._service.reloads.note()
        addresses = ", ".join(self._service.addresses)
        print(
            f"metlog: reloaded: {'; '.join(told) or 'nothing changed'}; listening on {addresses}",
            file=sys.stderr,
            flush=True,
        )


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


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
    fd = whole_number(rest.removeprefix("//"))
    if scheme == "fd" and rest.startswith("//") and fd is not None:
        return {"name": name, "fd": fd}
    host, colon, digits = text.rpartition(":")
    port = whole_number(digits)
    if not colon or port is None or port > 65535:
        raise ConfigError(f"--{name} {text!r}: wants HOST:PORT, as 127.0.0.1:5565, or systemd, systemd:NAME, fd://3")
    return {"name": name, "host": host.strip("[]") or "0.0.0.0", "port": port}  # noqa: S104 - ":5565" asks for every interface
