"""The process of one output: `python -m metlog.listener.delivery.worker`, started by the listener.

On standard input it gets one line that says what it is, then lines that say how far the journal reaches; the end of
that input means that the listener is gone. Its reports go to the descriptor that the first line names.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from metlog import plugins
from metlog.journal.cursor import LOCK, Cursor, Position
from metlog.journal.folder import Folder
from metlog.journal.routing import Route
from metlog.listener.adapt import adapt_output
from metlog.listener.deadletters import DeadLetters
from metlog.listener.delivery.batches import limits_of, run_batches
from metlog.listener.outputs import BaseOutput
from metlog.listener.outputs.context import Context, Stopped
from metlog.plugins.absent import leave_out

__all__ = ["Assignment", "Message", "main"]

log = logging.getLogger("metlog.listener")

_LAST: Final = 2.0
"""Seconds that an output which hangs in a call gets to come out of it when its listener is gone."""
_NICE: Final = 5
"""A lower priority than the listener's: what an output reads waits on the disk, what the listener does not take in time is lost."""
_ERROR: Final = 1000
"""Bytes of an error, and of a description, that are told: both, and the figures, have room in one report."""


class Assignment(Struct):
    """The first line."""

    data: str
    journal: str
    id: str
    spec: dict[str, Any]
    route: Route
    limits: dict[str, Any]
    dead_bytes: int
    report_fd: int
    deaths: int = 0
    answers: bool = True
    answers_at: str = ""
    lakes: tuple[str, ...] = ()


class Message(Struct):
    """A later line."""

    end: Position
    drain: bool = False


def main() -> int:
    os.nice(_NICE)
    # They may come to all processes of a terminal or a unit: the listener ends this process, when all is handed on.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(format="metlog: %(message)s", level=logging.WARNING)
    lines = _lines()
    first = next(lines, None)
    if first is None:  # the listener ended before it could say what this is
        return 0
    assignment = msgspec.json.decode(first, type=Assignment)
    output = adapt_output(plugins.build("output", assignment.spec, f"outputs.{assignment.id}"))
    leave_out(output.unused_modules)
    with Folder.root(Path(assignment.data)) as data, data.sub("journal") as journals:
        journal = journals.sub(assignment.journal)
        cursors = journal.sub("cursors", create=True)
        dead = DeadLetters(
            data.sub("dead", create=True), f"{assignment.journal}.output-{assignment.id}", assignment.dead_bytes
        )
        report = _Reporter(assignment.report_fd)
        context = Context(assignment.id, assignment.route, data, journal, cursors, dead, report)
        context.deaths = assignment.deaths
        context.answers, context.answers_at = assignment.answers, assignment.answers_at
        context.lakes = assignment.lakes
        threading.Thread(target=_listen, args=(context, lines), name="metlog-control", daemon=True).start()
        _lock(cursors, assignment.id, report)
        cursors.tidy(f"{assignment.id}.cursor")
        _begin(context)
        context.report(describe=_description(output, assignment.id))
        try:
            if output.reads_journal:
                output.run(context)
            else:
                run_batches(output, context, limits_of(output, assignment.limits, f"outputs.{assignment.id}"))
                _close(output, assignment.id)
        except Stopped:
            pass
    return 0


def _description(output: BaseOutput, identity: str) -> str:
    """Where the output says that it delivers; one that cannot say it delivers all the same."""
    try:
        return _sendable(str(output.describe() or ""))
    except Exception:
        log.exception("output %s: describe() failed", identity)
        return ""


def _close(output: BaseOutput, identity: str) -> None:
    """Closes an output that all is handed on to: what it raises then is no reason to begin again."""
    try:
        output.close()
    except Exception:
        log.exception("output %s: close() failed", identity)


def _begin(context: Context) -> None:
    """Creates the cursor at the start, so that status tools see the output before it makes progress."""
    if Cursor.load(context.cursors, context.output) is None:
        if context.cursors.exists(f"{context.output}.cursor"):
            log.warning("output %s: its cursor is damaged: it begins at the oldest segment again", context.output)
        cursor = context.cursor()
        cursor.route = context.route
        context.keep(cursor)


def _lock(cursors: Folder, output: str, report: Callable[[dict[str, Any]], None]) -> None:
    """Takes the cursor's lock, so that it has one writer. The process of a listener that was killed may still hold the lock: it is waited
    for, and ends by itself."""
    fd = cursors.open(f"{output}{LOCK}", os.O_RDWR | os.O_CREAT)  # held until the process ends
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        report({"error": "waits for the process that an earlier listener started for it to end"})
        fcntl.flock(fd, fcntl.LOCK_EX)


def _sendable(text: str) -> str:
    """The text, as JSON in UTF-8 holds it and a report has room for it."""
    return text[:_ERROR].encode(errors="backslashreplace")[:_ERROR].decode(errors="ignore")


class _Reporter:
    """Sends what changed; a report that finds no room is left out, since the next one says it all again."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._last = b""
        os.set_blocking(fd, False)

    def __call__(self, facts: dict[str, Any]) -> None:
        if error := facts.get("error"):
            facts = {**facts, "error": _sendable(error)}
        line = msgspec.json.encode(facts) + b"\n"
        if line == self._last or len(line) > 4096:  # longer than a pipe takes in one piece
            return
        try:
            os.write(self._fd, line)
        except BlockingIOError:
            return
        except BrokenPipeError:  # the listener is gone: the control thread sees it too
            return
        self._last = line


def _lines() -> Iterator[bytes]:
    """Lines of standard input, read without the buffered file, whose lock a daemon thread would hold at exit."""
    left = b""
    while part := os.read(0, 65_536):
        *whole, left = (left + part).split(b"\n")
        yield from whole


def _listen(context: Context, lines: Iterator[bytes]) -> None:
    decode = msgspec.json.Decoder(Message).decode
    for line in lines:
        message = decode(line)
        context.advance(message.end)
        if message.drain:
            context.drain()
    context.stop()
    # An output that hangs in a call must not outlive its listener for long: it holds the cursor's lock.
    last = threading.Timer(_LAST, os._exit, (1,))
    last.daemon = True
    last.start()


if __name__ == "__main__":
    sys.exit(main())
