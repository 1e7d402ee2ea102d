"""The promises of a sender, as tests: subclass `SenderConformance` and run pytest."""

from __future__ import annotations

import contextlib
import pickle
import random
import socket
import threading
from collections.abc import Callable
from time import monotonic, sleep

import pytest

from metlog.core.adapt import adapt_sender
from metlog.senders import Sender
from metlog.testing._running import child_status, join_all, needs_fork
from metlog.testing._sending import Sending, Trouble, client_with, frame_of
from metlog.testing.peers import DatagramPeer, StreamPeer, closed_port

__all__ = ["SenderConformance", "Trouble", "client_with"]


class SenderConformance(Sending):
    """Subclass it, say how to make the sender and what has arrived, and pytest does the rest::

        class TestSpool(SenderConformance):
            @pytest.fixture(autouse=True)
            def spool(self, tmp_path):
                self.path = tmp_path / "spool"

            def make_sender(self):
                return SpoolSender(path=str(self.path))

            def received(self, sender):
                return self.path.read_bytes() if self.path.exists() else b""

    A sender that talks to a peer over TCP or UDP adds two lines, and is tried against peers that are not there, that
    swallow all, and that never read::

            transport = "tcp"

            def make_sender_to(self, host, port):
                return SpoolSender(host=host, port=port)

    Other transports override `troubled`.
    """

    # Frames.

    def test_limits_are_whole_numbers_of_bytes(self, sender: Sender) -> None:
        """`max_frame`, and `max_event` where there is one."""
        assert type(sender.max_frame) is int, f"max_frame = {sender.max_frame!r}: wants an int"
        assert sender.max_frame >= 64, f"max_frame = {sender.max_frame!r}: no event fits so few bytes"
        limit = adapt_sender(sender).max_event
        assert limit is None or limit >= sender.max_frame, f"max_event = {limit!r} is below max_frame"

    def test_what_it_counts_are_whole_numbers(self, sender: Sender) -> None:
        """`stats()`, where there is one, gives counts by name, before and after use."""
        stats = adapt_sender(sender).stats
        for _ in range(2):
            counts: dict[str, int] = stats()
            assert type(counts) is dict, f"stats() = {counts!r}: wants a dict of counts"
            wrong = {key: value for key, value in counts.items() if type(key) is not str or type(value) is not int}
            assert not wrong, f"stats() has {wrong!r}: wants text to int"
            sender.send(frame_of(1))
            sender.flush()

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
        limit = adapt_sender(sender).max_event
        if limit is not None:
            sent.append(frame_of(2, limit))
        sent.append(frame_of(3))
        for count, frame in enumerate(sent, 1):
            sender.send(frame)
            sender.flush()
            self._expect(sender, sent[:count])
        self._expect(sender, sent, last=True)

    def test_max_frame_is_honoured_and_what_is_larger_arrives_alone_or_cut(self, sender: Sender) -> None:
        """Through the client: no frame of several events exceeds `max_frame`, no event is lost for its size."""
        limit, most = sender.max_frame, adapt_sender(sender).max_event
        client = client_with(sender)
        sizes = [0, limit // 3, limit // 2, limit // 4, 10, 10, limit // 2, limit, 10]
        if most is not None:
            sizes.append(2 * most)
        for number, size in enumerate(sizes):
            client.log("conformance", "x" * size, fields={"number": number})
        assert self._within("client.flush", lambda: client.flush(self.wait)), f"flush({self.wait}) was not enough"
        self._within("client.close", lambda: client.close(self.wait / 2))
        assert not client.stats().dropped, f"dropped with a healthy peer: {client.stats().dropped}"
        if not self.delivers:
            return
        events = self._events(sender, lambda found: any(event.type == "metlog.end" for event in found))
        found = {event.fields["number"]: event for event in events if event.type == "conformance"}
        for number, size in enumerate(sizes):
            assert number in found, f"an event with a payload of {size} bytes is lost; max_frame = {limit}"
            payload = found[number].payload
            if most is None or size <= most - 1000:  # the envelope takes a part of `max_event`
                assert len(payload) == size, "a payload that fits is cut"
            else:
                assert len(payload) == size or found[number].fields["truncated"] is True
        for frame in self._frames(sender):
            assert len(frame) <= limit or frame.count(b"\n") == 1, "several events in a frame above max_frame"
            assert most is None or len(frame) <= most, "a frame above max_event"

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
        assert join_all(threads, 20), "threads that log are held up: a call waits for the sender"
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
        used = self._opened(self.make_sender())
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
        assert monotonic() - begun < self.grace, "flush(0) took longer than a moment"
        self._within("client.close", lambda: client.close(self.wait / 2))

    # Trouble.

    @pytest.mark.parametrize("trouble", ["dead", "swallows", "never_reads"])
    def test_a_peer_in_trouble_neither_raises_nor_blocks(self, trouble: Trouble) -> None:
        """Through the client: calls return at once, `flush` and `close` keep their time, no thread is left waiting."""
        before = set(threading.enumerate())
        payloads = [
            random.Random(number).randbytes(5000).hex() for number in range(300)
        ]  # 3 MB: more than kernels hold
        with self.troubled(trouble) as sender:
            client = client_with(self._opened(sender))

            def log() -> None:
                for number, payload in enumerate(payloads):
                    client.log(("conformance",), payload, fields={"number": number})

            def keeps(seconds: float, what: str, call: Callable[[], object]) -> None:
                begun = monotonic()
                self._within(what, call)
                took = monotonic() - begun
                assert took < seconds + self.grace, f"{what} took {took:.1f} s"

            keeps(1, "300 calls that log", log)
            keeps(0.2, "client.flush(0.2)", lambda: client.flush(0.2))
            keeps(0.3, "client.close(0.3)", lambda: client.close(0.3))
            self._within("close, the second time", sender.close)
            stats = client.stats()
            assert stats.accepted == 300
            assert stats.sent + sum(stats.dropped.values()) <= stats.accepted
            end = monotonic() + 2 * self.grace
            while left := {one.name for one in set(threading.enumerate()) - before if one.name == "metlog-sender"}:
                assert monotonic() < end, f"close() does not end a send() under way: {left}"
                sleep(0.01)

    def test_recovers_when_its_peer_comes_back(self) -> None:
        """It was not there at first; when it is, something reaches it."""
        if self.transport is None:
            pytest.skip("no peer: set `transport` and make_sender_to(host, port)")
        port = closed_port(socket.SOCK_STREAM if self.transport == "tcp" else socket.SOCK_DGRAM)
        client = client_with(self._opened(self.make_sender_to("127.0.0.1", port)))
        for _ in range(3):
            client.log("conformance")
            self._within("client.flush(0.1)", lambda: client.flush(0.1))
        address = ("127.0.0.1", port)
        with StreamPeer(address) if self.transport == "tcp" else DatagramPeer(address) as peer:
            end = monotonic() + self._limit
            while not (peer.data if isinstance(peer, StreamPeer) else peer.frames):
                assert monotonic() < end, f"nothing reaches a peer that came back {self._limit:g} s ago"
                client.log("conformance")
                sleep(0.02)
            self._within("client.close(0.5)", lambda: client.close(0.5))

    # Fork and pickle.

    def test_survives_fork(self, sender: Sender) -> None:
        """The child sends its own, the parent's is intact, nothing arrives twice."""
        needs_fork()
        client = client_with(sender)
        client.log("before")
        assert client.flush(self.wait), f"flush({self.wait}) was not enough for a healthy peer"
        if self.delivers:
            self._events(sender, lambda found: [event.type for event in found] == ["before"])
        client.log("pending")  # perhaps still in the client at the moment of the fork: the parent's to send

        def child() -> int:
            for _ in range(3):
                client.log("child")
            flushed = client.flush(self.wait)
            client.close(self.wait / 2)
            if not flushed:
                return 2
            if not (self.in_process and self.delivers):
                return 0
            return 0 if [event.type for event in self._decoded(sender)] == ["child"] * 3 + ["metlog.end"] else 3

        trouble = child_status(child, self._limit)
        assert not trouble, f"the forked child {trouble}"
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

    def test_pickling_works_or_is_refused_by_name(self, sender: Sender) -> None:
        """A copy that works when the original is closed, or a TypeError: one that names the sender, or Python's own for what it holds
        (`cannot pickle 'sqlite3.Connection' object`)."""
        name = type(sender).__name__
        try:
            packed = pickle.dumps(sender)
        except Exception as error:  # noqa: BLE001 - a refusal, clear or not
            if not (isinstance(error, TypeError) and (name in str(error) or "cannot pickle" in str(error))):
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
