"""Conditions on the rows of a result: `COLUMN OPERATOR NUMBER`, parsed by a pattern, never run as code."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from metlog.errors import ConfigError
from metlog.lake.result import Result

__all__ = ["ROWS", "Condition", "condition"]

ROWS: Final = "rows"
"""Stands for the number of rows, in a result without a column of that name."""

_CONDITION: Final = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_ ]*?)\s*(>=|<=|==|=|!=|>|<)\s*(-?\d+(?:\.\d+)?)\s*")
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


class Condition(NamedTuple):
    """One condition."""

    text: str
    column: str
    compare: Callable[[float, float], bool]
    limit: float

    def holds(self, value: float) -> bool:
        """Returns whether a value has it."""
        return self.compare(value, self.limit)

    def values(self, result: Result) -> list[tuple[float, dict[str, Any]]]:
        """Returns the values that it is about, each with its row; NULL is no value. Raises ConfigError when there is no such column,
        or it holds no numbers."""
        names = [item.name for item in result.columns]
        if self.column not in names:
            if self.column != ROWS:
                raise ConfigError(f"there is no column {self.column!r}; there is {', '.join(names)}, and {ROWS}")
            return [(float(len(result.rows)), {})]
        found: list[tuple[float, dict[str, Any]]] = []
        for row in result.dicts():
            value = row[self.column]
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
                raise ConfigError(f"the column {self.column!r} holds no numbers")
            found.append((float(value), row))
        return found

    def first(self, result: Result) -> tuple[float, dict[str, Any]] | None:
        """Returns the first value that has it, with its row; None when none has. Raises ConfigError as `values`."""
        return next(((value, row) for value, row in self.values(result) if self.holds(value)), None)

    def worst(self, values: Sequence[tuple[float, dict[str, Any]]]) -> tuple[float, dict[str, Any]]:
        """Returns of some values the one that has it the most, or comes nearest to it."""
        if self.compare in (operator.gt, operator.ge):
            return max(values, key=lambda item: item[0])
        if self.compare in (operator.lt, operator.le):
            return min(values, key=lambda item: item[0])
        return next((item for item in values if self.holds(item[0])), values[0])


def condition(text: str) -> Condition:
    """Reads a condition such as `p95 > 500`, or `rows = 0`. Raises ValueError."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError('wants COLUMN OPERATOR NUMBER, such as "p95 > 500"')
    return Condition(text.strip(), match[1], _COMPARE[match[2]], float(match[3]))
