"""Reports and dashboards that are made on the page: a TOML file each, in a folder of the data folder."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Literal

import msgspec

from metlog.errors import ConfigError

__all__ = ["delete", "is_name", "save", "toml_text"]

Kind = Literal["report", "dashboard"]
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def is_name(text: str) -> bool:
    """Whether a report or a dashboard may have this name."""
    return _NAME.fullmatch(text) is not None


def save(
    data: Path, kind: Kind, name: str, settings: Mapping[str, Any], check: Callable[[str, str], object], replace: bool
) -> Path:
    """Writes a file, with what `check(name, text)` finds right; returns its path.

    Raises ConfigError for a name that is none, FileExistsError where the name is taken and not to be replaced.
    """
    path = _path(data, kind, name)
    text = toml_text(settings)
    check(name, text)
    path.parent.mkdir(mode=0o750, exist_ok=True)
    temporary = path.with_name(f".{name}.{token_hex(8)}.tmp")  # of its own, also where two save the same at once
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # or a crash of the machine may leave an empty file under the name
        if replace:
            temporary.replace(path)
        else:
            os.link(temporary, path)  # fails when the name is taken, also by somebody who saves at the same time
    finally:
        temporary.unlink(missing_ok=True)
    return path


def delete(data: Path, kind: Kind, name: str) -> None:
    """Removes a file. Raises ConfigError for a name that is none, FileNotFoundError, OSError."""
    _path(data, kind, name).unlink()


def _path(data: Path, kind: Kind, name: str) -> Path:
    if not is_name(name):
        raise ConfigError(f"name = {name!r}: a {kind}'s name is lower-case letters, digits, - and _, at most 64")
    return data / f"{kind}s" / f"{name}.toml"


def toml_text(table: Mapping[str, Any]) -> str:
    """Returns the TOML of nested tables of texts, numbers and lists."""
    return "".join(_toml(table))


def _toml(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """TOML of nested tables of texts, numbers and lists; JSON's texts and lists are TOML's."""
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    several = {
        key: value
        for key, value in table.items()
        if isinstance(value, list) and value and isinstance(value[0], Mapping)
    }
    for key, value in table.items():
        if key not in inner and key not in several:
            yield f"{_text(key)} = {_text(value)}\n"
    for key, value in inner.items():
        yield f"\n[{prefix}{_text(key)}]\n"
        yield from _toml(value, f"{prefix}{_text(key)}.")
    for key, items in several.items():
        for item in items:
            yield f"\n[[{prefix}{_text(key)}]]\n"
            yield from _toml(item, f"{prefix}{_text(key)}.")


def _text(value: Any) -> str:
    # DEL is the one character that JSON leaves as it is and TOML does not take.
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
