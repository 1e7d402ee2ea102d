from __future__ import annotations

import logging
import pickle
import threading
from typing import Any

import pytest

import metlog
from metlog import MetlogClient
from metlog.event import Event


@pytest.fixture
def client() -> Any:
    made = MetlogClient.from_config("memory:", logger="svc")
    yield made
    made.close()


def events(client: MetlogClient) -> list[Event]:
    assert client.flush(5)
    return [event for frame in client.sender.frames for event in client.encoder.decode(frame)]


def test_log_builds_the_event_of_the_contract(client: MetlogClient) -> None:
    client.log(("login", "sync"), "user logged in", severity=5, fields={"user": "u1"})
    (event,) = events(client)
    assert (event.type, event.tokens, event.payload) == ("login", ("login", "sync"), "user logged in")
    assert (event.logger, event.severity, event.fields, event.weight) == ("svc", 5, {"user": "u1"}, 1.0)
    assert event.seq == 1
    assert event.stream
    assert event.hostname
    assert event.pid > 0


def test_weight_is_left_out_on_the_wire_only_when_it_is_one(client: MetlogClient) -> None:
    client.metlog("a")
    client.metlog("b", weight=4.0)
    assert [event.weight for event in events(client)] == [1.0, 4.0]
    lines = b"".join(client.sender.frames).splitlines()
    assert [b'"weight"' in line for line in lines] == [False, True]


@pytest.mark.parametrize("tokens", ["login", ["login"], ("login",), {"login"}])
def test_tokens_of_any_kind_become_a_tuple_of_text(client: MetlogClient, tokens: Any) -> None:
    client.log(tokens)
    (event,) = events(client)
    assert event.tokens == ("login",)


@pytest.mark.parametrize(("tokens", "type_"), [((), "event"), (None, "None"), (7, "7"), ([3, "a"], "3")])
def test_wrong_tokens_are_sent_as_the_nearest_and_never_raise(client: MetlogClient, tokens: Any, type_: str) -> None:
    client.log(tokens, 5, fields=[("a", 1)])  # type: ignore[arg-type]
    (event,) = events(client)
    assert (event.type, event.payload) == (type_, "5")
    assert event.fields == {"fields": [["a", 1]]}


@pytest.mark.parametrize(
    "more", [{"severity": "error"}, {"tokens": {"a": 1}}, {"severity": "high"}, {"logger": object()}]
)
def test_an_explicit_type_is_the_type_whatever_else_is_put_right(client: MetlogClient, more: dict[str, Any]) -> None:
    client.metlog("explicit", **{"tokens": ("a", "b"), **more})
    client.metlog(b"explicit", **{"tokens": ("a", "b"), **more})  # type: ignore[arg-type]
    assert [(event.type, event.tokens[0]) for event in events(client)] == [("explicit", "a")] * 2


@pytest.mark.parametrize("severity", ["high", None, object(), "", float("nan"), [3], "0x3"])
def test_a_severity_that_is_none_is_6_and_told(client: MetlogClient, severity: Any) -> None:
    client.log("a", severity=severity)
    (event,) = events(client)
    assert event.severity == 6
    assert "severity" in event.fields["metlog.repaired"][0]
    assert client.stats().repaired == 1


@pytest.mark.parametrize(
    ("severity", "number"),
    [
        ("emergency", 0), ("ALERT", 1), ("Critical", 2), ("error", 3), (" warning ", 4), ("warn", 4), ("notice", 5), ("info", 6),
        ("informational", 6), ("DEBUG", 7), ("err", 3), ("crit", 2), ("fatal", 2), ("emerg", 0), ("3", 3), (3.0, 3), (True, 1),
    ],
)  # fmt: skip
def test_a_severity_may_be_its_name(client: MetlogClient, severity: Any, number: int) -> None:
    client.log("a", severity=severity)
    client.metlog("a", None, severity, tokens=("a",))
    assert [event.severity for event in events(client)] == [number, number]
    assert client.stats().repaired == 0


def test_a_named_severity_above_what_goes_out_is_filtered() -> None:
    with MetlogClient.from_config("memory:", filters=[{"name": "severity_max", "severity": 4}]) as client:
        client.log("a", severity="info")  # type: ignore[arg-type]
        client.log("b", severity="error")  # type: ignore[arg-type]
        assert [event.type for event in events(client)] == ["b"]
        assert client.stats().filtered == 1


