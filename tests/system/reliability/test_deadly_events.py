"""An event that ends the process of an output, with a listener and its outputs as they run: found, put aside and told, and nothing else
is lost, comes twice or waits for it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.paths import PLUGINS
from tests.helpers.reliability import Client, Listener, in_file, in_lake
from tests.helpers.waiting import eventually, wait_for

Make = Callable[..., Listener]

OUTPUT = """
[[outputs]]
name = "deadly"
path = "{path}"
deadly = {deadly}
how = "{how}"
batch_events = 8
batch_age = 0.05
"""
SOON = """
import sys
from metlog.listener.delivery import process
process._RESTART, process._RESTART_MAX = 0.02, 0.1  # a process that ends is started again without the pauses of a real one
from metlog.cli import main
sys.exit(main())
"""
EVENTS = 30


def numbers(path: Path) -> list[int]:
    """What the output delivered, batch by batch."""
    found = path.read_bytes().splitlines() if path.exists() else []
    return [number for line in found for number in json.loads(line)["numbers"]]


def letters(made: Listener) -> list[dict[str, Any]]:
    path = made.data / "dead" / "main.output-deadly.ndjson"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@pytest.mark.slow
@pytest.mark.parametrize(("deadly", "how"), [((0,), "exit"), ((13, 14), "killed"), ((29,), "killed")])
def test_the_event_that_ends_an_output_s_process_is_put_aside_and_all_others_are_delivered_once(
    listener: Make, tmp_path: Path, deadly: tuple[int, ...], how: str
) -> None:
    path = tmp_path / "delivered"
    made = listener(more=OUTPUT.format(path=path, deadly=list(deadly), how=how))
    made.program = ["-c", SOON]
    assert made.start(PYTHONPATH=os.pathsep.join([str(PLUGINS), os.environ.get("PYTHONPATH", "")]))
    client = Client(count=EVENTS)
    assert client.submit(made.port("http"))  # in one record
    everything = Counter(range(EVENTS))
    rest = everything - Counter(deadly)

    wait_for(lambda: "output deadly: its process ended" in made.ask("/healthz")[1])
    status, said = made.ask("/healthz")
    if "output deadly" in said:  # it may be past it by now
        assert status == 503
        assert "at the same place" in said
    # The others do not wait for it.
    assert eventually(lambda: Counter(n for n, _ in in_file(made.lines)) == everything)
    assert eventually(lambda: Counter(n for n, _ in in_lake(made.data)) == everything)

    assert eventually(lambda: Counter(numbers(path)) == rest, 90), numbers(path)
    wait_for(lambda: len(letters(made)) == len(deadly))
    assert sorted(json.loads(letter["text"])["fields"]["n"] for letter in letters(made)) == sorted(deadly)
    assert {letter["reason"] for letter in letters(made)} == {"ended the process that was to deliver it"}
    assert all(letter["source"].startswith("http://") for letter in letters(made))
    wait_for(lambda: made.ask("/healthz")[0] == 200)
    facts = wait_for(lambda: (found := made.status()["outputs"]["deadly"]).get("rejected") and found)
    assert facts["rejected"] == 1, "since its process began: each of them ended the one before"
    assert facts["deaths"] == 0
    assert facts["restarts"] >= 7, "four times with eight of them, then with four, two and one"

    # And it goes on with what comes next, as before.
    client.next = max(client.next, 100)
    assert client.submit(made.port("http"))
    later = Counter(range(100, 100 + EVENTS))
    assert eventually(lambda: Counter(numbers(path)) == rest + later)
    assert made.stop() == 0
    assert made.journaled() == []
    assert Counter(numbers(path)) == rest + later
    assert len(letters(made)) == len(deadly)
