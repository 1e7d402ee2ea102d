"""Drops by severity."""

from __future__ import annotations

from metlog.event import Event
from metlog.filters import BaseFilter

__all__ = ["SeverityMax"]


class SeverityMax(BaseFilter):
    """Drops what is less urgent.

    severity
        The largest severity that is kept, 0 (emergency) to 7 (debug): 6 drops debug.
    """

    by_severity_only = True
    """The client checks `severity_max` before it builds an event, so the filter need not be called."""

    def __init__(self, *, severity: int) -> None:
        if not 0 <= severity <= 7:
            raise ValueError(f"severity = {severity}: a severity is 0 (emergency) to 7 (debug)")
        self.severity_max = severity

    def __call__(self, event: Event, /) -> Event | None:
        """The event when it is urgent enough."""
        return event if event.severity <= self.severity_max else None
