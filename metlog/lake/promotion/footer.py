"""What a Parquet file says of the columns that it has beside those of the schema: the footer's key `metlog.promoted`.

A column stands for the value of one name at the top of `fields`, in every event of its file; the answer of each expression that its entry
admits can be made of it exactly.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Final, Literal

import msgspec
import pyarrow as pa
from msgspec import Struct

__all__ = ["PROMOTED", "TYPES", "Kind", "Promoted", "column_name", "columns_of", "decode", "encode"]

PROMOTED: Final = b"metlog.promoted"
"""Key in the footer."""

Kind = Literal["text", "integer", "double", "boolean", "none"]

TYPES: Final[dict[Kind, pa.DataType]] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
}
"""Types of the columns; of the kind `none` there is no column, since no event of the file has the name."""

_TEXTS: Final = frozenset({"integer", "boolean"})
"""Kinds of columns that may have a second one beside them."""
_PLAIN: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_OTHER: Final = re.compile(r"[^a-z0-9_]+")


class Promoted(Struct, frozen=True, omit_defaults=True):
    """A name in `fields` and the column that has its values; null where the name is missing or its value is null."""

    name: str
    kind: Kind
    column: str = ""
    text: bool = True
    """Whether what `->>` gives can be made of it: for `double`, whether each number is written in one way."""
    whole: bool = False
    """For `double`: numbers without a fraction are written without one, `12` and not `12.0`."""
    json: bool = True
    """Whether what `->` gives can be made of it: no value is null, and a text column has texts only."""
    texts: str = ""
    """For `integer` and `boolean` with few different values: a second column, of their texts, by which a query groups faster."""
    right: bool = True
    """False for a column that lacks values which did not fit: nothing can be made of it."""


def column_name(name: str, kind: Kind) -> str:
    """The name of a column: letters, digits and `_`, which every engine takes; different for names that differ in case alone."""
    if _PLAIN.fullmatch(name):
        return f"field_{kind}_{name}"
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
    return f"field_{kind}_{_OTHER.sub('_', name.lower())[:40].strip('_')}_{digest}"


def columns_of(promoted: Collection[Promoted]) -> dict[str, pa.DataType]:
    """The columns that a footer names, with their types."""
    found = {entry.column: TYPES[entry.kind] for entry in promoted if entry.column}
    return found | {entry.texts: TYPES["text"] for entry in promoted if entry.texts}


def encode(promoted: list[Promoted]) -> bytes:
    """The footer's text."""
    return msgspec.json.encode(promoted)


def decode(metadata: Mapping[bytes, bytes] | None) -> tuple[Promoted, ...]:
    """What a footer says; nothing for a file without such columns, and for one of a later release that says it in another way. An entry
    whose columns are not called as columns for its name are is left out: it may stand for any column of the file."""
    try:
        said = msgspec.json.decode((metadata or {})[PROMOTED], type=list[Promoted])
    except (KeyError, msgspec.DecodeError):
        return ()
    return tuple(filter(_sound, said))


def _sound(entry: Promoted) -> bool:
    if entry.kind == "none":
        return not entry.column and not entry.texts
    texts = {"", column_name(entry.name, "text")} if entry.kind in _TEXTS else {""}
    return entry.column == column_name(entry.name, entry.kind) and entry.texts in texts
