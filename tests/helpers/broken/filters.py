"""Filters that break one promise each; run by tests/unit/testing/test_conformance_catches.py, which expects each to be caught.

Not collected by itself: its name does not begin with test_.
"""

from __future__ import annotations

import threading
import time

from msgspec.structs import replace

from metlog.event import Event
from metlog.testing import FilterConformance


class Good:
    """Drops debug events of one type and marks the rest; keeps every promise. The broken ones change one thing."""

    emit = None

    def __init__(self):
        self.lock, self.dropped = threading.RLock(), 0

    def __call__(self, event):
        if event.type == "login" and event.severity == 7:
            with self.lock:
                self.dropped += 1
            return None
        return replace(event, fields={**event.fields, "seen": True})

    def after_fork(self):
        self.lock = threading.RLock()

    def tick(self, now):
        with self.lock:
            told, self.dropped = self.dropped, 0
        if told and self.emit:
            self.emit(Event(type="dropped", fields={"count": told}))

    def close(self):
        self.tick(0)


class Base(FilterConformance):
    """What is expected to fail is in `caught`: names of tests, without `test_`."""

    kind = Good
    caught = frozenset()
    wait = 1.0
    kept = (Event(type="login"), Event(type="other", severity=7))
    dropped = (Event(type="login", severity=7),)

    def make_filter(self):
        return self.kind()


class TestGood(Base):
    pass


PURPOSE = "it_keeps_and_drops_what_it_is_for"
ANSWER = "it_gives_an_event_or_none_whatever_it_gets"
ALONE = "it_leaves_the_events_objects_alone"
SENDABLE = "what_it_gives_can_be_sent"
THREADS = "many_threads_use_it_at_once"
FORK = "survives_fork_while_threads_use_it"
CLIENT = "works_through_a_client"
SEVERITY = "severity_max_is_true"
OPTIONAL = "emit_tick_and_close"


class TestKeepsEverything(Base):
    caught = frozenset({PURPOSE})

    class kind(Good):
        def __call__(self, event):
            return event


class TestDropsEverything(Base):
    caught = frozenset({PURPOSE})

    class kind(Good):
        def __call__(self, event):
            return None


class TestGivesTrue(Base):
    """As stdlib logging's filters do."""

    caught = frozenset({ANSWER, CLIENT})

    class kind(Good):
        def __call__(self, event):
            return super().__call__(event) is not None


class TestWantsAUser(Base):
    caught = frozenset({ANSWER})

    class kind(Good):
        def __call__(self, event):
            event.fields["user"].lower()
            return super().__call__(event)


class TestFirstTokenIsThere(Base):
    caught = frozenset({ANSWER})

    class kind(Good):
        def __call__(self, event):
            return super().__call__(event) if event.tokens[0] else None


class TestReadsEveryValue(Base):
    caught = frozenset({ANSWER})

    class kind(Good):
        def __call__(self, event):
            return super().__call__(event) if all(map(repr, event.fields.values())) else None


class TestHangs(Base):
    """Follows what holds itself."""

    caught = frozenset({ANSWER})
    wait, grace = 0.5, 0.0

    class kind(Good):
        def __call__(self, event):
            value = event.fields.get("loop")
            while isinstance(value, list):
                value = value[-1]
                time.sleep(0.01)
            return super().__call__(event)


class TestChangesTheEvent(Base):
    caught = frozenset({ALONE})

    class kind(Good):
        def __call__(self, event):
            event.payload = event.payload.replace("@", " at ")
            return super().__call__(event)


class TestChangesTheFields(Base):
    caught = frozenset({ALONE})

    class kind(Good):
        def __call__(self, event):
            event.fields.pop("ip", None)
            return super().__call__(event)


class TestChangesWhatIsNested(Base):
    """The copy is shallow."""

    caught = frozenset({ALONE})

    class kind(Good):
        def __call__(self, event):
            found = super().__call__(event)
            if found is not None and isinstance(found.fields.get("request"), dict):
                found.fields["request"]["id"] = 0
            return found


class TestGivesItOtherFields(Base):
    caught = frozenset({ALONE})

    class kind(Good):
        def __call__(self, event):
            event.fields = {**event.fields}
            return super().__call__(event)


class TestSeverityIsAWord(Base):
    caught = frozenset({SENDABLE})

    class kind(Good):
        def __call__(self, event):
            found = super().__call__(event)
            return found and replace(found, severity="info")


