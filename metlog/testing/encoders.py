"""The promises of an encoder, as tests: subclass `EncoderConformance` and run pytest."""

from __future__ import annotations

import copy
import math
import random
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

import msgspec
import pytest
from msgspec.structs import replace

from metlog.core.adapt import adapt_encoder
from metlog.encoders import Encoder
from metlog.errors import DecodeError
from metlog.event import Event
from metlog.senders.memory import MemorySender
from metlog.testing._running import GRACE, join_all, survives_forks, within
from metlog.testing._sending import client_with

__all__ = ["EncoderConformance"]

T = TypeVar("T")

_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+(\s*;\s*[a-z0-9_.-]+=[^;\s]+)*", re.IGNORECASE)
_WHEN: Final = datetime(2026, 11, 24, 5, 0, 0, 123456, UTC)


class _Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no text to be had")


def _looped() -> list[Any]:
    loop: list[Any] = [1]
    loop.append(loop)
    return loop


def _plain_events() -> list[Event]:
    """Events whose values every encoder can say, one for each thing that may go wrong."""
    whole = Event(
        timestamp=_WHEN, type="login", tokens=("login", "sync"), logger="sync", severity=3, payload="user logged in",
        fields={"user": "u1", "ms": 12.5, "n": -3, "ok": True, "none": None}, weight=4.0, pid=4711, hostname="web-1",
        stream="c6ec91b9a85db15b", seq=1,
    )  # fmt: skip
    return [
        whole,
        Event(timestamp=_WHEN, type="a"),
        replace(whole, type="", tokens=(), payload="", fields={}),
        replace(whole, payload="größe 日本 \U0001f600 \u2028 é", fields={"": 1, "é\U0001f600": "ß"}),
        replace(whole, payload='line\nfeed\r\ttab "quote" \\ back \x00 nul \x1b[31m', type="a\nb", tokens=("x\ny", "[", "{")),
        replace(whole, fields={"deep": {"list": [[], {}, [1, [2, {"x": [None]}]]]}, "empty": {}}),
        replace(whole, fields={"n": [-(2**63), 2**63 - 1, 0], "x": [0.1, -2.5e-7, 1e21, 5e-324, 1.7976931348623157e308]}),
        replace(whole, timestamp=datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), severity=0, seq=2**63 - 1),
        replace(whole, timestamp=datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC), severity=7, weight=1e9),
        replace(whole, payload="x" * 100_000, fields={"many": list(range(2000))}),
    ]  # fmt: skip


def _odd_values() -> dict[str, Any]:
    """Values that JSON cannot say: the table in docs/encoders.md."""
    return {
        "NaN": math.nan, "infinity": [1, {"a": -math.inf}], "huge": 2**70, "surrogate": "\ud800", "bytes": b"\xff\x00", "set": {1},
        "datetime": _WHEN, "exception": ValueError("x"), "itself": _looped(), "object": object(), "broken": _Broken(), "class": int,
        "key": {(1, 2): {None: 3}}, "deep": _nested(5000),
    }  # fmt: skip


