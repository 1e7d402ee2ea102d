"""Holds the marker `process` to what it says, so that `make quick` stays quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

_started: list[str] = []


def _watch(event: str, details: tuple[Any, ...]) -> None:
    if event != "subprocess.Popen":
        return
    program, arguments = details[:2]
    command = [os.fsdecode(word) for word in ([arguments] if isinstance(arguments, (str, bytes)) else arguments)]
    names = {os.path.basename(os.fsdecode(program or "")), *(os.path.basename(word) for word in command)}
    if any(name == "metlog" or name.startswith("python") for name in names):
        _started.append(" ".join(command)[:100])


sys.addaudithook(_watch)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Before the test's fixtures, those of its module included: what a test of another folder started is not this one's."""
    _started.clear()


@pytest.fixture(autouse=True)
def _no_process_without_the_marker(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if _started and request.node.get_closest_marker("process") is None:
        pytest.fail(f"it starts a Python process ({_started[0]} …): mark the test with @pytest.mark.process")
