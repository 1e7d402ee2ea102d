"""The table "Values that JSON cannot say" of docs/encoders.md, row by row, on every encoder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
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
from tests.helpers.values import CASES, HUGE

PAGE = ROOT / "docs" / "encoders.md"
ENCODERS = {
    "json": JsonEncoder,
    "msgpack": MsgpackEncoder,
    "signed": lambda: SignedEncoder(key="k" * 32, encoder=MsgpackEncoder()),
}


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
    assert (found.type, found.tokens, found.severity, found.payload, found.weight) == ("5", ("a", "1"), 6, "x", 1.0)
    assert (found.pid, found.seq, found.fields["fields"]) == (0, 0, [1])
    assert datetime.now(UTC) - found.timestamp < timedelta(minutes=1)


VALUES = [value for cases in CASES.values() for value, _ in cases]


@given(st.lists(st.integers(0, len(VALUES) - 1), min_size=1, max_size=4), st.sampled_from(["json", "msgpack"]))
def test_values_of_the_table_together_in_calls(chosen: list[int], name: str) -> None:
    sender = MemorySender()
    with client_with(sender, encoder=ENCODERS[name]()) as client:  # type: ignore[operator]
        values = [VALUES[index] for index in chosen]
        client.log("t", fields={f"f{number}": value for number, value in enumerate(values)})
        client.log("t", fields={"all": values}, payload=values[0])
        client.info(values[0], values[-1])
        client.log((values[0], values[-1]))  # type: ignore[arg-type]
    stats = client.stats()
    assert stats.sent == stats.accepted == 4
    assert [event.type for event in sender.events][:2] == ["t", "t"]
