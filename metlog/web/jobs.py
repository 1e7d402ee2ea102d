"""Queries that take their time: each runs once for all who ask for it, is told how far it is, can be cancelled, and its result stays a while.

A page that waits longer than a moment for its query comes at once, says that it waits, and asks again; so a query must outlive the request
that began it, and ends when nobody asks for it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

from starlette.requests import ClientDisconnect, Request

from metlog.lake.interface import Cancel
from metlog.web.errors import Refused
from metlog.web.pool import QueryPool

__all__ = ["Job", "Jobs", "Outcome", "Waiting", "Work"]

Work = Callable[[Cancel], Any]
"""What runs in the pool; it hands its `Cancel` to every query."""

_PATIENCE: Final = 1.0
"""Seconds that a page waits before it says that it waits."""
_KEPT: Final = 300.0
"""Seconds that a result is shown again, with its age."""
_UNSEEN: Final = 20.0
"""Seconds that a result that is shown once waits for who asked for it."""
_FAILED: Final = 30.0
"""Seconds that what went wrong is shown again, before the query is asked anew."""
_ABANDONED: Final = 15.0
"""Seconds after which a query that nobody asks for is ended; a page that waits asks each second."""
_MOST: Final = 256
"""Results that are kept."""


@dataclass
class Outcome:
    """A result, and how many seconds ago it was asked for."""

    value: Any
    age: float


@dataclass
class Job:
    """One query that runs, or has ended."""

    id: str
    asker: str
    title: str
    engine: str
    kept: float = _KEPT
    """Seconds that its result is kept."""
    detail: str = ""
    """What it asks, for the page that waits."""
    task: asyncio.Task[Any] | None = None
    cancel: Cancel | None = None
    began: float = field(default_factory=time.monotonic)
    asked: float = field(default_factory=time.time)
    """When it was begun, in seconds since the epoch."""
    seen: float = field(default_factory=time.monotonic)
    """When somebody last asked for it."""
    ended: float | None = None
    waiters: int = 0
    """Requests that wait to its end."""
    abandoned: bool = False
    """Nobody asked for it any more: who comes later gets a new one."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to end it."""
    parts: list[Job] = field(default_factory=list)
    """The jobs that it waits for, where it is no query itself."""

    @property
    def done(self) -> bool:
        return self.task is not None and self.task.done()

    def told(self) -> dict[str, Any]:
        """How far it is, for the page that waits."""
        said = self.cancel.progress if self.cancel is not None else None
        text = said.text if said is not None else ("waits for its turn" if self.cancel is None else "running")
        share = said.share if said is not None else None
        if self.parts:
            ready = sum(part.done for part in self.parts)
            text, share = f"{ready} of {len(self.parts)} are there", ready / len(self.parts)
        return {
            "state": "done" if self.done else "running",
            "seconds": round(time.monotonic() - self.began, 1),
            "text": text,
            "share": share,
        }

    def value(self) -> Any:
        """What it gave. Raises what it raised, and Refused where it was cancelled."""
        assert self.task is not None
        if self.task.cancelled() or isinstance(self.task.exception(), ClientDisconnect):
            raise Refused(400, "the query was cancelled", kind="cancelled")
        return self.task.result()

    def outcome(self, *, once: bool) -> Outcome:
        """Its value, with its age where it is not made for one page alone. Raises as `value`."""
        return Outcome(self.value(), 0.0 if once else time.monotonic() - self.began)


