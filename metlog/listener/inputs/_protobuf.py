"""Reads the wire format of Protocol Buffers (protobuf.dev/programming-guides/encoding) with a limit on the number of its parts.

A generated parser bounds bytes only: eight megabytes of empty messages make hundreds of megabytes of objects. This reader stops
at a number of parts, and what no field number asks for costs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

__all__ = ["Budget", "ProtobufError", "fields"]

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
