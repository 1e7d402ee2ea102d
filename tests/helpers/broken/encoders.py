"""Encoders that break one promise each; run by tests/unit/testing/test_conformance_catches.py, which expects each to be caught.

Not collected by itself: its name does not begin with test_.
"""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime

import msgspec
from msgspec.structs import replace

from metlog.encoders.json import JsonEncoder
from metlog.encoders.text import TextEncoder
from metlog.errors import DecodeError
from metlog.event import Event
from metlog.testing import EncoderConformance


class Good:
    """JSON through another; keeps every promise. The broken ones change one thing."""

    content_type = "application/x-ndjson; charset=utf-8"

    def __init__(self):
        self.inner = JsonEncoder()

    def encode(self, event):
        return self.inner.encode(event)

    def frame(self, encoded):
        return self.inner.frame(encoded)

    def decode(self, frame):
        return self.inner.decode(frame)


class Base(EncoderConformance):
    """What is expected to fail is in `caught`: names of tests, without `test_`."""

    kind = Good
    caught = frozenset()
    wait = 1.0

    def make_encoder(self):
        return self.kind()


class TestGood(Base):
    pass


BACK = "every_event_comes_back"
ORDER = "a_frame_keeps_the_order_of_its_events"
ODD = "values_that_json_cannot_say_are_made_sayable"
ALONE = "encode_leaves_the_event_alone"
THREADS = "many_threads_encode_at_once"
CLIENT = "works_through_a_client"
FORK = "survives_fork_while_threads_encode"
DAMAGE = "damage_is_a_decode_error"
CHECKED = "nothing_that_is_no_event_is_decoded"
TYPE = "the_content_type_is_a_media_type"


class TestContentTypeIsAWord(Base):
    caught = frozenset({TYPE})

    class kind(Good):
        content_type = "json"


class TestGivesText(Base):
    caught = frozenset({BACK})

    class kind(Good):
        def encode(self, event):
            return super().encode(event).decode()


class TestLosesTheWeight(Base):
    caught = frozenset({BACK})

    class kind(Good):
        def encode(self, event):
            return super().encode(replace(event, weight=1.0))


class TestLosesMicroseconds(Base):
    caught = frozenset({BACK})

    class kind(Good):
        def encode(self, event):
            return super().encode(replace(event, timestamp=event.timestamp.replace(microsecond=0)))


class TestLinesAreTornAtLineFeeds(Base):
    """Writes the payload as it stands."""

    caught = frozenset({BACK})

    class kind(Good):
        def encode(self, event):
            return super().encode(event).replace(rb"\n", b"\n")


class TestRepairsWhatIsWhole(Base):
    caught = frozenset({BACK})

    class kind(Good):
        repaired = 0

        def encode(self, event):
            self.repaired += 1
            return super().encode(event)


class TestLastComesFirst(Base):
    caught = frozenset({ORDER, CLIENT})

    class kind(Good):
        def frame(self, encoded):
            return super().frame(encoded[::-1])


class TestFrameHoldsFifteen(Base):
    """The count has four bits, and nobody looked."""

    caught = frozenset({ORDER})

    class kind(Good):
        def frame(self, encoded):
            return super().frame(encoded[: len(encoded) % 16])


class TestRaisesForWhatJsonCannotSay(Base):
    caught = frozenset({ODD, ALONE, THREADS})

    class kind(Good):
        def encode(self, event):
            return json.dumps(msgspec.structs.asdict(event), default=self.time).encode()

        def time(self, value):
            if isinstance(value, datetime):
                return value.isoformat()
            raise TypeError(value)


class TestHangsOnWhatHoldsItself(Base):
    caught = frozenset({ODD})
    wait, grace = 0.5, 0.0

    class kind(Good):
        def encode(self, event):
            value = event.fields.get("v")
            while type(value) is list and len(value) > 1:
                value = value[1]
                time.sleep(0.01)
            return super().encode(event)


class TestLeavesOddFieldsOut(Base):
    caught = frozenset({ODD})

    class kind(Good):
        def encode(self, event):
            fields = {key: value for key, value in event.fields.items() if type(value) in {str, int, float, dict, list}}
            return super().encode(replace(event, fields=fields))


class TestAnOddFieldTakesItsNeighboursAlong(Base):
    caught = frozenset({ODD})

    class kind(Good):
        def encode(self, event):
            if "v" in event.fields:
                event = replace(event, fields={"v": event.fields["v"]})
            return super().encode(event)


class TestComesBackAsBytes(Base):
    """Decoded values that JSON cannot say."""

    caught = frozenset({ODD})

    class kind(Good):
        def decode(self, frame):
            events = super().decode(frame)
            return [
                replace(event, fields={**event.fields, **({"v": b"v"} if "v" in event.fields else {})})
                for event in events
            ]


