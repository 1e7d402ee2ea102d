"""A client's stream: its id, the next `seq`, and the events that metlog itself adds to it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any, Final

from metlog.core.stats import AtomicCounter, Counts
from metlog.event import END_TYPE, ENV_VERSION, ONE, REPORT_TYPE, Event

__all__ = ["Stream"]

_now: Final = datetime.now


class Stream:
    """Numbers the events of one pipeline in one process. A forked child starts a stream of its own."""

    __slots__ = ("_counts", "_uncounted", "hostname", "id", "logger", "pid", "seq")

    def __init__(self, logger: str, hostname: str, counts: Counts) -> None:
        self.logger = logger
        self.hostname = hostname
        self._counts = counts
        self.restart()

    def restart(self) -> None:
        """Starts a new stream: another id, `seq` from 1."""
        self.pid = os.getpid()
        self.id = os.urandom(8).hex()
        self.seq = AtomicCounter(1)
        self._uncounted = 0  # numbers given to events that `accepted` leaves out

    @property
    def accepted(self) -> int:
        """Events of the application that were given a `seq`, less those handed to another stream."""
        return self.seq.value - 1 - self._uncounted

    def stamp(self, event: Event) -> None:
        """Puts in what is the client's own: where the event comes from."""
        event.logger = event.logger or self.logger
        event.pid, event.hostname, event.stream = self.pid, self.hostname, self.id

    def sample(self) -> Event:
        """Returns an event of this stream without a `seq`."""
        return self._event("", {})

    def report(self) -> Event:
        """Returns the event that follows the first frame sent after a drop. Its counts are totals, so that a lost one does no
        harm."""
        with self._counts.locked():
            self._counts.unreported = False
            dropped = dict(self._counts.by_reason)
        return self._numbered(REPORT_TYPE, {"dropped": dropped})

    def end(self) -> Event | None:
        """Returns the event that ends the stream; None for a stream without events."""
        last = self.seq.value - 1
        return self._numbered(END_TYPE, {"last_seq": last, "dropped": dict(self._counts.by_reason)}) if last else None

    def hand_over(self) -> None:
        """Leaves one event out of `accepted`: another pipeline has taken it, and counts it."""
        with self._counts.locked():
            self._uncounted += 1

    def _event(self, type: str, fields: dict[str, Any]) -> Event:
        return Event(
            timestamp=_now(UTC), type=type, tokens=(type,), logger=self.logger, severity=6, payload="", fields=fields,
            weight=ONE, env_version=ENV_VERSION, pid=self.pid, hostname=self.hostname, stream=self.id,
        )  # fmt: skip

    def _numbered(self, type: str, fields: dict[str, Any]) -> Event:
        """An event of metlog's own: it has a `seq`, and `accepted` leaves it out."""
        event = self._event(type, fields)
        with self._counts.locked():
            self._uncounted += 1
            event.seq = next(self.seq)
        return event