class Waiting(Exception):
    """The query takes longer than a page waits: the page says so."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.title)
        self.job = job


class _Detached:
    """A request as the pool sees it, whose client goes away when the job is given up, and not before."""

    def __init__(self, request: Request, job: Job) -> None:
        self._request = request
        self._job = job

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    async def receive(self) -> dict[str, str]:
        await self._job.gone.wait()
        return {"type": "http.disconnect"}


class Jobs:
    """The jobs of a page. Used from the event loop only."""

    def __init__(
        self,
        pool: QueryPool,
        engine: str,
        *,
        patience: float = _PATIENCE,
        kept: float = _KEPT,
        abandoned: float = _ABANDONED,
    ) -> None:
        self._pool, self._engine = pool, engine
        self._patience, self._kept, self._abandoned = patience, kept, abandoned
        self._by_key: dict[Hashable, Job] = {}

    async def result(
        self,
        request: Request,
        asker: str,
        key: Hashable,
        title: str,
        work: Work,
        *,
        to_the_end: bool = False,
        since: float = 0.0,
        detail: str = "",
        once: bool = False,
        patience: float | None = None,
    ) -> Outcome:
        """What `work` gives, from a job with this key: one that has ended lately, one that runs, or a new one.

        to_the_end: wait for it, however long (programs, pictures, downloads); else Waiting is raised after a moment. since: a
        result that was asked for before this time (seconds since the epoch) is not wanted. detail: what the page that waits shows of it. once: the result is not
        kept for who asks next. patience: seconds of that moment. Raises Refused as the pool does.
        """
        key = (asker, key)
        job = self._current(key, since) or self._begin(
            asker, key, title, partial(self._in_pool, request, work), detail, self._keeps(once=once)
        )
        await self._ended(request, job, to_the_end=to_the_end, once=once, patience=patience)
        if once:
            self._forget(key, job)
        return job.outcome(once=once)

    async def results(
        self,
        request: Request,
        asker: str,
        title: str,
        works: Mapping[Hashable, Work],
        *,
        to_the_end: bool = False,
        since: float = 0.0,
        once: bool = False,
        patience: float | None = None,
    ) -> list[Outcome | Refused]:
        """What several give, or how each was refused: one job for the page that waits, over a job with each of these keys, which is shared
        with who asks for that one alone. They run as many at once as one asker may have.

        The rest as for `result`.
        """
        key = (asker, tuple(works))
        job = self._current(key, since) or self._begin(
            asker,
            key,
            title,
            partial(self._gather, request, title, works, since, once=once),
            "",
            self._keeps(once=once),
        )
        await self._ended(request, job, to_the_end=to_the_end, once=once, patience=patience)
        self._forget(key, job)
        return [_told(part, once=once) for part in job.value()]

    def _keeps(self, *, once: bool) -> float:
        return min(self._kept, _UNSEEN) if once else self._kept

    def _forget(self, key: Hashable, job: Job) -> None:
        if self._by_key.get(key) is job:
            del self._by_key[key]

    async def _ended(self, request: Request, job: Job, *, to_the_end: bool, once: bool, patience: float | None) -> None:
        """Waits until the job has ended. Raises Waiting."""
        job.seen = time.monotonic()
        if not job.done:
            job.waiters += 1
            try:
                if to_the_end:
                    await self._until(request, job, once=once)
                else:
                    await self._moment(request, job, self._patience if patience is None else patience)
            finally:
                job.waiters -= 1
                job.seen = time.monotonic()
        if not job.done:
            raise Waiting(job)

    async def _moment(self, request: Request, job: Job, patience: float) -> None:
        """As long as a page waits before it says that it waits. A client that goes away within that time takes a query of its own along."""
        assert job.task is not None
        client = asyncio.create_task(_left(request))
        try:
            await asyncio.wait({job.task, client}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if client.done() and not job.done:
                if job.waiters == 1:
                    job.abandoned = True
                    job.gone.set()
                raise ClientDisconnect
        finally:
            client.cancel()

    async def _until(self, request: Request, job: Job, *, once: bool) -> None:
        """Until the job or the client has gone; with the last client a query goes whose result is shown once."""
        assert job.task is not None

        client = asyncio.create_task(_left(request))
        try:
            await asyncio.wait({job.task, client}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            client.cancel()
        if not job.done:
            if once and job.waiters == 1:
                job.abandoned = True
                job.gone.set()
            raise ClientDisconnect

    def _current(self, key: Hashable, since: float) -> Job | None:
        job = self._by_key.get(key)
        if job is None or job.task is None or job.abandoned:
            return None
        if not job.done:
            return job
        failed = job.task.cancelled() or job.task.exception() is not None
        limit = min(_FAILED, job.kept) if failed else job.kept
        return None if job.asked < since or time.monotonic() - (job.ended or job.began) > limit else job

    def _begin(
        self,
        asker: str,
        key: Hashable,
        title: str,
        work: Callable[[Job], Coroutine[Any, Any, Any]],
        detail: str,
        kept: float,
    ) -> Job:
        job = Job(secrets.token_urlsafe(16), asker, title, self._engine, detail=detail, kept=kept)
        now = time.monotonic()
        self._by_key = {
            known: other
            for known, other in self._by_key.items()
            if other.ended is None or now - other.ended <= other.kept
        }

        async def run() -> Any:
            reaper = asyncio.create_task(self._reap(job))
            try:
                return await work(job)
            finally:
                job.ended = time.monotonic()
                reaper.cancel()

        job.task = asyncio.create_task(run())
        job.task.add_done_callback(_noticed)
        while len(self._by_key) >= _MOST:
            oldest = min(self._by_key, key=lambda known: self._by_key[known].seen)
            self._by_key.pop(oldest).gone.set()
        self._by_key[key] = job
        return job

    async def _in_pool(self, request: Request, work: Work, job: Job, turns: asyncio.Semaphore | None = None) -> Any:
        def known(cancel: Cancel) -> Any:
            job.cancel = cancel
            return work(cancel)

        async with turns or contextlib.nullcontext():
            return await self._pool.run(cast("Request", _Detached(request, job)), known)

    async def _gather(
        self, request: Request, title: str, works: Mapping[Hashable, Work], since: float, job: Job, *, once: bool
    ) -> list[Job]:
        """The jobs with these keys when all have ended. Given up, it gives up those that nobody else waits for."""
        turns = asyncio.Semaphore(self._pool.each)
        keys = [(job.asker, key) for key in works]
        for key, work in zip(keys, works.values(), strict=True):
            part = self._current(key, since) or self._begin(
                job.asker, key, title, partial(self._in_pool, request, work, turns=turns), "", job.kept
            )
            part.waiters += 1
            job.parts.append(part)
        gone = asyncio.create_task(job.gone.wait())
        left = {part.task for part in job.parts if part.task is not None}
        try:
            while left and not gone.done():
                _, waits = await asyncio.wait({*left, gone}, return_when=asyncio.FIRST_COMPLETED)
                left &= waits
        finally:
            gone.cancel()
            for key, part in zip(keys, job.parts, strict=True):
                part.waiters -= 1
                part.seen = time.monotonic()
                if not part.done and not part.waiters:
                    part.abandoned = True
                    part.gone.set()
                if once:
                    self._forget(key, part)
        if left:
            raise ClientDisconnect
        return job.parts

    async def _reap(self, job: Job) -> None:
        while job.waiters or time.monotonic() - job.seen < self._abandoned:  # noqa: ASYNC110 - a clock is looked at
            await asyncio.sleep(min(1.0, self._abandoned))
        job.abandoned = True
        job.gone.set()

    def find(self, identity: str, asker: str) -> Job:
        """The job with this id. Raises Refused 404, also for one of somebody else."""
        for job in self._by_key.values():
            if secrets.compare_digest(job.id.encode(), identity.encode()) and job.asker == asker:
                return job
        raise Refused(404, "there is no such query any more")


def _told(job: Job, *, once: bool) -> Outcome | Refused:
    try:
        return job.outcome(once=once)
    except Refused as refused:
        return refused


async def _left(request: Request) -> None:
    """Returns when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _noticed(task: asyncio.Task[Any]) -> None:
    """What goes wrong is told to who asks; asyncio would tell of it when nobody does."""
    if not task.cancelled():
        task.exception()
