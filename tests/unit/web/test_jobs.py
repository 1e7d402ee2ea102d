"""Queries that outlive the request that began them, and those that do not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from starlette.requests import ClientDisconnect, Request

from metlog.lake.cancel import Cancel
from metlog.web import jobs
from metlog.web.errors import Refused
from metlog.web.jobs import Jobs, Outcome, Waiting
from metlog.web.pool import QueryPool


class Client:
    """A request whose client leaves when it is told to."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        await self.left.wait()
        return {"type": "http.disconnect"}


def in_loop(work: Callable[[Jobs, Request, Client], Awaitable[None]]) -> None:
    async def run() -> None:
        pool = QueryPool(2, 8, lambda _: "")
        client = Client()
        try:
            await work(Jobs(pool, "duckdb"), cast("Request", client), client)
        finally:
            pool.close()

    asyncio.run(run())


def until_cancelled(cancel: Cancel) -> str:
    ended = threading.Event()
    while not cancel.cancelled:
        ended.wait(0.01)
    return "cancelled"


def test_a_program_that_leaves_takes_its_query_along() -> None:
    async def work(made: Jobs, request: Request, client: Client) -> None:
        asking = asyncio.create_task(
            made.result(request, "", "key", "Title", until_cancelled, to_the_end=True, once=True)
        )
        await asyncio.sleep(0.05)
        (job,) = made._by_key.values()
        client.left.set()
        with pytest.raises(ClientDisconnect):
            await asking
        assert job.task is not None
        await asyncio.wait({job.task}, timeout=20)
        assert job.done

    in_loop(work)


def test_a_query_that_two_wait_for_stays_when_one_leaves() -> None:
    go = threading.Event()

    def slow(_: Cancel) -> str:
        go.wait(20)
        return "found"

    async def work(made: Jobs, request: Request, client: Client) -> None:
        other = cast("Request", Client())
        first, second = (
            asyncio.create_task(made.result(who, "", "key", "Title", slow, to_the_end=True, once=True))
            for who in (request, other)
        )
        await asyncio.sleep(0.05)
        client.left.set()
        with pytest.raises(ClientDisconnect):
            await first
        go.set()
        assert (await second).value == "found"

    in_loop(work)


@pytest.mark.slow
def test_results_that_nobody_fetches_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_UNSEEN", 0.1)

    async def work(made: Jobs, request: Request, _: Client) -> None:
        def soon(_: Cancel) -> Any:
            threading.Event().wait(0.1)
            return "found"

        for key in range(5):
            with pytest.raises(Waiting):
                await made.result(request, "", key, "Title", soon, once=True, patience=0.0)
            await asyncio.sleep(0.3)
        assert len(made._by_key) == 1

    in_loop(work)


def test_several_are_one_job_for_who_waits_and_their_own_for_who_asks_for_one() -> None:
    go, begun = threading.Event(), list[str]()

    def part(name: str) -> Callable[[Cancel], str]:
        def work(_: Cancel) -> str:
            begun.append(name)
            go.wait(20)
            return name

        return work

    def wrong(_: Cancel) -> str:
        raise Refused(400, "no such parameter")

    async def work(made: Jobs, request: Request, _: Client) -> None:
        works = {"a": part("a"), "wrong": wrong, "b": part("b")}
        with pytest.raises(Waiting) as waits:
            await made.results(request, "", "Title", works, once=True, patience=0.05)
        assert waits.value.job.told()["text"].endswith("of 3 are there")
        assert waits.value.job is made.find(waits.value.job.id, "")
        alone = asyncio.create_task(made.result(request, "", "a", "Title", part("twice"), to_the_end=True, once=True))
        await asyncio.sleep(0.05)
        go.set()
        assert (await alone).value == "a"
        a, refused, b = await made.results(request, "", "Title", works, to_the_end=True, once=True)
        assert isinstance(refused, Refused)
        assert [found.value for found in (a, b) if isinstance(found, Outcome)] == ["a", "b"]
        assert sorted(begun) == ["a", "b"]
        assert made._by_key == {}

    in_loop(work)


def test_several_that_are_given_up_end_those_that_nobody_else_waits_for() -> None:
    async def work(made: Jobs, request: Request, _: Client) -> None:
        shared = asyncio.create_task(made.result(request, "", "shared", "Title", until_cancelled, to_the_end=True))
        await asyncio.sleep(0.05)
        works = {"shared": until_cancelled, "own": until_cancelled, "later": until_cancelled}
        with pytest.raises(Waiting) as waits:
            await made.results(request, "", "Title", works, patience=0.05)
        parts = waits.value.job.parts
        waits.value.job.gone.set()
        with pytest.raises(Refused, match="cancelled"):
            await made.results(request, "", "Title", works, to_the_end=True)
        await asyncio.wait([part.task for part in parts[1:] if part.task is not None], timeout=20)
        assert [part.done for part in parts] == [False, True, True]
        parts[0].gone.set()
        with pytest.raises(Refused, match="cancelled"):
            await shared

    in_loop(work)


def test_one_asker_has_no_more_turns_for_several() -> None:
    most, inside = [0], [0]

    def part(_: Cancel) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        threading.Event().wait(0.02)
        inside[0] -= 1

    async def work(made: Jobs, request: Request, _: Client) -> None:
        found = await made.results(request, "", "Title", dict.fromkeys(range(30), part), to_the_end=True)
        assert all(isinstance(outcome, Outcome) for outcome in found)  # 2 turns and 8 places, and nobody was sent away
        assert most == [1]

    in_loop(work)
