"""One pool for every query of the page: a bounded number runs, a bounded number waits, a closed tab ends its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from metlog.lake.query import Cancel, QueryError
from metlog.web.errors import Refused, from_query

__all__ = ["QueryPool"]

T = TypeVar("T")


class QueryPool:
    """Runs work that asks the lake in threads of its own, so that a heavy query does not stop the page.

    workers: how many run at once; waiting: how many more are kept until one is free. Beyond that: 429.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="metlog-query")
        self._free = asyncio.Semaphore(workers)
        self._most = workers + waiting
        self._cancels: set[Cancel] = set()
        self.inside = 0
        """Queries that run or wait."""
        self.outcomes: dict[str, int] = {}
        """Queries ended, by outcome: `ok` or the kind of the error."""

    async def run(self, request: Request, work: Callable[[Cancel], T]) -> T:
        """Gives what `work` gives; it must hand its `Cancel` to every query.

        Raises Refused: 429 when the pool is full, or what the QueryError means; ClientDisconnect when the client went away.
        """
        if self.inside >= self._most:
            self._count("full")
            raise Refused(
                429, "too many queries at once; try again in some seconds", headers={"Retry-After": "2"}, kind="full"
            )
        self.inside += 1
        cancel = Cancel()
        self._cancels.add(cancel)
        gone = asyncio.create_task(_gone(request))
        try:
            found = await self._until(gone, cancel, work)
        except QueryError as error:
            self._count(error.kind)
            raise from_query(error) from error
        except ClientDisconnect:
            self._count("cancelled")
            raise
        finally:
            gone.cancel()
            self._cancels.discard(cancel)
            self.inside -= 1
        self._count("ok")
        return found

    async def _until(self, gone: asyncio.Task[None], cancel: Cancel, work: Callable[[Cancel], T]) -> T:
        turn = asyncio.create_task(self._free.acquire())
        both: list[asyncio.Future[Any]] = [turn, gone]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not turn.done():
            turn.cancel()
            raise ClientDisconnect
        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, work, cancel)
            both = [running, gone]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                cancel.cancel()
                await asyncio.wait({running})  # the slot is free when the engine has let go, not before
                running.exception()
                raise ClientDisconnect
            return running.result()
        except asyncio.CancelledError:
            cancel.cancel()
            raise
        finally:
            self._free.release()

    def _count(self, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def cancel(self) -> None:
        """Ends every query that runs or waits."""
        for cancel in list(self._cancels):
            cancel.cancel()

    def close(self) -> None:
        """Ends every query and the threads."""
        self.cancel()
        self._threads.shutdown(wait=True, cancel_futures=True)


async def _gone(request: Request) -> None:
    """Returns when the client has closed its connection. The body must have been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
