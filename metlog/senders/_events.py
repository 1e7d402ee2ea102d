"""How many events a frame holds, for senders that learn of a loss after `send` has returned."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from metlog.encoders.wire import encoded_events, is_msgpack
from metlog.event import OWN_TYPES

__all__ = ["events_in"]


class _Typed(Struct):
    type: str = ""


_json: Final = msgspec.json.Decoder(_Typed).decode
_pack: Final = msgspec.msgpack.Decoder(_Typed).decode


def events_in(frame: bytes) -> int:
    """Returns how many events of the application a frame holds, without the client's own; 1 for a format of another encoder's."""
    try:
        return sum(_type(event) not in OWN_TYPES for event in encoded_events(frame))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 1


def _type(event: bytes) -> str:
    return (_pack(event) if is_msgpack(event) else _json(event)).type
