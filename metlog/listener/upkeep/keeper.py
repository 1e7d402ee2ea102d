"""Does the upkeep of the configuration when it is due: one job at a time, each in a process of its own."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from metlog.journal.folder import Folder
from metlog.listener.upkeep.settings import JOBS, LakeUpkeep
from metlog.listener.upkeep.worker import Outcome, Task

__all__ = ["UpkeepKeeper"]

log = logging.getLogger("metlog.listener")

_TURN: Final = 0.5
_AGAIN: Final = 900.0
"""Seconds after which a job that failed is tried again, unless it is due sooner."""
_SOON: Final = 60.0
"""As `_AGAIN`, where another upkeep or a long query held it back."""
_PATIENT: Final = 3
"""Times in a row that a job may be held back before it counts as a fault."""
_LATE: Final = timedelta(days=30)
"""How late the removal of old events may be. Beyond it the clock may be wrong, by which all events are old."""
_PUT_OFF: Final = timedelta(days=1)
"""How long it is put off then, so that somebody sees it."""
_END: Final = 5.0
"""Seconds that a process gets to end by itself."""


_Time = Annotated[datetime, Meta(tz=True)]


class _Job(Struct):
    """What is known of a job; kept in a file, so that a restart does not make it due anew."""

    last: _Time
    """When it last began, or was first configured."""
    succeeded: _Time | None = None
    seconds: float = 0.0
    """How long the last run took."""
    runs: int = 0
    failures: int = 0
    held_back: int = 0
    """Times in a row that another upkeep, or a query, held it back."""
    put_off: bool = False
    """Whether the last run was put off because it came so late that the clock may be wrong."""
    error: str = ""
    """Of the last run; empty when it went well."""
    done: dict[str, int] = {}
    """Figures of the last run that went well."""

    def correct(self, now: datetime) -> None:
        """Moves times that lie ahead to `now`: they were noted while the clock was wrong, and nothing would be due for as long."""
        if self.last > now:
            self.last = now
            if self.put_off:  # the clock was wrong, and is right again
                self.put_off, self.error = False, ""
        if self.succeeded is not None:
            self.succeeded = min(self.succeeded, now)


class UpkeepKeeper:
    """A thread that waits for the time of each job. `start` and `stop` are called by one thread, all else from any."""

    def __init__(self, data: Folder, settings: LakeUpkeep, name: str = "upkeep-state.json") -> None:
        self.settings = settings
        self._data = data
        self._name = name
        self._jobs: dict[str, _Job] = {}
        self._running = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metlog-upkeep", daemon=True)

    def start(self) -> None:
        """Begins to wait for what is due."""
        known = self._load()
        now = datetime.now(UTC)
        self._jobs = {job: known.get(job) or _Job(now) for job in JOBS if self.settings.schedule(job) is not None}
        for job in self._jobs.values():
            job.correct(now)
        if self._jobs:
            self._note()
            self._thread.start()

    def stop(self) -> None:
        """Ends what is under way; the next upkeep finishes it. Called again, does nothing."""
        self._stop.set()
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
        if self._thread.ident is not None:
            self._thread.join()

    def status(self) -> dict[str, dict[str, Any]]:
        """Of each job: `running`, `runs`, `failures`, `seconds`, `error`, `done`, `last`, `succeeded`, `next` (times)."""
        found = {}
        for job, known in self._jobs.items():
            facts = {
                name: getattr(known, name) for name in _Job.__struct_fields__ if name not in {"held_back", "put_off"}
            }
            found[job] = {**facts, "running": self._running == job, "next": self._next(job)}
        return found

    def health(self) -> list[str]:
        """What has gone wrong the last time, and was not mended by a later run."""
        if self._thread.ident is not None and not self._thread.is_alive() and not self._stop.is_set():
            return ["upkeep: its thread has died"]
        return [
            f"upkeep {job}: {known.error}"
            for job, known in self._jobs.items()
            if known.error and (not known.held_back or known.held_back >= _PATIENT)
        ]

    # In the thread.

    def _run(self) -> None:
        while not self._stop.wait(_TURN):
            now = datetime.now(UTC)
            for job, known in self._jobs.items():
                known.correct(now)
                if self._next(job) <= now and not self._stop.is_set():
                    self._do(job)

    def _next(self, job: str) -> datetime:
        known = self._jobs[job]
        schedule = self.settings.schedule(job)
        assert schedule is not None
        due = schedule.after(known.last)
        if known.put_off:
            due = max(due, known.last + _PUT_OFF)
        elif known.error:
            due = min(due, known.last + timedelta(seconds=_SOON if known.held_back else _AGAIN))
        return due

    def _do(self, job: str) -> None:
        known = self._jobs[job]
        due, now = self._next(job), datetime.now(UTC)
        known.last, known.put_off = now, job == "expire" and now - due > _LATE
        if known.put_off:
            days = (now - due).days
            known.error = (
                f"was due {days} days ago by the clock, which says {now:%Y-%m-%d %H:%M} UTC; in case that is wrong, nothing is removed"
                f" before {self._next(job):%Y-%m-%d %H:%M} UTC"
            )
            log.warning("upkeep %s: %s", job, known.error)
            self._note()
            return
        self._running = job
        began = time.monotonic()
        try:
            outcome = self._work(job)
        except OSError as error:  # no process to be had now
            outcome = Outcome(error=f"cannot start its process: {error.strerror or error}")
        except Exception as error:  # told as all else that fails: the thread goes on with the other jobs
            log.exception("upkeep %s", job)
            outcome = Outcome(error=f"{type(error).__name__}: {error}")
        finally:
            self._running = ""
        if self._stop.is_set() and outcome.error:
            return  # it was ended with the listener; the next one finishes it
        known.runs += 1
        known.seconds = round(time.monotonic() - began, 3)
        known.error = outcome.error
        known.held_back = known.held_back + 1 if outcome.waits else 0
        if outcome.error:
            known.failures += 1
            log.warning("upkeep %s: %s", job, outcome.error)
        else:
            known.succeeded, known.done = datetime.now(UTC), outcome.done
        self._note()

    def _work(self, job: str) -> Outcome:
        task = Task(str(self._data.path.resolve()), job, self.settings.arguments(job))
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "metlog.listener.upkeep.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(task) + b"\n")
        except BrokenPipeError:  # dead already: its status tells
            pass
        with self._lock:
            self._process = process
            if self._stop.is_set():
                process.stdin.close()
        try:
            told = process.stdout.readline()
        finally:
            with self._lock:
                self._process = None
                process.stdin.close()
                process.stdout.close()
        try:
            code = process.wait(_END)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        try:
            return msgspec.json.decode(told, type=Outcome)
        except msgspec.DecodeError:
            return Outcome(error=f"its process ended with status {code}")

    def _load(self) -> dict[str, _Job]:
        try:
            return msgspec.json.decode(self._data.read(self._name), type=dict[str, _Job])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("cannot read when upkeep was done; it counts from now: %s: %s", self._name, error)
            return {}

    def _note(self) -> None:
        try:
            self._data.replace(self._name, msgspec.json.encode(self._jobs) + b"\n", durable=False)
        except OSError as error:  # a full disk: upkeep, which makes room, goes on
            log.warning("cannot note when upkeep was done: %s", error.strerror or error)
