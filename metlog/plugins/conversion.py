"""Values from files, URLs and the environment as what an annotation says; and values as errors may show them."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Mapping
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec

__all__ = ["convert", "shown"]

_SECRET: Final = re.compile(r"(?:^|_|\.|\])(?:keys?|secret|token|password|passwd|pwd|credentials?)$", re.IGNORECASE)
_IN_URL: Final = re.compile(r"([?&][^=&]*(?:key|secret|token|password)[^=&]*=)[^&]+", re.IGNORECASE)
_LONGEST: Final = 200
_BOOLEANS: Final[Mapping[str, bool]] = {
    "true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip
_WORDS: Final[Mapping[Any, str]] = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a text", list: "a list", dict: "a table",
    type(None): "nothing",
}  # fmt: skip


def convert(value: Any, hint: Any) -> Any:
    """The value as an annotation says it; raises ValueError that tells what would be right.

    Text becomes what is asked for: a number, a truth value (`yes` and `on` as well), a list of the parts between commas
    or line ends.
    """
    if hint is Any or hint is inspect.Parameter.empty or "Callable" in str(hint):
        return value
    kinds = _alternatives(hint)
    if isinstance(value, str):
        if bool in kinds and str not in kinds and value.strip().lower() in _BOOLEANS:
            return _BOOLEANS[value.strip().lower()]
        if any(get_origin(kind) in {list, tuple, set, frozenset} for kind in kinds) and (
            str not in kinds or "\n" in value
        ):
            value = [part.strip() for part in re.split(r"\n" if "\n" in value else ",", value) if part.strip()]
    try:
        return msgspec.convert(value, hint, strict=False)
    except TypeError:  # an annotation that msgspec does not know: the factory checks for itself
        return value
    except (msgspec.ValidationError, ValueError) as error:
        raise ValueError(_wants(hint, value) or str(error)) from error


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if isinstance(hint, types.UnionType) or get_origin(hint) is Union else (hint,)


def _wants(hint: Any, value: Any) -> str | None:
    """`wants a whole number`; None for an annotation that has no simple words."""
    words = [_word(kind) for kind in _alternatives(hint) if kind is not type(None)]
    if not words or None in words:
        return None
    got = "" if isinstance(value, str) else f", not {_WORDS.get(type(value), type(value).__name__)}"
    return f"wants {' or '.join(str(word) for word in words)}{got}"


def _word(kind: Any) -> str | None:
    if kind in _WORDS:
        return _WORDS[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is list:
        part = None if inner[0] is Any else _word(inner[0])
        return "a list" + (f", each {part}" if part else "")
    if origin is dict or kind is dict:
        part = None if not inner or inner[1] is Any else _word(inner[1])
        return "a table" + (f", each value {part}" if part else "")
    return None


def shown(key: str, value: object) -> str:
    """A value as an error may show it: what has the name of a secret is hidden, what is long is cut."""
    text = repr(_hidden(key, value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 20]}… ({len(text)} characters)"


def _hidden(key: str, value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _hidden(str(name), item) for name, item in value.items()}
    if _SECRET.search(key) and not (isinstance(value, str) and value.startswith("${")):
        return "***"
    if isinstance(value, list | tuple):
        return [_hidden("", item) for item in value]
    if isinstance(value, str):
        return _IN_URL.sub(r"\1***", value)
    return value
