"""One pool for every query of the page: a bounded number runs, a bounded number waits, each asker gets a share, a closed tab ends its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from metlog.lake.query import Cancel, QueryError
from metlog.web.errors import Refused, from_query

__all__ = ["QueryPool", "Turns"]

T = TypeVar("T")


class Turns:
    """Turns of askers, who each get one after the other: an asker with many waiting delays itself and nobody else.

    running: turns at once, of which a single asker gets all but one; waiting: how many more of a single asker may wait. Used from the event
    loop only.
    """

    def __init__(self, running: int, waiting: int) -> None:
        self._running = running
        self._each = max(1, running - 1)
        self._waiting = waiting
        self._has: dict[str, int] = {}
        """Turns that an asker has."""
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        """Who waits, the asker whose turn it is first."""

    @property
    def each(self) -> int:
        """Turns of a single asker at once."""
        return self._each

    def full(self, asker: str) -> bool:
        """Whether this asker may not even wait."""
        free = sum(self._has.values()) < self._running and self._has.get(asker, 0) < self._each
        return not free and len(self._queues.get(asker, ())) >= self._waiting

    def queue(self, asker: str) -> asyncio.Future[None]:
        """Returns a future that is done when it is this asker's turn; it must be given to `leave`, done or not."""
        turn = asyncio.get_running_loop().create_future()
        self._queues.setdefault(asker, deque()).append(turn)
        self._hand_out()
        return turn

    def leave(self, asker: str, turn: asyncio.Future[None]) -> None:
        """Gives the turn back, or the place in the queue."""
        if turn.done():
            self._give_back(asker)
        else:
            self._forget(asker, turn)

    def _give_back(self, asker: str) -> None:
        left = self._has[asker] - 1
        if left:
            self._has[asker] = left
        else:
            del self._has[asker]
        self._hand_out()

    def _forget(self, asker: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(asker)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._queues[asker]

    def _hand_out(self) -> None:
        while sum(self._has.values()) < self._running:
            asker = next((asker for asker in self._queues if self._has.get(asker, 0) < self._each), None)
            if asker is None:
                return
            queue = self._queues.pop(asker)
            turn = queue.popleft()
            if queue:
                self._queues[asker] = queue  # behind the others
            if not turn.done():
                self._has[asker] = self._has.get(asker, 0) + 1
                turn.set_result(None)


class QueryPool:
    """Runs work that asks the lake in threads of its own, so that a heavy query does not stop the page.

    workers: how many run at once; waiting: how many more of one asker are kept until one is free, beyond that: 429;
    asker: whose turn a request takes.
    """

    def __init__(self, workers: int, waiting: int, asker: Callable[[Request], str]) -> None:
        self._asker = asker
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="metlog-query")
        self._turns = Turns(workers, waiting)
        self._cancels: set[Cancel] = set()
        self.inside = 0
        """Queries that run or wait."""
        self.outcomes: dict[str, int] = {}
        """Queries ended, by outcome: `ok` or the kind of the error."""

    @property
    def each(self) -> int:
        """Queries of one asker that run at once."""
        return self._turns.each

    async def run(self, request: Request, work: Callable[[Cancel], T]) -> T:
        """Returns what `work` gives; it must hand its `Cancel` to every query.

        Raises Refused: 429 when this asker has too many already, or what the QueryError means; ClientDisconnect when the client went away.
        """
        asker = self._asker(request)
        if self._turns.full(asker):
            self._count("full")
            raise Refused(
                429,
                "too many queries of yours at once; try again in some seconds",
                headers={"Retry-After": "2"},
                kind="full",
            )
        self.inside += 1
        cancel = Cancel()
        self._cancels.add(cancel)
        gone = asyncio.create_task(_gone(request))
        try:
            found = await self._until(gone, cancel, work, asker)
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

    async def _until(self, gone: asyncio.Task[None], cancel: Cancel, work: Callable[[Cancel], T], asker: str) -> T:
        turn = self._turns.queue(asker)  # before the first await, so that `full` counts it for the next request
        both: list[asyncio.Future[Any]] = [turn, gone]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not turn.done():
                raise ClientDisconnect
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
            self._turns.leave(asker, turn)

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
