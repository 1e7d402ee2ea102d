"""The promoted columns of one Parquet file, made a row group at a time out of its `fields`.

The first row group decides of what kind a column is. A value that does not fit it, in a later row group, is left out, and then the
footer says so: readers take `fields`, in which everything is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET

from metlog.lake.promotion.footer import PROMOTED, TYPES, Kind, Promoted, column_name, encode

__all__ = ["FileColumns", "lines_of"]

_ROWS: Final = 5000
"""Rows that are decoded together: they stay in the processor's cache."""
_MANY: Final = 0.5
"""Share of different values from which on a dictionary is work for nothing."""
_FEW: Final = 256
"""Different values among `_ROWS` up to which their texts get a column, too."""
_LEAST: Final = 1e-4
_MOST: Final = 1e15
"""Numbers between the two are written without an exponent by everybody: JSON's writers, and a CAST to text."""


def lines_of(column: pa.Array) -> bytes:
    """The texts of a column, a line each."""
    one = pa.ListArray.from_arrays(pa.array([0, len(column)], pa.int32()), column)
    return bytes(pc.binary_join(one, "\n")[0].as_buffer())


def _objects(texts: pa.Array) -> bytes:
    """The texts of a column one behind the other, as the decoder takes objects, too."""
    if texts.null_count:
        return lines_of(texts)
    _, ends, content = texts.buffers()
    if content is None:  # no row, or none but empty texts
        return b""
    offsets = memoryview(ends).cast("i")
    first, last = offsets[texts.offset], offsets[texts.offset + len(texts)]
    return bytes(memoryview(content)[first:last])


_TAKE: Final[list[Callable[[list[Any]], list[Any]]]] = [
    lambda rows: [row.f0 for row in rows],
    lambda rows: [row.f1 for row in rows],
    lambda rows: [row.f2 for row in rows],
    lambda rows: [row.f3 for row in rows],
    lambda rows: [row.f4 for row in rows],
    lambda rows: [row.f5 for row in rows],
    lambda rows: [row.f6 for row in rows],
    lambda rows: [row.f7 for row in rows],
]
"""The values of the first, second, … name: an attribute that stands in the code is read twice as fast as by `getattr`."""


def _take(rows: list[Any], number: int) -> list[Any]:
    if number < len(_TAKE):
        return _TAKE[number](rows)
    key = f"f{number}"
    return [getattr(row, key) for row in rows]


@lru_cache(maxsize=64)
def _decoder(names: tuple[str, ...], missing: Any) -> Callable[[bytes], list[Any]]:
    """Decodes these names of each object and skips all others."""
    keys = [f"f{number}" for number in range(len(names))]
    kind = msgspec.defstruct(
        "Fields",
        [(key, Any, missing) for key in keys],
        rename=dict(zip(keys, names, strict=True)),
        gc=False,
    )
    return msgspec.json.Decoder(kind).decode_lines


