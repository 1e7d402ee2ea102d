"""Inputs replaced while they run: what is as it was is not touched, and what fails leaves everything as it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from metlog.listener.config import InputConfig, from_mapping
from metlog.listener.inputs import BaseInput, Handed, Sink
from metlog.listener.running import RunningInputs, mark
from metlog.plugins import Component
from metlog.testing.sinks import MemorySink


class Stub(BaseInput):
    """Tells what is done to it."""

    told: list[str]
    running: set[str]

    def __init__(self, name: str, told: list[str], *, fails: str = "", alone: bool = False) -> None:
        self.name, self.told, self.fails, self.alone = name, told, fails, alone
        self.started = False

    def bind_sockets(self, handed: Handed) -> None:
        self.told.append(f"bind {self.name}")
        if self.fails == "bind":
            raise OSError(f"{self.name} cannot be bound")

    def start(self, sink: Sink) -> None:
        if self.fails == "start" or (
            self.alone and f"start {self.alone}" in self.told and f"stop {self.alone}" not in self.told
        ):
            raise OSError(f"{self.name} cannot start")
        self.started = True
        self.told.append(f"start {self.name}")

    def stop(self) -> None:
        if self.started:
            self.told.append(f"stop {self.name}")
        self.started = False


class Watched:
    def health(self) -> list[str]:
        return []

    def status(self) -> Mapping[str, Any]:
        return {}


@pytest.fixture
def told() -> list[str]:
    return []


def config(name: str, told: list[str], version: str = "", **options: Any) -> InputConfig:
    def make(**_: Any) -> Stub:
        return Stub(f"{name}{version}", told, **options)

    return InputConfig(name, Component("input", "stub", "inputs[0]", make, {"version": version}))


@pytest.fixture
def running(told: list[str]) -> RunningInputs:
    made = RunningInputs(Watched())
    made.build([config("a", told), config("b", told)])
    made.start(MemorySink())
    assert told == ["start a", "start b"]
    told.clear()
    return made


def test_what_is_as_it_was_runs_on(running: RunningInputs, told: list[str]) -> None:
    before = dict(running.items)
    assert running.replace([config("b", told), config("a", told)]) == []
    assert told == []
    assert list(running.items) == ["b", "a"], "in the order of the configuration"
    assert running.items == before


def test_the_new_one_starts_before_the_old_one_ends(running: RunningInputs, told: list[str]) -> None:
    changed = running.replace([config("a", told, "2"), config("b", told), config("c", told)])
    assert told == ["bind a2", "start a2", "bind c", "start c", "stop a"]
    assert changed == ["input a changed", "input c begins"]
    assert not running.items["a"].handed_over
    told.clear()
    assert running.replace([config("c", told)]) == ["input a ended", "input b ended"]
    assert told == ["stop a2", "stop b"]


@pytest.mark.parametrize("fails", ["bind", "start"])
def test_one_that_cannot_start_leaves_everything_as_it_was(running: RunningInputs, told: list[str], fails: str) -> None:
    before = dict(running.items)
    with pytest.raises(OSError, match="c cannot"):
        running.replace([config("a", told, "2"), config("c", told, fails=fails)])
    assert running.items == before
    assert told[:2] == ["bind a2", "start a2"]
    assert told[-1] == "stop a2"
    told.clear()
    assert running.replace([config("a", told), config("b", told)]) == []
    assert told == [], "the settings before are still those that count"


def test_one_that_cannot_run_beside_the_one_before_it_starts_when_that_has_ended(
    running: RunningInputs, told: list[str]
) -> None:
    running.replace([config("a", told, "2", alone="a"), config("b", told)])
    assert told == ["bind a2", "stop a", "bind a2", "start a2"] or "start a2" in told
    running.stop()
    assert told[-2:] == ["stop a2", "stop b"]


def test_when_that_fails_too_the_one_before_starts_again(running: RunningInputs, told: list[str]) -> None:
    with pytest.raises(OSError, match="a2 cannot start"):
        running.replace([config("a", told, "2", fails="start"), config("b", told)])
    assert told[-1] == "start a"
    assert list(running.items) == ["a", "b"]


def test_files_that_options_name_are_part_of_the_settings(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("0123456789abcdef\n")
    settings = {"inputs": [{"name": "http", "port": 0, "token_file": str(tokens)}]}

    def now() -> object:
        return mark(from_mapping(settings, data=tmp_path / "data").inputs[0])

    first = now()
    assert now() == first
    tokens.write_text("0123456789abcdef\nfedcba9876543210\n")
    assert now() != first


def test_an_input_that_cannot_be_started_again_is_told_and_tried_with_the_next_change(
    running: RunningInputs, told: list[str]
) -> None:
    running._configs["a"] = config("a", told, fails="start")  # its port is another's by then
    with pytest.raises(OSError, match="a2 cannot start"):
        running.replace([config("a", told, "2", fails="start"), config("b", told)])
    assert running.health() == ["input a: cannot be started again: a cannot start"]
    with pytest.raises(OSError, match="a cannot start"):
        running.replace([config("a", told, fails="start"), config("b", told)])
    assert running.health() == ["input a: cannot be started again: a cannot start"]
    assert running.replace([config("a", told), config("b", told)]) == ["input a changed"]
    assert told[-1] == "start a"
    assert running.health() == []


class Faulty(Stub):
    """Of somebody who did not expect what came."""

    def start(self, sink: Sink) -> None:
        super().start(sink)
        if self.fails == "unexpected":
            raise KeyError(self.name)

    def stop(self) -> None:
        super().stop()
        raise RuntimeError("cannot stop")


def faulty(name: str, told: list[str], **options: Any) -> InputConfig:
    made = config(name, told)
    return InputConfig(
        name, Component("input", "faulty", "inputs[0]", lambda: Faulty(name, told, **options), {}), made.signing
    )


def test_whatever_an_input_raises_leaves_everything_as_it_was(running: RunningInputs, told: list[str]) -> None:
    before = dict(running.items)
    with pytest.raises(KeyError, match="c"):
        running.replace([config("a", told, "2"), config("b", told), faulty("c", told, fails="unexpected")])
    assert running.items == before
    assert told[-2:] == ["stop c", "stop a2"]


def test_an_input_that_cannot_be_stopped_keeps_no_other_from_it(running: RunningInputs, told: list[str]) -> None:
    running.replace([faulty("c", told), config("a", told)])
    told.clear()
    assert running.replace([config("b", told)]) == ["input a ended", "input c ended", "input b begins"]
    running.stop()
    assert sorted(told) == ["bind b", "start b", "stop a", "stop b", "stop c"]


def test_what_one_input_cannot_say_is_left_out_and_told(
    running: RunningInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Any:
        raise ZeroDivisionError("division by zero")

    for hook in ("stats", "sockets", "partitions", "health"):
        monkeypatch.setattr(running.items["a"], hook, fail)
    monkeypatch.setattr(running.items["b"], "stats", lambda: {"frames": 3})
    assert running.stats() == {"b": {"frames": 3}}
    assert running.sockets() == {"b": []}
    assert running.partitions() == {}
    assert sorted(running.health()) == [
        f"input a: {hook}() failed: ZeroDivisionError: division by zero"
        for hook in ("health", "partitions", "sockets", "stats")
    ]
    monkeypatch.undo()
    for ask in (running.stats, running.sockets, running.partitions):
        ask()
    assert running.health() == []


@pytest.mark.parametrize("hook", ["addresses", "warnings", "stats"])
@pytest.mark.parametrize("said", [None, 1, {"a": None}, {"a": "b"}, ["a"], "a", {1: 2}])
def test_what_an_input_says_is_in_shape_or_told_in_the_health(
    running: RunningInputs, monkeypatch: pytest.MonkeyPatch, hook: str, said: Any
) -> None:
    value: Any = said if hook != "stats" else staticmethod(lambda: said)
    monkeypatch.setattr(Stub, hook, value, raising=False)
    found = getattr(running, hook)()
    faults = running.health()
    if hook == "stats":
        right = isinstance(said, dict) and None not in said.values() and "b" not in said.values()
        assert found == ({"a": {"1": 2}, "b": {"1": 2}} if right else {})
    else:
        right = isinstance(said, str | list | dict)
        assert all(type(text) is str for text in found)
    assert bool(faults) is not right
    assert all(text.startswith(("input a: ", "input b: ")) for text in faults)


def test_an_input_that_cannot_start_is_named(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: Stub, sink: Sink) -> None:
        raise RuntimeError("no licence")

    monkeypatch.setattr(Stub, "start", start)
    made = RunningInputs(Watched())
    made.build([config("a", told)])
    with pytest.raises(OSError, match="input a: cannot start: RuntimeError: no licence"):
        made.start(MemorySink())


@pytest.mark.parametrize(
    "said", [1, "a", [1], [{}], [{"address": "udp://a"}], [{"address": "udp://a", "kernel_drops": "many"}], {"a": 1}]
)
def test_sockets_and_partitions_are_in_shape_or_told_in_the_health(
    running: RunningInputs, monkeypatch: pytest.MonkeyPatch, said: Any
) -> None:
    monkeypatch.setattr(running.items["a"], "sockets", lambda: said)
    monkeypatch.setattr(running.items["a"], "partitions", lambda: said)
    assert running.sockets() == {"b": []}
    assert running.partitions() == {}
    assert [text.split(" failed: ")[0] for text in running.health()] == ["input a: sockets()", "input a: partitions()"]


@pytest.mark.parametrize("hook", ["sockets", "listening"])
@pytest.mark.parametrize("said", [OSError("gone"), None, [1], [("udp://a", 1)]])
def test_an_input_that_cannot_say_its_sockets_is_stopped_and_replaced(
    running: RunningInputs, told: list[str], monkeypatch: pytest.MonkeyPatch, hook: str, said: Any
) -> None:
    def answer() -> Any:
        if isinstance(said, OSError):
            raise said
        return said

    monkeypatch.setattr(running.items["a"], hook, answer)
    assert running.replace([config("a", told, "2"), config("b", told)]) == ["input a changed"]
    running.stop()
    assert told[-2:] == ["stop a2", "stop b"]
    assert "stop a" in told
