"""One walk over an event: every value in types that JSON has, with a note where something was lost."""

from __future__ import annotations

import base64
import math
import os
import threading
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, time
from enum import Enum
from itertools import islice
from typing import Any, Final

import msgspec

from metlog.event import MAX_WEIGHT, ONE, Event, severity_from
from metlog.tracebacks import render
from metlog.values.native import INT_MAX, INT_MIN, is_moment
from metlog.values.objects import is_array, is_table, is_text, pairs, plainer, unwrapped
from metlog.values.texts import MAX_REPR, type_name

__all__ = ["MARK", "MAX_DEPTH", "MAX_ITEMS", "MAX_TEXT", "noted", "sanitize", "to_json_value"]

MARK: Final = "metlog.repaired"
"""Field that lists what was done to a repaired event: `"path: what was done"`, as a list of strings."""

MAX_DEPTH: Final = 64
"""Levels of nesting that a repaired event keeps."""
MAX_ITEMS: Final = 10_000
"""Values, over all levels, that a repaired event keeps."""
MAX_TEXT: Final = 1_000_000
"""Characters that a text in a repaired event keeps."""
_MAX_NOTES: Final = 20
_MAX_PATH: Final = 200

_TEXTUAL: Final = frozenset({"decimal", "fractions", "ipaddress", "uuid"})
"""Modules of the standard library whose objects have one obvious text; not imported for asking."""

_TIMES: Final = (datetime, date, time)
"""The classes themselves: a test may put others in the place of their names (freezegun)."""

_asking = threading.local()  # true in a thread that is inside an object's own `repr`


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
        severity=walk.severity(event.severity),
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
        fields[MARK] = noted(fields, kept)
    return repaired, walk.notes


def noted(fields: Mapping[str, Any], notes: list[str]) -> list[str]:
    """These notes behind those that the fields have already (of the call, of a filter)."""
    before = fields.get(MARK)
    return [*before, *notes] if isinstance(before, list) else notes


