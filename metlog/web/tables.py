"""A result as the page's table: columns in the order in which they are read, cells as text, fields as a list, links that sort."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from metlog.lake.interface import Result
from metlog.lake.shown import cut, fields_of, is_number, order, pairs, shown
from metlog.lake.values import Column
from metlog.web.times import in_zone

__all__ = ["Cell", "Heading", "Table", "sorted_rows", "table"]

_MEMBERS: Final = 50
"""Members of a JSON object that a cell lists."""


@dataclass(frozen=True)
class Heading:
    """A column: what stands above it, and the way to the rows in its order."""

    name: str
    label: str
    type: str
    number: bool
    link: str = ""
    sorted: str = ""
    """`ascending` or `descending`, when the rows are in its order."""


@dataclass(frozen=True)
class Cell:
    """A value: its text, or the members of an object."""

    text: str = ""
    members: list[tuple[str, str]] = field(default_factory=list)
    number: bool = False
    long: bool = False
    link: str = ""
    """The address of the events behind it."""


@dataclass(frozen=True)
class Table:
    """What the template `result.html` shows."""

    headings: list[Heading]
    rows: list[list[Cell]]


def table(
    result: Result,
    rows: Sequence[Sequence[Any]] | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    link: Callable[[int, bool], str] | None = None,
    sort: tuple[int, bool] | None = None,
    zone: ZoneInfo | None = None,
    times: Callable[[str, datetime], str] | None = None,
    links: Sequence[Mapping[str, str]] = (),
) -> Table:
    """The table of a result, or of some of its rows. `link(column, descending)` is the address of the same rows in another order, `sort` the
    order that they are in; `times` writes the times of a column. links: of each row the address behind it, under "", and behind columns that have their own.
    """
    columns = result.columns
    places = order(columns)
    headings = []
    for at in places:
        column = columns[at]
        mine = sort is not None and sort[0] == at
        descends = bool(mine and sort is not None and sort[1])
        headings.append(
            Heading(
                column.name, (labels or {}).get(column.name, column.name), column.type.lower(), is_number(column),
                link(at, not descends if mine else is_number(column)) if link is not None else "",
                ("descending" if descends else "ascending") if mine else "",
            )
        )  # fmt: skip
    made = []
    for number, row in enumerate(result.rows if rows is None else rows):
        to = links[number] if links else {}
        cells = [_cell(row[at], columns[at], zone, times) for at in places]
        for index, at in enumerate(places):
            if address := to.get(columns[at].name) or (to.get("", "") if index == 0 else ""):
                cells[index] = replace(cells[index], link=address)
        made.append(cells)
    return Table(headings, made)


def _cell(value: Any, column: Column, zone: ZoneInfo | None, times: Callable[[str, datetime], str] | None) -> Cell:
    if value is None:
        return Cell()
    members = fields_of(value, column)
    if members:
        return Cell(members=[(name, cut(text)) for name, text in pairs(members)[:_MEMBERS]])
    if isinstance(value, datetime):
        value = in_zone(value, zone)
        if times is not None:
            return Cell(times(column.name, value))
    text = cut(shown(value, column))
    return Cell(text, number=is_number(column), long=len(text) > 60)


def sorted_rows(result: Result, at: int, descending: bool) -> list[tuple[Any, ...]]:
    """The rows in the order of a column; those without a value come last."""
    known = [row for row in result.rows if row[at] is not None]
    try:
        known.sort(key=lambda row: row[at], reverse=descending)
    except TypeError:  # values of several kinds
        known.sort(key=lambda row: str(row[at]), reverse=descending)
    return [*known, *(row for row in result.rows if row[at] is None)]
