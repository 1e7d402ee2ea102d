"""Results that are shown again for some seconds: a page and its pictures ask for the same thing at once."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

__all__ = ["Cache", "Caches"]

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


class Caches:
    """What one page shows again, by kind."""

    def __init__(self) -> None:
        self.libraries: Cache[Any] = Cache(5.0, 16)
        """The reports of a data folder."""
        self.results: Cache[Any] = Cache(10.0, 64)
        """Of reports: the page, its picture and its chart ask for the same one."""
        self.pictures: Cache[str] = Cache(10.0, 128)
        self.overviews: Cache[Any] = Cache(5.0, 64)
