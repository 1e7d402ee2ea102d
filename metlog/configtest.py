"""Tests inside a configuration: what becomes of an event, proven before anything is deployed.

    [[tests]]
    name = "the password never leaves"
    event = { type = "login", fields = { user = "u1", password = "secret" } }
    expect = { fields = { user = "u1" } }        # these parts of what comes out; fields are compared whole
    absent = ["fields.password"]                  # paths that must not be there
    contains_not = ["secret"]                     # text that must not be anywhere in the encoded frame

    [[tests]]
    event = { type = "debug", severity = 7 }
    expect = "dropped"

    [[tests]]
    event = { type = "disk", severity = 2 }
    reaches = ["udp", "file"]                     # with `tee`: the senders of the branches that take it

The filters and encoders are the real ones; every sender is replaced by one that keeps its frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from metlog.config import Plan, gather, plan
from metlog.errors import DecodeError, Problems
from metlog.event import ONE, Event
from metlog.pipeline import Pipeline
from metlog.plugins import Component, suggest
from metlog.senders.memory import MemorySender

__all__ = ["Outcome", "run"]

_KEYS = ("name", "event", "expect", "absent", "contains_not", "reaches")
_OWN = (
    "timestamp",
    "pid",
    "hostname",
    "stream",
    "seq",
    "env_version",
)  # the client's own, compared only when asked for


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
    contains_not: list[str]
    reaches: list[str] | None


class _Captured(msgspec.Struct):
    name: str
    frame: bytes
    events: list[Event]


def run(settings: Path | Mapping[str, Any]) -> list[Outcome]:
    """Runs every test of a configuration; raises ConfigError when the configuration or a test itself is wrong."""
    made = plan(gather(settings))
    problems = Problems()
    tests = [test for index, spec in enumerate(made.tests) for test in _checked(spec, f"tests[{index}]", problems)]
    problems.check()
    return [Outcome(test.name, list(_differences(test, _through(made, test.event)))) for test in tests]


def _checked(spec: object, where: str, problems: Problems) -> Iterator[_Test]:
    if not isinstance(spec, Mapping):
        problems.add(f"{where} = {spec!r}: a test is a table with {', '.join(_KEYS)}")
        return
    for key in spec:
        if key not in _KEYS:
            problems.add(f"{where}.{key}: no such key; {suggest(str(key), _KEYS)}")
            return
    if not {"expect", "absent", "contains_not", "reaches"} & set(spec):
        problems.add(f"{where}: expects nothing; give expect, absent, contains_not or reaches")
        return
    if isinstance(spec.get("expect"), str) and spec["expect"] != "dropped":
        problems.add(f"{where}.expect = {spec['expect']!r}: wants a table of what comes out, or 'dropped'")
        return
    try:
        event = dict(spec.get("event") or {})
        event.setdefault("tokens", [event.get("type", "")])
        yield _Test(
            str(spec.get("name") or where),
            msgspec.convert(event, Event),
            spec.get("expect"),
            list(spec.get("absent") or []),
            list(spec.get("contains_not") or []),
            spec.get("reaches"),
        )
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        problems.add(f"{where}.event: {error}")


def _dry(made: Plan) -> tuple[Pipeline, list[tuple[str, MemorySender]]]:
    """The pipeline with every sender replaced, and those that replace them by name."""
    kept: list[tuple[str, MemorySender]] = []

    def capture(real: Component) -> Component:
        sender = MemorySender(max_frame=1 << 26)
        kept.append((real.name, sender))
        return Component("sender", real.name, real.where, lambda: sender, {})

    assert made.sender is not None
    branches: list[Plan] | None = None
    if getattr(made.sender.factory, "fans_out", False):
        branches = made.sender.build().branches
    if branches is None:
        return msgspec.structs.replace(made, sender=capture(made.sender)).pipeline(), kept
    for branch in branches:
        assert branch.sender is not None
        branch.sender = capture(branch.sender)
    tee = made.sender.build()
    tee.branches = branches
    fan = Component("sender", "tee", "sender", lambda: tee, {})
    return msgspec.structs.replace(made, sender=fan).pipeline(), kept


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
        found = []
        decode = pipeline.encoder.decode
        encoders = [branch.encoder.decode for branch in getattr(pipeline, "branches", ())] or [decode]
        for (name, sender), decoder in zip(senders, encoders, strict=True):
            for frame in sender.frames:
                try:
                    events = decoder(frame)
                except DecodeError:  # an encoder for people: its text can be searched, not compared
                    events = []
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
        for text in test.contains_not:
            if text.encode() in item.frame:
                yield f"{item.name}: the frame holds {text!r}"
        for event in item.events:
            plain = msgspec.to_builtins(event)
            for path in test.absent:
                if _has(plain, path.split(".")):
                    yield f"{item.name}: {path} is there"
            for key, wanted in (test.expect if isinstance(test.expect, dict) else {}).items():
                if key not in plain and key not in _OWN:
                    yield f"expect.{key}: an event has no such field; {suggest(key, plain)}"
                elif plain.get(key) != wanted:
                    yield f"{item.name}: {key} is {plain.get(key)!r}, expected {wanted!r}"


def _has(value: Any, path: list[str]) -> bool:
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True
