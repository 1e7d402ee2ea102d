"""Applies the rules of `redact` to the fields of one event: every path, every text, at any depth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from metlog.filters._addresses import cut_ip
from metlog.filters._rules import DROP, KEEP, PSEUDONYMIZE, Rules
from metlog.tracebacks import render
from metlog.values import MAX_DEPTH, MAX_ITEMS, pairs, to_json_value

__all__ = ["FieldRedactor"]

_LEAVES: Final = frozenset({str, int, float, bool, type(None), bytes})


class FieldRedactor:
    """One walk over an event, bounded in depth and in the number of values."""

    __slots__ = ("_above", "_left", "_rules", "_text", "notes")

    def __init__(self, rules: Rules) -> None:
        self.notes: list[str] = []
        self._rules = rules
        self._text = rules.text if rules.masks_text else None
        self._left = MAX_ITEMS
        self._above: set[int] | None = None  # ids of the containers around the current value

    def mapping(self, value: Mapping[Any, Any], path: str | None, *, kept: bool) -> dict[str, Any]:
        """What is left of a table; `path`: None at the top; `kept`: all in it that is not dropped."""
        rules, text = self._rules, self._text
        known, code_of = rules.codes.get, rules.code
        made: dict[str, Any] = {}
        again: dict[str, int] = {}
        for name, item in pairs(value):
            key = name if type(name) is str else _name(name)
            here = key if path is None else f"{path}.{key}"
            code = known(here)
            if code is None:
                code = code_of(here)
            kind = type(item)
            if code:
                if code & DROP:
                    continue
                keep = kept or code & KEEP
            else:
                keep = kept
            if not keep and (kind in _LEAVES or code):
                continue
            if self._left <= 0:
                self._full(here)
                break
            self._left -= 1
            found: Any
            if code > KEEP:
                found = self.changed(item, here, code)
            elif kind is str:
                found = item if text is None else text(item)
            elif item is None or kind is bool:
                found = item
            else:
                found = self.value(item, here, kept=bool(keep))
                if not keep and not (found and isinstance(found, dict | list)):
                    continue
            if text is not None:
                key = rules.name(key)
                if key in made:
                    key = _beside(key, made, again)
            made[key] = found
        return made

    def items(self, value: Iterable[Any], path: str, *, kept: bool) -> list[Any]:
        """What is left of a list."""
        rules = self._rules
        made: list[Any] = []
        for index, item in enumerate(list(value)):
            here = f"{path}.{index}"
            code = rules.code(here)
            keep = kept or bool(code & KEEP)
            if code & DROP or (not keep and (type(item) in _LEAVES or code)):
                continue
            if self._left <= 0:
                self._full(here)
                break
            self._left -= 1
            found = self.changed(item, here, code) if code > KEEP else self.value(item, here, kept=keep)
            if keep or (found and isinstance(found, dict | list)):
                made.append(found)
        return made

    def changed(self, value: Any, path: str, code: int) -> Any:
        """The value, or each item of a list, as a pseudonym or a network."""
        change = self._rules.pseudonym if code & PSEUDONYMIZE else cut_ip
        if type(value) is str:
            return change(value)
        if value is None and code & PSEUDONYMIZE:
            return None
        if type(value) in {list, tuple, set, frozenset}:
            return [change(_as_json_text(item, path)) for item in list(value)[: max(0, self._left)]]
        return change(_as_json_text(value, path))

    def value(self, value: Any, path: str, *, kept: bool) -> Any:
        """What is left of a value that no path names."""
        kind, text = type(value), self._text
        if kind is str:
            return value if text is None else text(value)
        if value is None or kind is bool:
            return value
        if kind is int or kind is float:
            return value if text is None else self._rules.number(value)  # a card number may well be a number
        if issubclass(kind, Mapping) or kind in {list, tuple, set, frozenset}:
            return self._inside(value, path, kept=kept)
        if issubclass(kind, bytes | bytearray | memoryview):  # base64 would hide a secret from the masks
            if text is None:
                return value
            letters = bytes(value).decode("utf-8", "replace")
            hidden = text(letters)
            return value if hidden == letters else hidden
        if issubclass(kind, BaseException):
            trace = render(value)
            return trace if text is None else text(trace)
        found, notes = to_json_value(value, path)
        self.notes += notes
        return self.value(found, path, kept=kept)

    def _inside(self, value: Any, path: str, *, kept: bool) -> Any:
        above = self._above
        if above is None:
            above = self._above = set()
        if id(value) in above:
            self.notes.append(f"{path[:200]}: refers to what it is part of")
            return "<circular>"
        if len(above) >= MAX_DEPTH:
            self.notes.append(f"{path[:200]}: nested deeper than {MAX_DEPTH} levels")
            return "<too deep>"
        above.add(id(value))
        try:
            walk = self.mapping if isinstance(value, Mapping) else self.items
            return walk(value, path, kept=kept)
        finally:
            above.discard(id(value))

    def _full(self, path: str) -> None:
        if self._left == 0:
            self.notes.append(f"{path[:200]}: cut: more than {MAX_ITEMS} values in the event")
        self._left = -1


def _beside(name: str, taken: Mapping[str, Any], again: dict[str, int]) -> str:
    """Another name beside one that is taken: two names may become one when they are masked."""
    while True:
        again[name] = again.get(name, 1) + 1
        free = f"{name} ({again[name]})"
        if free not in taken:
            return free


def _name(key: Any) -> str:
    found, _ = to_json_value({key: None}, "")
    return next(iter(found), "") if isinstance(found, dict) else str(found)


def _as_json_text(value: Any, path: str) -> str:
    """A value as text: the same for the same value, and for a number and its digits."""
    if issubclass(type(value), str):
        return str.__str__(value)
    if issubclass(type(value), bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    found, _ = to_json_value(value, path)
    return found if isinstance(found, str) else msgspec.json.encode(found, order="deterministic").decode()
