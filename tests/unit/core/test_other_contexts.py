"""What metlog hands out may be entered in one `contextvars.Context` and left in another, in any order: nothing raises."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import metlog
from metlog import MetlogClient
from metlog.compat import MetlogClient as CompatClient
from metlog.core.context import Layer, current
from metlog.testing import capture


@pytest.fixture
def client() -> Iterator[MetlogClient]:
    made = MetlogClient.from_config("memory:", disabled_timers=["idle"])
    yield made
    made.close()


def said(client: MetlogClient) -> list[dict[str, Any]]:
    assert client.flush(5)
    return [event.fields for event in client.sender.events]


HANDED_OUT: dict[str, Callable[[MetlogClient], Any]] = {
    "context": lambda client: metlog.context(user="u1"),
    "timer": lambda client: client.timer("work"),
    "disabled timer": lambda client: client.timer("idle"),
    "bound client's timer": lambda client: client.bind(a=1).timer("work", 0.5),
    "timer of the default client": lambda client: metlog.timer("work"),
    "timer of the old client": lambda client: CompatClient().timer("work"),
    "job": lambda client: metlog.job(timeout=0.1),
    "client": lambda client: MetlogClient.from_config("memory:"),
    "capture": lambda client: capture(),
}


@pytest.mark.parametrize("name", HANDED_OUT)
@pytest.mark.parametrize("order", ["foreign", "copy", "thread", "twice left", "only left"])
def test_a_block_may_be_left_anywhere(client: MetlogClient, name: str, order: str) -> None:
    if name == "capture" and order in {"twice left", "only left"}:
        pytest.skip("a generator's context manager: contextlib's own rules")
    here, there = contextvars.copy_context(), contextvars.copy_context()
    managed = here.run(HANDED_OUT[name], client)
    if order != "only left":
        here.run(managed.__enter__)
    if order == "copy":
        there = here.run(contextvars.copy_context)
    if order == "thread":
        thread = threading.Thread(target=managed.__exit__, args=(None, None, None))
        thread.start()
        thread.join()
    else:
        assert not there.run(managed.__exit__, None, None, None)
    if order == "twice left":
        assert not here.run(managed.__exit__, None, None, None)
    after = there.run(current.get)
    assert not after or "user" not in after


def test_fields_are_taken_back_where_the_block_is_left(client: MetlogClient) -> None:
    here = contextvars.copy_context()
    block = here.run(lambda: metlog.context(user="u1").__enter__())
    there = here.run(contextvars.copy_context)
    there.run(block.__exit__, None, None, None)
    there.run(client.log, "there")
    here.run(client.log, "here")
    assert said(client) == [{}, {"user": "u1"}]


def test_one_object_serves_many_blocks(client: MetlogClient) -> None:
    block = metlog.context(user="u1")
    with block:
        client.log("a")
        with block, metlog.context(deeper=1):
            client.log("b")
        client.log("c")
    client.log("d")
    with block:
        client.log("e")
    client.log("f")
    in_force = {"user": "u1"}
    assert said(client) == [in_force, {"user": "u1", "deeper": 1}, in_force, {}, in_force, {}]


def test_one_object_in_many_threads(client: MetlogClient) -> None:
    block = metlog.context(user="u1")
    together = threading.Barrier(4)

    def work(number: int) -> None:
        with block:
            together.wait(5)
            client.log("in", fields={"n": number})
            together.wait(5)
        client.log("out", fields={"n": number})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    block.__exit__(None, None, None)
    found = said(client)
    assert sorted(fields["n"] for fields in found if fields.get("user") == "u1") == [0, 1, 2, 3]
    assert sorted(fields["n"] for fields in found if "user" not in fields) == [0, 1, 2, 3]


def test_fields_added_by_a_call_inside_a_block_end_with_it(client: MetlogClient) -> None:
    with metlog.context(outer=1):
        metlog.context(inner=2)
        with metlog.context(third=3):
            client.log("a")
        client.log("b")
    client.log("c")
    assert said(client) == [{"outer": 1, "inner": 2, "third": 3}, {"outer": 1, "inner": 2}, {}]


@pytest.mark.parametrize("kept", [False, True])
def test_calls_in_a_loop_keep_nothing_of_those_before(kept: bool) -> None:
    def work() -> int:
        last: Any = None
        for number in range(1000):
            if kept:
                last = metlog.context(user=number)
            else:
                metlog.context(user=number)
        assert last is None or last.__exit__(None, None, None) is None
        depth, layer = 0, current.get()
        while isinstance(layer, Layer):
            depth, layer = depth + 1, layer.before
        return depth

    assert contextvars.copy_context().run(work) <= 3


def test_an_async_generator_that_another_task_closes(client: MetlogClient) -> None:
    async def rows() -> AsyncIterator[int]:
        with metlog.context(export="e1"), client.timer("export"):
            client.log("row")
            yield 1
            yield 2

    async def main() -> None:
        items = rows()
        assert await anext(items) == 1

        async def close() -> None:
            await items.aclose()  # type: ignore[attr-defined]
            client.log("closed")

        await asyncio.create_task(close())

    asyncio.run(main())
    assert [fields.get("export") for fields in said(client)] == ["e1", "e1", None]


def test_a_timer_left_elsewhere_is_timed_all_the_same(client: MetlogClient) -> None:
    timer = client.timer("work")
    contexts = [contextvars.copy_context() for _ in range(3)]
    for context in contexts:
        context.run(timer.__enter__)
    time.sleep(0.02)
    for _ in contexts:
        contextvars.copy_context().run(timer.__exit__, None, None, None)
    with timer:
        pass
    first, second, third, last = [fields["ms"] for fields in said(client)]
    assert min(first, second, third) >= 20
    assert last < 20


# A step: which object, whether it is entered or left, and in which of three Contexts (the third a copy of the first).
STEPS = st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 2)), max_size=40)


@given(STEPS)
def test_no_order_of_entering_and_leaving_raises(steps: list[tuple[int, bool, int]]) -> None:
    contextvars.copy_context().run(take, steps)


def take(steps: list[tuple[int, bool, int]]) -> None:
    client = MetlogClient.from_config("memory:")
    first = contextvars.copy_context()
    contexts = [first, contextvars.copy_context(), first.run(contextvars.copy_context)]
    managers: list[Any] = [
        first.run(lambda: metlog.context(a=1)),
        metlog.context(b=2),
        client.timer("t"),
        client.timer("u"),
    ]
    for which, enter, where in steps:
        if enter:
            contexts[where].run(managers[which].__enter__)
        else:
            contexts[where].run(managers[which].__exit__, None, None, None)
        contexts[where].run(client.log, "step")
    managers[1].__exit__(None, None, None)
    assert client.stats().errors == 0
    client.close()


@given(st.lists(st.integers(0, 3), max_size=12), st.data())
def test_blocks_one_inside_the_other_put_back_what_was_there(objects: list[int], data: Any) -> None:
    """However often each of four objects is entered, fields after each end are those before its beginning."""

    def work() -> None:
        blocks = [metlog.context(**{name: number}) for number, name in enumerate("abcd")]
        for block in reversed(blocks):
            block.__exit__(None, None, None)
        seen: list[Any] = []
        for which in objects:
            seen.append(dict(current.get() or {}))
            blocks[which].__enter__()
            assert current.get() == {**seen[-1], "abcd"[which]: which}
            if data.draw(st.booleans()):
                metlog.context(extra=1)
        for which, before in zip(reversed(objects), reversed(seen), strict=True):
            blocks[which].__exit__(None, None, None)
            assert dict(current.get() or {}) == before

    contextvars.copy_context().run(work)
