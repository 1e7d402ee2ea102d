"""Input `statsd`: the statsd line protocol over UDP, each metric an event of type `counter`, `timer`, `gauge`, …."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from metlog.event import Event
from metlog.listener.inputs import BaseInput, Handed, Sink
from metlog.listener.inputs._handed import NONE
from metlog.listener.inputs._listening import unbound
from metlog.listener.inputs._statsd_lines import BadLine, parse
from metlog.listener.inputs.udp import UdpInput
from metlog.listener.validate import Rejects, Validated
from metlog.plugins.conversion import Size

__all__ = ["StatsdInput"]

_EXPANDED: Final = 4 << 20
"""Bytes of events that a datagram may make: a line has 2 bytes for a packed value, an event some 200."""
_LINE: Final = re.compile(rb"[^\r\n][^\n]*")
_encode_lines: Final = msgspec.json.Encoder().encode_lines


class StatsdInput(BaseInput):
    """Listens for statsd's lines, one or more a datagram, as any statsd client sends them.

    A line becomes an event: `type` and first token `counter` (fields `name`, `count`), `timer` (`name`, `ms`), `gauge`
    (`name`, `value`, or `delta` where the number has a sign), `set` (`name`, `value`), `histogram` and `distribution`
    (`name`, `value`); second token the name, `payload` the number as text, `weight` 1 / sample rate, DogStatsD's tags
    under `tags`. A line that is none is dead-lettered with its reason.

    host, port
        Loopback and statsd's own port by default; port 0 takes a free one.
    logger
        The `logger` that the events get.
    sockets, receive_buffer, systemd, fd
        As for the input `udp`.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 8125,
        logger: str = "",
        sockets: int = 1,
        receive_buffer: Size = 8 << 20,
        systemd: bool | str = False,
        fd: int = -1,
    ) -> None:
        # Receiving is the input udp's work, kernel drops and stuck threads included; what comes is translated.
        self._udp = UdpInput(
            host=host, port=port, sockets=sockets, receive_buffer=receive_buffer, systemd=systemd, fd=fd
        )
        self.warnings = self._udp.warnings
        self._asked = f"statsd://{host}:{port}"
        self._logger = logger
        self._translator: _Translator | None = None
        self._is_bound = False

    @property
    def addresses(self) -> list[str]:
        return [address.replace("udp://", "statsd://", 1) for address in self._udp.addresses]

    def listening(self) -> list[tuple[str, socket.socket]]:
        return self._udp.listening()

    def start(self, sink: Sink) -> None:
        self._translator = _Translator(sink, self._logger)
        if not self._is_bound:
            self.bind_sockets(NONE)
        self._udp.start(self._translator)

    def bind_sockets(self, handed: Handed) -> None:
        try:
            self._udp.bind_sockets(handed)
            self._is_bound = True
        except OSError as error:
            if not isinstance(error.__cause__, OSError):  # nothing was bound: a socket was to be passed
                raise
            raise unbound(
                self._asked, error.__cause__, "choose another --statsd HOST:PORT, or port of the input statsd"
            ) from error

    def stop(self) -> None:
        self._udp.handed_over = self.handed_over
        self._udp.stop()

    def stats(self) -> dict[str, int]:
        """As the input `udp`, `frames` being datagrams; and `metrics` taken, `bad_lines`."""
        translator = self._translator
        metrics, bad = (translator.metrics, translator.bad) if translator is not None else (0, 0)
        return {**self._udp.stats(), "metrics": metrics, "bad_lines": bad}

    def sockets(self) -> list[dict[str, Any]]:
        """As the input `udp`."""
        return [{**item, "address": item["address"].replace("udp://", "statsd://", 1)} for item in self._udp.sockets()]

    def health(self) -> str:
        return self._udp.health()


class _Translator:
    """A sink that takes datagrams of lines and gives frames of events to the real one."""

    def __init__(self, sink: Sink, logger: str) -> None:
        self._sink = sink
        self._logger = logger
        self.metrics = 0
        self.bad = 0

    def frame(self, data: bytes, source: str, received_at: int | None = None) -> None:
        self.frames([(data, source)], received_at)

    def frames(self, batch: Sequence[tuple[bytes | Validated, str]], received_at: int | None = None) -> None:
        found = [
            (self._translate(data), source.replace("udp://", "statsd://", 1))
            for data, source in batch
            if not isinstance(data, Validated)  # the input udp hands on what it received
        ]
        if found:
            self._sink.frames(found, received_at)

    def _translate(self, data: bytes) -> Validated:
        """The events of a datagram. They need no further check: the parser bounds names, numbers and weights."""
        rejects = Rejects(len(data))
        lines: list[bytes] = []
        count = size = 0
        for match in _LINE.finditer(data):
            try:
                events, wrong = parse(match[0].rstrip(b"\r"), self._logger)
            except BadLine as error:
                rejects.add(match[0], str(error))
                if rejects.exhausted:
                    rejects.skip(data[match.end() + 1 :])
                    break
                continue
            text = _encode_lines(events)
            size += len(text)
            if size > _EXPANDED:
                rejects.add(data[match.start() :], f"the datagram makes more than {_EXPANDED} bytes of events")
                break
            lines.append(text)
            count += len(events)
            if wrong:  # the rest of the line
                rejects.add(match[0], wrong)
                if rejects.exhausted:
                    rejects.skip(data[match.end() + 1 :])
                    break
        invalid = rejects.report()
        self.metrics += count
        self.bad += rejects.count
        return Validated(b"".join(lines), count, invalid=invalid)

    def opened(self, body: bytes, source: str, key: str = "") -> bytes | None:
        return self._sink.opened(body, source, key)

    def submit(self, events: Sequence[Event] | Validated, source: str, **options: Any) -> bool:
        return self._sink.submit(events, source, **options)

    def reject(self, data: bytes, source: str, reason: str) -> None:
        self._sink.reject(data, source, reason)
