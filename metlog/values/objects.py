"""What an object of another library is: proxies unwrapped, text as text, tables as tables. Imports none of these libraries."""

from __future__ import annotations

import math
import sys
import weakref
from collections import UserString
from collections.abc import Mapping, MappingView, Sequence, Set
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

__all__ = ["Plainer", "duration", "is_array", "is_table", "is_text", "pairs", "plainer", "unwrapped"]

_MAX_PROXIES: Final = 16
_PROXIES: Final = (weakref.ProxyType, weakref.CallableProxyType)
_UNITS: Final = {
    "W": 604_800 * 10**18, "D": 86_400 * 10**18, "h": 3_600 * 10**18, "m": 60 * 10**18, "s": 10**18, "ms": 10**15, "us": 10**12,
    "ns": 10**9, "ps": 10**6, "fs": 10**3, "as": 1,
}  # fmt: skip
"""Attoseconds in each unit of numpy's timedelta64; years and months have no fixed length."""


class Plainer(NamedTuple):
    """The same in types of Python's own, and what was lost with it ("": nothing)."""

    value: Any
    note: str = ""


# ---- proxies and text ------------------------------------------------------------------------------------------------


def unwrapped(value: Any) -> Any:
    """What a proxy stands for: those of werkzeug, Django, wrapt, lazy-object-proxy and weakref. Else the value itself.

    May raise what making the object raises.
    """
    for _ in range(_MAX_PROXIES):
        kind = type(value)
        if kind in _PROXIES:
            value = value.__repr__.__self__
        elif hasattr(kind, "_get_current_object"):  # werkzeug.local.LocalProxy
            value = value._get_current_object()
        elif hasattr(kind, "_setup") and _named(kind, "django.utils.functional", "LazyObject"):
            _ = value.__class__  # makes the object, where it was not made yet
            value = value._wrapped
        elif value.__class__ is not kind and hasattr(kind, "__wrapped__"):
            value = value.__wrapped__
        else:
            break
    return value


def is_text(value: Any) -> bool:
    """Whether an object that is no `str` stands for one: UserString, lazy translations of Django and Babel, other proxies of text."""
    kind = type(value)
    if issubclass(kind, UserString) or _named(kind, "django.utils.functional", "Promise"):
        return True
    if hasattr(kind, "__getattr__"):  # it hands on what it is asked to the text behind it
        return type(getattr(getattr(value, "encode", None), "__self__", None)) is str
    return False


def _named(kind: type, module: str, name: str) -> bool:
    return any(base.__name__ == name and base.__module__ == module for base in kind.__mro__)


# ---- tables ----------------------------------------------------------------------------------------------------------


def pairs(value: Any) -> list[tuple[Any, Any]]:
    """The items at one moment: another thread may be changing the mapping.

    Of a multi-dict (werkzeug, Django, Starlette, multidict, httpx) each name once: with its value, or a list of several.
    """
    kind = type(value)
    if kind is dict:
        return list(value.items())
    lists = getattr(kind, "lists", None)
    if lists is not None and issubclass(kind, dict):  # werkzeug's MultiDict, Django's MultiValueDict
        return [(key, items[0] if len(items) == 1 else list(items)) for key, items in lists(value)]
    if issubclass(kind, dict):
        return list(dict.items(value))
    found = list(value.multi_items() if hasattr(kind, "multi_items") else value.items())
    gathered: dict[Any, list[Any]] = {}
    for key, item in found:
        gathered.setdefault(key, []).append(item)
    if len(gathered) == len(found):
        return found
    return [(key, items[0] if len(items) == 1 else items) for key, items in gathered.items()]


def is_table(kind: type) -> bool:
    """Whether this type says of itself that it is a mapping; headers that may be there twice (werkzeug, email) are one."""
    return issubclass(kind, Mapping) or (
        hasattr(kind, "items") and (hasattr(kind, "getlist") or hasattr(kind, "get_all"))
    )


def is_array(kind: type) -> bool:
    """Whether this type says of itself that it is a sequence, a set or a view; text is none.

    `Collection` would not do: every object with `__len__`, `__iter__` and `__contains__` is one.
    """
    return issubclass(kind, Sequence | Set | MappingView) and not issubclass(kind, UserString)


