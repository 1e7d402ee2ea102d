"""Values of parameters as literals, made by sqlglot: what a user typed is a text of its own, whatever it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlglot import exp

from metlog.lake.sql.guard import QueryError

__all__ = ["bind", "literal"]


def literal(value: Any, name: str) -> exp.Expression:
    """A value as an expression. Raises QueryError for a type that no literal can say."""
    match value:
        case None:
            return exp.null()
        case bool():
            return exp.true() if value else exp.false()
        case int():
            found = exp.Literal.number(abs(value))
            return exp.Paren(this=exp.Neg(this=found)) if value < 0 else found
        case float():
            text = repr(value) if math.isfinite(value) else str(value)
            return exp.cast(exp.Literal.string(text), "double")
        case Decimal():
            return exp.cast(exp.Literal.string(str(value)), "decimal(38, 9)")
        case str():
            if "\x00" in value:
                raise QueryError(f"parameter {name!r} has a NUL character", "syntax")
            return exp.Literal.string(value)
        case datetime():
            moment = value.astimezone(UTC) if value.tzinfo else value
            text = moment.replace(tzinfo=None).isoformat(" ", "microseconds")
            return exp.cast(exp.Literal.string(text), "timestamptz" if value.tzinfo else "timestamp")
        case date():
            return exp.cast(exp.Literal.string(value.isoformat()), "date")
        case _:
            raise QueryError(
                f"parameter {name!r}: a value of type {type(value).__name__} cannot be sent to an engine", "refused"
            )


def bind(tree: exp.Expression, params: Mapping[str, Any] | Sequence[Any] | None) -> exp.Expression:
    """The tree with each `$name` (or `?`, `$1`) replaced by its value. Raises QueryError when one has none."""
    values = dict(params) if isinstance(params, Mapping) else {str(n): v for n, v in enumerate(params or (), 1)}
    for node in list(tree.find_all(exp.Placeholder, exp.Parameter)):
        name = node.name if isinstance(node.this, (str, exp.Expression)) else ""
        if name not in values:
            raise QueryError(f"the query has a parameter ${name}, and no value was given for it", "refused")
        node.replace(literal(values[name], name))
    return tree
