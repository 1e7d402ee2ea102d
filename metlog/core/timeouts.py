"""From the seconds that a caller may wait to the moment at which that ends."""

from __future__ import annotations

from time import monotonic
from typing import Final

__all__ = ["LONGEST", "deadline_in"]

LONGEST: Final = 1e6
"""Seconds, 11 days: a longer wait overflows in `poll` (24 days), in locks on Windows (49 days), and with infinity everywhere."""


def deadline_in(seconds: float) -> float:
    """Returns the moment so many seconds from now (monotonic seconds): now for less than 0 and NaN, at most `LONGEST` away."""
    return monotonic() + min(max(0.0, seconds), LONGEST)  # in this order `max` makes 0 of NaN
