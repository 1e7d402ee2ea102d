"""Newline-delimited JSON: one event a line, so that any log shipper can read a frame."""

from __future__ import annotations

import msgspec

from metlog.errors import DecodeError
from metlog.event import Event

__all__ = ["JsonEncoder"]


class JsonEncoder:
    """RFC 8259 JSON in UTF-8, one event a line, each line ended by a line feed."""

    content_type = "application/x-ndjson"

    def __init__(self) -> None:
        self.encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(Event).decode_lines

    def frame(self, encoded: list[bytes]) -> bytes:
        """The lines of a frame; the last one is ended too, so that frames can be written one after another."""
        return b"\n".join([*encoded, b""])

    def decode(self, frame: bytes) -> list[Event]:
        """The events of a frame; raises DecodeError that names what is wrong and where."""
        try:
            return self._decode(frame)
        except (msgspec.MsgspecError, ValueError) as error:
            raise DecodeError(f"not a JSON frame: {error}") from error
