"""Paths into JSON as DuckDB reads them: a key, `$.a."b c"[0]`, or `/a/b`."""

from __future__ import annotations

import re
from typing import Final

from metlog.lake.sql.guard import QueryError

__all__ = ["Path", "read_path"]

Path = list[str | int]
"""Keys of objects and places in arrays (from 0), from the outermost."""

_STEP: Final = re.compile(r'\.(?:"((?:[^"\\]|\\.)*)"|([^."\[\]*]+))|\[(\d+)\]', re.DOTALL)


def read_path(text: str | int) -> Path:
    """The steps of a path. Raises QueryError for one that DuckDB refuses, or that names several places at once."""
    if isinstance(text, int):
        if text < 0:
            raise QueryError(f"the JSON path {text} counts from the end, which other engines cannot", "unsupported")
        return [text]
    if text.startswith("/"):
        parts = [step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/")]
        if any(part.isdecimal() or part == "-" for part in parts):
            raise QueryError(
                f"the JSON path {text!r}: whether a number in it is a key or a place in an array depends on the value; write $[0]"
                ' or $."0"',
                "unsupported",
            )
        return list(parts)
    if not text.startswith("$"):
        return [text]
    steps: Path = []
    at = 1
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise QueryError(
                f"the JSON path {text!r} cannot be read from its character {at + 1} on; other engines take keys and"
                ' places: $.key, $."a key"[0]',
                "unsupported",
            )
        quoted, plain, place = found.groups()
        if place is not None:
            steps.append(int(place))
        else:
            steps.append(re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain)
        at = found.end()
    return steps
