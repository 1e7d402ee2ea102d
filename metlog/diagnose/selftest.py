"""Tests inside a configuration: what becomes of an event, proven before anything is deployed.

    [[tests]]
    name = "the password never leaves"
    event = { type = "login", fields = { user = "u1", password = "secret" } }
    expect = { fields = { user = "u1" } }        # these parts of what comes out; fields are compared whole
    absent = ["fields.password"]                  # paths that must not be there
    contains = ["u1"]                             # text that must be in the encoded frame, or in a value
    contains_not = ["secret"]                     # text that must be in neither

    [[tests]]
    event = { type = "debug", severity = 7 }
    expect = "dropped"

    [[tests]]
    event = { type = "disk", severity = 2 }
    reaches = ["udp", "file"]                     # with `tee`: the senders of the branches that take it

The filters and encoders are the real ones; every sender is replaced by one that keeps its frames. What chance decides
(`sample` without a field) is decided for keeping.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from metlog.config import Plan, gather, plan
from metlog.config.schema import checked
from metlog.core.chance import Certain
from metlog.core.pipeline import Pipeline
from metlog.errors import DecodeError, Problems
from metlog.event import ONE, Event
from metlog.plugins import Component, suggest
from metlog.plugins.conversion import shown
from metlog.senders.memory import MemorySender
from metlog.values import whole_number

__all__ = ["Outcome", "check", "run"]


class _Table(msgspec.Struct):
    """What a test's table may hold."""

    name: str = ""
    event: dict[str, Any] = {}
    expect: dict[str, Any] | str = ""
    absent: list[str] = []
    contains: list[str] = []
    contains_not: list[str] = []
    reaches: list[str] = []


_KEYS = _Table.__struct_fields__
_EXPECTATIONS = frozenset(_KEYS) - {"name", "event"}
_GIVEN = ("type", "tokens", "logger", "severity", "payload", "fields", "weight")
"""What an event of a test may say; the rest of the envelope is the client's own."""
_FIELDS = tuple(Event.__struct_fields__)


class Outcome(msgspec.Struct):
    """What one test gave."""

    name: str
    differences: list[str]

    @property
    def passed(self) -> bool:
        return not self.differences


class _Test(msgspec.Struct):
    name: str
    event: Event
    expect: dict[str, Any] | str | None
    absent: list[str]
    contains: list[str]
    contains_not: list[str]
    reaches: list[str] | None


class _Captured(msgspec.Struct):
    name: str
    frame: bytes
    events: list[Event] | None
    """None: an encoder for people, whose frames cannot be read back."""


def run(settings: Path | Mapping[str, Any]) -> list[Outcome]:
    """Runs every test of a configuration; raises ConfigError when the configuration or a test itself is wrong."""
    found = gather(settings)
    problems = Problems()
    with problems.catch("settings"):
        made = plan(found)
        made.discard()
        found = {"tests": made.tests}
    with problems.catch("tests"):
        tests = check(found.get("tests"))
    problems.check()
    return [Outcome(test.name, list(_differences(test, _through(made, test.event)))) for test in tests]


def check(specs: object) -> list[_Test]:
    """The tests of a configuration; raises ConfigError with every fault in them."""
    problems = Problems()
    listed = specs if isinstance(specs, list) else []  # another type is reported with the settings
    tests = [test for index, spec in enumerate(listed) for test in _checked(spec, f"tests[{index}]", problems)]
    problems.check()
    return tests


def _checked(spec: object, where: str, problems: Problems) -> Iterator[_Test]:
    if not isinstance(spec, Mapping):
        problems.add(f"{where} = {spec!r}: a test is a table with {', '.join(_KEYS)}")
        return
    before = len(problems.lines)
    lists = ("absent", "contains", "contains_not", "reaches")
    table = {key: [value] if isinstance(value, str) and key in lists else value for key, value in spec.items()}
    found = checked(_Table, table, where, problems)  # one text needs no list
    if not _EXPECTATIONS & set(spec):
        problems.add(f"{where}: expects nothing; give {', '.join(sorted(_EXPECTATIONS))}")
    expect = found.get("expect")
    if isinstance(expect, str) and expect != "dropped":
        problems.add(f"{where}.expect = {expect!r}: wants a table of what comes out, or 'dropped'")
    elif isinstance(expect, dict):
        _check_names(expect, f"{where}.expect", _FIELDS, problems)
    given = found.get("event", {})
    kind = given.get("type", "")
    event = {"tokens": [kind], **given} if isinstance(kind, str) else given
    _check_names(event, f"{where}.event", _GIVEN, problems)
    for path in found.get("absent", ()):
        if path.split(".")[0] not in _FIELDS:
            problems.add(f"{where}.absent = {path!r}: no part of an event; did you mean 'fields.{path}'?")
    try:
        converted = msgspec.convert(event, Event)
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        problems.add(_fault(event, f"{where}.event", error))
        return
    if len(problems.lines) == before:
        rest = {key: found.get(key) or [] for key in ("absent", "contains", "contains_not")}
        yield _Test(found.get("name") or where, converted, expect, **rest, reaches=found.get("reaches"))


