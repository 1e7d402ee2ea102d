"""Input `zmq`: each message of a PULL or SUB socket is a frame."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final

import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from metlog.listener.inputs import BaseInput, Sink
from metlog.listener.inputs._framing import MAX_FRAME
from metlog.listener.inputs._heartbeat import Heartbeat
from metlog.listener.inputs._listening import unbound
from metlog.listener.inputs._stop import StopSignal
from metlog.plugins.conversion import Size
from metlog.senders.options import C_INT

__all__ = ["ZmqInput"]

log = logging.getLogger("metlog.listener")

_RECV_BATCH: Final = 256
"""Messages taken before they are journaled together."""
_ZAP: Final = "inproc://zeromq.zap.01"
"""Where libzmq asks whether a client may connect (ZeroMQ RFC 27)."""
_ANY: Final = "*"
_LAST: Final = 200
"""Milliseconds without a message after which an input that is to end does: what was sent may still be on its way inside libzmq."""
_MOST: Final = 3.0
"""Seconds after which it ends while messages keep coming."""
_TOLD: Final = 100
"""Refused keys that are told, each once; all are counted."""


class ZmqInput(BaseInput):
    """Receives from ZeroMQ senders.

    endpoint
        `tcp://host:port` (port `*` takes a free one), `ipc:///path` or another of ZeroMQ's.
    pattern
        `pull`: each message comes to one of the listeners that a sender is connected to. `sub`: to all of them.
    bind
        Whether to bind the endpoint, or to connect to senders that bound theirs.
    topics
        With `sub`: prefixes of the messages that are wanted; all by default. A message may have a topic as its first
        part and the frame as its second.
    hwm
        High-water mark: messages that ZeroMQ holds for each sender; then its own buffer fills.
    max_message
        Bytes of a message; a sender of larger ones is disconnected.
    secret_key
        CURVE secret key of the listener (40 characters, Z85): only encrypted connections are taken.
    allow_keys
        Public keys of the clients that may connect, when we are CURVE's server; `*` takes every one.
    server_key, public_key
        Make us CURVE's client instead, of a sender that bound its endpoint: its public key, and our own beside
        `secret_key` (both of our keys are made for the occasion when left out).
    """

    takes_signed = True
    """A frame, or a body, comes whole, so that its signature can be checked."""

    def __init__(
        self,
        *,
        endpoint: str = "tcp://127.0.0.1:5566",
        pattern: str = "pull",
        bind: bool = True,
        topics: list[str] | None = None,
        hwm: int = 1000,
        max_message: Size = 1 << 20,
        secret_key: str = "",
        allow_keys: list[str] | None = None,
        server_key: str = "",
        public_key: str = "",
    ) -> None:
        if pattern not in {"pull", "sub"}:
            raise ValueError(f"pattern = {pattern!r}: wants one of pull, sub")
        if topics is not None and pattern != "sub":
            raise ValueError("topics: only pattern = 'sub' has topics")
        if not 1 <= hwm <= C_INT:
            raise ValueError(f"hwm = {hwm}: wants 1 to {C_INT} messages")
        if not 64 <= max_message <= MAX_FRAME:
            raise ValueError(f"max_message = {max_message}: wants 64 to {MAX_FRAME} bytes")
        if "://" not in endpoint:
            raise ValueError(f"endpoint = {endpoint!r}: wants an endpoint such as tcp://127.0.0.1:5566")
        _check_keys(secret_key, allow_keys, server_key, public_key)
        self._endpoint, self._pattern, self._bind = endpoint, pattern, bind
        self._topics = [""] if topics is None else topics
        self._hwm, self._max_message = hwm, max_message
        self._secret_key, self._server_key, self._public_key = secret_key, server_key, public_key
        self._allowed = frozenset(allow_keys or ())
        self._stop: StopSignal | None = None
        self._thread: threading.Thread | None = None
        self._address = ""
        self._heart: Heartbeat | None = None
        self._told: set[str] = set()
        self._counts = dict.fromkeys(("frames", "bytes", "refused_keys", "handshakes_failed", "rejected"), 0)

    @property
    def addresses(self) -> list[str]:
        return [self._address] if self._address else []

    def start(self, sink: Sink) -> None:
        context: zmq.Context[Any] = zmq.Context()  # ours alone: the ZAP address is one a context
        try:
            zap = context.socket(zmq.REP)
            zap.bind(_ZAP)
            receiver = context.socket(zmq.PULL if self._pattern == "pull" else zmq.SUB)
            self._set_up(receiver)
            monitor = receiver.get_monitor_socket(
                zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
            )
            if self._bind:
                receiver.bind(self._endpoint)
            else:
                receiver.connect(self._endpoint)
        except zmq.ZMQError as error:
            context.destroy(linger=0)
            raise self._unbound(OSError(error.errno, error.strerror)) from error
        self._address = receiver.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode() or self._endpoint
        # Sockets move to the thread here and stay there: they are not made for two.
        self._stop = StopSignal()
        self._thread = threading.Thread(
            target=self._run, args=(sink, self._stop, context, receiver, zap, monitor), name="metlog-zmq", daemon=True
        )
        self._heart = Heartbeat(self._thread, self._address)
        self._thread.start()

    def _unbound(self, error: OSError) -> OSError:
        name, remedy = f"zmq {self._endpoint}", "choose another --zmq ENDPOINT, or endpoint of the input zmq"
        if self._bind and self._endpoint.startswith("tcp://"):
            return unbound(name, error, remedy)
        return OSError(f"{name}: {error.strerror}; {remedy}")

    def _set_up(self, receiver: zmq.Socket[Any]) -> None:
        receiver.setsockopt(zmq.IPV6, "[" in self._endpoint)  # else an IPv4 address comes back in IPv6's dress
        receiver.setsockopt(zmq.LINGER, 0)
        receiver.setsockopt(zmq.RCVHWM, self._hwm)
        receiver.setsockopt(zmq.MAXMSGSIZE, self._max_message)
        if self._pattern == "sub":
            for topic in self._topics:
                receiver.setsockopt(zmq.SUBSCRIBE, topic.encode())
        if self._server_key:
            public, secret = (
                (self._public_key.encode(), self._secret_key.encode()) if self._secret_key else zmq.curve_keypair()
            )
            receiver.curve_serverkey = self._server_key.encode()
            receiver.curve_publickey, receiver.curve_secretkey = public, secret
        elif self._secret_key:
            receiver.curve_secretkey = self._secret_key.encode()
            receiver.curve_server = True
            receiver.setsockopt(zmq.ZAP_DOMAIN, b"metlog")

    def stop(self) -> None:
        if self._stop is None or self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self._stop.close()

    def stats(self) -> dict[str, int]:
        """`frames`, `bytes`; `refused_keys`: connections of clients that are not in `allow_keys`; `handshakes_failed`:
        of clients that know our key wrongly or encrypt nothing; `rejected`: messages of more parts than a frame has."""
        return dict(self._counts)

    def health(self) -> str:
        return self._heart.health() if self._heart is not None else ""

    # In the thread.

    def _run(
        self,
        sink: Sink,
        stop: StopSignal,
        context: zmq.Context[Any],
        receiver: zmq.Socket[Any],
        zap: zmq.Socket[Any],
        monitor: zmq.Socket[Any],
    ) -> None:
        assert self._heart is not None
        poller = zmq.Poller()
        for socket in (receiver, zap, monitor):
            poller.register(socket, zmq.POLLIN)
        poller.register(stop.fileno(), zmq.POLLIN)
        stopping, until = False, 0.0
        try:
            while True:
                if stop.is_set() and not stopping:
                    stopping, until = True, time.monotonic() + _MOST
                    poller.unregister(stop.fileno())
                self._heart.beat()
                ready = dict(poller.poll(_LAST if stopping else 500))
                if zap in ready:
                    self._answer(zap)
                if monitor in ready:
                    parse_monitor_message(monitor.recv_multipart())
                    self._counts["handshakes_failed"] += 1
                if receiver in ready:
                    self._recv_batch(sink, receiver)
                    if stopping and time.monotonic() >= until:
                        log.warning(
                            "%s: ends while messages keep coming: what ZeroMQ holds is not taken", self._address
                        )
                        return
                elif stopping:
                    return
        finally:
            receiver.disable_monitor()
            context.destroy(linger=0)

    def _recv_batch(self, sink: Sink, receiver: zmq.Socket[Any]) -> None:
        batch: list[tuple[bytes, str]] = []
        size = 0
        try:
            for _ in range(_RECV_BATCH):
                message = receiver.recv_multipart(zmq.NOBLOCK, copy=False)
                source = self._source(message[0])
                if len(message) > (2 if self._pattern == "sub" else 1):
                    self._counts["rejected"] += 1
                    sink.reject(message[0].bytes, source, f"zmq message of too many parts: {len(message)}")
                    continue
                frame = message[-1].bytes
                size += len(frame)
                batch.append((frame, source))
        except zmq.Again:
            pass
        if batch:
            self._counts["frames"] += len(batch)
            self._counts["bytes"] += size
            sink.frames(batch)

    def _source(self, part: Any) -> str:
        """The sender's address as ZeroMQ knows it, which has no port: `zmq://192.0.2.7`."""
        if not self._address.startswith("tcp:"):
            return "zmq://local"
        address = str(part.get("Peer-Address"))
        return f"zmq://[{address}]" if ":" in address else f"zmq://{address}"

    def _answer(self, zap: zmq.Socket[Any]) -> None:
        """Whether a client may connect (ZAP): the request is version, id, domain, address, identity, mechanism, key."""
        request = zap.recv_multipart()
        version, ident, _, address, _, mechanism, *credentials = [*request, *[b""] * 6][: max(len(request), 6)]
        key = z85.encode(credentials[0]).decode() if mechanism == b"CURVE" and len(credentials) == 1 else ""
        if key and (_ANY in self._allowed or key in self._allowed):
            zap.send_multipart([version, ident, b"200", b"OK", key.encode(), b""])
            return
        self._counts["refused_keys"] += 1
        if key not in self._told and len(self._told) < _TOLD:
            self._told.add(key)
            peer = address.decode("ascii", "replace")
            log.warning("%s: refused a client at %s: its key %r is not in allow_keys", self._address, peer, key)
        zap.send_multipart([version, ident, b"400", b"key not allowed", b"", b""])


