"""A real listener as a process, and ways to ask it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}


class Listener:
    """`metlog listen` as a child process."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        command = [sys.executable, "-m", "metlog", "listen", "--data", str(data), *arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )
        self.addresses: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ready"):
                return
            self.addresses.append(line.split()[-1])
        raise AssertionError(self.process.stderr.read() if self.process.stderr else "no listener")

    def address(self, scheme: str) -> str:
        return next(address for address in self.addresses if address.startswith(f"{scheme}:"))

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads((self.data / "status.json").read_text())
        return status

    def stop(self, number: int = signal.SIGTERM, patience: float = 30) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.communicate(timeout=patience)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.communicate()
        return self.process.returncode


def metlog_command(
    *arguments: str, cwd: Path | None = None, input: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metlog", *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=cwd,
        input=input,
        timeout=100,
    )