class TestChangesTheEvent(Base):
    caught = frozenset({ALONE})

    class kind(Good):
        def encode(self, event):
            event.payload = event.payload.strip("x")
            return super().encode(event)


class TestChangesTheFields(Base):
    """Makes the application's own values sayable, in place."""

    caught = frozenset({ALONE})

    class kind(Good):
        def encode(self, event):
            event.fields.update({key: str(type(value)) for key, value in event.fields.items() if key == "v"})
            return super().encode(event)


class TestAddsToTheFields(Base):
    caught = frozenset({ALONE})

    class kind(Good):
        def encode(self, event):
            if "inner" in event.fields:
                event.fields["seen"] = True
            return super().encode(event)


class TestSharesItsEvent(Base):
    """One place for all threads."""

    caught = frozenset({THREADS})

    class kind(Good):
        def encode(self, event):
            self.event = event
            time.sleep(0.0001)
            return super().encode(self.event)


class TestDeadlocks(Base):
    """Two locks, taken in either order."""

    caught = frozenset({THREADS})
    wait = 0.2

    class kind(Good):
        def __init__(self):
            super().__init__()
            self.locks = [threading.Lock(), threading.Lock()]

        def encode(self, event):
            first, second = self.locks if event.fields.get("number", 0) % 2 else self.locks[::-1]
            with first:
                time.sleep(0.001)
                with second:
                    return super().encode(event)


class TestRaisesAmongThreads(Base):
    caught = frozenset({THREADS})

    class kind(Good):
        busy = 0

        def encode(self, event):
            self.busy += 1
            time.sleep(0.0001)
            if self.busy > 1:
                self.busy -= 1
                raise RuntimeError("not reentrant")
            self.busy -= 1
            return super().encode(event)


class TestLosesLists(Base):
    """A value that came in a list is not there."""

    caught = frozenset({CLIENT})

    class kind(Good):
        def encode(self, event):
            if event.fields.get("number", 0) % 2:
                raise ValueError("a list")
            return super().encode(event)


class TestCannotReadWhatWasCut(Base):
    """The mark of an event whose payload was cut is lost."""

    caught = frozenset({CLIENT})

    class kind(Good):
        def decode(self, frame):
            return [
                replace(event, fields={k: v for k, v in event.fields.items() if k != "truncated"})
                for event in super().decode(frame)
            ]


class TestChildWaitsForALock(Base):
    caught = frozenset({FORK})
    wait = 0.5

    class kind(Good):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

        def encode(self, event):
            with self.lock:
                time.sleep(0.002)
                return super().encode(event)


class TestRaisesAnotherError(Base):
    caught = frozenset({DAMAGE})

    class kind(Good):
        def decode(self, frame):
            return [msgspec.json.decode(line, type=Event) for line in frame.splitlines()]


class TestHangsOnDamage(Base):
    caught = frozenset({DAMAGE})
    wait, grace = 0.5, 0.0

    class kind(Good):
        def decode(self, frame):
            while not frame.endswith(b"\n"):
                time.sleep(0.01)
            return super().decode(frame)


class TestMakesUpTheRest(Base):
    """What is cut off becomes another event."""

    caught = frozenset({DAMAGE})

    class kind(Good):
        def decode(self, frame):
            try:
                return super().decode(frame)
            except DecodeError:
                return [Event(type="broken", timestamp=datetime(2026, 1, 1, tzinfo=UTC))]


class TestGivesDictionaries(Base):
    caught = frozenset({DAMAGE, BACK})

    class kind(Good):
        def decode(self, frame):
            return [msgspec.to_builtins(event) for event in super().decode(frame)]


class TestSignatureIsNotChecked(Base):
    """Says that it detects damage; plain JSON does not."""

    caught = frozenset({DAMAGE})
    detects_damage = True


class TestDecodesAnything(Base):
    """Takes types and ranges on trust, both ways."""

    caught = frozenset({CHECKED})

    class kind(Good):
        def encode(self, event):
            if type(event.severity) is int and 0 <= event.severity <= 7:
                return super().encode(event)
            return super().encode(replace(event, severity=6)).replace(b'"severity":6', b'"severity":9')

        def decode(self, frame):
            try:
                items = [json.loads(line) for line in frame.decode().split("\n") if line]
                return [Event(**{**item, "tokens": tuple(item["tokens"])}) for item in items]
            except (ValueError, TypeError, KeyError) as error:
                raise DecodeError(str(error)) from error


class TestPeopleCanReadItBack(Base):
    """Says that it is for people, and decodes."""

    caught = frozenset({BACK, ORDER})
    readable = False


class OfText(Base):
    readable = False


class TestGoodText(OfText):
    class kind(TextEncoder):
        pass


class TestTextMixesThreads(OfText):
    caught = frozenset({THREADS})

    class kind(TextEncoder):
        def encode(self, event):
            self.event = event
            time.sleep(0.0001)
            return super().encode(self.event)