def test_no_severity_is_6_where_6_does_not_go_out() -> None:
    with MetlogClient.from_config("memory:", filters=["severity_max:?severity=4"]) as client:
        sender = client.sender
        client.log("a", severity=None)  # type: ignore[arg-type]
        client.log("b", severity=3)
        assert [event.type for event in events(client)] == ["b"]
        assert client.stats().filtered == 1
    client.log("c", severity=None)  # type: ignore[arg-type]
    assert [event.type for event in sender.events] == ["b", "metlog.end"]


def test_keywords_are_fields_in_every_call(client: MetlogClient) -> None:
    client.log("a", "b", user=1, fields={"n": 2, "user": 3}, other=4)
    client.metlog("a", user=1)
    client.info("a", user=1)
    client.incr("a", user=1, name2=5)
    client.timer_send("a", 1.5, user=1)
    first, *others = events(client)
    assert first.fields == {"user": 3, "n": 2, "other": 4}
    assert all(event.fields["user"] == 1 for event in others)
    assert len(others) == 4


def test_severities_out_of_range_are_brought_to_the_nearest(client: MetlogClient) -> None:
    client.log("a", severity=-3)
    client.log("a", severity=99)
    assert [event.severity for event in events(client)] == [0, 7]


def test_bind_and_context_add_fields_and_the_call_wins(client: MetlogClient) -> None:
    bound = client.bind(self=1, type=2, msg=3, fields=4)
    with metlog.context(self="c", request_id="r"):
        bound.log("a", fields={"msg": "call"})
    bound.log("b")
    first, second = events(client)
    assert first.fields == {"self": 1, "type": 2, "msg": "call", "fields": 4, "request_id": "r"}
    assert second.fields == {"self": 1, "type": 2, "msg": 3, "fields": 4}


def test_context_is_seen_by_the_thread_that_copied_it_only(client: MetlogClient) -> None:
    with metlog.context(user="u1"):
        thread = threading.Thread(target=lambda: client.log("other"))
        thread.start()
        thread.join()
        client.log("own")
    assert [event.fields for event in events(client)] == [{}, {"user": "u1"}]


def test_oldstyle_formats_with_arguments_and_leaves_text_alone_without(client: MetlogClient) -> None:
    client.info("50% of {everything}")
    client.warning("%s is %d", "x", 3)
    client.debug("%(a)s", {"a": 1})
    client.error("%d", "no number")
    first, second, third, fourth = events(client)
    assert (first.payload, first.type, first.severity) == ("50% of {everything}", "oldstyle", 6)
    assert (second.payload, second.severity) == ("x is 3", 4)
    assert (third.payload, third.severity) == ("1", 7)
    assert fourth.payload == "no number"
    assert "no number" in fourth.fields["metlog.format_error"]


def test_exception_carries_type_message_and_traceback(client: MetlogClient) -> None:
    try:
        raise KeyError("lost")
    except KeyError:
        client.exception("it failed", order=7)
    (event,) = events(client)
    assert event.severity == 3
    assert event.fields["exception_type"] == "KeyError"
    assert "lost" in event.fields["traceback"]
    assert event.fields["order"] == 7


def test_counters_and_timers_follow_the_conventions_of_the_reports(client: MetlogClient) -> None:
    client.incr("orders", 3)
    client.timer_send("checkout", 12.5)
    counter, timer = sorted(events(client), key=lambda event: event.type)  # a counter's second may end before the timer
    assert (counter.type, counter.tokens, counter.payload) == ("counter", ("counter", "orders"), "3")
    assert counter.fields == {"name": "orders", "count": 3}
    assert timer.fields == {"name": "checkout", "ms": 12.5}


def test_a_sampled_counter_says_how_many_it_stands_for() -> None:
    client = MetlogClient.from_config("memory:", counters="each")
    for _ in range(400):
        client.incr("often", rate=0.25)
    sampled = [event for event in events(client) if event.type == "counter"]
    assert 40 < len(sampled) < 180
    assert {event.weight for event in sampled} == {4.0}


def test_before_configure_a_call_is_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    client = MetlogClient()
    with caplog.at_level(logging.INFO, "metlog"):
        for _ in range(3):
            client.log("a")
            client.incr("b")
            client.info("c")
    assert client.stats().filtered == 9
    assert len([record for record in caplog.records if "not configured" in record.message]) == 1
    assert not client.is_active


def test_clients_bound_before_configure_follow_it() -> None:
    client = MetlogClient()
    bound = client.bind(a=1)
    client.configure("memory:")
    bound.log("x")
    assert events(client)[0].fields == {"a": 1}
    client.close()


def test_after_close_calls_are_no_ops_and_counts_stay() -> None:
    client = MetlogClient.from_config("memory:")
    client.log("a")
    sender = client.sender
    client.close()
    client.close()
    client.log("b")
    assert client.stats().sent == 1
    assert sender.closed
    assert not client.is_active


