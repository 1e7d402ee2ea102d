"""Rows of Python values as Arrow: of the types that DuckDB gives the same query, whatever an engine made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from metlog.lake.sql.guard import QueryError

__all__ = ["batches", "moment"]

_MOMENT: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?(?:Z|\+00:00|\+00)?"
)
_TRUE: Final = frozenset({"true", "1", "t"})


def batches(rows: Iterable[Sequence[Sequence[Any]]], schema: pa.Schema, engine: str) -> Iterator[pa.RecordBatch]:
    """Lists of rows as batches. Raises QueryError when a value is none of the column's type."""
    converters = [_converter(field.type) for field in schema]
    for some in rows:
        if not some:
            continue
        if len(some[0]) != len(schema):
            raise QueryError(f"{engine} gave {len(some[0])} columns where {len(schema)} were expected", "failed")
        arrays = []
        for field, convert, values in zip(schema, converters, zip(*some, strict=True), strict=True):
            try:
                arrays.append(pa.array([None if v is None else convert(v) for v in values], field.type))
            except (ValueError, TypeError, ArithmeticError, pa.ArrowException) as error:
                raise QueryError(
                    f"{engine} gave a value in column {field.name!r} that is no {field.type}: {error}", "failed"
                ) from error
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _converter(kind: pa.DataType) -> Callable[[Any], Any]:
    if pa.types.is_timestamp(kind):
        return (lambda value: moment(value).replace(tzinfo=UTC)) if kind.tz else moment
    if pa.types.is_date(kind):
        return lambda value: value if type(value) is date else moment(value).date()
    if pa.types.is_uint64(kind):
        return lambda value: int(value) % (1 << 64)  # kept in the bits of a signed number by engines that have no other
    if pa.types.is_integer(kind):
        return _whole
    if pa.types.is_floating(kind):
        return float
    if pa.types.is_decimal(kind):
        return lambda value: round(Decimal(str(value)), kind.scale)
    if pa.types.is_boolean(kind):
        return lambda value: value if isinstance(value, bool) else str(value).lower() in _TRUE
    if pa.types.is_list(kind):
        inner = _converter(kind.value_type)
        return lambda value: [None if item is None else inner(item) for item in _json(value)]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return lambda value: value if isinstance(value, str) else _text(value)
    if pa.types.is_duration(kind):
        return lambda value: value if isinstance(value, timedelta) else timedelta(seconds=float(value))
    if pa.types.is_null(kind):
        return lambda value: value
    if pa.types.is_nested(kind):
        return _json
    return lambda value: value


def moment(value: Any) -> datetime:
    """A time out of a value that is one, a date, or a text as SQL writes it; naive."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the caller gives it its zone
    found = _MOMENT.fullmatch(str(value))
    if found is None:
        raise ValueError(f"{value!r} is no time")
    *parts, fraction = found.groups()
    return datetime(*(int(part or 0) for part in parts), int((fraction or "0").ljust(6, "0")[:6]))  # type: ignore[call-arg, arg-type]  # noqa: DTZ001


def _whole(value: Any) -> int:
    number = int(value)
    if not isinstance(value, str) and number != value:
        raise ValueError(f"{value!r} is no whole number")
    return number


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)
