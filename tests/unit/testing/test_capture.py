"""`capture` takes what every client logs, and puts everything back as it was."""

from __future__ import annotations

import multiprocessing
import os
import threading

import pytest

import metlog
from metlog.compat import CompatClient
from metlog.errors import ConfigError
from metlog.filters import BaseFilter
from metlog.senders.memory import MemorySender
from metlog.testing import capture, client_with
from metlog.testing.peers import StreamPeer

EARLY = metlog.MetlogClient()
NAMED = metlog.get_client("test_capture")
BOUND = NAMED.bind(tenant="t1")
log = metlog.log


@pytest.fixture(autouse=True)
def closed():
    yield
    NAMED.close()
    EARLY.close()


# Which clients.


def test_clients_made_earlier_are_captured_configured_or_not():
    EARLY.configure("memory:", logger="early", fields={"unit": "web"})
    ended = metlog.MetlogClient.from_config("memory:", logger="ended")
    ended.close()
    compat = CompatClient(logger="old")
    with capture() as events:
        EARLY.log("a")
        BOUND.log("b", fields={"n": 1})
        NAMED.log("c")
        log("d")
        metlog.info("%s", "oldstyle")
        ended.log("e")
        compat.metlog("f", payload="x")
    assert events.types == ["a", "b", "c", "d", "oldstyle", "e", "f"]
    assert (events[0].logger, events[0].fields) == ("early", {"unit": "web"})
    assert events[1].fields == {"tenant": "t1", "n": 1}
    assert events[5].logger == ""  # what was closed has no settings any more


def test_clients_made_meanwhile_are_captured_and_not_configured_afterwards():
    with capture() as events:
        made = metlog.MetlogClient.from_config("udp://127.0.0.1:9", logger="made")
        made.bind(a=1).log("a")
        metlog.get_client("test_capture_new").log("b")
        bare = metlog.MetlogClient()
        bare.log("c")
    assert events.types == ["a", "b", "c"]
    assert not made.is_active
    assert not bare.is_active
    with capture() as events:
        made.log("again")
    assert events.types == ["again"]


def test_a_client_with_a_sender_of_the_tests_own_keeps_it():
    sender = MemorySender()
    client = client_with(sender)
    with capture() as events:
        client.log("a")
        late = MemorySender()
        client_with(late).log("b")
        client.flush()
        assert [event.type for event in sender.events] == ["a"]
    assert events.types == []
    client.close()


# Back as it was.


def test_the_earlier_sender_gets_nothing_and_goes_on_afterwards():
    EARLY.configure("memory:")
    sender = EARLY.sender
    EARLY.log("before")
    with capture() as events:
        EARLY.log("within")
        assert EARLY.flush(5)
        assert EARLY.stats().sent == 1
        EARLY.close()
        EARLY.log("closed")
    EARLY.log("after")
    assert EARLY.sender is sender
    assert EARLY.flush(5)
    assert [event.type for event in sender.events] == ["before", "after"]
    assert [event.seq for event in sender.events] == [1, 2]
    assert events.types == ["within"]


def test_configure_is_checked_and_opens_nothing(tmp_path):
    with StreamPeer() as peer, capture() as events:
        metlog.configure(f"tcp://127.0.0.1:{peer.port}", logger="sync", fields={"unit": "web"})
        metlog.log("a")
        metlog.configure({"sender": {"name": "file", "path": str(tmp_path / "f")}, "statsd": {"port": 1}})
        metlog.log("b")
        metlog.default.statsd.incr("x")
        with pytest.raises(ConfigError, match=r"sender\.wing"):
            metlog.configure("udp:?wing=3")
        metlog.log("c")
        assert metlog.flush(5)
    assert (peer.streams, list(tmp_path.iterdir())) == ([], [])
    assert events.types == ["a", "b", "c"]
    assert (events[0].logger, events[0].fields) == ("sync", {"unit": "web"})
    assert not metlog.default.is_active
    assert metlog.default.sender is None