def test_close_ends_the_stream_with_its_last_seq() -> None:
    client = MetlogClient.from_config("memory:")
    decode, sender = client.encoder.decode, client.sender
    client.log("a")
    client.log("b")
    client.close()
    *_, end = [event for frame in sender.frames for event in decode(frame)]
    assert (end.type, end.seq) == ("metlog.end", 3)
    assert end.fields["last_seq"] == 2


def test_reconfiguring_a_live_client_loses_nothing() -> None:
    client = MetlogClient.from_config("memory:")
    senders = [client.sender]
    stop = threading.Event()
    logged = [0] * 4

    def work(number: int) -> None:
        while not stop.is_set():
            client.log("n", fields={"thread": number, "n": logged[number]})
            logged[number] += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        client.configure("memory:?limit=10000000")
        senders.append(client.sender)
    stop.set()
    for thread in threads:
        thread.join()
    decode = client.encoder.decode
    client.close()
    found = [e for sender in senders for frame in sender.frames for e in decode(frame) if e.type == "n"]
    seen = sorted((event.fields["thread"], event.fields["n"]) for event in found)
    assert seen == [(thread, n) for thread in range(4) for n in range(logged[thread])]


def test_extension_methods_are_called_with_the_client(client: MetlogClient) -> None:
    def shout(self: MetlogClient, text: str) -> None:
        self.log("shout", text.upper())

    client.add_method(shout)
    client.bind(a=1).shout("hey")  # type: ignore[attr-defined]
    assert events(client)[0].payload == "HEY"
    with pytest.raises(metlog.MetlogError, match="'shout' already"):
        client.add_method(shout)
    with pytest.raises(metlog.MetlogError, match="'log' already"):
        client.add_method(type("f", (), {"__name__": "log", "__call__": lambda *a: None})())
    with pytest.raises(AttributeError, match="no attribute 'whisper'"):
        client.whisper()  # type: ignore[attr-defined]


def test_an_overridden_method_is_used() -> None:
    client = MetlogClient.from_config("memory:")

    def info(self: MetlogClient, text: str) -> None:
        self.log("mine", text)

    client.add_method(info, override=True)
    client.info("x")
    assert events(client)[0].type == "mine"
    client.close()


def test_named_clients_pickle_by_name_and_others_refuse() -> None:
    named = metlog.get_client("audit")
    again = pickle.loads(pickle.dumps(named.bind(a=1)))
    assert again._state is named._state
    assert metlog.get_client("audit") is named
    with pytest.raises(TypeError, match="get_client"):
        pickle.dumps(MetlogClient())


def test_is_a_context_manager() -> None:
    with MetlogClient.from_config("memory:") as client:
        client.log("a")
        sender = client.sender
    assert sender.closed


def test_on_drop_hears_of_every_loss() -> None:
    heard: list[tuple[str, int]] = []
    with MetlogClient.from_config("memory:", on_drop=lambda reason, count: heard.append((reason, count))) as client:
        client.sender.close()
        client.log("a")
        client.flush(5)
        assert client.stats().dropped == {"closed": 1}
    assert heard[0] == ("closed", 1)


def test_tee_gives_each_branch_a_stream_of_its_own_without_false_gaps() -> None:
    spec = {
        "name": "tee",
        "senders": ["memory:", {"sender": "memory:", "filters": [{"name": "severity_max", "severity": 3}]}],
    }
    client = MetlogClient.from_config({"sender": spec})
    for severity in (6, 2, 6, 3):
        client.log("a", severity=severity)
    assert client.flush(5)
    first, second = client.branches
    found = [
        [event for frame in branch.sender.frames for event in branch.encoder.decode(frame)]  # type: ignore[attr-defined]
        for branch in (first, second)
    ]
    assert [event.seq for event in found[0]] == [1, 2, 3, 4]
    assert [(event.seq, event.severity) for event in found[1]] == [(1, 2), (2, 3)]
    assert found[0][0].stream != found[1][0].stream
    stats = client.stats()
    assert stats.accepted == stats.sent == 6
    assert first.stats().filtered + second.stats().filtered == 2
    client.close()


@pytest.mark.parametrize("number", [0, 3, 28, 29, 30, 500])
def test_every_event_is_accounted_for(client: MetlogClient, number: int) -> None:
    for _ in range(number):
        client.log("a", "x" * 200)
        stats = client.stats()
        assert stats.accepted == stats.sent + stats.buffered + sum(stats.dropped.values())
    assert client.flush(5)
    assert client.stats().sent == number == client.stats().accepted
