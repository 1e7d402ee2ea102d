"""The promises of an output, as tests: subclass `OutputConformance` and run pytest."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import msgspec
import pytest

from metlog.event import Event
from metlog.journal.folder import Folder
from metlog.journal.routing import Route
from metlog.journal.segment import Clock, encode_record
from metlog.journal.writer import Journal, JournalOptions
from metlog.listener.adapt import adapt_output
from metlog.listener.deadletters import DeadLetters
from metlog.listener.delivery.batches import Limits, limits_of, run_batches
from metlog.listener.outputs import BaseOutput, Batch, Delivery, Output
from metlog.listener.outputs.context import Context, Stopped
from metlog.testing._running import within

__all__ = ["OutputConformance"]

_SOURCE = "test://"


class OutputConformance:
    """Subclass it, say how to make the output and what its destination got, and pytest does the rest::

        class TestAppend(OutputConformance):
            @pytest.fixture(autouse=True)
            def destination(self, tmp_path):
                self.path = tmp_path / "events.ndjson"

            def make_output(self):
                return AppendOutput(path=str(self.path))

            def delivered(self):
                lines = self.path.read_bytes().splitlines() if self.path.exists() else []
                return [msgspec.json.decode(line)["fields"]["n"] for line in lines]

    Events go through a journal of their own, so that everything happens as in the listener: a batch that was not delivered comes again.
    """

    patience = 20.0
    """Seconds within which what was journaled must be delivered."""
    exactly_once = False
    """Whether a batch that comes again under its id is delivered once."""
    secret = ""
    """A text among the output's options that must not be told."""

    def make_output(self) -> Output | BaseOutput:
        """Returns a new output to the destination of this test."""
        raise NotImplementedError

    def delivered(self) -> list[int]:
        """Returns the numbers of the events at the destination, in their order, repeats included."""
        raise NotImplementedError

    def event(self, number: int) -> Event:
        """Returns an event that the output delivers, with this number."""
        return Event(type="numbered", fields={"n": number})

    def trouble(self) -> AbstractContextManager[None]:
        """Makes the destination refuse everything for a while. Without it that test is skipped."""
        pytest.skip("trouble is not overridden")

    # What the tests share.

    @pytest.fixture
    def way(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Way]:
        """A journal; `way.data` is its data folder."""
        way = _Way(tmp_path_factory.mktemp("way"), self.event)
        yield way
        way.close()

    def arrived(self, expected: Sequence[int]) -> list[int]:
        """What the destination got, after at most `patience` seconds."""
        deadline = monotonic() + self.patience
        while len(found := self.delivered()) < len(expected) and monotonic() < deadline:
            sleep(0.02)
        return found

    # The promises.

    def test_a_constructor_opens_nothing(self) -> None:
        """The listener makes outputs to check their options."""
        before = threading.active_count()
        outputs = [adapt_output(self.make_output()) for _ in range(2)]
        assert threading.active_count() == before
        for output in outputs:
            output.close()
        assert self.delivered() == []

    def test_it_says_where_it_delivers_and_no_secret(self) -> None:
        text = adapt_output(self.make_output()).describe()
        assert isinstance(text, str)
        assert text.isprintable()
        assert not self.secret or self.secret not in text, "describe() tells a secret"

    def test_its_limits_are_those_of_a_batch(self) -> None:
        output = adapt_output(self.make_output())
        limits = limits_of(output, {}, "output")
        assert set(output.batch_defaults) <= {field.name for field in msgspec.structs.fields(Limits)}
        assert min(limits.batch_events, limits.batch_bytes, limits.batch_age) > 0

    def test_what_is_journaled_is_delivered_in_order(self, way: _Way) -> None:
        way.put(range(300))
        way.run(self.make_output(), self.patience)
        assert self.arrived(range(300)) == list(range(300))

    def test_what_it_counts_are_whole_numbers(self, way: _Way) -> None:
        way.put(range(3))
        output = adapt_output(self.make_output())
        before = output.stats()
        way.run(output, self.patience)
        for counts in (before, output.stats()):
            assert all(type(count) is int for count in counts.values()), counts

    def test_events_stay_as_they_are(self) -> None:
        """Other outputs get the same journal; and a batch that comes again must be the same."""
        output = adapt_output(self.make_output())
        if output.reads_journal:
            pytest.skip("an output that reads the journal gets no batches")
        batch = Batch("b1", [Delivery(self.event(n), 1_700_000_000_000_000, _SOURCE) for n in range(5)], 500)
        before = copy.deepcopy(batch)
        output.start()
        try:
            output.write(batch)
        finally:
            output.close()
        assert batch == before

    def test_odd_texts_are_delivered(self, way: _Way) -> None:
        events = [self.event(n) for n in range(4)]
        for event, text in zip(events, ("a\nb\r\n", "\x00\x1b[31m", "ä😀\u2028", '"\\'), strict=True):
            event.payload = text
        way.put_events(events)
        way.run(self.make_output(), self.patience)
        assert self.arrived(range(4)) == list(range(4))

    def test_it_goes_on_after_a_restart(self, way: _Way) -> None:
        for first in (0, 50, 100):
            way.put(range(first, first + 50))
            way.run(self.make_output(), self.patience)
        assert self.arrived(range(150)) == list(range(150))

    def test_a_batch_that_comes_again_is_not_lost_and_where_promised_not_doubled(self, way: _Way) -> None:
        """The process was killed when the batch was delivered and its cursor not yet written."""
        way.put(range(20))
        way.run(self.make_output(), self.patience)
        assert self.arrived(range(20)) == list(range(20))
        way.forget()
        way.run(self.make_output(), self.patience)
        if self.exactly_once:
            sleep(0.2)
            assert self.delivered() == list(range(20))
        else:
            assert sorted(set(self.arrived(range(40)))) == list(range(20))

    def test_close_may_be_called_again(self) -> None:
        output = adapt_output(self.make_output())
        if not output.reads_journal:
            output.start()
        output.close()
        output.close()

    def test_what_the_destination_refuses_comes_again(self, way: _Way) -> None:
        with self.trouble():
            way.put(range(10))
            running = way.begin(self.make_output())
            deadline = monotonic() + self.patience
            while not way.report.get("error") and monotonic() < deadline:
                sleep(0.02)
            assert way.report.get("error"), "nothing was raised while the destination refused everything"
            assert self.delivered() == []
        within(self.patience + 30, "delivery after the trouble", running.join)
        assert sorted(set(self.arrived(range(10)))) == list(range(10))
        assert way.report.get("error") == ""


