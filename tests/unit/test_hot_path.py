"""The fast way and the careful one give the same events: what is kept as a record cannot change any more."""

from __future__ import annotations

import enum
import json
import math
import os
import sys
import threading
import types
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import metlog
from metlog import MetlogClient, Severity
from metlog.encoders.json import JsonEncoder
from metlog.event import Event
from metlog.senders.memory import MemorySender


@pytest.fixture
def client() -> Any:
    made = MetlogClient.from_config("memory:", logger="svc", buffer={"flush_interval": 60})
    yield made
    made.close()


def events(client: MetlogClient) -> list[Event]:
    assert client.flush(5)
    return [event for frame in client.sender.frames for event in client.encoder.decode(frame)]


def test_fields_are_those_of_the_moment_of_the_call(client: MetlogClient) -> None:
    fields: dict[str, Any] = {"n": 0, "nested": {"list": [1]}, "set": {1}}
    for number in range(3):
        fields["n"] = number
        client.log("count", fields={"n": number} if number == 1 else fields)
    fields["n"] = 99
    fields["nested"]["list"].append(2)
    fields["set"].add(2)
    del fields["nested"]
    found = events(client)
    assert [event.fields["n"] for event in found] == [0, 1, 2]
    assert found[0].fields["nested"] == {"list": [1]}
    assert found[2].fields["set"] == [1]


def test_a_bound_dict_and_a_context_are_those_of_the_moment_too(client: MetlogClient) -> None:
    bound = client.bind(shop="a")
    with metlog.context(request="r1"):
        bound.log("sale", fields={"n": 1})
    bound.log("sale", fields={"shop": "b"})
    first, second = events(client)
    assert first.fields == {"shop": "a", "request": "r1", "n": 1}
    assert second.fields == {"shop": "b"}


class Colour(enum.Enum):
    RED = "red"


class Kind(enum.StrEnum):
    LOGIN = "login"


class Text(str):
    __slots__ = ()


NAMED = types.SimpleNamespace(a=1)


@pytest.mark.parametrize("encoder", ["json", "msgpack"])
@pytest.mark.parametrize(
    ("value", "said", "marked"),
    [
        ("x", "x", False), (1, 1, False), (True, True, False), (None, None, False), (1.5, 1.5, False), (0.0, 0.0, False),
        (math.nan, None, True), (math.inf, None, True), (-math.inf, None, True), ([math.nan], [None], True),
        ({"a": {"b": math.inf}}, {"a": {"b": None}}, True), (sys.float_info.max, sys.float_info.max, False),
        (Text("sub"), "sub", False), (Colour.RED, "red", False), (Severity.ERROR, 3, False), ((1, 2), [1, 2], False),
        ("\ud800", "\\ud800", True), (2**63, 2**63, False), (b"ab", "YWI=", False),
    ],
)  # fmt: skip
def test_a_value_is_said_the_same_whatever_way_it_takes(encoder: str, value: Any, said: Any, marked: bool) -> None:
    with MetlogClient.from_config("memory:", encoder=encoder) as client:
        client.log("v", fields={"before": 1, "value": value, "after": 2.5})
        client.metlog("v", fields={"before": 1, "value": value, "after": 2.5}, tokens=("v",), weight=2.0)
        for event in events(client):
            assert event.fields["value"] == said
            assert type(event.fields["value"]) is type(said)
            assert ("metlog.repaired" in event.fields) is marked
        assert client.stats().repaired == 2 * marked