@dataclass(slots=True)
class _Column:
    """One name in one file."""

    name: str
    kind: Kind = "none"
    column: str = ""
    texts: str = ""
    right: bool = True
    """Whether the column has every value."""
    pure: bool = True
    """Whether each value is of the JSON type that its kind says."""
    nulls: bool = False
    """Whether a value was null, which the column does not tell from a missing one."""
    integers: bool = False
    fractionless: bool = False
    """Among the values of a `double`: one that was written as 12, one that was written as 12.0."""
    odd: bool = False
    """A number that is written with an exponent."""
    floats: list[pa.Array] = field(default_factory=list)
    mixed: list[pa.Array] = field(default_factory=list)
    """Numbers of the row group: those of pieces without integers, and those of all others."""

    def array(self, values: list[Any], first: bool) -> pa.Array:
        """The values as an array of the kind that they have. Says in `right` whether all of them fit."""
        if self.kind == "text" or first:
            try:
                return pa.array(values, pa.string())
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                pass
        kinds = set(map(type, values)) - {type(None)}
        try:
            if kinds <= {int, float} and (float in kinds or self.kind == "double"):
                return self._numbers(values, kinds)
            if kinds <= {int}:
                return pa.array(values, pa.int64())
            if kinds <= {bool}:
                return pa.array(values, pa.bool_())
            if kinds <= {str, int, bool}:
                self.pure = False
                return pa.array([_text(value) for value in values], pa.string())
        except (pa.ArrowInvalid, OverflowError):  # an integer of more than 64 bits, or of more than a double has
            pass
        self.right = False
        return pa.nulls(len(values), pa.string())

    def _numbers(self, values: list[Any], kinds: set[type]) -> pa.Array:
        if int in kinds:
            self.integers = True
            if any(type(value) is int and not -(1 << 53) <= value <= 1 << 53 for value in values):
                raise OverflowError
            self.fractionless |= any(type(value) is float and value.is_integer() for value in values)
        found = pa.array(values, pa.float64())
        (self.mixed if int in kinds else self.floats).append(found)
        return found

    def look(self) -> None:
        """Takes down how the numbers of a row group are written, all at once."""
        floats = pa.chunked_array(self.floats, pa.float64())
        if self.kind == "double" and len(floats):
            self.fractionless |= bool(pc.any(pc.equal(floats, pc.trunc(floats))).as_py())
        size = pc.abs(pa.chunked_array([*self.floats, *self.mixed], pa.float64()))
        least, most = pc.min_max(size).as_py().values()
        if most is not None and (most >= _MOST or least < _LEAST):
            small = pc.and_(pc.less(size, _LEAST), pc.greater(size, 0.0))
            self.odd |= bool(most >= _MOST or pc.any(small).as_py())
        self.floats, self.mixed = [], []

    def said(self) -> Promoted | None:
        """The footer's entry, when the file is at its end."""
        if not self.right:
            return Promoted(self.name, self.kind, self.column, texts=self.texts, right=False) if self.column else None
        if self.kind == "none":
            return Promoted(self.name, "none", json=not self.nulls)
        text = self.kind != "double" or not (self.odd or (self.integers and self.fractionless))
        exact = text and self.pure and not self.nulls
        whole = self.kind == "double" and self.integers
        return Promoted(self.name, self.kind, self.column, text, whole, exact, self.texts)


