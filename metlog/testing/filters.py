"""The promises of a filter, as tests: subclass `FilterConformance` and run pytest."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from time import monotonic
from typing import Any, ClassVar, Final, TypeVar

import msgspec
import pytest
from msgspec.structs import replace

from metlog.core.adapt import adapt_filter
from metlog.encoders.json import JsonEncoder
from metlog.event import Event
from metlog.filters import Filter
from metlog.senders.memory import MemorySender
from metlog.testing._running import GRACE, join_all, survives_forks, within
from metlog.testing._sending import client_with

__all__ = ["FilterConformance"]

T = TypeVar("T")

_WHEN: Final = datetime(2026, 11, 24, 5, 0, 0, 123456, UTC)


class _Broken:
    """Its `repr` raises, and so does its `str`."""

    def __repr__(self) -> str:
        raise RuntimeError("no text to be had")


def _events() -> list[Event]:
    """Events of many kinds: what a filter reads is there, missing, nested, of another type."""
    whole = Event(
        timestamp=_WHEN, type="login", tokens=("login", "sync"), logger="sync", severity=6, payload="for ann@example.org from 192.0.2.7",
        fields={
            "user": "u1", "ms": 12.5, "ip": "2001:db8::1", "request": {"id": 7, "headers": [{"cookie": "c"}]}, "card": 4111111111111111,
        },
        pid=4711, hostname="web-1", stream="c6ec91b9a85db15b",
    )  # fmt: skip
    loop: list[Any] = [1]
    loop.append(loop)
    return [
        whole,
        *(replace(whole, severity=severity) for severity in range(8)),
        replace(whole, type="", tokens=(), logger="", payload="", fields={}),
        replace(whole, type="größe \U0001f600", payload="\ud800 \x00", fields={"": "", "\ud800": "\udfff"}),
        replace(whole, weight=4.0, type="sampled"),
        replace(whole, fields={"user": None, "ip": 5, "request": "text", "card": [1]}),
        replace(whole, fields={"user": {"deep": [[[{"x": ({"y": 1},)}]]]}, "set": {1}, "bytes": b"\xff", "when": _WHEN}),
        replace(whole, fields={"nan": math.nan, "huge": 2**70, "error": ValueError("ann@example.org"), "broken": _Broken(), "class": int}),
        replace(whole, fields={"keys": {(1, 2): {None: 3}, 5: b"x"}}),
        replace(whole, fields={"loop": loop}),
        replace(whole, payload="x" * 100_000, fields={"many": {str(n): n for n in range(2000)}}),
    ]  # fmt: skip


class FilterConformance:
    """Subclass it, say how to make the filter, and pytest does the rest::

        class TestNoHealthChecks(FilterConformance):
            def make_filter(self):
                return NoHealthChecks()

    Two optional lists state what it is for::

            kept = [Event(type="request", fields={"path": "/"})]
            dropped = [Event(type="request", fields={"path": "/healthz"})]

    It covers: an event or None, whatever the event holds, and nothing raises; the application's objects are left alone;
    what it gives can be sent; many threads and forked children use it at once; the optional attributes do what they say.
    """

    kept: ClassVar[Iterable[Event]] = ()
    """Events of which a new filter must keep each, changed or not."""

    dropped: ClassVar[Iterable[Event]] = ()
    """Events of which a new filter must drop each."""

    wait: ClassVar[float] = 5.0
    """Seconds that a call or a forked child may take before it counts as hung."""

    grace: ClassVar[float] = GRACE
    """Seconds that a call may take beyond the time it was given: machines that run tests are busy."""

    def make_filter(self) -> Filter:
        """A new filter."""
        raise NotImplementedError("make_filter: return a new filter")

    # One call.

    def test_it_keeps_and_drops_what_it_is_for(self) -> None:
        """It keeps what `kept` lists, and drops what `dropped` lists; without either it must at least return."""
        for event in self.kept:
            assert self._call(self.make_filter(), copy.deepcopy(event)) is not None, f"drops {event!r}"
        for event in self.dropped:
            assert self._call(self.make_filter(), copy.deepcopy(event)) is None, f"keeps {event!r}"
        self._call(self.make_filter(), Event(type="a"))

    def test_it_gives_an_event_or_none_whatever_it_gets(self, filter: Filter) -> None:
        """Nothing raises: an exception drops the event that the filter was called with."""
        for event in _events():
            self._call(filter, event)

    def test_it_leaves_the_events_objects_alone(self, filter: Filter) -> None:
        """The application goes on with its own objects, and other branches with the event."""
        for event in _events():
            before, fields = _picture(event), event.fields
            self._call(filter, event)
            assert event.fields is fields, "the event gets other fields in place; use msgspec.structs.replace"
            assert _picture(event) == before, (
                "an event or a value in it is changed in place; use msgspec.structs.replace"
            )

    def test_what_it_gives_can_be_sent(self, filter: Filter) -> None:
        """It is an event still: severity, weight and types as they must be, and the same `stream` and process."""
        encoder = JsonEncoder()
        for event in _events():
            found = self._call(filter, event)
            if found is None:
                continue
            assert type(found.severity) is int, f"severity = {found.severity!r}: wants a number from 0 to 7"
            (read,) = encoder.decode(encoder.frame([encoder.encode(found)]))
            told = [
                note
                for note in read.fields.get("metlog.repaired", ())
                if not note.startswith(("fields", "payload", "type"))
            ]
            assert not told, f"what it gives is no event: {told}"
            assert type(found.fields) is dict, f"fields = {found.fields!r}: wants a dict"
            own = (found.stream, found.pid, found.hostname, found.env_version, found.seq)
            assert own == (event.stream, event.pid, event.hostname, event.env_version, event.seq), (
                "changes what tells events apart: stream, pid, hostname, env_version, seq"
            )
            assert math.isfinite(found.weight), f"weight = {found.weight}"
            assert found.weight >= event.weight, "an event that is kept cannot stand for fewer than it did"

    # At work.

    def test_many_threads_use_it_at_once(self, filter: Filter) -> None:
        """Each gets an answer to its own question."""
        start, wrong, errors = threading.Barrier(8), [], []

        def run(thread: int) -> None:
            try:
                start.wait(10)
                for number in range(200):
                    event = Event(
                        timestamp=_WHEN,
                        type=f"t{number % 20}",
                        fields={"user": f"{thread}"},
                        seq=thread * 1000 + number,
                    )
                    found = filter(event)
                    if found is not None and found.seq != event.seq:
                        wrong.append(event.seq)
            except BaseException as error:  # noqa: BLE001 - told by the thread that waits
                errors.append(error)

        threads = [threading.Thread(target=run, args=(thread,), daemon=True) for thread in range(8)]
        for one in threads:
            one.start()
        assert join_all(threads, self.wait * 2), "threads that use it at once hang"
        assert not errors, f"raises when threads use it at once: {errors[0]!r}"
        assert not wrong, f"{len(wrong)} threads got another's event"

    def test_survives_fork_while_threads_use_it(self, filter: Filter) -> None:
        """A lock that another thread held stays with the parent: the child must not wait for it."""

        def busy() -> None:
            filter(Event(timestamp=_WHEN, type="busy", fields={"user": "u1"}))

        def child() -> int:
            full = adapt_filter(filter)
            full.after_fork()
            for event in _events()[:4]:
                filter(event)
            full.tick(monotonic())
            full.close()
            return 0

        survives_forks(busy, child, self.wait, "a forked child that uses it")

    def test_works_through_a_client(self, filter: Filter) -> None:
        """Every call is accepted or filtered, nothing is an error, and what is kept is sent."""
        sender = MemorySender()
        client = client_with(sender, filters=[filter])
        added = self._added(filter)
        for number in range(200):
            client.log(
                (f"t{number % 5}", "x"),
                f"number {number}",
                severity=number % 8,
                fields={"number": number, "user": "u1"},
            )
        self._within("client.close", lambda: client.close(self.wait))
        stats = client.stats()
        assert stats.errors == 0, "it raises when a client uses it (`filter_error` in the log)"
        assert stats.accepted - len(added) + stats.filtered == 200, "events are neither kept nor filtered"
        assert stats.sent == stats.accepted, f"what is kept is not sent: {stats}"

    # What it may have.

    def test_severity_max_is_true(self, filter: Filter) -> None:
        """Where there is one, every event beyond it is dropped: the client does not even build it. With `by_severity_only`
        no other is, and none is changed: the client does not even ask."""
        full = adapt_filter(filter)
        limit, alone = full.severity_max, full.by_severity_only
        assert type(limit) is int, f"severity_max = {limit!r}: wants an int"
        assert 0 <= limit <= 7, f"severity_max = {limit!r}: a severity is 0 to 7"
        for event in _events():
            if event.severity > limit:
                assert self._call(filter, event) is None, f"keeps severity {event.severity}; severity_max = {limit}"
            elif alone:
                assert self._call(filter, event) is event, "by_severity_only, and another event than it was given"

    def test_emit_tick_and_close(self, filter: Filter) -> None:
        """`emit` is None until it is set, gets whole events, and may be called by what it calls; `close` works twice."""
        told: list[Event] = []
        full = adapt_filter(filter)
        assert full.emit is None, "emit is set by the pipeline, and None before"
        self._call(filter, Event(type="before"))

        def emit(event: Event) -> None:
            told.append(event)
            if len(told) < 1000:
                filter(Event(type="again"))  # the pipeline's other threads go on while an event is added

        full.emit = emit
        for _ in range(3):
            for event in _events()[:12]:
                self._call(filter, event)
            self._within("tick", lambda: full.tick(monotonic()))
            self._within("tick an hour later", lambda: full.tick(monotonic() + 3600))
        self._within("close", full.close)
        self._within("close, the second time", full.close)
        self._call(filter, Event(type="after"))
        for event in told:
            assert isinstance(event, Event), f"emits {event!r}: wants an Event"
            msgspec.json.encode(event)

    # How it looks.

    def _within(self, what: str, call: Callable[[], T]) -> T:
        return within(self.wait + self.grace, what, call)

    def _call(self, filter: Filter, event: Event) -> Event | None:
        try:
            found = self._within("a call", lambda: filter(event))
        except Exception as error:  # noqa: BLE001 - a promise that is broken, whatever it is
            pytest.fail(f"raises {error!r} for an event with {sorted(map(ascii, event.fields))}")
        assert found is None or isinstance(found, Event), f"gives {found!r}: wants an Event or None"
        return found

    @staticmethod
    def _added(filter: Filter) -> list[Event]:
        """What the filter adds by itself from now on."""
        added: list[Event] = []
        full = adapt_filter(filter)
        real = full.emit
        if real is not None:

            def emit(event: Event) -> None:
                added.append(event)
                real(event)

            full.emit = emit
        return added

    @pytest.fixture(name="filter")
    def _filter(self) -> Filter:
        return self.make_filter()


def _picture(value: Any, above: frozenset[int] = frozenset()) -> Any:
    """What a value looks like, to be compared later: containers by what they hold, all else by which object it is."""
    if isinstance(value, Event):
        return [(name, _picture(getattr(value, name))) for name in value.__struct_fields__]
    if isinstance(value, (dict, list, tuple)):
        if id(value) in above:
            return "itself"
        inner = above | {id(value)}
        if isinstance(value, dict):
            return [(id(key), _picture(item, inner)) for key, item in value.items()]
        return [type(value), *(_picture(item, inner) for item in value)]
    return id(value) if not isinstance(value, (str, int, float)) else (type(value), repr(value))
