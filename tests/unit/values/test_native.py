"""Whatever an event holds, a receiver takes what the encoders write of it, and the time is the moment that it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metlog.encoders.json import JsonEncoder
from metlog.encoders.msgpack import MsgpackEncoder
from metlog.encoders.signed import SignedEncoder
from metlog.encoders.text import TextEncoder
from metlog.event import MAX_WEIGHT, Event
from metlog.listener.validate import validate
from metlog.values import MARK, is_proper

KEY = "k" * 32
ENCODERS: dict[str, Any] = {
    "json": JsonEncoder(),
    "msgpack": MsgpackEncoder(),
    "signed": SignedEncoder(key=KEY),
    "signed msgpack": SignedEncoder(key=KEY, encoder="msgpack"),
}


class Nowhere(tzinfo):
    """Says no offset, or raises."""

    def __init__(self, offset: Any = None) -> None:
        self._offset = offset

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        if self._offset is not None:
            raise self._offset
        return None

    def dst(self, when: datetime | None) -> None:
        return None

    def tzname(self, when: datetime | None) -> str:
        return "nowhere"


TEXTS = st.text(st.characters(), max_size=8) | st.sampled_from(["\ud800", "a\x00b", "\ufeff", "\u2028", "\n"])
NUMBERS = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.sampled_from([MAX_WEIGHT, 1e15 + 1, 1e16, 5e-324, 2**63, 2**63 - 1, 2**64 - 1, 10**400]),
)
ZONES = st.one_of(
    st.none(),
    st.just(UTC),
    st.timezones(),
    st.timedeltas(min_value=timedelta(hours=-23), max_value=timedelta(hours=23)).map(timezone),
    st.sampled_from([Nowhere(), Nowhere(RuntimeError("no"))]),
)
TIMES = st.one_of(
    st.datetimes(timezones=st.one_of(st.none(), st.timezones()), allow_imaginary=True),
    st.builds(
        lambda time, zone: time.replace(tzinfo=zone),
        st.datetimes() | st.sampled_from([datetime.min, datetime.max]),
        ZONES,
    ),
)
VALUES = st.recursive(
    st.one_of(st.none(), NUMBERS, TEXTS, TIMES, st.binary(max_size=5), st.decimals(), st.timedeltas(), st.uuids()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.dictionaries(st.one_of(TEXTS, st.integers(), st.none(), st.booleans(), st.floats()), inner, max_size=3),
    ),
    max_leaves=6,
)


def mostly(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of the right type three times of four, so that events come whose every field is."""
    return st.integers(0, 3).flatmap(lambda turn: usual if turn else VALUES)


EVENTS = st.builds(
    Event,
    timestamp=mostly(TIMES),
    type=mostly(TEXTS),
    tokens=mostly(st.lists(mostly(TEXTS), max_size=3).map(tuple)),
    logger=mostly(TEXTS),
    severity=mostly(st.integers(-1, 8)),
    payload=mostly(TEXTS),
    fields=mostly(st.dictionaries(TEXTS, VALUES, max_size=3)),
    weight=mostly(NUMBERS),
    env_version=mostly(TEXTS),
    pid=mostly(NUMBERS),
    hostname=mostly(TEXTS),
    stream=mostly(TEXTS),
    seq=mostly(NUMBERS),
)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(event=EVENTS)
def test_what_the_encoders_write_is_taken_by_every_receiver(event: Event) -> None:
    for name, encoder in ENCODERS.items():
        frame = encoder.frame([encoder.encode(event)])
        (found,) = encoder.decode(frame)
        assert validate(frame).invalid == [], name
        if is_proper(event):  # nothing of the envelope is changed
            assert found.timestamp == event.timestamp
            assert (found.weight, found.pid, found.seq) == (event.weight, event.pid, event.seq)
    assert TextEncoder().encode(event).decode()


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("weight", [MAX_WEIGHT, 5e-324, 1e15 + 1, 1e16, float("inf"), float("nan"), 0.0, -1.0])
def test_a_weight_is_written_up_to_what_a_receiver_takes(name: str, weight: float) -> None:
    encoder = ENCODERS[name]
    (found,) = encoder.decode(encoder.frame([encoder.encode(Event(type="a", weight=weight))]))
    if 0 < weight <= MAX_WEIGHT:
        assert (found.weight, found.fields) == (weight, {})
    else:
        assert (found.weight, found.fields) == (1.0, {MARK: ["weight: not a number above 0 and up to 1e+15; became 1"]})


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(
    ("time", "written"),
    [
        (datetime(2026, 5, 9, 12, tzinfo=ZoneInfo("Europe/Berlin")), datetime(2026, 5, 9, 10, tzinfo=UTC)),
        (datetime(1880, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")), datetime(1879, 12, 31, 23, 6, 32, tzinfo=UTC)),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), datetime.min.replace(tzinfo=UTC)),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))), datetime.max.replace(tzinfo=UTC)),
    ],
    ids=["summer time", "an offset with seconds", "before the year 1", "after 9999"],
)
def test_a_time_with_any_offset_is_the_same_moment(name: str, time: datetime, written: datetime) -> None:
    encoder = ENCODERS[name]
    (found,) = encoder.decode(encoder.frame([encoder.encode(Event(type="a", timestamp=time))]))
    assert found.timestamp == written
    assert (MARK in found.fields) is (time.year in {1, 9999})


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("zone", [Nowhere(), Nowhere(RuntimeError("no"))], ids=["no offset", "raises"])
def test_a_time_whose_zone_says_no_offset_is_put_right(name: str, zone: tzinfo) -> None:
    encoder, before = ENCODERS[name], datetime.now(UTC)
    event = Event(type="a", timestamp=datetime(2026, 5, 9, 12, tzinfo=zone))
    (found,) = encoder.decode(encoder.frame([encoder.encode(event)]))
    local = datetime(2026, 5, 9, 12).astimezone(UTC)
    assert found.timestamp == local or found.timestamp >= before  # as one without a zone; else the time of encoding