def _fault(event: Mapping[str, Any], where: str, error: Exception) -> str:
    """What is wrong with an event, by its name and value. msgspec ends its texts with a path: `$.tokens[1]`."""
    reason, at, path = str(error).partition(" - at `$.")
    if not at:
        return f"{where}: {error}"
    name = path.rstrip("`").partition("[")[0]
    wanted = "a severity is 0 (emergency) to 7 (debug)" if name == "severity" else reason[0].lower() + reason[1:]
    return f"{where}.{name} = {shown(name, event.get(name))}: {wanted}"


def _check_names(table: Mapping[str, Any], where: str, known: tuple[str, ...], problems: Problems) -> None:
    for key, value in table.items():
        if key not in known:
            why = "is the client's own" if key in _FIELDS else "an event has no such field"
            problems.add(f"{where}.{key} = {shown(key, value)}: {why}; {suggest(key, known)}")


def _dry(made: Plan) -> tuple[Pipeline, list[tuple[str, MemorySender]]]:
    """The pipeline with every sender replaced, and those that replace them by name."""
    kept: list[tuple[str, MemorySender]] = []

    def capture(real: Component) -> Component:
        sender = MemorySender(max_frame=1 << 26)
        kept.append((real.name, sender))
        return Component("sender", real.name, real.where, lambda: sender)

    def dry(part: Plan) -> Plan:
        assert part.sender is not None
        if part.branches is None:
            return msgspec.structs.replace(part, sender=capture(part.sender))
        return msgspec.structs.replace(part, branches=[dry(branch) for branch in part.branches])

    return dry(made).pipeline(Certain()), kept


def _parts(pipeline: Pipeline) -> Iterator[Pipeline]:
    yield pipeline
    for branch in pipeline.branches:
        yield from _parts(branch)


def _through(made: Plan, event: Event) -> list[_Captured]:
    pipeline, senders = _dry(made)
    try:
        if event.severity <= pipeline.severity_max:
            pipeline.put(
                event.type,
                event.tokens,
                event.severity,
                event.payload,
                {**pipeline.fields, **event.fields},
                event.weight if event.weight != ONE else ONE,
                event.logger or None,
            )
        pipeline.flush(monotonic() + 10)
        leaves = [part for part in _parts(pipeline) if not part.branches]
        found = []
        for (name, sender), part in zip(senders, leaves, strict=True):
            for frame in sender.frames:
                events: list[Event] | None
                try:
                    events = part.encoder.decode(frame)
                except DecodeError:
                    events = None
                found.append(_Captured(name, frame, events))
        return found
    finally:
        pipeline.close(monotonic() + 1)


def _differences(test: _Test, captured: list[_Captured]) -> Iterator[str]:
    if test.expect == "dropped":
        if captured:
            yield f"expected it dropped; it reaches {', '.join(item.name for item in captured)}"
        return
    if test.reaches is not None:
        reached = [item.name for item in captured]
        if sorted(reached) != sorted(test.reaches):
            yield f"expected to reach {sorted(test.reaches)}; it reaches {sorted(reached)}"
    elif not captured:
        yield "it is dropped"
    for item in captured:
        yield from _in_frame(test, item)
        if item.events is None:
            if test.absent or isinstance(test.expect, dict):
                yield f"{item.name}: its encoder cannot be read back; use contains and contains_not"
            continue
        for event in item.events:
            plain = msgspec.to_builtins(event)
            for path in test.absent:
                if _has(plain, path.split(".")):
                    yield f"{item.name}: {path} is there"
            for key, wanted in (test.expect if isinstance(test.expect, dict) else {}).items():
                if plain.get(key) != wanted:
                    yield f"{item.name}: {key} is {plain.get(key)!r}, expected {wanted!r}"


def _in_frame(test: _Test, item: _Captured) -> Iterator[str]:
    """Text that is in the bytes of the frame, or in a value of its events: encoders escape, each in its own way."""
    values = {text for event in item.events or () for text in _texts(msgspec.to_builtins(event))}

    def there(text: str) -> bool:
        return text.encode() in item.frame or any(text in value for value in values)

    for text in test.contains:
        if not there(text):
            yield f"{item.name}: {text!r} is not in the frame"
    for text in test.contains_not:
        if there(text):
            yield f"{item.name}: the frame holds {text!r}"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _has(value: Any, path: list[str]) -> bool:
    """Whether there is something under a path; names may hold dots, and lists have indexes."""
    if not path:
        return True
    if isinstance(value, list):
        place = whole_number(path[0])
        return place is not None and place < len(value) and _has(value[place], path[1:])
    if not isinstance(value, dict):
        return False
    return any(
        _has(value[name], path[length:])
        for length in range(1, len(path) + 1)
        if (name := ".".join(path[:length])) in value
    )
