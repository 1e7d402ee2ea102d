"""Tables checked against structs: the units, the limits, and what is said of each fault."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct

from metlog.config.schema import FilePath, Port, Seconds, Size, checked
from metlog.errors import Problems
from metlog.plugins import convert


class Table(Struct):
    size: Annotated[Size, Meta(ge=64, le=1 << 26)] = 8192
    age: Seconds = 1.0
    pause: Annotated[Seconds, Meta(gt=0, le=60)] = 1.0
    port: Port = 5565
    folder: FilePath = Path("data")
    sync: Literal["always", "never"] = "never"
    names: tuple[str, ...] = ()
    limit: Annotated[int, Meta(ge=1)] | None = None
    token: str = ""


def faults(**table: Any) -> list[str]:
    problems = Problems()
    checked(Table, table, "here", problems)
    return problems.lines


@pytest.mark.parametrize(
    ("given", "bytes"),
    [(64, 64), ("64", 64), ("1k", 1024), ("1.5 KB", 1536), ("2MiB", 2 << 20), ("64mb", 64 << 20), (65.0, 65)],
)
def test_sizes_are_bytes_or_texts_with_a_unit(given: Any, bytes: int) -> None:
    assert checked(Table, {"size": given}, "", Problems()) == {"size": bytes}


@pytest.mark.parametrize(
    ("given", "seconds"), [(0, 0.0), (1.5, 1.5), ("2", 2.0), ("250ms", 0.25), ("5m", 300.0), ("1.5h", 5400.0), ("7d", 604800.0)]
)  # fmt: skip
def test_durations_are_seconds_or_texts_with_a_unit(given: Any, seconds: float) -> None:
    assert checked(Table, {"age": given}, "", Problems()) == {"age": seconds}


@pytest.mark.parametrize("value", [True, "many", "-1", float("nan"), float("inf"), 64.5, None, [1], "1e3"])
def test_what_is_no_size_says_how_one_is_written(value: Any) -> None:
    (line,) = faults(size=value)
    assert line.startswith("here.size = ")
    assert line.endswith('wants bytes, as 67108864 or "64MB"')


@pytest.mark.parametrize("value", [True, "soon", "-1s", float("nan"), float("inf"), "5 weeks", None])
def test_what_is_no_duration_says_how_one_is_written(value: Any) -> None:
    (line,) = faults(age=value)
    assert line.endswith('wants seconds, as 60 or "60s", "5m", "7d"')


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ({"size": 63}, "here.size = 63: wants 64 to 67108864 bytes"),
        ({"size": "1G"}, "here.size = '1G': wants 64 to 67108864 bytes"),
        ({"age": -1}, "here.age = -1: wants 0 seconds or more"),
        ({"pause": 0}, "here.pause = 0: wants more than 0, up to 60 seconds"),
        ({"pause": "2m"}, "here.pause = '2m': wants more than 0, up to 60 seconds"),
        ({"port": 0}, "here.port = 0: wants 1 to 65535 (a port)"),
        ({"port": "http"}, "here.port = 'http': wants a whole number"),
        ({"limit": 0}, "here.limit = 0: wants 1 or more"),
        ({"folder": 5}, "here.folder = 5: wants a path, as a text, not a whole number"),
        ({"folder": ""}, "here.folder = '': wants a path, as a text"),
        ({"sync": "often"}, "here.sync = 'often': wants one of always, never"),
        ({"names": 5}, "here.names = 5: wants a list, each a text, not a whole number"),
        ({"sise": 5}, "here.sise = 5: no such setting; did you mean 'size'?"),
        ({"token": ["hunter2"]}, "here.token = '***': wants a text, not a list"),
        ({"tokens_secret": "hunter2"}, "here.tokens_secret: no such setting; did you mean 'token'?"),
    ],
)
def test_a_fault_has_key_value_and_remedy(table: dict[str, Any], line: str) -> None:
    assert faults(**table) == [line]


def test_every_fault_is_noted_and_what_is_right_is_there() -> None:
    problems = Problems()
    values = checked(Table, {"size": 1, "age": "x", "port": 80, "names": "a,b", "limit": None}, "", problems)
    assert values == {"port": 80, "names": ("a", "b"), "limit": None}
    assert [line.partition(" ")[0] for line in problems.lines] == ["size", "age"]


def test_a_field_without_a_default_is_missed() -> None:
    class Needs(Struct):
        name: str

    problems = Problems()
    assert checked(Needs, {}, "", problems) == {}
    assert problems.lines == ["name: missing, and has no default"]


def test_the_home_directory_is_put_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert convert("~/spool", FilePath) == tmp_path / "spool"


@pytest.mark.parametrize(
    ("value", "hint", "words"),
    [
        (["a", 1], list[str], "wants a list, each a text, not one with a whole number in it"),
        ([None], str | list[str], "wants a text or a list, each a text, not one with nothing in it"),
        ({"a": 1, "b": [2]}, dict[str, int], "wants a table, each value a whole number, not one with a list under 'b'"),
        ({1: "a"}, dict[str, Any], "wants a table, not one with a name that is a whole number"),
        ({"a": 1}, list[str], "wants a list, each a text, not a table"),
    ],
)
def test_what_is_wrong_in_a_list_or_table_is_said(value: Any, hint: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}$"):
        convert(value, hint)