def plainer(value: Any) -> Plainer | None:
    """An object of a kind that has an obvious form, in that form; None for all others. May raise what the object raises."""
    kind = type(value)
    if callable(getattr(kind, "_asdict", None)) and isinstance(getattr(value, "_fields", None), tuple):
        return Plainer(dict(zip(value._fields, value, strict=True)))  # named tuples, rows of SQLAlchemy
    if issubclass(kind, SimpleNamespace) or _named(kind, "argparse", "Namespace"):
        return Plainer(vars(value))
    if hasattr(kind, "model_dump") and hasattr(kind, "__pydantic_core_schema__"):
        try:
            return Plainer(value.model_dump(warnings=False))
        except Exception:  # noqa: BLE001 - a serializer of the application; a model that holds itself
            return Plainer({name: item for name, item in vars(value).items() if not name.startswith("_")})
    module = kind.__module__.partition(".")[0]
    numpy = sys.modules.get("numpy")
    if numpy is not None and module == "numpy" and issubclass(kind, numpy.generic | numpy.ndarray):
        return _of_numpy(value, numpy)
    if module == "pandas" and kind.__name__ in {"NaTType", "NAType"}:
        return Plainer(None, f"{value} became null")
    if issubclass(kind, timedelta):
        whole = (value.days * 86_400 + value.seconds) * 10**9 + value.microseconds * 1000
        return Plainer(duration((whole + getattr(value, "nanoseconds", 0)) * 10**9))  # pandas' have nanoseconds
    if module == "sqlite3" and kind.__name__ == "Row":
        return Plainer({name: value[name] for name in value.keys()})  # noqa: SIM118 - iterated it gives its values
    return None


# ---- numpy -----------------------------------------------------------------------------------------------------------


def _of_numpy(value: Any, numpy: Any) -> Plainer:
    kind = type(value)
    if issubclass(kind, numpy.ndarray):
        return Plainer(_of_array(value, numpy))
    if issubclass(kind, numpy.datetime64):
        return Plainer(None, "NaT became null") if numpy.isnat(value) else Plainer(str(value))
    if issubclass(kind, numpy.timedelta64):
        return Plainer(None, "NaT became null") if numpy.isnat(value) else Plainer(_of_timedelta64(value, numpy))
    if issubclass(kind, numpy.longdouble):
        number = float(value)
        if value == number or math.isnan(number):
            return Plainer(number)
        return Plainer(str(value), "longdouble beyond 64 bits became text")
    if issubclass(kind, numpy.clongdouble):
        return Plainer(str(value))
    if issubclass(kind, numpy.void) and value.dtype.names:
        return Plainer({name: value[name] for name in value.dtype.names})
    return Plainer(value.item())


def _of_array(value: Any, numpy: Any) -> Any:
    if value.ndim == 0:
        return value[()] if value.dtype != object else value.item()
    long = issubclass(value.dtype.type, numpy.longdouble | numpy.clongdouble)
    if value.dtype.kind in "biuSUfc" and not long:
        return value.tolist()
    plain = value if issubclass(type(value), numpy.ma.MaskedArray) else numpy.asarray(value)
    return [plain[index] for index in range(len(plain))]


def _of_timedelta64(value: Any, numpy: Any) -> Any:
    unit, count = numpy.datetime_data(value.dtype)
    number = int(value.astype("int64")) * count
    if unit == "generic":
        return number
    if unit in "YM":
        return f"{'-' if number < 0 else ''}P{abs(number)}{unit}"
    return duration(number * _UNITS[unit])


def duration(attoseconds: int) -> str:
    """ISO 8601, as days and seconds: `P1DT2.5S`, which is how msgspec writes a timedelta."""
    sign = "-" if attoseconds < 0 else ""
    seconds, rest = divmod(abs(attoseconds), 10**18)
    days, seconds = divmod(seconds, 86_400)
    fraction = f".{rest:018}".rstrip("0") if rest else ""
    time = f"T{seconds}{fraction}S" if seconds or rest else ""
    return f"{sign}P{f'{days}D' if days or not time else ''}{time}"
