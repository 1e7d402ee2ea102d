"""What a file's promoted columns give for an expression over `fields`, as SQL; and what `fields` itself gives where they give nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from metlog.lake.promotion.footer import Promoted
from metlog.lake.sql.fields import Form, Wanted

__all__ = ["Hidden", "hidden_columns", "name_in"]

_MEMBER: Final = re.compile(r'\$\.(?:([A-Za-z_][A-Za-z0-9_]*)|"([^"\\*]+)")')
_NAME: Final = re.compile(r"(?!\d+$)\w[\w .:@-]*")
_POINTER: Final = re.compile(r"/([A-Za-z_][A-Za-z0-9_]*)")
_TYPES: Final[dict[Form, str]] = {
    "text": "VARCHAR", "text or double": "VARCHAR", "text or integer": "VARCHAR", "json": "JSON", "json or double": "JSON",
    "json or integer": "JSON", "double": "DOUBLE", "integer": "BIGINT",
}  # fmt: skip


class Hidden(NamedTuple):
    """A column of the view `metlog_promoted`."""

    column: str
    form: Form
    path: str
    name: str | None
    """The name at the top of `fields` that the path means; None for another path."""

    def sql(self, fields: str, promoted: Mapping[str, Promoted]) -> str:
        """The column over a file. `fields`: that column of the file, as JSON; `promoted`: the file's columns by their names in it."""
        entry = promoted.get(self.name) if self.name is not None else None
        return f"CAST({self._of(fields, entry)} AS {_TYPES[self.form]}) AS {self.column}"

    def _of(self, fields: str, entry: Promoted | None) -> str:
        form, _, number = self.form.partition(" or ")
        if form in {"double", "integer"}:
            return _number(entry, form)
        if number and _number(entry, number) != "NULL":
            return "NULL"
        found = _json(entry) if form == "json" else _text(entry)
        path = "'" + self.path.replace("'", "''") + "'"
        return found or f"({fields}{'->' if form == 'json' else '->>'}{path})"


def hidden_columns(wanted: Sequence[Wanted], values: Mapping[str, Any]) -> list[Hidden] | None:
    """The columns that a query wants; None when the value of a parameter that stands for a path is no text."""
    found = []
    for column, form, path, parameter in wanted:
        text = values.get(path) if parameter else path
        if not isinstance(text, str) or "\x00" in text:
            return None
        found.append(Hidden(column, form, text, name_in(text)))
    return found


def name_in(path: str) -> str | None:
    """The name at the top of `fields` that a path means; None where it means another place, or that is not certain."""
    if match := _MEMBER.fullmatch(path):
        return match[1] or match[2]
    if match := _POINTER.fullmatch(path):
        return match[1]
    return path if _NAME.fullmatch(path) else None


def _quoted(column: str) -> str:
    """A column's name, which a file's footer says, as an identifier."""
    return '"' + column.replace('"', '""') + '"'


def _number(entry: Promoted | None, kind: str) -> str:
    if entry is not None and entry.kind == kind:
        return _quoted(entry.column)
    if entry is not None and entry.kind == "integer" and kind == "double":
        return f"CAST({_quoted(entry.column)} AS DOUBLE)"
    return "NULL"


def _text(entry: Promoted | None) -> str:
    """What `->>` gives; empty where the file has no column of which it can be made."""
    if entry is None or not entry.text:
        return ""
    if entry.kind == "none":
        return "NULL"
    column = _quoted(entry.column)
    if entry.kind == "double" and entry.whole:
        whole = f"CAST(CAST({column} AS BIGINT) AS VARCHAR)"
        return f"CASE WHEN {column} = trunc({column}) THEN {whole} ELSE CAST({column} AS VARCHAR) END"
    if entry.texts:
        return _quoted(entry.texts)
    return column if entry.kind == "text" else f"CAST({column} AS VARCHAR)"


def _json(entry: Promoted | None) -> str:
    """What `->` gives; empty where the file has no column of which it can be made."""
    if entry is None or not entry.json or not entry.text:
        return ""
    if entry.kind == "text":
        return f"to_json({_quoted(entry.column)})"
    return _text(entry)
