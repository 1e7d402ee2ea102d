"""Arguments of a call that are of another kind than asked for, as the nearest that an event can have; what was done is noted.

Looks at types, since `isinstance` runs code of the object (`__class__`), which may raise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

from metlog.event import severity_from
from metlog.values import text_of, type_name

__all__ = ["fields_of", "joined", "known_tokens", "rate_of", "severity_of", "tokens_of", "tokens_tuple", "type_of"]

known_tokens: Final[dict[Any, tuple[str, ...]]] = {}
"""Results of `tokens_tuple`, to look up first."""
_MOST_KNOWN: Final = 4096

_MAX_TOKENS: Final = 1_000
_TEXT: Final = frozenset({str})


def tokens_tuple(tokens: Any) -> tuple[str, ...]:
    """The tokens of a call as a tuple of texts; those of a text and of a tuple of texts are remembered.

    Raises TypeError for what is neither text, tuple nor list, and where there would be something to note: see `tokens_of`.
    """
    kind = type(tokens)
    if kind is str:
        proper: tuple[str, ...] = (tokens,)
    elif (kind is tuple or kind is list) and tokens and _TEXT.issuperset(map(type, tokens)):
        proper = tuple(tokens)
        if kind is list:
            return proper
    else:
        if not issubclass(kind, str | tuple | list):  # another iterable may be read once only
            raise TypeError(f"tokens: {type_name(tokens)}")
        notes: list[str] = []
        proper = tokens_of(tokens, notes)
        if notes:
            raise TypeError(notes[0])
        return proper
    if len(known_tokens) >= _MOST_KNOWN:  # made at run time
        known_tokens.clear()
    known_tokens[tokens] = proper
    return proper


def tokens_of(tokens: Any, notes: list[str]) -> tuple[str, ...]:
    """Tokens as text, at least one."""
    if issubclass(type(tokens), str | bytes | bytearray) or not issubclass(type(tokens), Iterable):
        tokens = (tokens,)
    found: list[Any] = []
    try:
        found.extend(islice(tokens, _MAX_TOKENS))
    except Exception as error:  # noqa: BLE001 - `__iter__` is code of the application
        notes.append(f"tokens: {type_name(tokens)} cannot be read to its end ({type(error).__name__})")
    texts: list[str] = []
    for index, token in enumerate(found):
        text, note = _text_of(token)
        texts.append(text)
        if note:
            notes.append(f"tokens.{index}: {note}")
    return tuple(texts) or ("event",)


def type_of(type: Any, notes: list[str]) -> str:
    """The type of an event as text."""
    text, note = _text_of(type)
    if note:
        notes.append(f"type: {note}")
    return text


def _text_of(value: Any) -> tuple[str, str | None]:
    """As `text_of`; a member of an enumeration of texts is its value, as it is in fields."""
    return (str.__str__(value), None) if issubclass(type(value), str) else text_of(value)


def fields_of(fields: Any, notes: list[str]) -> dict[Any, Any]:
    """Fields as a dict of their own; what is no mapping is the field `fields`."""
    if fields is None:
        return {}
    try:
        if issubclass(type(fields), Mapping):
            return dict(fields)
    except Exception as error:  # noqa: BLE001 - code of the application
        notes.append(f"fields: {type_name(fields)} cannot be read ({type(error).__name__})")
    return {"fields": fields}


def joined(more: dict[str, Any], fields: Any) -> dict[Any, Any]:
    """Fields given as keywords, and those of `fields`, which go before."""
    notes: list[str] = []
    return {**more, **fields_of(fields, notes)}


def severity_of(severity: Any, notes: list[str]) -> int:
    """A severity by number or name; 6 where it is neither."""
    number = severity_from(severity)
    if number is None:
        notes.append(f"severity: {type_name(severity)} is neither a number nor the name of a severity; became 6")
        return 6
    return number


def rate_of(rate: Any) -> float:
    """A rate as a number; NaN where it is none, which the encoder tells (a weight that is no number)."""
    try:
        return float(rate)
    except Exception:  # noqa: BLE001 - `__float__` is code of the application
        return float("nan")
