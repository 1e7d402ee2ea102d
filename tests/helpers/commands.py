"""The command `metlog`, called in the process of the test: what it does as a process of its own is tests/unit/cli/test_ends.py's matter."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from metlog.cli import main


def metlog_here(*arguments: str, cwd: Path | None = None, **environment: str) -> CompletedProcess[str]:
    """Its status, and what it wrote."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n") for name in ("stdout", "stderr")}
    with pytest.MonkeyPatch.context() as patch:
        for name, stream in streams.items():
            patch.setattr(sys, name, stream)
        patch.delenv("COLUMNS", raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        with pytest.raises(SystemExit) as ended:
            main(arguments)
    said = []
    for stream in streams.values():
        stream.flush()
        said.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    code = ended.value.code or 0
    assert isinstance(code, int), code
    return CompletedProcess(arguments, code, *said)
