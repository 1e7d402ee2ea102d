"""Timers: one object, entered by many threads and tasks, again while it is entered, and as a decorator."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import threading
import time
from typing import Any

import pytest

import metlog
from metlog import MetlogClient


@pytest.fixture
def client() -> Any:
    made = MetlogClient.from_config("memory:")
    yield made
    made.close()


def names(client: MetlogClient) -> list[str]:
    client.flush(5)
    return [event.fields["name"] for frame in client.sender.frames for event in client.encoder.decode(frame)]


def measured(client: MetlogClient) -> list[float]:
    client.flush(5)
    return [event.fields["ms"] for frame in client.sender.frames for event in client.encoder.decode(frame)]


def test_a_block_is_timed_and_its_result_known(client: MetlogClient) -> None:
    timer = client.timer("work")
    assert timer.result is None
    with timer as entered:
        time.sleep(0.02)
    assert entered is timer
    assert timer.result is not None
    assert timer.result >= 20
    assert measured(client) == [timer.result]


def test_keywords_are_fields_as_those_of_incr(client: MetlogClient) -> None:
    with client.bind(user="u1").timer("work", route="/a", user="u2"):
        pass

    @client.timer("call", rate=1.0, route="/b")
    def call() -> None:
        pass

    call()
    client.flush(5)
    events = [event for frame in client.sender.frames for event in client.encoder.decode(frame)]
    assert [{key: value for key, value in event.fields.items() if key != "ms"} for event in events] == [
        {"user": "u2", "route": "/a", "name": "work"}, {"route": "/b", "name": "call"},
    ]  # fmt: skip


def test_one_object_entered_again_inside_itself_times_each(client: MetlogClient) -> None:
    timer = client.timer("work")
    with timer:
        time.sleep(0.03)
        with timer:
            with timer:
                pass
            time.sleep(0.01)
        inner = timer.result
    first, second, third = measured(client)
    assert first < second < third
    assert inner == second >= 10
    assert third >= 40
    assert timer.result == third


def test_one_object_in_many_threads_times_each(client: MetlogClient) -> None:
    timer = client.timer("work")
    results: dict[int, float | None] = {}
    together = threading.Barrier(6)

    def work(number: int) -> None:
        together.wait()
        with timer:
            time.sleep(0.05 + 0.05 * number)
        results[number] = timer.result

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        assert results[number] is not None
        assert results[number] >= 50 + 50 * number  # type: ignore[operator]
    assert sorted(measured(client)) == sorted(results.values())  # type: ignore[type-var]
    with timer:  # and free again
        pass
    assert timer.result < 50  # type: ignore[operator]


def test_one_object_in_many_tasks_and_tasks_within_it(client: MetlogClient) -> None:
    timer = client.timer("work")

    async def work(number: int) -> float | None:
        with timer:
            await asyncio.sleep(0.02 * number)
            if number == 3:
                await asyncio.gather(*(asyncio.create_task(work(1)) for _ in range(2)))
        return timer.result

    async def main() -> list[float | None]:
        return await asyncio.gather(*(work(number) for number in range(1, 5)))

    results = asyncio.run(main())
    for number, result in enumerate(results, 1):
        assert result is not None
        assert result >= 19 * number
    assert len(measured(client)) == 6


def test_an_exception_is_timed_and_goes_on(client: MetlogClient) -> None:
    with pytest.raises(KeyError), client.timer("work"):
        raise KeyError
    assert names(client) == ["work"]


def test_stacked_decorators_measure_their_own_function(client: MetlogClient) -> None:
    @client.timer("outer")
    @client.timer("inner")
    def work(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    assert work(0.01) == 0.01
    assert work.__name__ == "work"
    assert names(client) == ["inner", "outer"]


def test_coroutine_functions_are_timed_to_their_end(client: MetlogClient) -> None:
    @client.timer("work")
    async def work() -> int:
        await asyncio.sleep(0.02)
        return 7

    assert asyncio.run(work()) == 7
    assert measured(client)[0] >= 19


def test_partials_can_be_timed(client: MetlogClient) -> None:
    add = client.timer("add")(functools.partial(lambda a, b: a + b, 1))
    assert add(2) == 3
    assert names(client) == ["add"]


@pytest.mark.parametrize("disabled", [["work"], ["*"]])
def test_a_disabled_timer_sends_nothing_and_follows_the_configuration(disabled: list[str]) -> None:
    client = MetlogClient.from_config("memory:", disabled_timers=disabled)

    @client.timer("work")
    def work() -> int:
        return 1

    with client.timer("work") as timer:
        pass
    assert timer.result is None
    assert work() == 1
    client.timer_send("work", 1.0)
    assert names(client) == []
    client.configure("memory:")
    assert work() == 1
    assert names(client) == ["work"]
    client.close()


def test_a_timer_made_while_it_was_disabled_has_the_fields_and_the_rate_of_its_own_client(client: MetlogClient) -> None:
    client.configure("memory:", disabled_timers=["work"])
    request = client.bind(request="r1")
    with request.timer("work", rate=0.001):
        pass

    @client.timer("work")
    def work() -> None:
        pass

    client.configure("memory:")
    for _ in range(20):
        work()
    client.flush(5)
    events = [event for frame in client.sender.frames for event in client.encoder.decode(frame)]
    assert [(sorted(event.fields), event.weight) for event in events] == [(["ms", "name"], 1.0)] * 20


@pytest.mark.parametrize("disabled", [[], ["work"], ["*"]])
@pytest.mark.parametrize("name", [["work"], {"a": 1}, None, 1, b"work"])
def test_a_timer_of_a_name_that_is_no_text_raises_nothing(disabled: list[str], name: Any) -> None:
    with MetlogClient.from_config("memory:", disabled_timers=disabled) as client:
        with client.timer(name):
            pass
        client.timer(name)(int)("1")
        client.timer_send(name, 1.0)
        client.flush(5)
        assert client.stats().sent == (0 if disabled == ["*"] else 3)
        assert client.stats().dropped == {}


def test_a_sampled_timer_says_how_many_it_stands_for(client: MetlogClient) -> None:
    for _ in range(400):
        with client.timer("work", rate=0.25):
            pass
    client.flush(5)
    weights = [event.weight for frame in client.sender.frames for event in client.encoder.decode(frame)]
    assert set(weights) == {4.0}
    assert 40 < len(weights) < 180


SECONDS = 0.02


def plain() -> str:
    time.sleep(SECONDS)
    return "end"


async def coroutine() -> str:
    await asyncio.sleep(SECONDS)
    return "end"


def generator() -> Any:
    sent = yield 1
    time.sleep(SECONDS)
    return sent


async def async_generator() -> Any:
    yield 1
    await asyncio.sleep(SECONDS)


KINDS: dict[str, Any] = {
    "plain": plain, "coroutine": coroutine, "generator": generator, "async generator": async_generator,
}  # fmt: skip


def object_with(function: Any) -> Any:
    """An object whose class has the function for its `__call__`."""
    if function is coroutine:

        async def call(self: object) -> Any:
            return await coroutine()

    elif function is generator:

        def call(self: object) -> Any:
            return (yield from generator())

    elif function is async_generator:

        async def call(self: object) -> Any:
            async for item in async_generator():
                yield item

    else:

        def call(self: object) -> Any:
            return plain()

    return type("Callable", (), {"__call__": call})()


FORMS: dict[str, Any] = {
    "function": lambda function: function,
    "partial": functools.partial,
    "partial of a partial": lambda function: functools.partial(functools.partial(function)),
    "static method": staticmethod,
    "bound method": lambda function: object_with(function).__call__,
    "object": object_with,
    "partial of an object": lambda function: functools.partial(object_with(function)),
}


def consume(kind: str, made: Any) -> Any:
    if kind == "plain":
        return made()
    if kind == "generator":
        return list(made())

    async def main() -> Any:
        return await made() if kind == "coroutine" else [item async for item in made()]

    return asyncio.run(main())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("decorator", ["timer", "job"])
def test_every_kind_of_callable_is_timed_to_its_end(client: MetlogClient, kind: str, form: str, decorator: str) -> None:
    function = FORMS[form](KINDS[kind])
    if decorator == "job":
        ended: list[int] = []

        class Watched(metlog.job):
            def __exit__(self, *exc: Any) -> None:
                ended.append(1)

            async def __aexit__(self, *exc: Any) -> None:
                ended.append(1)

        begin = time.perf_counter()
        consume(kind, Watched()(function))
        assert time.perf_counter() - begin >= SECONDS
        assert ended == [1]
        return
    wrapped = client.timer("work")(function)
    consume(kind, wrapped)
    (ms,) = measured(client)
    assert ms >= SECONDS * 1000 * 0.9
    if form == "function":
        assert inspect.isasyncgenfunction(wrapped) is (kind == "async generator")
        assert inspect.isgeneratorfunction(wrapped) is (kind == "generator")
        assert inspect.iscoroutinefunction(wrapped) is (kind == "coroutine")


def test_a_function_that_hands_on_a_coroutine_is_timed_to_its_end(client: MetlogClient) -> None:
    made = client.timer("work")(lambda: coroutine())

    async def main() -> str:
        task = asyncio.create_task(made())
        return await task

    assert asyncio.run(main()) == "end"
    assert measured(client)[0] >= SECONDS * 1000 * 0.9


@pytest.mark.parametrize("end", ["exhausted", "closed", "raised", "thrown"])
def test_a_timed_generator_is_the_generator_it_was(client: MetlogClient, end: str) -> None:
    heard: list[Any] = []

    @client.timer("work")
    def numbers() -> Any:
        try:
            while True:
                try:
                    heard.append((yield len(heard)))
                except KeyError:
                    heard.append("thrown")
                if heard[-1] == "raise":
                    raise ValueError("asked for")
                if heard[-1] == "stop":
                    return "result"
        finally:
            heard.append("finally")

    items = numbers()
    assert names(client) == []
    assert next(items) == 0
    assert items.send("a") == 1
    if end == "exhausted":
        with pytest.raises(StopIteration) as stopped:
            items.send("stop")
        assert stopped.value.value == "result"
    elif end == "closed":
        items.close()
    elif end == "raised":
        with pytest.raises(ValueError, match="asked for"):
            items.send("raise")
    else:
        assert items.throw(KeyError()) == 2
        del items
        gc.collect()
    assert heard[-1] == "finally"
    assert names(client) == ["work"]


@pytest.mark.parametrize("end", ["exhausted", "closed", "raised", "thrown"])
@pytest.mark.parametrize("decorator", ["timer", "job"])
def test_a_timed_async_generator_is_the_one_it_was(client: MetlogClient, end: str, decorator: str) -> None:
    heard: list[Any] = []

    async def numbers() -> Any:
        try:
            while True:
                try:
                    heard.append((yield len(heard)))
                except KeyError:
                    heard.append("thrown")
                if heard[-1] == "raise":
                    raise ValueError("asked for")
                if heard[-1] == "stop":
                    return
        finally:
            heard.append("finally")

    async def main() -> None:
        made: Any = client.timer("work")(numbers) if decorator == "timer" else metlog.job(timeout=0.1)(numbers)
        items = made()
        assert await anext(items) == 0
        assert await items.asend("a") == 1
        if end == "exhausted":
            with pytest.raises(StopAsyncIteration):
                await items.asend("stop")
        elif end == "raised":
            with pytest.raises(ValueError, match="asked for"):
                await items.asend("raise")
        elif end == "thrown":
            assert await items.athrow(KeyError()) == 2
        await items.aclose()

    asyncio.run(main())
    assert heard[-1] == "finally"
    if decorator == "timer":
        assert names(client) == ["work"]
