"""Outputs that break one promise each; run by tests/unit/testing/test_conformance_catches.py, which expects each to be caught."""

from __future__ import annotations

import contextlib
import threading
from typing import ClassVar

import msgspec
import pytest

from metlog.testing import OutputConformance


class Good:
    """Keeps batches in a list, each once, and keeps every promise; the broken ones change one thing."""

    def __init__(self, destination):
        self.destination = destination
        self.batches = 0

    def describe(self):
        return "list://destination"

    def start(self):
        pass

    def write(self, batch):
        if self.destination.refuses:
            raise OSError("refused")
        if batch.id not in self.destination.ids:
            self.destination.ids.add(batch.id)
            self.take(batch)
        self.batches += 1

    def take(self, batch):
        for delivery in batch.deliveries:
            msgspec.json.encode(delivery.event)
            self.destination.numbers.append(delivery.event.fields["n"])

    def close(self):
        pass

    def stats(self):
        return {"batches": self.batches}


class Destination:
    def __init__(self):
        self.refuses = False
        self.ids = set()
        self.numbers = []


class Base(OutputConformance):
    """What is expected to fail is in `caught`: names of tests, without `test_`."""

    kind = Good
    caught = frozenset()
    exactly_once = True
    secret = "t0ps3cret"
    patience = 2.0

    @pytest.fixture(autouse=True)
    def destination(self):
        self.place = Destination()

    def make_output(self):
        return self.kind(self.place)

    def delivered(self):
        return [*self.place.numbers]

    @contextlib.contextmanager
    def trouble(self):
        self.place.refuses = True
        yield
        self.place.refuses = False


class TestGood(Base):
    pass


class TestConstructorThatOpens(Base):
    class kind(Good):
        def __init__(self, destination):
            super().__init__(destination)
            threading.Thread(target=threading.Event().wait, args=(2,), daemon=True).start()

    caught = frozenset({"a_constructor_opens_nothing"})


class TestTellsItsSecret(Base):
    class kind(Good):
        def describe(self):
            return "list://user:t0ps3cret@destination"

    caught = frozenset({"it_says_where_it_delivers_and_no_secret"})


class TestOddLimits(Base):
    class kind(Good):
        batch_defaults: ClassVar = {"batch_events": 0}

    caught = frozenset({"its_limits_are_those_of_a_batch"})


class TestBackwards(Base):
    class kind(Good):
        def take(self, batch):
            self.destination.numbers += [delivery.event.fields["n"] for delivery in reversed(batch.deliveries)]

    caught = frozenset({"what_is_journaled_is_delivered_in_order"})


class TestOddCounts(Base):
    class kind(Good):
        def stats(self):
            return {"batches": str(self.batches)}

    caught = frozenset({"what_it_counts_are_whole_numbers"})


class TestChangesEvents(Base):
    class kind(Good):
        def take(self, batch):
            super().take(batch)
            for delivery in batch.deliveries:
                delivery.event.fields["seen"] = True

    caught = frozenset({"events_stay_as_they_are"})


class TestPlainTextOnly(Base):
    class kind(Good):
        def take(self, batch):
            for delivery in batch.deliveries:
                if delivery.event.payload.isprintable():
                    self.destination.numbers.append(delivery.event.fields["n"])

    caught = frozenset({"odd_texts_are_delivered"})


class TestOnceInItsLife(Base):
    class kind(Good):
        def take(self, batch):
            if not self.destination.numbers:
                super().take(batch)

    caught = frozenset({"it_goes_on_after_a_restart"})


class TestForgetsIds(Base):
    class kind(Good):
        def write(self, batch):
            self.destination.ids.clear()
            super().write(batch)

    caught = frozenset({"a_batch_that_comes_again_is_not_lost_and_where_promised_not_doubled"})


class TestClosesOnce(Base):
    class kind(Good):
        closed = 0

        def close(self):
            self.closed += 1
            assert self.closed == 1

    caught = frozenset({"close_may_be_called_again"})


class TestSwallowsErrors(Base):
    class kind(Good):
        def write(self, batch):
            with contextlib.suppress(OSError):
                super().write(batch)

    caught = frozenset({"what_the_destination_refuses_comes_again"})
