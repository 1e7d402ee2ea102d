"""What needs no help: values and envelopes that the encoders write as they are."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from metlog.event import MAX_WEIGHT, ONE, Event

__all__ = ["INT_MAX", "INT_MIN", "is_json_native", "is_moment", "is_proper", "is_written_natively"]

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**64 - 1
"""What MessagePack can say."""

_ATOMS: Final = frozenset(
    {
        str,
        int,
        float,
        bool,
        type(None),
        bytes,
        bytearray,
        memoryview,
        datetime,
        date,
        time,
        timedelta,
        uuid.UUID,
        Decimal,
    }
)
"""Types whose values msgspec writes as the table in docs/encoders.md has them."""
_ARRAYS: Final = frozenset({list, tuple, set, frozenset})
_TEXT: Final = {str}
_INT: Final = {int}
_DATETIME: Final = frozenset(
    {datetime}
)  # the class itself: a test may put another in the place of its name (freezegun)
_MAX_SEQ: Final = 2**63 - 1
_MINUTE: Final = timedelta(minutes=1)


def is_json_native(value: Any) -> bool:
    """Whether a value is of JSON's own types all the way down: text keys, finite floats, integers of 64 bits.

    Lone surrogates are not looked for: every encoder meets them itself.
    """
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and (type(item) is str or is_json_native(item)) for key, item in value.items())
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(INT_MIN <= value <= INT_MAX)
    if kind is float:
        return math.isfinite(value)
    return (kind is list or kind is tuple) and all(map(is_json_native, value))


def is_written_natively(value: Any) -> bool:
    """Whether msgspec writes a value as the table in docs/encoders.md has it; numbers are not looked at.

    Not so: subclasses (a multi-dict is a dict, a named tuple a tuple), keys of several types, which may become one name, and
    objects with fields of their own.
    """
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is dict:
        keys = set(map(type, value))
        if keys and keys not in (_TEXT, _INT):
            return False
        value = value.values()
    elif kind not in _ARRAYS:
        return issubclass(kind, Enum) and type(value.value) in _ATOMS
    return _ATOMS.issuperset(map(type, value)) or all(map(is_written_natively, value))


def is_moment(time: datetime) -> bool:
    """Whether RFC 3339 has the time as it is: with an offset, in whole minutes, and in UTC too between the years 1 and 9999."""
    try:
        offset = time.utcoffset()
        time.astimezone(UTC)
    except Exception:  # noqa: BLE001 - a tzinfo is code of the application
        return False
    return offset is not None and not offset % _MINUTE


def is_proper(event: Event) -> bool:
    """Whether the envelope is of the types that a receiver takes. Filters may have changed it, and calls are not checked."""
    weight, seq, pid = event.weight, event.seq, event.pid
    if (
        type(event.type) is not str
        or type(event.logger) is not str
        or type(event.payload) is not str
        or type(event.tokens) is not tuple
        or type(event.severity) is not int
        or not 0 <= event.severity <= 7
        or (weight is not ONE and not (type(weight) is float and 0.0 < weight <= MAX_WEIGHT))
        or type(event.timestamp) not in _DATETIME
        or (event.timestamp.tzinfo is not UTC and not is_moment(event.timestamp))
        or type(event.hostname) is not str
        or type(event.stream) is not str
        or type(event.env_version) is not str
        or type(pid) is not int
        or type(seq) is not int
        or not 0 <= seq <= _MAX_SEQ
        or not 0 <= pid <= _MAX_SEQ
    ):
        return False
    return all(type(token) is str for token in event.tokens) and isinstance(event.fields, Mapping)
