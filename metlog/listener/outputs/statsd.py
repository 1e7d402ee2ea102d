"""Output `statsd`: counters, timers, gauges and sets to a statsd server, through the statsd package."""

from __future__ import annotations

import os
import re
import socket
from math import inf, isfinite
from time import monotonic
from typing import Any, ClassVar, Final

from statsd.client.udp import Pipeline, StatsClient

from metlog.event import Event
from metlog.listener.metrics import Bounded
from metlog.listener.outputs import BaseOutput, Batch, Rejected
from metlog.plugins.conversion import Size
from metlog.senders.options import at_least, port_number
from metlog.senders.udp import UdpSender

__all__ = ["StatsdOutput"]

_LOOK_UP: Final = 60.0
"""Seconds after which the server's name is looked up again."""
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.\-/]")
"""What statsd's own name cleaning drops, and what its protocol gives a meaning."""
_LONGEST_MEMBER: Final = 60_000
"""Bytes of a set's member: with a name, as much as a datagram carries (65,507 bytes)."""
_IN_MEMBERS: Final = re.compile("[%:|#@\x00-\x20\x7f]")
"""What the protocol gives a meaning in a set's member; all else is kept, in UTF-8."""


class StatsdOutput(BaseOutput):
    """Sends events of type `counter` (fields `name`, `count`), `timer` (`name`, `ms`), `gauge` (`name`, `value` or
    `delta`) and `set` (`name`, `value`); others are passed over and counted.

    A counter counts `count` times the event's `weight`, and the counters of a batch are summed up; a timer of weight w
    goes with the sample rate 1/w.

    host, port
        The server. Its name is looked up again every minute, and after errors.
    prefix
        Stands before every name, with a dot.
    max_names
        Names that are told apart: what comes beyond is sent as `other`, and counted.
    max_packet
        Bytes of a datagram: 512 crosses any network, 1432 most.

    UDP says nothing of what arrives. A server on this machine that is down is noticed, and the batch kept for it.
    After a crash of the listener a batch may be sent twice.
    """

    batch_defaults: ClassVar[dict[str, Any]] = {"batch_events": 2000, "batch_age": 1.0}

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 8125,
        prefix: str = "",
        max_names: int = 1000,
        max_packet: Size = 512,
    ) -> None:
        port_number(port)
        at_least("max_names", max_names, 1, "names")
        at_least("max_packet", max_packet, 64, "bytes")
        if max_packet > UdpSender.max_event:
            raise ValueError(f"max_packet = {max_packet!r}: a datagram carries at most {UdpSender.max_event} bytes")
        self._host, self._port = host, port
        self._prefix = prefix.strip(".") or None
        self._max_packet = max_packet
        self._names = Bounded(max_names)
        self._client: _Client | None = None
        self._looked_up = 0.0
        self._passed = 0

    def describe(self) -> str:
        return f"statsd://{self._host}:{self._port}"

    def stats(self) -> dict[str, int]:
        """`names` told apart, `folded`: metrics sent as `other`, `passed`: events that are no metrics."""
        return {"names": len(self._names), "folded": self._names.folded, "passed": self._passed}

    def start(self) -> None:
        self._connect()

    def _connect(self) -> _Client:
        family, _, _, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
        self.close()
        self._client = _Client(family, address, self._prefix, self._max_packet)
        self._looked_up = monotonic()
        return self._client

    def write(self, batch: Batch) -> None:
        client = self._client
        if client is None or monotonic() - self._looked_up > _LOOK_UP:
            client = self._connect()
        counters: dict[str, float] = {}
        pipe = client.pipeline()
        verdicts = [(delivery, self._put(pipe, counters, delivery.event)) for delivery in batch.deliveries]
        for name, count in counters.items():
            pipe.incr(name, _plain(count))
        try:
            pipe.send()
            client.check()
        except OSError:
            self.close()  # another look at the name, and a new socket, for the next try
            raise
        if rejected := [(delivery, reason) for delivery, reason in verdicts if reason]:
            raise Rejected(rejected)

    def _put(self, pipe: Any, counters: dict[str, float], event: Event) -> str:
        """Adds one event to the pipeline; returns what is wrong with it."""
        fields = event.fields
        if event.type not in {"counter", "timer", "gauge", "set"}:
            self._passed += 1
            return ""
        name = fields.get("name")
        if not isinstance(name, str) or not name:
            return f"{event.type} without `name`: wants a text in fields.name"
        key = {"counter": "count", "timer": "ms", "set": "value"}.get(event.type) or (
            "delta" if "delta" in fields else "value"
        )
        value = fields.get(key)
        if event.type == "set":
            member = _IN_MEMBERS.sub(lambda found: f"%{ord(found[0]):02X}", str(value))
            if len(member.encode()) > _LONGEST_MEMBER:
                return f"set: fields.{key} is longer than a datagram"
            self._names.add(name)
            pipe.set(self._name(name), member)
            return ""
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return f"{event.type} without `{key}`: wants a number in fields.{key}"
        stat = self._name(name)
        try:
            total = counters.get(stat, 0) + value * event.weight if event.type == "counter" else float(value)
        except OverflowError:  # an integer beyond every float
            total = inf
        if not isfinite(total):
            return f"{event.type}: fields.{key} is too large"
        self._names.add(name)
        if event.type == "counter":
            counters[stat] = total
        elif event.type == "timer":
            pipe.timing(stat, value, rate=1 / event.weight)
        else:
            pipe.gauge(stat, _plain(value), delta=key == "delta")
        return ""

    def _name(self, name: str) -> str:
        return _UNSAFE.sub(_safe, self._names.name(name))

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def _safe(found: re.Match[str]) -> str:
    """A letter beyond ASCII as its code point: two names stay two. Statsd itself would leave it out."""
    return "_" if found[0].isascii() else f"_u{ord(found[0]):04x}"


class _Pipeline(Pipeline):  # type: ignore[misc] # the package has no annotations
    """The package's, but that a rate is written and nothing sampled by it (the client did that), and that `max_packet` is in bytes, not
    in characters."""

    def _prepare(self, stat: str, value: str, rate: float) -> str:
        line: str = super()._prepare(stat, value, 1)
        return line if rate >= 1 else f"{line}|@{rate:.12g}"

    def _send(self) -> None:
        packet: list[str] = []
        size = 0
        for line in self._stats:
            length = len(line.encode()) + 1
            if packet and size + length > self._maxudpsize:
                self._client._after("\n".join(packet))
                packet, size = [], 0
            packet.append(line)
            size += length
        self._stats.clear()
        self._client._after("\n".join(packet))


class _Client(StatsClient):  # type: ignore[misc] # as above
    """The package's UDP client, on a connected socket that tells when nobody listens."""

    def __init__(self, family: socket.AddressFamily, address: Any, prefix: str | None, max_packet: Size) -> None:
        self._prefix = prefix
        self._maxudpsize = max_packet
        self._sock = socket.socket(family, socket.SOCK_DGRAM)
        self._sock.connect(address)

    def _send(self, data: str) -> None:
        self._sock.send(data.encode())

    def pipeline(self) -> _Pipeline:
        return _Pipeline(self)

    def check(self) -> None:
        """Raises OSError when a datagram was refused: on this machine the answer is there at once."""
        if code := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))


def _plain(number: float) -> float:
    """An int where it is a whole number: not every server reads 3.0 or 1e+16."""
    return int(number) if number == int(number) else number
