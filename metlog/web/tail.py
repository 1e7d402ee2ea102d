"""Live tail: the page, and the stream of server-sent events behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from metlog.journal.follow import Event
from metlog.web.broadcast import Subscription
from metlog.web.errors import Refused
from metlog.web.forms import query_of
from metlog.web.search import Search
from metlog.web.state import access_of, asker_of, page_of

__all__ = ["show", "stream"]

_BEAT: Final = 15.0
"""Seconds without an event after which a comment is sent, so that a proxy keeps the connection and a closed one is noticed."""


async def show(request: Request) -> Response:
    """`/tail`."""
    given = query_of(request)
    if page_of(request).settings.data is None:
        raise Refused(
            404, "the live tail follows the journal of a data folder; this page asks an engine and has none: --data DIR"
        )
    _wants(given, None)
    source = "/api/tail?" + urlencode({key: value for key, value in given.items() if value})
    return page_of(request).views.render(request, "tail.html", {"here": "tail", "given": given, "source": source})


async def stream(request: Request) -> Response:
    """`GET /api/tail`: each event that arrives, as `data:` of one server-sent event; `event: missed` tells how many were left out
    because the reader was too slow."""
    page, access = page_of(request), access_of(request)
    if page.settings.data is None:
        raise Refused(404, "this page has no data folder, so that there is no journal to follow")
    wants = _wants(query_of(request), access.loggers)
    if len(page.broadcaster) >= page.settings.tails:
        raise Refused(429, "too many live tails at once; close one, or try again later", headers={"Retry-After": "10"})
    asker = asker_of(request)
    if page.broadcaster.of(asker) >= max(1, page.settings.tails // 4):
        raise Refused(429, "too many live tails of yours at once; close one", headers={"Retry-After": "10"})
    tail = await page.broadcaster.join(wants, asker)

    async def messages() -> AsyncIterator[bytes]:
        try:
            yield b"retry: 2000\n: open\n\n"
            while True:
                async for message in _messages(tail):
                    yield message
                if tail.closed:
                    return
        finally:
            page.broadcaster.leave(tail)

    return StreamingResponse(messages(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _messages(tail: Subscription) -> AsyncIterator[bytes]:
    events, missed = await tail.take(_BEAT)
    if missed:
        yield b"event: missed\ndata: %d\n\n" % missed
    if events:
        yield b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events)
    elif not tail.closed:
        yield b": waiting\n\n"


def _wants(given: dict[str, str], loggers: tuple[str, ...] | None) -> Callable[[Event], bool]:
    """The condition of a tail, as `Search` understands it, and the services that may be seen."""
    search = Search.parse(
        {key: value for key, value in given.items() if key in {"type", "token", "logger", "severity", "q"}}
    )
    text = search.text.lower()

    def wants(event: Event) -> bool:
        return (
            (loggers is None or event["logger"] in loggers)
            and (not search.type or event["type"] == search.type)
            and (not search.token or search.token in event["tokens"])
            and (not search.logger or event["logger"] == search.logger)
            and (search.severity is None or event["severity"] <= search.severity)
            and (not text or text in event["payload"].lower() or text in _json(event["fields"]))
        )

    return wants


def _json(fields: dict[str, Any]) -> str:
    return msgspec.json.encode(fields).decode().lower()
