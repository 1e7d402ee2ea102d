"""What an output's process knows of its listener: how far the journal reaches, when to end, where to report."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from metlog.core.backoff import Backoff
from metlog.journal.cursor import Cursor, Position
from metlog.journal.folder import Folder
from metlog.journal.reader import Damage
from metlog.journal.recovery import quarantine
from metlog.journal.routing import Route
from metlog.listener.deadletters import DeadLetters

__all__ = ["Context", "Stopped"]


class Stopped(Exception):
    """The output must end now; what it has not committed comes again at the next start."""


class Context:
    """Handed to an output that reads the journal itself (`run(context)`), and to the loop of those that take batches."""

    def __init__(
        self, output: str, route: Route, data: Folder, journal: Folder, cursors: Folder, dead: DeadLetters,
        report: Callable[[dict[str, Any]], None],
    ) -> None:  # fmt: skip
        self.output = output
        self.route = route
        self.data = data
        self.journal = journal
        self.cursors = cursors
        self.dead = dead
        self.answers = True
        """Of a lake: whether queries over the data folder read its files."""
        self.answers_at = ""
        """Of a lake that answers: the URI of the one elsewhere that answers, itself or the one beside it; the empty text: there is none."""
        self.lakes: tuple[str, ...] = ()
        """Ids of the lakes that answer; of a lake that does."""
        self.deaths = 0
        """How often in a row the output's process has ended at the place where it is now."""
        self._report = report
        self._changed = threading.Condition()
        self._end = Position()
        self._draining = False
        self._stopped = False
        self._told: dict[str, Any] = {}

    # From the listener.

    def advance(self, end: Position) -> None:
        with self._changed:
            self._end = end
            self._changed.notify_all()

    def drain(self) -> None:
        """The journal is closed at its end: finish it, then return."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    # For the output.

    @property
    def end(self) -> Position:
        """Everything in the journal before it is durable, and may be read."""
        return self._end

    @property
    def draining(self) -> bool:
        return self._draining

    def wait(self, seen: Position, timeout: float | None = None) -> None:
        """Returns when the journal reaches further than `seen`, when it drains, or after `timeout` seconds. Raises Stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._draining or self._end > seen, timeout)
            if self._stopped:
                raise Stopped

    def pause(self, seconds: float) -> None:
        """Sleeps, but no longer than the listener lives. Raises Stopped."""
        with self._changed:
            if self._changed.wait_for(lambda: self._stopped, seconds):
                raise Stopped

    def cursor(self, *, lake: bool = False) -> Cursor:
        """The output's cursor as it was kept, else one that stands before the first segment."""
        cursor = Cursor.load(self.cursors, self.output) or Cursor(self.output)
        cursor.lake = lake
        return cursor

    def keep(self, cursor: Cursor) -> None:
        """Makes a cursor durable, for as many tries as the disk wants. Raises Stopped."""
        for delay in self.backoff():
            try:
                cursor.save(self.cursors)
            except OSError as error:
                self.report(error=f"cannot keep its cursor: {error.strerror or error}")
                self.pause(delay)
            else:
                return

    def damaged(self, damage: Damage) -> None:
        """Copies aside, and tells, what a reader of the journal had to skip."""
        start = damage.offset
        quarantine(self.journal, damage.segment, damage.data, [(start, start + len(damage.data))], start)

    def report(self, **facts: Any) -> None:
        """Tells the listener: `at` (Position), counters, `error` (text, empty when all is well). From the first `at` on, an end of the
        process may be the fault of the events that come next, unless it is told with `starting=True`."""
        self._told.update(facts)
        self._report(self._told)

    def backoff(self) -> Iterator[float]:
        """Seconds to wait between tries: doubling from 0.1 to 30, each shortened at random by up to half."""
        return iter(Backoff(0.1, 30.0))
