"""Columns of a result, and its values as JSON can say them, and as text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from metlog.lake.sqltypes import AS_JSON, SqlType, type_named

__all__ = ["Column", "as_cell", "as_json", "as_text", "encode", "formula_safe", "spelt"]


class Column(NamedTuple):
    """A column of a result: its name and DuckDB's name of its type."""

    name: str
    type: str


encode: Final[Callable[[Any], bytes]] = msgspec.json.Encoder(enc_hook=str, decimal_format="number").encode
"""JSON of what a query gives: times in RFC 3339, decimals as numbers, NaN and infinity as null."""


def as_json(value: Any, sql_type: str = "") -> Any:
    """A value that `encode` takes. Times are RFC 3339, in UTC with `Z`; what is no number in JSON is null; bytes are hexadecimal; keys
    are text. Of a column of type JSON, and of what is JSON within lists and structs of `sql_type`, it is what the text says."""
    return _json(value, type_named(sql_type))


def _json(value: Any, kind: SqlType) -> Any:
    if value is None or isinstance(value, (bool, int, Decimal)):
        return value
    if isinstance(value, str):
        return spelt(value) if kind.name in AS_JSON else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return _object(value, kind)
    if isinstance(value, (list, tuple)):
        parts = kind.parts if len(kind.parts) == len(value) else (kind.parts or (_UNKNOWN,))[:1] * len(value)
        return [_json(item, part) for item, part in zip(value, parts, strict=True)]
    return str(value)


_UNKNOWN: Final = SqlType("")


def _object(value: Mapping[Any, Any], kind: SqlType) -> dict[str, Any]:
    if kind.name == "STRUCT" and len(kind.parts) == len(value):
        parts: Sequence[SqlType] = kind.parts
    else:
        parts = (kind.parts[1] if kind.name == "MAP" and len(kind.parts) == 2 else _UNKNOWN,) * len(value)
    return {
        as_text(key, between="T"): _json(item, part) for (key, item), part in zip(value.items(), parts, strict=True)
    }


_check: Final = msgspec.json.Decoder(msgspec.Raw).decode


def spelt(text: str) -> Any:
    """What JSON says, as it is written: numbers of any size and precision. The text itself where it is no JSON to others than DuckDB, which
    takes `NaN`, `Infinity` and `[1,]`, or so deep that few can read it."""
    try:
        _check(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return msgspec.Raw(text.encode().replace(b"\n", b" "))


def as_text(value: Any, sql_type: str = "", between: str = " ") -> str:
    """A value as text; `between` stands between the day and the time."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.replace("T", between, 1) if between != "T" and sql_type.startswith("TIMESTAMP") else value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat(sep=between, timespec="microseconds" if value.microsecond else "seconds").replace(
            "+00:00", "Z"
        )
    plain = as_json(value, sql_type)
    return plain if isinstance(plain, str) else encode(plain).decode()


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
