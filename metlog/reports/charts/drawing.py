"""Pictures of charts, drawn by a process of its own: Vega-Lite specifications in, SVG, PNG or HTML out.

The library that draws is native code with a JavaScript engine, and what it draws holds text from the network. When it fails, it may
end its process; so it gets one that holds nothing else, with limits of memory and time, and is started again for the next picture.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, Final, Literal

import msgspec

from metlog.errors import MetlogError
from metlog.reports.charts import draw_process
from metlog.reports.charts.draw_process import CODES, DRAWN, FAILED, HEAD, RETIRED

__all__ = ["Drawer", "DrawError", "Kind"]

Kind = Literal["svg", "png", "html", "script"]
"""`script` is the library that draws in a browser; its specification is ignored."""

SECONDS: Final = 30.0
"""Time for one picture."""
MEMORY: Final = 1280 << 20
"""Bytes of data (RLIMIT_DATA) of the process; the JavaScript engine reserves half of it at its start."""
_SPEC: Final = 32 << 20
"""Bytes of a specification."""
_PICTURE: Final = 64 << 20
"""Bytes of a picture."""
_ATTEMPTS: Final = 2
"""How often a picture is asked for when the process left between two pictures."""
_KEPT: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "PYTHONHOME",
    "LD_LIBRARY_PATH",
    "COVERAGE_PROCESS_START",
)
"""What the process sees of the environment: no tokens."""


class DrawError(MetlogError):
    """A picture cannot be drawn."""


class _Gone(Exception):
    """The process ended before it answered."""


class Drawer:
    """Draws, one picture at a time, in a process that is started when it is first wanted. Any thread.

    seconds: limit of time for one picture, the start of a process included. memory: limit of the process's data in bytes.
    """

    def __init__(self, *, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._seconds = seconds
        self._memory = memory
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self.deaths = 0
        """Processes that ended while they drew."""

    def draw(self, spec: dict[str, Any] | None, kind: Kind = "svg") -> bytes:
        """The picture of a specification. Raises DrawError: the process ended, or took too long, or says what is wrong."""
        content = msgspec.json.encode(spec)
        if len(content) > _SPEC:
            raise DrawError(f"the chart holds {len(content) >> 20} MiB of data; a picture takes at most {_SPEC >> 20}")
        with self._turn:
            until = time.monotonic() + self._seconds
            for _ in range(_ATTEMPTS):
                process = self._ready()
                try:
                    return self._ask(process, CODES[kind], content, until)
                except _Gone:
                    status = self._end()
                    if status != RETIRED:
                        self.deaths += 1
                        raise DrawError(
                            f"the process that draws ended (status {status}) while it drew this chart"
                        ) from None
                except TimeoutError:
                    self._end()
                    self.deaths += 1
                    raise DrawError(f"the chart took longer to draw than {self._seconds:g} s") from None
        raise DrawError("the process that draws does not stay")

    def close(self) -> None:
        """Ends the process. A picture that is being drawn fails."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._turn:
            self._end()

    def _ready(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise DrawError("the page is being ended")
        if self._process is None or self._process.poll() is not None:
            self._end()
            path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
            environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"PYTHONPATH": path}
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", draw_process.__file__, str(self._memory)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise DrawError(f"no process that draws can be started: {error.strerror or error}") from error
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                os.set_blocking(stream.fileno(), False)
        return self._process

    def _ask(self, process: subprocess.Popen[bytes], code: bytes, content: bytes, until: float) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        _write(process.stdin, HEAD.pack(code, len(content)) + content, until)
        answer, length = HEAD.unpack(_read(process.stdout, HEAD.size, until))
        if length > _PICTURE or answer not in {DRAWN, FAILED}:
            process.kill()
            raise _Gone
        found = _read(process.stdout, length, until)
        if answer == FAILED:
            said = " ".join(found.decode("utf-8", "replace").split("\n")[:2])
            raise DrawError(f"the chart cannot be drawn: {said}")
        return found

    def _end(self) -> int | None:
        """Ends the process, if there is one; returns its status."""
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that is ending by itself has a status of its own
            process.wait(0.5 if process.stdout is not None and _ended(process.stdout) else 0)
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what it did not take is lost with it
                    stream.close()
        return process.returncode


def _ended(stream: IO[bytes]) -> bool:
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _wait(stream: IO[bytes], event: int, until: float) -> None:
    poll = select.poll()
    poll.register(stream, event)
    left = until - time.monotonic()
    if left <= 0 or not poll.poll(left * 1000):
        raise TimeoutError


def _write(stream: IO[bytes], data: bytes, until: float) -> None:
    view = memoryview(data)
    while view:
        _wait(stream, select.POLLOUT, until)
        try:
            view = view[os.write(stream.fileno(), view[: 1 << 16]) :]
        except BlockingIOError:
            continue
        except OSError:
            raise _Gone from None


def _read(stream: IO[bytes], size: int, until: float) -> bytes:
    found = bytearray()
    while len(found) < size:
        _wait(stream, select.POLLIN, until)
        try:
            part = os.read(stream.fileno(), min(size - len(found), 1 << 20))
        except BlockingIOError:
            continue
        if not part:
            raise _Gone
        found += part
    return bytes(found)