def to_json_value(value: Any, path: str) -> tuple[Any, list[str]]:
    """One value as the encoders would say it (text, numbers, truth values, null, lists and dicts of these), and the notes.

    For filters that must see what will be written. Never raises.
    """
    walk = _Walk()
    return walk.value(value, path, 0), walk.notes


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
            self.note(path, f"{type_name(value)} cannot be read ({type(error).__name__})")
            return f"<{type_name(value)}>"

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
        if INT_MIN <= value <= INT_MAX:
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
            return self.mapping(value, path, depth) if is_table(type(value)) else self.items(value, path, depth)
        finally:
            self._above.discard(id(value))

    def mapping(self, value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        self._above.add(id(value))
        for key, item in pairs(value):
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
        if issubclass(type(key), str) and not issubclass(type(key), Enum):
            return self.text(str.__str__(key), path)
        if key is None or key is True or key is False:
            self.note(path, f"the key {key} became text")
            return {None: "null", True: "true", False: "false"}[key]
        try:
            (name,) = msgspec.to_builtins({key: None}, str_keys=True)
            return self.text(str.__str__(name), path)
        except (TypeError, ValueError, OverflowError, RecursionError):
            converted = self.value(key, f"{path} (a key)", MAX_DEPTH - 1)
            if not self._is_text(key):
                self.note(path, f"a key of type {type_name(key)} became text")
            return converted if isinstance(converted, str) else str(converted)[:MAX_REPR]

    def _is_text(self, value: Any) -> bool:
        try:
            meant = unwrapped(value)
            return issubclass(type(meant), str) or is_text(meant)
        except Exception:  # noqa: BLE001 - code of the application
            return False

    def convert_object(self, value: Any, path: str, depth: int) -> Any:
        """Everything but the types of JSON itself: what stands for something else, then what msgspec knows, then what has an obvious form.

        Looks at the type, since a proxy may claim another class (`__class__`).
        """
        try:
            meant = unwrapped(value)
        except Exception:  # noqa: BLE001 - what makes the object raises, or there is none at the moment
            return self.described(value, path)
        if meant is not value:
            return self.value(meant, path, depth)
        kind = type(value)
        if issubclass(kind, Enum):
            return self.value(value.value, path, depth + 1) if depth < MAX_DEPTH else self.described(value, path)
        if issubclass(kind, str):
            return self.text(str.__str__(value), path)
        if issubclass(kind, int):
            return self.integer(int.__add__(value, 0), path)
        if issubclass(kind, float):
            return self.number(float.__add__(value, 0.0), path)
        if issubclass(kind, bytes | bytearray | memoryview):
            return self.text(base64.b64encode(bytes(value)).decode(), path)
        if kind is msgspec.msgpack.Ext:
            self.note(path, f"MessagePack extension type {value.code} became base64")
            return self.text(base64.b64encode(bytes(value.data)).decode(), path)
        if issubclass(kind, BaseException):
            self.note(path, f"{type_name(value)} became its traceback")
            return self.text(render(value), path)
        if is_text(value):
            return self.text(str.__str__(str(value)), path)
        other = plainer(value)
        if other is not None:
            if other.note:
                self.note(path, other.note)
            return self.inside(value, other.value, path, depth)
        if is_table(kind) or is_array(kind):
            return self.container(value, path, depth)
        if (
            hasattr(kind, "__struct_fields__")
            or hasattr(kind, "__dataclass_fields__")
            or hasattr(kind, "__attrs_attrs__")
        ):
            return self.inside(value, _attributes(value), path, depth)
        try:
            return self.value(msgspec.to_builtins(value), path, depth)  # dates, UUIDs, … as they are written natively
        except (TypeError, ValueError):
            pass
        if issubclass(kind, _TIMES):
            return self.text(str(value.isoformat()).replace("+00:00", "Z"), path)
        if _TEXTUAL & {base.__module__ for base in kind.__mro__} or issubclass(kind, complex):
            return self.text(str(value), path)
        if issubclass(kind, os.PathLike):
            return self.text(os.fsdecode(os.fspath(value)), path)
        if kind.__repr__ is object.__repr__:  # type: ignore[comparison-overlap]  # only now is anything guessed
            if hasattr(kind, "keys") and hasattr(kind, "__getitem__"):
                return self.inside(value, dict(value), path, depth)
            if issubclass(kind, Collection):
                return self.container(value, path, depth)
        return self.described(value, path)

    def inside(self, value: Any, form: Any, path: str, depth: int) -> Any:
        """The plainer form of an object, which may hold the object itself again."""
        if id(value) in self._above:
            self.note(path, "refers to what it is part of")
            return "<circular>"
        if depth >= MAX_DEPTH:
            self.note(path, f"nested deeper than {MAX_DEPTH} levels")
            return "<too deep>"
        self._above.add(id(value))
        try:
            return self.value(form, path, depth)
        finally:
            self._above.discard(id(value))

    def described(self, value: Any, path: str) -> str:
        """The object's `repr`, cut. An object that logs from its own `repr` is not asked again inside it."""
        name = type_name(value)
        self.note(path, f"{name} became its repr")
        if getattr(_asking, "now", False):
            return f"<{name}>"
        _asking.now = True
        try:
            return self.text(str.__str__(repr(value))[:MAX_REPR], path)
        except Exception as error:  # noqa: BLE001 - `repr` is code of the application
            self.note(path, f"the repr of {name} raised {type(error).__name__}")
            return f"<{name}>"
        finally:
            _asking.now = False

    def envelope_text(self, value: Any, path: str) -> str:
        if issubclass(type(value), str):
            return self.text(str.__str__(value), path)
        if issubclass(type(value), bytes | bytearray):
            self.note(path, f"{type_name(value)} became the text that it spells")
            return self.text(value.decode("utf-8", "backslashreplace"), path)
        converted = self.value(value, path, MAX_DEPTH - 1)
        self.note(path, f"{type_name(value)} became text")
        return converted if isinstance(converted, str) else msgspec.json.encode(converted).decode()

    def envelope_int(self, value: Any, path: str, default: int, most: int = 2**63 - 1) -> int:
        if issubclass(type(value), int):
            number = int.__add__(value, 0)
            if 0 <= number <= most:
                return number
        self.note(path, f"not an integer from 0 to {most}; became {default}")
        return default

    def severity(self, value: Any) -> int:
        if type(value) is int and 0 <= value <= 7:
            return value
        number = severity_from(value)
        if number is not None and 0 <= number <= 7:
            return number
        self.note("severity", "neither 0 to 7 nor the name of a severity; became 6")
        return 6

    def weight(self, value: Any) -> float:
        try:
            number = float(value)
            if 0 < number <= MAX_WEIGHT:
                if type(value) is not float and type(value) is not int:
                    self.note("weight", f"{type_name(value)} became a number")
                return number
        except Exception:  # noqa: BLE001, S110 - `__float__` is code of the application
            pass
        self.note("weight", f"not a number above 0 and up to {MAX_WEIGHT:g}; became 1")
        return ONE

    def timestamp(self, value: Any) -> datetime:
        real = _TIMES[0]  # not by its name: a test may have put another class into the module (freezegun)
        if type(value) is real and is_moment(value):
            return value
        if issubclass(type(value), real):
            try:
                aware = value.astimezone(UTC)
                year, month, day, hour, minute, second = aware.timetuple()[:6]
                return real(year, month, day, hour, minute, second, aware.microsecond, UTC)
            except OverflowError:
                self.note("timestamp", "in UTC not between the years 1 and 9999; became the nearest time there is")
                return (real.max if value.year > 1 else real.min).replace(tzinfo=UTC)
            except Exception:  # noqa: BLE001, S110 - a tzinfo is code of the application
                pass
        self.note("timestamp", f"{type_name(value)} is no time; became the time of encoding")
        return real.now(UTC)


def _attributes(value: Any) -> Any:
    """The fields of a struct, as msgspec writes them; those of a dataclass or attrs object by name."""
    if hasattr(value, "__struct_fields__"):
        try:
            return msgspec.to_builtins(value, str_keys=True)
        except (TypeError, ValueError, RecursionError):
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
