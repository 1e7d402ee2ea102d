"""Names for people, where the wire says another one: `log line` for the type `oldstyle`."""

from __future__ import annotations

from typing import Final

__all__ = ["shown_type", "type_of"]

_SHOWN: Final = {"oldstyle": "log line"}
"""Names of types: `oldstyle` is what `info` to `critical`, and the standard library's loggers, send."""
_WIRE: Final = {shown: wire for wire, shown in _SHOWN.items()}


def shown_type(name: str) -> str:
    """Returns the name that people see for a type."""
    return _SHOWN.get(name, name)


def type_of(text: str) -> str:
    """Returns the type that a shown name means."""
    return _WIRE.get(text, text)
