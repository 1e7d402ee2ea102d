"""Cuts events that are larger than the transport can carry, and marks them; none is silently lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from metlog.core.interfaces import BaseEncoder
from metlog.errors import DecodeError
from metlog.event import Event

__all__ = ["FIELD", "MARK", "truncated"]

FIELD: Final = "truncated"
"""Field that a cut event has, with the value true."""
MARK: Final = "… [truncated]"
"""What stands at the end of a payload that was cut."""

_NAME: Final = 256  # characters that are left of type and logger, when even these are too long


def truncated(frame: bytes, alone: bytes, encoder: BaseEncoder, room: int) -> bytes | None:
    """The frame of one event, with as much of it as fits into `room` bytes; None when not even its envelope does.

    `alone`: the event as `encoder.encode` gave it, where that is known. The payload is cut; when the fields alone are too
    large, the largest of them go.
    """
    try:
        event = encoder.decode(frame)[0]
    except (DecodeError, NotImplementedError):  # an encoder for people: its text is cut
        return _cut_text(alone, encoder, room)

    def made(event: Event, payload: str, fields: dict[str, Any]) -> bytes:
        return encoder.frame([encoder.encode(replace(event, payload=payload, fields=fields))])

    fields: dict[str, Any] = {**event.fields, FIELD: True}
    sizes = {name: len(encoder.encode(replace(event, payload="", fields={name: fields[name]}))) for name in fields}
    least = MARK if event.payload else ""
    while len(cut := made(event, least, fields)) > room:
        if len(fields) > 1:
            del fields[max((name for name in fields if name != FIELD), key=sizes.__getitem__)]
        elif event.tokens or len(event.type) > _NAME or len(event.logger) > _NAME:
            event = replace(event, type=event.type[:_NAME], tokens=(), logger=event.logger[:_NAME])
        elif least:
            least = ""
        else:
            return None
    whole = made(event, event.payload, fields)
    if len(whole) <= room:
        return whole
    return (
        _most(lambda length: made(event, event.payload[:length] + MARK, fields), min(len(event.payload), room), room)
        or cut
    )


def _most(made: Callable[[int], bytes], longest: int, room: int) -> bytes | None:
    """The largest of `made(0)` … `made(longest)` that fits; the encoder decides how many bytes a character takes."""
    best = None
    low, high = 0, longest
    while low <= high:
        length = (low + high) // 2
        cut = made(length)
        if len(cut) <= room:
            best, low = cut, length + 1
        else:
            high = length - 1
    return best


def _cut_text(text: bytes, encoder: BaseEncoder, room: int) -> bytes | None:
    """Text for people, cut between two characters."""

    def made(length: int) -> bytes:
        return encoder.frame([text[:length].decode("utf-8", "ignore").encode() + MARK.encode()])

    return _most(made, min(len(text), room), room)
