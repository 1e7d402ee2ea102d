"""docs/configuration.md has every option with its type and default, as the constructors have them: neither can drift."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest
from msgspec import NODEFAULT, structs

from metlog import ConfigError
from metlog.alerts.config import Alert, Alerting
from metlog.config import DEFAULT_SENDER, Plan, plan
from metlog.config.planning import Buffer
from metlog.config.sources import KEYS
from metlog.core.pipeline import Pipeline
from metlog.journal.routing import Route
from metlog.journal.writer import JournalOptions
from metlog.listener.config import General
from metlog.listener.delivery.care import Limits
from metlog.listener.upkeep.settings import LakeUpkeep
from metlog.plugins import build
from metlog.statsd.client import Settings, check_settings
from tests.helpers.paths import ROOT

PAGE = (ROOT / "docs" / "configuration.md").read_text("utf-8")
LISTENER = (ROOT / "docs" / "listener-options.md").read_text("utf-8")
WORDS: dict[Any, str] = {str: "text", int: "integer", float: "number", bool: "boolean", Any: "component"}
KINDS = {"sender": "Senders", "encoder": "Encoders", "filter": "Filters"}

Row = tuple[str, str, str]  # option, type, default


def section(title: str, text: str = PAGE) -> str:
    """What stands below a heading, up to the next one of its level or above."""
    level = title.partition(" ")[0]
    found = re.search(rf"^{re.escape(title)}$\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, f"no section {title!r}"
    return found[1]


def rows(text: str) -> list[Row]:
    made = []
    for line in text.splitlines():
        if line.startswith("| `"):
            option, kind, default, meaning = (cell.strip() for cell in line.strip("|").split(" | "))
            assert meaning, f"{option} means nothing"
            made.append((option.strip("`"), kind, default))
    return made


def word(hint: Any) -> str:
    if hint in WORDS:
        return WORDS[hint]
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "text"
    if origin is list:
        return "list of " + ("components" if inside[0] is Any else word(inside[0]))
    if origin is dict:
        return "table" if inside[1] is Any else f"table of {word(inside[1])}"
    assert origin in (types.UnionType, typing.Union), hint
    return " or ".join(word(each) for each in inside if each is not type(None))


def shown(default: Any) -> str:
    if default in (inspect.Parameter.empty, NODEFAULT):
        return "required"
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, str):
        return f'`"{default}"`'
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


@cache
def builtin(kind: str) -> dict[str, Callable[..., Any]]:
    found = entry_points(group=f"metlog.{kind}s")
    return {entry.name: entry.load() for entry in found if entry.dist is not None and entry.dist.name == "metlog"}


def components() -> Iterator[tuple[str, str]]:
    for kind in KINDS:
        for name in builtin(kind):
            yield kind, name


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_is_there_and_no_other(kind: str) -> None:
    documented = re.findall(r"^#### `(\w+)`$", section(f"### {KINDS[kind]}"), re.MULTILINE)
    assert sorted(documented) == sorted(builtin(kind))


@pytest.mark.parametrize(("kind", "name"), list(components()))
def test_options_types_and_defaults_are_the_constructors(kind: str, name: str) -> None:
    factory = builtin(kind)[name]
    hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)  # type: ignore[misc]
    parameters = inspect.signature(factory).parameters.values()
    expected = [
        (item.name, word(hints[item.name]), shown(item.default))
        for item in parameters
        if item.kind is not item.VAR_KEYWORD
    ]
    assert rows(section(f"#### `{name}`", section(f"### {KINDS[kind]}"))) == expected


@pytest.mark.parametrize("kind", [*KINDS, "input", "output"])
def test_bytes_and_seconds_are_annotated_as_such(kind: str) -> None:
    """So that "64KB" and "5m" are taken, as the pages say."""
    page, sections = (PAGE, f"### {KINDS[kind]}") if kind in KINDS else (LISTENER, LISTENER_KINDS[kind])
    named = 0
    for name, factory in builtin(kind).items():
        hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory, include_extras=True)  # type: ignore[misc]
        text = section(f"{'####' if kind in KINDS else '###'} `{name}`", section(sections, page))
        for option, unit in re.findall(
            r"^\| `(\w+)` \| (?:integer|number)[^|]*\|[^|]*\| (bytes|seconds)\b", text, re.MULTILINE
        ):
            assert f"Unit(name='{unit}')" in str(hints[option]), f"{kind} {name}.{option}"
            named += 1
    assert named > 0 or kind == "encoder"


def listener_section(*titles: str) -> str:
    text = LISTENER
    for title in titles:
        text = section(title, text)
    return text


LISTENER_KINDS = {"input": "## Inputs", "output": "## Outputs"}
LIKE_HTTP = {("input", "otlp"), ("input", "loki"), ("input", "elasticsearch"), ("output", "https")}
"""Their tables have what is not as the options of `http` are."""


def constructor_rows(kind: str, name: str) -> list[Row]:
    factory = builtin(kind)[name]
    hints = get_type_hints(factory.__init__)  # type: ignore[misc]
    parameters = inspect.signature(factory).parameters.values()
    return [
        (item.name, word(hints[item.name]), shown(item.default))
        for item in parameters
        if item.kind is not item.VAR_KEYWORD
    ]


@pytest.mark.parametrize("kind", LISTENER_KINDS)
def test_every_input_and_output_is_there_and_no_other(kind: str) -> None:
    documented = re.findall(r"^### `(\w+)`$", listener_section(LISTENER_KINDS[kind]), re.MULTILINE)
    assert sorted(documented) == sorted(builtin(kind))


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in LISTENER_KINDS for name in sorted(builtin(kind))])
def test_options_of_inputs_and_outputs_are_the_constructors(kind: str, name: str) -> None:
    expected, documented = constructor_rows(kind, name), rows(listener_section(LISTENER_KINDS[kind], f"### `{name}`"))
    if (kind, name) not in LIKE_HTTP:
        assert documented == expected
        return
    said = {option for option, *_ in documented}
    assert [row for row in expected if row[0] in said] == documented
    assert {row for row in expected if row[0] not in said} <= set(constructor_rows(kind, "http"))


@pytest.mark.parametrize(
    ("title", "kind"),
    [("### `[listener]`", General), ("### `[journal]`", JournalOptions), ("### `[lake]`", LakeUpkeep)],
)
def test_settings_of_the_listener(title: str, kind: type[msgspec.Struct]) -> None:
    documented = {name: (type_, default) for name, type_, default in rows(listener_section("## Settings", title))}
    assert list(documented) == list(kind.__struct_fields__)
    hints = get_type_hints(kind)
    for item in structs.fields(kind):
        if item.name in {"data", "expire", "expire_types"}:  # a path; ages, which are texts
            continue
        assert documented[item.name] == (word(hints[item.name]), shown(item.default)), item.name


def test_what_every_output_takes() -> None:
    common = listener_section("## Outputs").partition("### ")[0]
    named = re.findall(
        r"`(\w+)`", " ".join(line.split(" | ")[0] for line in common.splitlines() if line.startswith("| `"))
    )
    assert sorted(named) == sorted({"id", *get_type_hints(Route), *get_type_hints(Limits)})


def test_options_of_statsd() -> None:
    hints = get_type_hints(Settings)
    expected = [(item.name, word(hints[item.name]), shown(item.default)) for item in structs.fields(Settings)]
    assert rows(section("### statsd")) == expected


@pytest.mark.parametrize(("title", "kind"), [("### `[[alerts]]`", Alert), ("### `[alerting]`", Alerting)])
def test_options_of_alerts(title: str, kind: type[msgspec.Struct]) -> None:
    hints = get_type_hints(kind)
    defaults = {
        item.name: item.default_factory() if item.default_factory is not NODEFAULT else item.default for item in structs.fields(kind)
    }  # fmt: skip
    expected = [(name.rstrip("_"), word(hints[name]), shown(default)) for name, default in defaults.items()]
    assert rows(section(title)) == expected


def test_settings_are_those_that_are_taken() -> None:
    documented = rows(section("## Settings"))
    keys = [key for key in KEYS if key != "buffer"] + [f"buffer.{key}" for key in get_type_hints(Buffer)]
    assert sorted(name for name, *_ in documented) == sorted(keys)
    pipeline = inspect.signature(Pipeline).parameters
    defaults = {name: default for name, _, default in documented}
    types_of = {name: kind for name, kind, _ in documented}
    for name, kind in get_type_hints(Buffer).items():
        assert defaults[f"buffer.{name}"] == shown(pipeline[name].default)
        assert types_of[f"buffer.{name}"] == word(kind)
    unset = plan({})
    for name in ("logger", "hostname", "exit_timeout", "statsd"):
        assert defaults[name] == shown(getattr(unset, name))
    assert defaults["exit_timeout"] == shown(pipeline["exit_timeout"].default)
    assert defaults["sender"] == shown(DEFAULT_SENDER)
    assert unset.encoder is not None
    assert defaults["encoder"] == shown(unset.encoder.name)
    empty = [name for name in ("filters", "plugins", "fields", "disabled_timers", "tests") if not getattr(unset, name)]
    assert {defaults[name] for name in empty} == {"none"}
    assert len(empty) == 5
    assert unset.on_drop is None
    assert set(Plan.__struct_fields__) - {"branches"} == set(KEYS)


RANGE = re.compile(r"(\d+(?:\.\d+)?) (?:to (\d+)|or more)\b")


def ranges() -> Iterator[tuple[str, str, dict[str, Any], float, float | None]]:
    """Every `1 to 65535` and `64 or more` of the tables."""
    needed = {"path": "/tmp/x", "key": "k" * 32, "rate": 1, "severity": 6, "types": ["a"], "senders": ["null"]}
    for kind, name in components():
        for line in section(f"#### `{name}`", section(f"### {KINDS[kind]}")).splitlines():
            found = RANGE.search(line)
            if not line.startswith("| `") or found is None or "characters" in line or "bytes or more:" in line:
                continue
            parameters = inspect.signature(builtin(kind)[name]).parameters.values()
            options = {
                item.name: needed[item.name]
                for item in parameters
                if item.name in needed and item.default is item.empty
            }
            option = line.split("`")[1]
            yield kind, name, {**options, option: None}, float(found[1]), float(found[2]) if found[2] else None


@pytest.mark.parametrize(("kind", "name", "options", "low", "high"), list(ranges()))
def test_a_range_is_the_one_that_is_checked(
    kind: str, name: str, options: dict[str, Any], low: float, high: float | None
) -> None:
    (option,) = (key for key, value in options.items() if value is None)
    for value in [low] if high is None else [low, high]:
        made = build(kind, {"name": name, **options, option: int(value)}, kind)
        if hasattr(made, "close"):
            made.close()
    for value in [low - 1] if high is None else [low - 1, high + 1]:
        with pytest.raises(ConfigError, match=option):
            build(kind, {"name": name, **options, option: int(value)}, kind)


@pytest.mark.parametrize("row", [line for line in section("## Settings").splitlines() if RANGE.search(line)])
def test_a_range_of_the_settings_is_the_one_that_is_checked(row: str) -> None:
    key = row.split("`")[1]
    found = RANGE.search(row)
    assert found is not None
    low, high = float(found[1]), float(found[2])

    def settings(value: float) -> dict[str, Any]:
        number = int(value) if value == int(value) else value
        name = key.removeprefix("buffer.")
        return {"sender": "memory:", **({"buffer": {name: number}} if name != key else {name: number})}

    plan(settings(low))
    plan(settings(high))
    for value in (low - 1, high + 1):
        with pytest.raises(ConfigError, match=re.escape(key)):
            plan(settings(value))


def test_what_statsd_takes_as_a_whole() -> None:
    for settings in (True, "udp://127.0.0.1:8125?prefix=web", {"prefix": "web"}):
        assert check_settings(settings).port == 8125
