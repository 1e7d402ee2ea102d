"""How a result reads for people, the same in a terminal and on the page: digits of numbers, the order of an event's columns, its fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from metlog.lake.columns import COLUMNS
from metlog.lake.values import Column, as_text

__all__ = ["cut", "fields_of", "is_number", "number", "order", "pairs", "plural", "shown", "size"]

_FIRST: Final = ("timestamp", "logger", "type", "severity", "payload", "fields", "tokens")
"""Columns of an event that are read first."""
_EVENT: Final = frozenset(COLUMNS)
_NUMERIC: Final = ("INT", "INTEGER", "DOUBLE", "FLOAT", "BIGNUM")
_NAMES: Final = frozenset(
    {"pid", "seq", "id", "status", "year", "month", "day", "hour", "minute", "port", "version", "severity"}
)
"""Columns whose numbers are names of something: no separators in them, and none after an underscore (`last_seq`)."""
_LARGEST: Final = 1e15
_CELL: Final = 4000
"""Characters of a cell that the page shows; a download has all of them."""


def order(columns: Sequence[Column]) -> list[int]:
    """Positions of the columns as they are shown: of a result that has all of an event's columns those that matter come first, every other
    result stays as its query says."""
    names = [column.name for column in columns]
    if not set(names) >= _EVENT or len(names) != len(set(names)):
        return list(range(len(names)))
    first = [names.index(name) for name in _FIRST]
    return [*first, *(at for at in range(len(names)) if at not in first)]


def is_number(column: Column) -> bool:
    """Whether a column's values stand to the right of their cell."""
    return column.type.endswith(_NUMERIC) or column.type.startswith("DECIMAL")


def shown(value: Any, column: Column) -> str:
    """A value in digits and words: thousands are separated, two decimals from 1 on and four significant digits below it. Text of other
    types is `as_text`; exact values are in every download."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return as_text(value, column.type)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int) and column.type.endswith(_NUMERIC):
        return str(value) if column.name.rpartition("_")[2].lower() in _NAMES else f"{value:,}"
    return as_text(value, column.type)


def number(value: float) -> str:
    """A number for people: `16,981`, `27.29`, `0.03125`."""
    if not abs(value) < _LARGEST:
        return repr(value)
    return f"{value:,.2f}".rstrip("0").rstrip(".") if abs(value) >= 1 or not value else f"{value:.4g}"


def fields_of(value: Any, column: Column) -> dict[str, Any] | None:
    """The members of a value that is a JSON object, a struct or a map; None for any other."""
    found = value
    if isinstance(value, str) and column.type == "JSON" and value.startswith("{"):
        try:
            found = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return None
    return found if isinstance(found, dict) else None


def pairs(members: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of such members as text: numbers as they are, what holds others as JSON."""
    return [(str(name), as_text(value)) for name, value in members.items()]


def cut(text: str) -> str:
    """A text as long as a cell of the page may be."""
    return text if len(text) <= _CELL else f"{text[:_CELL]}…"


def plural(count: int, noun: str) -> str:
    """So many of something: `1 event`, `1,200 events`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size(count: float) -> str:
    """Bytes for people, in powers of 1,000: `4.2 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.0f} {unit}" if unit == "bytes" or abs(count) >= 100 else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.0f} TB"
