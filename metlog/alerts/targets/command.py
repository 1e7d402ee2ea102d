"""Target `command`: a program that gets a notice on its standard input."""

from __future__ import annotations

import os
import selectors
import subprocess
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec

from metlog.alerts.targets import BaseTarget, Notice
from metlog.errors import MetlogError
from metlog.senders.options import positive

__all__ = ["CommandTarget"]

_KEPT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""What the program sees of the environment."""
_SAID: Final = 300
_CHUNK: Final = 1 << 16
_LOOK: Final = 0.1
"""Seconds between two looks at whether it has ended, where a process that it left running keeps its standard error open."""


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
                start_new_session=True, bufsize=0,
            )  # fmt: skip
        except OSError as error:
            raise Failed(f"{self.describe()}: cannot be started: {error.strerror or error}") from error
        try:
            said = _spoken(process, msgspec.json.encode(notice) + b"\n", monotonic() + self._timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.describe()}: did not end within {self._timeout:g} s") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, 9)
                process.wait()
            for stream in (process.stdin, process.stderr):
                if stream is not None:
                    stream.close()
        if process.returncode:
            words = " ".join(said.decode("utf-8", "replace").split())
            raise Failed(f"{self.describe()}: ended with {process.returncode}: {words}")


def _spoken(process: subprocess.Popen[bytes], body: bytes, end: float) -> bytes:
    """Gives a program its input until it ends; returns the last of its standard error. Raises TimeoutExpired.

    The program's own end counts, not that of its standard error: a process that it leaves running may hold that open.
    """
    assert process.stdin is not None
    assert process.stderr is not None
    said = b""
    with selectors.DefaultSelector() as selector:
        for stream, event in ((process.stdin, selectors.EVENT_WRITE), (process.stderr, selectors.EVENT_READ)):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, event)
        while selector.get_map():
            ended = process.poll() is not None
            left = end - monotonic()
            if left <= 0 and not ended:
                raise subprocess.TimeoutExpired(process.args, 0)
            ready = {key.fileobj for key, _ in selector.select(0 if ended else min(left, _LOOK))}
            if process.stdin in ready:
                body = _given(process.stdin.fileno(), body)
                if not body:
                    selector.unregister(process.stdin)
                    process.stdin.close()
            if process.stderr in ready:
                chunk = os.read(process.stderr.fileno(), _CHUNK)
                said = (said + chunk)[-_SAID:]
                if not chunk:
                    selector.unregister(process.stderr)
            if ended:
                return said
    process.wait(max(end - monotonic(), 0.0))
    return said


def _given(descriptor: int, body: bytes) -> bytes:
    """Writes what fits; returns the rest, none where nobody reads it any more."""
    try:
        return body[os.write(descriptor, body[:_CHUNK]) :]
    except BlockingIOError:
        return body
    except BrokenPipeError:
        return b""
