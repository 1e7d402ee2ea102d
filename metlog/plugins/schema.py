"""A table of settings checked against a struct: every fault is noted, with key, value and remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from msgspec import Struct, structs

from metlog.errors import Problems
from metlog.plugins.conversion import FilePath, Port, Seconds, Size, Unit, convert, number, shown, suggest

__all__ = ["FilePath", "Port", "Seconds", "Size", "Unit", "checked", "hints_of", "unknown"]


def checked(kind: type[Struct], table: Mapping[str, Any], where: str, problems: Problems) -> dict[str, Any]:
    """Returns the values of a table, converted to the types of a struct's fields; a fault is noted in `problems`.

    What is left out, or is wrong, is not in the result, so that `kind(**checked(…))` has the struct's defaults there. `where`
    is the key that the table stands under; empty at the top. Types are those that `metlog.plugins.convert` knows:

    >>> from typing import Annotated
    >>> from msgspec import Meta, defstruct
    >>> Buffer = defstruct("Buffer", [("max_frame", Annotated[Size, Meta(ge=64)], 8192), ("flush_interval", Seconds, 0.1)])
    >>> problems = Problems()
    >>> Buffer(**checked(Buffer, {"max_frame": "32KB", "flush": 1, "flush_interval": -1}, "buffer", problems))
    Buffer(max_frame=32768, flush_interval=0.1)
    >>> for line in problems.lines:
    ...     print(line)
    buffer.flush = 1: no such setting; did you mean 'flush_interval'?
    buffer.flush_interval = -1: wants 0 seconds or more
    """
    hints = hints_of(kind)
    prefix = f"{where}." if where else ""
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in hints:
            problems.add(unknown(key, value, hints, where))
            continue
        try:
            values[key] = convert(value, hints[key])
        except ValueError as error:
            problems.add(f"{prefix}{key} = {shown(key, value)}: {error}")
    for item in structs.fields(kind):
        if item.required and item.name not in table:
            problems.add(f"{prefix}{item.name}: missing, and has no default")
    return values


def hints_of(kind: type[Struct]) -> dict[str, Any]:
    """The type of each field of a struct, with what `Annotated` adds."""
    return {
        name: hint for name, hint in get_type_hints(kind, include_extras=True).items() if name in kind.__struct_fields__
    }


def unknown(key: object, value: object, known: Mapping[str, Any], where: str = "") -> str:
    """The fault of a key that no setting has."""
    prefix = f"{where}." if where else ""
    return f"{prefix}{key}{number(value)}: no such setting; {suggest(str(key), known)}"
