"""The listener's hold on an output's process: which ends of it are put down to an event, and how it is ended itself."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metlog.journal.cursor import Position
from metlog.journal.routing import Route
from metlog.listener.delivery import process as module
from metlog.listener.delivery.process import OutputProcess
from metlog.listener.delivery.worker import Assignment
from tests.helpers.waiting import wait_for

pytestmark = pytest.mark.process

WORKER = """
import json, os, sys
given = json.loads(sys.stdin.readline())
with open(PATH, "a") as file:  # what each life is told
    file.write(json.dumps(given["deaths"]) + "\\n")
with open(PATH) as file:
    life = len(file.readlines())
def report(**facts):
    os.write(given["report_fd"], json.dumps(facts).encode() + b"\\n")
"""
"""Stands for `metlog.listener.delivery.worker`, which takes longer to start."""
AT = "report(at=[1, 64, 0])\n"

Make = Callable[..., OutputProcess]
real = subprocess.Popen


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[OutputProcess] = []
    monkeypatch.setattr(module, "_RESTART", 0.01)
    monkeypatch.setattr(module, "_RESTART_MAX", 0.01)
    monkeypatch.setattr(module.log, "disabled", True)

    def start(code: str, begun: Callable[[], object] = lambda: None) -> OutputProcess:
        worker = WORKER.replace("PATH", repr(str(tmp_path / "lives"))) + code

        def popen(_: Any, **options: Any) -> subprocess.Popen[bytes]:
            process = real([sys.executable, "-S", "-c", worker], stderr=subprocess.DEVNULL, **options)
            begun()
            return process

        monkeypatch.setattr(module.subprocess, "Popen", popen)
        made.append(OutputProcess(Assignment("d", "main", "out", {}, Route(), {}, 0, -1)))
        made[-1].advance(Position(2))
        made[-1].start()
        return made[-1]

    yield start
    for output in made:
        output.end()


def lives(folder: Path) -> list[int]:
    """The deaths that each process was told of."""
    path = folder / "lives"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_ends_at_the_same_place_are_counted(make: Make, tmp_path: Path) -> None:
    output = make(f"{AT}sys.exit(9)")
    wait_for(lambda: len(lives(tmp_path)) >= 4)
    output.end()
    assert lives(tmp_path)[:4] == [0, 1, 2, 3]
    assert output.status()["failed_starts"] == 0


@pytest.mark.parametrize(
    "start",
    ["", 'report(describe="x")\n', "report(at=[1, 64, 0], starting=True)\n"],
    ids=["at once", "before its cursor", "in start()"],
)
def test_a_process_that_ends_before_it_reads_blames_no_event(make: Make, tmp_path: Path, start: str) -> None:
    """With the place of an earlier life known, and the deaths there."""
    output = make(f"if life <= 2:\n    {AT}    sys.exit(9)\n{start}sys.exit(1)")
    wait_for(lambda: len(lives(tmp_path)) >= 8)
    status = output.status()
    output.end()
    assert lives(tmp_path)[:8] == [0, 1, 2, 2, 2, 2, 2, 2]
    assert status["deaths"] == 2
    assert status["failed_starts"] >= 4
    assert status["behind_seconds"] > 0, "a start does not move it"


def test_failed_starts_are_over_when_it_reads(make: Make, tmp_path: Path) -> None:
    output = make(f"if life < 4:\n    sys.exit(1)\n{AT}sys.stdin.read()")
    wait_for(lambda: output.status().get("at") == [1, 64, 0])
    assert (output.status()["failed_starts"], output.status()["restarts"]) == (0, 3)


def test_an_output_that_moves_on_has_no_deaths(make: Make) -> None:
    output = make(f"{AT}if life < 4:\n    sys.exit(1)\nreport(at=[1, 128, 0])\nsys.stdin.read()")
    wait_for(lambda: output.status().get("at") == [1, 128, 0])
    assert output.status()["deaths"] == 0


def test_an_output_that_is_ended_while_its_process_is_being_started_ends(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ENDING", 60.0)  # a process that does not end by itself is not killed meanwhile
    starting, goes_on = threading.Event(), threading.Event()

    def begun() -> None:
        starting.set()
        assert goes_on.wait(30)

    output = make(f"{AT}sys.stdin.read()", begun)
    assert starting.wait(30)
    ending = threading.Thread(target=output.end)
    ending.start()
    wait_for(output._stopping.is_set)
    goes_on.set()
    ending.join(30)
    assert not ending.is_alive()
    assert not output.status()["alive"]


def test_a_process_that_does_not_end_by_itself_is_killed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ENDING", 0.1)
    output = make(f"{AT}import threading\nthreading.Event().wait()")
    wait_for(lambda: output.status()["alive"] and "at" in output.status())
    output.end()
    assert not output.status()["alive"]
