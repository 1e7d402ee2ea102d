"""The table "Values that JSON cannot say" of docs/encoders.md, row by row, on every encoder."""

from __future__ import annotations

import math
import re
import uuid
from collections import UserDict, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metlog.encoders.json import JsonEncoder
from metlog.encoders.msgpack import MsgpackEncoder
from metlog.encoders.signed import SignedEncoder
from metlog.event import Event
from metlog.senders.memory import MemorySender
from metlog.testing import client_with
from metlog.values import MARK
from tests.helpers.paths import ROOT

PAGE = ROOT / "docs" / "encoders.md"
ENCODERS = {
    "json": JsonEncoder,
    "msgpack": MsgpackEncoder,
    "signed": lambda: SignedEncoder(key="k" * 32, encoder=MsgpackEncoder()),
}


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    ONE = 1


class Name(str):
    __slots__ = ()


@dataclass
class Point:
    x: int
    y: float


class Struct(msgspec.Struct):
    a: int


class Plain:
    def __repr__(self) -> str:
        return "plain" * 400


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Parsed(int):
    pass


def looped() -> dict[str, Any]:
    inner: dict[str, Any] = {"kept": 1}
    inner["again"] = [inner]
    return inner


def nested(levels: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(levels - 1):
        inner = [inner]
    return inner


def raised() -> ExceptionGroup[Exception]:
    try:
        try:
            raise KeyError("cause")
        except KeyError as cause:
            secret = "local variable"  # noqa: F841 - must not be shown
            raise ExceptionGroup("group", [ValueError("one"), TypeError("two")]) from cause
    except ExceptionGroup as error:
        return error


def traceback(text: Any) -> bool:
    return all(word in text for word in ("KeyError: 'cause'", "ExceptionGroup: group", "ValueError: one", "TypeError: two")) \
        and "local variable" not in text.replace('secret = "local variable"', "")  # fmt: skip


HUGE = "an integer beyond 64 bits (below -2**63 or above 2**64 - 1)"
CASES: dict[str, list[tuple[Any, Any]]] = {
    "NaN, infinity": [(math.nan, None), (-math.inf, None), ([1, {"a": math.inf}], [1, {"a": None}]), ({"a": (math.nan,)}, {"a": [None]})],
    HUGE: [
        (2**64, str(2**64)), (-(2**63) - 1, str(-(2**63) - 1)), ([2**70], [str(2**70)]), ({"a": {"b": 2**70}}, {"a": {"b": str(2**70)}}),
    ],
    "a lone surrogate, in text or in a key": [("\ud800x", "\\ud800x"), ({"\udfff": 1}, {"\\udfff": 1})],
    "`bytes`, `bytearray`, `memoryview`": [(b"\xff\x00", "/wA="), (bytearray(b"a"), "YQ=="), (memoryview(b"x"), "eA==")],
    "`tuple`, `set`, `frozenset`, `range` and other collections": [
        ((1, "a"), [1, "a"]), ({1}, [1]), (frozenset("a"), ["a"]), (range(3), [0, 1, 2]),
        (deque([1]), [1]), (UserDict(a=1), {"a": 1}), ({}.keys(), []),
    ],
    "`datetime`": [
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
        (datetime(2026, 1, 1, 0, 0, 0, 5, timezone(timedelta(hours=2))), "2026-01-01T00:00:00.000005+02:00"),
        (datetime(2026, 1, 1), "2026-01-01T00:00:00"),
    ],
    "`date`, `time`, `timedelta`": [(date(2026, 1, 1), "2026-01-01"), (time(12, 30), "12:30:00"), (timedelta(1, 1), "P1DT1S")],
    "`Decimal`, `Fraction`, `complex`, `UUID`, IP address, path": [
        (Decimal("1.50"), "1.50"), (Decimal("NaN"), "NaN"), (Fraction(1, 3), "1/3"), (1 + 2j, "(1+2j)"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"), (ip_address("2001:db8::1"), "2001:db8::1"),
        (PurePosixPath("/a/b"), "/a/b"),
    ],
    "`Enum`; a subclass of `str`, `int`, `float`": [(Colour.RED, "red"), (Level.ONE, 1), (Name("n"), "n"), (Parsed(5), 5)],
    "dataclass, `msgspec.Struct`, attrs class": [(Point(1, 2.5), {"x": 1, "y": 2.5}), (Struct(a=1), {"a": 1})],
    "exception": [(ValueError("x"), "ValueError: x"), (raised(), traceback)],
    "a key that is a number, bytes, a date or an `Enum`": [
        ({1: 2}, {"1": 2}), ({1.5: 2}, {"1.5": 2}), ({b"x": 1}, {"eA==": 1}), ({date(2026, 1, 1): 1}, {"2026-01-01": 1}),
        ({Colour.RED: 1}, {"red": 1}),
    ],
    "a key that is None, True or False": [({None: 1}, {"null": 1}), ({True: 1}, {"true": 1}), ({False: 1}, {"false": 1})],
    "a key of any other type": [({(1, 2): 3}, {"[1, 2]": 3})],
    "a structure that holds itself": [(looped(), {"kept": 1, "again": ["<circular>"]})],
    "nesting that no encoder can write (about 1,000 levels)": [
        (nested(20_000), lambda v: re.fullmatch(r"\[{60,64}'<too deep>'\]{60,64}", repr(v)))
    ],
    "any other object": [(Plain(), ("plain" * 400)[:1000]), (len, "<built-in function len>")],
    "an object whose `repr` raises": [
        (Broken(), lambda v: re.fullmatch(r"<[\w.]+\.Broken>", v)), ([Broken()], lambda v: re.fullmatch(r"<[\w.]+\.Broken>", v[0])),
    ],
}  # fmt: skip


def rows() -> dict[str, bool]:
    """First cell and last cell of each row of the table."""
    text = PAGE.read_text("utf-8").partition("## Values that JSON cannot say")[2]
    table = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0]: {"yes": True, "no": False}[cells[2]] for cells in table if cells[0] not in {"value", "---"}}