class _Way:
    """A journal, and an output that hands on what it holds."""

    def __init__(self, path: Path, event: Callable[[int], Event]) -> None:
        self.data = path
        self._data = Folder.root(path, create=True)
        self._folder = self._data.sub("journal", create=True).sub("main", create=True)
        self._cursors = self._folder.sub("cursors", create=True)
        self._dead = DeadLetters(self._data.sub("dead", create=True), "output")
        self._event = event
        self.report: dict[str, Any] = {}
        self._contexts: list[Context] = []

    def put(self, numbers: Sequence[int]) -> None:
        self.put_events([self._event(number) for number in numbers])

    def put_events(self, events: Sequence[Event]) -> None:
        """Journals events, and seals the segment."""
        journal = Journal(self._folder, JournalOptions(min_free=0), Clock())
        lines = b"".join([msgspec.json.encode(event) + b"\n" for event in events])
        journal.append(encode_record(1_700_000_000_000_000, len(events), _SOURCE.encode(), b"", lines))
        journal.close()
        self._end = journal.end
        journal.release()

    def begin(self, made: Output | BaseOutput) -> threading.Thread:
        """Hands on what is journaled, in a thread that ends when all is delivered."""
        output = adapt_output(made)
        context = Context("out", Route(), self._data, self._folder, self._cursors, self._dead, self.report.update)
        self._contexts.append(context)
        context.advance(self._end)
        context.drain()

        def run() -> None:
            try:
                if output.reads_journal:
                    output.run(context)
                else:
                    run_batches(output, context, limits_of(output, {}, "output"))
            except Stopped:
                return
            finally:
                output.close()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def run(self, output: Output | BaseOutput, seconds: float) -> None:
        within(seconds, "delivery", self.begin(output).join)

    def forget(self) -> None:
        """Puts the cursor back to where it was before the last batch, as after a crash."""
        cursor = self._contexts[-1].cursor()
        fresh = self._contexts[-1].cursor()
        fresh.at, fresh.pending = type(cursor.at)(), None if cursor.lake else cursor.at
        fresh.save(self._cursors)

    def close(self) -> None:
        for context in self._contexts:
            context.stop()
        self._dead.close()
        self._cursors.close()
        self._folder.close()
        self._data.close()
