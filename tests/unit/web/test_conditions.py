"""Conditions of a search: SQL and the live tail find the same events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog.lake.query import Lake
from metlog.web.conditions import Condition, Search, within
from metlog.web.errors import Refused
from tests.helpers.promoted import data_set
from tests.helpers.webdata import event, write

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIELDS: list[dict[str, Any]] = [
    {},
    {"user": "u1", "status": 200, "ms": 1.5},
    {"user": "u2", "status": 500, "ms": 15, "error": "TimeoutError"},
    {"user": "", "status": "404", "exception_type": "KeyError", "error": "other"},
    {"user": None, "success": False, "status": 503.0},
    {"a.b": "dotted", "a": {"b": "nested", "c": {"d": [1, 2]}}, "list": ["x", "y"]},
    {"a": {"b": "only nested"}, "success": True, "text": "Zürich 5xx"},
    {"user": 5, "ms": "5.0", "a|b": "a pipe"},
]
CONDITIONS = [
    "user", "!user", "user=u1", "!user=u1", "user!=u1", "user=", "user!=", "user~U", "status>=500", "!status>=500", "status<500",
    "status=5xx", "status=500", "status=503", "status=404", "ms=15", "ms>1.4", "ms=5", "user=5", "success=false", "success!=false",
    "success=true", "a.b=dotted", "a.b=nested", "a.b~nested", "a.c.d", "list~x", "exception_type|error=KeyError",
    "exception_type|error=TimeoutError", "!exception_type|error", "a|b=a pipe", "text=5xx", "text~5xx", "nothing", "!nothing",
]  # fmt: skip


def events() -> list[dict[str, Any]]:
    rows = []
    for number, fields in enumerate(FIELDS):
        more = {
            "type": ["login", "request", "oldstyle"][number % 3], "logger": ["shop", "bank", ""][number % 3], "severity": number % 8,
            "hostname": f"web-{number % 2}", "stream": f"s{number % 2}", "tokens": ["a", "b"][: number % 3], "payload": f"Message {number}",
        }  # fmt: skip
        rows.append(event(number + 1, NOW - timedelta(seconds=number), fields=fields, **more))
    return rows


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    data: Path = tmp_path_factory.mktemp("data")
    write(data, events())
    with Lake(data) as made:
        yield made


def found(lake: Lake, search: Search) -> list[int]:
    where, values = search.where()
    return [
        row[0] for row in lake.query(f"SELECT seq FROM events WHERE {' AND '.join(where)} ORDER BY seq", values).rows
    ]


def taken(search: Search) -> list[int]:
    rows = [{**row, "fields": msgspec.json.decode(row["fields"])} for row in events()]
    return [row["seq"] for row in rows if search.takes(row)]  # type: ignore[arg-type]


@pytest.mark.parametrize("text", CONDITIONS)
def test_a_field_is_compared_alike_in_sql_and_in_the_tail(lake: Lake, text: str) -> None:
    search = Search.parse([("field", text)])
    assert found(lake, search) == taken(search)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("status=5xx", [3, 5]), ("!status=5xx", [1, 2, 4, 6, 7, 8]), ("user", [2, 3, 4, 8]), ("!user", [1, 5, 6, 7]),
        ("exception_type|error=KeyError", [4]), ("exception_type|error=other", []), ("a|b=a pipe", [8]), ("a.b", [6, 7]),
    ],
)  # fmt: skip
def test_what_a_condition_means(lake: Lake, text: str, wanted: list[int]) -> None:
    assert found(lake, Search.parse([("field", text)])) == wanted


@pytest.mark.parametrize(
    ("pairs", "wanted"),
    [
        ([("type", "log line")], [3, 6]),
        ([("type", "oldstyle")], [3, 6]),
        ([("logger", "(no name)")], [3, 6]),
        ([("not_logger", "(no name)"), ("not_type", "login")], [2, 5, 8]),
        ([("not_type", "login"), ("not_type", "log line")], [2, 5, 8]),
        ([("token", "b")], [3, 6]),
        ([("not_token", "a")], [1, 4, 7]),
        ([("severity", "error")], [1, 2, 3, 4]),
        ([("severity", "3")], [1, 2, 3, 4]),
        ([("severities", "warning,debug")], [5, 8]),
        ([("host", "web-1"), ("stream", "s1")], [2, 4, 6, 8]),
        ([("q", "MESSAGE 3")], [4]),
        ([("q", "zürich")], [7]),
        ([("type", ""), ("type", "login"), ("type", "")], [1, 4, 7]),
        ([("logger", "shop"), ("logger", "bank")], [2, 5, 8]),
    ],
)
def test_columns_are_compared_alike_in_sql_and_in_the_tail(
    lake: Lake, pairs: list[tuple[str, str]], wanted: list[int]
) -> None:
    search = Search.parse(pairs)
    assert found(lake, search) == wanted
    assert taken(search) == wanted


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([("field", "=")], "field = '='"),
        ([("field", "!")], "field = '!'"),
        ([("field", "ms>fast")], "> compares numbers, and 'fast' is none"),
        ([("severity", "8")], "severity = '8': wants emergency, alert"),
        ([("severities", "error,bad")], "severities = 'bad'"),
        ([("field", f"f{number}") for number in range(65)], "65 conditions"),
    ],
)
def test_what_is_no_condition_is_refused_by_name(pairs: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(Refused) as refused:
        Search.parse(pairs)
    assert words in refused.value.message


def test_the_conditions_are_a_url_again() -> None:
    pairs = [
        ("type", "a"),
        ("not_type", "b"),
        ("not_type", "c"),
        ("q", " x "),
        ("field", "u=1"),
        ("since", "7d"),
        ("after", "z"),
    ]
    search = Search.parse(pairs)
    assert search.pairs == [("q", "x"), ("type", "a"), ("not_type", "b"), ("not_type", "c"), ("field", "u=1")]
    assert Search.parse(search.pairs).where() == search.where()


def test_a_name_with_dots_is_a_name_first() -> None:
    assert within({"a.b": 1, "a": {"b": 2}}, "a.b") == 1
    assert within({"a": {"b": {"c": 3}}}, "a.b.c") == 3
    assert within({"a": "text"}, "a.b") is None
    assert Condition.parse("a.b=x").names == ("a.b",)


NUMBERS: list[dict[str, Any]] = [
    {"user": "007", "ms": 5.0, "id": 1234567890123456789, "a": {"b": 15.0}},
    {"user": 7, "ms": "1e3", "id": 1234567890123456790, "a.b": "15.0"},
    {"user": "1_000", "ms": "inf", "id": 9007199254740993, "a": {"b": "15.0"}},
    {"user": "infinity", "ms": 1e16, "id": 9007199254740992, "error": 15, "late": None},
    {"user": "1000", "ms": "nan", "error": 15.0, "late": "15.0"},
    {"user": 1000.0, "ms": "5.0", "late": True},
]


@pytest.fixture(scope="module", params=["in columns of their own", "in fields alone"])
def numbers(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Lake]:
    names = ["user", "ms", "id", "error", "late", "a.b"] if request.param == "in columns of their own" else None
    data = data_set(tmp_path_factory.mktemp("numbers"), [[NUMBERS[:4]], [NUMBERS[4:]]], names)
    with Lake(data) as made:
        yield made


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("id=1234567890123456789", [1]), ("id=9007199254740992", [4]), ("id=9007199254740993", [3]), ("user=1000", [5, 6]),
        ("user!=1000", [1, 2, 3, 4]), ("user=7", [2]), ("user=007", [1]), ("user=1_000", [3]), ("user=inf", []), ("user=infinity", [4]),
        ("ms=1000", []), ("ms=1e3", [2]), ("ms=5", [1]), ("ms=5.00", [1]), ("ms=5.0", [1, 6]), ("ms!=5", [2, 3, 4, 5, 6]), ("ms=nan", [5]),
        ("ms=10000000000000000.0", [4]), ("a.b=15", [1]), ("a.b=15.0", [1, 2, 3]), ("late|error=15", [4]), ("late|error=15.0", [4, 5]),
        ("late=1", []), ("late=true", [6]), ("ms>5", [2, 3, 4, 5]), ("ms<=5", [1, 6]), ("user>999", [3, 4, 5, 6]), ("id>1e18", [1, 2]),
        ("a.", []), (".a", []),
    ],
)  # fmt: skip
def test_a_number_is_found_as_a_number_and_a_text_as_a_text(numbers: Lake, text: str, wanted: list[int]) -> None:
    search = Search.parse([("field", text)])
    assert [number for number, fields in enumerate(NUMBERS, 1) if search.fields[0].holds(fields)] == wanted
    assert found(numbers, search) == wanted


NAMES = st.sampled_from(["a", "b", "a.b", "a.", "x y", 'q"', "\\", "*", "$", "c|d", "0"])
TEXTS = st.sampled_from(
    [
        "",
        "5",
        "5.0",
        "05",
        "-5",
        "+5",
        "1e3",
        "1000",
        "1_000",
        " 5",
        "5 ",
        "\u0665",
        "inf",
        "-Infinity",
        "nan",
        "1e999",
        "true",
        "null",
        "x=y",
        "5xx",
    ]
) | st.text("a5.-e_ \u0660", max_size=4)
WHOLE = st.integers(-20, 20) | st.sampled_from(
    [2**53 - 1, 2**53, 2**53 + 1, -(2**53), 2**63, 2**64 - 1, 10**18, 10**18 + 1, 10**30, 10**400, 200, 500, 1000]
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [5.0, -0.0, 0.5, 1e15, 1e16, 1.5e17, 1e20, 1e21, 1e22, 1e-5, 9.9e-6, 1e-6, 1e-7]
)
PLAIN = st.none() | st.booleans() | TEXTS | WHOLE | FLOATS
VALUES = PLAIN | st.dictionaries(NAMES, PLAIN, max_size=2) | st.lists(WHOLE, max_size=2)
EVENTS = st.lists(st.dictionaries(NAMES, VALUES, max_size=4), min_size=1, max_size=8)
OPERATORS = st.sampled_from(["=", "!=", "~", ">", ">=", "<", "<="])


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        yield made


@pytest.mark.slow
@given(EVENTS, NAMES, OPERATORS, TEXTS | (WHOLE | FLOATS).map(str), st.booleans())
def test_sql_and_the_tail_find_the_same_whatever_the_value(
    engine: duckdb.DuckDBPyConnection,
    events: list[dict[str, Any]],
    name: str,
    operator: str,
    wanted: str,
    negated: bool,
) -> None:
    try:
        condition = Condition.parse(f"{'!' if negated else ''}{name}{operator}{wanted}")
    except Refused:
        return
    values: dict[str, Any] = {"rows": [msgspec.json.encode(fields).decode() for fields in events]}
    sql = f"SELECT {condition.sql(0, values)} FROM (SELECT unnest(CAST($rows AS JSON[])) AS fields)"
    found = [bool(row[0]) for row in engine.execute(sql, values).fetchall()]
    assert found == [condition.holds(fields) for fields in events]
