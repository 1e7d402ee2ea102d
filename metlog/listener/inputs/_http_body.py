"""Bodies of submissions: unpacked within limits, then events, or the index and the reason of the first that is none."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Final

import msgspec

from metlog.encoders.wire import is_utf8, tidy, unsigned
from metlog.event import Event
from metlog.listener.inputs._http_server import Refusal

__all__ = ["events", "unpack"]

_PART: Final = 1 << 16
_GZIP: Final = 16 + zlib.MAX_WBITS
_SIP: Final = 256
"""Bytes given to zstd at a time: it answers with all that they hold, at most 8 MB (4 bytes make a block of 128 KB)."""
_OBJECTS: Final = 4
"""JSON objects for each event that is taken: itself, `fields`, and some within."""
_PACKED: Final = frozenset({"application/msgpack", "application/x-msgpack", "application/vnd.msgpack"})
_OPENS_PACKED: Final = frozenset([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
"""First bytes of a map or an array in MessagePack; no JSON text begins with one of them."""
_INDEX: Final = re.compile(r"\$\[(\d+)\]")
_WRONG: Final = (msgspec.DecodeError, ValueError, TypeError, OverflowError, RecursionError)


class _Submitted(Event, kw_only=True):
    """An event whose missing `type` is told with its place."""

    type: str


_json_lines: Final = msgspec.json.Decoder(_Submitted).decode_lines
_json_line: Final = msgspec.json.Decoder(_Submitted).decode
_json_array: Final = msgspec.json.Decoder(list[_Submitted]).decode
_packed: Final = msgspec.msgpack.Decoder(_Submitted).decode
_packed_array: Final = msgspec.msgpack.Decoder(list[_Submitted]).decode


def unpack(body: bytes, encoding: str, limit: int, take: Callable[[int], None]) -> bytes:
    """Decompresses by the header `Content-Encoding`; `take` is told of each part before it is kept.

    Raises `Refusal`: 413 beyond `limit` bytes (nothing more is unpacked), 415 for an unknown encoding, 400 for damage.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _gunzip(body, limit, take)
        case "zstd":
            return _unzstd(body, limit, take)
        case other:
            raise Refusal(415, f"Content-Encoding: {other[:40]} is not taken; gzip and zstd are")


def _gunzip(body: bytes, limit: int, take: Callable[[int], None]) -> bytes:
    parts: list[bytes] = []
    size = 0
    unzip = zlib.decompressobj(_GZIP)
    try:
        for start in range(0, len(body), _PART):
            rest = body[start : start + _PART]
            while rest:
                if unzip.eof:  # a gzip file is one or more members (RFC 1952, section 2.2)
                    unzip = zlib.decompressobj(_GZIP)
                part = unzip.decompress(rest, _PART)
                size = _grow(size, part, limit, take)
                parts.append(part)
                rest = unzip.unused_data if unzip.eof else unzip.unconsumed_tail
    except zlib.error as error:
        raise Refusal(400, f"the body is not gzip: {error}") from None
    if not unzip.eof:
        raise Refusal(400, "the gzip body is cut short")
    return b"".join(parts)


def _unzstd(body: bytes, limit: int, take: Callable[[int], None]) -> bytes:
    import zstandard

    parts: list[bytes] = []
    size = 0
    # The window is memory that a frame asks for: 8 MiB is what every decoder should grant (RFC 8878, 3.1.1.1.2).
    decompressor = zstandard.ZstdDecompressor(max_window_size=8 << 20)
    unzip = decompressor.decompressobj()
    try:
        for start in range(0, len(body), _SIP):
            rest = body[start : start + _SIP]
            while rest:
                if unzip.eof:
                    unzip = decompressor.decompressobj()
                part = unzip.decompress(rest)
                size = _grow(size, part, limit, take)
                parts.append(part)
                rest = unzip.unused_data if unzip.eof else b""
    except zstandard.ZstdError as error:
        raise Refusal(400, f"the body is not zstd: {error}") from None
    if not unzip.eof:
        raise Refusal(400, "the zstd body is cut short")
    return b"".join(parts)


def _grow(size: int, part: bytes, limit: int, take: Callable[[int], None]) -> int:
    size += len(part)
    if size > limit:
        raise Refusal(413, f"the body unpacks to more than the {limit} bytes that are taken")
    take(len(part))
    return size


def events(body: bytes, content_type: str, most: int) -> list[Event]:
    """The events of a body: one event, an array or one a line as JSON; one or an array as MessagePack.

    The signature of a signed frame is passed over unchecked. Raises `Refusal`: 400 with `index` of the first item that is
    no event, 413 for more than `most`.
    """
    body = unsigned(body)
    text = body.lstrip(b" \t\r\n")
    if not text:
        raise Refusal(400, "the body is empty; send one event, an array of events, or one a line")
    if content_type.partition(";")[0].strip().lower() in _PACKED or text[0] in _OPENS_PACKED:
        found: list[Event] = [tidy(event) for event in _from_packed(body, most)]
    else:
        if not is_utf8(text):
            raise Refusal(400, "not UTF-8")
        # Every event is an object: this bounds what a body of tiny events can make of memory before it is counted.
        if text.count(b"}") > most * _OBJECTS:
            raise Refusal(413, f"the body has more than {most * _OBJECTS} JSON objects; {most} events are taken")
        found = [*(_array(_json_array, text) if text.startswith(b"[") else _from_lines(text))]
    if not found:
        raise Refusal(400, "no event in the body")
    if len(found) > most:
        raise Refusal(413, f"the body has {len(found)} events; {most} are taken")
    return found


def _from_lines(text: bytes) -> list[_Submitted]:
    try:
        found = _json_lines(text)
    except _WRONG as error:
        for index, line in enumerate(line for line in text.split(b"\n") if line and not line.isspace()):
            try:
                _json_line(line)
            except _WRONG as fault:
                raise _refusal(fault, index) from None
        raise _refusal(error, 0) from None  # one event, over several lines
    if len(found) > 1 and len(found) > sum(not line.isspace() for line in text.split(b"\n") if line):
        raise Refusal(400, "more than one event on a line")
    return found


def _from_packed(body: bytes, most: int) -> list[_Submitted]:
    first = body[0]
    if 0x80 <= first < 0x90 or first in {0xDE, 0xDF}:
        try:
            return [_packed(body)]
        except _WRONG as error:
            raise _refusal(error, 0) from None
    count = {0xDC: int.from_bytes(body[1:3]), 0xDD: int.from_bytes(body[1:5])}.get(first, 0)
    if count > most:
        raise Refusal(413, f"the body has {count} events; {most} are taken")
    return _array(_packed_array, body)


def _array(decode: Callable[[bytes], list[_Submitted]], body: bytes) -> list[_Submitted]:
    try:
        return decode(body)
    except _WRONG as error:
        place = _INDEX.search(str(error))
        raise _refusal(error, int(place[1]) if place else None) from None


def _refusal(error: BaseException, index: int | None) -> Refusal:
    if isinstance(error, RecursionError):
        reason = "nested too deeply"
    elif isinstance(error, UnicodeDecodeError):
        reason = "not UTF-8"
    else:
        reason = _INDEX.sub("$", str(error))
    if index is None:
        return Refusal(400, reason)
    return Refusal(400, f"event {index}: {reason}", index=index)
