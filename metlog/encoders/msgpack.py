"""MessagePack: one event is a map, several are an array of maps. The time is extension type -1."""

from __future__ import annotations

import msgspec

from metlog.encoders import BaseEncoder
from metlog.encoders import wire as frames
from metlog.encoders.json import JsonEncoder
from metlog.event import Event
from metlog.values import MARK, is_json_native, is_proper

__all__ = ["MsgpackEncoder"]


class MsgpackEncoder(BaseEncoder):
    """MessagePack as specified, with JSON's types, and no others, inside `fields`.

    MessagePack could carry bytes, times and keys that are no text. They are converted as the encoder `json` does, so that an
    event is the same whichever encoder carried it.
    """

    content_type = "application/msgpack"
    silent = True

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._json = JsonEncoder()
        self._read = msgspec.json.Decoder(Event).decode

    @property
    def repaired(self) -> int:
        """How many events had a value that had to be converted."""
        return self._json.repaired

    def encode(self, event: Event) -> bytes:
        """One event as a map; never raises."""
        try:
            if is_json_native(event.fields) and MARK not in event.fields and is_proper(event):
                return self._encode(event)
        except Exception:  # noqa: BLE001, S110 - the JSON encoder converts it, and notes what it was
            pass
        return self._encode(self._read(self._json.encode(event)))

    def frame(self, encoded: list[bytes]) -> bytes:
        """The one event itself, or an array of several (or none)."""
        count = len(encoded)
        if count == 1:
            return encoded[0]
        if count < 16:
            head = bytes((0x90 | count,))
        elif count < 65_536:
            head = b"\xdc" + count.to_bytes(2, "big")
        else:
            head = b"\xdd" + count.to_bytes(4, "big")
        return b"".join([head, *encoded])

    def decode(self, frame: bytes) -> list[Event]:
        """The events of a frame; raises DecodeError that names the event and the reason."""
        return frames.decode_msgpack(frame)
