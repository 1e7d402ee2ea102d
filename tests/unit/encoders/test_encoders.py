from __future__ import annotations

import math
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog import MetlogClient
from metlog.encoders.json import JsonEncoder
from metlog.encoders.msgpack import MsgpackEncoder
from metlog.errors import DecodeError
from metlog.event import Event
from metlog.plugins import build

ENCODERS = [JsonEncoder, MsgpackEncoder]
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
EVENTS = st.builds(
    Event,
    timestamp=st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2100, 1, 1)).map(
        lambda t: t.replace(tzinfo=UTC)
    ),
    type=st.text(),
    tokens=st.lists(st.text(), max_size=4).map(tuple),
    logger=st.text(),
    severity=st.integers(0, 7),
    payload=st.text(),
    fields=st.dictionaries(st.text(), JSON_VALUES, max_size=5),
    weight=st.floats(min_value=0.001, max_value=1e9),
    pid=st.integers(0, 2**31),
    hostname=st.text(),
    stream=st.text(),
    seq=st.integers(0, 2**62),
)


@pytest.mark.parametrize("make", ENCODERS)
@given(events=st.lists(EVENTS, min_size=1, max_size=5))
def test_every_event_survives_encode_frame_decode(make: Any, events: list[Event]) -> None:
    encoder = make()
    assert encoder.decode(encoder.frame([encoder.encode(event) for event in events])) == events
    assert encoder.repaired == 0


@pytest.mark.slow
@given(events=st.lists(EVENTS, min_size=1, max_size=20))
def test_the_reference_implementation_reads_our_msgpack(events: list[Event]) -> None:
    encoder = MsgpackEncoder()
    frame = encoder.frame([encoder.encode(event) for event in events])
    found = msgpack.unpackb(frame, timestamp=3)
    found = found if isinstance(found, list) else [found]
    assert [item["timestamp"] for item in found] == [event.timestamp for event in events]
    assert [item["fields"] for item in found] == [event.fields for event in events]
    assert [item["seq"] for item in found] == [event.seq for event in events]


def test_a_msgpack_frame_written_by_the_reference_is_read() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    one = {"type": "a", "timestamp": moment, "tokens": ["a"]}
    for frame in (msgpack.packb(one, datetime=True), msgpack.packb([one, one], datetime=True)):
        assert {event.timestamp for event in MsgpackEncoder().decode(frame)} == {moment}


class Colour(Enum):
    RED = "red"


class Bad:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Chatty:
    def __repr__(self) -> str:
        client.log("inner", fields={"self": self})
        return "chatty"


client = MetlogClient.from_config("null:")
LOOP: list[Any] = []
LOOP.append(LOOP)
ODD: list[Any] = [
    math.nan, math.inf, -math.inf, [1, {"a": math.nan}], "\ud800", b"\xff\x00", {1, 2}, frozenset("a"), datetime(2026, 1, 1),
    datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1), timedelta(1), Decimal("1.5"), uuid.UUID(int=1), Colour.RED,
    ValueError("x"), ExceptionGroup("g", [ValueError("a"), KeyError("b")]), object(), Bad(), Chatty(), LOOP, {(1, 2): 3},
    {None: 1}, {1: {2: 3}}, memoryview(b"x"), range(3), lambda: 1, type, [[[[[[1]]]]]], {"a": {"b": Bad()}}, 1 + 2j,
]  # fmt: skip


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_what_json_cannot_say_is_made_sayable_on_both_encoders_alike(value: Any) -> None:
    event = Event(type="a", fields={"v": value, "kept": 1})
    found = []
    for make in ENCODERS:
        encoder = make()
        (decoded,) = encoder.decode(encoder.frame([encoder.encode(event)]))
        assert decoded.fields["kept"] == 1
        found.append(decoded.fields)
    assert repr(found[0]) == repr(found[1])


@pytest.mark.parametrize("value", [math.nan, math.inf, [math.nan], {"a": {"b": -math.inf}}])
@pytest.mark.parametrize("make", ENCODERS)
def test_numbers_that_are_none_are_marked_and_counted(make: Any, value: Any) -> None:
    encoder = make()
    (decoded,) = encoder.decode(encoder.frame([encoder.encode(Event(type="a", fields={"v": value}))]))
    assert encoder.repaired == 1
    assert "metlog.repaired" in decoded.fields


@pytest.mark.parametrize("value", [2**70, -(2**65), [2**70]])
@pytest.mark.parametrize("make", ENCODERS)
def test_huge_integers_keep_their_digits(make: Any, value: Any) -> None:
    encoder = make()
    (decoded,) = encoder.decode(encoder.frame([encoder.encode(Event(type="a", fields={"v": value}))]))
    shown = decoded.fields["v"]
    wanted = value[0] if isinstance(value, list) else value
    assert str(shown[0] if isinstance(shown, list) else shown) == str(wanted)


@pytest.mark.parametrize(
    "frame",
    [
        b"{", b"[]", b"{}", b'{"type":1}', b'{"type":"a","severity":9}', b'{"type":"a","weight":0}', b'{"type":"a","fields":[]}',
        b'{"type":"a","timestamp":"yesterday"}', b'{"type":"a","timestamp":"2026-01-01T00:00:00"}', b"\xff\xfe",
        b'{"type":"a"}\n{"type"', b'{"type":"\xff"}', b'{"type":"a","fields":{"n":1e999}}',
    ],
)  # fmt: skip
def test_a_bad_json_frame_is_a_decode_error_with_a_reason(frame: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        JsonEncoder().decode(frame)
    assert str(caught.value)


@given(frame=st.binary(max_size=200))
def test_no_bytes_make_a_decoder_raise_anything_else(frame: bytes) -> None:
    for make in ENCODERS:
        try:
            events = make().decode(frame)
        except DecodeError:
            continue
        assert all(isinstance(event, Event) for event in events)


def test_text_is_for_people_and_lets_no_control_character_through() -> None:
    encoder = build("encoder", {"name": "text", "color": "never"}, "encoder")
    event = Event(type="login", severity=3, payload="line\nbreak \x1b[31mred", fields={"user": "u\x07"})
    frame = encoder.frame([encoder.encode(event)])
    assert frame.count(b"\n") == 1
    assert b"\x1b" not in frame
    assert b"\x07" not in frame
    assert b"login" in frame
    with pytest.raises(DecodeError, match="people"):
        encoder.decode(frame)


def test_text_has_the_time_in_utc_whatever_its_offset() -> None:
    encoder = build("encoder", {"name": "text", "color": "never"}, "encoder")
    time = datetime(2026, 5, 9, 9, 35, 25, 123456, timezone(timedelta(hours=2)))
    assert encoder.encode(Event(type="login", timestamp=time)).startswith(b"2026-05-09T07:35:25.123Z ")


def test_signed_frames_are_taken_with_the_key_and_refused_otherwise() -> None:
    spec = {"name": "signed", "encoder": "json", "key": "k" * 32, "key_id": "a"}
    encoder = build("encoder", spec, "encoder")
    frame = encoder.frame([encoder.encode(Event(type="a"))])
    assert encoder.decode(frame)[0].type == "a"
    other = build("encoder", {**spec, "key": "x" * 32}, "encoder")
    for bad, judge in ((frame, other), (frame.replace(b'"a"', b'"b"', 1), encoder), (frame[:-3], encoder)):
        with pytest.raises(DecodeError):
            judge.decode(bad)
