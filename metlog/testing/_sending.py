"""What a subclass of `SenderConformance` says, and how the suite looks at what has arrived."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from time import monotonic, sleep
from typing import Any, ClassVar, Literal, TypeVar

import pytest

from metlog.client import MetlogClient, state_of
from metlog.core.adapt import adapt_encoder, adapt_filter, adapt_sender
from metlog.core.pipeline import Pipeline
from metlog.encoders import Encoder
from metlog.encoders.json import JsonEncoder
from metlog.event import Event
from metlog.filters import Filter
from metlog.senders import Sender
from metlog.testing._running import GRACE, within
from metlog.testing.peers import DatagramPeer, StreamPeer, closed_port, silent_peer

__all__ = ["Sending", "Trouble", "client_with", "frame_of"]

Trouble = Literal["dead", "swallows", "never_reads"]
T = TypeVar("T")

SETTLE = 0.05
"""Seconds in which what must not arrive would have arrived."""

_JSON = JsonEncoder()


def client_with(
    sender: Sender, *, encoder: Encoder = _JSON, filters: Sequence[Filter] = (), flush_interval: float = 0.1
) -> MetlogClient:
    """A client of its own that logs through a sender (an encoder, filters) that exists already.

    >>> from metlog.senders.memory import MemorySender
    >>> sender = MemorySender()
    >>> with client_with(sender) as client:
    ...     client.log("login", "sync")
    >>> [event.type for event in sender.events]
    ['login', 'metlog.end']
    """
    client = MetlogClient()
    state_of(client).use(
        Pipeline(
            logger="conformance",
            hostname="localhost",
            filters=[adapt_filter(item) for item in filters],
            encoder=adapt_encoder(encoder),
            sender=adapt_sender(sender),
            flush_interval=flush_interval,
        )
    )
    return client


def frame_of(number: int, size: int = 0) -> bytes:
    """A JSON frame with one event; exactly `size` bytes when that is enough."""
    bare = _JSON.frame([_JSON.encode(Event(type="conformance", seq=number))])
    padding = max(0, size - len(bare))
    return _JSON.frame([_JSON.encode(Event(type="conformance", seq=number, payload="x" * padding))])


class Sending:
    """The part of `SenderConformance` that holds no test."""

    delivers: ClassVar[bool] = True
    """False: frames go nowhere on purpose, and `received` is never called."""

    in_process: ClassVar[bool] = False
    """True: what arrived lies in this process's memory, so that a forked child has its own."""

    transport: ClassVar[Literal["tcp", "udp"] | None] = None
    """What `make_sender_to` connects with."""

    wait: ClassVar[float] = 5.0
    """Seconds that a healthy peer may take for what is asked of it; a call that takes twice as long hangs."""

    grace: ClassVar[float] = GRACE
    """Seconds that a call may take beyond the time it was given: machines that run tests are busy."""

    # What a subclass says.

    def make_sender(self) -> Sender:
        """A new sender, to the place that `received` looks at; called several times a test, perhaps."""
        raise NotImplementedError("make_sender: return a new sender")

    def received(self, sender: Any) -> list[bytes] | bytes:
        """All that has arrived so far: a list of frames, or the bytes of a stream or file, in order."""
        raise NotImplementedError("received: return what has arrived so far")

    def make_sender_to(self, host: str, port: int) -> Sender:
        """A new sender to that address."""
        raise NotImplementedError("make_sender_to: return a new sender to this host and port")

    @contextlib.contextmanager
    def troubled(self, trouble: Trouble) -> Iterator[Sender]:
        """A sender whose peer is in trouble: not there, swallowing all, or accepting and never reading."""
        if self.transport is None:
            pytest.skip("no peer: set `transport` and make_sender_to(host, port), or override troubled(trouble)")
        kind = socket.SOCK_STREAM if self.transport == "tcp" else socket.SOCK_DGRAM
        if trouble == "dead":
            yield self.make_sender_to("127.0.0.1", closed_port(kind))
        elif trouble == "swallows":
            with StreamPeer() if self.transport == "tcp" else DatagramPeer() as peer:
                yield self.make_sender_to("127.0.0.1", peer.port)
        else:
            with silent_peer(kind) as port:
                yield self.make_sender_to("127.0.0.1", port)

    # How it looks.

    @property
    def _limit(self) -> float:
        return 2 * self.wait + self.grace

    def _within(self, what: str, call: Callable[[], T]) -> T:
        return within(self._limit, what, call)

    @staticmethod
    def _opened(sender: Sender) -> Sender:
        """As `configure` hands it on: one that has an `open()` was opened, once."""
        adapt_sender(sender).open()
        return sender

    @pytest.fixture(name="sender")
    def _sender(self) -> Iterator[Sender]:
        made = self._opened(self.make_sender())
        yield made
        with contextlib.suppress(Exception):
            self._within("close", made.close)

    def _frames(self, sender: Sender) -> list[bytes]:
        """What has arrived, as frames: those of a stream cannot be told apart, so that each of its lines is one."""
        found = self.received(sender)
        return found if isinstance(found, list) else found.splitlines(keepends=True)

    def _bytes(self, sender: Sender) -> bytes:
        found = self.received(sender)
        return found if isinstance(found, bytes) else b"".join(found)

    def _expect(self, sender: Sender, frames: list[bytes], *, last: bool = False) -> None:
        """Waits until the frames have arrived; `last`: and sees that nothing else does."""
        if not self.delivers:
            return
        whole = b"".join(frames)
        end = monotonic() + self.wait
        while len(self._bytes(sender)) < len(whole) and monotonic() < end:
            sleep(0.002)
        if last:
            sleep(SETTLE)
        found = self.received(sender)
        if isinstance(found, list):
            found = [frame for frame in found if frame]  # a datagram of no bytes is how an empty frame travels
            assert found == frames, f"{len(found)} frames arrived, {len(frames)} were sent, or they differ"
        else:
            assert found == whole, f"{len(found)} bytes arrived, {len(whole)} were sent, or they differ"

    def _decoded(self, sender: Sender) -> list[Event]:
        """The events that have arrived, as far as their lines are whole."""
        found = self._bytes(sender)
        return _JSON.decode(found[: found.rfind(b"\n") + 1])

    def _events(self, sender: Sender, enough: Callable[[list[Event]], bool]) -> list[Event]:
        """Waits until enough events have arrived, and a moment for what should not."""
        end = monotonic() + self.wait
        while not enough(self._decoded(sender)) and monotonic() < end:
            sleep(0.005)
        sleep(SETTLE)
        return _JSON.decode(self._bytes(sender))
