"""The formats of a result, and a result as a table in the terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from metlog.cli.terminal import legible
from metlog.lake.shown import fields_of, is_number, order, pairs, shown
from metlog.lake.values import Column

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["Format", "SpreadsheetOption", "print_table"]


SpreadsheetOption = Annotated[
    bool,
    typer.Option("--spreadsheet", help="CSV in which no text is a formula: an apostrophe before = + - @ and the like."),
]


class Format(StrEnum):
    """How a result is written."""

    table = "table"
    json = "json"
    ndjson = "ndjson"
    csv = "csv"
    markdown = "markdown"
    vertical = "vertical"
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
    """Prints rows as a table: as wide as the terminal, or as it needs to be when it goes elsewhere. Whole events (`SELECT *`) have a
    line each on a terminal, the columns that matter first; columns that find no room are named below.

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
    places = order(columns)
    events = places != list(range(len(columns)))
    columns, rows = [columns[at] for at in places], [[row[at] for at in places] for row in rows]
    if events and console.is_terminal:
        _events(console, columns, rows, caption)
        if text is not None:
            text.detach()
        return
    table = _lined(columns, rows)
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
        if len(columns) > _FEW and len(columns) * (_ROOM + 1) > console.width:
            room = max(_FEW, console.width // (_ROOM + 1))
            caption = _left_out(caption, columns[room:])
            columns, rows = columns[:room], [row[:room] for row in rows]
        table = _narrow(columns, rows, console.width)
    if title:  # not the table's own, which would be folded to the table's width
        console.print(Text(legible(title), style="bold"), soft_wrap=True)
    console.print(table)
    _say(console, caption)
    if text is not None:
        text.detach()


def _say(console: Console, caption: str | None) -> None:
    """Below a table, as wide as the terminal: a caption of the table itself would be folded to the table's width."""
    if caption:
        from rich.text import Text

        console.print(Text(caption, style="dim italic"))


def _lined(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold")
    for column in columns:
        table.add_column(Text(legible(column.name)), justify="right" if is_number(column) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value, column)) for value, column in zip(row, columns, strict=True)))
    return table


def _left_out(caption: str | None, columns: Sequence[Column]) -> str | None:
    """The caption with the names of columns that find no room."""
    if not columns:
        return caption
    names = ", ".join(column.name for column in columns)
    return "\n".join(part for part in (caption, legible(f"no room for {names}; --format vertical shows all")) if part)


def _events(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[Any]], caption: str | None) -> None:
    """A line an event: columns of fixed needs first, the rest of the width shared by payload and fields, each cut with an ellipsis."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    narrow = console.width < _WIDE
    names = ["sev" if narrow and column.name == "severity" else legible(column.name) for column in columns]
    cells = [[_one_line(value, column, narrow) for value, column in zip(row, columns, strict=True)] for row in rows]
    needs = [max([len(name), *(len(row[at]) for row in cells)]) for at, name in enumerate(names)]
    least = _FLEXIBLE if narrow else {**_FLEXIBLE, "payload": 24, "fields": 40}
    flexible = {at: min(needs[at], least.get(column.name, needs[at])) for at, column in enumerate(columns)}
    kept, used = 0, 0
    while kept < len(columns) and (kept < _FEWEST or used + flexible[kept] + 2 <= console.width):
        used += flexible[kept] + 2
        kept += 1
    spare = console.width - used
    widths = dict(flexible)
    for at in range(kept):
        more = min(max(spare, 0), needs[at] - widths[at])
        widths[at] += more
        spare -= more
    table = Table(
        header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
        padding=(0, 1, 0, 0), show_edge=False,
    )  # fmt: skip
    for at, column in enumerate(columns[:kept]):
        right = "right" if is_number(column) else "left"
        table.add_column(Text(names[at]), justify=right, overflow="ellipsis", no_wrap=True, max_width=widths[at])  # type: ignore[arg-type]
    for row in cells:
        table.add_row(*map(Text, row[:kept]))
    console.print(table)
    _say(console, _left_out(caption, columns[kept:]))


def _one_line(value: Any, column: Column, narrow: bool) -> str:
    members = fields_of(value, column)
    if members is not None:
        return (
            legible(" ".join(f"{name}={text}" for name, text in pairs(members))).replace("\n", " ").replace("\t", " ")
        )
    if column.name == "timestamp" and hasattr(value, "isoformat"):
        text = str(value.isoformat(sep=" ", timespec="seconds" if narrow else "milliseconds"))
        return text.replace("+00:00", "" if narrow else "Z")
    return " ".join(_cell(value, column).split())


_FLEXIBLE: Final = {"payload": 16, "fields": 16, "tokens": 12, "logger": 16, "type": 16}
"""Characters that a column of an event keeps at least, if it needs them."""
_WIDE: Final = 100
"""Characters of a terminal from which on times of events have milliseconds."""
_FEWEST: Final = 4
"""Columns of an event that are shown on a terminal of any width."""
_FEW: Final = 6
"""Columns that are folded rather than left out, on a terminal of any width."""
_ROOM: Final = 6
"""Characters that a column of texts must keep, if numbers and times are to stay whole."""


def _narrow(columns: Sequence[Column], rows: Sequence[Sequence[Any]], width: int) -> Table:
    """Without lines; names folded at their underscores; texts make room for numbers and times, where that is enough."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0),
        show_edge=False,
    )  # fmt: skip
    names = [legible(column.name).replace("_", "_\n") for column in columns]
    cells = [[_cell(value, column) for value, column in zip(row, columns, strict=True)] for row in rows]
    whole = [is_number(column) or column.type.startswith(("TIMESTAMP", "DATE")) for column in columns]
    needs = [
        max([*map(len, name.split("\n")), *(len(row[at]) for row in cells)]) if stays else _ROOM
        for at, (name, stays) in enumerate(zip(names, whole, strict=True))
    ]
    enough = sum(needs) + 2 * len(columns) <= width
    for name, column, stays in zip(names, columns, whole, strict=True):
        right = "right" if is_number(column) else "left"
        table.add_column(Text(name), justify=right, overflow="fold", no_wrap=stays and enough)  # type: ignore[arg-type]
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def _cell(value: Any, column: Column) -> str:
    return legible(shown(value, column))
