"""Reads and writes the wire format of Protocol Buffers (protobuf.dev/programming-guides/encoding); reads with a limit on the number of
parts.

A generated parser bounds bytes only: eight megabytes of empty messages make hundreds of megabytes of objects. This reader stops
at a number of parts, and what no field number asks for costs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

__all__ = ["Budget", "ProtobufError", "delimited", "fields", "fixed64", "number"]

_FIXED64: Final = struct.Struct("<Q")
_FIXED32: Final = struct.Struct("<I")


class ProtobufError(ValueError):
    """The bytes are not the message that was expected, or have too many parts."""


class Budget:
    """How many fields may be read of one body, those of all its messages together."""

    __slots__ = ("left",)

    def __init__(self, parts: int) -> None:
        self.left = parts


def fields(data: memoryview, budget: Budget) -> Iterator[tuple[int, int | memoryview]]:
    """Yields number and value of each field of a message: an unsigned integer for a varint or fixed field, a view of the bytes of
    all others. Raises `ProtobufError`."""
    at, end = 0, len(data)
    while at < end:
        budget.left -= 1
        if budget.left < 0:
            raise ProtobufError("too many parts in the body")
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise ProtobufError("not a protobuf message: field number 0")
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in {1, 5}:
            size = 8 if kind == 1 else 4
        else:
            raise ProtobufError(f"not a protobuf message: wire type {kind}")
        if size > end - at:
            raise ProtobufError("not a protobuf message: a field ends beyond it")
        if kind == 2:
            yield number, data[at : at + size]
        else:
            yield number, (_FIXED64 if kind == 1 else _FIXED32).unpack_from(data, at)[0]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    try:
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at
            shift += 7
            if shift > 63:
                raise ProtobufError("not a protobuf message: a number of more than ten bytes")
    except IndexError:
        raise ProtobufError("not a protobuf message: it ends within a number") from None


def number(tag: int, value: int) -> bytes:
    """Returns a field that holds an integer as a varint; negative ones in two's complement, as int64 has them."""
    return _written(tag << 3) + _written(value & 0xFFFF_FFFF_FFFF_FFFF)


def fixed64(tag: int, value: bytes) -> bytes:
    """Returns a field of eight bytes."""
    return _written(tag << 3 | 1) + value


def delimited(tag: int, value: bytes) -> bytes:
    """Returns a field that holds bytes, a text in UTF-8 or a message."""
    return _written(tag << 3 | 2) + _written(len(value)) + value


def _written(value: int) -> bytes:
    if value < 0x80:
        return _ONE_BYTE[value]
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


_ONE_BYTE: Final = tuple(bytes([value]) for value in range(0x80))
