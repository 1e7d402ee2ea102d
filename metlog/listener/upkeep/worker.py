"""The process of one upkeep: `python -m metlog.listener.upkeep.worker`, started by the listener.

On standard input it gets one line that says what to do; the end of that input means that the listener is gone. It writes one line with what
was done, or why not. Killed at any moment it leaves what the next upkeep finishes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from metlog.errors import MetlogError
from metlog.lake.replacing import ReadersHold
from metlog.plugins.absent import UNUSED_BY_ARROW, leave_out

__all__ = ["Outcome", "Task", "main"]

_NICE: Final = 10
"""Behind the listener, where processors are busy."""


class Task(Struct):
    """The line on standard input."""

    data: str
    job: str
    arguments: dict[str, Any]


class Outcome(Struct):
    """The line on standard output."""

    done: dict[str, int] = {}
    """Figures of what was done."""
    error: str = ""
    waits: bool = False
    """Whether the error passes by itself: another upkeep, or a long query, holds this one back."""


def main() -> int:
    try:
        os.nice(_NICE)
    except OSError:  # a sandbox does not have it
        pass
    # They may come to all processes of a terminal or a unit: this one ends with the listener, and a reload ends it not at all.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    leave_out(UNUSED_BY_ARROW)
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    threading.Thread(target=_end_with_the_listener, daemon=True).start()
    try:
        outcome = Outcome(_run(task))
    except ReadersHold as error:
        outcome = Outcome(error=str(error), waits=True)
    except MetlogError as error:
        outcome = Outcome(error=str(error), waits="another upkeep" in str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, a damaged file most likely, is told in the listener's status
        outcome = Outcome(error=f"{type(error).__name__}: {error}")
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
    sys.stdout.flush()
    return 0


def _end_with_the_listener() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def _run(task: Task) -> dict[str, int]:
    data = Path(task.data)
    if task.job == "compact":
        from metlog.lake.upkeep.compact import compact

        merged = compact(data, **task.arguments)
        return {
            name: getattr(merged, name)
            for name in ("days", "files_before", "files_after", "bytes_before", "bytes_after")
        }
    from metlog.lake.upkeep.expire import expire

    figures = dict.fromkeys(("events", "files", "rewritten", "bytes"), 0)
    ages: list[tuple[float, list[str]]] = [(age, [name]) for name, age in task.arguments["types"].items()]
    if task.arguments["age"]:
        ages.append((task.arguments["age"], []))
    for age, types in ages:
        gone = expire(data, timedelta(seconds=age), types=types)
        for name in figures:
            figures[name] += getattr(gone, name)
    return figures


if __name__ == "__main__":
    sys.exit(main())
