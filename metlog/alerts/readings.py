"""One evaluation of an alert: the query, and what the condition says of its result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from metlog.alerts.config import Prepared, question
from metlog.errors import MetlogError
from metlog.lake.interface import Cancel, Engine, Result
from metlog.lake.values import Column
from metlog.reports import Library

__all__ = ["Reading", "read"]

_ROWS: Final = 10_000
_TEXT: Final = 200
"""Characters of a text in a row that are told."""
_COLUMNS: Final = 30


class Reading(Struct, frozen=True):
    """What an evaluation found."""

    outcome: Literal["met", "clear", "missing", "failed"]
    value: float | None = None
    row: dict[str, Any] = {}  # msgspec copies it
    error: str = ""


def read(
    prepared: Prepared, engine: Engine, library: Library, timeout: float, cancel: Cancel, now: datetime
) -> Reading:
    """Asks, once. What goes wrong is a reading too: `failed`."""
    alert = prepared.alert
    until = (now - timedelta(seconds=alert.delay)).astimezone(UTC)
    window = {"since": until - timedelta(seconds=alert.window), "until": until}
    try:
        result: Result
        if alert.report:
            given = {**alert.parameters, **{key: value.isoformat() for key, value in window.items()}}
            result = library[alert.report].run(engine, given, limit=_ROWS, timeout=timeout, cancel=cancel, now=now)
        else:
            sql = alert.sql or question(alert)
            used = {key: value for key, value in window.items() if f"${key}" in sql}
            result = engine.query(sql, used, limit=_ROWS, timeout=timeout, cancel=cancel)
        values = [item for item in prepared.condition.values(result) if math.isfinite(item[0])]
    except MetlogError as error:
        return Reading("failed", error=str(error))
    except OSError as error:
        return Reading("failed", error=f"{type(error).__name__}: {error}")
    if result.truncated and not _known(prepared, values):
        return Reading(
            "failed",
            error=f"the answer has more than {_ROWS:,} rows, and the first do not say whether {prepared.alert.when}; "
            "group or filter them in SQL",
        )
    if not values:
        return Reading("missing")
    value, row = prepared.condition.worst(values)
    told = {column.name: _told(row[column.name]) for column in _first(result.columns) if column.name in row}
    return Reading("met" if prepared.condition.holds(value) else "clear", value, told)


def _known(prepared: Prepared, values: Sequence[tuple[float, dict[str, Any]]]) -> bool:
    """Whether the first of more rows say if the condition holds: one of them has it, or, of the number of rows, more change nothing."""
    holds = prepared.condition.holds
    return any(holds(value) if row else holds(value) == holds(math.inf) for value, row in values)


def _first(columns: list[Column]) -> list[Column]:
    return columns[:_COLUMNS]


def _told(value: Any) -> Any:
    """A value as JSON has it, no longer than a notice wants it."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    text = value if isinstance(value, str) else str(msgspec.to_builtins(value, enc_hook=str))
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}…"
