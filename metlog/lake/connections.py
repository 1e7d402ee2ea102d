"""Cursors of the query engine with the views that a query needs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final

import duckdb

__all__ = ["Cursors"]

_PROGRESS: Final = ("SET enable_progress_bar = true", "SET enable_progress_bar_print = false")
"""A connection that counts how far its query is, and prints nothing; the lake allows these two settings."""
_KEPT: Final = 4
"""Cursors that wait for the next query with the same views."""


class Cursors:
    """Makes them, and keeps some for the next query: over a few dozen files, making a view takes as long as a small query. Safe to
    use from several threads; a cursor is one query's at a time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._kept: list[tuple[Mapping[str, str], duckdb.DuckDBPyConnection]] = []

    def take(self, views: Mapping[str, str], tables: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
        """A cursor that has these views (SQL by name) over these tables."""
        with self._lock:
            for index, (has, cursor) in enumerate(self._kept):
                if has == views and not tables:
                    del self._kept[index]
                    return cursor
        cursor = self._connection.cursor()
        try:
            for statement in _PROGRESS:
                cursor.execute(statement)
            for name, table in tables.items():
                cursor.register(name, table)
            for name, view in views.items():
                cursor.execute(f"CREATE TEMP VIEW {name} AS {view}")
        except BaseException:
            cursor.close()
            raise
        return cursor

    def give_back(self, cursor: duckdb.DuckDBPyConnection, views: Mapping[str, str], tables: Mapping[str, Any]) -> None:
        """Takes back a cursor whose query has come to its end. With tables it is of one query only: these are of a moment, or of
        what one user may see."""
        unwanted = cursor
        if views and not tables:
            with self._lock:
                self._kept.append((views, cursor))
                if len(self._kept) <= _KEPT:
                    return
                _, unwanted = self._kept.pop(0)
        unwanted.close()

    def close(self) -> None:
        """Closes those that wait."""
        with self._lock:
            for _, cursor in self._kept:
                cursor.close()
            self._kept.clear()
