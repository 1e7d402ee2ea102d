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
    least = MARK if event.payload else ""
    cut = made(event, least, fields)
    if len(cut) > room:
        short = replace(event, type=event.type[:_NAME], tokens=(), logger=event.logger[:_NAME])
        smallest = _smallest_first(short, fields, encoder)
        number, cut = _most(lambda number: made(event, least, _only(fields, smallest[:number])), len(smallest), room)
        fields = _only(fields, smallest[: max(number, 0)])
        if number < 0:  # not even without fields
            event, cut = short, made(short, least, fields)
            if len(cut) > room:
                cut = made(short, "", fields)
                return cut if len(cut) <= room else None
    whole = made(event, event.payload, fields)
    if len(whole) <= room:
        return whole
    longest = min(len(event.payload), room)
    return _most(lambda length: made(event, event.payload[:length] + MARK, fields), longest, room)[1] or cut


def _smallest_first(event: Event, fields: dict[str, Any], encoder: BaseEncoder) -> list[str]:
    """Names of the fields other than the mark, by the size of `event` with each alone; of equal ones the last is first."""
    sizes = {
        name: len(encoder.encode(replace(event, payload="", fields={name: value})))
        for name, value in fields.items()
        if name != FIELD
    }
    return sorted(sizes, key=sizes.__getitem__, reverse=True)[::-1]


def _only(fields: dict[str, Any], names: list[str]) -> dict[str, Any]:
    kept = {FIELD, *names}
    return {name: value for name, value in fields.items() if name in kept}


def _most(made: Callable[[int], bytes], longest: int, room: int) -> tuple[int, bytes]:
    """The largest of the numbers up to `longest` whose `made` fits, and what it made; -1 and nothing when none does."""
    number, best = -1, b""
    low, high = 0, longest
    while low <= high:
        middle = (low + high) // 2
        cut = made(middle)
        if len(cut) <= room:
            number, best, low = middle, cut, middle + 1
        else:
            high = middle - 1
    return number, best


def _cut_text(text: bytes, encoder: BaseEncoder, room: int) -> bytes | None:
    """Text for people, cut between two characters."""

    def made(length: int) -> bytes:
        return encoder.frame([text[:length].decode("utf-8", "ignore").encode() + MARK.encode()])

    return _most(made, min(len(text), room), room)[1] or None
