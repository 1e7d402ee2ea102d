"""Newline-delimited JSON: one event a line, so that any log shipper can read a frame."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from metlog.core.stats import AtomicCounter
from metlog.encoders import BaseEncoder
from metlog.event import ONE, Event
from metlog.values import MARK, is_proper, is_written_natively, sanitize

__all__ = ["JsonEncoder", "JsonRecords"]

# A float64 of MessagePack that is NaN or infinite. Text or binary data may look like one: that costs time, no more.
_NOT_FINITE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]", re.DOTALL).search
_FLOAT64: Final = 0xCB
_TEXT: Final = {str}


class JsonEncoder(BaseEncoder):
    """RFC 8259 JSON in UTF-8, one event a line, each line ended by a line feed.

    msgspec writes NaN and infinity as null without an error, and integers beyond 64 bits as they are, which few receivers
    accept; both are found, marked and counted.
    """

    content_type = "application/x-ndjson"
    silent = True

    def __init__(self) -> None:
        self._repairs = AtomicCounter()
        self._encode = msgspec.json.Encoder().encode
        self._pack = msgspec.msgpack.Encoder().encode
        # A subclass may write events differently: they are then encoded by its own `encode`, one by one.
        self.records = JsonRecords() if type(self) is JsonEncoder else None

    @property
    def repaired(self) -> int:
        """How many events had a value that had to be converted."""
        return self._repairs.value

    def encode(self, event: Event) -> bytes:
        """One event as JSON, without the line feed; never raises."""
        try:
            if not is_proper(event):
                return self._repair(event)
            fields = event.fields
            for value in fields.values():
                kind = type(value)
                if kind is str or kind is bool or (kind is float and value - value == 0.0):
                    continue  # the usual case; for NaN and infinity value - value is NaN
                if kind is int and -0x8000000000000000 <= value <= 0xFFFFFFFFFFFFFFFF:
                    continue
                if not is_written_natively(fields) or self._odd_number(event):
                    return self._repair(event)
                break
            else:
                if len(fields) > 1 and set(map(type, fields)) != _TEXT:  # two names may become one
                    return self._repair(event)
            data = self._encode(event)
        except Exception:  # noqa: BLE001 - the repair finds out what it was, and notes it
            return self._repair(event)
        if MARK in fields:  # of the call, or of a filter
            next(self._repairs)
        return data

    def _odd_number(self, event: Event) -> bool:
        """Whether a number at any depth is no JSON number or no 64-bit integer. Packing finds it at the speed of C."""
        try:
            packed = self._pack(event.fields)
        except (OverflowError, TypeError, ValueError):
            return True
        return _FLOAT64 in packed and _NOT_FINITE(packed) is not None

    def _repair(self, event: Event) -> bytes:
        converted, notes = sanitize(event)
        if notes or MARK in converted.fields:
            next(self._repairs)
        return self._encode(converted)

    def frame(self, encoded: list[bytes]) -> bytes:
        """The lines of a frame; the last one is ended too, so that frames can be written one after another."""
        return b"\n".join([*encoded, b""])

    def decode(self, frame: bytes) -> list[Event]:
        """The events of a frame; raises DecodeError that names line and reason."""
        from metlog.encoders.wire import decode_json

        return decode_json(frame)


class JsonRecord(Struct, gc=False):
    """What differs from one event to the next; `stream` holds the constant rest of the event, as raw JSON to be copied."""

    timestamp: datetime
    type: str
    tokens: tuple[str, ...]
    severity: int
    payload: str
    fields: dict[str, Any]
    seq: int
    stream: Raw


class WeightedJsonRecord(Struct, gc=False):
    """As `JsonRecord`, of an event that stands for several."""

    timestamp: datetime
    type: str
    tokens: tuple[str, ...]
    severity: int
    payload: str
    fields: dict[str, Any]
    weight: float
    seq: int
    stream: Raw


class JsonRecords:
    """Events that are encoded when their frame is made: see `metlog.encoders.Records`."""

    join = staticmethod(b"".join)

    def __init__(self) -> None:
        encoder = msgspec.json.Encoder()
        self._encode = encoder.encode
        self.frame = encoder.encode_lines  # a Raw among the items is copied as it is

    def maker(self, event: Event) -> tuple[type[JsonRecord], Raw]:
        """The class of records, and their constant tail as raw JSON: stream id, logger, env_version, pid, hostname."""
        event, _ = sanitize(event)
        pairs = {
            "stream": event.stream, "logger": event.logger, "env_version": event.env_version, "pid": event.pid,
            "hostname": event.hostname,
        }  # fmt: skip
        return JsonRecord, Raw(self._encode(pairs)[len('{"stream":') : -1])

    def weighted(self, record: JsonRecord, weight: float) -> WeightedJsonRecord:
        """The record with a weight."""
        return WeightedJsonRecord(
            record.timestamp, record.type, record.tokens, record.severity, record.payload, record.fields, weight,
            record.seq, record.stream,
        )  # fmt: skip

    def split(self, frame: bytes) -> list[bytes]:
        """A frame for each event of a frame."""
        return [line + b"\n" for line in frame.split(b"\n")[:-1]]

    def event(self, record: JsonRecord | WeightedJsonRecord) -> Event:
        """The event that a record stands for."""
        weight = ONE if isinstance(record, JsonRecord) else record.weight
        rest = msgspec.json.decode(b'{"stream":' + bytes(record.stream) + b"}")
        return Event(
            timestamp=record.timestamp, type=record.type, tokens=record.tokens, severity=record.severity,
            payload=record.payload, fields=record.fields, weight=weight, seq=record.seq, **rest,
        )  # fmt: skip
