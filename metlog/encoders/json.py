"""Newline-delimited JSON: one event a line, so that any log shipper can read a frame."""

from __future__ import annotations

import re
import threading
from typing import Final

import msgspec

from metlog.encoders import frames
from metlog.event import Event
from metlog.values import sanitize

__all__ = ["JsonEncoder"]

# A float64 of MessagePack that is NaN or infinite. Text or binary data may look like one: that costs time, no more.
_NOT_FINITE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]", re.DOTALL).search
_FLOAT64: Final = 0xCB


class JsonEncoder:
    """RFC 8259 JSON in UTF-8, one event a line, each line ended by a line feed.

    msgspec writes NaN and infinity as null without a word; they are looked for, marked and counted. Integers beyond 64 bits are
    written as they are; with `exact_numbers` (about 0.2 µs) they become text, as MessagePack needs it.
    """

    content_type = "application/x-ndjson"

    def __init__(self, *, exact_numbers: bool = False) -> None:
        self.repaired = 0
        self._lock = threading.Lock()
        self._encode = msgspec.json.Encoder().encode
        self._pack = msgspec.msgpack.Encoder().encode
        self._exact = exact_numbers

    def encode(self, event: Event) -> bytes:
        """One event as JSON, without the line feed; never raises."""
        try:
            data = self._encode(event)
            for value in event.fields.values():
                kind = value.__class__
                if kind is str or kind is int or kind is bool or (kind is float and value - value == 0.0):
                    continue  # the usual; NaN and infinity less themselves are NaN
                if self._odd_number(event):
                    return self._repair(event)
                break
        except Exception:  # noqa: BLE001 - whatever it is, the slow way finds out and says it
            return self._repair(event)
        return self._repair(event) if self._exact and self._odd_number(event) else data

    def _odd_number(self, event: Event) -> bool:
        """Whether a number is no JSON number or no 64-bit integer: packing finds it at any depth, at the speed of C."""
        try:
            packed = self._pack(event.fields)
        except (OverflowError, TypeError, ValueError):
            return True
        return _FLOAT64 in packed and _NOT_FINITE(packed) is not None

    def _repair(self, event: Event) -> bytes:
        sayable, notes = sanitize(event)
        if notes:
            with self._lock:
                self.repaired += 1
        return self._encode(sayable)

    def frame(self, encoded: list[bytes]) -> bytes:
        """The lines of a frame; the last one is ended too, so that frames can be written one after another."""
        return b"\n".join([*encoded, b""])

    def decode(self, frame: bytes) -> list[Event]:
        """The events of a frame; raises DecodeError that names line and reason."""
        return frames.decode_json(frame)
