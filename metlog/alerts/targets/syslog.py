"""Target `syslog`: a notice as a line of the system's log, or of a syslog server."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from typing import Final

from metlog.alerts.targets import BaseTarget, Notice
from metlog.senders.options import one_of, port_number

__all__ = ["SyslogTarget"]

_FACILITIES: Final = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
    "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
_TIMEOUT: Final = 5.0
_LONGEST: Final = 2000


class SyslogTarget(BaseTarget):
    """Writes each notice as one message, with the severity of the alert.

    path
        Socket of the local syslog daemon.
    host, port
        A syslog server that takes datagrams (RFC 5424) instead.
    facility
        `daemon`, `local0`, ….
    """

    def __init__(self, *, path: str = "/dev/log", host: str = "", port: int = 514, facility: str = "daemon") -> None:
        one_of("facility", facility, _FACILITIES)
        port_number(port)
        self._path, self._host, self._port = path, host, port
        self._facility = _FACILITIES.index(facility)

    def describe(self) -> str:
        return f"syslog {self._host}:{self._port}" if self._host else f"syslog {self._path}"

    def send(self, notice: Notice) -> None:
        mark = "test: " if notice.test else ""
        text = "".join(c if c.isprintable() else " " for c in f"{mark}{notice.text}")[:_LONGEST]
        priority = self._facility * 8 + notice.severity
        if not self._host:
            self._to(socket.AF_UNIX, self._path, f"<{priority}>metlog[{os.getpid()}]: {text}")
            return
        family, _, _, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
        moment = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        host = "".join(c for c in socket.gethostname() if "!" <= c <= "~")[:255] or "-"
        self._to(family, address, f"<{priority}>1 {moment} {host} metlog {os.getpid()} alert - {text}")

    def _to(self, family: socket.AddressFamily, address: object, line: str) -> None:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_TIMEOUT)
            sock.connect(address)  # type: ignore[arg-type] # as the family has it
            sock.send(line.encode())
