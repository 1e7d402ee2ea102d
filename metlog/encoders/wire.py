"""Decodes frames of both wire formats to events. The formats are described in docs/wire.md."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from metlog.errors import DecodeError
from metlog.event import Event
from metlog.values import is_json_native, sanitize

__all__ = [
    "decode",
    "decode_json",
    "decode_msgpack",
    "encoded_events",
    "is_encoding_error",
    "is_map",
    "is_msgpack",
    "is_utf8",
    "tidy",
    "unsigned",
]

_BOM: Final = b"\xef\xbb\xbf"
_SIGNATURE: Final = b'{"metlog.signed":'
_LONE_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
# First bytes of a map (fixmap, map 16, map 32) and of an array: none of them starts a JSON text or a UTF-8 one.
_MAPS: Final = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})
_ARRAYS: Final = frozenset({*range(0x90, 0xA0), 0xDC, 0xDD})
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_ERRORS: Final = (msgspec.MsgspecError, ValueError, RecursionError)  # ValueError: invalid UTF-8, a time out of range

_json_lines: Final = msgspec.json.Decoder(Event).decode_lines
_json_event: Final = msgspec.json.Decoder(Event).decode
_json_encode: Final = msgspec.json.Encoder().encode
_pack_event: Final = msgspec.msgpack.Decoder(Event).decode
_pack_events: Final = msgspec.msgpack.Decoder(list[Event]).decode
_pack_pieces: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class _Invalid(NamedTuple):
    """A piece of a frame that is no event."""

    piece: bytes
    reason: str


def is_msgpack(frame: bytes) -> bool:
    """Whether the first byte is that of a MessagePack map or array; anything else is taken for JSON lines."""
    return bool(frame) and (frame[0] in _MAPS or frame[0] in _ARRAYS)


def is_map(frame: bytes) -> bool:
    """Whether the first byte is that of a MessagePack map: one event, where an array holds any number."""
    return bool(frame) and frame[0] in _MAPS


def is_utf8(data: bytes) -> bool:
    """Whether it is UTF-8 throughout. The JSON decoder does not look at keys and values that it skips."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_encoding_error(error: BaseException) -> bool:
    """Whether a decoder of msgspec refused a text that is not UTF-8: UnicodeDecodeError, from 0.23 on a DecodeError."""
    return isinstance(error, UnicodeDecodeError) or (
        isinstance(error, msgspec.DecodeError) and str(error).startswith("Invalid UTF-8")
    )


def unsigned(frame: bytes) -> bytes:
    """A frame without byte order mark and without the line that the encoder `signed` puts before it, unchecked."""
    frame = frame.removeprefix(_BOM)
    return frame[frame.find(b"\n") + 1 or len(frame) :] if frame.startswith(_SIGNATURE) else frame


def encoded_events(frame: bytes) -> list[bytes]:
    """Returns the events of a frame of either format, signed or not, each as it is encoded there; what they hold is not checked.

    Raises `msgspec.DecodeError` for MessagePack whose events cannot be told apart.
    """
    frame = unsigned(frame)
    if not is_msgpack(frame):
        return [line for line in frame.split(b"\n") if line.strip()]
    return [frame] if is_map(frame) else [bytes(piece) for piece in _pack_pieces(frame)]


def decode(frame: bytes) -> list[Event]:
    """Returns every event of a frame of either format, known by its first byte; raises DecodeError as the two below."""
    frame = unsigned(frame)
    return decode_msgpack(frame) if is_msgpack(frame) else decode_json(frame)


def decode_json(frame: bytes) -> list[Event]:
    """Every event of a JSON frame; raises DecodeError that names the first line at fault and the reason."""
    return _all_or_error(_split_json(unsigned(frame)))


def decode_msgpack(frame: bytes) -> list[Event]:
    """Every event of a MessagePack frame; raises DecodeError that names the first event at fault and the reason."""
    frame = unsigned(frame)
    if not is_msgpack(frame):
        start = f"0x{frame[0]:02x}" if frame else "nothing"
        raise DecodeError(f"a MessagePack frame starts with a map or an array, not with {start}")
    return _all_or_error(_split_msgpack(frame))


def _all_or_error(parts: tuple[list[Event], list[_Invalid]]) -> list[Event]:
    events, bad = parts
    if bad:
        raise DecodeError(bad[0].reason)
    return events


def _split_json(frame: bytes) -> tuple[list[Event], list[_Invalid]]:
    try:
        events = _json_lines(frame)
        # decode_lines takes any white space for the end of a line; only one object a line is the format
        lines = frame.count(b"\n") + (not frame.endswith(b"\n"))
        if len(events) == lines and is_utf8(frame):
            for event in events:
                _to_utc(event)
            return events, []
    except _ERRORS:
        pass
    good: list[Event] = []
    bad: list[_Invalid] = []
    for number, line in enumerate(frame.split(b"\n"), 1):
        piece = line.strip(b" \t\r")
        if not piece:
            continue
        try:
            piece.decode()
            event = _json_event(piece)
            _to_utc(event)
            good.append(event)
        except _ERRORS as error:
            bad.append(_Invalid(piece, f"line {number}: {_json_reason(piece, error)}"))
    return good, bad


def _split_msgpack(frame: bytes) -> tuple[list[Event], list[_Invalid]]:
    alone = is_map(frame)
    try:
        return [tidy(event) for event in ([_pack_event(frame)] if alone else _pack_events(frame))], []
    except _ERRORS:
        pass
    try:
        pieces = [frame] if alone else [bytes(piece) for piece in _pack_pieces(frame)]
    except _ERRORS as error:
        return [], [_Invalid(frame, _reason(error))]
    good: list[Event] = []
    bad: list[_Invalid] = []
    for number, piece in enumerate(pieces, 1):
        where = "" if alone else f"event {number}: "
        try:
            good.append(tidy(_pack_event(piece)))
        except _ERRORS as error:
            bad.append(_Invalid(piece, where + _reason(error)))
    return good, bad


def _to_utc(event: Event) -> None:
    if event.timestamp.tzinfo is not UTC:
        try:
            event.timestamp = event.timestamp.astimezone(UTC)
        except OverflowError:  # within hours of year 1 or 9999: a wrong clock is no reason to lose an event
            event.timestamp = _FIRST if event.timestamp.year == 1 else _LAST


def tidy(event: Event) -> Event:
    """Returns an event of another program's MessagePack with its fields converted to JSON's types."""
    _to_utc(event)
    try:
        if is_json_native(event.fields):
            return event
    except RecursionError:
        pass
    return _json_event(_json_encode(sanitize(event)[0]))


def _json_reason(piece: bytes, error: Exception) -> str:
    if not piece.startswith(b"{"):
        return f"starts with {piece[:1]!r}; neither a JSON object nor MessagePack"
    if "truncated" in str(error) and _LONE_SURROGATE.search(piece):
        return "a string holds a lone surrogate, or the end of the line is missing"
    return _reason(error)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return "not UTF-8" if is_encoding_error(error) else str(error)
