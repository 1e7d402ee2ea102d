"""Input `syslog`: messages of syslog daemons and programs, by RFC 5424 and RFC 3164."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from metlog.event import Event
from metlog.listener.inputs import BaseInput, Handed, Sink
from metlog.listener.inputs._events import EventSink
from metlog.listener.inputs._handed import NONE
from metlog.listener.inputs._syslog import parse
from metlog.listener.inputs.tcp import TcpInput
from metlog.listener.inputs.udp import UdpInput
from metlog.listener.inputs.unix import UnixInput
from metlog.plugins.conversion import Seconds, Size

__all__ = ["SyslogInput"]

_TRIES: Final = 20
"""Free ports to try, of which UDP gets one while TCP has another owner."""


class _Part(Protocol):
    handed_over: bool

    @property
    def addresses(self) -> list[str]: ...
    def bind_sockets(self, handed: Handed) -> None: ...
    def listening(self) -> list[tuple[str, socket.socket]]: ...
    def start(self, sink: Sink) -> None: ...
    def stop(self) -> None: ...
    def stats(self) -> dict[str, int]: ...
    def health(self) -> str: ...


class SyslogInput(BaseInput):
    """Listens for syslog: RFC 5424, RFC 3164 and what rsyslog, syslog-ng, `logger` and network devices send of it.

    A message becomes an event: `severity` is the priority's, `logger` the APP-NAME or tag, `hostname`, `pid` (a PROCID that is a
    number), `timestamp`, `payload` the message; `fields` has `facility` by name, `msgid`, `procid`, and each element of the structured
    data under its id. A message after `@cee:` is JSON and goes into `fields`. Tokens are the type, the facility and the logger.

    host, port
        Loopback and port 5514 by default (514 wants root or CAP_NET_BIND_SERVICE); port 0 takes a free one.
    transports
        Which of `udp`, `tcp` (octet counting or a message a line, RFC 6587), `tls` (RFC 5425; with cert_file) listen on the port.
    path
        A Unix datagram socket, as `/run/metlog/log`; with `transports = []` the only way in.
    mode
        Permissions of that socket, octal digits.
    type
        Of the events.
    timezone
        Name of the zone of times that say none (RFC 3164); the machine's own by default.
    cert_file, key_file, client_ca_file, max_frame, max_connections, idle_timeout, frame_timeout, receive_buffer
        As for the inputs `tcp` and `udp`.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 5514,
        transports: list[str] | None = None,
        path: str = "",
        mode: str = "0666",
        type: str = "syslog",
        timezone: str = "",
        cert_file: str = "",
        key_file: str = "",
        client_ca_file: str = "",
        max_frame: Size = 64 << 10,
        max_connections: int = 512,
        idle_timeout: Seconds = 86_400.0,
        frame_timeout: Seconds = 60.0,
        receive_buffer: Size = 8 << 20,
    ) -> None:
        chosen = ["udp", "tcp"] if transports is None else transports
        if wrong := sorted(set(chosen) - {"udp", "tcp", "tls"}):
            raise ValueError(f"transports = {wrong}: wants a list of udp, tcp, tls; a Unix socket is `path`")
        if not chosen and not path:
            raise ValueError("transports = []: wants udp, tcp or tls, or a `path` for a Unix socket")
        if ("tls" in chosen) != bool(cert_file):
            raise ValueError("cert_file: goes with transports = ['tls'], a PEM file with the certificate")
        if "tls" in chosen and "tcp" in chosen:
            raise ValueError("transports: tcp and tls cannot share a port; use two inputs")
        if not type:
            raise ValueError("type = '': wants a text")
        self._zone = _zone(timezone)
        self._type = type
        self._parts: list[tuple[str, Any]] = []
        self._port = port
        for name in chosen:
            self._parts.append(
                (name, UdpInput(host=host, port=port, receive_buffer=receive_buffer))
                if name == "udp"
                else (
                    name,
                    TcpInput(
                        host=host, port=port, framing="octets", cert_file=cert_file, key_file=key_file, client_ca_file=client_ca_file,
                        max_frame=max_frame, max_connections=max_connections, idle_timeout=idle_timeout, frame_timeout=frame_timeout,
                    ),
                )
            )  # fmt: skip
        for _, part in self._parts:
            part.port_option = "port of the input syslog"
        if path:
            self._parts.append(
                ("unix", UnixInput(path=path, mode=mode, max_frame=max_frame, receive_buffer=receive_buffer))
            )
        self._events: EventSink | None = None
        self._is_bound = False

    @property
    def addresses(self) -> list[str]:
        return [f"syslog+{address}" for _, part in self._parts for address in part.addresses]

    def start(self, sink: Sink) -> None:
        self._events = EventSink(sink, self._parsed, "syslog+")
        if not self._is_bound:
            self.bind_sockets(NONE)
        for _, part in self._parts:
            part.start(self._events)
            self.warnings = [*self.warnings, *part.warnings]

    def bind_sockets(self, handed: Handed) -> None:
        for left in reversed(range(_TRIES)):
            try:
                self._bind(handed)
                break
            except OSError as error:
                taken = getattr(error.__cause__, "errno", None) == errno.EADDRINUSE
                if self._port or not taken or not left:
                    raise
        self._is_bound = True

    def _bind(self, handed: Handed) -> None:
        opened: list[_Part] = []
        port = self._port
        try:
            for name, part in self._parts:
                if port and not self._port and name != "unix":
                    part.take_port(port)  # both on the free port that the first one got
                part.bind_sockets(handed)
                opened.append(part)
                if name != "unix":
                    port = part.port
        except BaseException:
            for other in opened:
                other.stop()
            raise

    def listening(self) -> list[tuple[str, socket.socket]]:
        return [item for _, part in self._parts for item in part.listening()]

    def _parsed(self, data: bytes) -> Sequence[Event]:
        return [parse(data, datetime.now(UTC), self._zone, self._type)]

    def stop(self) -> None:
        for _, part in self._parts:
            part.handed_over = self.handed_over
            part.stop()

    def stats(self) -> dict[str, int]:
        """The sums of its sockets' counts; `events`, and `invalid` messages."""
        total: dict[str, int] = {"frames": 0, "bytes": 0}
        for _, part in self._parts:
            for key, value in part.stats().items():
                total[key] = total.get(key, 0) + value
        events = self._events
        return {**total, "events": events.events if events else 0, "invalid": events.invalid if events else 0}

    def sockets(self) -> list[dict[str, Any]]:
        return [item for name, part in self._parts if name == "udp" for item in part.sockets()]

    def health(self) -> str:
        return next((text for _, part in self._parts if (text := part.health())), "")


def _zone(name: str) -> tzinfo | None:
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"timezone = {name!r}: wants the name of a zone, as Europe/Berlin or UTC") from error
