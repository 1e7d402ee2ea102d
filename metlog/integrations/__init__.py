"""metlog inside other frameworks. One file a framework, imported when it is first named."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Final

_NAMES: Final = frozenset(found.name for found in iter_modules(__path__) if not found.name.startswith("_"))


def __getattr__(name: str) -> ModuleType:
    """`metlog.integrations.asgi` after `import metlog` alone; raises ModuleNotFoundError that names a framework which is missing."""
    if name in _NAMES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_NAMES)
