"""Output `zmq`: events as ZeroMQ messages, metlog's own frames, to another listener."""

from __future__ import annotations

import functools
import itertools
import operator
from time import monotonic
from typing import Any, ClassVar, Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from metlog import plugins
from metlog.listener.outputs import BaseOutput, Batch, Rejected, Undelivered
from metlog.listener.outputs._frames import frames_of
from metlog.plugins.conversion import Seconds, Size
from metlog.senders.options import at_least, at_most, positive
from metlog.senders.zmq import ZmqSender

__all__ = ["ZmqOutput"]

_MARGIN: Final = 0.05
"""Seconds by which ZeroMQ may give up before the whole time is over."""
_FAILED: Final = frozenset({
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_AUTH,
})  # fmt: skip

_WATCHED: Final = zmq.EVENT_DISCONNECTED | zmq.EVENT_MONITOR_STOPPED | functools.reduce(operator.or_, _FAILED)


class ZmqOutput(BaseOutput):
    """Pushes each batch over a connection of its own to a listener's input `zmq` (pattern `pull`, which binds); streams and numbers stay,
    so that its accounting goes on.

    endpoint
        `tcp://host:port` or `ipc:///path`, where the other listener binds.
    server_key, public_key, secret_key
        CURVE: the listener's public key, and our own pair (made for the occasion when left out).
    encoder
        `json` by default; `msgpack`, `signed`, …. A receiver of signed frames refuses those that are older than its `replay_window`.
    max_frame, max_message
        Bytes of a message of several events, and of one at all; the receiver disconnects senders of more than its `max_message`.
    timeout
        Seconds for a batch: to connect, and to write all of it out.

    A batch counts as delivered when a listener had answered the handshake, ZeroMQ has written all of the batch to that connection, and the
    connection did not break until then. PUSH has no receipts: what the other machine had taken when it died, and had not journaled, is
    lost, and its accounting shows it; where nothing may be lost use `http`. After a crash or a broken connection a batch may be sent twice.
    """

    batch_defaults: ClassVar[dict[str, Any]] = {"batch_events": 5000, "batch_bytes": 1 << 20, "batch_age": 0.5}

    def __init__(
        self,
        *,
        endpoint: str = "tcp://127.0.0.1:5566",
        server_key: str | None = None,
        public_key: str | None = None,
        secret_key: str | None = None,
        encoder: Any = "json",
        max_frame: Size = 65_536,
        max_message: Size = 1 << 20,
        timeout: Seconds = 10.0,
    ) -> None:
        # The options that mean the same for the sender are checked as the sender's are; it opens nothing.
        ZmqSender(
            endpoint=endpoint, server_key=server_key, public_key=public_key, secret_key=secret_key, max_frame=max_frame
        )
        at_least("max_message", max_message, max_frame, "bytes")
        positive("timeout", timeout, "seconds")
        at_most("timeout", timeout, 86_400, "seconds")  # libzmq takes 24 days
        self._endpoint, self._max_frame, self._max_message, self._timeout = endpoint, max_frame, max_message, timeout
        self._keys: tuple[bytes, bytes, bytes] | None = None
        if server_key is not None:
            own = (public_key.encode(), secret_key.encode()) if public_key and secret_key else zmq.curve_keypair()
            self._keys = (server_key.encode(), *own)
        self._encoder = plugins.build("encoder", encoder, "encoder")
        self._context: zmq.Context[Any] | None = None
        self._numbers = itertools.count()
        self._counts = dict.fromkeys(("messages", "bytes", "undelivered"), 0)

    def describe(self) -> str:
        return f"zmq {self._endpoint}"

    def stats(self) -> dict[str, int]:
        """`messages` and `bytes` that were written, those of batches that were tried again included; `undelivered`: batches that were."""
        return dict(self._counts)

    def start(self) -> None:
        if self._context is None:
            self._context = zmq.Context()

    def write(self, batch: Batch) -> None:
        frames, rejected = frames_of(self._encoder, batch.deliveries, self._max_frame, self._max_message)
        if frames:
            try:
                self._push(frames)
            except (zmq.ZMQError, Undelivered) as error:
                self._counts["undelivered"] += 1
                words = error.strerror if isinstance(error, zmq.ZMQError) else str(error)
                raise Undelivered(f"{self.describe()}: {words}") from error
        if rejected:
            raise Rejected(rejected)

    def _push(self, frames: list[bytes]) -> None:
        assert self._context is not None
        end = monotonic() + self._timeout
        pushing: zmq.Socket[Any] = self._context.socket(zmq.PUSH)
        monitor: zmq.Socket[Any] = self._context.socket(zmq.PAIR)
        try:
            # pyzmq's own monitors are named by the socket's descriptor, which the next socket may have.
            address = f"inproc://batch-{next(self._numbers)}"
            pushing.monitor(address, _WATCHED)
            monitor.connect(address)
            pushing.setsockopt(zmq.IMMEDIATE, 1)  # a message waits for a peer, not for one that may come
            pushing.setsockopt(zmq.SNDHWM, 0)
            pushing.setsockopt(zmq.LINGER, 0)
            pushing.setsockopt(zmq.IPV6, 1)
            if self._keys is not None:
                pushing.curve_serverkey, pushing.curve_publickey, pushing.curve_secretkey = self._keys
            pushing.connect(self._endpoint)
            for frame in frames:
                pushing.setsockopt(zmq.SNDTIMEO, max(0, int((end - monotonic()) * 1000)))
                try:
                    pushing.send(frame)
                except zmq.Again:
                    raise Undelivered(
                        _why_nobody(monitor) or f"nobody takes messages within {self._timeout:g} s"
                    ) from None
            # Closed, the socket writes what it holds and ends then: the last event of its monitor. One that cannot write ends
            # when its time is over, and looks the same but for that.
            pushing.close(linger=max(0, int((end - monotonic()) * 1000)))
            self._see_end(monitor, end)
        finally:
            if not pushing.closed:
                pushing.disable_monitor()  # a last event that nobody takes would hold up every later socket
                pushing.close(linger=0)
            monitor.close(linger=0)
        self._counts["messages"] += len(frames)
        self._counts["bytes"] += sum(map(len, frames))

    def _see_end(self, monitor: zmq.Socket[Any], end: float) -> None:
        """Waits for the end of the closed socket; raises Undelivered when something was not written by then."""
        broke = False
        while monitor.poll(max(0, int((end - monotonic()) * 1000)) + 1000):
            kind = recv_monitor_message(monitor)["event"]
            broke |= kind == zmq.EVENT_DISCONNECTED
            if kind == zmq.EVENT_MONITOR_STOPPED:
                if broke:
                    raise Undelivered("the connection broke before all of the batch was written")
                if monotonic() > end - _MARGIN:
                    break
                return
        raise Undelivered(f"not all of the batch could be written within {self._timeout:g} s")

    def close(self) -> None:
        if self._context is not None:
            self._context.destroy(linger=0)
            self._context = None


def _why_nobody(monitor: zmq.Socket[Any]) -> str:
    while monitor.poll(0):
        if recv_monitor_message(monitor)["event"] in _FAILED:
            return "the handshake failed: the keys do not fit"
    return ""
