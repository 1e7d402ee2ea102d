"""What stands in the place of a pipeline before `configure` and after `close`: every call is refused at once, and counted."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from metlog.core.chance import chance
from metlog.core.stats import AtomicCounter, Stats
from metlog.core.terminal import is_terminal

__all__ = ["CLOSED", "NO_SEVERITY", "REFUSING", "UNCONFIGURED", "Unconfigured", "wants_console"]

_log: Final = logging.getLogger("metlog")

UNCONFIGURED: Final = (
    "metlog is not configured: events are counted and left out (metlog.configure() sends them; told once)"
)
NO_SEVERITY: Final = object()
"""Stands for the usual severity where that is not accepted: no call has it, as one may have None."""
REFUSING: Final[tuple[Any, ...]] = (-1, None, None, None, None, None, {}, NO_SEVERITY, None)
"""A fast path (see `metlog.core.pipeline`) that admits no severity."""
CLOSED: Final = "metlog is closed: events are counted and left out (told once)"


class Unconfigured:
    """Before `configure`, and after `close`: every call is refused at once, and counted."""

    severity_max = -1
    fast_path = REFUSING
    screened_path: tuple[Any, ...] = (None,) * 7
    fields: dict[str, Any] = {}  # noqa: RUF012 - never written to
    closed = True
    logger = hostname = ""
    sender = encoder = None
    chance = chance
    counters = timers = count = None
    branches: tuple[Any, ...] = ()
    filters: tuple[Any, ...] = ()
    exit_timeout = 0.0

    def __init__(self, message: str, default: Callable[[], bool] | None = None) -> None:
        """`default`: called at the first call; it puts a pipeline in this one's place and returns True, or False for none."""
        self.final_stats: Stats | None = None
        """The counts of the pipeline that was closed."""
        self._message = message
        self._default = default
        self._installing = self._in_place = False
        self._lock = threading.RLock()  # what the default opens may log itself
        self._warned = False
        self._calls = AtomicCounter()

    def admit_severity(self, severity: Any) -> int:
        """Returns -1. Counts the call as filtered, and logs once why, unless there is a default pipeline to take its place."""
        if self._default is not None and self._replaced():
            return -1  # the caller sees that another pipeline is in place
        next(self._calls)
        if not self._warned:
            self._warned = True
            _log.info("%s", self._message)
        return -1

    def _replaced(self) -> bool:
        """Whether the default pipeline is in place now; threads that log meanwhile wait for it, a second at most."""
        if not self._lock.acquire(timeout=1.0):
            return False
        try:
            if self._default is not None and not self._installing:
                self._installing = True
                try:
                    self._in_place = self._default()
                finally:
                    self._default, self._installing = None, False
            return self._in_place
        finally:
            self._lock.release()

    def put(self, *event: Any) -> None:
        """Refuses a call that began while the client was open."""
        self.admit_severity(0)

    def accept_copy(self, event: object) -> None:
        """As `put`."""
        self.admit_severity(0)

    def failed(self, error: BaseException, count: int = 0, reason: str | None = None) -> None:
        """Counts a call with arguments of the wrong type as filtered."""
        next(self._calls)

    def lose(self, error: BaseException) -> None:
        """As `failed`."""
        next(self._calls)

    def stats(self) -> Stats:
        """How many calls were refused, as `filtered`; after `close` on top of the last counts of the pipeline."""
        found = Stats(filtered=self._calls.value)
        if self.final_stats is not None:
            found.add(self.final_stats)
        return found

    def add_up(self, *measurement: object) -> bool:
        """Adds nothing up: a call that began while the client was open becomes an event, which is refused."""
        return False

    def collect(self, deadline: float) -> bool:
        """Nothing was added up."""
        return True

    def flush(self, deadline: float) -> bool:
        """Nothing is held."""
        return True

    def close(self, deadline: float, successor: object = None) -> None:
        """Nothing is open."""


def wants_console() -> bool:
    """Whether a developer may be looking: stderr is a terminal, and the environment names no configuration."""
    return is_terminal(sys.stderr) and not (os.environ.get("METLOG_SENDER") or os.environ.get("METLOG_CONFIG"))
