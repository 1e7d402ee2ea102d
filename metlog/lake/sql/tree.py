"""The syntax tree that DuckDB's parser gives as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import duckdb

__all__ = ["Tree", "nodes", "parser", "read", "write"]

Tree = dict[str, Any]
"""A node: what DuckDB's `json_serialize_sql` writes of it."""


@lru_cache(maxsize=1)
def parser() -> duckdb.DuckDBPyConnection:
    """An engine of its own to parse with, one a process: to start one takes longer than to parse. For use by `cursor()`."""
    return duckdb.connect(":memory:", config={"errors_as_json": True})


def read(sql: str) -> Tree:
    """What DuckDB's parser makes of SQL: `statements`, or `error` and what is wrong."""
    row = parser().cursor().execute("SELECT json_serialize_sql($1)", [sql]).fetchone()
    tree: Tree = json.loads(row[0] if row else "{}")
    return tree


def write(statement: Tree) -> str:
    """A statement as SQL."""
    text = json.dumps({"error": False, "statements": [statement]})
    row = parser().cursor().execute("SELECT json_deserialize_sql($1)", [text]).fetchone()
    assert row is not None  # a scalar function gives a row
    return str(row[0])


def nodes(value: Any) -> Iterator[Tree]:
    """Every node in a part of a tree, each before those below it."""
    if isinstance(value, list):
        for item in value:
            yield from nodes(item)
    elif isinstance(value, dict):
        yield value
        for item in value.values():
            yield from nodes(item)
