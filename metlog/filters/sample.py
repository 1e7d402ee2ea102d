"""Keeps a part of the events; the weight of each says how many it stands for."""

from __future__ import annotations

import hashlib
from typing import Any

from msgspec.structs import replace

from metlog.event import Event
from metlog.filters import BaseFilter

__all__ = ["Sample"]


class Sample(BaseFilter):
    """Keeps a share of the events, by chance or consistently by a field; `weight` says how many each one stands for.

    rate
        The share: above 0, up to 1. The weight of what is kept is divided by it.
    field
        Path of a field, such as `user` or `request.id`. Then a hash of its value decides (BLAKE2b): all events of one user
        are kept or none, on every machine alike. Events without the field are decided by chance.
    types
        Only these types are sampled; all by default.
    """

    def __init__(self, *, rate: float, field: str | None = None, types: list[str] | None = None) -> None:
        if not 0 < rate <= 1:
            raise ValueError(f"rate = {rate}: wants more than 0, up to 1")
        self._rate = rate
        self._path = field.split(".") if field else None
        self._types = frozenset(types) if types else None

    def __call__(self, event: Event, /) -> Event | None:
        """The event with its weight, or None."""
        if self._rate == 1 or (self._types is not None and event.type not in self._types):
            return event
        if self._draw(event) >= self._rate:
            return None
        return replace(event, weight=event.weight / self._rate)

    def _draw(self, event: Event) -> float:
        """A number from 0 up to 1."""
        if self._path is not None:
            value: Any = event.fields
            for part in self._path:
                value = value.get(part) if isinstance(value, dict) else None
            if value is not None:
                digest = hashlib.blake2b(str(value).encode("utf-8", "surrogatepass"), digest_size=8).digest()
                return int.from_bytes(digest) / 2**64
        return self.chance.draw()
