"""Values that JSON cannot say, made sayable: what becomes of each is the table in docs/encoders.md.

The encoders come here only with an event that they could not write, or that holds a number without an exact form. Most
types need no help: msgspec writes dates, bytes, sets, UUIDs, enums, dataclasses and the like by itself.
"""

from __future__ import annotations

import base64
import math
import os
import threading
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime, time
from enum import Enum
from itertools import islice
from typing import Any, Final

import msgspec

from metlog.event import Event
from metlog.tracebacks import exception_fields, render

__all__ = [
    "MARK",
    "MAX_DEPTH",
    "MAX_ITEMS",
    "MAX_TEXT",
    "exception_fields",
    "is_json_native",
    "sanitize",
    "to_json_value",
]

MARK: Final = "metlog.repaired"
"""Field that lists what was done to a repaired event: `"path: what was done"`, as a list of strings."""

MAX_DEPTH: Final = 64
"""Levels of nesting that a repaired event keeps."""
MAX_ITEMS: Final = 10_000
"""Values, over all levels, that a repaired event keeps."""
MAX_TEXT: Final = 1_000_000
"""Characters that a text in a repaired event keeps."""
_MAX_REPR: Final = 1_000
_MAX_NOTES: Final = 20
_MAX_PATH: Final = 200

_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1

_TEXTUAL: Final = frozenset({"decimal", "fractions", "ipaddress", "uuid"})
"""Modules of the standard library whose objects have one obvious text; not imported for asking."""

_asking = threading.local()  # true in a thread that is inside an object's own `repr`


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
        return bool(_INT_MIN <= value <= _INT_MAX)
    if kind is float:
        return math.isfinite(value)
    return (kind is list or kind is tuple) and all(map(is_json_native, value))


def sanitize(event: Event) -> tuple[Event, list[str]]:
    """A copy that every encoder can write, and what was done to it, as `"path: what was done"`.

    The notes are in the copy too, under the field `metlog.repaired`; without any the copy says the same as the event.
    Never raises, whatever the event holds; the event itself, and the values in it, are left as they are.
    """
    walk = _Walk()
    converted = walk.value({} if event.fields is None else event.fields, "fields", 0)
    fields: dict[str, Any] = converted if type(converted) is dict else {"fields": converted}
    tokens = event.tokens if isinstance(event.tokens, (tuple, list)) else (event.tokens,)
    repaired = Event(
        timestamp=walk.timestamp(event.timestamp),
        type=walk.envelope_text(event.type, "type"),
        tokens=tuple(walk.envelope_text(token, f"tokens.{index}") for index, token in enumerate(tokens)),
        logger=walk.envelope_text(event.logger, "logger"),
        severity=walk.envelope_int(event.severity, "severity", 6, 7),
        payload=walk.envelope_text(event.payload, "payload"),
        fields=fields,
        weight=walk.weight(event.weight),
        env_version=walk.envelope_text(event.env_version, "env_version"),
        pid=walk.envelope_int(event.pid, "pid", 0),
        hostname=walk.envelope_text(event.hostname, "hostname"),
        stream=walk.envelope_text(event.stream, "stream"),
        seq=walk.envelope_int(event.seq, "seq", 0),
    )
    if walk.notes:
        kept = walk.notes[:_MAX_NOTES]
        if len(walk.notes) > _MAX_NOTES:
            kept.append(f"and {len(walk.notes) - _MAX_NOTES} more")
        fields[MARK] = kept
    return repaired, walk.notes


def to_json_value(value: Any, path: str) -> tuple[Any, list[str]]:
    """One value as the encoders would say it (text, numbers, truth values, null, lists and dicts of these), and the notes.

    For filters that must see what will be written. Never raises.
    """
    walk = _Walk()
    return walk.value(value, path, 0), walk.notes


plain = is_json_native
sayable = to_json_value
# Kept names.