def test_what_configure_sets_is_as_before():
    EARLY.configure({"sender": "memory", "disabled_timers": ["slow"], "statsd": {"port": 8125}})
    statsd = EARLY.statsd
    with capture() as events:
        with EARLY.timer("slow"):
            pass
        assert EARLY.statsd is not statsd
        EARLY.configure({"sender": "memory", "disabled_timers": ["*"]})
        EARLY.timer_send("x", 1.5)
    assert events.types == []
    assert EARLY.timer_disabled("slow")
    assert not EARLY.timer_disabled("x")
    assert EARLY.statsd is statsd


def test_methods_that_were_added_are_taken_back():
    def shout(client, text):
        client.log("shout", text.upper())

    def whisper(client, text):
        client.log("whisper", text)

    def another(client, text):
        pass

    another.__name__ = "whisper"
    own = metlog.MetlogClient()
    own.add_method(whisper)
    bound = own.bind(tenant="t1")
    with capture() as events:
        own.add_method(shout)
        bound.shout("hey")
        own.add_method(another, override=True)
        own.whisper("hey")
        bound.whisper("hey")
    assert (events.types, events[0].payload, events[0].fields) == (["shout"], "HEY", {"tenant": "t1"})
    assert not hasattr(own, "shout")
    assert not hasattr(bound, "shout")
    with capture() as events:
        own.whisper("hey")
        bound.whisper("hey")
    assert [event.fields for event in events.matching("whisper")] == [{}, {"tenant": "t1"}]


def test_the_context_is_taken_back():
    with metlog.context(outer=1):
        with capture() as events:
            metlog.context(user="u1")
            metlog.log("a")
        with capture() as later:
            metlog.log("b")
    assert events[0].fields == {"outer": 1, "user": "u1"}
    assert later[0].fields == {"outer": 1}


def test_one_inside_another():
    with capture() as outer:
        log("a")
        with capture() as inner:
            log("b")
        log("c")
    assert outer.types == ["a", "c"]
    assert inner.types == ["b"]


def test_an_exception_in_the_block_puts_everything_back():
    with pytest.raises(KeyError), capture():
        raise KeyError("x")
    assert not metlog.default.is_active


def test_a_filter_that_cannot_be_made_again_leaves_all_as_it_was():
    made = []

    class Once:
        def __init__(self):
            made.append(self)
            if len(made) > 1:
                raise ValueError("only once")

        def __call__(self, event):
            return event

    EARLY.configure("memory:")
    EARLY._state.plan.filters.append(component("once", Once))
    NAMED.configure("memory:")
    Once()
    senders = EARLY.sender, NAMED.sender
    with pytest.raises(ConfigError, match="only once"), capture():
        pass
    assert (EARLY.sender, NAMED.sender) == senders
    EARLY.log("a")
    assert EARLY.flush(5)
    assert [event.type for event in senders[0].events] == ["a"]


def component(name, factory):
    from metlog.plugins import Component

    return Component("filter", name, "filters[0]", factory, {})


# Filters and chance.


def test_filters_are_the_clients_own_and_begin_anew_each_time():
    EARLY.configure(
        {
            "sender": "memory",
            "filters": [
                {"name": "severity_max", "severity": 6},
                {"name": "redact", "drop": ["password"], "mask": ["email"]},
                {"name": "rate_limit", "rate": 0.001, "burst": 2, "types": ["often"]},
            ],
        }
    )
    for _ in range(2):
        with capture() as events:
            EARLY.debug("left out")
            EARLY.log("signup", "for a@example.org", fields={"password": "hunter2"})
            for _ in range(5):
                EARLY.log("often")
        assert events.types == ["signup", "often", "often", "suppressed"]
        assert not events.mentions("hunter2")
        assert not events.mentions("a@example.org")
    for _ in range(2):
        EARLY.log("often")
    assert EARLY.flush(5)
    assert [event.type for event in EARLY.sender.events] == ["often", "often"]


