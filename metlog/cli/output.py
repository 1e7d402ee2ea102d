"""The formats of a result, and a result as a table in the terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from metlog.cli.terminal import legible
from metlog.lake.values import as_text

if TYPE_CHECKING:
    from rich.table import Table

    from metlog.lake.query import Column

__all__ = ["Format", "SpreadsheetOption", "print_table"]


SpreadsheetOption = Annotated[
    bool,
    typer.Option("--spreadsheet", help="CSV in which no text is a formula: an apostrophe before = + - @ and the like."),
]


class Format(StrEnum):
    """How a result is written."""

    table = "table"
    json = "json"
    csv = "csv"
    parquet = "parquet"


def print_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Any]],
    *,
    title: str | None = None,
    caption: str | None = None,
    output: BinaryIO | None = None,
    may_drop: bool = False,
) -> None:
    """Prints rows as a table: as wide as the terminal, or as it needs to be when it goes elsewhere.

    title
        A line above it.
    may_drop
        Where the terminal is too narrow, columns without a single value are left out, and a line says which.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.text import Text

    text = io.TextIOWrapper(output, encoding="utf-8", write_through=True) if output is not None else None
    console = Console(file=text or sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=text or sys.stdout, highlight=False, width=10_000, color_system=None)
    caption = None if caption is None else legible(caption)
    table = _lined(columns, rows, caption)
    unbounded = console.options.update(max_width=10_000)
    if Measurement.get(console, unbounded, table).maximum > console.width:  # without its lines it needs less
        empty = [at for at in range(len(columns)) if may_drop and all(row[at] is None for row in rows)]
        if empty:
            left_out = ", ".join(columns[at].name for at in empty)
            caption = "\n".join(
                part for part in (caption, legible(f"without a value, and left out: {left_out}")) if part
            )
            kept = [at for at in range(len(columns)) if at not in empty]
            columns, rows = [columns[at] for at in kept], [[row[at] for at in kept] for row in rows]
        table = _narrow(columns, rows, caption, console.width)
    if title:  # not the table's own, which would be folded to the table's width
        console.print(Text(legible(title), style="bold"), soft_wrap=True)
    console.print(table)
    if text is not None:
        text.detach()


def _lined(columns: Sequence[Column], rows: Sequence[Sequence[Any]], caption: str | None) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(caption=caption, caption_justify="left", header_style="bold")
    for column in columns:
        table.add_column(
            Text(legible(column.name)), justify="right" if _is_number(column.type) else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(_cell(value, column.type)) for value, column in zip(row, columns, strict=True)))
    return table


_ROOM: Final = 6
"""Characters that a column of texts must keep, if numbers and times are to stay whole."""


def _narrow(columns: Sequence[Column], rows: Sequence[Sequence[Any]], caption: str | None, width: int) -> Table:
    """Without lines; names folded at their underscores; texts make room for numbers and times, where that is enough."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        caption=caption, caption_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0),
        show_edge=False,
    )  # fmt: skip
    names = [legible(column.name).replace("_", "_\n") for column in columns]
    cells = [[_cell(value, column.type) for value, column in zip(row, columns, strict=True)] for row in rows]
    whole = [_is_number(column.type) or column.type.startswith(("TIMESTAMP", "DATE")) for column in columns]
    needs = [
        max([*map(len, name.split("\n")), *(len(row[at]) for row in cells)]) if stays else _ROOM
        for at, (name, stays) in enumerate(zip(names, whole, strict=True))
    ]
    enough = sum(needs) + 2 * len(columns) <= width
    for name, column, stays in zip(names, columns, whole, strict=True):
        right = "right" if _is_number(column.type) else "left"
        table.add_column(Text(name), justify=right, overflow="fold", no_wrap=stays and enough)  # type: ignore[arg-type]
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def _is_number(sql_type: str) -> bool:
    return sql_type.endswith(("INT", "INTEGER", "BIGNUM")) or sql_type.startswith(("DOUBLE", "FLOAT", "DECIMAL"))


def _cell(value: Any, sql_type: str) -> str:
    if isinstance(value, float) and abs(value) < 1e15:
        return f"{value:,.2f}".rstrip("0").rstrip(".") if abs(value) >= 1 or not value else f"{value:.4g}"
    return legible(as_text(value, sql_type))
