"""Journal records as columns: whatever way the times are read, they are those that `correct` gives."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog.journal.routing import Route
from metlog.journal.rows import correct, decode, micros
from metlog.journal.segment import Clock, Record
from metlog.lake.schema import tables

NOW = micros(datetime(2026, 11, 25, 12, tzinfo=UTC))
CLOCK = Clock(past=3600, future=60)


def record(
    lines: list[bytes], source: str = "udp://192.0.2.1:1", received_at: int = NOW, count: int | None = None
) -> Record:
    return Record(
        0, 0, received_at, len(lines) if count is None else count, source, "", b"".join(line + b"\n" for line in lines)
    )


def event(timestamp: str | None, **more: object) -> bytes:
    fields = {"type": "t", **more} if timestamp is None else {"timestamp": timestamp, "type": "t", **more}
    return json.dumps(fields).encode()


def rows(*records: Record, route: Route = Route(), size: int = 3000) -> list[dict]:  # noqa: B008
    return [row for table in tables(records, CLOCK, route, rows=size) for row in table.to_pylist()]


def as_corrected(line: bytes, received_at: int = NOW) -> tuple[int, int | None]:
    return correct(decode(line)[0].timestamp, received_at, CLOCK)


def stored(row: dict) -> tuple[int, int | None]:
    claim = row["claimed_timestamp"]
    return micros(row["timestamp"]), None if claim is None else micros(claim)


USUAL = [
    "2026-11-25T11:59:59.123456Z",
    "2026-11-25T12:00:00Z",
    "2026-11-25T13:00:00.5+01:00",
    "2026-11-25T11:00:01-00:30",
]
WRONG_CLOCK = [
    "2026-11-25T10:59:59Z",
    "2026-11-25T12:01:01Z",
    "1969-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z",
]
UNUSUAL = ["2026-11-25t11:59:58z", "2026-11-25T11:59:57.123456789Z", "2026-11-25 11:59:56Z"]


@pytest.mark.parametrize("form", [None, *USUAL, *WRONG_CLOCK, *UNUSUAL])
def test_a_time_of_every_form_is_the_one_that_the_door_understood(form):
    line = event(form)
    assert [stored(row) for row in rows(record([line]))] == [as_corrected(line)]


@given(st.lists(st.sampled_from([None, *USUAL, *WRONG_CLOCK, *UNUSUAL]), min_size=1, max_size=12), st.integers(1, 12))
def test_forms_may_be_mixed_within_a_piece(forms, size):
    lines = [event(form) for form in forms]
    records = [record([line], received_at=NOW + n) for n, line in enumerate(lines)]
    assert [stored(row) for row in rows(*records, size=size)] == [
        as_corrected(line, NOW + n) for n, line in enumerate(lines)
    ]


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), st.integers(-720, 720))
def test_any_instant_in_any_zone_is_kept(moment, offset):
    zone = f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02d}:{abs(offset) % 60:02d}"
    line = event(f"{moment.isoformat(timespec='microseconds')}{zone}")
    claim = micros(moment.replace(tzinfo=UTC) - timedelta(minutes=offset))
    (row,) = rows(record([line], received_at=claim))
    assert stored(row) == (claim, None)


@pytest.mark.parametrize("forms", [USUAL, UNUSUAL], ids=["together", "one-by-one"])
def test_each_event_keeps_what_its_record_says(forms):
    records = [record([event(form, seq=n)] * (n + 1), f"udp://192.0.2.{n}:1", NOW + n) for n, form in enumerate(forms)]
    found = [(row["seq"], row["source"], micros(row["received_at"])) for row in rows(*records)]
    assert found == [(n, f"udp://192.0.2.{n}:1", NOW + n) for n in range(len(forms)) for _ in range(n + 1)]


@pytest.mark.parametrize("forms", [USUAL, UNUSUAL], ids=["together", "one-by-one"])
def test_a_route_takes_whole_rows(forms):
    lines = [event(form, type="wanted" if n % 2 else "other", seq=n) for n, form in enumerate(forms)]
    found = rows(*(record([line], f"s{n}", NOW + n) for n, line in enumerate(lines)), route=Route(types=("wanted",)))
    assert [(row["seq"], row["source"]) for row in found] == [(n, f"s{n}") for n in range(len(lines)) if n % 2]
    assert [stored(row) for row in found] == [as_corrected(line, NOW + n) for n, line in enumerate(lines) if n % 2]


@pytest.mark.parametrize("wrong", [b'{"type":"t","severity":9}', b'{"type":"t","timestamp":"noon"}', b"not JSON"])
def test_a_line_that_another_release_took_is_told_and_keeps_nothing_back(wrong):
    good = [event(form, seq=n) for n, form in enumerate(USUAL)]
    bad: list[tuple[bytes, str, str]] = []
    records = [record(good[:2], "first"), record([wrong, good[2]], "second"), record(good[3:], "third")]
    found = [row for table in tables(records, CLOCK, Route(), bad=bad) for row in table.to_pylist()]
    assert [(row["seq"], row["source"]) for row in found] == [(0, "first"), (1, "first"), (2, "second"), (3, "third")]
    assert [stored(row) for row in found] == [as_corrected(line) for line in good]
    assert [(line, source) for line, source, _ in bad] == [(wrong, "second")]
