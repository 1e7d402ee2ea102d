"""Settings of the sending side: where they come from (`sources`), and the checked plan that they make (`planning`)."""

from __future__ import annotations

from metlog.config.planning import DEFAULT_SENDER, Plan, plan
from metlog.config.sources import expand, from_prefixed, gather

__all__ = ["DEFAULT_SENDER", "Plan", "expand", "from_prefixed", "gather", "plan"]
