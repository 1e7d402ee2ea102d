"""Holds the marker `process` to what it says, so that `make quick` stays quick."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

_started: list[str] = []


def _note(arguments: Any, program: Any) -> None:
    command = [
        os.fsdecode(word) for word in ([arguments] if isinstance(arguments, str | bytes | os.PathLike) else arguments)
    ]
    names = {os.path.basename(os.fsdecode(program or "")), *(os.path.basename(word) for word in command)}
    if any(name == "metlog" or name.startswith("python") for name in names):
        _started.append(" ".join(command)[:100])


@pytest.fixture(scope="session", autouse=True)
def _processes_are_noted() -> Iterator[None]:
    """Not by an audit hook in Python: it runs in the middle of `sys.settrace` too, and where threads are switched there, another thread
    that begins to be traced ends with a RuntimeError before it has done anything."""
    start = subprocess.Popen.__init__

    @functools.wraps(start)
    def noting(self: Any, args: Any, *more: Any, **options: Any) -> None:
        _note(args, options.get("executable"))
        start(self, args, *more, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(subprocess.Popen, "__init__", noting)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Before the test's fixtures, those of its module included: what a test of another folder started is not this one's."""
    _started.clear()


@pytest.fixture(autouse=True)
def _no_process_without_the_marker(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if _started and request.node.get_closest_marker("process") is None:
        pytest.fail(f"it starts a Python process ({_started[0]} …): mark the test with @pytest.mark.process")
