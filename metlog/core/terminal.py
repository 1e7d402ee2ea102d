"""Streams of the process: whether text goes to a terminal, and whether it may have colours there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TextIO

__all__ = ["flush_of", "is_terminal", "wants_no_colour"]


def is_terminal(stream: TextIO | None) -> bool:
    """Returns whether a stream is a terminal; False for a closed one, for a replacement that cannot say, and where there is none."""
    if stream is None:  # pythonw, a daemon
        return False
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError, OSError):
        return False


def flush_of(stream: Any) -> Callable[[], object]:
    """Returns the stream's `flush`; what does nothing for a replacement without one, which `print` takes as well."""
    found: Callable[[], object] = getattr(stream, "flush", _nothing)
    return found


def _nothing() -> None:
    """In the place of a method that a stream has not."""


def wants_no_colour() -> bool:
    """Returns whether the environment asks for plain text: NO_COLOR (https://no-color.org) is set, or the terminal is a dumb one."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
