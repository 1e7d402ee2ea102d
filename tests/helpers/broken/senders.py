"""Senders that break one promise each; run by tests/unit/testing/test_conformance_catches.py, which expects each to be caught.

Not collected by itself: its name does not begin with test_.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading

import pytest

from metlog.errors import SenderError
from metlog.testing import SenderConformance
from metlog.testing.peers import StreamPeer

over = threading.Event()


def hang(*_):
    """Until the test is over: threads that slept on would keep the process from ending."""
    over.wait(30)


class Good:
    """Appends to a file, keeps every promise; the broken ones change one thing."""

    max_frame = 8192
    max_event = 20_000

    def __init__(self, path):
        self.path, self.closed = path, False

    def send(self, frame):
        if self.closed:
            raise SenderError("closed", reason="closed")
        self.write(frame)

    def write(self, frame):
        with open(self.path, "ab") as file:
            file.write(frame)

    def flush(self):
        pass

    def close(self):
        self.closed = True


class Base(SenderConformance):
    """What is expected to fail is in `caught`: names of tests, without `test_`. Good ones run whole, or `only` some."""

    kind = Good
    caught = frozenset()
    only = ()
    wait = 0.3

    @pytest.fixture(autouse=True)
    def place(self, tmp_path):
        self.path = tmp_path / "frames"
        over.clear()
        yield
        over.set()

    def make_sender(self):
        return self.kind(self.path)

    def received(self, sender):
        return self.path.read_bytes() if self.path.exists() else b""

    @contextlib.contextmanager
    def troubled(self, trouble):
        yield self.make_sender()


class TestGood(Base):
    pass


class Framed(Good):
    """Keeps frames apart, each after its length, as a transport of datagrams does."""

    def write(self, frame):
        super().write(struct.pack("<I", len(frame)) + frame)


class OfFrames(Base):
    kind = Framed

    def received(self, sender):
        data, found = super().received(sender), []
        while data:
            size = 4 + struct.unpack("<I", data[:4])[0]
            found.append(data[4:size])
            data = data[size:]
        return found


class TestGoodWithFrames(OfFrames):
    pass


class Connecting:
    """Over TCP; connects when it has to send."""

    max_frame = 8192

    def __init__(self, host, port):
        self.address, self.socket, self.closed = (host, port), None, False

    def send(self, frame):
        if self.closed:
            raise SenderError("closed")
        self.socket = self.socket or self.connect()
        self.socket.sendall(frame)

    def connect(self):
        return socket.create_connection(self.address, 0.2)

    def flush(self):
        pass

    def close(self):
        self.closed = True
        if self.socket:
            self.socket.close()

    def __reduce__(self):
        raise TypeError(f"a {type(self).__name__} cannot be pickled")


class OverTcp(Base):
    kind = Connecting
    transport = "tcp"
    troubled = SenderConformance.troubled  # real peers
    wait = 1.0

    @pytest.fixture(autouse=True)
    def peer(self):
        with StreamPeer() as self.target:
            yield

    def make_sender(self):
        return self.kind("127.0.0.1", self.target.port)

    def make_sender_to(self, host, port):
        return self.kind(host, port)

    def received(self, sender):
        return self.target.data


class TestGoodOverTcp(OverTcp):
    only = ("recovers_when_its_peer_comes_back", "a_peer_in_trouble_neither_raises_nor_blocks")


class TestNeverConnectsAgain(OverTcp):
    """The first failure is for good."""

    wait = 0.5
    caught = frozenset({"recovers_when_its_peer_comes_back"})
    grace = 0.5

    class kind(Connecting):
        failed = False

        def connect(self):
            if self.failed:
                raise SenderError("gone")
            self.failed = True
            return super().connect()


class TestConnectsWhenItIsMade(OverTcp):
    """And so cannot be made while its peer is away."""

    caught = frozenset({"a_peer_in_trouble_neither_raises_nor_blocks[dead]", "recovers_when_its_peer_comes_back"})

    class kind(Connecting):
        def __init__(self, host, port):
            super().__init__(host, port)
            self.socket = self.connect()


class TestWaitsForAnAnswer(OverTcp):
    """Claims never to wait, and reads what a peer that only takes does not say."""

    caught = frozenset({"a_peer_in_trouble_neither_raises_nor_blocks[swallows]"})
    grace = 0.5

    class kind(Connecting):
        nonblocking = True

        def send(self, frame):
            super().send(frame)
            self.socket.settimeout(30)
            self.socket.recv(1)


class TestWaitsForRoom(OverTcp):
    """Claims never to wait, and does once the kernel's buffers are full."""

    caught = frozenset({"a_peer_in_trouble_neither_raises_nor_blocks[never_reads]"})
    grace = 0.5

    class kind(Connecting):
        nonblocking = True

        def connect(self):
            made = super().connect()
            made.settimeout(30)
            return made


