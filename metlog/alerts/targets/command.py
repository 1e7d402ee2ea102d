"""Target `command`: a program that gets a notice on its standard input."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from metlog.alerts.targets import BaseTarget, Notice
from metlog.errors import MetlogError
from metlog.senders.options import positive

__all__ = ["CommandTarget"]

_KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""What the program sees of the environment."""
_SAID: Final = 300


class Failed(MetlogError):
    """The program did not end with 0."""


class CommandTarget(BaseTarget):
    """Starts a program for each notice, without a shell, with the notice as JSON on its standard input. Status 0 means that it was told.

    argv
        The program and its arguments, each an item: `["/usr/local/bin/page-me", "--team", "shop"]`.
    environment
        Names of environment variables that it sees beside PATH, HOME, LANG, LC_ALL, TZ and TMPDIR.
    timeout
        Seconds after which it is killed, with the processes that it started.
    """

    def __init__(self, *, argv: list[str], environment: list[str] | None = None, timeout: float = 30.0) -> None:
        if not argv or not argv[0]:
            raise ValueError("argv: wants a program, and its arguments, as a list of texts")
        positive("timeout", timeout, "seconds")
        self._argv = argv
        self._environment = (*_KEPT, *(environment or ()))
        self._timeout = timeout

    def describe(self) -> str:
        return f"command {Path(self._argv[0]).name}"

    def send(self, notice: Notice) -> None:
        kept = {name: os.environ[name] for name in self._environment if name in os.environ}
        try:
            process = subprocess.Popen(
                self._argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=kept,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise Failed(f"{self.describe()}: cannot be started: {error.strerror or error}") from error
        try:
            _, said = process.communicate(msgspec.json.encode(notice) + b"\n", timeout=self._timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
            raise Failed(f"{self.describe()}: did not end within {self._timeout:g} s") from None
        if process.returncode:
            words = " ".join(said[-_SAID:].decode("utf-8", "replace").split())
            raise Failed(f"{self.describe()}: ended with {process.returncode}: {words}")
