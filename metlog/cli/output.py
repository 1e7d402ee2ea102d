"""A result as a table in the terminal, JSON, CSV or Parquet; a result of any size but for the table."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from metlog.lake.values import as_json, as_text

if TYPE_CHECKING:
    from metlog.lake.query import Column, Stream

__all__ = ["Format", "print_table", "write"]


class Format(StrEnum):
    """How a result is written."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"


def write(stream: Stream, how: Format, output: BinaryIO, limit: int | None = None) -> int:
    """Writes a streamed result, at most `limit` rows; gives their number. JSON is an array of objects, an object a line."""
    if how is Format.parquet:
        return _parquet(stream, output, limit)
    rows = _rows(stream, limit)
    return _json(stream.columns, rows, output) if how is Format.json else _csv(stream.columns, rows, output)


def _rows(stream: Stream, limit: int | None) -> Iterator[tuple[Any, ...]]:
    left = limit
    for batch in stream.batches:
        part = batch if left is None else batch.slice(0, left)
        yield from zip(*(column.to_pylist() for column in part.columns), strict=True)
        if left is not None:
            left -= part.num_rows
            if left <= 0:
                return


def _json(columns: Sequence[Column], rows: Iterator[tuple[Any, ...]], output: BinaryIO) -> int:
    names = [column.name for column in columns]
    types = [column.type for column in columns]
    count = 0
    output.write(b"[")
    for row in rows:
        line = {n: as_json(value, kind) for n, value, kind in zip(names, row, types, strict=True)}
        output.write((b",\n " if count else b"\n ") + msgspec.json.encode(line))
        count += 1
    output.write(b"\n]\n" if count else b"]\n")
    return count


def _csv(columns: Sequence[Column], rows: Iterator[tuple[Any, ...]], output: BinaryIO) -> int:
    text = io.TextIOWrapper(output, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.name for column in columns])
        count = 0
        for row in rows:
            writer.writerow([as_text(value, column.type) for value, column in zip(row, columns, strict=True)])
            count += 1
        return count
    finally:
        text.detach()  # whoever opened the stream closes it


def _parquet(stream: Stream, output: BinaryIO, limit: int | None) -> int:
    import pyarrow.parquet as pq

    count = 0
    with pq.ParquetWriter(output, stream.schema, compression="zstd") as writer:
        for batch in stream.batches:
            part = batch if limit is None else batch.slice(0, limit - count)
            writer.write_batch(part)
            count += part.num_rows
            if limit is not None and count >= limit:
                break
    return count


def print_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Any]],
    *,
    title: str | None = None,
    caption: str | None = None,
    output: BinaryIO | None = None,
) -> None:
    """Prints rows as a table: as wide as the terminal, or as it needs to be when it goes elsewhere; `title` is a line above it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=caption, caption_justify="left", header_style="bold")
    for column in columns:
        table.add_column(Text(column.name), justify="right" if _is_number(column.type) else "left", overflow="fold")
    for row in rows:
        cells = [_cell(value, column.type) for value, column in zip(row, columns, strict=True)]
        table.add_row(*(Text(cell) for cell in cells))
    text = io.TextIOWrapper(output, encoding="utf-8", write_through=True) if output is not None else None
    console = Console(file=text or sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=text or sys.stdout, highlight=False, width=10_000, color_system=None)
    if title:  # not the table's own, which would be folded to the table's width
        console.print(Text(_printable(title), style="bold"), soft_wrap=True)
    console.print(table)
    if text is not None:
        text.detach()


def _is_number(sql_type: str) -> bool:
    return sql_type.endswith(("INT", "INTEGER")) or sql_type.startswith(("DOUBLE", "FLOAT", "DECIMAL"))


def _cell(value: Any, sql_type: str) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}".rstrip("0").rstrip(".") if abs(value) >= 1 or not value else f"{value:.4g}"
    return _printable(as_text(value, sql_type))


def _printable(text: str) -> str:
    """A control character of an event must not steer the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)
