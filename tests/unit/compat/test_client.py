"""The original client's constructor and calls, with its arguments."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import re
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from metlog import ConfigError
from metlog.compat import CLIENT_HOLDER, SEVERITY, MetlogClient, MetlogHandler, get_client, hook_logger
from metlog.compat.filters import severity_max_provider, type_whitelist_provider
from metlog.compat.senders import DebugCaptureSender, NoSendSender, StdLibLoggingSender, UdpSender
from metlog.encoders.json import JsonEncoder
from metlog.testing.peers import DatagramPeer
from tests.helpers.compat import messages
from tests.helpers.waiting import wait_for


@pytest.fixture
def client() -> Any:
    with MetlogClient(DebugCaptureSender(), "tests") as made:
        yield made


def test_a_message_has_the_originals_nine_keys_and_is_there_at_once(client: Any) -> None:
    client.metlog("testtype", payload="this is a test")
    (message,) = messages(client)
    when = message.pop("timestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", when)
    assert message == {
        "type": "testtype",
        "logger": "tests",
        "severity": 6,
        "payload": "this is a test",
        "fields": {},
        "env_version": client.env_version,
        "metlog_pid": os.getpid(),
        "metlog_hostname": socket.gethostname(),
    }
    assert (client.hostname, client.pid) == (message["metlog_hostname"], message["metlog_pid"])


def test_all_arguments_by_place_and_by_name(client: Any) -> None:
    client.metlog("a", "alternate", 2, "text", {"foo": "bar"})
    client.metlog(type="a", logger="alternate", severity=2, payload="text", fields={"foo": "bar"})
    client.incr("n", 2, "other", 3, {"a": 1}, 1.0)
    client.timer_send("t", 7, logger="l", severity=5, fields={"b": 2}, rate=0.5)
    first, second, counter, timer = messages(client)
    for message in (first, second):
        del message["timestamp"]
    assert first == second
    assert (first["logger"], first["severity"], first["payload"], first["fields"]) == (
        "alternate",
        2,
        "text",
        {"foo": "bar"},
    )
    assert (counter["type"], counter["logger"], counter["severity"], counter["payload"]) == ("counter", "other", 3, "2")
    assert counter["fields"] == {"a": 1, "name": "n", "rate": 1.0, "count": 2}
    assert (timer["type"], timer["payload"], timer["fields"]["rate"], timer["fields"]["name"]) == (
        "timer",
        "7",
        0.5,
        "t",
    )


def test_a_rate_becomes_the_weight_of_the_event() -> None:
    """`timer_send` sends all of them: the rate is information, as in the original; `incr` and `timer` sample by it."""
    with DatagramPeer() as peer:
        client = MetlogClient(UdpSender("127.0.0.1", peer.port), "tests")
        for _ in range(3):
            client.timer_send("t", 7, rate=0.25)
        for _ in range(2000):
            client.incr("n", rate=0.1)
        assert client.flush(5)
        sent = client.stats().sent
        client.close()
        wait_for(lambda: len(peer.frames) == client.stats().frames)
        events = [event for frame in peer.frames for event in JsonEncoder().decode(frame) if event.type != "metlog.end"]
    assert [event.weight for event in events[:3]] == [4.0] * 3
    counters = [event for event in events if event.type == "counter"]
    assert 0 < len(counters) < 100  # added up, each of those that were kept as ten
    total = sum(event.fields["count"] * event.weight for event in counters)
    assert 1000 < total < 3200
    assert total % 10 == 0
    assert sent == 3 + len(counters)


def test_defaults_of_the_client_can_be_assigned_to(client: Any) -> None:
    client.logger, client.severity = "renamed", SEVERITY.WARNING
    client.metlog("a")
    client.warn("old style")
    first, second = messages(client)
    assert (first["logger"], first["severity"]) == ("renamed", 4)
    assert second["logger"] == "renamed"


@pytest.mark.parametrize(
    ("method", "severity"),
    [("debug", 7), ("info", 6), ("warn", 4), ("error", 3), ("critical", 2), ("exception", 1)],
)
def test_the_calls_of_stdlib_logging(client: Any, method: str, severity: int) -> None:
    call = getattr(client, method)
    call("100 %")
    call("1, 2: %s\n3, 4: %s", "buckle", "shut")
    call("%(a)s and %(b)s", {"a": 1, "b": 2})
    assert [(m["type"], m["severity"], m["payload"]) for m in messages(client)] == [
        ("oldstyle", severity, "100 %"),
        ("oldstyle", severity, "1, 2: buckle\n3, 4: shut"),
        ("oldstyle", severity, "1 and 2"),
    ]


def test_tracebacks_come_with_exc_info_in_each_of_its_forms(client: Any) -> None:
    def raised() -> Any:
        try:
            raise NameError("name 'b' is not defined")
        except NameError:
            return sys.exc_info()

    info = raised()
    client.critical("passed -->", exc_info=info)
    client.exception("by place %s", info, "x")  # the original's second argument
    try:
        raise NameError("name 'b' is not defined")
    except NameError:
        client.error("asked for", exc_info=True)
        client.exception("by itself")
        client.exception("by place", True)
    for message in messages(client):
        assert "NameError: name 'b' is not defined" in message["fields"]["traceback"]
        assert Path(__file__).name in message["fields"]["traceback"]
        _, _, trace = message["payload"].partition("\n")  # the original's place for it
        assert trace == message["fields"]["traceback"]
    assert [m["payload"].partition("\n")[0] for m in messages(client)] == [
        "passed -->", "by place x", "asked for", "by itself", "by place",
    ]  # fmt: skip
    client.exception("none", False)
    assert (messages(client)[-1]["fields"], messages(client)[-1]["payload"]) == ({}, "none")


def test_an_empty_logger_is_a_value_and_bytes_are_the_text_that_they_spell(client: Any) -> None:
    client.metlog("t", logger="", payload="grüße".encode())
    client.send_message({"type": "t", "logger": "", "payload": b"caf\xc3\xa9 \xff"})
    client.info(b"bytes %s", b"too")
    first, second, third = messages(client)
    assert (first["logger"], first["payload"]) == ("", "grüße")
    assert (second["logger"], second["payload"]) == ("", "café \\xff")
    assert third["payload"].startswith("bytes ")


def test_timers_measure_whole_milliseconds(client: Any) -> None:
    with client.timer("t", logger="l", severity=3, fields={"c": 3}) as timer:
        time.sleep(0.01)
    assert type(timer.result) is int
    assert timer.result >= 10
    (message,) = messages(client)
    assert (message["payload"], message["logger"], message["severity"]) == (str(timer.result), "l", 3)
    assert message["fields"] == {"c": 3, "name": "t", "rate": 1.0, "ms": timer.result}
    with pytest.raises(ValueError, match="only wrap callable"):
        client.timer("t")("foo")


def test_decorated_functions_are_timed_sampled_and_disabled_at_each_call(client: Any) -> None:
    @client.timer("plain")
    def plain() -> str:
        return "p"

    @client.timer("async")
    async def coroutine() -> str:
        return "a"

    @client.timer("sampled", rate=0.1)
    def sampled() -> None: ...

    assert plain() == "p"
    assert plain.__name__ == "plain"
    assert asyncio.run(coroutine()) == "a"
    assert [m["fields"]["name"] for m in messages(client)] == ["plain", "async"]
    client.sender.msgs.clear()
    counted = 0
    for _ in range(20):  # 100 are kept
        for _ in range(100):
            sampled()
        counted += len(client.sender.msgs)
        client.sender.msgs.clear()
    assert 100 < counted < 320
    client.setup(DebugCaptureSender(), "tests", disabled_timers="plain")
    assert plain() == "p"
    assert messages(client) == []


@pytest.mark.parametrize("disabled", ["t", ["x", "t"], {"*"}])
def test_disabled_timers_do_nothing(disabled: Any) -> None:
    client = MetlogClient(DebugCaptureSender(), "tests", disabled_timers=disabled)
    with client.timer("t") as timer:
        pass
    assert timer.result is None
    assert client.timer("t")(lambda: 1)() == 1
    assert messages(client) == []
    client.close()


def test_a_timer_in_many_threads(client: Any) -> None:
    timer, results = client.timer("shared"), []

    def work(seconds: float) -> None:
        outer = time.perf_counter()
        with timer:
            inner = time.perf_counter()
            time.sleep(seconds)
            least = time.perf_counter() - inner
        results.append((least * 1000, timer.result, (time.perf_counter() - outer) * 1000))

    threads = [threading.Thread(target=work, args=(number / 50,)) for number in (1, 5, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert all(least - 1 <= result <= most + 1 for least, result, most in results), results


def test_filters_of_the_original_and_of_the_application() -> None:
    seen = []

    def keep(msg: dict[str, Any]) -> bool:
        seen.append(msg)
        msg["fields"]["added"] = True
        return msg["payload"] != "no"

    filters = [severity_max_provider(5), type_whitelist_provider(["a", "b"]), keep]
    client = MetlogClient(DebugCaptureSender(), "tests", filters=filters)
    mine = {"mine": [1]}
    client.metlog("a", severity=6)
    client.metlog("c", severity=2)
    client.metlog("a", severity=2, payload="no")
    client.metlog("b", severity=2, fields=mine)
    assert [(m["type"], m["fields"]) for m in messages(client)] == [("b", {"mine": [1], "added": True})]
    assert mine == {"mine": [1]}
    assert client.stats().filtered == 3
    assert seen[0]["metlog_pid"] == os.getpid()
    assert [filters[0]({"severity": severity}) for severity in (5, 6)] == [True, False]  # as plain functions too
    client.close()


def test_send_message_takes_a_whole_message_through_the_filters() -> None:
    client = MetlogClient(DebugCaptureSender(), "tests", filters=[lambda msg: msg["type"] != "unwanted"])
    whole = {
        "type": "a", "timestamp": "2012-05-09T07:35:25.123456Z", "logger": "l", "severity": 3, "payload": "p", "fields": {"x": [1]},
        "env_version": "0.8", "metlog_pid": 7, "metlog_hostname": "elsewhere",
    }  # fmt: skip
    client.send_message(whole)
    client.send_message({"type": "unwanted"})
    client.send_message({"type": "short"})
    client.send_message({"milk": "shake"})  # no message at all: counted, never raised
    first, second = messages(client)
    assert first == {**whole, "env_version": client.env_version}
    assert (second["logger"], second["severity"], second["metlog_pid"]) == ("tests", 6, os.getpid())
    assert client.stats().errors == 1
    client.close()
    client.send_message(whole)


def test_a_sender_of_the_applications_own_gets_dicts_and_may_raise() -> None:
    mock = Mock()
    mock.send_message.side_effect = [None, UnicodeError("bad"), None]
    client = MetlogClient(mock, "tests")
    for number in range(3):
        client.metlog("a", payload=str(number))
    assert client.flush(5)
    assert [call.args[0]["payload"] for call in mock.send_message.call_args_list] == ["0", "1", "2"]
    assert client.sender is mock
    assert client.stats().errors == 1
    client.close()
    mock.close.assert_called_once_with()
    assert mock.send_message.call_count == 3  # the end of the stream is not for it


def test_without_a_sender_a_client_is_not_active() -> None:
    client = MetlogClient(None, "tests")
    assert not client.is_active
    client.metlog("a")
    client.setup(DebugCaptureSender(), "tests")
    assert client.is_active
    client.setup()
    assert not client.is_active
    client.setup(NoSendSender(), "tests")
    assert not client.is_active
    client.metlog("a")
    client.close()


def test_every_fault_of_the_arguments_is_told_and_changes_nothing(client: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        client.setup(object(), "x", severity=9, filters=[3, lambda msg: True])
    starts = ["severity = 9", "sender", "filters[0] = 3"]
    assert [any(line.startswith(start) for line in caught.value.problems) for start in starts] == [True] * 3
    assert len(caught.value.problems) == 3
    client.metlog("still")
    assert messages(client)[0]["logger"] == "tests"


def test_methods_are_added_under_their_metlog_name(client: Any) -> None:
    def cef(self: Any, name: str) -> str:
        self.metlog("cef", payload=name)
        return name

    cef.metlog_name = "log_cef"  # type: ignore[attr-defined]
    client.add_method(cef)
    assert client.log_cef("x") == "x"
    with pytest.raises(SyntaxError, match=r"The name \[log_cef\] is already in use"):
        client.add_method(cef)
    client.add_method(cef, override="exception")
    assert client.exception("instead") == "instead"
    assert [m["payload"] for m in messages(client)] == ["x", "instead"]
    assert not hasattr(MetlogClient(None), "log_cef")


def test_named_clients_are_kept_for_the_process() -> None:
    client = get_client("svc", {"sender": {"class": "metlog.senders.DebugCaptureSender"}})
    assert get_client("svc") is client is CLIENT_HOLDER.default_client
    assert (client.logger, client.is_active) == ("svc", True)
    with pytest.raises(ValueError, match="must either match"):
        get_client("svc", {"logger": "other"})
    other = get_client("other")
    assert not other.is_active
    CLIENT_HOLDER.set_default_client_name("other")
    assert CLIENT_HOLDER.default_client is other
    assert pickle.loads(pickle.dumps(client.bind(user="u"))).bind()._state is client._state
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(MetlogClient(None, "alone"))
    CLIENT_HOLDER.delete_client("other")
    assert CLIENT_HOLDER.default_client is None
    mine = MetlogClient(None, "mine")
    CLIENT_HOLDER.set_client("mine", mine)
    assert get_client("mine") is mine


def test_hook_logger_hands_on_stdlib_records_once(client: Any) -> None:
    logger = logging.getLogger("tests.compat.hook")
    logger.setLevel(logging.DEBUG)
    hook_logger(logger.name, client)
    hook_logger(logger.name, client)
    assert len([handler for handler in logger.handlers if isinstance(handler, MetlogHandler)]) == 1
    logger.error("%d wrong", 3)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.CRITICAL):
        logger.log(level, "x")
    assert [(m["payload"], m["severity"]) for m in messages(client)] == [
        ("3 wrong", 3),
        ("x", 7),
        ("x", 6),
        ("x", 4),
        ("x", 2),
    ]


def test_a_sender_into_logging_and_a_handler_out_of_it_do_not_feed_each_other() -> None:
    logger = logging.getLogger("tests.compat.circle")
    logger.setLevel(logging.DEBUG)
    client = MetlogClient(StdLibLoggingSender(logger.name), "tests")
    hook_logger(logger.name, client)
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.info("once")
    for _ in range(5):
        assert client.flush(5)
    assert seen == ["once", "once"]  # the application's record, and the event of it
    assert client.stats().accepted == 1
    client.close()