@pytest.mark.parametrize("text", ["\ud800", "ok \udfff"])
def test_a_lone_surrogate_costs_no_other_event_of_its_frame(client: MetlogClient, text: str) -> None:
    for number in range(5):
        client.log(("a",), text if number == 2 else f"n{number}")
    assert [event.payload for event in events(client)] == [
        "n0",
        "n1",
        text.encode("utf-8", "backslashreplace").decode(),
        "n3",
        "n4",
    ]
    assert client.stats().dropped == {}


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (("a", 1), ("a", "1")), ((True,), ("True",)), ((1,), ("1",)), ((1.0,), ("1.0",)), (("a", [1]), ("a", "[1]")),
        (("a", Text("b")), ("a", "b")), (["x", "y"], ("x", "y")), (Text("t"), ("t",)), ((), ("event",)), (Colour.RED, ("Colour.RED",)),
        ((t for t in "ab"), ("a", "b")), (b"login", ("login",)), ((b"caf\xc3\xa9", "x"), ("café", "x")), (bytearray(b"login"), ("login",)),
        ([b"login"], ("login",)), (Kind.LOGIN, ("login",)), ((Kind.LOGIN, "x"), ("login", "x")), ([Kind.LOGIN], ("login",)),
        ([], ("event",)),
    ],
)  # fmt: skip
def test_tokens_are_text_all_through_the_first_time_and_the_second(
    client: MetlogClient, tokens: Any, said: Any
) -> None:
    client.log(tokens)
    if not isinstance(tokens, types.GeneratorType):
        client.log(tokens)
    found = events(client)
    assert {event.tokens for event in found} == {said}
    assert {event.type for event in found} == {said[0]}


