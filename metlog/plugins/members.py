"""What the object of a component must have, looked at once when it is made: a fault found here is an error of the configuration, and
not the loss of every event."""

from __future__ import annotations

import math
from collections.abc import Mapping
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any, Final

from metlog.core.adapt import name_of

__all__ = ["verify"]

_NEEDED: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "sender": (("send",),),
    "encoder": (("encode",), ("frame",)),
    "filter": (("__call__",),),
    "plugin": (("__call__",),),
    "input": (("start",),),
    "output": (("write", "run"),),
    "target": (("send",),),
}
"""For each kind groups of methods, of each group one at least."""
_CALLED: Final = (
    "open", "send", "flush", "close", "encode", "frame", "decode", "__call__", "early", "tick", "start", "stop", "write", "run",
    "query", "stream",
)  # fmt: skip
"""Methods that are called from threads; what a coroutine function returns would be thrown away."""


def verify(kind: str, made: Any) -> None:
    """Raises TypeError that says what is wrong with the object that a factory gave."""
    name = name_of(made)
    for group in _NEEDED.get(kind, ()):
        if not any(_has(kind, made, method) for method in group):
            raise TypeError(f"{name} has no method {' or '.join(group)}, which is what makes a {kind}")
    members = {f"{name}.{method}": getattr(made, method, None) for method in _CALLED}
    for called, found in {name: made, **members}.items():  # a filter may be a function itself
        if iscoroutinefunction(found) or isasyncgenfunction(found):
            raise TypeError(
                f"{called} is a coroutine function, which nobody would await: it is called from a thread; run an event loop there,"
                " such as asyncio.Runner"
            )
    if kind == "sender":
        _verify_size(name, made)


def _has(kind: str, made: Any, method: str) -> bool:
    """Whether there is such a method, other than the one of the base class, which raises NotImplementedError."""
    found = getattr(made, method, None)
    return callable(found) and getattr(found, "__qualname__", "") != f"Base{kind.capitalize()}.{method}"


def _verify_size(name: str, made: Any) -> None:
    size = getattr(made, "max_frame", 1)
    if isinstance(size, bool) or not isinstance(size, int | float) or not 1 <= size < math.inf:
        raise TypeError(f"{name}.max_frame is {size!r}: wants bytes, a whole number from 1 on")