def test_every_row_of_the_table_has_its_cases() -> None:
    assert list(rows()) == list(CASES)


def read_back(name: str, event: Event) -> tuple[Event, int]:
    encoder: Any = ENCODERS[name]()
    (found,) = encoder.decode(encoder.frame([encoder.encode(event)]))
    return found, encoder.repaired


def parameters() -> list[Any]:
    found = []
    for row, cases in CASES.items():
        for number, (value, expected) in enumerate(cases):
            for name in ENCODERS:
                ident = f"{row[:24].strip()}-{number}-{name}"
                found.append(pytest.param(name, value, expected, row, id=ident))
    return found


@pytest.mark.parametrize(("name", "value", "expected", "row"), parameters())
def test_a_value_becomes_what_the_table_says_and_is_told(name: str, value: Any, expected: Any, row: str) -> None:
    event = Event(type="a", fields={"before": 1, "v": value, "after": "x"})
    found, repaired = read_back(name, event)
    made = found.fields["v"]
    assert expected(made) if callable(expected) else (made == expected and type(made) is type(expected))
    assert (found.fields["before"], found.fields["after"]) == (1, "x")
    assert repaired == rows()[row]
    told = found.fields.get(MARK, [])
    assert all(note.startswith("fields.v") for note in told)
    assert bool(told) == rows()[row]
    assert event.fields["v"] is value


@pytest.mark.parametrize("name", ["json", "msgpack"])
@pytest.mark.parametrize("flush_interval", [0.0, 60.0])
def test_the_client_says_the_same(name: str, flush_interval: float) -> None:
    """Its quick way, where events are encoded with their frame, leaves these values to the careful one."""
    sender = MemorySender()
    encoder: Any = ENCODERS[name]()
    with client_with(sender, encoder=encoder, flush_interval=flush_interval) as client:
        for row, cases in CASES.items():
            for number, (value, _) in enumerate(cases):
                client.log("case", f"{row} {number}", fields={"v": value})
                client.bind(v=value).log("case", f"{row} {number} bound")
    found = {event.payload: event.fields for event in sender.events}
    for row, cases in CASES.items():
        for number, (_, expected) in enumerate(cases):
            for fields in (found[f"{row} {number}"], found[f"{row} {number} bound"]):
                assert expected(fields["v"]) if callable(expected) else fields["v"] == expected, row
                assert (MARK in fields) == rows()[row], row
    assert encoder.repaired == 2 * sum(rows()[row] for row, cases in CASES.items() for _ in cases)


