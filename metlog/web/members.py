"""The members of an event's fields by the names that a search knows them by: `cart.size` is the member `size` of `cart`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from metlog.lake.shown import cut
from metlog.web.conditions import Condition, text_of, within
from metlog.web.errors import Refused

__all__ = ["Members", "askable", "flat", "listed", "members"]

Members = list[tuple[str, str, bool]]
"""Names, values as text, and whether a search can ask for that value."""

_DEEP: Final = 4
"""Names within one another; what is deeper is shown as JSON."""
_ASKED: Final = 200
"""Characters of a value that a search is offered for."""
_UNASKED: Final = re.compile(r"[\x00\r\n]")
"""What a form in a browser does not send as it is."""
_ROOM: Final = 20_000
"""Characters of names and values of one event there."""


def members(fields: Mapping[str, Any], prefix: str = "", depth: int = _DEEP) -> Iterator[tuple[str, Any, bool]]:
    """Each member with its name and value, and whether the members of that value follow, under names of their own."""
    for key, value in fields.items():
        inner = isinstance(value, Mapping) and bool(value) and depth > 1 and bool(key) and "." not in key
        yield prefix + key, value, inner
        if inner:
            yield from members(value, f"{prefix}{key}.", depth - 1)


def askable(name: str, text: str = "x") -> bool:
    """Whether a search's condition can name the field, and ask for this value of it."""
    if len(text) > _ASKED or _UNASKED.search(name + text):
        return False
    try:
        made = Condition.parse(f"{name}={text}".strip())
    except Refused:
        return False
    return (made.names, made.operator, made.wanted, made.negated) == ((name,), "=", text, False)


def flat(fields: Mapping[str, Any]) -> Members:
    """Each field; objects by their members."""
    found = []
    for name, value, inner in members(fields):
        if not inner:
            text = text_of(value)
            found.append((name, text, value is not None and within(fields, name) is value and askable(name, text)))
    return found


def listed(fields: Mapping[str, Any]) -> tuple[Members, int]:
    """The fields that a list of events has room for, long values cut, and how many are left out."""
    every = flat(fields)
    rows: Members = []
    room = _ROOM
    for name, whole, asked in every:
        text = cut(whole)
        room -= len(name) + len(text)
        if room < 0:
            break
        rows.append((name, text, asked))
    return rows, len(every) - len(rows)