class TestRaisesBaseExceptions(OverTcp):
    """What `except Exception` lets through."""

    caught = frozenset({"a_peer_in_trouble_neither_raises_nor_blocks[dead]"})

    class kind(Connecting):
        nonblocking = True

        def connect(self):
            try:
                return super().connect()
            except OSError as error:
                raise SystemExit(1) from error


class Opening(Good):
    """Opens its file in `open()`, where `configure` asks it to."""

    file = None

    def open(self):
        assert self.file is None, "opened twice"
        self.file = self.path.open("ab", buffering=0)

    def write(self, frame):
        self.file.write(frame)

    def close(self):
        super().close()
        if self.file:
            self.file.close()

    def __reduce__(self):
        raise TypeError(f"a {type(self).__name__} cannot be pickled")


class TestGoodThatIsOpened(Base):
    kind = Opening


WHOLE = "frames_arrive_whole_and_in_order"
THREADS = "events_of_many_threads_arrive_whole_once_and_in_order"


class TestLosesFrames(Base):
    caught = frozenset({WHOLE})

    class kind(Good):
        count = 0

        def write(self, frame):
            self.count += 1
            if self.count % 7:
                super().write(frame)


class TestRepeatsFrames(Base):
    caught = frozenset({WHOLE, THREADS, "survives_fork"})

    class kind(Good):
        def write(self, frame):
            super().write(frame + frame)


class TestReorders(Base):
    """Two frames change places."""

    caught = frozenset({WHOLE, THREADS})

    class kind(Good):
        held = None

        def write(self, frame):
            if self.held is None and len(frame) > 1500:
                self.held = frame
            else:
                super().write(frame + (self.held or b""))
                self.held = None

        def flush(self):
            if self.held:
                super().write(self.held)
                self.held = None


class TestJoinsFrames(OfFrames):
    """Two small frames become one that is larger than promised."""

    caught = frozenset({"max_frame_is_honoured_and_what_is_larger_arrives_alone_or_cut", WHOLE})

    class kind(Framed):
        held = b""

        def write(self, frame):
            self.held += frame
            if len(self.held) > self.max_frame:
                self.flush()

        def flush(self):
            if self.held:
                super().write(self.held)
            self.held = b""

        def close(self):
            if not self.closed:
                self.flush()
            super().close()


class TestLosesWhatExceedsMaxFrame(Base):
    """It can carry no more, and does not say so with `max_event`."""

    caught = frozenset({"max_frame_is_honoured_and_what_is_larger_arrives_alone_or_cut"})

    class kind(Good):
        max_event = None

        def write(self, frame):
            if len(frame) > self.max_frame:
                raise SenderError("too large", reason="too_large")
            super().write(frame)


class TestCountsAreText(Base):
    caught = frozenset({"what_it_counts_are_whole_numbers"})

    class kind(Good):
        def stats(self):
            return {"refused": "3"}


class TestCannotCountWhenUsed(Base):
    """Gives a list, once there is something to tell."""

    caught = frozenset({"what_it_counts_are_whole_numbers"})

    class kind(Good):
        sizes = ()

        def write(self, frame):
            self.sizes = [*self.sizes, len(frame)]
            super().write(frame)

        def stats(self):
            return {"sizes": self.sizes} if self.sizes else {}


class TestTearsFrames(Base):
    """The end of each frame beyond 4096 bytes goes nowhere, as with a write() whose result nobody looks at."""

    caught = frozenset({WHOLE, THREADS, "the_largest_frame_arrives_whole"})

    class kind(Good):
        def write(self, frame):
            super().write(frame[:4096])


class TestMixesThreads(Base):
    """Claims never to wait, and hands frames to threads that race."""

    caught = frozenset({THREADS, WHOLE})

    class kind(Good):
        nonblocking = True
        max_frame = 256

        def write(self, frame):
            delay = 0.02 if len(frame) % 2 else 0.0
            threading.Timer(delay, super().write, [frame]).start()


class TestSendsAfterClose(Base):
    caught = frozenset({"nothing_is_sent_after_close"})

    class kind(Good):
        def send(self, frame):
            self.write(frame)


class TestFlushesAfterClose(Base):
    """A frame that came too late is kept and goes out with the next flush."""

    caught = frozenset({"nothing_is_sent_after_close"})

    class kind(Good):
        late = b""

        def send(self, frame):
            if self.closed:
                self.late += frame
            else:
                self.write(frame)

        def flush(self):
            self.write(self.late)


class TestClosesOnce(Base):
    caught = frozenset({"close_twice_and_without_a_frame", "a_peer_in_trouble_neither_raises_nor_blocks"})

    class kind(Good):
        def close(self):
            if self.closed:
                raise ValueError("closed already")
            super().close()


class TestCannotCloseUnused(Base):
    caught = frozenset({"close_twice_and_without_a_frame"})

    class kind(Good):
        file = None

        def write(self, frame):
            self.file = self.file or self.path.open("ab", buffering=0)
            self.file.write(frame)

        def close(self):
            super().close()
            self.file.close()

        def __reduce__(self):
            raise TypeError("a kind cannot be pickled")


