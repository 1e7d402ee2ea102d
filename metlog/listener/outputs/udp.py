"""Output `udp`: events as datagrams, metlog's own frames, to another listener."""

from __future__ import annotations

import os
import socket
from time import monotonic, sleep
from typing import Any, ClassVar, Final

from metlog import plugins
from metlog.listener.outputs import BaseOutput, Batch, Rejected, Undelivered
from metlog.listener.outputs._frames import frames_of
from metlog.plugins.conversion import Size
from metlog.senders.options import Address, at_least, port_number
from metlog.senders.udp import LOOPBACK_FRAME, REMOTE_FRAME, UdpSender

__all__ = ["UdpOutput"]

_LOOK_UP: Final = 60.0
"""Seconds after which the name is looked up again."""
_WAIT: Final = 5.0
"""Seconds that a full send buffer is waited for."""


class UdpOutput(BaseOutput):
    """Sends each batch as datagrams that a listener's input `udp` takes; streams and numbers stay, so that its accounting goes on.

    host, port
        Where to. The name is looked up again every minute and after errors; of several addresses each is tried.
    encoder
        `json` by default; `msgpack`, `signed`, …. A receiver of signed frames refuses those that are older than its `replay_window`.
    max_frame
        Bytes of a datagram; by default 8,192 to the loopback and 1,432 otherwise, which no Ethernet fragments.
    rate
        Events a second at most, so that a backlog does not overrun the receiver's buffer; 0: as fast as they are read.

    Sent is all that is known: a batch counts as delivered when the kernel has taken its datagrams and no refusal (ICMP) had come by then.
    On one machine, or where the peer's host says so in time, a listener that is down is noticed and the batch kept for it; what is lost on
    the way is not. The receiving listener counts it (`metlog status`, lost); where nothing may be lost use `http`. After a crash
    or a refusal a batch may be sent twice. An event that fits no datagram (65,507 bytes) is rejected.
    """

    batch_defaults: ClassVar[dict[str, Any]] = {"batch_events": 2000, "batch_age": 0.5}

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 5565,
        encoder: Any = "json",
        max_frame: Size | None = None,
        rate: float = 20_000.0,
    ) -> None:
        port_number(port)
        at_least("rate", rate, 0, "events a second")
        if max_frame is not None:
            at_least("max_frame", max_frame, 64, "bytes")
            if max_frame > UdpSender.max_event:
                raise ValueError(f"max_frame = {max_frame!r}: a datagram carries at most {UdpSender.max_event} bytes")
        self._host, self._port, self._max_frame, self._rate = host, port, max_frame, rate
        self._encoder = plugins.build("encoder", encoder, "encoder")
        self._addresses: list[Address] = []
        self._current = 0
        self._looked_up = 0.0
        self._socket: socket.socket | None = None
        self._not_before = 0.0
        self._counts = dict.fromkeys(("datagrams", "bytes", "refused"), 0)

    def describe(self) -> str:
        return f"udp://{self._host}:{self._port}"

    def stats(self) -> dict[str, int]:
        """`datagrams` and `bytes` that were sent, those of batches that were tried again included; `refused`: batches of which one was."""
        return dict(self._counts)

    def write(self, batch: Batch) -> None:
        try:
            sock, max_frame = self._connected()
            frames, rejected = frames_of(self._encoder, batch.deliveries, max_frame, UdpSender.max_event)
            self._check(sock)  # a refusal of the batch before: the receiver is not there
            for frame in frames:
                self._pace(len(batch.deliveries) / len(frames))
                sock.send(frame)
                self._counts["datagrams"] += 1
                self._counts["bytes"] += len(frame)
            self._check(sock)
        except OSError as error:
            self._counts["refused"] += 1
            self._current += 1  # another address of the name, where it has several
            self.close()
            raise Undelivered(f"{self.describe()}: {error.strerror or error}") from error
        if rejected:
            raise Rejected(rejected)

    def _connected(self) -> tuple[socket.socket, int]:
        """The socket, and the bytes of a datagram."""
        now = monotonic()
        if self._socket is None or now - self._looked_up > _LOOK_UP:
            self.close()
            if not self._addresses or now - self._looked_up > _LOOK_UP or self._current >= len(self._addresses):
                found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
                self._addresses = [(answer[0], answer[4]) for answer in found]
                self._looked_up, self._current = now, 0
            family, address = self._addresses[self._current]
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
            self._socket.settimeout(_WAIT)
            self._socket.connect(address)
        peer = str(self._socket.getpeername()[0])
        local = peer == "::1" or peer.startswith(("127.", "::ffff:127."))
        return self._socket, self._max_frame or (LOOPBACK_FRAME if local else REMOTE_FRAME)

    def _pace(self, events: float) -> None:
        if not self._rate:
            return
        now = monotonic()
        if self._not_before > now:
            sleep(self._not_before - now)
        self._not_before = max(now, self._not_before) + events / self._rate

    def _check(self, sock: socket.socket) -> None:
        """Raises OSError when a datagram was refused: on this machine the answer is there at once."""
        if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, os.strerror(code))

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
