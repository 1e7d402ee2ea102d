"""What stands in the place of a pipeline before `configure` and after `close`: every call is refused at once, and counted."""

from __future__ import annotations

import logging
from typing import Any, Final

from metlog.core.chance import chance
from metlog.core.stats import AtomicCounter, Stats

__all__ = ["CLOSED", "REFUSING", "UNCONFIGURED", "Unconfigured"]

_log: Final = logging.getLogger("metlog")

UNCONFIGURED: Final = (
    "metlog is not configured: events are counted and left out (metlog.configure() sends them; told once)"
)
REFUSING: Final[tuple[Any, ...]] = (-1, None, None, None, None, None, {})
"""A fast path (see `metlog.core.pipeline`) that admits no severity."""
CLOSED: Final = "metlog is closed: events are counted and left out (told once)"


class Unconfigured:
    """Before `configure`, and after `close`: every call is refused at once, and counted."""

    severity_max = -1
    fast_path = REFUSING
    fields: dict[str, Any] = {}  # noqa: RUF012 - never written to
    closed = True
    sender = encoder = None
    chance = chance
    branches: tuple[Any, ...] = ()
    filters: tuple[Any, ...] = ()
    exit_timeout = 0.0

    def __init__(self, message: str) -> None:
        self.final_stats: Stats | None = None
        """The counts of the pipeline that was closed."""
        self._message = message
        self._warned = False
        self._calls = AtomicCounter()

    def admit_severity(self, severity: Any) -> int:
        """Counts the call, tells once."""
        next(self._calls)
        if not self._warned:
            self._warned = True
            _log.info("%s", self._message)
        return -1

    def put(self, *event: Any) -> None:
        """A call that found the client open, and comes in when it is closed: refused like the others."""
        self.admit_severity(0)

    def accept_copy(self, event: object) -> None:
        """As `put`."""
        self.admit_severity(0)

    def failed(self, error: BaseException, count: int = 0, reason: str | None = None) -> None:
        """A call with arguments of the wrong kind: refused like the others."""
        next(self._calls)

    def lose(self, error: BaseException) -> None:
        """As `failed`."""
        next(self._calls)

    def stats(self) -> Stats:
        """How many calls were refused, as `filtered`; after `close` the last counts of the pipeline."""
        return self.final_stats or Stats(filtered=self._calls.value)

    def flush(self, deadline: float) -> bool:
        """Nothing is held."""
        return True

    def close(self, deadline: float, successor: object = None) -> None:
        """Nothing is open."""
