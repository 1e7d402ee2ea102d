"""Keeps a part of the events; the weight of each says how many it stands for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from metlog.event import MAX_WEIGHT, ONE, Event
from metlog.filters import BaseFilter

__all__ = ["Sample"]

_SCALARS: Final = frozenset({str, int, float, bool})


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
        if not 1 / MAX_WEIGHT <= rate <= 1:
            raise ValueError(f"rate = {rate}: wants more than 0 (at least {1 / MAX_WEIGHT:g}), up to 1")
        self._rate = rate
        self._weight = 1 / rate
        self._path = field.split(".") if field else None
        self._types = frozenset(types) if types else None
        if type(self).early is Sample.early:
            self.early_needs_fields = self._path is not None
            if rate < 1 and not field and not types:
                self.early = self._by_chance  # type: ignore[method-assign] # as the method, in less time

    def __call__(self, event: Event, /) -> Event | None:
        """The event with its weight, or None."""
        if self._rate == 1 or (self._types is not None and event.type not in self._types):
            return event
        if self._draw(event.fields) >= self._rate:
            return None
        return replace(event, weight=event.weight / self._rate)

    def early(self, tokens: tuple[str, ...], severity: int, payload: Any, fields: dict[str, Any]) -> float | None:
        """As the call, before an event is built."""
        rate = self._rate
        if rate == 1 or (self._types is not None and tokens[0] not in self._types):
            return ONE
        if self._path is None:
            return 0.0 if self.chance.draw() >= rate else self._weight
        value = fields.get(self._path[0])
        if value is not None and value.__class__ not in _SCALARS:
            return None  # something below it, or of the application, which may log
        return 0.0 if self._draw(fields) >= rate else self._weight

    def _by_chance(self, tokens: tuple[str, ...], severity: int, payload: Any, fields: dict[str, Any]) -> float:
        return 0.0 if self.chance.draw() >= self._rate else self._weight

    def _draw(self, fields: Mapping[str, Any]) -> float:
        """A number from 0 up to 1."""
        if self._path is not None:
            value: Any = fields
            for part in self._path:
                value = value.get(part) if isinstance(value, dict) else None
            if value is not None:
                digest = hashlib.blake2b(str(value).encode("utf-8", "surrogatepass"), digest_size=8).digest()
                return int.from_bytes(digest) / 2**64
        return self.chance.draw()
