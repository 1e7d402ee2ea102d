"""Counters, and timers where that is asked for, become one event an interval: nothing is counted twice, and nothing lost."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import metlog
from metlog import MetlogClient
from metlog.core.chance import Certain
from metlog.core.pipeline import Pipeline
from metlog.core.sums import Counters
from metlog.event import MAX_WEIGHT, Event
from metlog.testing import capture
from metlog.values import MARK


def made(**more: Any) -> MetlogClient:
    settings = {"buffer": {"flush_interval": 60}, "logger": "svc", **more}
    return MetlogClient.from_config("memory:", **settings)


@pytest.fixture
def client() -> Iterator[MetlogClient]:
    with made() as opened:
        yield opened


def events(client: MetlogClient) -> list[Event]:
    assert client.flush(5)
    return [event for frame in client.sender.frames for event in client.encoder.decode(frame)]


def total(found: list[Event], name: str) -> float:
    """As the reports have it."""
    return sum(
        event.weight * event.fields["count"]
        for event in found
        if event.type == "counter" and event.fields["name"] == name
    )


def test_equal_counters_are_one_event_with_their_sum(client: MetlogClient) -> None:
    for number in range(100):
        client.incr("orders", number)
        client.incr("visits")
    orders, visits = events(client)
    assert (orders.type, orders.tokens, orders.payload) == ("counter", ("counter", "orders"), "4950")
    assert orders.fields == {"name": "orders", "count": 4950}
    assert (orders.severity, orders.logger, orders.weight) == (6, "svc", 1.0)
    assert visits.fields == {"name": "visits", "count": 100}
    stats = client.stats()
    assert (stats.accepted, stats.sent, stats.buffered, stats.filtered) == (2, 2, 0, 0)


def test_what_differs_in_a_field_its_type_or_what_is_around_is_counted_apart(client: MetlogClient) -> None:
    bound = client.bind(shop="a")
    for _ in range(3):
        client.incr("n")
        client.incr("n", shop="a")
        bound.incr("n")
        bound.incr("n", shop="b")
        with metlog.context(request="r1"):
            client.incr("n")
        for value in (1, 1.0, True):
            client.incr("typed", value=value)
    found = events(client)
    assert [event.fields for event in found if event.fields["name"] == "n"] == [
        {"name": "n", "count": 3},
        {"shop": "a", "name": "n", "count": 6},
        {"shop": "b", "name": "n", "count": 3},
        {"request": "r1", "name": "n", "count": 3},
    ]
    typed = [event.fields["value"] for event in found if event.fields["name"] == "typed"]
    assert [(type(value), value) for value in typed] == [(int, 1), (float, 1.0), (bool, True)]


def test_what_cannot_be_added_is_an_event_of_its_own(client: MetlogClient) -> None:
    client.incr("n", math.nan)  # type: ignore[arg-type]
    client.incr("n", "two")  # type: ignore[arg-type]
    client.incr("n", 10**16)
    client.incr("n", tags=["a"])
    client.incr(7)  # type: ignore[arg-type]
    assert len(events(client)) == 5
    assert client.stats().accepted == 5


def test_a_sum_stays_within_what_reports_take(client: MetlogClient) -> None:
    for _ in range(4):
        client.incr("n", 4 * 10**14)
    found = events(client)
    assert [event.fields["count"] for event in found] == [8 * 10**14, 8 * 10**14]


def test_the_weights_of_sampled_ones_are_in_the_sum() -> None:
    class Alternating:
        """Keeps every second one."""

        def __init__(self) -> None:
            self.turn = 0

        def draw(self) -> float:
            return 0.0

        def keeps(self, rate: float) -> bool:
            self.turn += 1
            return self.turn % 2 == 0

    with made() as client:
        client._state.pipeline.chance = Alternating()
        for _ in range(100):
            client.incr("n", 3, rate=0.5)
        client.incr("n", 1, rate=1.5)
        (event,) = events(client)
    assert event.fields["count"] == 301
    assert type(event.fields["count"]) is int
    assert (event.weight, event.payload) == (1.0, "301")


def test_each_is_an_event_when_that_is_set_and_without_a_flush_interval() -> None:
    for settings in ({"counters": "each"}, {"buffer": {"flush_interval": 0}}):
        with made(**settings) as client:
            for _ in range(3):
                client.incr("n")
            assert [event.fields["count"] for event in events(client)] == [1, 1, 1]


@pytest.mark.parametrize("key", ["counters", "timers"])
def test_another_word_is_refused_and_the_right_ones_named(key: str) -> None:
    with pytest.raises(metlog.ConfigError, match=f"{key} = 'often'.*each"):
        made(**{key: "often"})


def test_filters_decide_at_the_call(client: MetlogClient) -> None:
    filters = [
        {"name": "type_severity_max", "types": {"other": 3}},
        {"name": "redact", "drop": ["user"], "pseudonymize": ["shop"], "key": "k" * 32},
    ]
    with made(filters=filters) as filtered:
        for user in ("u1", "u2"):
            filtered.incr("n", user=user, shop="s1")
        (event,) = events(filtered)
    assert event.fields["count"] == 2
    assert "user" not in event.fields
    assert len(event.fields["shop"]) == 64
    with made(filters=[{"name": "type_deny", "types": ["counter"]}]) as denied:
        for _ in range(5):
            denied.incr("n")
        assert events(denied) == []
        assert denied.stats().filtered == 5
    with made(filters=[{"name": "severity_max", "severity": 3}]) as urgent:
        urgent.incr("n")
        assert urgent.stats().filtered == 1


def test_a_sampled_sum_is_right_on_the_average_not_all_or_nothing() -> None:
    with made(filters=[{"name": "sample", "rate": 0.5}]) as client:
        for _ in range(2000):
            client.incr("n")
        (event,) = events(client)
        assert client.stats().filtered == 2000 - event.fields["count"] / 2
    assert 1600 < event.fields["count"] < 2400


def test_a_filter_that_needs_the_event_sees_each() -> None:
    seen: list[Any] = []

    class Look:
        def __call__(self, event: Event) -> Event:
            seen.append(event.fields["count"])
            return event

    from metlog.config import plan
    from metlog.plugins import Component

    planned = plan({"sender": "memory:"})
    planned.filters = [Component("filter", "look", "filters[0]", Look, {})]
    client = MetlogClient().install(planned)
    for number in range(3):
        client.incr("n", number)
    client.close()
    assert seen == [0, 1, 2]


def test_capture_sees_each_at_once(client: MetlogClient) -> None:
    with capture() as found:
        client.incr("orders", 2)
        client.incr("orders")
        assert found.counter("orders") == 3
        assert len(found) == 2


@pytest.mark.untraced
def test_many_threads_and_one_that_flushes_lose_nothing(client: MetlogClient) -> None:
    stop = threading.Event()
    counted = [0] * 4

    def count(number: int) -> None:
        while not stop.is_set() and counted[number] < 20_000:
            client.incr("n")
            client.incr("m", 2, thread=number)
            counted[number] += 1

    threads = [threading.Thread(target=count, args=(number,)) for number in range(4)]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) and client.stats().frames < 300:
            client.flush(5)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(usual)
    found = events(client)
    assert total(found, "n") == sum(counted)
    assert total(found, "m") == 2 * sum(counted)
    stats = client.stats()
    assert stats.accepted == stats.sent == len(found)


def test_names_without_end_do_not_fill_the_memory(client: MetlogClient) -> None:
    client.incr("first")
    for number in range(20_000):
        client.incr(f"n{number}")
    sums = client._state.pipeline.counters
    assert sums is not None
    assert len(sums._calls) + len(sums._sums) < 3000
    assert len(events(client)) == 20_001


def test_the_flusher_sends_them_without_being_asked() -> None:
    with made(buffer={"flush_interval": 0.02}) as client:
        for _ in range(3):
            client.incr("n")
            while client._state.pipeline.stats().sent < 1:
                threading.Event().wait(0.005)
            break
        assert total(events(client), "n") == 1


def test_where_threads_do_not_run_the_caller_sends_what_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    monkeypatch.setitem(sys.modules, "uwsgi", types.SimpleNamespace(has_threads=0))
    with made(buffer={"flush_interval": 0.02}) as client:
        before = threading.active_count()
        for _ in range(5):
            client.incr("n")
            threading.Event().wait(0.03)
        assert threading.active_count() <= before  # threads of other tests may end
        assert client._state.pipeline.stats().accepted >= 3
        assert total(events(client), "n") == 5


def test_close_and_a_later_configuration_send_the_sums() -> None:
    client = made()
    first = client.sender
    client.incr("n", 3)
    client.configure("memory:", buffer={"flush_interval": 60})
    second = client.sender
    client.incr("n", 4)
    client.close()
    assert [event.fields["count"] for event in first.events if event.type == "counter"] == [3]
    assert [event.fields["count"] for event in second.events if event.type == "counter"] == [4]
    end = first.events[-1]
    assert (end.type, end.fields["last_seq"]) == ("metlog.end", 1)


def test_a_count_that_comes_while_the_pipeline_is_replaced_goes_to_the_new_one() -> None:
    client = made()
    old = client._state.pipeline
    client.configure("memory:", buffer={"flush_interval": 60})
    assert old.counters is not None
    assert old.add_up(old.counters, "late", 5, 1.0, {})
    assert total(events(client), "late") == 5
    client.close()


def taking(
    taken: list[str], meanwhile: Callable[[str], object] = len, wake: Callable[[], bool] = lambda: True
) -> Counters:
    """Sums whose events go to a list; `meanwhile` is called before each, with its name."""

    def put(kind: str, name: str, payload: str, fields: dict[str, Any], weight: float) -> None:
        meanwhile(name)
        taken.append(f"{name} {payload}")

    return Counters(put, SimpleNamespace(wake=wake), 60)


def test_a_count_that_comes_while_another_thread_ends_the_sums_is_not_left_behind() -> None:
    taken: list[str] = []
    at_it, go_on = threading.Event(), threading.Event()
    sums = taking(taken, lambda name: name == "first" and (at_it.set(), go_on.wait(5)))
    sums.add("first", 1, 1.0, {})
    ending = threading.Thread(target=sums.close)
    ending.start()
    assert at_it.wait(5)
    counting = threading.Thread(target=sums.add, args=("late", 2, 1.0, {}))
    counting.start()
    counting.join(0.1)  # it has appended its count, and would be through here had it not to wait
    go_on.set()
    for thread in (ending, counting):
        thread.join(5)
    assert sorted(taken) == ["first 1", "late 2"]


def test_sums_that_end_while_a_call_wakes_the_flusher_take_the_next_call_too() -> None:
    taken: list[str] = []
    sums = taking(taken, wake=lambda: sums.close() is None)
    sums.add("n", 1, 1.0, {})
    sums.add("n", 2, 1.0, {})
    assert taken == ["n 1", "n 2"]


def test_a_signal_handler_that_counts_while_the_sums_end_is_not_left_behind() -> None:
    taken: list[str] = []
    sums = taking(taken, lambda name: name == "n" and sums.add("handler", 1, 1.0, {}))
    sums.add("n", 1, 1.0, {})
    sums.close()
    assert taken == ["n 1", "handler 1"]


def test_threads_that_count_lose_nothing_while_the_client_is_configured() -> None:
    client = made(buffer={"flush_interval": 0.1})
    senders, counted, stop = [client.sender], [0] * 4, threading.Event()

    def count(place: int) -> None:
        while not stop.is_set():
            counted[place] += 1
            client.incr("n", place=place)

    threads = [threading.Thread(target=count, args=(place,)) for place in range(len(counted))]
    for thread in threads:
        thread.start()
    for _ in range(20):
        client.configure("memory:", fields={"x": 1})
        senders.append(client.sender)
    stop.set()
    for thread in threads:
        thread.join()
    client.close()
    assert sum(total(sender.events, "n") for sender in senders) == sum(counted)


def test_a_branch_of_tee_gets_the_sum() -> None:
    with MetlogClient.from_config({"sender": {"name": "tee", "senders": ["memory:", "memory:"]}}) as client:
        for _ in range(3):
            client.incr("n")
        assert client.flush(5)
        for branch in client.branches:
            assert [event.fields["count"] for event in branch.sender.events] == [3]


def test_a_child_starts_with_empty_sums_and_the_parent_sends_its_own_once(client: MetlogClient) -> None:
    client.incr("n", 7)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        verdict = b"?"
        try:
            client.incr("n", 2)
            verdict = str(int(total(events(client), "n"))).encode()
        finally:
            os.write(writer, verdict)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == "2"
    os.waitpid(pid, 0)
    assert total(events(client), "n") == 7


def test_a_signal_handler_that_counts_and_flushes_takes_nothing_twice(client: MetlogClient) -> None:
    handled = 0

    def handler(number: int, frame: object) -> None:
        nonlocal handled
        handled += 1
        client.incr("n")
        client.flush(0)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for _ in range(30_000):
            client.incr("n")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert total(events(client), "n") == 30_000 + handled


def test_timers_are_each_an_event_unless_summaries_are_asked_for(client: MetlogClient) -> None:
    for ms in (1.0, 2.0):
        client.timer_send("work", ms)
    assert [event.fields["ms"] for event in events(client)] == [1.0, 2.0]


def test_a_summary_has_number_sum_least_largest_and_a_sketch() -> None:
    values = [float(number) for number in range(1, 1001)]
    with made(timers="summary") as client:
        for value in values:
            client.timer_send("work", value)
        client.timer_send("work", 500.5, rate=1.0)
        (event,) = events(client)
    fields = event.fields
    assert (event.type, event.tokens, event.weight) == ("timer", ("timer", "work"), 1001.0)
    assert (fields["name"], fields["count"], fields["min"], fields["max"]) == ("work", 1001, 1.0, 1000.0)
    assert fields["sum"] == sum(values) + 500.5
    assert fields["ms"] == pytest.approx(500.5)
    gamma, buckets = fields["sketch"]["gamma"], fields["sketch"]["buckets"]
    assert sum(buckets.values()) == 1001
    for share in (0.5, 0.95, 0.99):  # as docs/performance.md has it
        so_far = 0
        for index, number in buckets.items():
            so_far += number
            if so_far >= share * 1001:
                found = 2 * gamma ** int(index) / (gamma + 1)
                break
        assert found == pytest.approx(values[int(share * 1000)], rel=0.02)


@pytest.mark.parametrize("rate", [math.nan, "often", 1e-320, 1e-300, 1e-16])
@pytest.mark.parametrize("kind", ["timer", "counter"])
def test_a_measurement_whose_weight_cannot_be_added_is_an_event_of_its_own(kind: str, rate: Any) -> None:
    with made(timers="summary") as client:
        pipeline = client._state.pipeline
        assert isinstance(pipeline, Pipeline)
        pipeline.chance = Certain()
        for turn in range(101):
            more = {"rate": rate} if turn == 50 else {}
            if kind == "timer":
                client.timer_send("work", 5.0, **more)
            else:
                client.incr("work", 3, **more)
        alone, together = events(client)
    assert MARK in alone.fields
    assert MARK not in together.fields
    if kind == "timer":
        assert (alone.fields["ms"], together.fields["ms"], together.fields["count"]) == (5.0, 5.0, 100)
    else:
        assert (alone.fields["count"], together.fields["count"]) == (3, 300)


def test_weights_that_together_are_more_than_an_event_may_have_are_several_events() -> None:
    with made(timers="summary") as client:
        pipeline = client._state.pipeline
        assert isinstance(pipeline, Pipeline)
        pipeline.chance = Certain()
        for _ in range(5):
            client.timer_send("work", 2.0, rate=1 / (0.4 * MAX_WEIGHT))
        found = events(client)
    assert [round(event.weight / MAX_WEIGHT, 3) for event in found] == [0.8, 0.8, 0.4]
    assert [event.fields["count"] for event in found] == [event.weight for event in found]
    assert all(MARK not in event.fields and event.fields["ms"] == pytest.approx(2.0) for event in found)


def test_a_counter_of_more_digits_than_python_writes_raises_nothing(client: MetlogClient) -> None:
    client.incr("n", 10**5000)
    (event,) = events(client)
    assert event.payload == "<int>"
    assert event.fields["count"].startswith("0x")


def test_a_timed_block_and_a_decorated_function_are_in_the_summary() -> None:
    with made(timers="summary") as client:

        @client.timer("work")
        def work() -> None: ...

        for _ in range(3):
            work()
            with client.timer("work"):
                pass
        (event,) = events(client)
    assert event.fields["count"] == 6
    assert event.weight == 6.0


def test_the_original_client_s_counters_too() -> None:
    from metlog.compat.client import CompatClient
    from metlog.core.pipeline import Pipeline

    client = CompatClient()
    client.configure("memory:", buffer={"flush_interval": 60})
    client.incr("n", 2, fields={"shop": "a"})
    client.incr("n", 3, fields={"shop": "a"}, rate=1.0)
    client.incr("n", 1, severity=3)
    assert client.flush(5)
    pipeline = client._state.pipeline
    assert isinstance(pipeline, Pipeline)
    own, together = [event for frame in pipeline.sender.frames for event in client.encoder.decode(frame)]
    assert (own.severity, own.fields) == (3, {"name": "n", "rate": 1.0, "count": 1})
    assert together.fields == {"shop": "a", "rate": 1.0, "name": "n", "count": 5}
    client.close()