def _text(value: Any) -> str | None:
    """As `->>` gives it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


@dataclass(slots=True)
class FileColumns:
    """The columns of a file for some names: `extend` for each row group, `footer` at the end."""

    names: tuple[str, ...]
    encoded: bool = False
    """Whether `fields` was written by this program's encoder from a dict, so that no object has a name twice. Else that is looked for:
    of two values DuckDB takes the first, and the decoder here the last."""
    schema: list[pa.Field] = field(default_factory=list)
    """The columns, once there was a row group."""
    dictionaries: list[str] = field(default_factory=list)
    """Those whose values come again."""
    bounded: list[str] = field(default_factory=list)
    """Those of which the footer is to say the least and the greatest value: all but texts that differ from event to event."""
    _columns: list[_Column] = field(default_factory=list)
    _started: bool = False

    def extend(self, rows: pa.Table) -> pa.Table:
        """A row group with the columns at its end."""
        if not self.names:
            return rows
        if not self._started:
            self._columns = [_Column(name) for name in self.names]
        arrays = self._arrays(rows["fields"])
        if not self._started:
            self._started = True
            self._begin(arrays)
        for column, parts in zip(self._columns, arrays, strict=True):
            column.look()
            if column.column:
                found = pa.chunked_array([_as_kind(part, column) for part in parts], TYPES[column.kind])
                rows = rows.append_column(pa.field(column.column, found.type), found)
                if column.texts:
                    rows = rows.append_column(pa.field(column.texts, pa.string()), _texts(found))
            elif column.kind == "none" and any(part.null_count < len(part) for part in parts):
                column.right = False  # a name that the first row group had not
        return rows

    def footer(self) -> dict[bytes, bytes]:
        """What the file's footer is to say."""
        said = [entry for column in self._columns if (entry := column.said()) is not None]
        return {PROMOTED: encode(said)} if said else {}

    def _begin(self, arrays: Sequence[Sequence[pa.Array]]) -> None:
        """Settles the kinds by the first row group."""
        for column, parts in zip(self._columns, arrays, strict=True):
            types = {part.type for part in parts if part.null_count < len(part)}
            if not column.right or not types:
                continue
            if types == {pa.int64(), pa.float64()}:
                types = {pa.float64()}
                column.integers = True
            if len(types) > 1:
                column.right = pa.float64() not in types
                column.pure = False
                types = {pa.string()}
            if column.right:
                column.kind = next(kind for kind, arrow in TYPES.items() if arrow in types)
                column.column = column_name(column.name, column.kind)
                self.schema.append(pa.field(column.column, TYPES[column.kind]))
                again = column.kind == "double" or _comes_again(parts)
                if again:
                    self.dictionaries.append(column.column)
                if again or column.kind != "text":
                    self.bounded.append(column.column)
                if column.kind in {"integer", "boolean"} and _few(parts):
                    column.texts = column_name(column.name, "text")
                    self.schema.append(pa.field(column.texts, pa.string()))
                    self.dictionaries.append(column.texts)
                    self.bounded.append(column.texts)

    def _arrays(self, fields: pa.ChunkedArray) -> list[list[pa.Array]]:
        """For each name its values, in pieces."""
        found: list[list[pa.Array]] = [[] for _ in self.names]
        for chunk in fields.chunks:
            for start in range(0, len(chunk), _ROWS):
                for parts, part in zip(found, self._piece(chunk.slice(start, _ROWS)), strict=True):
                    parts.append(part)
        return found

    def _piece(self, texts: pa.Array) -> list[pa.Array]:
        lines = _objects(texts)
        nulls = b"null" in lines
        try:
            rows = _decoder(self.names, UNSET if nulls else None)(lines)
        except (msgspec.DecodeError, ValueError, RecursionError):
            rows = []
        if len(rows) != len(texts):  # fields that are no objects, in a file of another origin
            for column in self._columns:
                column.right = False
            return [pa.nulls(len(texts), pa.string())] * len(self.names)
        found = []
        for number, column in enumerate(self._columns):
            values = _take(rows, number)
            if nulls:
                column.nulls |= None in values
                values = [None if value is UNSET else value for value in values]
            part = column.array(values, first=not self._started)
            if (
                not self.encoded
                and lines.count(b'"%b"' % column.name.encode()) + lines.count(b"\\u00") > len(part) - part.null_count
            ):
                column.right &= not _twice(texts, column.name)
            found.append(part)
        return found


def _twice(texts: pa.Array, name: str) -> bool:
    """Whether one of the objects has a name twice at its top."""
    often = pc.greater(pc.count_substring(texts, f'"{name}"'), 1)
    doubtful = texts.filter(pc.or_(often, pc.match_substring(texts, "\\u00")))
    return any(
        sum(key == name for key, _ in json.loads(text, object_pairs_hook=list)) > 1 for text in doubtful.to_pylist()
    )


def _comes_again(parts: Sequence[pa.Array]) -> bool:
    part = max(parts, key=len)
    return bool(len(part.unique()) < _MANY * max(len(part) - part.null_count, 1))


def _few(parts: Sequence[pa.Array]) -> bool:
    return len(max(parts, key=len).unique()) <= _FEW


def _texts(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The texts of some values, of which there are few different ones: each is written once."""
    whole = values.combine_chunks().dictionary_encode()
    found = whole.dictionary.cast(pa.string()).take(whole.indices)
    return pa.chunked_array([found], pa.string())


def _as_kind(part: pa.Array, column: _Column) -> pa.Array:
    """A piece as the column is typed; without its values where they do not fit."""
    wanted = TYPES[column.kind]
    if part.type == wanted:
        return part
    if part.null_count == len(part):
        return pa.nulls(len(part), wanted)
    if column.kind == "text" and part.type != pa.float64():
        column.pure = False
        return part.cast(wanted)
    if column.kind == "double" and part.type == pa.int64():
        column.integers = True
        try:
            return part.cast(wanted)
        except pa.ArrowInvalid:  # more than 53 bits
            pass
    column.right = False
    return pa.nulls(len(part), wanted)