class TestFlushHangs(Base):
    caught = frozenset({"flush_is_over_soon_and_keeps_its_time"})
    grace = 0.5

    class kind(Good):
        def flush(self):
            hang()


class TestFlushHangsInTheCaller(Base):
    """As above, and claims never to wait, so that the client cannot help."""

    caught = frozenset({"flush_is_over_soon_and_keeps_its_time", "a_peer_in_trouble_neither_raises_nor_blocks"})
    grace = 0.5

    class kind(Good):
        nonblocking = True

        def flush(self):
            hang()


class TestBlocksTheCaller(Base):
    """Claims never to wait, and waits for a peer in trouble."""

    caught = frozenset({"a_peer_in_trouble_neither_raises_nor_blocks"})
    grace = 0.5

    @contextlib.contextmanager
    def troubled(self, trouble):
        sender = self.make_sender()
        sender.nonblocking = True
        sender.write = hang
        yield sender


class TestCloseDoesNotWakeSend(Base):
    caught = frozenset({"a_peer_in_trouble_neither_raises_nor_blocks"})
    grace = 0.5

    @contextlib.contextmanager
    def troubled(self, trouble):
        sender = self.make_sender()
        sender.write = hang
        yield sender


class TestCloseHangs(Base):
    caught = frozenset({"a_peer_in_trouble_neither_raises_nor_blocks"})
    grace = 0.5

    @contextlib.contextmanager
    def troubled(self, trouble):
        sender = self.make_sender()
        sender.close = hang
        yield sender


class TestChildRepeatsItsParent(Base):
    """What it holds at the moment of the fork goes out in both processes."""

    caught = frozenset({"survives_fork"})

    class kind(Good):
        held = b""

        def write(self, frame):
            self.held += frame

        def flush(self):
            super().write(self.held)
            self.last, self.held = self.held, b""

        def after_fork(self):
            self.held = self.last

        def close(self):
            if not self.closed:
                self.flush()
            super().close()


class TestChildWaitsForAThreadOfItsParent(Base):
    """Hands frames to a thread of its own, which no child has."""

    caught = frozenset({"survives_fork"})

    class kind(Good):
        def __init__(self, path):
            super().__init__(path)
            self.frames, self.wake, self.done = [], threading.Semaphore(0), threading.Semaphore(0)
            threading.Thread(target=self.run, daemon=True).start()

        def run(self):
            while self.wake.acquire():
                super().write(self.frames.pop(0))
                self.done.release()

        def write(self, frame):
            self.frames.append(frame)
            self.wake.release()
            self.done.acquire()

        def __reduce__(self):
            raise TypeError("a kind cannot be pickled")


class TestChildTakesTheParentsSocketAway(Base):
    """After a fork the parent is cut off."""

    caught = frozenset({"survives_fork"})

    class kind(Good):
        def after_fork(self):
            with open(f"{self.path}.gone", "w"):
                pass

        def write(self, frame):
            if os.path.exists(f"{self.path}.gone"):
                raise SenderError("gone")
            super().write(frame)


class TestRaisesOnAnEmptyFrame(Base):
    caught = frozenset({"an_empty_frame_does_no_harm"})

    class kind(Good):
        def write(self, frame):
            super().write(frame[:1].decode()[0].encode() + frame[1:])


class TestAnEmptyFrameEndsIt(Base):
    """Taken for the end of everything, as by a reader of lengths."""

    caught = frozenset({"an_empty_frame_does_no_harm"})

    class kind(Good):
        ended = False

        def write(self, frame):
            self.ended = self.ended or not frame
            if not self.ended:
                super().write(frame)


class TestPromisesMoreThanItCarries(Base):
    caught = frozenset({"the_largest_frame_arrives_whole"})

    class kind(Good):
        max_event = 100_000

        def write(self, frame):
            if len(frame) > 65_507:
                raise SenderError("too large", reason="too_large")
            super().write(frame)


class TestMaxFrameIsText(Base):
    caught = frozenset({"limits_are_whole_numbers_of_bytes"})

    class kind(Good):
        max_frame = "8192"


class TestMaxEventBelowMaxFrame(Base):
    caught = frozenset({"limits_are_whole_numbers_of_bytes"})

    class kind(Good):
        max_event = 1000


class TestPicklesAreRefusedWithoutAName(Base):
    caught = frozenset({"pickling_works_or_is_refused_by_name"})

    class kind(Good):
        def __reduce__(self):
            raise TypeError("not this one")


class SharesItsDescriptor(Good):
    """At the top of the module, or pickle would not find it."""

    def __init__(self, path):
        super().__init__(path)
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, frame):
        os.write(self.fd, frame)

    def close(self):
        if not self.closed:
            os.close(self.fd)
        super().close()


class TestACopySharesTheDescriptor(Base):
    """A copy has the number of a descriptor that is not its own."""

    caught = frozenset({"pickling_works_or_is_refused_by_name"})
    kind = SharesItsDescriptor
