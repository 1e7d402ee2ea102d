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

from metlog.core.backoff import Backoff
from metlog.journal.cursor import Position
from metlog.listener.delivery.worker import Assignment, Message

__all__ = ["OutputProcess"]

log = logging.getLogger("metlog.listener")

_RESTART: Final = 0.2
_RESTART_MAX: Final = 10.0
_AT_FAULT: Final = 60.0
"""Seconds that a process has lived after which its end is not put down to the events that it began with."""
_ENDING: Final = 4.0
"""Seconds that a process which was told to end gets before it is killed."""
_KILLED: Final = 6.0
"""Seconds that the end of a killed process is waited for: one that hangs in the kernel ends later, and nobody waits for it."""
_PLACE: Final = ("at", "by_segment")
"""What stays known of an output's place until its next process tells it."""
_ALLOCATOR: Final = {"MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system"}
"""So that memory which a burst took goes back to the operating system: with many arenas much of it is kept."""


class OutputProcess:
    """One output's process. Every method returns at once, but for `drain`, `wait` and `end`."""

    def __init__(self, assignment: Assignment) -> None:
        self.id = assignment.id
        self.assignment = assignment
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end = Position()
        self._untold = False
        self._draining = False
        self._stopping = threading.Event()
        self._last_report: dict[str, Any] = {}
        self.restarts = 0
        self._moved = time.monotonic()
        self._reading = False
        """Whether the process, or the last one, has begun to read events."""
        self._failed_starts = 0
        """Processes in a row that ended before they had begun to read."""
        self._deaths = 0
        """Processes in a row that ended at `_died_at`, without those that failed to start."""
        self._died_at: Any = None
        self._thread = threading.Thread(target=self._run, name=f"metlog-output-{self.id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def advance(self, end: Position) -> None:
        """The journal may be read up to `end`."""
        with self._lock:
            if not self._behind(self._last_report):  # it had nothing to do until now
                self._moved = time.monotonic()
            self._end = end
            self._tell(Message(end))

    def retry_notify(self) -> None:
        """Tells the process again what found no room in its pipe; to be called now and then."""
        with self._lock:
            if self._untold:
                self._tell(Message(self._end, self._draining))

    def _tell(self, message: Message) -> None:
        self._untold = True
        if self._process is None or self._process.stdin is None or self._process.stdin.closed:
            return
        try:
            os.write(self._process.stdin.fileno(), msgspec.json.encode(message) + b"\n")
        except BlockingIOError:  # it is busy: the pipe is full of older news
            return
        except OSError:  # it has ended: the thread below starts it again
            return
        self._untold = False

    def _run(self) -> None:
        backoff = Backoff(_RESTART, _RESTART_MAX, jitter=0.0)
        while not self._stopping.is_set():
            began = time.monotonic()
            code = -1
            try:
                code = self._live_once()
                told = f"its process ended with status {code}"
            except OSError as error:  # no process, no descriptor, no memory to be had now
                told = f"its process cannot be started: {error.strerror or error}"
            if self._stopping.is_set() or (self._draining and code == 0):
                return
            self.restarts += 1
            self._count(time.monotonic() - began)
            self._last_report = {**self._last_report, "error": told}
            log.error("output %s: %s; starting it again", self.id, told)
            if time.monotonic() - began > _RESTART_MAX:
                backoff.reset()
            self._stopping.wait(backoff.pause())

    def _count(self, seconds: float) -> None:
        """Counts an end of the process, which lived for so long. Before it has begun to read, no event can be the reason."""
        if not self._reading:
            self._failed_starts += 1
            return
        here = self._last_report.get("at")
        again = here == self._died_at and seconds < _AT_FAULT
        self._deaths = self._deaths + 1 if again else 1
        self._died_at = here

    def _live_once(self) -> int:
        self._reading = False
        reports, theirs = os.pipe()
        with open(reports, "rb") as lines:  # noqa: PTH123 - a descriptor; ends when the process does
            try:
                process = self._spawn(theirs)
            finally:
                os.close(theirs)
            for line in lines:
                self._note(line)
        code = process.wait()
        with self._lock:
            self._process = None
            if process.stdin is not None:
                process.stdin.close()
        return code

    def _spawn(self, report_fd: int) -> subprocess.Popen[bytes]:
        """Starts the process, and tells it what it is and how far the journal reaches."""
        assignment = msgspec.structs.replace(self.assignment, report_fd=report_fd, deaths=self._deaths)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "metlog.listener.delivery.worker"],
            stdin=subprocess.PIPE,
            pass_fds=(report_fd,),
            bufsize=0,
            env={**os.environ, **_ALLOCATOR},
        )
        assert process.stdin is not None
        try:
            process.stdin.write(msgspec.json.encode(assignment) + b"\n")
        except BrokenPipeError:  # dead already: its status tells why
            pass
        os.set_blocking(process.stdin.fileno(), False)
        with self._lock:
            self._process = process
            self._tell(Message(self._end, self._draining))
            if self._stopping.is_set():  # `end` came before there was a process that it could tell
                process.stdin.close()
        return process

    def _note(self, line: bytes) -> None:
        try:
            facts = msgspec.json.decode(line)
        except msgspec.DecodeError:  # its process was killed while it wrote
            return
        starting = facts.pop("starting", False)
        with self._lock:
            if "at" in facts and not starting:
                self._reading = True
                self._failed_starts = 0
            before: dict[str, Any] = {key: self._last_report[key] for key in _PLACE if key in self._last_report}
            if "at" in facts and facts["at"] != before.get("at"):
                self._moved = time.monotonic()
                if facts["at"] != self._died_at:
                    self._deaths = 0
            self._last_report = {**before, **facts}

    def _behind(self, facts: dict[str, Any]) -> bool:
        """Whether there is something in the journal that it could have handed on."""
        at = msgspec.convert(facts.get("at", Position()), Position)
        if facts.get("by_segment"):  # the lake takes whole segments
            return at.number < self._end.number
        return at < self._end

    def status(self) -> dict[str, Any]:
        """Its counters, `at`, `error`; `restarts`, `alive`; `deaths`: how often its process has ended at the place where it is;
        `failed_starts`: how often in a row it ended before it had begun to read; `behind_seconds`: how long it has not moved though
        there was something to do."""
        with self._lock:
            facts = dict(self._last_report)
            behind = self._behind(facts)
            facts["alive"] = self._process is not None
        facts["restarts"] = self.restarts
        facts["deaths"] = self._deaths
        facts["failed_starts"] = self._failed_starts
        facts["behind_seconds"] = round(time.monotonic() - self._moved, 1) if behind else 0.0
        return facts

    def drain(self, end: Position, deadline: float) -> bool:
        """Lets it reach the end of the closed journal, then ends it; False when `deadline` (monotonic) came first."""
        if self._thread.ident is None:  # never started
            return False
        with self._lock:
            self._end, self._draining = end, True
            self._tell(Message(end, drain=True))
        while self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(0.2)
            self.retry_notify()  # the pipe may have been full
        drained = not self._thread.is_alive() and not self._stopping.is_set()
        self.end()
        return drained

    def wait(self, deadline: float) -> bool:
        """Waits for a process that another thread drains, then ends it; False when `deadline` (monotonic) came first."""
        while self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(0.2)
        drained = not self._thread.is_alive() and not self._stopping.is_set()
        self.end()
        return drained

    def end(self) -> None:
        """Ends it, with its cursor where it is; a batch that is under way gets a moment."""
        self._stopping.set()
        if self._thread.ident is None:
            return
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()  # it ends by itself, with its cursor where it is
        self._thread.join(_ENDING)
        if self._thread.is_alive():
            with self._lock:
                if self._process is not None:
                    self._process.kill()
            self._thread.join(_KILLED)
