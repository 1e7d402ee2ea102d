"""Live tail: the page, and the stream of server-sent events behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from metlog.journal.follow import Event
from metlog.web.broadcast import Subscription
from metlog.web.conditions import CONDITIONS, Search
from metlog.web.errors import Refused
from metlog.web.events import suggestions
from metlog.web.forms import query_of
from metlog.web.state import access_of, asker_of, page_of
from metlog.web.times import Times

__all__ = ["show", "stream"]

_BEAT: Final = 15.0
"""Seconds without an event after which a comment is sent, so that a proxy keeps the connection and a closed one is noticed."""


async def show(request: Request) -> Response:
    """`/tail`."""
    if page_of(request).settings.data is None:
        raise Refused(
            404, "the live tail follows the journal of a data folder; this page asks an engine and has none: --data DIR"
        )
    query_of(request)
    search = Search.parse(request.query_params.multi_items())
    known = await suggestions(request, Times.of("24h"))
    values = {
        "here": "tail",
        "clock": "zone",
        "search": search,
        "known": known,
        "source": f"/api/tail?{urlencode(search.pairs)}",
    }
    return page_of(request).views.render(request, "tail.html", values)


async def stream(request: Request) -> Response:
    """`GET /api/tail`: each event that arrives, as `data:` of one server-sent event; `event: missed` tells how many were left out
    because the reader was too slow."""
    page = page_of(request)
    if page.settings.data is None:
        raise Refused(404, "this page has no data folder, so that there is no journal to follow")
    wants = _wants(request)
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


def _wants(request: Request) -> Callable[[Event], bool]:
    """The conditions of a tail, those of a search, and the services that may be seen. Raises Refused 400."""
    query_of(request, CONDITIONS)
    search, loggers = Search.parse(request.query_params.multi_items()), access_of(request).loggers
    return lambda event: (loggers is None or event["logger"] in loggers) and search.takes(event)
