"""Queries that take their time: each runs once for all who ask for it, is told how far it is, can be cancelled, and its result stays a while.

A page that waits longer than a moment for its query comes at once, says that it waits, and asks again; so a query must outlive the request
that began it, and ends when nobody asks for it any more.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, cast

from starlette.requests import ClientDisconnect, Request

from metlog.lake.interface import Cancel
from metlog.web.errors import Refused
from metlog.web.pool import QueryPool

__all__ = ["Job", "Jobs", "Outcome", "Waiting"]

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

    @property
    def done(self) -> bool:
        return self.task is not None and self.task.done()

    def told(self) -> dict[str, Any]:
        """How far it is, for the page that waits."""
        said = self.cancel.progress if self.cancel is not None else None
        text = said.text if said is not None else ("waits for its turn" if self.cancel is None else "running")
        return {
            "state": "done" if self.done else "running",
            "seconds": round(time.monotonic() - self.began, 1),
            "text": text,
            "share": said.share if said is not None else None,
        }


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
        work: Callable[[Cancel], Any],
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
        kept = min(self._kept, _UNSEEN) if once else self._kept
        job = self._current(key, since) or self._begin(request, asker, key, title, work, detail, kept)
        job.seen = time.monotonic()
        assert job.task is not None
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
        if once and self._by_key.get(key) is job:
            del self._by_key[key]
        if job.task.cancelled() or isinstance(job.task.exception(), ClientDisconnect):
            raise Refused(400, "the query was cancelled", kind="cancelled")
        return Outcome(job.task.result(), 0.0 if once else time.monotonic() - job.began)

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
        request: Request,
        asker: str,
        key: Hashable,
        title: str,
        work: Callable[[Cancel], Any],
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

        def known(cancel: Cancel) -> Any:
            job.cancel = cancel
            return work(cancel)

        async def run() -> Any:
            reaper = asyncio.create_task(self._reap(job))
            try:
                return await self._pool.run(cast("Request", _Detached(request, job)), known)
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


async def _left(request: Request) -> None:
    """Returns when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _noticed(task: asyncio.Task[Any]) -> None:
    """What goes wrong is told to who asks; asyncio would tell of it when nobody does."""
    if not task.cancelled():
        task.exception()
