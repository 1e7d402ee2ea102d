"""The syntax tree that DuckDB's parser gives as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["Tree", "nodes"]

Tree = dict[str, Any]
"""A node: what DuckDB's `json_serialize_sql` writes of it."""


def nodes(value: Any) -> Iterator[Tree]:
    """Every node in a part of a tree, each before those below it."""
    if isinstance(value, list):
        for item in value:
            yield from nodes(item)
    elif isinstance(value, dict):
        yield value
        for item in value.values():
            yield from nodes(item)
