"""What decides by chance which events are kept."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["Certain", "Chance", "chance"]


class Chance:
    """Draws numbers; a pipeline has one, and hands it to its filters."""

    __slots__ = ()

    draw: Callable[[], float] = staticmethod(random.random)
    """Returns a number from 0 up to, and without, 1."""

    def keeps(self, rate: float) -> bool:
        """Returns whether an event that is kept with this probability is kept now."""
        return rate >= 1.0 or random.random() < rate


class Certain(Chance):
    """Keeps every event, for tests of what is logged."""

    __slots__ = ()

    draw = staticmethod(lambda: 0.0)
    """Returns 0."""

    def keeps(self, rate: float) -> bool:
        """Returns True; false for a rate of 0 or less, by which nothing is ever kept."""
        return rate > 0.0


chance = Chance()
"""The one that is used where no other is given."""
