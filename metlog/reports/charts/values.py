"""Values from events in a form that a picture can hold: text without what XML forbids, numbers that are finite and of a bounded size."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from metlog.reports.words import shown_type

if TYPE_CHECKING:
    from metlog.reports.spec import Chart

__all__ = ["LARGEST", "cells", "finite", "legible", "legible_chart"]

LARGEST: Final = 1e100
"""The largest number of a chart; what is larger is drawn as large as this. Sums of any number of them are finite."""
_EXACT: Final = 2**53
_LONGEST: Final = 300
"""Characters of a text in a chart."""
_UNCUT: Final = 10
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")
"""Characters that are two in JavaScript; where Vega cuts a label, which it does to none so short, it would cut one in half, and then draw
nothing at all."""


def _forbidden() -> dict[int, str]:
    """XML 1.0 (https://www.w3.org/TR/xml/#charsets) holds no more below U+0020 than tab and ends of lines, no surrogates, U+FFFE and
    U+FFFF. The others below U+0020 have pictures of their own in Unicode, so that two names do not become one."""
    pictures = {code: chr(0x2400 + code) for code in range(0x20)}
    rest = [*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
    # Vega-Lite puts texts into expressions without escaping a backslash at their end.
    return (
        pictures
        | {0x7F: "\u2421", ord("\\"): "\N{REVERSE SOLIDUS OPERATOR}"}
        | dict.fromkeys(rest, "\N{REPLACEMENT CHARACTER}")
    )


_FORBIDDEN: Final = _forbidden()


def legible(value: str) -> str:
    """The text with a visible character in place of each that XML cannot hold or that changes the direction of writing; a long one cut,
    with a checksum of the whole, so that two stay two."""
    shown = value.translate(_FORBIDDEN)
    cut = shown[:_LONGEST]
    if len(cut) > _UNCUT:
        cut = _ASTRAL.sub("\N{REPLACEMENT CHARACTER}", cut)
    if cut == shown:
        return shown
    return f"{cut}{'…' * (len(shown) > _LONGEST)} {zlib.crc32(value.encode('utf-8', 'surrogatepass')):08x}"


def finite(value: Any) -> float | int | None:
    """A number that a chart can draw; None for what is none, NaN included."""
    if isinstance(value, Decimal):
        value = float(value)
    if not isinstance(value, (int, float)) or (isinstance(value, float) and math.isnan(value)):
        return None
    bounded = min(max(value, -LARGEST), LARGEST)
    # Vega takes no integers beyond 64 bits, and sums of large ones are larger.
    return float(bounded) if abs(bounded) > _EXACT else bounded


def legible_chart(chart: Chart) -> Chart:
    """The chart with its own texts in such a form; it may be one that a user has saved."""
    return msgspec.structs.replace(
        chart, unit=legible(chart.unit), zero=legible(chart.zero),
        labels={key: legible(value) for key, value in chart.labels.items()},
        colors={key: legible(value) for key, value in chart.colors.items()},
    )  # fmt: skip


def cells(chart: Chart, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The columns that a chart shows: its values as numbers, names and series as texts or numbers, times as they are."""
    names = [name for name in dict.fromkeys((chart.x, chart.color)) if name and name not in chart.y]
    return [
        {name: _name(_shown(name, row.get(name))) for name in names} | {name: finite(row.get(name)) for name in chart.y}
        for row in rows
    ]


def _shown(column: str, value: Any) -> Any:
    return shown_type(value) if column == "type" and isinstance(value, str) else value


def _name(value: Any) -> Any:
    if value is None or isinstance(value, (bool, date)):
        return value
    if isinstance(value, (int, float, Decimal)):
        return finite(value)
    return legible(value if isinstance(value, str) else str(value))
