"""The promises of a sender, as tests: subclass `SenderConformance` and run pytest."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any, ClassVar, Literal, NoReturn, TypeVar

import pytest

from metlog.client import MetlogClient
from metlog.encoders.json import JsonEncoder
from metlog.event import Event
from metlog.pipeline import Pipeline
from metlog.senders import Sender
from metlog.testing.peers import DatagramPeer, StreamPeer, closed_port, silent_peer

__all__ = ["SenderConformance", "Trouble", "client_with"]

Trouble = Literal["dead", "swallows", "never_reads"]
T = TypeVar("T")

GRACE = 1.5
"""Seconds that a call may take beyond the time it was given: machines that run tests are busy."""

SETTLE = 0.05
"""Seconds in which what must not arrive would have arrived."""

_JSON = JsonEncoder()


def client_with(sender: Sender) -> MetlogClient:
    """A client of its own that logs JSON frames through a sender that exists already.

    >>> from metlog.senders.memory import MemorySender
    >>> sender = MemorySender()
    >>> with client_with(sender) as client:
    ...     client.log("login", "sync")
    >>> [event.type for event in sender.events]
    ['login', 'metlog.end']
    """
    client = MetlogClient()
    client._swap(Pipeline(logger="conformance", hostname="localhost", filters=(), encoder=_JSON, sender=sender))
    return client


def frame_of(number: int, size: int = 0) -> bytes:
    """A JSON frame with one event; exactly `size` bytes when that is enough."""
    bare = _JSON.frame([_JSON.encode(Event(type="conformance", seq=number))])
    padding = max(0, size - len(bare))
    return _JSON.frame([_JSON.encode(Event(type="conformance", seq=number, payload="x" * padding))])


class SenderConformance:
    """Subclass it, say how to make the sender and what has arrived, and pytest does the rest:

        class TestSpool(SenderConformance):
            @pytest.fixture(autouse=True)
            def spool(self, tmp_path):
                self.path = tmp_path / "spool"

            def make_sender(self):
                return SpoolSender(path=str(self.path))

            def received(self, sender):
                return self.path.read_bytes() if self.path.exists() else b""

    A sender that talks to a peer over TCP or UDP adds two lines, and is tried against peers that are not there, that
    swallow all, and that never read:

            transport = "tcp"

            def make_sender_to(self, host, port):
                return SpoolSender(host=host, port=port)

    Other transports override `troubled`.
    """

    delivers: ClassVar[bool] = True
    """False: frames go nowhere on purpose, and `received` is never asked."""

    in_process: ClassVar[bool] = False
    """True: what arrived lies in this process's memory, so that a forked child has its own."""

    transport: ClassVar[Literal["tcp", "udp"] | None] = None
    """What `make_sender_to` connects with."""

    wait: ClassVar[float] = 5.0
    """Seconds that a healthy peer may take for what is asked of it; a call that takes twice as long hangs."""

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

    # Frames.

    def test_limits_are_whole_numbers_of_bytes(self, sender: Sender) -> None:
        """`max_frame`, and `max_event` where there is one."""
        assert type(sender.max_frame) is int, f"max_frame = {sender.max_frame!r}: wants an int"
        assert sender.max_frame >= 64, f"max_frame = {sender.max_frame!r}: no event fits so few bytes"
        limit = getattr(sender, "max_event", None)
        assert limit is None or limit >= sender.max_frame, f"max_event = {limit!r} is below max_frame"

    def test_frames_arrive_whole_and_in_order(self, sender: Sender) -> None:
        """Small and large ones, one after another."""
        sent: list[bytes] = []
        for number in range(40):
            frame = frame_of(number, (number * 997) % sender.max_frame)
            if len(frame) <= sender.max_frame:
                sender.send(frame)
                sent.append(frame)
            if number % 10 == 9:
                self._within("flush", sender.flush)
                self._expect(sender, sent)
        self._expect(sender, sent, last=True)

    def test_an_empty_frame_does_no_harm(self, sender: Sender) -> None:
        """It neither raises nor spoils its neighbours."""
        sent = [frame_of(1), frame_of(2)]
        sender.send(sent[0])
        sender.send(b"")
        sender.send(sent[1])
        sender.flush()
        self._expect(sender, sent, last=True)

    def test_the_largest_frame_arrives_whole(self, sender: Sender) -> None:
        """As many bytes as `max_frame` promises, and `max_event` where there is one."""
        sent = [frame_of(1, sender.max_frame)]
        limit = getattr(sender, "max_event", None)
        if limit is not None:
            sent.append(frame_of(2, limit))
        sent.append(frame_of(3))
        for count, frame in enumerate(sent, 1):
            sender.send(frame)
            sender.flush()
            self._expect(sender, sent[:count])
        self._expect(sender, sent, last=True)

    def test_events_of_many_threads_arrive_whole_once_and_in_order(self, sender: Sender) -> None:
        """Through the client, whose frames keep to `max_frame`."""
        client = client_with(sender)
        start = threading.Barrier(8)

        def log(thread: int) -> None:
            start.wait(10)
            for number in range(60):
                client.log(("conformance",), fields={"thread": thread, "number": number})

        threads = [threading.Thread(target=log, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert self._within("client.flush", lambda: client.flush(self.wait)), (
            f"flush({self.wait}) was not enough for a healthy peer"
        )
        self._within("client.close", lambda: client.close(self.wait / 2))
        assert not client.stats().dropped, f"dropped with a healthy peer: {client.stats().dropped}"
        if not self.delivers:
            return
        events = self._events(sender, lambda found: any(event.type == "metlog.end" for event in found))
        for thread_number in range(8):
            mine = [event.fields["number"] for event in events if event.fields.get("thread") == thread_number]
            assert mine == list(range(60)), "a thread's events are lost, repeated or out of order"
        assert sorted(event.seq for event in events) == list(range(1, len(events) + 1))
        frames = self.received(sender)
        if isinstance(frames, list):
            assert max(map(len, frames)) <= sender.max_frame

    # The end.

    def test_nothing_is_sent_after_close(self, sender: Sender) -> None:
        """`send` may raise or do nothing then; nothing arrives."""
        sent = [frame_of(1)]
        sender.send(sent[0])
        sender.flush()
        self._expect(sender, sent)
        self._within("close", sender.close)
        with contextlib.suppress(Exception):
            self._within("send after close", lambda: sender.send(frame_of(2)))
        with contextlib.suppress(Exception):
            self._within("flush after close", sender.flush)
        self._expect(sender, sent, last=True)

    def test_close_twice_and_without_a_frame(self, sender: Sender) -> None:
        """The second time nothing happens; a sender that was never used closes too."""
        self._within("flush", sender.flush)
        self._within("close", sender.close)
        self._within("close, the second time", sender.close)
        used = self.make_sender()
        used.send(frame_of(1))
        self._within("close", used.close)
        self._within("close, the second time", used.close)

    def test_flush_is_over_soon_and_keeps_its_time(self, sender: Sender) -> None:
        """With a healthy peer `flush` succeeds; with none at all it keeps to its timeout."""
        client = client_with(sender)
        client.log("conformance", "flush")
        assert self._within("client.flush", lambda: client.flush(self.wait)), (
            f"flush({self.wait}) was not enough for a healthy peer"
        )
        begun = monotonic()
        self._within("client.flush(0)", lambda: client.flush(0))
        assert monotonic() - begun < GRACE, "flush(0) took longer than a moment"
        self._within("client.close", lambda: client.close(self.wait / 2))

    # Trouble.

    @pytest.mark.parametrize("trouble", ["dead", "swallows", "never_reads"])
    def test_a_peer_in_trouble_neither_raises_nor_blocks(self, trouble: Trouble) -> None:
        """Through the client: calls return at once, `flush` and `close` keep their time, no thread is left waiting."""
        before = set(threading.enumerate())
        with self.troubled(trouble) as sender:
            client = client_with(sender)

            def log() -> None:
                for number in range(300):
                    client.log(("conformance",), "x" * 1000, fields={"number": number})

            def keeps(seconds: float, what: str, call: Callable[[], object]) -> None:
                begun = monotonic()
                self._within(what, call)
                took = monotonic() - begun
                assert took < seconds + GRACE, f"{what} took {took:.1f} s"

            keeps(1, "300 calls that log", log)
            keeps(0.3, "client.flush(0.3)", lambda: client.flush(0.3))
            keeps(0.5, "client.close(0.5)", lambda: client.close(0.5))
            self._within("close, the second time", sender.close)
            stats = client.stats()
            assert stats.accepted == 300
            assert stats.sent + sum(stats.dropped.values()) <= stats.accepted
            end = monotonic() + 3
            while left := {one.name for one in set(threading.enumerate()) - before if one.name == "metlog-sender"}:
                assert monotonic() < end, f"close() does not end a send() under way: {left}"
                sleep(0.01)

    # Fork and pickle.

    def test_survives_fork(self, sender: Sender) -> None:
        """The child sends its own, the parent's is intact, nothing arrives twice."""
        if not hasattr(os, "fork"):
            pytest.skip("this system has no fork")
        client = client_with(sender)
        client.log("before")
        assert client.flush(self.wait), f"flush({self.wait}) was not enough for a healthy peer"
        if self.delivers:
            self._events(sender, lambda found: [event.type for event in found] == ["before"])
        client.log("pending")  # perhaps still in the client at the moment of the fork: the parent's to send
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: there are threads; that is the point
            child = os.fork()
        if child == 0:
            self._child(client, sender)
        status = _wait_for_child(child, self._limit + GRACE)
        assert status == 0, f"the forked child {_MEANING.get(status, f'ended with {status}')}"
        client.log("after")
        assert client.flush(self.wait), "the parent's sender does not work any more after a fork"
        client.close(self.wait / 2)
        if not self.delivers:
            return
        own = ["before", "pending", "after", "metlog.end"]
        childs = [] if self.in_process else ["child", "child", "child", "metlog.end"]
        events = self._events(sender, lambda found: len(found) >= len(own) + len(childs))
        assert sorted(event.type for event in events) == sorted(own + childs)
        assert len({event.stream for event in events}) == (1 if self.in_process else 2)

    def _child(self, client: MetlogClient, sender: Sender) -> NoReturn:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, self._limit)
            for _ in range(3):
                client.log("child")
            flushed = client.flush(self.wait)
            client.close(self.wait / 2)
            status = 0 if flushed else 2
            if self.in_process and self.delivers and status == 0:
                found = [event.type for event in _JSON.decode(self._bytes(sender))]
                status = 0 if found == ["child", "child", "child", "metlog.end"] else 3
        finally:
            os._exit(status)

    def test_pickling_works_or_is_refused_by_name(self, sender: Sender) -> None:
        """A TypeError that names the sender, or a copy that works when the original is closed."""
        name = type(sender).__name__
        try:
            packed = pickle.dumps(sender)
        except Exception as error:  # noqa: BLE001 - a refusal, clear or not
            if not (isinstance(error, TypeError) and name in str(error)):
                pytest.fail(
                    f"pickling raises {error!r}; __reduce__ may raise TypeError('a {name} cannot be pickled: …')"
                )
            return
        sender.close()
        copy = pickle.loads(packed)  # noqa: S301 - made a moment ago
        sent = [frame_of(1)]
        copy.send(sent[0])
        copy.flush()
        self._expect(copy, sent)
        copy.close()

    # How it looks.

    @property
    def _limit(self) -> float:
        return 2 * self.wait + GRACE

    def _within(self, what: str, call: Callable[[], T]) -> T:
        """The result of a call that must come back; fails the test when it does not."""
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(call())
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(self._limit)
        if thread.is_alive():
            pytest.fail(f"{what} did not come back within {self._limit:g} s")
        if errors:
            raise errors[0]
        return results[0]

    @pytest.fixture(name="sender")
    def _sender(self) -> Iterator[Sender]:
        made = self.make_sender()
        yield made
        with contextlib.suppress(Exception):
            self._within("close", made.close)

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

    def _events(self, sender: Sender, enough: Callable[[list[Event]], bool]) -> list[Event]:
        """Waits until enough events have arrived, and a moment for what should not."""
        end = monotonic() + self.wait
        while True:
            found = self._bytes(sender)
            events = _JSON.decode(found[: found.rfind(b"\n") + 1])
            if enough(events) or monotonic() > end:
                sleep(SETTLE)
                return _JSON.decode(self._bytes(sender))
            sleep(0.005)


_MEANING = {
    1: "raised an exception",
    2: "could not flush",
    3: "has its parent's frames, or lost its own",
    -signal.SIGALRM: "hung: it waits for a lock or a thread that stayed with its parent",
}


def _wait_for_child(pid: int, seconds: float) -> int:
    end = monotonic() + seconds
    while monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGALRM
