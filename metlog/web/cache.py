"""Results that are shown again for some seconds: a page and its pictures ask for the same thing at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

__all__ = ["Cache", "Caches"]

T = TypeVar("T")


class Cache(Generic[T]):
    """At most `most` values of at most `size` bytes together, as `bytes_of` counts them, each for `seconds`; a value that is larger than a
    quarter of that is not kept. Used from the event loop only."""

    def __init__(
        self, seconds: float, most: int, *, size: int = 64 << 20, bytes_of: Callable[[T], int] = lambda _: 0
    ) -> None:
        self._seconds = seconds
        self._most = most
        self._size = size
        self._bytes_of = bytes_of
        self._values: dict[Hashable, tuple[float, T]] = {}

    @property
    def size(self) -> int:
        """Bytes of what is kept."""
        return sum(self._bytes_of(value) for _, value in self._values.values())

    def get(self, key: Hashable) -> T | None:
        entry = self._values.get(key)
        if entry is None or entry[0] < time.monotonic():
            return None
        return entry[1]

    def drop(self, key: Hashable) -> None:
        self._values.pop(key, None)

    def put(self, key: Hashable, value: T, seconds: float | None = None) -> T:
        """Keeps a value, if it is not too large, and gives it back. seconds: for how long, in place of the cache's own."""
        now = time.monotonic()
        self._values = {known: entry for known, entry in self._values.items() if entry[0] >= now and known != key}
        added = self._bytes_of(value)
        if added > self._size // 4:
            return value
        while self._values and (len(self._values) >= self._most or self.size + added > self._size):
            self._values.pop(next(iter(self._values)))
        self._values[key] = (now + (self._seconds if seconds is None else seconds), value)
        return value


class Caches:
    """What one page shows again, by kind."""

    def __init__(self) -> None:
        self.libraries: Cache[Any] = Cache(5.0, 16)
        """The reports of a data folder."""
        self.results: Cache[Any] = Cache(10.0, 64, bytes_of=lambda result: int(result.arrow.nbytes))
        """Of reports: the page, its picture and its chart ask for the same one."""
        self.pictures: Cache[bytes] = Cache(10.0, 128, bytes_of=len)
        self.overviews: Cache[Any] = Cache(5.0, 64)
        self.facets: Cache[Any] = Cache(60.0, 32)
        """Of searches, for the pages after the first one."""
        self.names: Cache[Any] = Cache(60.0, 32)
        """Of services and types, for forms whose search finds nothing."""
        self.fields: Cache[Any] = Cache(60.0, 64)
        """Members of `fields`, for the editor of queries, by who may see what."""
