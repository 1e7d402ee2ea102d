"""Conditions of a search: SQL and the live tail find the same events."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metlog.lake.query import Lake
from metlog.web.conditions import Condition, Search, within
from metlog.web.errors import Refused
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
