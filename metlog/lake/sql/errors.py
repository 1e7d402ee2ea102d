"""DuckDB's errors in plain words, with the place of the mistake and the nearest name that exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import duckdb

from metlog.lake.columns import COLUMNS
from metlog.lake.sql.guard import QueryError
from metlog.plugins.conversion import nearest
from metlog.values import whole_number

__all__ = ["EXPLAIN", "explain", "is_of_values", "placed_in"]

EXPLAIN = "EXPLAIN "
"""What a query is prefixed with to hear where in it a mistake is; its positions are behind by as much."""

_SYNTAX = {"Parser", "Syntax", "Binder", "Catalog", "Parameter Not Resolved", "Parameter Not Allowed", "Expression"}


_OF_VALUES: Final = {"Conversion", "Out of Range", "Invalid Input"}
_HIDDEN: Final = re.compile(r" when casting from source column metlog_field_\d+$")
"""Columns of the view over promoted columns are in no query that was written."""

_MISSING: Final = re.compile(
    r"Values were not provided for the following (?:prepared statement )?parameters?: ([\w, ]+)"
)

_EXCESS: Final = re.compile(r"identifiers of the excess parameters: (.+)")


def explain(error: Exception, sql: str, ran: str, reason: str | None, timeout: float | None) -> QueryError:
    """What to tell of an error of the engine. `sql` is the query as written, `ran` as it ran; `reason` is why it was
    interrupted, if it was."""
    if isinstance(error, QueryError):
        return error
    text = "Out of Memory" if isinstance(error, MemoryError) else str(error)
    if reason == "cancelled":
        return QueryError("the query was cancelled", "cancelled")
    if reason == "timeout" or "maximum execution time" in text:
        limit = f" of {timeout:g} s" if timeout is not None else ""
        return QueryError(f"the query took longer than the limit{limit}; ask for fewer days or columns", "timeout")
    details = _details(text)
    kind = str(details.get("exception_type", ""))
    message = str(details.get("exception_message", text)).strip()
    if kind == "Out of Memory" or "Out of Memory" in text or "max_temp_directory_size" in text:
        return QueryError(
            "the query needs more memory than it may have; ask for fewer days, rows or columns, or raise the limit"
            f" ({message.splitlines()[0]})",
            "memory",
        )
    if kind == "Permission" or "file system operations are disabled" in text:
        return QueryError(message, "refused")
    if missing := _MISSING.search(message):
        names = [name.strip() for name in missing[1].split(",")]
        how = " ".join(f"--param {name}=…" for name in names)
        return QueryError(
            f"no value is given for {', '.join(f'${name}' for name in names)}; in a command: {how}", "syntax"
        )
    if "cannot encode str as UTF-8" in message:
        return QueryError("a value that is given for the query is not UTF-8", "syntax")
    if excess := _EXCESS.search(message):
        return QueryError(
            f"the query has no {', '.join(f'${name.strip()}' for name in excess[1].split(','))}, for which a value is given",
            "syntax",
        )
    position = whole_number(str(details.get("position", "")))
    if position is not None and isinstance(error, (duckdb.BinderException, duckdb.CatalogException)):
        position -= len(EXPLAIN)  # these were found by EXPLAIN of the query as written
    elif sql != ran and not _same_place(sql, ran, position, str(details.get("name", ""))):
        position = None
    return QueryError(_plain(message, details), "syntax" if kind in _SYNTAX else "failed", position, sql)


@contextmanager
def placed_in(condition: str, head: str) -> Iterator[None]:
    """Raises errors of the query `head`, the condition, a line of `)` with their place in the condition."""
    try:
        yield
    except QueryError as error:
        if error.line is None or error.column is None:
            raise
        lines = condition.split("\n")
        line, column, message = error.line, error.column, error.message
        if line > len(lines):
            line, column, message = len(lines), len(lines[-1]) + 1, "syntax error at the end of the condition"
        elif line == 1:
            column -= len(head)
        raise QueryError.placed(message, error.kind, line, column) from error


def is_of_values(error: Exception) -> bool:
    """Whether a value among the events is at fault: one that cannot be converted, say."""
    return _details(str(error)).get("exception_type") in _OF_VALUES


def _details(text: str) -> dict[str, Any]:
    """The JSON object that the engine puts behind its error's name."""
    start = text.find("{")
    if start >= 0:
        try:
            found = json.loads(text[start:])
        except ValueError:
            return {}
        if isinstance(found, dict):
            return found
    return {}


def _same_place(sql: str, ran: str, position: int | None, name: str) -> bool:
    """Whether a position in the rewritten query is that of the same word in the query as written."""
    if position is None or not name:
        return False
    end = position + len(name.encode())
    return sql.encode()[position:end] == ran.encode()[position:end]


def _plain(message: str, details: dict[str, Any]) -> str:
    subtype = details.get("error_subtype")
    name = str(details.get("name", ""))
    if subtype == "COLUMN_NOT_FOUND" and name:
        given = re.findall(r'"([^"]+)"', str(details.get("candidates", ""))) or str(
            details.get("candidates", "")
        ).split(",")
        candidates = [candidate.strip().rsplit(".", 1)[-1] for candidate in given if candidate.strip()]
        near = nearest(name.lower(), [*COLUMNS, *candidates])
        return f"there is no column {name!r}; " + (
            f"did you mean {near!r}?" if near else f"`events` has {', '.join(COLUMNS)}"
        )
    if subtype == "MISSING_ENTRY" and details.get("type") and name:
        closest = str(details.get("candidates", "")).split(",")[0].strip()
        what = str(details["type"]).lower()
        return f"there is no {what} {name!r}" + (f"; did you mean {closest!r}?" if closest else "")
    return _HIDDEN.sub("", message).replace("\n\n", "\n")
