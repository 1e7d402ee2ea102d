"""Packages that a process does without, though they are installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

__all__ = ["UNUSED_BY_ARROW", "leave_out"]

UNUSED_BY_ARROW: Final = ("numpy", "pandas")
"""Packages that pyarrow imports wherever they are installed, and that metlog's own processes do not need."""


class _Absent(MetaPathFinder):
    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self._names:
            raise ModuleNotFoundError(f"{fullname} is not used in this process", name=fullname)
        return None


def leave_out(names: Sequence[str]) -> None:
    """From here on an import of these packages raises ModuleNotFoundError in this process, but for those that are imported already.

    None in `sys.modules` would not do: what Cython compiles, such as pyarrow, takes the None for the package.
    """
    sys.meta_path.insert(0, _Absent(names))
