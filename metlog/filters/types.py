"""Keeps or drops by the event's type."""

from __future__ import annotations

from typing import Any

from metlog.event import ONE, Event
from metlog.filters import BaseFilter

__all__ = ["TypeAllow", "TypeDeny", "TypeSeverityMax"]


def _names(types: list[str]) -> frozenset[str]:
    if not types:
        raise ValueError("types = []: wants at least one type of event")
    return frozenset(types)


class TypeAllow(BaseFilter):
    """Keeps events of some types only.

    types
        Names of the types to keep, one at least.
    """

    def __init__(self, *, types: list[str]) -> None:
        self._types = _names(types)

    def __call__(self, event: Event, /) -> Event | None:
        """The event when its type is named."""
        return event if event.type in self._types else None

    early_needs_fields = False

    def early(self, tokens: tuple[str, ...], severity: int, payload: Any, fields: dict[str, Any]) -> float:
        """As the call, before an event is built."""
        return ONE if tokens[0] in self._types else 0.0


class TypeDeny(BaseFilter):
    """Drops events of some types.

    types
        Names of the types to drop, one at least.
    """

    def __init__(self, *, types: list[str]) -> None:
        self._types = _names(types)

    def __call__(self, event: Event, /) -> Event | None:
        """The event unless its type is named."""
        return None if event.type in self._types else event

    early_needs_fields = False

    def early(self, tokens: tuple[str, ...], severity: int, payload: Any, fields: dict[str, Any]) -> float:
        """As the call, before an event is built."""
        return 0.0 if tokens[0] in self._types else ONE


class TypeSeverityMax(BaseFilter):
    """Drops what is less urgent than its type may be.

    types
        A table: the largest severity that is kept, by type. Types that are not named pass.
    """

    def __init__(self, *, types: dict[str, int]) -> None:
        if not types:
            raise ValueError("types = {}: wants at least one type and its largest severity, such as { request = 4 }")
        for name, severity in types.items():
            if not 0 <= severity <= 7:
                raise ValueError(f"types.{name} = {severity}: a severity is 0 (emergency) to 7 (debug)")
        self._types = dict(types)

    def __call__(self, event: Event, /) -> Event | None:
        """The event when it is urgent enough for its type."""
        return event if event.severity <= self._types.get(event.type, 7) else None

    early_needs_fields = False

    def early(self, tokens: tuple[str, ...], severity: int, payload: Any, fields: dict[str, Any]) -> float:
        """As the call, before an event is built."""
        return ONE if severity <= self._types.get(tokens[0], 7) else 0.0
