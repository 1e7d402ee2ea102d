"""DuckDB's names of types taken apart, and those that Arrow cannot carry faithfully with the types that they are carried as."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = ["AS_JSON", "AS_NUMBER", "SqlType", "carried", "type_named"]

_TEXT: Final = frozenset({"BIT", "BIGNUM", "UHUGEINT", "TIME WITH TIME ZONE", "GEOMETRY", "TYPE"})
"""Carried as DuckDB's own text: Arrow would give bytes, leave out the offset of a time, or wrap a number around."""
AS_JSON: Final = frozenset({"JSON", "VARIANT", "UNION"})
"""Carried as text that is JSON."""
AS_NUMBER: Final = frozenset({"BIGNUM", "UHUGEINT"})
"""Carried as text that is a whole number."""

_WORD: Final = re.compile(r'"(?:[^"]|"")*"|[^"(),\[\]]+')
_QUOTED: Final = re.compile(r"'(?:[^']|'')*'")
_SUFFIX: Final = re.compile(r"\[(\d*)\]")


@dataclass(frozen=True, slots=True)
class SqlType:
    """A type. `name` is `LIST`, `ARRAY`, `MAP`, `STRUCT`, `TUPLE`, `UNION`, or that of a type without parts, arguments included;
    `parts` are the types in it, with their names in `labels`; `size` is the length of an ARRAY."""

    name: str
    parts: tuple[SqlType, ...] = ()
    labels: tuple[str, ...] = ()
    size: int = 0

    def __str__(self) -> str:
        if self.name == "LIST":
            return f"{self.parts[0]}[]"
        if self.name == "ARRAY":
            return f"{self.parts[0]}[{self.size}]"
        if not self.parts:
            return self.name
        labels = [f"{label} " if label else "" for label in self.labels] or [""] * len(self.parts)
        return f"{self.name}({', '.join(f'{label}{part}' for label, part in zip(labels, self.parts, strict=True))})"


@lru_cache(maxsize=1024)
def type_named(text: str) -> SqlType:
    """A type by the name that DuckDB gives it. A text that is no such name is the name of a type without parts."""
    try:
        found, rest = _type(text)
    except (ValueError, RecursionError):
        return SqlType(text)
    return found if not rest else SqlType(text)


def _type(text: str) -> tuple[SqlType, str]:
    word = _WORD.match(text)
    if word is None:
        raise ValueError(text)
    name, rest = word[0].strip(), text[word.end() :]
    if rest.startswith("("):
        if name in {"STRUCT", "UNION", "MAP", "TUPLE"}:
            found, rest = _parts(name, rest[1:])
        else:
            arguments = _arguments(rest)
            found, rest = SqlType(name + arguments), rest[len(arguments) :]
    else:
        found = SqlType(name.strip('"'))
    while suffix := _SUFFIX.match(rest):
        found = SqlType("ARRAY", (found,), size=int(suffix[1])) if suffix[1] else SqlType("LIST", (found,))
        rest = rest[suffix.end() :]
    return found, rest


def _parts(name: str, text: str) -> tuple[SqlType, str]:
    parts: list[SqlType] = []
    labels: list[str] = []
    while not text.startswith(")"):
        if name in {"STRUCT", "UNION"}:
            label, text = _label(text)
            labels.append(label)
        part, text = _type(text.lstrip())
        parts.append(part)
        if text.startswith(","):
            text = text[1:].lstrip()
        elif not text.startswith(")"):
            raise ValueError(text)
    return SqlType(name, tuple(parts), tuple(labels)), text[1:]


def _label(text: str) -> tuple[str, str]:
    """The name of a field as it is written, and what follows."""
    found = re.match(r'"(?:[^"]|"")*"|[^\s"]+', text)
    if found is None:
        raise ValueError(text)
    return found[0], text[found.end() :].lstrip()


def _arguments(text: str) -> str:
    """What stands in parentheses, with them: `(10,2)`, or `('a', 'it''s')`."""
    at = 1
    while at < len(text):
        quoted = _QUOTED.match(text, at)
        if quoted is not None:
            at = quoted.end()
        elif text[at] == ")":
            return text[: at + 1]
        else:
            at += 1
    raise ValueError(text)


def carried(kind: SqlType) -> SqlType:
    """The type as which a value leaves the engine: itself, or one that says the same and that Arrow has."""
    if kind.name in _TEXT:
        return SqlType("VARCHAR")
    if kind.name == "TIMESTAMP_S":  # Parquet has no seconds, and infinity would not become milliseconds
        return SqlType("TIMESTAMP")
    if kind.name in {"VARIANT", "UNION"}:
        return SqlType("JSON")
    if not kind.parts:
        return kind
    return SqlType(kind.name, tuple(map(carried, kind.parts)), kind.labels, kind.size)