@pytest.mark.parametrize("value", [2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0, -1])
@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_integers_of_64_bits_stay_numbers(name: str, value: int) -> None:
    sender = MemorySender()
    with client_with(sender, encoder=ENCODERS[name]()) as client:  # type: ignore[operator]
        client.log("a", fields={"v": value, "deep": [value]})
    assert sender.events[0].fields == {"v": value, "deep": [value]}


@pytest.mark.parametrize("name", ENCODERS)
def test_text_shows_what_the_others_say(name: str) -> None:
    from metlog.encoders.text import TextEncoder

    encoder = TextEncoder(color="never")
    for row, cases in CASES.items():
        for value, _ in cases:
            line = encoder.encode(Event(type="a", payload="p", fields={"v": value})).decode()
            assert "v=" in line, row
    assert encoder.repaired == sum(rows()[row] for row, cases in CASES.items() for _ in cases)


class Case(NamedTuple):
    """Stands for a value of the table: hypothesis shows what it drew, and the `repr` of some of these raises."""

    row: str
    number: int

    def value(self) -> Any:
        return CASES[self.row][self.number][0]


def drawn(value: Any) -> Any:
    """What was drawn, with the values of the table in place of their cases."""
    if isinstance(value, Case):
        return value.value()
    if isinstance(value, list):
        return [drawn(item) for item in value]
    return {key: drawn(item) for key, item in value.items()} if isinstance(value, dict) else value


SMALL_CASES = [Case(row, number) for row, cases in CASES.items() if row != HUGE for number in range(len(cases))]
ANY_TEXT = st.text(st.characters(codec=None))  # lone surrogates too


def fields_of(leaves: Any) -> Any:
    keys = st.text() | st.integers() | st.none()
    nested = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
    )
    return st.dictionaries(st.text(), nested, max_size=4)


LEAVES = st.sampled_from(SMALL_CASES) | st.none() | st.booleans() | st.floats() | st.text() | ANY_TEXT | st.binary()


@given(fields=fields_of(LEAVES | st.integers(-(2**63), 2**64 - 1)), text=ANY_TEXT)
def test_whatever_the_values_all_encoders_carry_the_same_event(fields: dict[str, Any], text: str) -> None:
    same_on_all(drawn(fields), text)


@example(fields={"v": 2**70}, text="")
@given(fields=fields_of(LEAVES | st.integers()), text=ANY_TEXT)
def test_also_when_integers_are_huge(fields: dict[str, Any], text: str) -> None:
    same_on_all(drawn(fields), text)


def same_on_all(fields: dict[str, Any], text: str) -> None:
    event = Event(type="a", tokens=("a", text), payload=text, fields=fields)
    (one, told), *others = [read_back(name, event) for name in ENCODERS]
    assert told in {0, 1}
    for other, repaired in others:
        assert other == one
        assert repaired == told
    assert msgspec.json.decode(msgspec.json.encode(one), type=Event) == one  # nothing is left that JSON cannot say


@pytest.mark.parametrize("name", ENCODERS)
def test_the_envelope_is_treated_alike(name: str) -> None:
    odd: Any = Event(
        timestamp="yesterday", type=5, tokens=("a", 1), logger=None, severity=99, payload=b"x", fields=[1], weight=-1, pid="p", seq=2**80
    )  # fmt: skip
    found, repaired = read_back(name, odd)
    assert repaired == 1
    assert (found.type, found.tokens, found.severity, found.payload, found.weight) == ("5", ("a", "1"), 6, "eA==", 1.0)
    assert (found.pid, found.seq, found.fields["fields"]) == (0, 0, [1])
    assert datetime.now(UTC) - found.timestamp < timedelta(minutes=1)
