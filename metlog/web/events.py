"""Search of events, and one event in full."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from metlog.lake.query import Cancel
from metlog.web.conditions import Search
from metlog.web.errors import Refused
from metlog.web.forms import query_of
from metlog.web.search import Around, Page, around, page
from metlog.web.state import access_of, page_of
from metlog.web.times import times_of
from metlog.web.waiting import asked

__all__ = ["find", "search", "show"]

_SIZE = 50


def _wanted(request: Request) -> Search:
    """The search that the URL asks for. Raises Refused 400."""
    times = times_of(request)
    return Search.parse(request.query_params.multi_items(), times.begin, times.end)


async def find(request: Request, size: int, *, to_the_end: bool = True) -> Page:
    """The page of a search that the URL asks for."""
    here, access = page_of(request), access_of(request)
    wanted = _wanted(request)

    def work(cancel: Cancel) -> Page:
        return page(here.lake, wanted, size, loggers=access.loggers, cancel=cancel)

    key = ("events", request.url.query, size, access.loggers)
    found = await asked(request, key, "Events", work, to_the_end=to_the_end)
    return cast("Page", found.value)


async def search(request: Request) -> Response:
    """`/events`: the form and a page of what it finds."""
    found, problem, status, wanted = Page([], 0, "", 0.0), "", 200, Search()
    try:
        wanted = _wanted(request)
        found = await find(request, _SIZE, to_the_end=False)
    except Refused as refused:  # a wrong condition is told beside the form that has it
        if refused.status not in {400, 408, 413}:
            raise
        problem, status = refused.message, refused.status
    kept = [(key, value) for key, value in request.query_params.multi_items() if key != "after" and value]
    values = {
        "here": "events", "search": wanted, "known": {}, "found": found, "problem": problem,
        "next": f"/events?{urlencode([*kept, ('after', found.after)])}" if found.after else "",
        "first": f"/events?{urlencode(kept)}" if wanted.after else "", "tail": f"/tail?{urlencode(wanted.pairs)}",
    }  # fmt: skip
    return page_of(request).views.render(request, "events.html", values, status)


@dataclass
class Gap:
    """Events of a stream that are not there, between two that are."""

    first: int
    last: int

    @property
    def count(self) -> int:
        return self.last - self.first + 1


def with_gaps(events: list[dict[str, Any]]) -> list[dict[str, Any] | Gap]:
    """Events of a stream by seq, and what is missing between them."""
    rows: list[dict[str, Any] | Gap] = []
    for event in events:
        last = rows[-1] if rows else None
        if isinstance(last, dict) and event["seq"] > last["seq"] + 1:
            rows.append(Gap(last["seq"] + 1, event["seq"] - 1))
        rows.append(event)
    return rows


async def show(request: Request) -> Response:
    """`/events/STREAM/SEQ`: one event, with 20 before and 20 after it in its stream."""
    here, access = page_of(request), access_of(request)
    stream, seq = request.path_params["stream"], request.path_params["seq"]
    if not 0 <= seq < 2**62:
        raise Refused(404, "there is no such event")
    try:
        at = datetime.fromisoformat(text).astimezone(UTC) if (text := query_of(request).get("at", "")) else None
    except (ValueError, OverflowError):
        raise Refused(400, f"at = {text!r}: wants a time such as 2026-01-31T12:00:00Z") from None

    def work(cancel: Cancel) -> Around | None:
        found = around(here.lake, stream, seq, at, loggers=access.loggers, cancel=cancel)
        if found is None and at is not None:  # a link with a wrong time
            found = around(here.lake, stream, seq, None, loggers=access.loggers, cancel=cancel)
        return found

    found = await here.pool.run(request, work)
    if found is None:
        raise Refused(404, f"there is no event {seq} of the stream {stream!r} that you may see")
    rows = with_gaps([*found.before, found.event, *found.after])
    return here.views.render(
        request, "event.html", {"here": "events", "clock": "zone", "found": found, "event": found.event, "rows": rows}
    )
