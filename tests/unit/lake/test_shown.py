"""Results as people read them: digits, the order of an event's columns, Markdown and blocks."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from metlog.lake.columns import COLUMNS
from metlog.lake.export_text import markdown_rows, vertical_rows
from metlog.lake.shown import cut, fields_of, number, order, plural, shown, size
from metlog.lake.values import Column


@pytest.mark.parametrize(
    ("value", "kind", "name", "text"),
    [
        (16981, "BIGINT", "events", "16,981"),
        (16981, "BIGINT", "pid", "16981"),
        (16981, "BIGINT", "last_seq", "16981"),
        (-1234, "INTEGER", "x", "-1,234"),
        (27.2931, "DOUBLE", "ms", "27.29"),
        (51.649, "DOUBLE", "ms", "51.65"),
        (0.03125678, "DOUBLE", "ms", "0.03126"),
        (0.0, "DOUBLE", "ms", "0"),
        (1234567.891, "DOUBLE", "ms", "1,234,567.89"),
        (1e300, "DOUBLE", "ms", "1e+300"),
        (float("nan"), "DOUBLE", "ms", "nan"),
        (float("-inf"), "DOUBLE", "ms", "-inf"),
        (True, "BOOLEAN", "yes", "true"),
        (None, "BIGINT", "x", ""),
        ("1234", "VARCHAR", "x", "1234"),
        (Decimal("1.50"), "DECIMAL(9,2)", "x", "1.50"),
        (2**70, "HUGEINT", "x", f"{2**70:,}"),
        (datetime(2026, 3, 1, tzinfo=UTC), "TIMESTAMP WITH TIME ZONE", "t", "2026-03-01 00:00:00Z"),
    ],
)
def test_a_value_reads_the_same_everywhere(value: Any, kind: str, name: str, text: str) -> None:
    assert shown(value, Column(name, kind)) == text


def test_numbers_are_never_rounded_to_nothing() -> None:
    assert [number(value) for value in (0.0001, 0.99996, 1.0, -0.5, 1e15)] == [
        "0.0001",
        "1",
        "1",
        "-0.5",
        "1000000000000000.0",
    ]


def test_of_whole_events_the_columns_that_matter_come_first() -> None:
    columns = [Column(*pair) for pair in COLUMNS.items()]
    names = [columns[at].name for at in order(columns)]
    assert names[:7] == ["timestamp", "logger", "type", "severity", "payload", "fields", "tokens"]
    assert sorted(names) == sorted(COLUMNS)
    assert order(columns[:5]) == [0, 1, 2, 3, 4]
    assert order([*columns, Column("type", "VARCHAR")]) == list(
        range(len(columns) + 1)
    )  # of two with one name neither is moved


def test_what_is_no_object_has_no_members() -> None:
    column = Column("fields", "JSON")
    assert fields_of('{"a": [1], "b": null}', column) == {"a": [1], "b": None}
    assert [fields_of(value, column) for value in ("[1]", "{broken", None, "text")] == [None] * 4
    assert fields_of('{"a": 1}', Column("payload", "VARCHAR")) is None


COLUMNS_HERE = [Column("name|of", "VARCHAR"), Column("n", "BIGINT"), Column("fields", "JSON")]
ROWS = [("a|b\n<c> *d* _e_ `f` [g](h) \\", 1234567, '{"user":"u1","long name":[1,2]}'), (None, None, None)]


def test_markdown_holds_no_markup_of_a_value() -> None:
    file = io.BytesIO()
    assert markdown_rows(COLUMNS_HERE, ROWS, file) == 2
    assert file.getvalue().decode().splitlines() == [
        "| name\\|of | n | fields |",
        "| --- | ---: | --- |",
        '| a\\|b<br>&lt;c&gt; \\*d\\* \\_e\\_ \\`f\\` \\[g\\](h) \\\\ | 1234567 | {"user":"u1","long name":\\[1,2\\]} |',
        "|  |  |  |",
    ]


def test_a_block_a_row_lists_the_members_of_fields() -> None:
    file = io.BytesIO()
    assert vertical_rows(COLUMNS_HERE, [("one\ntwo", 1234567, '{"user":"u1","long name":"x\\ny"}')], file) == 1
    assert file.getvalue().decode().splitlines()[1:] == [
        "name|of  one",
        "         two",
        "n        1234567",
        "fields   user      = u1",
        "         long name = x y",
    ]
    empty = io.BytesIO()
    assert vertical_rows(COLUMNS_HERE, [], empty) == 0
    assert empty.getvalue() == b""


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (1024, "1.02 kB"), (999_499, "999 kB"), (999_999, "1 MB"),
        (1_234_567, "1.23 MB"), (99_960_000, "100 MB"), (8e10, "80 GB"), (5e15, "5,000 TB"),
    ],
)  # fmt: skip
def test_sizes_are_powers_of_a_thousand(count: float, text: str) -> None:
    assert size(count) == text


def test_one_of_a_thing_and_several() -> None:
    assert [plural(count, "event") for count in (0, 1, 1200)] == ["0 events", "1 event", "1,200 events"]


def test_a_cell_ends_somewhere() -> None:
    assert (len(cut("x" * 4000)), cut("x" * 4001)) == (4000, "x" * 4000 + "…")
