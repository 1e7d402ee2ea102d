"""The listener's hold on the process of one output: start it, tell it how far the journal reaches, start it again."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from typing import Any, Final

import msgspec

from metlog.lake.cursor import Position
from metlog.listener.worker import Assignment, Message

__all__ = ["Worker"]

log = logging.getLogger("metlog.listener")

_RESTART: Final = 0.2
_RESTART_MAX: Final = 10.0


class Worker:
    """One output's process. Every method returns at once, but for `drain`."""

    def __init__(self, assignment: Assignment) -> None:
        self.id = assignment.id
        self._assignment = assignment
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end = Position()
        self._draining = False
        self._stopping = threading.Event()
        self._facts: dict[str, Any] = {}
        self.restarts = 0
        self._moved = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"metlog-output-{self.id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def moved(self, end: Position) -> None:
        """The journal may be read up to `end`."""
        with self._lock:
            self._end = end
            self._tell(Message(end))

    def _tell(self, message: Message) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            os.write(self._process.stdin.fileno(), msgspec.json.encode(message) + b"\n")
        except BlockingIOError:  # it is busy: the pipe holds older news, and newer ones come
            pass
        except OSError:  # it has ended: the thread below starts it again
            pass

    def _run(self) -> None:
        delay = _RESTART
        while not self._stopping.is_set():
            began = time.monotonic()
            code = self._live_once()
            if self._stopping.is_set() or (self._draining and code == 0):
                return
            self.restarts += 1
            self._facts["error"] = f"its process ended with status {code}"
            log.error("output %s: its process ended with status %s; starting it again", self.id, code)
            delay = _RESTART if time.monotonic() - began > _RESTART_MAX else min(delay * 2, _RESTART_MAX)
            self._stopping.wait(delay)

    def _live_once(self) -> int:
        reports, theirs = os.pipe()
        assignment = msgspec.structs.replace(self._assignment, report_fd=theirs)
        process = subprocess.Popen(
            [sys.executable, "-m", "metlog.listener.worker"], stdin=subprocess.PIPE, pass_fds=(theirs,)
        )
        os.close(theirs)
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(assignment) + b"\n")
        process.stdin.flush()
        os.set_blocking(process.stdin.fileno(), False)
        with self._lock:
            self._process = process
            self._tell(Message(self._end, self._draining))
        with open(reports, "rb") as lines:  # noqa: PTH123 - a descriptor; ends when the process does
            for line in lines:
                self._note(line)
        code = process.wait()
        with self._lock:
            self._process = None
        process.stdin.close()
        return code

    def _note(self, line: bytes) -> None:
        try:
            facts = msgspec.json.decode(line)
        except msgspec.DecodeError:  # its process was killed while it wrote
            return
        if facts.get("at") != self._facts.get("at"):
            self._moved = time.monotonic()
        self._facts = facts

    def status(self) -> dict[str, Any]:
        """Counters, `at`, `error`, `behind_seconds` (since it last moved while there was something to do)."""
        facts = dict(self._facts)
        facts["restarts"] = self.restarts
        facts["alive"] = self._process is not None
        return facts

    @property
    def still_for(self) -> float:
        """Seconds since its position last changed."""
        return time.monotonic() - self._moved

    def drain(self, end: Position, deadline: float) -> bool:
        """Lets it reach the end of the closed journal, then ends it; False when `deadline` (monotonic) came first."""
        with self._lock:
            self._end, self._draining = end, True
            self._tell(Message(end, drain=True))
        while self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(0.2)
            with self._lock:
                self._tell(Message(end, drain=True))  # again: the pipe may have been full
        drained = not self._thread.is_alive()
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is not None and process.stdin is not None and not drained:
            process.stdin.close()  # it ends by itself, with its cursor where it is
            try:
                process.wait(timeout=6.0)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join(10.0)
        return drained
