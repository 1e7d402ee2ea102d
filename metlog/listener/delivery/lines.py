"""The events of a record one after the other, decoded some at a time: what a record holds may take many times its bytes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

from metlog.journal.rows import WRONG, Row, decode
from metlog.journal.segment import Record
from metlog.lake.careful import REASON

__all__ = ["Line", "lines_of"]

_PIECE: Final = 64 << 10
"""Bytes that are decoded at once, unless one event is longer."""


class Line(NamedTuple):
    """A line of a record: its number, its bytes, and the event or what is wrong with it."""

    number: int
    text: bytes
    row: Row | None
    reason: str = ""


class Fatal:
    """Tells which of some lines no process survives; the default knows of none."""

    def __call__(self, lines: Sequence[bytes], record: Record) -> Collection[int]:
        return ()


_NONE: Final = Fatal()


def lines_of(record: Record, skip: int, fatal: Fatal = _NONE) -> Iterator[Line]:
    """Yields the lines from number `skip` on. `fatal` is asked first, and what it names is not decoded."""
    index = 0
    for texts in _pieces(record):
        if index + len(texts) <= skip:
            index += len(texts)
            continue
        first = max(skip - index, 0)
        index += first
        whole = [text + record.tail for text in texts[first:]] if record.tail else texts[first:]
        yield from _decoded(whole, index, fatal(whole, record))
        index += len(whole)


def _pieces(record: Record) -> Iterator[list[bytes]]:
    """Lines that are not blank, without the tail, as many at a time as make up a piece with it."""
    events = record.lines
    size = _PIECE
    if record.tail:
        size = max(1, size * len(events) // (len(events) + record.count * len(record.tail)))
    start = 0
    while start < len(events):
        end = len(events) if len(events) - start <= size else events.rfind(b"\n", start, start + size) + 1
        if end <= start:  # a longer line
            end = events.find(b"\n", start) + 1 or len(events)
        if texts := [text for text in events[start:end].split(b"\n") if text.strip()]:
            yield texts
        start = end


def _decoded(texts: list[bytes], index: int, fatal: Collection[int]) -> Iterator[Line]:
    if not fatal:
        try:
            rows = decode(b"\n".join(texts))
        except WRONG:
            rows = []
        if len(rows) == len(texts):
            yield from map(Line, range(index, index + len(texts)), texts, rows)
            return
    for number, text in enumerate(texts):
        if number in fatal:
            yield Line(index + number, text, None, REASON)
            continue
        try:
            (row,) = decode(text)
        except WRONG as error:
            yield Line(index + number, text, None, f"journaled, but no event to this release: {error}")
        else:
            yield Line(index + number, text, row)
