"""metlog: structured events and metrics from Python services to storage that answers SQL."""

from __future__ import annotations

from metlog.event import Event, Severity

__version__ = "0.1.0"

__all__ = ["Event", "Severity"]
