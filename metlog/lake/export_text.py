"""Results as text that people read: Markdown for a ticket or a wiki, and one block a record for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import IO, Any, Final

from metlog.lake.shown import fields_of, is_number, order, pairs
from metlog.lake.values import Column, as_text

__all__ = ["markdown_rows", "vertical_rows"]

_MARKDOWN: Final = str.maketrans({
    "\\": "\\\\", "|": "\\|", "<": "&lt;", ">": "&gt;", "&": "&amp;", "*": "\\*", "_": "\\_", "`": "\\`", "[": "\\[", "]": "\\]",
    "~": "\\~", "\r": " ", "\n": "<br>",
})  # fmt: skip
"""Nothing of a value is markup, and no value ends its row."""


def markdown_rows(columns: Sequence[Column], rows: Iterable[Sequence[Any]], file: IO[bytes]) -> int:
    """Writes a table of GitHub's Markdown (https://github.github.com/gfm/#tables-extension-); returns the number of rows."""
    right = [is_number(column) for column in columns]
    _line(file, [column.name.translate(_MARKDOWN) for column in columns])
    _line(file, ["---:" if number else "---" for number in right])
    count = 0
    for row in rows:
        texts = (as_text(value, column.type) for value, column in zip(row, columns, strict=True))
        _line(file, [text.translate(_MARKDOWN) for text in texts])
        count += 1
    return count


def _line(file: IO[bytes], cells: Sequence[str]) -> None:
    file.write(f"| {' | '.join(cells)} |\n".encode("utf-8", "replace"))


def vertical_rows(columns: Sequence[Column], rows: Iterable[Sequence[Any]], file: IO[bytes]) -> int:
    """Writes a block of `name  value` lines a row, the columns of an event in the order in which they are read, the members of `fields` a
    line each; returns the number of rows. Values are exact; further lines of one are indented below its first."""
    places = order(columns)
    width = max((len(column.name) for column in columns), default=0)
    count = 0
    for count, row in enumerate(rows, 1):
        file.write(f"─[ {count:,} ]{'─' * max(4, width + 20 - len(f'{count:,}'))}\n".encode())
        for at in places:
            lines = _lines(row[at], columns[at])
            text = f"\n{' ' * (width + 2)}".join(lines)
            file.write(f"{columns[at].name:<{width}}  {text}".rstrip().encode("utf-8", "replace") + b"\n")
    return count


def _lines(value: Any, column: Column) -> list[str]:
    members = fields_of(value, column)
    if not members:
        return as_text(value, column.type).splitlines() or [""]
    wide = min(max(len(str(name)) for name in members), 30)
    return [
        f"{name:<{wide}} = {text}"
        for name, text in ((name, " ".join(text.splitlines())) for name, text in pairs(members))
    ]
