"""Text out of anything: an event is never lost because a message, a token or an argument has none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["MAX_REPR", "formatted", "repr_of", "text_of", "type_name", "whole_number"]

MAX_REPR: Final = 1_000
"""Characters that the `repr` of an object keeps."""
_DIGITS: Final = 18  # what 64 bits hold, whatever the digits
_MAX_ARGUMENTS: Final = 1_000  # characters of the arguments that did not fit

_DIRECTIVE: Final = re.compile(
    r"%(?:\((?P<name>[^)]*)\))?(?P<flags>[#0\- +]*)(?P<width>\*|\d*)(?P<precision>(?:\.(?:\*|\d*))?)[hlL]?(?P<kind>.)",
    re.DOTALL,
)
"""printf-style directives: https://docs.python.org/3/library/stdtypes.html#printf-style-string-formatting"""


def type_name(value: object) -> str:
    """The name of the value's class, with its module unless it is Python's own."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def text_of(value: Any) -> tuple[str, str | None]:
    """What `str` gives, bytes as the text that they spell; and a note, when there is no text: `<module.Type>` then."""
    try:
        if issubclass(type(value), bytes | bytearray):
            return value.decode("utf-8", "backslashreplace"), None
        text = str(value)
        return (text if type(text) is str else str.__str__(text)), None
    except Exception as error:  # noqa: BLE001 - `__str__` is code of the application
        name = type_name(value)
        return f"<{name}>", f"{name} has no text ({type(error).__name__})"


def repr_of(value: Any) -> str:
    """What `repr` gives, at most 1,000 characters; `<module.Type>` when it raises."""
    try:
        return str.__str__(repr(value))[:MAX_REPR]
    except Exception:  # noqa: BLE001 - `repr` is code of the application
        return f"<{type_name(value)}>"


def whole_number(text: str) -> int | None:
    """The number that up to 18 ASCII digits say; None for any other text, such as `²`, which `isdigit` takes and `int` does not."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) <= _DIGITS else None


def formatted(message: Any, arguments: Any) -> tuple[str, str | None]:
    """The message with %-arguments put in as stdlib logging does, and what was wrong with them; never raises.

    `arguments` is a tuple, or the one mapping that stands for it. A directive whose argument cannot be formatted so gets the
    argument's text in its place; one without an argument stays; arguments without a directive are in the second answer alone.
    """
    text, note = text_of(message)
    if not arguments:
        return text, note
    if isinstance(arguments, tuple) and len(arguments) == 1 and issubclass(type(arguments[0]), Mapping):
        arguments = arguments[0] or arguments
    try:
        return text % arguments, note
    except Exception as error:  # noqa: BLE001 - `__str__`, `__repr__`, `__float__`, … of the arguments
        given = arguments.values() if isinstance(arguments, dict) else arguments
        shown = ", ".join(map(repr_of, given)) if isinstance(arguments, tuple | dict) else repr_of(arguments)
        return _piecewise(text, arguments), f"{text_of(error)[0]}: ({shown[:_MAX_ARGUMENTS]})"


def _piecewise(text: str, arguments: Any) -> str:
    """Each directive by itself."""
    left = list(arguments) if isinstance(arguments, tuple) else [arguments]

    def put(found: re.Match[str]) -> str:
        if found["kind"] == "%":
            return "%"
        value: Any
        if found["name"] is not None:
            try:
                value = arguments[found["name"]]
            except Exception:  # noqa: BLE001 - no mapping, or none that has it
                return found[0]
            directive = found[0].replace(f"({found['name']})", "", 1)
        else:
            wanted = 1 + (found["width"] == "*") + (found["precision"] == ".*")
            if len(left) < wanted:
                return found[0]
            *sizes, value = left[:wanted]
            del left[:wanted]
            directive = found[0]
            for size in sizes:
                directive = directive.replace("*", str(size) if type(size) is int and abs(size) < MAX_REPR else "", 1)
        try:
            return str(directive % (value,))
        except Exception:  # noqa: BLE001 - as in `formatted`
            return text_of(value)[0]

    return _DIRECTIVE.sub(put, text)
