"""The members of an event's fields: one list for the search, the event's page and the facets, and what a search can ask for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog.web.conditions import Condition
from metlog.web.members import askable, flat, listed


def test_objects_are_their_members() -> None:
    fields = {
        "a": {"b": 1, "c": {"d": "x"}}, "e": " y", "f=g": 1, "h": None, "i": {}, "x.y": {"z": 2}, "": 3, "j": {"": 4}, "id": 2**60 + 1,
        "ms": 1e16, "n": {"n": {"n": {"n": {"n": 1}}}}, "two": "lines\r\n", "p|q": 5, "!r": 6, "s": "=t",
    }  # fmt: skip
    assert flat(fields) == [
        ("a.b", "1", True), ("a.c.d", "x", True), ("e", " y", False), ("f=g", "1", False), ("h", "null", False), ("i", "{}", True),
        ("x.y", '{"z":2}', True), ("", "3", False), ("j.", "4", False), ("id", "1152921504606846977", True),
        ("ms", "10000000000000000.0", True), ("n.n.n.n", '{"n":1}', True), ("two", "lines\r\n", False), ("p|q", "5", False),
        ("!r", "6", False), ("s", "=t", True),
    ]  # fmt: skip


def test_a_member_behind_another_one_is_not_asked_for() -> None:
    assert flat({"a.b": 1, "a": {"b": 2}}) == [("a.b", "1", True), ("a.b", "2", False)]


@pytest.mark.parametrize("name", ["a>b", "~", "a!b", " a", "a ", "", "a\nb", "!", "a|b"])
def test_a_name_that_no_condition_has(name: str) -> None:
    assert not askable(name)


def test_a_list_of_events_has_room_for_so_much_of_each() -> None:
    rows, left = listed({f"field{number}": "x" * 3000 for number in range(10)})
    assert (len(rows), left) == (6, 4)
    assert listed({"long": "x" * 5000}) == ([("long", "x" * 4000 + "…", False)], 0)
    assert listed({}) == ([], 0)


NAMES = st.text('ab.=<>!~| \\"', max_size=4)
VALUES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_what_is_asked_for_finds_the_event_and_its_opposite_does_not(fields: dict[str, Any]) -> None:
    fields = msgspec.json.decode(msgspec.json.encode(fields))
    for name, text, asked in flat(fields):
        if asked:
            assert Condition.parse(f"{name}={text}").holds(fields)
            assert not Condition.parse(f"!{name}={text}").holds(fields)
