"""The promises of an input, as tests: subclass `InputConformance` and run pytest."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from time import monotonic, sleep
from typing import Any

import pytest

from metlog.errors import ConfigError
from metlog.listener.adapt import adapt_input
from metlog.listener.inputs import BaseInput, Handed, Input
from metlog.testing._running import within
from metlog.testing.sinks import MemorySink

__all__ = ["InputConformance"]


class InputConformance:
    """Subclass it, say how to make the input and how its clients send, and pytest does the rest::

        class TestSpool(InputConformance):
            @pytest.fixture(autouse=True)
            def spool(self, tmp_path):
                self.path = tmp_path

            def make_input(self):
                return SpoolInput(path=str(self.path), interval=0.05)

            def send(self, address, numbers):
                lines = b"".join(b'{"type":"numbered","fields":{"n":%d}}\\n' % n for n in numbers)
                (self.path / f"{numbers[0]:06}.ndjson").write_bytes(lines)

    Events go to a `MemorySink`, which the tests look into.
    """

    patience = 10.0
    """Seconds within which what was sent must have arrived."""
    grace = 10.0
    """Seconds within which `stop` must come back."""
    ordered = True
    """Whether what one client sends arrives in its order."""

    def make_input(self) -> Input | BaseInput:
        """Returns a new input on an address that is free (port 0)."""
        raise NotImplementedError

    def send(self, address: str, numbers: Sequence[int]) -> None:
        """Sends an event for each number to the first of the input's addresses, as its clients do; returns when they have done their part.
        May raise OSError when the input is not there or does not take it."""
        raise NotImplementedError

    def number_of(self, event: dict[str, Any]) -> int:
        """Returns the number of an event that `send` sent."""
        return int(event["fields"]["n"])

    def send_junk(self, address: str) -> None:
        """Sends what is no event. Without it that test is skipped."""
        pytest.skip("send_junk is not overridden")

    def make_second(self, address: str) -> Input | BaseInput:
        """Returns a new input on the address of one that runs. Without it that test is skipped."""
        pytest.skip("make_second is not overridden")

    # What the tests share.

    @pytest.fixture
    def sink(self) -> Iterator[MemorySink]:
        sink = MemorySink()
        yield sink
        sink.gate.set()

    @pytest.fixture
    def running(self, sink: MemorySink) -> Iterator[BaseInput]:
        item = adapt_input(self.make_input())
        item.start(sink)
        yield item
        sink.gate.set()
        item.stop()

    def numbers(self, sink: MemorySink) -> list[int]:
        with sink.lock:
            found = [self.number_of(event) for event in sink.events]
        return found if self.ordered else sorted(found)

    def arrives(self, sink: MemorySink, expected: Sequence[int]) -> None:
        """Fails the test unless exactly these arrive."""
        self._until(lambda: len(sink.events) >= len(expected))
        assert self.numbers(sink) == list(expected)

    def _until(self, condition: Callable[[], object]) -> None:
        deadline = monotonic() + self.patience
        while not condition() and monotonic() < deadline:
            sleep(0.01)

    # The promises.

    def test_a_constructor_opens_nothing(self) -> None:
        """The configuration is checked with inputs that are never started."""
        before = threading.active_count()
        for item in (adapt_input(self.make_input()), adapt_input(self.make_input())):
            assert item.addresses == []
            assert threading.active_count() == before
            assert all(type(count) is int for count in item.stats().values())
            within(self.grace, "stop() without start()", item.stop)

    def test_addresses_are_urls_with_the_real_port(self, running: BaseInput) -> None:
        assert running.addresses
        for address in running.addresses:
            assert "://" in address, f"{address!r} is no URL"
            assert not address.endswith(":0"), f"{address!r} does not name the port that was bound"

    def test_what_is_sent_arrives_once_and_in_order(self, running: BaseInput, sink: MemorySink) -> None:
        self.send(running.addresses[0], range(100))
        self.arrives(sink, range(100))
        self.send(running.addresses[0], range(100, 120))
        self.arrives(sink, range(120))

    def test_each_event_names_its_source(self, running: BaseInput, sink: MemorySink) -> None:
        self.send(running.addresses[0], [1])
        self.arrives(sink, [1])
        assert all("://" in source and source.isprintable() for source in sink.sources), sink.sources

    def test_junk_harms_nobody(self, running: BaseInput, sink: MemorySink) -> None:
        with contextlib.suppress(OSError):
            self.send_junk(running.addresses[0])
        self.send(running.addresses[0], [1, 2])
        self.arrives(sink, [1, 2])
        assert running.health() == ""

    def test_counts_are_whole_numbers_that_grow(self, running: BaseInput, sink: MemorySink) -> None:
        before = running.stats()
        self.send(running.addresses[0], range(5))
        self.arrives(sink, range(5))
        self._until(lambda: running.stats().get("frames", 1) > before.get("frames", 0))
        after = running.stats()
        assert all(type(count) is int for count in after.values()), after
        assert "frames" in after, "stats() has no `frames`"
        assert after["frames"] > before["frames"]

    def test_questions_are_answered_while_the_journal_hangs(self, running: BaseInput, sink: MemorySink) -> None:
        """`/healthz` and the status ask twice a second."""
        sink.gate.clear()
        client = threading.Thread(target=self._send_quietly, args=(running.addresses[0], [1]), daemon=True)
        client.start()
        sleep(0.2)
        for name in ("stats", "health", "sockets"):
            within(1.0, f"{name}()", getattr(running, name))
        sink.gate.set()
        client.join(self.patience)
        self.arrives(sink, [1])

    def _send_quietly(self, address: str, numbers: Sequence[int]) -> None:
        with contextlib.suppress(OSError):
            self.send(address, numbers)

    def test_it_is_healthy_while_it_runs(self, running: BaseInput) -> None:
        sleep(0.6)
        assert running.health() == ""

    def test_sockets_are_told_with_their_drops(self, running: BaseInput) -> None:
        for socket in running.sockets():
            assert "://" in socket["address"]
            assert type(socket["kernel_drops"]) is int

    def test_a_full_journal_ends_nothing(self, running: BaseInput, sink: MemorySink) -> None:
        sink.full = "no room on its disk"
        self._send_quietly(running.addresses[0], [1])
        sleep(0.3)
        sink.full = ""
        assert running.health() == ""
        sink.events.clear()
        self.send(running.addresses[0], [2, 3])
        self._until(lambda: 3 in self.numbers(sink))
        assert self.numbers(sink)[-2:] == [2, 3]  # a client that was refused may have tried again

    def test_stop_takes_what_was_sent_before(self, running: BaseInput, sink: MemorySink) -> None:
        self.send(running.addresses[0], range(50))
        within(self.grace, "stop()", running.stop)
        assert self.numbers(sink) == list(range(50))

    def test_stop_ends_its_threads_and_may_be_called_again(self, sink: MemorySink) -> None:
        before = set(threading.enumerate())
        item = adapt_input(self.make_input())
        item.start(sink)
        within(self.grace, "stop()", item.stop)
        within(self.grace, "stop() again", item.stop)
        self._until(lambda: not self._left(before))
        assert not self._left(before), f"threads are left: {self._left(before)}"

    def _left(self, before: set[threading.Thread]) -> list[str]:
        return [
            thread.name
            for thread in set(threading.enumerate()) - before
            if thread.name != threading.current_thread().name
        ]

    def test_the_input_that_comes_after_it_goes_on_with_its_sockets(self, running: BaseInput, sink: MemorySink) -> None:
        """A reload and a takeover: one that says what it listens on hands it to another of its kind, beside which it ends."""
        listening = running.listening()
        if not listening:
            pytest.skip("listening() gives nothing: the input binds anew")
        handed = Handed.of(("one", name, sock) for name, sock in listening)
        after = adapt_input(self.make_input())
        try:
            after.bind_sockets(handed)
            assert handed.taken == list(range(len(listening))), "bind_sockets() left sockets that it had asked for"
            after.start(sink)
            assert list(after.addresses) == list(running.addresses)
            running.handed_over = True
            within(self.grace, "stop()", running.stop)
            self.send(after.addresses[0], range(20))
            self.arrives(sink, range(20))
        finally:
            sink.gate.set()
            after.stop()

    def test_what_is_bound_and_never_started_is_let_go(self) -> None:
        first, second = adapt_input(self.make_input()), adapt_input(self.make_input())
        first.bind_sockets(Handed())
        within(self.grace, "stop() without start()", first.stop)
        try:
            second.bind_sockets(Handed())
        finally:
            second.stop()

    def test_a_taken_address_is_an_error_at_start(self, running: BaseInput, sink: MemorySink) -> None:
        second = adapt_input(self.make_second(running.addresses[0]))
        try:
            with pytest.raises((OSError, ConfigError)) as caught:
                second.start(sink)
        finally:
            second.stop()
        assert len(str(caught.value)) > 20, f"{str(caught.value)!r} does not say what to change"
        self.send(running.addresses[0], [1])
        self.arrives(sink, [1])
