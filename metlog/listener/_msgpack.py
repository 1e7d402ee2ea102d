"""Frames of MessagePack: an event or an array of events, as JSON lines from here on, so that the journal has one format.

What JSON cannot say is said as the client's encoders do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from metlog.encoders.wire import is_map, is_msgpack
from metlog.event import Event
from metlog.journal.rows import WRONG, Row
from metlog.listener._frame import Frame, TooManyEvents, check_depth, opening_marks, reason_of, too_deep
from metlog.values import plain, sanitize

__all__ = ["check_msgpack"]

_BLOCK: Final = 32 << 10
"""Bytes that are decoded at once, unless one event is longer. So many bytes have at most 32,768 values."""
_SMALLEST: Final = 7
"""Bytes of the smallest event, a map with an empty `type`."""
_EVENTS: Final = 64
"""Events that are tried together after their block failed."""
_LARGE_EVENTS: Final = 8
"""A frame's events beyond `_BLOCK` may have so many times the values of one event together: counting them takes time."""

_array: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_rows: Final = msgspec.msgpack.Decoder(list[Row]).decode
_row: Final = msgspec.msgpack.Decoder(Row).decode
_encode: Final = msgspec.json.Encoder().encode
_encode_lines: Final = msgspec.json.Encoder().encode_lines


def check_msgpack(data: bytes, frame: Frame) -> None:
    """Checks a frame. Raises TooManyEvents."""
    try:
        pieces = _pieces(data, frame.limits.events)
    except TooManyEvents:
        raise
    except WRONG as error:
        frame.rejects.add(data, reason_of(error, "not MessagePack"))
        return
    if len(data) <= _BLOCK and _check_block(pieces, frame):
        return
    done = 0
    for block in _blocks(pieces):
        done += len(block)
        if sum(map(len, block)) <= _BLOCK and _check_block(block, frame):
            continue
        for index, piece in enumerate(block):
            _check_event(piece, frame)
            if frame.rejects.exhausted:
                frame.rejects.skip(b"".join([*block[index + 1 :], *pieces[done:]]))
                return


def _pieces(data: bytes, most: int) -> Sequence[bytes]:
    """The events of a frame, each still packed."""
    if not is_msgpack(data):
        raise ValueError("a MessagePack frame starts with a map or an array")
    if is_map(data):
        return [data]
    first = data[0]
    count = first & 0x0F if first < 0xA0 else int.from_bytes(data[1:3] if first == 0xDC else data[1:5])
    if count > most:
        raise TooManyEvents(f"{count} events")
    if count * _SMALLEST > len(data):
        if count > len(data):
            raise msgspec.DecodeError("Input data was truncated")
        raise ValueError(f"an array of {count} values in {len(data)} bytes, most of them no events")
    return [bytes(piece) for piece in _array(data)]


def _blocks(pieces: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Events in runs of at most `_EVENTS` and about `_BLOCK` bytes; a longer one alone."""
    start = size = 0
    for index, piece in enumerate(pieces):
        if index > start and (index - start == _EVENTS or size + len(piece) > _BLOCK):
            yield pieces[start:index]
            start, size = index, 0
        size += len(piece)
    if start < len(pieces):
        yield pieces[start:]


def _check_block(pieces: Sequence[bytes], frame: Frame) -> bool:
    """Accepts events that are good throughout; False, and nothing done, when there is anything odd about them."""
    try:
        rows = _rows(struct.pack(">BI", 0xDD, len(pieces)) + b"".join(pieces))
        lines = _encode_lines(rows)
        if b"null" in lines:  # NaN and infinity among other things
            rows = [_sanitized(row) for row in rows]
            lines = _encode_lines(rows)
    except WRONG:
        return False
    if too_deep(lines, opening_marks(lines)):
        return False
    frame.accept(lines, rows)
    return True


def _check_event(piece: bytes, frame: Frame) -> None:
    try:
        _check_values(piece, frame)
        row = _row(piece)
        try:
            line = _encode(row)
            if b"null" in line:
                line = _encode(row := _sanitized(row))
        except TypeError:  # an extension type
            line = _encode(row := _sanitized(row))
        check_depth(line)
    except WRONG as error:
        frame.reject(piece, reason_of(error, "not MessagePack"))
        return
    frame.accept(line + b"\n", [row])


def _sanitized(row: Row) -> Row:
    """The event with fields that JSON can hold. Raises ValueError for a number that must be one."""
    if row.weight != row.weight:
        raise ValueError("weight is not a number")
    try:
        if plain(row.fields):
            return row
    except RecursionError:
        pass
    row.fields = sanitize(Event(type="", fields=row.fields))[0].fields
    return row


# Bytes of a value by its first byte: of a container the head only; 0 where its length follows.
_SIZES: Final = [1] * 256
for _first in range(0xA0, 0xC0):
    _SIZES[_first] = 1 + (_first & 0x1F)
_SIZES[0xCA:0xD9] = [5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 3, 4, 6, 10, 18]
_SIZES[0xDC:0xE0] = [3, 5, 3, 5]
# bin, ext and str with a length of 1, 2 or 4 bytes: bytes of the length, and of the rest of the head.
_LENGTHS: Final = {
    0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1), 0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0),
}  # fmt: skip
for _first in _LENGTHS:
    _SIZES[_first] = 0


def _check_values(piece: bytes, frame: Frame) -> None:
    """Raises ValueError for an event of too many values, before they become objects in memory: an empty array is one byte here,
    and more than sixty there."""
    most = frame.limits.values
    if len(piece) <= most:
        return
    most = min(most, _LARGE_EVENTS * most - frame.counted_values)
    offset = count = 0
    while offset < len(piece) and count <= most:
        count += 1
        first = piece[offset]
        if size := _SIZES[first]:
            offset += size
        else:
            width, more = _LENGTHS[first]
            offset += 1 + width + more + int.from_bytes(piece[offset + 1 : offset + 1 + width])
    frame.counted_values += count
    if count > most:
        raise ValueError(f"it has more than {most} values")
