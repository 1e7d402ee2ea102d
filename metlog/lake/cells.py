"""Columns of Arrow as Python values: exact, or as text where Python has no such value.

`pyarrow`'s own `to_pylist` raises for days before the year 1 and after 9999, cuts nanoseconds, and takes 24:00 for 00:00.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import pyarrow as pa

from metlog.lake.sqltypes import AS_NUMBER, SqlType, type_named

__all__ = ["python_values"]

_CYCLE: Final = 146_097
"""Days after which the calendar repeats: 400 years."""
_EPOCH: Final = date(1970, 1, 1).toordinal()
_DAY: Final = 86_400
_A_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_INFINITE_DAY: Final = 2**31 - 1
_INFINITE_TIME: Final = 2**63 - 1


def python_values(column: pa.Array | pa.ChunkedArray, sql_type: str) -> list[Any]:
    """The values of a column of this type. What Python cannot hold exactly is text: days and times outside of its years as
    `20000-01-01`, `0044-03-15 (BC)` and `infinity`, nanoseconds, 24:00, and intervals in ISO 8601 (`P1MT5400S`)."""
    kind = type_named(sql_type)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return [value for chunk in chunks for value in _values(chunk, kind)]


def _values(array: pa.Array, kind: SqlType) -> list[Any]:
    arrow = array.type
    if pa.types.is_timestamp(arrow):
        return _timestamps(array)
    if pa.types.is_date32(arrow):
        return _days(array)
    if pa.types.is_time(arrow):
        return _each(array, pa.int32() if arrow.bit_width == 32 else pa.int64(), _time_of(_A_SECOND[arrow.unit]))
    if pa.types.is_float32(arrow):  # the shortest text that gives this number again, as DuckDB shows it
        return [None if text is None else float(text) for text in array.cast(pa.string()).to_pylist()]
    if pa.types.is_interval(arrow):
        return [None if value is None else _interval(*value) for value in array.to_pylist()]
    if kind.name in AS_NUMBER and pa.types.is_string(arrow):
        return [None if text is None else int(text) for text in array.to_pylist()]
    if kind.name == "HUGEINT" and pa.types.is_decimal(arrow):
        return [None if number is None else int(number) for number in array.to_pylist()]
    if pa.types.is_map(arrow):
        return [None if not row.is_valid else _mapping(row.values, _parts(kind, 2)) for row in array]
    if pa.types.is_struct(arrow):
        return list(_structs(array, kind))
    if pa.types.is_nested(arrow):
        (part,) = _parts(kind, 1)
        return [None if not row.is_valid else _values(row.values, part) for row in array]
    found: list[Any] = array.to_pylist()
    return found


def _parts(kind: SqlType, number: int) -> tuple[SqlType, ...]:
    """The parts of a type; of one that another engine named differently, unknown ones."""
    return kind.parts if len(kind.parts) == number else (SqlType(""),) * number


def _structs(array: pa.Array, kind: SqlType) -> Iterator[Any]:
    fields = array.flatten()
    parts = _parts(kind, len(fields))
    columns = [_values(field, part) for field, part in zip(fields, parts, strict=True)]
    names = [field.name for field in array.type]
    for at, whole in enumerate(array.is_valid().to_pylist()):
        if not whole:
            yield None
        elif kind.name == "TUPLE":
            yield tuple(column[at] for column in columns)
        else:
            yield {name: column[at] for name, column in zip(names, columns, strict=True)}


def _mapping(pairs: pa.Array, parts: tuple[SqlType, ...]) -> dict[Any, Any]:
    keys, values = (_values(field, part) for field, part in zip(pairs.flatten(), parts, strict=True))
    return {_hashable(key): value for key, value in zip(keys, values, strict=True)}


def _hashable(key: Any) -> Any:
    """A key that a dict takes: lists as tuples, structs as their pairs."""
    if isinstance(key, (list, tuple)):
        return tuple(map(_hashable, key))
    if isinstance(key, dict):
        return tuple((name, _hashable(value)) for name, value in key.items())
    return key


def _each(array: pa.Array, stored: pa.DataType, convert: Callable[[int], Any]) -> list[Any]:
    return [None if number is None else convert(number) for number in array.cast(stored).to_pylist()]


def _days(array: pa.Array) -> list[Any]:
    try:
        found: list[Any] = array.to_pylist()
    except (OverflowError, ValueError):
        return _each(array, pa.int32(), _day)
    return found


def _day(days: int) -> date | str:
    if abs(days) == _INFINITE_DAY:
        return "infinity" if days > 0 else "-infinity"
    ordinal = days + _EPOCH
    if 1 <= ordinal <= date.max.toordinal():
        return date.fromordinal(ordinal)
    cycles, rest = divmod(ordinal - 1, _CYCLE)
    found = date.fromordinal(rest + 1)
    year = found.year + 400 * cycles
    if year > 0:
        return f"{year:04}-{found:%m-%d}"
    return f"{1 - year:04}-{found:%m-%d} (BC)"


def _timestamps(array: pa.Array) -> list[Any]:
    unit, zoned = array.type.unit, array.type.tz is not None
    if unit != "ns":
        try:
            found: list[Any] = array.to_pylist()
        except (OverflowError, ValueError):
            pass
        else:
            return found
    units = _A_SECOND[unit]
    return _each(array, pa.int64(), lambda number: _moment(number, units, zoned))


def _moment(number: int, units: int, zoned: bool) -> datetime | str:
    if abs(number) == _INFINITE_TIME:
        return "infinity" if number > 0 else "-infinity"
    days, rest = divmod(number, _DAY * units)
    day = _day(days)
    nanoseconds = rest * (1_000_000_000 // units)
    if isinstance(day, date) and nanoseconds % 1000 == 0:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC if zoned else None)
        return midnight + timedelta(microseconds=nanoseconds // 1000)
    between = " " if str(day).endswith(")") else "T"  # a T behind `(BC)` is not read again
    return f"{day}{between}{_clock(nanoseconds)}{'Z' if zoned else ''}"


def _time_of(units: int) -> Callable[[int], time | str]:
    def convert(number: int) -> time | str:
        nanoseconds = number * (1_000_000_000 // units)
        if nanoseconds % 1000 or nanoseconds >= _DAY * 1_000_000_000:
            return _clock(nanoseconds)
        seconds, microseconds = divmod(nanoseconds // 1000, 1_000_000)
        return time(seconds // 3600, seconds // 60 % 60, seconds % 60, microseconds)

    return convert


def _clock(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if not rest:
        return text
    return f"{text}.{rest // 1000:06}" if rest % 1000 == 0 else f"{text}.{rest:09}"


def _interval(months: int, days: int, nanoseconds: int) -> str:
    """An interval as ISO 8601 has it: `P1MT5400S`."""
    day = "".join(f"{count}{unit}" for count, unit in ((months, "M"), (days, "D")) if count)
    if not nanoseconds and day:
        return f"P{day}"
    sign, (seconds, rest) = "-" * (nanoseconds < 0), divmod(abs(nanoseconds), 1_000_000_000)
    fraction = f".{rest:09}".rstrip("0") if rest else ""
    return f"P{day}T{sign}{seconds}{fraction}S"