@pytest.mark.parametrize("tokens", [["a", "b"], ["a", 1], ("a", ["b"]), [Kind.LOGIN], Text("t")])
def test_a_list_of_tokens_is_not_the_careful_way(
    client: MetlogClient, tokens: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careful(*args: Any) -> bool:
        raise AssertionError(args)

    monkeypatch.setattr(MetlogClient, "_log_coerced", careful)
    client.log(tokens)
    client.metlog("type", tokens=tokens, payload="p")
    first, second = events(client)
    assert first.tokens == second.tokens
    assert first.type == first.tokens[0]
    assert second.type == "type"


def test_tokens_made_at_run_time_do_not_fill_the_memory(client: MetlogClient) -> None:
    from metlog import client as module

    for number in range(10_000):
        client.log(("page", f"n{number}"))
    assert len(module._known) <= 4096
    assert len(events(client)) == 10_000


@pytest.mark.parametrize(("severity", "said"), [(True, 1), (Severity.ALERT, 1), (3.0, 3), (-4, 0), (70, 7)])
def test_a_severity_is_a_plain_number_on_the_wire(client: MetlogClient, severity: Any, said: int) -> None:
    client.log("a", severity=severity)
    client.flush(5)
    assert json.loads(client.sender.frames[0])["severity"] is not True
    (event,) = events(client)
    assert event.severity == said


@pytest.mark.parametrize("fields", [OrderedDict(a=1), types.MappingProxyType({"a": 1}), [("a", 1)], {1: "x"}, 5])
def test_fields_of_another_kind_are_taken_as_what_they_hold(client: MetlogClient, fields: Any) -> None:
    client.log("a", fields=fields)
    (event,) = events(client)
    expected = (
        {"1": "x"}
        if fields == {1: "x"}
        else {"a": 1}
        if hasattr(fields, "keys")
        else {"fields": json.loads(json.dumps(fields))}
    )
    assert event.fields == expected


class Named(JsonEncoder):
    """A subclass that writes events in its own way."""

    def encode(self, event: Event) -> bytes:
        event.payload = "mine"
        return super().encode(event)


def test_a_subclass_of_the_encoder_encodes_every_event_itself() -> None:
    from metlog.config import plan
    from metlog.plugins import Component

    made = plan({"sender": "memory:"})
    made.encoder = Component("encoder", "named", "encoder", Named, {})
    client = MetlogClient().install(made)
    client.log("a", "theirs")
    assert [event.payload for event in events(client)] == ["mine"]
    client.close()


def test_filters_see_every_event_and_a_dict_of_their_own() -> None:
    seen: list[Event] = []

    class Keep:
        def __call__(self, event: Event) -> Event:
            event.fields["seen"] = True
            seen.append(event)
            return event

    from metlog.config import plan
    from metlog.plugins import Component

    made = plan({"sender": "memory:"})
    made.filters = [Component("filter", "keep", "filters[0]", Keep, {})]
    client = MetlogClient().install(made)
    given = {"n": 1}
    client.log("a", fields=given)
    client.incr("b")
    assert given == {"n": 1}
    assert [event.type for event in seen] == ["a", "counter"]
    assert all(event.fields["seen"] is True for event in events(client))
    client.close()


def test_without_a_flush_interval_an_event_has_left_when_the_call_returns() -> None:
    with MetlogClient.from_config("memory:", buffer={"flush_interval": 0}) as client:
        sender: MemorySender = client.sender
        for number in range(1, 6):
            client.log("a", fields={"n": number})
            assert len(sender.frames) == number
            assert client.stats().buffered == 0
        client.log("a", fields={"n": [6]})  # encoded at once, and sent at once as well
        client.log("a", "\ud800")
        assert [len(client.encoder.decode(frame)) for frame in sender.frames] == [1] * 7


def test_without_a_flush_interval_threads_lose_nothing() -> None:
    with MetlogClient.from_config("memory:", buffer={"flush_interval": 0}) as client:
        threads = [threading.Thread(target=lambda: [client.log("a") for _ in range(2000)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.flush(5)
        assert sorted(event.seq for event in events(client)) == list(range(1, 16_001))
        stats = client.stats()
        assert (stats.accepted, stats.sent, stats.frames, stats.buffered) == (16_000, 16_000, 16_000, 0)
        assert stats.bytes == sum(map(len, client.sender.frames))


class Refusing(MemorySender):
    """Takes no frame of an event that says so."""

    nonblocking = True
    concurrent = True

    def send(self, frame: bytes) -> None:
        if b"refuse" in frame:
            raise OSError("refused")
        super().send(frame)


def test_without_a_flush_interval_what_is_refused_is_counted_and_told_with_the_next() -> None:
    with MetlogClient.from_config({"sender": Refusing(), "buffer": {"flush_interval": 0}}) as client:
        for word in ("kept", "refuse", "kept", "kept"):
            client.log(word)
        stats = client.stats()
        assert (stats.accepted, stats.sent, stats.dropped) == (4, 3, {"send_error": 1})
        found = [event.type for frame in client.sender.frames for event in client.encoder.decode(frame)]
        assert found == ["kept", "kept", "metlog.report", "kept"]


def test_without_a_flush_interval_a_child_counts_from_zero() -> None:
    with MetlogClient.from_config("memory:", buffer={"flush_interval": 0}) as client:
        client.log("mine")
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                client.log("theirs")
                stats = client.stats()
                status = 0 if (stats.accepted, stats.sent, stats.frames) == (1, 1, 1) else 2
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        assert client.stats().sent == 1


def test_a_subclass_of_a_concurrent_sender_is_not_one_unless_it_says_so() -> None:
    class Mine(MemorySender): ...

    assert MemorySender.concurrent
    assert not Mine.concurrent
    with MetlogClient.from_config({"sender": Mine(), "buffer": {"flush_interval": 0}}) as client:
        client.log("a")
        assert client.stats().sent == 1


def test_merged_fields_follow_what_they_are_merged_of(client: MetlogClient) -> None:
    tags = ["a"]
    bound = client.bind(shop="a", tags=tags)
    again = bound.bind(shop="b")
    for _ in range(2):
        bound.log("one")
        tags.append("b")
        with metlog.context(request="r1"):
            again.log("two", "text", n=1)
            bound.log("three", fields={"request": "mine"})
    found = [event.fields for event in events(client)]
    client.configure("memory:", fields={"zone": "z"}, buffer={"flush_interval": 60})
    bound.log("one")
    found += [event.fields for event in events(client)]
    assert found == [
        {"shop": "a", "tags": ["a"]},
        {"request": "r1", "shop": "b", "tags": ["a", "b"], "n": 1},
        {"request": "mine", "shop": "a", "tags": ["a", "b"]},
        {"shop": "a", "tags": ["a", "b"]},
        {"request": "r1", "shop": "b", "tags": ["a", "b", "b"], "n": 1},
        {"request": "mine", "shop": "a", "tags": ["a", "b", "b"]},
        {"zone": "z", "shop": "a", "tags": ["a", "b", "b"]},
    ]


def test_a_field_of_the_call_is_looked_at_where_those_around_it_are_known(client: MetlogClient) -> None:
    bound = client.bind(shop="a", n=1)
    bound.log("a", fields={"x": math.nan})
    bound.log("a", fields={"n": 2**70})
    bound.log("a", fields={1: "one", "1": "two"})
    first, second, third = events(client)
    assert first.fields["x"] is None
    assert "metlog.repaired" in first.fields
    assert "metlog.repaired" in second.fields
    assert "metlog.repaired" in third.fields


@pytest.mark.untraced  # it starts a thread for every example
@example(
    sizes=[0, 32, 256], frame=706, nested=3
)  # the length of MessagePack's array, of events that were encoded one by one
@given(sizes=st.lists(st.integers(0, 3000), max_size=200), frame=st.integers(64, 9000), nested=st.integers(0, 3))
@pytest.mark.parametrize("encoder", ["json", "msgpack"])
def test_frames_hold_every_event_once_in_order_and_their_limit(
    encoder: str, sizes: list[int], frame: int, nested: int
) -> None:
    buffer = {"flush_interval": 60, "max_frame": frame}
    with MetlogClient.from_config("memory:", encoder=encoder, buffer=buffer) as client:
        for number, size in enumerate(sizes):
            client.log("a", "x" * size, fields={"n": [number] if nested and number % nested == 0 else number})
        found = events(client)
        assert [event.seq for event in found] == list(range(1, len(sizes) + 1))
        assert [len(event.payload) for event in found] == sizes
        for each in client.sender.frames:
            assert len(each) <= frame or len(client.encoder.decode(each)) == 1


def test_frames_are_filled(client: MetlogClient) -> None:
    for _ in range(2000):
        client.log(("login", "sync"), "user logged in", fields={"user": "u1", "path": "/a/b", "ms": 12.5})
    client.flush(5)
    frames = client.sender.frames
    assert sum(map(len, frames)) / len(frames) > 0.85 * 8192


def test_a_report_of_drops_comes_with_the_next_frame_that_is_sent() -> None:
    with MetlogClient.from_config("memory:", buffer={"flush_interval": 60}) as client:
        sender: MemorySender = client.sender
        real, sender.send = sender.send, lambda frame: (_ for _ in ()).throw(OSError("gone"))  # type: ignore[method-assign, assignment]
        client.log("lost")
        client.flush(5)
        sender.send = real  # type: ignore[method-assign]
        client.log("kept")
        client.flush(5)
        found = events(client)
        assert [event.type for event in found] == ["kept", "metlog.report"]
        assert found[1].fields == {"dropped": {"send_error": 1}}
        stats = client.stats()
        assert (stats.accepted, stats.sent, stats.dropped) == (2, 1, {"send_error": 1})


def test_where_threads_do_not_run_the_caller_sends_what_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", types.SimpleNamespace(has_threads=0))
    with MetlogClient.from_config("memory:", buffer={"flush_interval": 0.05}) as client:
        before = threading.active_count()
        client.log("first")
        assert threading.active_count() == before
        assert client.sender.frames == type(client.sender.frames)()
        threading.Event().wait(0.06)
        client.log("second")
        assert [event.type for frame in client.sender.frames for event in client.encoder.decode(frame)] == [
            "first",
            "second",
        ]


class Interrupting:
    """Raises what is not an Exception, in the middle of a frame."""

    max_frame = 8192
    nonblocking = True

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.interrupt = False

    def send(self, frame: bytes) -> None:
        if self.interrupt:
            self.interrupt = False
            raise KeyboardInterrupt
        self.frames.append(frame)

    def flush(self) -> None: ...

    def close(self) -> None: ...


def test_an_interrupt_in_the_middle_of_a_frame_is_the_applications_and_is_counted() -> None:
    from metlog.config import plan
    from metlog.plugins import Component

    sender = Interrupting()
    made = plan({"sender": "memory:", "buffer": {"flush_interval": 60}})
    made.sender = Component("sender", "test", "sender", lambda: sender, {})
    client = MetlogClient().install(made)
    sender.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        any(client.log("a", "x" * 200) for _ in range(200))  # type: ignore[func-returns-value]
    while client.stats().accepted < 200:
        client.log("a", "x" * 200)
    assert client.flush(5)
    stats = client.stats()
    assert stats.accepted == 200
    assert stats.buffered == 0
    assert stats.sent + stats.dropped["send_error"] == 200
    client.close()