def _check_keys(secret_key: str, allow_keys: list[str] | None, server_key: str, public_key: str) -> None:
    given = [("secret_key", secret_key), ("server_key", server_key), ("public_key", public_key)]
    given += [("allow_keys", key) for key in allow_keys or () if key != _ANY]
    for name, key in given:
        if key and not _is_key(key):  # the value stays out of the message: a secret
            raise ValueError(f"{name}: wants a CURVE key, 40 characters in Z85, as zmq.curve_keypair() gives them")
    if server_key and allow_keys:
        raise ValueError("allow_keys: with server_key we are CURVE's client, and choose the server, not clients")
    if secret_key and not server_key and not allow_keys:
        raise ValueError("allow_keys: secret_key wants the public keys of the clients that may connect, or '*'")
    if allow_keys and not secret_key:
        raise ValueError("secret_key: allow_keys wants it, or no key is ever asked for")
    if bool(public_key) != bool(server_key and secret_key):
        raise ValueError("public_key: wanted with server_key and secret_key, and only then")
    if (secret_key or server_key) and not zmq.has("curve"):
        raise ValueError("secret_key, server_key: this libzmq was built without CURVE; install pyzmq's own wheel")


def _is_key(key: str) -> bool:
    try:
        return len(key) == 40 and len(z85.decode(key.encode("ascii"))) == 32
    except (ValueError, KeyError, UnicodeEncodeError):
        return False
