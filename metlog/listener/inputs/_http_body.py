"""Bodies of submissions: unpacked within limits, then validated; or the index and the reason of the first item that is no event."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from metlog.encoders.wire import is_msgpack, unsigned
from metlog.journal.rows import WRONG
from metlog.listener.inputs._http_server import Refusal
from metlog.listener.validate import Amend, Invalid, Limits, TooManyEvents, Validated, reason_of, validate

__all__ = ["unpack", "validated"]

_PART: Final = 1 << 16
_GZIP: Final = 16 + zlib.MAX_WBITS
_SIP: Final = 256
"""Bytes given to zstd at a time: it answers with all that they hold, at most 8 MB (4 bytes make a block of 128 KB)."""
_OBJECTS: Final = 4
"""JSON objects for each event that is taken: itself, `fields`, and some within."""
_PACKED: Final = frozenset({"application/msgpack", "application/x-msgpack", "application/vnd.msgpack"})
_INDEX: Final = re.compile(r"\$\[(\d+)\]")


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


def validated(body: bytes, content_type: str, most: int, amend: Amend | None = None) -> Validated:
    """The events of a body: one event, an array or one a line as JSON; one or an array as MessagePack.

    `amend` as for `metlog.listener.validate.validate`. Raises `Refusal`: 400 with `index` of the first item that is no event,
    413 for more than `most` events.
    """
    body = unsigned(body)
    text = body.lstrip(b" \t\r\n")
    if not text:
        raise Refusal(400, "the body is empty; send one event, an array of events, or one a line")
    packed = content_type.partition(";")[0].strip().lower() in _PACKED or is_msgpack(text)
    if not packed and text.count(b"}") > most * _OBJECTS:  # every event is an object
        raise Refusal(413, f"the body has more than {most * _OBJECTS} JSON objects; {most} events are taken")
    limits = Limits(events=most, rejects=0)
    try:
        if packed:
            found = validate(text, "msgpack", limits, amend)
        elif text.startswith(b"["):
            found = validate(_array_lines(text), "json", limits, amend)
        else:
            found = validate(text, "json", limits, amend)
            if found.invalid and (lines := _one_a_line(text)):
                found = validate(lines, "json", limits, amend)
    except TooManyEvents as error:
        raise Refusal(413, f"the body has {error}; {most} are taken") from None
    if found.invalid:
        raise _refusal(found.invalid[0])
    if not found.count:
        raise Refusal(400, "no event in the body")
    return found


class _Object(Struct, gc=False):
    """Any JSON object; its members are looked over and not kept."""


_objects: Final = msgspec.json.Decoder(list[_Object]).decode
_object_lines: Final = msgspec.json.Decoder(_Object).decode_lines
_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_item_lines: Final = msgspec.json.Decoder(msgspec.Raw).decode_lines


def _array_lines(text: bytes) -> bytes:
    """The items of an array of objects, one a line, as received. Raises `Refusal`."""
    try:
        text.decode()
        _objects(text)  # before anything is kept: an array of millions of small values is refused at the first
    except WRONG as error:
        place = _INDEX.search(str(error))
        raise _refusal(Invalid(b"", _INDEX.sub("$", reason_of(error)), int(place[1]) if place else -1)) from None
    return _joined(_items(text))


def _one_a_line(text: bytes) -> bytes:
    """Objects that are written over several lines, one a line; empty when that is not what is wrong with the text."""
    try:
        text.decode()
        count = len(_object_lines(text))
    except WRONG:
        return b""
    if count > sum(not line.isspace() for line in text.split(b"\n") if line):  # more than one on a line
        return b""
    return _joined(_item_lines(text))


def _joined(items: Sequence[msgspec.Raw]) -> bytes:
    return b"\n".join([bytes(item).replace(b"\n", b" ") for item in items])  # in a string there is none as such


def _refusal(found: Invalid) -> Refusal:
    if found.position < 0:
        return Refusal(400, found.reason)
    return Refusal(400, f"event {found.position}: {found.reason}", index=found.position)
