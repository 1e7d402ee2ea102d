"""Programs that run as processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tests.helpers.paths import PLUGINS


def environment(settings: Mapping[str, Any] | None = None, **more: str) -> dict[str, str]:
    """For a process under test: none of the developer's METLOG_ variables, the parts of `plugins/`, `SETTINGS` as JSON."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}
    kept["PYTHONPATH"] = os.pathsep.join([str(PLUGINS), *filter(None, [kept.get("PYTHONPATH")])])
    kept["PYTHONFAULTHANDLER"] = "1"  # SIGABRT tells where a process hangs
    kept["SETTINGS"] = json.dumps(settings or {})
    return {**kept, **more}


class Program:
    """Python source that runs as a process of its own, in a process group of its own."""

    def __init__(self, source: str, folder: Path, settings: Mapping[str, Any] | None = None, *arguments: str) -> None:
        path = folder / f"program_{len(list(folder.glob('program_*.py')))}.py"
        path.write_text(textwrap.dedent(source))
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", str(path), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(settings), cwd=folder, start_new_session=True,
        )  # fmt: skip
        self.ended = 0.0
        """When it was found to have ended, monotonic seconds (one clock for the whole machine)."""

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            raise AssertionError(f"no line; stderr: {self.wait().err}")
        return line

    def tell(self, text: str = "") -> None:
        """Writes a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def end_input(self) -> None:
        """Closes its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.stdin = None

    def wait(self, timeout: float = 60.0) -> Ended:
        """Until it ends. One that hangs is made to tell where, and fails the test."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGABRT)  # its children tell as well
            time.sleep(1)
            self.kill()
            out, err = self.process.communicate(timeout=10)
            raise AssertionError(f"it did not end within {timeout} s\n{out}\n{err}") from None
        finally:
            self.kill()
        self.ended = time.monotonic()
        return Ended(self.process.returncode, out, err)

    def kill(self) -> None:
        """Ends whatever is left of its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.process.communicate(timeout=10)


class Ended(msgspec.Struct):
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> Any:
        """What its last line says, as JSON."""
        assert self.out.strip(), self.err
        return json.loads(self.out.splitlines()[-1])


def run(
    source: str,
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    *arguments: str,
    code: int = 0,
    timeout: float = 60,
) -> Ended:
    """Runs a program to its end; the exit code must be as said."""
    ended = Program(source, folder, settings, *arguments).wait(timeout)
    assert ended.code == code, f"exit code {ended.code}\n{ended.out}\n{ended.err}"
    return ended
