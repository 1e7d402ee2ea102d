"""Names of functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["return_fq_name"]


def return_fq_name(func: Callable[..., Any], klass: type | None = None) -> str:
    """`module.function`, without the class that a method is in; of a callable of a class, `module.Class.PyCallable`."""
    if klass is not None:
        return f"{klass.__module__}.{klass.__name__}.PyCallable"
    name = getattr(func, "__name__", None)
    return (
        str(func).removeprefix("<").removesuffix(">") if name is None else f"{getattr(func, '__module__', '')}.{name}"
    )
