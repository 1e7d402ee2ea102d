"""The words of a query, for completion and colours: views with their columns, functions, keywords, and the fields that events have."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from metlog.lake.columns import COLUMNS
from metlog.lake.sql.functions import ALLOWED, TABLES

__all__ = ["FUNCTIONS", "HIDDEN", "KEYWORDS", "VIEW_COLUMNS", "Field", "fields", "values_of"]

_DELIVERY: Final = (
    ("stream", "VARCHAR"), ("logger", "VARCHAR"), ("hostname", "VARCHAR"), ("pid", "BIGINT"), ("first_at", "TIMESTAMPTZ"),
    ("last_at", "TIMESTAMPTZ"), ("received", "BIGINT"), ("distinct_received", "BIGINT"), ("duplicates", "BIGINT"),
    ("last_seq", "BIGINT"), ("lost", "BIGINT"), ("before_first", "BIGINT"), ("ended", "BOOLEAN"), ("dropped", "JSON"),
)  # fmt: skip
_ARRIVALS: Final = (*COLUMNS.items(), ("arrival_file", "VARCHAR"), ("arrival_row", "BIGINT"))
_FILES: Final = (("date", "DATE"), ("kind", "VARCHAR"), ("name", "VARCHAR"), ("bytes", "BIGINT"), ("events", "BIGINT"))
VIEW_COLUMNS: Final = {"events": tuple(COLUMNS.items()), "arrivals": _ARRIVALS, "delivery": _DELIVERY, "files": _FILES}
"""The views with their columns and types."""
HIDDEN: Final = frozenset({"files"})
"""Views that are not for those who see some services only."""
FUNCTIONS: Final = tuple(sorted(name for name in ALLOWED | TABLES if re.fullmatch(r"[a-z][a-z0-9_]+", name)))
"""Functions that a query may call, by name."""
KEYWORDS: Final = (
    "ALL", "AND", "ANY", "AS", "ASC", "BETWEEN", "BIGINT", "BOOLEAN", "BY", "CASE", "CAST", "CROSS", "CURRENT ROW", "DATE", "DAY",
    "DECIMAL", "DESC", "DESCRIBE", "DISTINCT", "DOUBLE", "ELSE", "END", "EXCEPT", "EXCLUDE", "EXISTS", "FALSE", "FILTER", "FIRST",
    "FOLLOWING", "FROM", "FULL", "GROUP BY", "HAVING", "HOUR", "ILIKE", "IN", "INNER", "INTEGER", "INTERSECT", "INTERVAL", "IS",
    "JOIN", "JSON", "LAST", "LATERAL", "LEFT", "LIKE", "LIMIT", "MINUTE", "MONTH", "NOT", "NULL", "NULLS", "OFFSET", "ON", "OR",
    "ORDER BY", "OVER", "PARTITION BY", "PRECEDING", "QUALIFY", "RANGE", "RECURSIVE", "REPLACE", "RIGHT", "ROWS", "SECOND",
    "SELECT", "SUMMARIZE", "THEN", "TIMESTAMP", "TRUE", "TRY_CAST", "UNBOUNDED", "UNION", "USING", "VALUES", "VARCHAR", "WEEK",
    "WHEN", "WHERE", "WINDOW", "WITH", "YEAR",
)  # fmt: skip
"""The words of SELECT."""

_LATEST: Final = 5000
"""Events of the last days whose fields are looked at: enough for names and shares, and read in a moment."""
_MOST: Final = 200
_FIELDS: Final = f"""
WITH latest AS (
    SELECT fields FROM events WHERE $all OR timestamp >= now() - INTERVAL 7 DAY ORDER BY timestamp DESC LIMIT {_LATEST}
), members AS (
    SELECT unnest(json_keys(fields)) AS name, fields FROM latest
)
SELECT name, any_value(lower(json_type(fields, '$."' || replace(name, '"', '\\"') || '"'))) AS type,
       count(*) / (SELECT count(*) FROM latest) AS share
FROM members GROUP BY name ORDER BY share DESC, name LIMIT {_MOST}
"""  # noqa: S608 - numbers of this module
_VALUES: Final = """
SELECT DISTINCT {column} AS value FROM events WHERE timestamp >= now() - INTERVAL 7 DAY AND {column} <> '' ORDER BY value LIMIT 200
"""


class _Asked(Protocol):
    def query(
        self,
        sql: str,
        params: Any = None,
        *,
        limit: int | None = None,
        timeout: float | None = None,
        loggers: Sequence[str] | None = None,
        cancel: Any = None,
    ) -> Any: ...


class Field(NamedTuple):
    """A member of `fields`: its name, JSON's name of its type, and the share of events that have it (0 to 1)."""

    name: str
    type: str
    share: float


def fields(engine: _Asked, *, loggers: Sequence[str] | None = None, cancel: Any = None) -> list[Field]:
    """The members of `fields` in the latest events, the most frequent first: of the last seven days, which few files have, or where
    there are none, of all. Raises QueryError."""
    for sql in (
        _FIELDS.replace("$all OR ", ""),
        _FIELDS.replace("$all OR timestamp >= now() - INTERVAL 7 DAY", "true"),
    ):
        rows = engine.query(sql, loggers=loggers, cancel=cancel).rows
        if rows:
            break
    return [Field(str(name), str(kind or "null"), float(share)) for name, kind, share in rows]


def values_of(engine: _Asked, column: str, *, loggers: Sequence[str] | None = None) -> list[str]:
    """The values that a text column of `events` had within the last seven days, at most 200. Raises KeyError for another column."""
    if COLUMNS[column] != "VARCHAR":
        raise KeyError(column)
    return [str(row[0]) for row in engine.query(_VALUES.format(column=column), loggers=loggers).rows]
