"""The output stdout, in a process of its own as the listener runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from metlog import plugins

pytestmark = pytest.mark.process

SCRIPT = textwrap.dedent(
    """
    import os, sys, time
    from metlog.event import Event
    from metlog.listener.outputs import Batch, Delivery
    from metlog.listener.outputs.stdout import StdoutOutput
    os.set_blocking(1, sys.argv[1] == "blocking")
    out = StdoutOutput()
    out.start()
    for number in range(3):
        deliveries = [Delivery(Event(type="a", fields={"n": n}, payload="x" * 1000), 0, "") for n in range(200)]
        out.write(Batch(str(number), deliveries, 0))
    out.close()
    """
)


def test_lines_arrive_whole_through_a_slow_pipe_blocking_or_not() -> None:
    for mode in ("blocking", "nonblocking"):  # 600 kB: more than a pipe holds
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, mode], stdout=subprocess.PIPE)
        assert process.stdout is not None
        numbers = [json.loads(line)["fields"]["n"] for line in process.stdout]
        assert process.wait(20) == 0
        process.stdout.close()
        assert numbers == list(range(200)) * 3


def test_a_reader_that_left_is_an_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "blocking"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=20)
    assert b"BrokenPipeError" in errors


def test_it_is_found_by_name() -> None:
    assert plugins.build("output", {"name": "stdout", "encoder": "text"}, "outputs[0]").describe() == "standard output"