class _Walk:
    """One pass over an event. Code of the application (`repr`, `__iter__`, properties) runs only inside `convert_object`."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._room = MAX_ITEMS
        self._above: set[int] = set()  # ids of the containers around the value at hand

    def note(self, path: str, what: str) -> None:
        self.notes.append(f"{path[:_MAX_PATH]}: {what}")

    def value(self, value: Any, path: str, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self.text(value, path)
        if value is None or kind is bool:
            return value
        if kind is int:
            return self.integer(value, path)
        if kind is float:
            return self.number(value, path)
        if kind is dict or kind is list or kind is tuple or kind is set or kind is frozenset:
            return self.container(value, path, depth)
        try:
            return self.convert_object(value, path, depth)
        except Exception as error:  # noqa: BLE001 - code of the application ran
            self.note(path, f"{_type_name(value)} cannot be read ({type(error).__name__})")
            return f"<{_type_name(value)}>"

    def text(self, value: str, path: str) -> str:
        if len(value) > MAX_TEXT:
            self.note(path, f"cut after {MAX_TEXT} of {len(value)} characters")
            value = value[:MAX_TEXT]
        try:
            value.encode()
        except UnicodeEncodeError:
            self.note(path, "lone surrogates became \\ud… escapes")
            return value.encode("utf-8", "backslashreplace").decode()
        return value

    def integer(self, value: int, path: str) -> int | str:
        if _INT_MIN <= value <= _INT_MAX:
            return value
        try:
            digits = str(value)
        except ValueError:  # more digits than the interpreter converts; hexadecimal has no such limit
            digits = hex(value)
        self.note(path, "integer beyond 64 bits became text")
        return self.text(digits, path)

    def number(self, value: float, path: str) -> float | None:
        if math.isfinite(value):
            return value
        self.note(path, f"{value} became null")
        return None

    def container(self, value: Any, path: str, depth: int) -> Any:
        if id(value) in self._above:
            self.note(path, "refers to what it is part of")
            return "<circular>"
        if depth >= MAX_DEPTH:
            self.note(path, f"nested deeper than {MAX_DEPTH} levels")
            return "<too deep>"
        self._above.add(id(value))
        try:
            return self.mapping(value, path, depth) if isinstance(value, Mapping) else self.items(value, path, depth)
        finally:
            self._above.discard(id(value))

    def mapping(self, value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        self._above.add(id(value))
        for key, item in _pairs(value):
            if self._room <= 0:
                self.note(path, f"cut: more than {MAX_ITEMS} values in the event")
                break
            self._room -= 1
            name = self.key(key, path)
            if name in converted:
                self.note(path, "two keys became the same; the later one stays")
            converted[name] = self.value(item, f"{path}.{name}"[:_MAX_PATH], depth + 1)
        return converted

    def items(self, value: Iterable[Any], path: str, depth: int) -> list[Any]:
        converted: list[Any] = []
        for item in islice(iter(value), self._room + 1):
            if self._room <= 0:
                self.note(path, f"cut: more than {MAX_ITEMS} values in the event")
                break
            self._room -= 1
            converted.append(self.value(item, f"{path}.{len(converted)}", depth + 1))
        return converted

    def key(self, key: Any, path: str) -> str:
        if isinstance(key, str) and not isinstance(key, Enum):
            return self.text(str.__str__(key), path)
        if key is None or key is True or key is False:
            self.note(path, f"the key {key} became text")
            return {None: "null", True: "true", False: "false"}[key]
        try:
            (name,) = msgspec.to_builtins({key: None}, str_keys=True)
            return self.text(str.__str__(name), path)
        except (TypeError, ValueError, OverflowError, RecursionError):
            converted = self.value(key, f"{path} (a key)", MAX_DEPTH - 1)
            self.note(path, f"a key of type {_type_name(key)} became text")
            return converted if isinstance(converted, str) else str(converted)[:_MAX_REPR]

    def convert_object(self, value: Any, path: str, depth: int) -> Any:
        """Everything but the types of JSON itself: first what msgspec knows, then what has an obvious form."""
        if isinstance(value, Enum):
            return self.value(value.value, path, depth + 1) if depth < MAX_DEPTH else self.described(value, path)
        if isinstance(value, str):
            return self.text(str.__str__(value), path)
        if isinstance(value, int):
            return self.integer(int.__add__(value, 0), path)
        if isinstance(value, float):
            return self.number(float.__add__(value, 0.0), path)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self.text(base64.b64encode(bytes(value)).decode(), path)
        if isinstance(value, msgspec.msgpack.Ext):
            self.note(path, f"MessagePack extension type {value.code} became base64")
            return self.text(base64.b64encode(bytes(value.data)).decode(), path)
        if isinstance(value, BaseException):
            self.note(path, f"{_type_name(value)} became its traceback")
            return self.text(render(value), path)
        if isinstance(value, (Mapping, list, tuple, set, frozenset)):
            return self.container(value, path, depth)
        if (
            hasattr(value, "__struct_fields__")
            or hasattr(value, "__dataclass_fields__")
            or hasattr(value, "__attrs_attrs__")
        ):
            return (
                self.container(_attributes(value), path, depth)
                if not isinstance(value, type)
                else self.described(value, path)
            )
        try:
            return self.value(msgspec.to_builtins(value), path, depth)  # dates, UUIDs, … as they are written natively
        except (TypeError, ValueError):
            pass
        if isinstance(value, (datetime, date, time)):
            return self.text(str(value.isoformat()).replace("+00:00", "Z"), path)
        if _TEXTUAL & {base.__module__ for base in type(value).__mro__} or isinstance(value, complex):
            return self.text(str(value), path)
        if isinstance(value, os.PathLike):
            name = os.fspath(value)
            return self.text(os.fsdecode(name), path)
        if type(value).__module__.partition(".")[0] == "numpy" and getattr(value, "size", 1) <= MAX_ITEMS:
            return self.value(value.tolist(), path, depth)
        if isinstance(value, Collection):
            return self.container(value, path, depth)
        return self.described(value, path)

    def described(self, value: Any, path: str) -> str:
        """The object's `repr`, cut. An object that logs from its own `repr` is not asked again inside it."""
        name = _type_name(value)
        self.note(path, f"{name} became its repr")
        if getattr(_asking, "now", False):
            return f"<{name}>"
        _asking.now = True
        try:
            return self.text(str.__str__(repr(value))[:_MAX_REPR], path)
        except Exception as error:  # noqa: BLE001 - `repr` is code of the application
            self.note(path, f"the repr of {name} raised {type(error).__name__}")
            return f"<{name}>"
        finally:
            _asking.now = False

    def envelope_text(self, value: Any, path: str) -> str:
        if isinstance(value, str):
            return self.text(str.__str__(value), path)
        converted = self.value(value, path, MAX_DEPTH - 1)
        self.note(path, f"{_type_name(value)} became text")
        return converted if isinstance(converted, str) else msgspec.json.encode(converted).decode()

    def envelope_int(self, value: Any, path: str, default: int, most: int = 2**63 - 1) -> int:
        try:
            number = int.__add__(value, 0)
            if 0 <= number <= most:
                return number
        except TypeError:
            pass
        self.note(path, f"not an integer from 0 to {most}; became {default}")
        return default

    def weight(self, value: Any) -> float:
        if isinstance(value, (int, float)) and 0 < value < math.inf:
            return float(value)
        self.note("weight", "not a number above 0; became 1")
        return 1.0

    def timestamp(self, value: Any) -> datetime:
        if type(value) is datetime and value.tzinfo is not None:
            return value
        from datetime import UTC

        if isinstance(value, datetime):
            try:
                aware = value.astimezone(UTC)
                return datetime(*aware.timetuple()[:6], aware.microsecond, tzinfo=UTC)
            except (ValueError, OverflowError, OSError):
                pass
        self.note("timestamp", f"{_type_name(value)} is no time; became the time of encoding")
        return datetime.now(UTC)


def _pairs(value: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """The items at one moment: another thread may be changing the mapping."""
    if isinstance(value, dict):
        return list(dict.items(value))
    return list(islice(value.items(), MAX_ITEMS + 1))


def _attributes(value: Any) -> Any:
    """What msgspec writes for a struct, dataclass or attrs object; by name where a value inside keeps it from that."""
    try:
        return msgspec.to_builtins(value, str_keys=True)
    except (TypeError, ValueError, RecursionError):
        pass
    if hasattr(value, "__struct_fields__"):
        names = dict(zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True))
    elif hasattr(value, "__dataclass_fields__"):
        names = {name: name for name in value.__dataclass_fields__}
    else:
        names = {attribute.name: attribute.name for attribute in value.__attrs_attrs__}
    return {
        converted: getattr(value, name)
        for name, converted in names.items()
        if not name.startswith("_") and hasattr(value, name)
    }


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