class TestFieldsAreAList(Base):
    caught = frozenset({SENDABLE})

    class kind(Good):
        def __call__(self, event):
            found = super().__call__(event)
            return found and replace(found, fields=[found.fields])


class TestBelittles(Base):
    """What is kept stands for fewer than it did."""

    caught = frozenset({SENDABLE})

    class kind(Good):
        def __call__(self, event):
            found = super().__call__(event)
            return found and replace(found, weight=found.weight / 2)


class TestForgetsTheStream(Base):
    caught = frozenset({SENDABLE})

    class kind(Good):
        def __call__(self, event):
            return Event(type=event.type, timestamp=event.timestamp, fields=dict(event.fields))


class TestMixesThreads(Base):
    caught = frozenset({THREADS})

    class kind(Good):
        def __call__(self, event):
            self.event = event
            time.sleep(0.0001)
            return super().__call__(self.event)


class TestRaisesAmongThreads(Base):
    caught = frozenset({THREADS})

    class kind(Good):
        def __init__(self):
            super().__init__()
            self.seen = {}

        def __call__(self, event):
            self.seen[event.seq] = event.type
            for _ in self.seen:
                time.sleep(0.00001)
            return super().__call__(event)


class TestDeadlocks(Base):
    caught = frozenset({THREADS})
    wait = 0.3

    class kind(Good):
        def __init__(self):
            super().__init__()
            self.locks = [threading.Lock(), threading.Lock()]

        def __call__(self, event):
            first, second = self.locks if event.seq % 2 else self.locks[::-1]
            with first:
                time.sleep(0.001)
                with second:
                    return super().__call__(event)


class TestChildWaitsForALock(Base):
    caught = frozenset({FORK})
    wait = 0.5

    class kind(Good):
        def __call__(self, event):
            with self.lock:
                time.sleep(0.002)
                return super().__call__(event)

        def after_fork(self):
            pass


class TestRaisesAtWork(Base):
    """Once, at an event that only a client gives it."""

    caught = frozenset({CLIENT})

    class kind(Good):
        def __call__(self, event):
            if self.emit and event.fields.get("number") == 3:
                self.emit = None
                raise ValueError("only once")
            return super().__call__(event)


class TestSeverityMaxIsNotTrue(Base):
    """Says that it drops most severities, and keeps most."""

    caught = frozenset({SEVERITY})

    class kind(Good):
        severity_max = 3


class TestSeverityMaxIsAWord(Base):
    caught = frozenset({SEVERITY})

    class kind(Good):
        severity_max = "6"


class TestDropsMoreThanBySeverity(Base):
    """The client does not ask it, and so it never drops its type."""

    caught = frozenset({SEVERITY})
    dropped = ()

    class kind(Good):
        by_severity_only = True
        severity_max = 7


class TestEmitIsMissingAtFirst(Base):
    caught = frozenset({OPTIONAL})

    class kind(Good):
        def __init__(self):
            super().__init__()
            self.emit = print


class TestEmitsUnderItsLock(Base):
    """What it adds comes back to it in another thread, which waits for the lock."""

    caught = frozenset({OPTIONAL})
    wait, grace = 0.5, 0.0

    class kind(Good):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

        def __call__(self, event):
            with self.lock:
                return super_call(self, event)

        def tick(self, now):
            with self.lock:
                if self.emit:
                    self.emit(Event(type="tick"))


def super_call(self, event):
    return None if event.type == "login" and event.severity == 7 else replace(event, fields={**event.fields})


class TestEmitsADictionary(Base):
    caught = frozenset({OPTIONAL})

    class kind(Good):
        def tick(self, now):
            if self.emit:
                self.emit({"type": "tick"})


class TestClosesOnce(Base):
    caught = frozenset({OPTIONAL})

    class kind(Good):
        closed = False

        def close(self):
            if self.closed:
                raise ValueError("closed already")
            self.closed = True


class TestUselessWhenClosed(Base):
    """An event may come late, from another thread."""

    caught = frozenset({OPTIONAL})

    class kind(Good):
        closed = False

        def __call__(self, event):
            if self.closed:
                raise ValueError("closed")
            return super().__call__(event)

        def close(self):
            self.closed = True


class TestTickHangs(Base):
    caught = frozenset({OPTIONAL})
    wait, grace = 0.5, 0.0

    class kind(Good):
        def tick(self, now):
            time.sleep(30)
