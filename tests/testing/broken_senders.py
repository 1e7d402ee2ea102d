"""Senders that break one promise each; run by test_conformance_catches.py, which expects each to be caught.

Not collected by itself: its name does not begin with test_.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time

import pytest

from metlog.errors import SenderError
from metlog.testing import SenderConformance


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
    """What is expected to fail is in `caught`: names of tests, without `test_`."""

    kind = Good
    caught = frozenset()
    wait = 0.3

    @pytest.fixture(autouse=True)
    def place(self, tmp_path):
        self.path = tmp_path / "frames"

    def make_sender(self):
        return self.kind(self.path)

    def received(self, sender):
        return self.path.read_bytes() if self.path.exists() else b""

    @contextlib.contextmanager
    def troubled(self, trouble):
        yield self.make_sender()


class TestGood(Base):
    pass


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

    class kind(Good):
        def flush(self):
            time.sleep(30)


class TestFlushHangsInTheCaller(Base):
    """As above, and claims never to wait, so that the client cannot help."""

    caught = frozenset({"flush_is_over_soon_and_keeps_its_time", "a_peer_in_trouble_neither_raises_nor_blocks"})

    class kind(Good):
        nonblocking = True

        def flush(self):
            time.sleep(30)


class TestBlocksTheCaller(Base):
    """Claims never to wait, and waits for a peer in trouble."""

    caught = frozenset({"a_peer_in_trouble_neither_raises_nor_blocks"})

    @contextlib.contextmanager
    def troubled(self, trouble):
        sender = self.make_sender()
        sender.nonblocking = True
        sender.write = lambda frame: time.sleep(30)
        yield sender


class TestCloseDoesNotWakeSend(Base):
    caught = frozenset({"a_peer_in_trouble_neither_raises_nor_blocks"})

    @contextlib.contextmanager
    def troubled(self, trouble):
        sender = self.make_sender()
        sender.write = lambda frame: time.sleep(30)
        yield sender


class TestCloseHangs(Base):
    caught = frozenset({"a_peer_in_trouble_neither_raises_nor_blocks"})

    @contextlib.contextmanager
    def troubled(self, trouble):
        sender = self.make_sender()
        sender.close = lambda: time.sleep(30)
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
        def __init__(self, path):
            super().__init__(path)
            self.lock = threading.Lock()


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
