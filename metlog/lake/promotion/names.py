"""What a list of names may be; without Arrow, for who only checks a configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from metlog.errors import ConfigError

__all__ = ["check_names"]

_MOST: Final = 64
_LONGEST: Final = 200
"""Characters of a name."""


def check_names(names: Sequence[str]) -> None:
    """Raises ConfigError for what no list of names can be."""
    if len(names) > _MOST:
        raise ConfigError(f"lake.promote: {len(names)} names; {_MOST} are the most")
    for name, count in Counter(names).items():
        if not name or len(name) > _LONGEST:
            raise ConfigError(f"lake.promote: {name!r} is no name of a field; wants 1 to {_LONGEST} characters")
        if count > 1:
            raise ConfigError(f"lake.promote: {name!r} stands there {count} times")
