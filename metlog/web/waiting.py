"""What a page asks and may wait for: `asked`, the page that says how far it is, and the way to end it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Hashable, Mapping
from typing import Final, cast

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from metlog.web.errors import Refused
from metlog.web.forms import form
from metlog.web.jobs import Job, Outcome, Waiting, Work
from metlog.web.results import json_response
from metlog.web.security import require_csrf
from metlog.web.state import access_of, page_of

__all__ = ["Outcome", "asked", "awaited", "awaited_all", "cancel", "progress", "reads", "waiting_page", "wanted_since"]

_MOMENT: Final = 0.8
"""Seconds that a page waits for a quick engine before it says that it waits."""


async def asked(
    request: Request,
    key: Hashable,
    title: str,
    work: Work,
    *,
    to_the_end: bool = False,
    detail: str = "",
    job: bool = False,
    patience: float | None = None,
) -> Outcome:
    """What `work` gives: at once from the pool with a quick engine, from a job with a slow one, or where `job` says that it may take its
    time; the page that waits shows `detail`, after `patience` seconds. `_since` in the URL asks for a newer result."""
    page = page_of(request)
    if not page.lake.slow and not job:
        return Outcome(await page.pool.run(request, work), 0.0)
    return await page.jobs.result(
        request,
        access_of(request).name,
        key,
        title,
        work,
        to_the_end=to_the_end,
        since=wanted_since(request),
        detail=detail,
        once=not page.lake.slow,
        patience=None if page.lake.slow else patience,
    )


async def awaited(request: Request, key: Hashable, title: str, work: Work, *, to_the_end: bool = False) -> Outcome:
    """As `asked`, for a page that says to a reader after a moment that it waits, whatever the engine; a program gets what it asked for."""
    to_the_end = to_the_end or (not page_of(request).lake.slow and not reads(request))
    return await asked(request, key, title, work, to_the_end=to_the_end, job=True, patience=_MOMENT)


async def awaited_all(
    request: Request, title: str, works: Mapping[Hashable, Work], *, to_the_end: bool = False
) -> list[Outcome | Refused]:
    """As `awaited`, of several at once, by key: what each gives, or how it was refused."""
    page = page_of(request)
    return await page.jobs.results(
        request,
        access_of(request).name,
        title,
        works,
        to_the_end=to_the_end or (not page.lake.slow and not reads(request)),
        since=wanted_since(request),
        once=not page.lake.slow,
        patience=None if page.lake.slow else _MOMENT,
    )


def reads(request: Request) -> bool:
    """Whether somebody reads the page in a browser, as against a program that fetches it."""
    return "text/html" in request.headers.get("accept", "")


def wanted_since(request: Request) -> float:
    """The time since which a result must have been asked for, in seconds since the epoch: `_since` in the URL. Raises Refused 400."""
    text = request.query_params.get("_since", "")
    try:
        return min(float(text) if text else 0.0, time.time())
    except ValueError:
        raise Refused(400, f"_since = {text!r}: wants seconds since 1970") from None


def _job(request: Request) -> Job:
    return page_of(request).jobs.find(str(request.path_params["id"]), access_of(request).name)


async def progress(request: Request) -> Response:
    """`GET /jobs/ID`: how far a query is, as JSON."""
    job = _job(request)
    job.seen = time.monotonic()
    return json_response(job.told())


async def cancel(request: Request) -> Response:
    """`POST /jobs/ID/cancel`: ends a query, in its engine too, and goes back to its page, which says so."""
    given = await form(request, 4096)
    require_csrf(request, given.get("csrf"))
    job = _job(request)
    job.gone.set()
    if job.task is not None:
        with contextlib.suppress(TimeoutError, Exception):  # the page that comes next says what became of it
            await asyncio.wait_for(asyncio.shield(job.task), 10)
    back = given.get("back", "/")
    return RedirectResponse(back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/", 303)


def waiting_page(request: Request, error: Exception) -> Response:
    """The page of a query that is not ready: how far it is, and a way to end it. It asks again by itself, without scripts too."""
    job = cast("Waiting", error).job
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    values = {"here": "", "job": job, "told": job.told(), "back": back}
    return page_of(request).views.render(request, "waiting.html", values, 202)