def _nested(levels: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(levels):
        inner = [inner]
    return inner


class EncoderConformance:
    """Subclass it, say how to make the encoder, and pytest does the rest::

        class TestRepr(EncoderConformance):
            def make_encoder(self):
                return ReprEncoder()

    It covers: events come back whole and in order, alone and through a client; values that JSON cannot say are made
    sayable, and the application's objects are left alone; many threads encode at once, forked children too; damaged
    frames are a `DecodeError`, and nothing that is no event is ever decoded.
    """

    readable: ClassVar[bool] = True
    """False: it writes for people, and `decode` raises DecodeError for whatever it gets."""

    detects_damage: ClassVar[bool] = False
    """True: a frame that was changed anywhere is refused (it is signed, or has a checksum)."""

    wait: ClassVar[float] = 5.0
    """Seconds that a call or a forked child may take before it counts as hung."""

    grace: ClassVar[float] = GRACE
    """Seconds that a call may take beyond the time it was given: machines that run tests are busy."""

    def make_encoder(self) -> Encoder:
        """A new encoder; those made by one test read each other's frames."""
        raise NotImplementedError("make_encoder: return a new encoder")

    # Events.

    def test_the_content_type_is_a_media_type(self, encoder: Encoder) -> None:
        """As RFC 9110 writes it: `type/subtype; parameter=value`."""
        kind = encoder.content_type
        assert isinstance(kind, str), f"content_type = {kind!r}: wants text"
        assert _MEDIA_TYPE.fullmatch(kind), f"content_type = {kind!r}: wants type/subtype"

    def test_every_event_comes_back(self, encoder: Encoder) -> None:
        """Every field, Unicode, control characters, nested values, numbers and times at their limits, 100 kB of text."""
        for event in _plain_events():
            data = encoder.encode(event)
            assert type(data) is bytes, f"encode gave {type(data).__name__}: wants bytes"
            frame = encoder.frame([data])
            assert type(frame) is bytes, f"frame gave {type(frame).__name__}: wants bytes"
            self._expect(encoder, frame, [event])
        repaired = adapt_encoder(encoder).repaired
        assert type(repaired) is int, f"repaired = {repaired!r}: wants an int"
        assert repaired == 0, "`repaired` counts events that needed no repair"

    @pytest.mark.parametrize("count", [0, 2, 15, 16, 17, 300])
    def test_a_frame_keeps_the_order_of_its_events(self, encoder: Encoder, count: int) -> None:
        """And holds as many as it was given, none too."""
        events = [Event(timestamp=_WHEN, type=f"t{n}", payload="x" * (n % 40), seq=n) for n in range(count)]
        self._expect(encoder, encoder.frame([encoder.encode(event) for event in events]), events)

    def test_values_that_json_cannot_say_are_made_sayable(self, encoder: Encoder) -> None:
        """Nothing raises, the rest of the event is intact, and what comes back is what JSON can say."""
        for name, value in _odd_values().items():
            event = Event(timestamp=_WHEN, type="odd", payload="kept", fields={"before": 1, "v": value, "after": "x"})
            try:
                frame = self._within(f"encode of {name}", partial(_framed, encoder, event))
            except Exception as error:  # noqa: BLE001 - a promise that is broken, whatever it is
                pytest.fail(f"encode raises {error!r} for {name}; metlog.values.sanitize(event) makes it sayable")
            if not self.readable:
                continue
            (found,) = encoder.decode(frame)
            assert (found.type, found.payload) == ("odd", "kept"), f"{name} spoils the event that holds it"
            kept = (found.fields.get("before"), found.fields.get("after"))
            assert kept == (1, "x"), f"{name} spoils its neighbours"
            assert "v" in found.fields, f"{name} is lost"
            said = msgspec.json.decode(msgspec.json.encode(found.fields))
            assert said == found.fields, f"{name} comes back as something that JSON cannot say"

    def test_encode_leaves_the_event_alone(self, encoder: Encoder) -> None:
        """The application goes on with its objects."""
        for event in _plain_events():
            before = copy.deepcopy(event)
            encoder.frame([encoder.encode(event)])
            assert event == before, "encode or frame changes the event that it was given"
        for name, value in _odd_values().items():
            inner = [value]
            event = Event(type="odd", fields={"v": value, "inner": inner})
            encoder.encode(event)
            assert event.fields["v"] is value, f"encode replaces {name} in the application's own fields"
            assert inner[0] is value, f"encode replaces {name} in the application's own list"
            assert list(event.fields) == ["v", "inner"], "encode adds to the application's own fields"

    # At work.

    def test_many_threads_encode_at_once(self, encoder: Encoder) -> None:
        """Each thread gets its own event back, values that need conversion among them."""
        start, wrong = threading.Barrier(8), []

        def run(thread: int) -> None:
            start.wait(10)
            for number in range(150):
                fields = {"thread": thread, "number": number, **({"v": {thread}} if number % 5 == 0 else {})}
                event = Event(timestamp=_WHEN, type="threads", payload=f"{thread} {number} " * 20, fields=fields)
                frame = encoder.frame([encoder.encode(event)])
                if self.readable:
                    (found,) = encoder.decode(frame)
                    if (found.payload, found.fields["number"]) != (event.payload, number):
                        wrong.append((thread, number))
                elif f"{thread} {number} ".encode() not in frame:
                    wrong.append((thread, number))

        errors: list[BaseException] = []
        threads = [threading.Thread(target=_caught, args=(run, thread, errors), daemon=True) for thread in range(8)]
        for one in threads:
            one.start()
        assert join_all(threads, self.wait * 4), "threads that encode at once hang"
        assert not errors, f"raises when threads encode at once: {errors[0]!r}"
        assert not wrong, f"{len(wrong)} events of other threads came back"

    def test_works_through_a_client(self, encoder: Encoder) -> None:
        """Frames keep to their limit, events come back in order; one that is larger than the transport is cut and marked."""
        sender = MemorySender(max_frame=2000)
        sender.max_event = 3000
        client = client_with(sender, encoder=encoder)
        for number in range(200):
            client.log(
                ("a", "b"), "x" * (number % 50), fields={"number": number, **({"l": [number]} if number % 2 else {})}
            )
        client.log("large", "y" * 10_000)
        self._within("client.close", lambda: client.close(self.wait))
        stats = client.stats()
        assert (stats.accepted, stats.sent, stats.errors) == (201, 201, 0), f"events are lost: {stats}"
        assert max(map(len, sender.frames)) <= 3000, "a frame is larger than the transport can carry"
        if not self.readable:
            return
        events = [event for frame in sender.frames for event in encoder.decode(frame)]
        small = [event for event in events if event.type == "a"]
        assert [event.fields["number"] for event in small] == list(range(200)), "events are lost or out of order"
        assert [event.payload for event in small] == ["x" * (number % 50) for number in range(200)]
        assert {(event.tokens, event.logger, event.hostname) for event in small} == {
            (("a", "b"), "conformance", "localhost")
        }
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        (large,) = [event for event in events if event.type == "large"]
        assert large.fields["truncated"] is True
        assert 0 < len(large.payload) < 10_000

    def test_survives_fork_while_threads_encode(self, encoder: Encoder) -> None:
        """A lock that another thread held stays with the parent: the child must not wait for it."""

        def busy() -> None:
            encoder.encode(Event(timestamp=_WHEN, type="busy", fields={"v": {1}}))

        def child() -> int:
            for event in (*_plain_events()[:2], Event(timestamp=_WHEN, type="odd", fields={"v": math.nan})):
                frame = encoder.frame([encoder.encode(event)])
                if self.readable:
                    encoder.decode(frame)
            return 0

        survives_forks(busy, child, self.wait, "a forked child that encodes")

    # What comes from elsewhere.

    def test_damage_is_a_decode_error(self, encoder: Encoder) -> None:
        """Frames that are cut off, changed or no frames at all raise DecodeError or give events, and nothing else."""
        events = [replace(event, seq=number) for number, event in enumerate(_plain_events()[:6], 1)]
        frame = encoder.frame([encoder.encode(event) for event in events])
        rng = random.Random(20120521)
        for size in range(0, len(frame), max(1, len(frame) // 200)):
            found = self._attempt(encoder, frame[:size])
            assert found is None or found == events[: len(found)], "a frame that is cut off gives other events"
        for _ in range(300):
            position = rng.randrange(len(frame))
            changed = bytearray(frame)
            changed[position] ^= 1 << rng.randrange(8)
            found = self._attempt(encoder, bytes(changed))
            assert found is None or not self.detects_damage, f"a frame with byte {position} changed is not refused"
        for size in (1, 2, 10, 100, 1000):
            self._attempt(encoder, rng.randbytes(size))
            self._attempt(encoder, b"\x00" * size)
            self._attempt(encoder, b"[" * size)

    def test_nothing_that_is_no_event_is_decoded(self, encoder: Encoder) -> None:
        """Severities and weights that do not exist, values of the wrong type: made good by `encode`, or refused by `decode`."""
        wrong: list[dict[str, Any]] = [
            {"severity": 9}, {"severity": -1}, {"severity": "x"}, {"weight": 0.0}, {"weight": math.nan}, {"type": 5},
            {"tokens": (1,)}, {"payload": None}, {"fields": [1]}, {"seq": -1}, {"pid": 2**70}, {"timestamp": "today"},
        ]  # fmt: skip
        for change in wrong:
            try:
                data = encoder.encode(Event(**{"timestamp": _WHEN, "type": "a", **change}))
            except Exception:  # noqa: BLE001, S112 - counted by the client as `encode_error`: nothing wrong gets out
                continue
            for event in self._attempt(encoder, encoder.frame([data])) or ():
                try:
                    msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=Event)
                except (msgspec.MsgspecError, OverflowError, ValueError) as error:
                    pytest.fail(f"{change} comes back as it is: {error}")

    # How it looks.

    def _within(self, what: str, call: Callable[[], T]) -> T:
        return within(self.wait + self.grace, what, call)

    def _expect(self, encoder: Encoder, frame: bytes, events: list[Event]) -> None:
        if self.readable:
            assert encoder.decode(frame) == events, "what comes back is not what was encoded"
            return
        with pytest.raises(DecodeError):
            encoder.decode(frame)

    def _attempt(self, encoder: Encoder, frame: bytes) -> list[Event] | None:
        """The events of a frame, or None when it is refused; fails when anything but DecodeError is raised."""
        try:
            found = self._within("decode of a damaged frame", lambda: encoder.decode(frame))
        except DecodeError:
            return None
        except Exception as error:  # noqa: BLE001 - a promise that is broken, whatever it is
            pytest.fail(f"decode raises {error!r} for {frame[:60]!r}…; wants metlog.errors.DecodeError")
        assert all(isinstance(event, Event) for event in found), f"decode gives {found!r}: wants events"
        return found

    @pytest.fixture(name="encoder")
    def _encoder(self) -> Encoder:
        return self.make_encoder()


def _framed(encoder: Encoder, event: Event) -> bytes:
    return encoder.frame([encoder.encode(event)])


def _caught(run: Callable[[int], None], thread: int, errors: list[BaseException]) -> None:
    try:
        run(thread)
    except BaseException as error:  # noqa: BLE001 - told by the thread that waits
        errors.append(error)
