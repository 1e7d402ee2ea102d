"""Results that are shown again for some seconds: a page and its pictures ask for the same thing at once."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Cache"]

T = TypeVar("T")


class Cache(Generic[T]):
    """At most `most` values, each for `seconds`. Used from the event loop only."""

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._values: dict[Hashable, tuple[float, T]] = {}

    def get(self, key: Hashable) -> T | None:
        entry = self._values.get(key)
        if entry is None or entry[0] < time.monotonic():
            return None
        return entry[1]

    def drop(self, key: Hashable) -> None:
        self._values.pop(key, None)

    def put(self, key: Hashable, value: T) -> T:
        """Keeps a value, and gives it back."""
        now = time.monotonic()
        self._values = {known: entry for known, entry in self._values.items() if entry[0] >= now and known != key}
        while len(self._values) >= self._most:
            self._values.pop(next(iter(self._values)))
        self._values[key] = (now + self._seconds, value)
        return value
