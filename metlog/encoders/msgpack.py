"""MessagePack: one event is a map, several are an array of maps. The time is extension type -1."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from metlog.encoders import BaseEncoder
from metlog.encoders import wire as frames
from metlog.encoders.json import JsonEncoder
from metlog.event import Event
from metlog.values import MARK, is_json_native, is_proper, sanitize

__all__ = ["MsgpackEncoder", "MsgpackRecords"]

_pieces = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


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
        # A subclass may write events differently: they are then encoded by its own `encode`, one by one.
        self.records = MsgpackRecords() if type(self) is MsgpackEncoder else None

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
        return encoded[0] if len(encoded) == 1 else _array(len(encoded), encoded)

    def decode(self, frame: bytes) -> list[Event]:
        """The events of a frame; raises DecodeError that names the event and the reason."""
        return frames.decode_msgpack(frame)


def _array(count: int, pieces: list[bytes]) -> bytes:
    """The array of so many events that stand one behind the other in the pieces."""
    if count < 16:
        head = bytes((0x90 | count,))
    elif count < 65_536:
        head = b"\xdc" + count.to_bytes(2, "big")
    else:
        head = b"\xdd" + count.to_bytes(4, "big")
    return b"".join([head, *pieces])


class MsgpackRecord(Struct, gc=False):
    """What differs from one event to the next. Each stream has a subclass that adds, as defaults, what does not."""

    timestamp: datetime
    type: str
    tokens: tuple[str, ...]
    severity: int
    payload: str
    fields: dict[str, Any]
    seq: int
    stream: str


class MsgpackRecords:
    """Events that are encoded when their frame is made: see `metlog.encoders.Records`."""

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder().encode

    def maker(self, event: Event) -> tuple[Callable[..., Any], str]:
        """The class of a stream's records, and the stream's id."""
        event, _ = sanitize(event)
        constant = ("logger", "env_version", "pid", "hostname")
        made = msgspec.defstruct(
            "MsgpackRecord",
            [(name, Any, getattr(event, name)) for name in constant],
            bases=(MsgpackRecord,),
            gc=False,
        )
        return made, event.stream

    def weighted(self, record: MsgpackRecord, weight: float) -> Event:
        """The event, with a weight."""
        event = self.event(record)
        event.weight = weight
        return event

    def frame(self, records: list[Any]) -> bytes:
        """The one event itself, or an array of several. A Raw among them is copied as it is."""
        return self._encode(records[0] if len(records) == 1 else records)

    def join(self, frames: list[bytes]) -> bytes:
        """One array of the events of all frames."""
        if len(frames) == 1:
            return frames[0]
        count, bodies = 0, []
        for frame in frames:
            first = frame[0]
            if 0x90 <= first <= 0x9F:
                count, body = count + (first & 0x0F), frame[1:]
            elif first in (0xDC, 0xDD):
                end = 3 if first == 0xDC else 5
                count, body = count + int.from_bytes(frame[1:end], "big"), frame[end:]
            else:
                count, body = count + 1, frame
            bodies.append(body)
        return _array(count, bodies)

    def split(self, frame: bytes) -> list[bytes]:
        """Each event of an array by itself."""
        return [bytes(piece) for piece in _pieces(frame)]

    def event(self, record: Any) -> Event:
        """The event that a record stands for."""
        return record if isinstance(record, Event) else Event(**msgspec.structs.asdict(record))