def test_a_filter_object_that_serves_both_goes_on_afterwards():
    class Shared:
        emit = None
        closed = False

        def __call__(self, event):
            assert not self.closed
            self.emit(metlog.Event(type="added"))
            return event

        def close(self):
            self.closed = True

    shared = Shared()
    EARLY.configure("memory:")
    plan = EARLY._state.plan
    plan.filters.append(component("shared", lambda: shared))
    EARLY.install(plan)
    with capture() as events:
        EARLY.log("a")
    EARLY.log("b")
    assert EARLY.flush(5)
    assert [event.type for event in EARLY.sender.events] == ["added", "b"]
    assert events.types == ["added", "a"]


def test_nothing_is_left_to_chance():
    class Rarely(BaseFilter):
        def __call__(self, event):
            return event if self.chance.keeps(0.01) else None

    EARLY.configure("memory:")
    EARLY._state.plan.filters.append(component("rarely", Rarely))
    compat = CompatClient(logger="chance")
    with capture() as events:
        for _ in range(20):
            EARLY.incr("orders", 2, rate=0.001)
            EARLY.timer_send("checkout", 12.5, rate=0.001)
            compat.incr("old", rate=0.001)
            EARLY.incr("never", rate=0.0)
    assert (events.counter("orders"), events.counter("old"), events.counter("never")) == (40, 20, 0)
    assert events.timers("checkout") == [12.5] * 20
    assert events[0].weight == 1000
    with capture():
        pass
    assert not all(EARLY._state.pipeline.chance.keeps(0.5) for _ in range(100))


# Threads, forked children, the end.


def test_an_event_is_as_it_was_when_it_was_logged():
    order = {"items": [1]}
    with capture() as events:
        log("order", fields={"order": order})
        order["items"].append(2)
    assert events[0].fields == {"order": {"items": [1]}}


def test_a_threads_own_event_is_there_at_once_while_others_log():
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            log("busy")

    with capture() as events:
        threads = [threading.Thread(target=busy) for _ in range(3)]
        for one in threads:
            one.start()
        try:
            for number in range(10):
                log("mine", fields={"number": number})
                events.one("mine", fields={"number": number})
                events.clear()
        finally:
            stop.set()
            for one in threads:
                one.join(10)


def test_events_come_in_the_order_of_logging_across_clients():
    EARLY.configure("memory:")
    with capture() as events:
        for number in range(50):
            (EARLY, NAMED, metlog.default)[number % 3].log(f"t{number}")
    assert events.types == [f"t{number}" for number in range(50)]


def _child(number):
    NAMED.log("child", fields={"number": number})


def test_what_forked_children_log_is_there_though_they_end_at_once():
    with capture() as events:
        log("before")
        for number in range(3):
            pid = os.fork()
            if pid == 0:
                try:
                    log("child", "x" * 10_000, fields={"number": number})
                    if os.fork() == 0:
                        log("grandchild", fields={"number": number})
                    else:
                        os.wait()
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
        process = multiprocessing.get_context("fork").Process(target=_child, args=(3,))
        process.start()
        process.join(10)
        log("after")
    assert [event.fields["number"] for event in events.matching("child")] == [0, 1, 2, 3]
    assert len(events.matching("grandchild")) == 3
    assert len(events.matching("before")) == len(events.matching("after")) == 1
    assert len({event.stream for event in events.matching("child")}) == 4


def test_a_child_can_look_as_well_whatever_other_threads_had_in_hand():
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            log("busy")
            len(events)

    with capture() as events:
        threads = [threading.Thread(target=busy) for _ in range(2)]
        for one in threads:
            one.start()
        try:
            for number in range(10):
                pid = os.fork()
                if pid == 0:
                    status = 1
                    try:
                        log("child", fields={"number": number})
                        events.one("child", fields={"number": number})
                        status = 0
                    finally:
                        os._exit(status)
                assert os.waitpid(pid, 0)[1] == 0
        finally:
            stop.set()
            for one in threads:
                one.join(10)
        assert len(events.matching("child")) == 10


def test_events_stay_readable_and_none_come_afterwards():
    with capture() as events:
        log("a")
    log("b")
    assert events.types == ["a"]
    assert events.one("a") is events[0]
