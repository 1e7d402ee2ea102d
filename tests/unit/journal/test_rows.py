"""The event's shape is declared once, in `metlog.event`: everything that checks, stores or shows it has the same fields."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from msgspec import NODEFAULT, UNSET, structs

from metlog.event import Event
from metlog.journal.routing import Route
from metlog.journal.rows import FIRST, LAST, Row, correct, decode
from metlog.journal.segment import Clock, Record
from metlog.lake.columns import COLUMNS
from metlog.lake.schema import SCHEMA, tables

NAMES = [field.name for field in structs.fields(Event)]


def test_a_row_has_the_fields_of_an_event_with_their_types_bounds_and_defaults() -> None:
    rows = {field.name: field for field in structs.fields(Row)}
    assert list(rows) == NAMES
    for field in structs.fields(Event):
        row = rows[field.name]
        if field.name == "timestamp":
            assert row.default is UNSET
            continue
        assert row.type == field.type
        if field.name == "type":
            assert row.required
        elif row.default is not NODEFAULT:
            assert row.default == (field.default if field.default is not NODEFAULT else field.default_factory())


def test_the_columns_begin_with_the_fields_of_an_event() -> None:
    assert SCHEMA.names[: len(NAMES)] == NAMES
    assert list(COLUMNS)[: len(NAMES)] == NAMES


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timestamp", "2026-01-01T00:00:00"), ("type", None), ("severity", 8), ("severity", -1), ("weight", 0), ("weight", -1),
        ("pid", -1), ("pid", 2**63), ("seq", 2**63), ("seq", -1), ("tokens", "a"), ("fields", []),
    ],
)  # fmt: skip
def test_what_an_event_refuses_a_row_refuses(field: str, value: Any) -> None:
    line = msgspec.json.encode({"type": "a", field: value})
    for kind in (Event, Row):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(line, type=kind)


def test_an_event_is_the_same_as_a_row() -> None:
    event = Event(
        timestamp=datetime(2026, 5, 1, tzinfo=UTC), type="a", tokens=("x",), logger="l", severity=3, payload="p", fields={"n": 1},
        weight=2.0, pid=3, hostname="h", stream="s", seq=4,
    )  # fmt: skip
    (row,) = decode(msgspec.json.encode(event))
    assert structs.asdict(row) == structs.asdict(event)


@pytest.mark.parametrize(
    ("time", "nearest"), [("0001-01-01T00:00:00+14:00", FIRST), ("9999-12-31T23:59:59.999999-12:00", LAST)]
)
@pytest.mark.parametrize("clock", [Clock(), Clock(10**12, 10**12)], ids=["no claim is believed", "every claim is"])
def test_a_time_that_utc_cannot_say_is_the_nearest_that_it_can(time: str, nearest: int, clock: Clock) -> None:
    now = 1_790_000_000_000_000
    line = msgspec.json.encode({"type": "a", "timestamp": time}) + b"\n"
    (row,) = decode(line)
    expected = (nearest, None) if clock.past > Clock().past else (now, nearest)
    assert correct(row.timestamp, now, clock) == expected
    (table,) = tables([Record(0, 0, now, 1, "s", "", line)], clock, Route())
    columns = [table["timestamp"], table["claimed_timestamp"]]
    assert tuple(column.cast("int64").to_pylist()[0] for column in columns) == expected
