"""Exceptions as text: causes and groups whole, no local variables, within a size limit."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType
from typing import Any, Final

__all__ = ["MAX_TRACEBACK", "exception_fields", "render"]

MAX_TRACEBACK: Final = 32_768
"""Characters that a rendered exception may have; what is over is cut from the middle."""

_GROUP_WIDTH: Final = 1_000  # the standard library stops at 15 exceptions of a group, and at 10 groups deep
_GROUP_DEPTH: Final = 100


def render(error: BaseException, *, limit: int = MAX_TRACEBACK, local_variables: bool = False) -> str:
    """The traceback as Python prints it, with causes, contexts, notes and every member of an exception group.

    `limit` is in characters: the outermost cause and the last lines stay, the middle is left out and says so.
    Local variables, which hold passwords and tokens, are never shown unless `local_variables` asks for them.
    Never raises: an exception whose own text cannot be had is named by its type.
    """
    try:
        lines = traceback.TracebackException(
            type(error),
            error,
            error.__traceback__,
            capture_locals=local_variables,
            compact=True,
            max_group_width=_GROUP_WIDTH,
            max_group_depth=_GROUP_DEPTH,
        ).format()
        text = "".join(lines).rstrip("\n")
    except Exception as failure:  # noqa: BLE001 - code of the application runs in here (`__str__`, `__cause__`)
        text = f"{type(error).__name__}: <its traceback cannot be rendered: {type(failure).__name__}>"
    return shorten(text, limit)


def shorten(text: str, limit: int) -> str:
    """Text of at most about `limit` characters: a quarter from the start, the rest from the end."""
    if len(text) <= limit:
        return text
    head = limit // 4
    tail = limit - head
    return f"{text[:head]}\n… {len(text) - limit} characters left out …\n{text[len(text) - tail :]}"


def exception_fields(
    exc_info: BaseException
    | tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
    | Any,
    *,
    limit: int = MAX_TRACEBACK,
    local_variables: bool = False,
) -> dict[str, str]:
    """The fields of an event that carries an exception: `exception_type`, `exception_message`, `traceback`.

    `exc_info` is what stdlib logging takes: an exception, a tuple of `sys.exc_info()`, or anything true for the exception
    that is being handled. Without one the answer is empty.
    """
    error: object = exc_info
    given: Any = exc_info
    if issubclass(type(given), tuple):  # not isinstance: it runs code of the object (`__class__`), which may raise
        error = given[1] if len(given) == 3 else None
    elif not issubclass(type(given), BaseException):
        try:
            error = sys.exc_info()[1] if exc_info else None
        except Exception:  # noqa: BLE001 - `__bool__` is code of the application; it asked for the exception
            error = sys.exc_info()[1]
    kind = type(error)
    if not issubclass(kind, BaseException):
        return {}
    assert isinstance(error, BaseException)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except Exception as failure:  # noqa: BLE001 - `__str__` is code of the application
        message = f"<its text cannot be had: {type(failure).__name__}>"
    return {
        "exception_type": name,
        "exception_message": shorten(message, limit),
        "traceback": render(error, limit=limit, local_variables=local_variables),
    }
