"""Timers: one object, entered by many threads and tasks, again while it is entered, and as a decorator."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from typing import Any

import pytest

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


def test_a_sampled_timer_says_how_many_it_stands_for(client: MetlogClient) -> None:
    for _ in range(400):
        with client.timer("work", rate=0.25):
            pass
    client.flush(5)
    weights = [event.weight for frame in client.sender.frames for event in client.encoder.decode(frame)]
    assert set(weights) == {4.0}
    assert 40 < len(weights) < 180
