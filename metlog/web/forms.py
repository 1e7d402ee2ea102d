"""Bodies of requests, read no further than they may be long."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from metlog.plugins.conversion import suggest
from metlog.values import whole_number
from metlog.web.errors import Refused

__all__ = ["form", "json_body", "query_of", "whole"]


def whole(text: str, least: int, most: int) -> int | None:
    """The whole number that a text of digits is, where it is one from `least` to `most`; else None."""
    number = whole_number(text)
    return number if number is not None and least <= number <= most else None


async def body(request: Request, most: int) -> bytes:
    """The body; Refused 413 above `most` bytes, without reading the rest."""
    if (whole_number(request.headers.get("content-length", "")) or 0) > most:
        raise Refused(413, f"the request is larger than {most} bytes")
    parts = bytearray()
    async for chunk in request.stream():
        parts += chunk
        if len(parts) > most:
            raise Refused(413, f"the request is larger than {most} bytes")
    return bytes(parts)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def form(request: Request, most: int, most_fields: int = 100) -> dict[str, str]:
    """The fields of a posted form (`application/x-www-form-urlencoded`) of at most so many bytes and fields. Raises Refused 400, 413."""
    content = await body(request, most)
    if _media_type(request) != "application/x-www-form-urlencoded":
        raise Refused(400, "Content-Type: wants application/x-www-form-urlencoded")
    try:
        return dict(parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=most_fields, errors="strict"))
    except UnicodeDecodeError:
        raise Refused(400, "the form cannot be read: it is not UTF-8") from None
    except ValueError:
        raise Refused(400, f"the form has too many fields: wants at most {most_fields}") from None


async def json_body(request: Request, shape: type[Any], most: int) -> Any:
    """A JSON body as `shape`. Only `application/json`, which a page of another site cannot send unasked."""
    content = await body(request, most)
    if _media_type(request) != "application/json":
        raise Refused(400, "Content-Type: wants application/json")
    try:
        return msgspec.json.decode(content, type=shape)
    except msgspec.ValidationError as error:
        raise Refused(400, f"the request does not fit: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, f"the request is not JSON: {error}") from None


def query_of(request: Request, names: Collection[str] | None = None) -> dict[str, str]:
    """The parameters of the URL; the last one counts where a name is repeated. Refused 400 for a NUL character, and for a parameter that is
    not in `names`, where these are given: a program whose condition is misspelt would take everything for its answer."""
    values = dict(request.query_params)
    if names is not None and (unknown := sorted(values.keys() - names)):
        name = unknown[0][:40]
        raise Refused(400, f"{name!r}: no such parameter; {suggest(name, names)}")
    if any("\x00" in text for pair in values.items() for text in pair):
        raise Refused(400, "a parameter has a NUL character")
    return values
