"""Which events an output takes."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

__all__ = ["Route"]


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
        return any(name.endswith(".*") and event.type.startswith(name[:-1]) for name in self.types)


_ALL = Route()
