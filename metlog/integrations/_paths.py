"""Paths fit for counting and for keeping: what names a person or a thing becomes a placeholder."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

__all__ = ["MAX_PATH", "safe_path"]

MAX_PATH: Final = 200
"""Characters of a path that is shown."""
_MAX_READ: Final = 1024  # characters that are looked at: what is cached must not be large
_MAX_SEGMENTS: Final = 8
_MAX_SEGMENT: Final = 40

_UUID: Final = re.compile(r"\{?[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?")
_NUMBER: Final = re.compile(r"[+-]?[0-9][0-9.,:_+-]*")
_HEX: Final = re.compile(r"(?=.*[0-9])(?:0x)?[0-9a-fA-F]{8,}")


@lru_cache(maxsize=1024)
def _cached(path: str) -> str:
    segments = path.split("/")
    shown = [_placeholder(segment) for segment in segments[: _MAX_SEGMENTS + 1]]
    if len(segments) > _MAX_SEGMENTS + 1:
        shown.append("…")
    text = "/".join(shown)
    return text if len(text) <= MAX_PATH else text[: MAX_PATH - 1] + "…"


def _placeholder(segment: str) -> str:
    if not segment.isprintable():
        return "{token}"
    if not segment or (len(segment) <= 3 and not segment.isdigit()):
        return segment
    if "@" in segment or "%40" in segment:
        return "{email}"
    if _UUID.fullmatch(segment):
        return "{uuid}"
    if _NUMBER.fullmatch(segment):
        return "{id}"
    if _HEX.fullmatch(segment):
        return "{hex}"
    digits = sum(character.isdigit() for character in segment)
    if digits >= 4:  # order-20381, user12345.json
        return "{id}"
    if len(segment) > _MAX_SEGMENT or (digits and len(segment) >= 16):
        return "{token}"
    return segment


def safe_path(path: str) -> str:
    """The path with numbers, UUIDs, hexadecimal ids, mail addresses and tokens as `{id}`, `{uuid}`, `{hex}`, ….

    At most 200 characters and 8 segments. A name in a path (`/users/alice`) cannot be told from a word: a framework's route
    template, or the middleware's option `route`, knows better.

    >>> safe_path("/users/17/orders/3f2b1c9d-1111-2222-3333-444455556666")
    '/users/{id}/orders/{uuid}'
    """
    return _cached(path[:_MAX_READ])
