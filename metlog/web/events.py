"""Search of events, and one event in full."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response

from metlog.errors import ConfigError
from metlog.lake.query import Cancel, QueryError
from metlog.reports.times import moment
from metlog.web.conditions import Search
from metlog.web.errors import Refused
from metlog.web.facets import Facets, counted, sampled
from metlog.web.forms import query_of, whole
from metlog.web.jobs import Job, Waiting
from metlog.web.search import Around, Page, around, page, total
from metlog.web.state import access_of, page_of
from metlog.web.times import Times, times_of
from metlog.web.waiting import asked, awaited, reads

__all__ = ["chosen", "explore", "find", "search", "show", "suggestions"]

_SIZE: Final = 50
_COLUMNS: Final = 8
"""Columns of one's own choice."""
_COUNTING: Final = 0.6
"""Seconds in which a page has its events and the counts beside them; it comes without counts that take longer, and fetches them then."""
_LEAST: Final = 0.2
"""Seconds of it that the counts have at least."""


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


@dataclass
class Counts:
    """What there is among all that a search finds. `running`: the query that counts it still, for which the page does not wait; `problem`: why
    there are no counts."""

    facets: Facets | None = None
    total: int | None = None
    running: Job | None = None
    problem: str = ""


async def explore(request: Request, wanted: Search) -> tuple[Page, Counts]:
    """A page of a search, with what there is among all that it finds; without that of an engine that takes seconds for each query, and
    where there are more combinations of service, type and severity than the engine may keep. Raises Refused, Waiting."""
    here, access, times = page_of(request), access_of(request), times_of(request)
    if here.lake.slow:
        return await find(request, _SIZE, to_the_end=False), Counts()
    began = time.monotonic()

    def newest(cancel: Cancel) -> Page:
        return page(here.lake, wanted, _SIZE, loggers=access.loggers, cancel=cancel, count=False)

    key = ("newest", here.settings.data, request.url.query, access.loggers)
    found: Page = (await awaited(request, key, "Events", newest)).value
    if not found.events and not wanted.after:
        return found, Counts()
    counts = await _counts(request, wanted, times, max(_LEAST, _COUNTING - (time.monotonic() - began)))
    if found.total is None and counts.total is not None:
        found.total = max(counts.total, len(found.events))
    return found, counts


async def _counts(request: Request, wanted: Search, times: Times, patience: float) -> Counts:
    """The counts, as far as they are there after `patience` seconds."""
    here, access = page_of(request), access_of(request)
    key = ("facets", here.settings.data, tuple(wanted.pairs), times.since, times.until, times.tz, access.loggers)
    kept = here.caches.facets
    known: Counts | None = kept.get(key) if wanted.after else None
    if known is not None:
        return known

    def work(cancel: Cancel) -> Counts:
        try:
            facets = counted(here.lake, wanted, times, _SIZE + 1, loggers=access.loggers, cancel=cancel)
            sampled(facets, here.lake, wanted, loggers=access.loggers, cancel=cancel)
        except QueryError as error:
            if error.kind != "memory":
                raise
            return Counts(total=total(here.lake, wanted, loggers=access.loggers, cancel=cancel))
        return Counts(facets, facets.events)

    try:
        outcome = await asked(request, key, "Counts", work, job=True, patience=patience, to_the_end=not reads(request))
    except Waiting as waiting:
        return Counts(running=waiting.job)
    except Refused as refused:  # the events are there
        return Counts(problem=refused.message)
    counts = cast("Counts", outcome.value)
    kept.put(key, counts)
    return counts


async def suggestions(request: Request, times: Times) -> dict[str, list[str]]:
    """Names to choose from where nothing is found yet: the services and types of a span. Empty when that takes more than a moment."""
    here, access = page_of(request), access_of(request)
    if here.lake.slow:
        return {}
    key = (here.settings.data, "names", times.since, times.until, times.tz, access.loggers)
    found: Facets | None = here.caches.names.get(key)
    if found is None:
        everything = Search(times.begin, times.end)

        def work(cancel: Cancel) -> Facets:
            made = counted(here.lake, everything, times, 1, loggers=access.loggers, cancel=cancel)
            sampled(made, here.lake, everything, loggers=access.loggers, cancel=cancel)
            return made

        try:
            outcome = await asked(request, key, "Names", work, job=True, patience=_COUNTING)
            found = here.caches.names.put(key, cast("Facets", outcome.value))
        except (Refused, Waiting):  # a form without suggestions is a form still
            return {}
    return found.known


async def search(request: Request) -> Response:
    """`/events`: the form and a page of what it finds."""
    found, counts, problem, status, wanted = Page([], 0, "", 0.0), Counts(), "", 200, Search()
    try:
        wanted = _wanted(request)
        found, counts = await explore(request, wanted)
    except Refused as refused:  # a wrong condition is told beside the form that has it
        if refused.status not in {400, 408, 413}:
            raise
        problem, status = refused.message, refused.status
    kept = [(key, value) for key, value in request.query_params.multi_items() if key != "after" and value]
    facets = counts.facets
    known = facets.known if facets is not None and found.events else {}
    if not found.events and not problem:
        known = await suggestions(request, times_of(request))
    columns = chosen(query_of(request).get("cols", "")) if not problem else []
    values = {
        "here": "events", "search": wanted, "facets": facets, "known": known, "found": found, "problem": problem,
        "next": f"/events?{urlencode([*kept, ('after', found.after)])}" if found.after else "", "columns": columns,
        "first": f"/events?{urlencode(kept)}" if wanted.after else "", "tail": f"/tail?{urlencode(wanted.pairs)}", "counts": counts,
    }  # fmt: skip
    return page_of(request).views.render(request, "events.html", values, status)


def chosen(text: str) -> list[str]:
    """The columns that a URL asks for; at most eight, each once."""
    return list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))[:_COLUMNS]


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
    stream, seq = request.path_params["stream"], whole(request.path_params["seq"], 0, 2**62)
    if seq is None:
        raise Refused(404, "there is no such event")
    try:
        at = moment(text, ZoneInfo("UTC"), "at") if (text := query_of(request).get("at", "")) else None
    except ConfigError as error:
        raise Refused(400, str(error)) from None

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
