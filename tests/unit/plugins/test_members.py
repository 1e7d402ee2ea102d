"""What a component's object must have: told when it is made, not by the loss of every event."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from typing import Any, TypedDict

import pytest

from metlog import MetlogClient
from metlog.alerts.targets import BaseTarget
from metlog.core.interfaces import BaseEncoder, BaseFilter, BaseSender
from metlog.errors import ConfigError
from metlog.listener.inputs import BaseInput
from metlog.listener.outputs import BaseOutput
from metlog.plugins.conversion import convert
from metlog.plugins.registry import Component

BASES = {
    "sender": BaseSender, "encoder": BaseEncoder, "filter": BaseFilter, "input": BaseInput, "output": BaseOutput, "target": BaseTarget,
}  # fmt: skip
METHODS = [
    ("sender", ("send",)), ("encoder", ("encode", "frame")), ("filter", ("__call__",)), ("input", ("start",)), ("output", ("write",)),
    ("output", ("run",)), ("target", ("send",)), ("plugin", ("__call__",)),
]  # fmt: skip


def does(self: object, *arguments: object) -> None:
    """A method of a component."""


async def awaits(self: object, *arguments: object) -> None:
    await asyncio.sleep(0)


async def streams(self: object, *arguments: object) -> AsyncIterator[int]:
    yield 1


def prepared(kind: str, made: Any) -> Any:
    return Component(kind, "mine", kind, lambda: made).prepare()


@pytest.mark.parametrize("inherits", [True, False])
@pytest.mark.parametrize(("kind", "methods"), METHODS)
def test_what_is_needed_is_needed_alone(kind: str, methods: tuple[str, ...], inherits: bool) -> None:
    bases = (BASES[kind],) if inherits and kind in BASES else ()
    whole = dict.fromkeys(methods, does)
    assert prepared(kind, type("Mine", bases, whole)()) is not None
    for method in methods:
        less = type("Mine", bases, {name: value for name, value in whole.items() if name != method})
        with pytest.raises(ConfigError, match=f"{kind}: Mine has no method .*{method}.*, which is what makes a {kind}"):
            prepared(kind, less())
        for coroutine in (awaits, streams):
            with pytest.raises(ConfigError, match=f"{kind}: Mine.{method} is a coroutine function"):
                prepared(kind, type("Mine", bases, {**whole, method: coroutine})())


@pytest.mark.parametrize("method", ["open", "flush", "close"])
def test_hooks_are_no_coroutine_functions_either(method: str) -> None:
    with pytest.raises(ConfigError, match=f"sender: Mine.{method} is a coroutine function"):
        prepared("sender", type("Mine", (BaseSender,), {"send": does, method: awaits})())


def test_a_filter_that_is_a_coroutine_function() -> None:
    with pytest.raises(ConfigError, match=r"filters\[0\]: .*awaits.* is a coroutine function"):
        MetlogClient.from_config({"sender": "null", "filters": [awaits], "statsd": False})


@pytest.mark.parametrize("size", [0, -1, None, True, "1", float("nan"), float("inf"), b"1"])
def test_a_frame_has_a_size(size: Any) -> None:
    made = type("Mine", (), {"send": does, "flush": does, "close": does, "max_frame": size})()
    with pytest.raises(ConfigError, match=r"sender: Mine.max_frame is .*: wants bytes, a whole number from 1 on"):
        MetlogClient.from_config({"sender": made, "statsd": False})


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


@dataclasses.dataclass
class Login:
    user: str


class Sizes(TypedDict, total=False):
    wing: int


@pytest.mark.parametrize(
    ("given", "hint", "found"),
    [
        ("5m", timedelta, timedelta(minutes=5)),
        ("250ms", timedelta | None, timedelta(milliseconds=250)),
        (3, timedelta, timedelta(seconds=3)),
        ("PT1S", timedelta, timedelta(seconds=1)),
        ("slow", Mode, Mode.SLOW),
        ({"user": "u"}, Login, Login("u")),
        ({"wing": "3"}, Sizes, {"wing": 3}),
    ],
)
def test_annotations_of_the_standard_library(given: object, hint: Any, found: object) -> None:
    assert convert(given, hint) == found


@pytest.mark.parametrize(
    ("given", "hint", "told"),
    [
        ("soon", timedelta, 'wants a time, as 60 or "60s", "5m", "7d"'),
        ("quick", Mode, "wants one of fast, slow"),
        ("u", Login, "wants a table"),
        ({"usr": "u"}, Login, "Object missing required field `user`"),
        (1, Sizes | None, "wants a table, not a whole number"),
        ("a b", bytes, "wants bytes, as a text in base64"),
        ("today", date, "wants a day, as 2026-01-31"),
        ("now", datetime, "wants a moment, as 2026-01-31T12:00:00Z"),
    ],
)
def test_annotations_that_a_value_does_not_fit(given: object, hint: Any, told: str) -> None:
    with pytest.raises(ValueError) as caught:
        convert(given, hint)
    assert str(caught.value) == told
