"""Inputs that break one promise each; run by tests/unit/testing/test_conformance_catches.py, which expects each to be caught."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress

import pytest

from metlog.testing import InputConformance

PORTS = {}
"""Queues of frames by address: the network of these inputs."""
lock = threading.Lock()


class Good:
    """Takes frames from a queue, keeps every promise; the broken ones change one thing."""

    def __init__(self, name=""):
        self.name = name
        self.thread = None
        self.taken = 0

    @property
    def addresses(self):
        return [f"queue://{self.name}"] if self.thread else []

    def start(self, sink):
        with lock:
            if self.name in PORTS:
                raise OSError(f"queue://{self.name} is taken by another input; choose another name")
            self.name = self.name or str(len(PORTS) + id(self))
            self.queue = PORTS[self.name] = queue.Queue()
        self.sink = sink
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while (frame := self.queue.get()) is not None:
            self.taken += 1
            self.give(frame)

    def give(self, frame):
        self.sink.frame(frame, "queue://client")

    def stop(self):
        if self.thread is not None and self.thread.is_alive():
            with lock:
                PORTS.pop(self.name, None)
            self.queue.put(None)
            self.thread.join()

    def stats(self):
        return {"frames": self.taken}

    def health(self):
        return ""

    def sockets(self):
        return [{"address": f"queue://{self.name}", "kernel_drops": 0}]


class Base(InputConformance):
    """What is expected to fail is in `caught`: names of tests, without `test_`."""

    kind = Good
    caught = frozenset()
    patience = 0.7
    grace = 0.7

    def make_input(self):
        return self.kind()

    def send(self, address, numbers):
        box = PORTS.get(address.rpartition("/")[2])
        if box is None:
            raise ConnectionRefusedError(address)
        for number in numbers:
            box.put(b'{"type":"numbered","fields":{"n":%d}}' % number)

    def send_junk(self, address):
        box = PORTS[address.rpartition("/")[2]]
        box.put(b"{")
        box.put(b"\xff")

    def make_second(self, address):
        return self.kind(address.rpartition("/")[2])

    @pytest.fixture(autouse=True)
    def network(self):
        PORTS.clear()


class TestGood(Base):
    pass


def starts_in_constructor(self, name=""):
    Good.__init__(self, name)
    threading.Thread(target=threading.Event().wait, args=(2,), daemon=True).start()


class TestConstructorThatOpens(Base):
    kind = type("Broken", (Good,), {"__init__": starts_in_constructor})
    caught = frozenset({"a_constructor_opens_nothing"})


class TestAddressWithoutPort(Base):
    kind = type("Broken", (Good,), {"addresses": property(lambda self: ["queue://host:0"] if self.thread else [])})
    caught = frozenset({"addresses_are_urls_with_the_real_port"})


def twice(self, frame):
    self.sink.frame(frame, "queue://client")
    self.sink.frame(frame, "queue://client")


def nameless(self, frame):
    self.sink.frame(frame, "somebody")


def dies_of_junk(self, frame):
    frame.decode()
    Good.give(self, frame)


def locked_stats(self):
    with self.sink.lock if self.sink.gate.is_set() else threading.Lock():
        self.sink.gate.wait(3)
        return {"frames": self.taken}


def dies_when_full(self, frame):
    if self.sink.full:
        raise RuntimeError
    Good.give(self, frame)


def drops_the_rest(self):
    if self.thread is not None and self.thread.is_alive():
        PORTS.pop(self.name, None)
        with suppress(queue.Empty):  # its thread takes from it too
            while True:
                self.queue.get_nowait()
        self.queue.put(None)
        self.thread.join()


def leaves_its_thread(self):
    if self.thread is not None:
        PORTS.pop(self.name, None)
        while not self.queue.empty():
            pass


def shares_the_address(self, sink):
    PORTS.pop(self.name, None)
    Good.start(self, sink)


def binds_for_good(self, handed):
    with lock:
        if "bound" in PORTS:
            raise OSError("queue://bound is taken by another input; choose another name")
        PORTS["bound"] = None


class TestTakesNoSockets(Base):
    kind = type(
        "Broken", (Good,), {"listening": lambda self: [("queue", None)], "bind_sockets": lambda self, handed: None}
    )
    caught = frozenset({"the_input_that_comes_after_it_goes_on_with_its_sockets"})


class TestBindsForGood(Base):
    kind = type("Broken", (Good,), {"bind_sockets": binds_for_good})
    caught = frozenset({"what_is_bound_and_never_started_is_let_go"})


class TestDoubling(Base):
    kind = type("Broken", (Good,), {"give": twice})
    caught = frozenset({"what_is_sent_arrives_once_and_in_order"})


class TestNameless(Base):
    kind = type("Broken", (Good,), {"give": nameless})
    caught = frozenset({"each_event_names_its_source"})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
class TestDiesOfJunk(Base):
    kind = type("Broken", (Good,), {"give": dies_of_junk})
    caught = frozenset({"junk_harms_nobody"})


class TestStuckCounts(Base):
    kind = type("Broken", (Good,), {"stats": lambda self: {"frames": 0}})
    caught = frozenset({"counts_are_whole_numbers_that_grow"})


class TestWaitingStats(Base):
    kind = type("Broken", (Good,), {"stats": locked_stats})
    caught = frozenset({"questions_are_answered_while_the_journal_hangs"})


class TestIll(Base):
    kind = type("Broken", (Good,), {"health": lambda self: "a cold" if self.thread else ""})
    caught = frozenset({"it_is_healthy_while_it_runs"})


class TestSocketsWithoutDrops(Base):
    kind = type("Broken", (Good,), {"sockets": lambda self: [{"address": "queue://x", "kernel_drops": None}]})
    caught = frozenset({"sockets_are_told_with_their_drops"})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
class TestDiesWhenFull(Base):
    kind = type("Broken", (Good,), {"give": dies_when_full})
    caught = frozenset({"a_full_journal_ends_nothing"})


class TestDropsTheRest(Base):
    kind = type("Broken", (Good,), {"stop": drops_the_rest})
    caught = frozenset({"stop_takes_what_was_sent_before"})

    def send(self, address, numbers):
        Base.send(self, address, [*numbers] * 1000 if len(numbers) == 50 else numbers)


class TestLeavesItsThread(Base):
    kind = type("Broken", (Good,), {"stop": leaves_its_thread})
    caught = frozenset({"stop_ends_its_threads_and_may_be_called_again"})


class TestSharesTheAddress(Base):
    kind = type("Broken", (Good,), {"start": shares_the_address})
    caught = frozenset({"a_taken_address_is_an_error_at_start"})
