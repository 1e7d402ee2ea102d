"""Columns of a result, and its values as JSON can say them, and as text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

__all__ = ["Column", "as_cell", "as_json", "as_text", "formula_safe"]


class Column(NamedTuple):
    """A column of a result: its name and DuckDB's name of its type."""

    name: str
    type: str


def as_json(value: Any, sql_type: str = "") -> Any:
    """A value that `json.dumps` takes. Times are RFC 3339, in UTC with `Z`; what is no number in JSON is null; a
    column of type JSON is what its text says."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        if sql_type == "JSON":
            try:
                return msgspec.json.decode(value)
            except msgspec.DecodeError:
                return value
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if sql_type == "INTERVAL" and isinstance(value, tuple):
        return _duration(*value)
    if isinstance(value, (list, tuple)):
        if sql_type.startswith("MAP("):
            return {str(key): as_json(item) for key, item in value}
        inner = sql_type.removesuffix("[]") if sql_type.endswith("[]") else ""
        return [as_json(item, inner) for item in value]
    return str(value)


def _duration(months: int, days: int, nanoseconds: int) -> str:
    """An interval as ISO 8601 has it: `P1MT5400S`."""
    date = "".join(f"{count}{unit}" for count, unit in ((months, "M"), (days, "D")) if count)
    seconds = f"{nanoseconds / 1e9:.9f}".rstrip("0").rstrip(".")
    return f"P{date}T{seconds}S" if nanoseconds or not date else f"P{date}"


def as_text(value: Any, sql_type: str = "", between: str = " ") -> str:
    """A value as text; `between` stands between the day and the time."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=between, timespec="microseconds" if value.microsecond else "seconds").replace(
            "+00:00", "Z"
        )
    plain = as_json(value, sql_type)
    return plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()


_FORMULA: Final = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
"""What makes a spreadsheet compute a cell (https://owasp.org/www-community/attacks/CSV_Injection), the wide forms included."""
_PLAIN_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:[.][0-9]+)?(?:[eE][+-]?[0-9]+)?")


def formula_safe(text: str) -> str:
    """The text behind an apostrophe where a spreadsheet would take it for a formula; numbers stay as they are."""
    begins = text.lstrip(" \xa0\ufeff\0")[:1]
    return f"'{text}" if begins and begins in _FORMULA and not _PLAIN_NUMBER.fullmatch(text) else text


def as_cell(value: Any, sql_type: str = "") -> str:
    """A value in a CSV file that a spreadsheet opens."""
    text = as_text(value, sql_type, "T")
    return text if isinstance(value, (bool, int, float, Decimal, date, time, timedelta)) else formula_safe(text)


def _number(value: float) -> str:
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(value)
