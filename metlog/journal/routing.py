"""Which events an output takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import Meta, Struct

__all__ = ["AnyRoute", "Route", "Routes", "joined"]


class Route(Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """A condition on events: every list that is not empty must match, by any one of its members.

    What an output's table in the configuration may hold beside the output's own options.
    """

    types: tuple[str, ...] = ()
    """Event types; `name.*` matches everything that begins with `name.`."""
    tokens: tuple[str, ...] = ()
    """At least one of these among the event's tokens."""
    loggers: tuple[str, ...] = ()
    severity_max: Annotated[int, Meta(ge=0, le=7)] = 7
    """The greatest severity number taken: 4 takes warnings and everything more urgent."""

    @property
    def takes_all(self) -> bool:
        return self == _ALL

    def takes(self, event: Any) -> bool:
        """Whether the event (anything with `type`, `tokens`, `logger`, `severity`) goes this way."""
        if event.severity > self.severity_max:
            return False
        if self.loggers and event.logger not in self.loggers:
            return False
        if self.tokens and not any(token in self.tokens for token in event.tokens):
            return False
        if not self.types or event.type in self.types:
            return True
        return any(_matches(name, event.type) for name in self.types)

    def covers(self, other: Route) -> bool:
        """Whether every event that the other takes goes this way, as far as the two tell."""
        return self.takes_all or self == other

    def meets(self, other: Route) -> bool:
        """Whether an event may go both ways: always, unless types or loggers keep them apart, for an event may have tokens of both, and
        every severity that one takes the more urgent ones of the other are among."""
        if self.loggers and other.loggers and not set(self.loggers) & set(other.loggers):
            return False
        if not self.types or not other.types:
            return True
        return any(_matches(mine, its) or _matches(its, mine) for mine in self.types for its in other.types)


class Routes(Struct, frozen=True):
    """The events that any of several ways takes, each once."""

    any_of: tuple[Route, ...]

    @property
    def takes_all(self) -> bool:
        return any(route.takes_all for route in self.any_of)

    def takes(self, event: Any) -> bool:
        """Whether the event goes one of the ways."""
        return any(route.takes(event) for route in self.any_of)


AnyRoute = Route | Routes


def joined(routes: Iterable[Route]) -> AnyRoute:
    """What takes the events of all these ways."""
    found = tuple(dict.fromkeys(routes))
    return found[0] if len(found) == 1 else Routes(found)


def _matches(name: str, type: str) -> bool:
    """Whether a name of a route, which may end in `.*`, takes a type, or all that another such name takes."""
    return name == type or (name.endswith(".*") and type.startswith(name[:-1]))


_ALL = Route()
