"""Lines of a client that all end in the same members: stream, logger, env_version, pid, hostname.

metlog's clients write what is the same in all events of a stream at the end of the line. Such lines are decoded without it, which takes two
thirds of the time, and a record of the journal holds it once (`metlog.journal.segment`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from msgspec import Struct, defstruct, structs

from metlog.event import Event
from metlog.journal.rows import WRONG, declaration

__all__ = ["Cut", "Head", "Origin", "cut", "decode_heads", "origin_of"]

_BEGINS: Final = b',"stream":"'
_BRACE: Final = {ord("{")}
_LONGEST: Final = 1024
"""Bytes of a tail. Those of `_REMEMBERED` clients are kept decoded, at some 5 KB each where their text is of four bytes a character."""
_REMEMBERED: Final = 4096
_KEYS: Final = ("stream", "logger", "env_version", "pid", "hostname")
_FIELDS: Final = {field.name: field for field in structs.fields(Event)}

if TYPE_CHECKING:

    class Origin(Struct):
        """What a tail says."""

        stream: str
        logger: str
        env_version: str
        pid: int
        hostname: str

    class Head(Struct):
        """An event without the members of `Origin`."""

        timestamp: Any
        type: str
        tokens: tuple[str, ...]
        severity: int
        payload: str
        fields: Any
        weight: float
        seq: int

else:
    Origin = defstruct(
        "Origin",
        [(key, _FIELDS[key].type) for key in _KEYS],
        module=__name__,
        namespace={"__doc__": "What a tail says: generated from `metlog.event.Event`, the same types and bounds."},
        gc=False,
        frozen=True,
        forbid_unknown_fields=True,
    )
    Head = defstruct(
        "Head",
        [declaration(field) for field in _FIELDS.values() if field.name not in _KEYS],
        module=__name__,
        namespace={"__doc__": "An event without the members of `Origin`, and with no others than those of an event."},
        gc=False,
        kw_only=True,
        forbid_unknown_fields=True,
    )

decode_heads: Final[Callable[[bytes], list[Head]]] = msgspec.json.Decoder(Head).decode_lines
_decode_origin: Final = msgspec.json.Decoder(Origin).decode


class Cut(NamedTuple):
    """Lines without their common tail."""

    body: bytes
    """Each with its line feed and without the last brace, as in a record of the journal."""
    tail: bytes
    count: int  # type: ignore[assignment]  # hides tuple.count
    longest: int
    """Bytes of the longest line."""


@lru_cache(maxsize=_REMEMBERED)
def origin_of(tail: bytes) -> Origin | None:
    """What a tail says; None where it is none, or holds anything else."""
    try:
        return _decode_origin(b"{" + tail[1:])
    except WRONG:
        return None


def cut(data: bytes) -> Cut | None:
    """Lines, each ended by a line feed, that all begin with a brace and have the tail of the first one; None for all others. Whether the
    rest is JSON is not looked at."""
    end = data.find(b"\n")
    start = data.rfind(_BEGINS, max(end - _LONGEST, 0), end) if end >= 0 else -1
    if start < 0:
        return None
    tail = data[start:end]
    if origin_of(tail) is None:
        return None
    ending = tail + b"\n"
    lines = [line.removesuffix(ending) for line in BytesIO(data).readlines()]  # three times as fast as split
    count = len(lines)
    if {line[0] for line in lines if line} != _BRACE:
        return None
    longest = max(map(len, lines))
    lines.append(b"")
    body = b"\n".join(lines)
    return Cut(body, tail, count, longest) if len(body) == len(data) - count * len(tail) else None
