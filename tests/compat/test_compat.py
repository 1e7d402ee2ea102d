"""The original client's documented usage."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest

from metlog import compat
from metlog.compat import (
    CLIENT_HOLDER,
    MetlogDecorator,
    client_from_dict_config,
    client_from_stream_config,
    client_from_text_config,
    dict_from_stream_config,
    get_client,
    hook_logger,
    incr_count,
    timeit,
)
from metlog.errors import ConfigError
from metlog.event import Event

TEXT = """
[metlog]
sender_class = metlog.senders.DebugCaptureSender
logger = sync
severity = 4
disabled_timers = slow
                  slower
global_disabled_decorators = skipped
    other

[metlog_filter_sev_max]
provider = metlog.filters.severity_max_provider
severity = 6

[metlog_filter_types]
provider = metlog.filters.type_blacklist_provider
types = hidden
    secret

[metlog_plugin_shout]
provider = tests_compat_provider.shout_provider
punctuation = !
"""


@pytest.fixture(autouse=True)
def _provider(monkeypatch: pytest.MonkeyPatch) -> Any:
    import sys
    import types

    module = types.ModuleType("tests_compat_provider")

    def shout_provider(config: dict[str, Any]) -> Any:
        def shout(self: Any, text: str) -> None:
            self.metlog("shout", payload=text.upper() + config["punctuation"])

        shout.metlog_name = "shout"  # type: ignore[attr-defined]
        return shout

    class ListSender:
        def __init__(self, tag: str = "") -> None:
            self.tag, self.messages = tag, []  # type: ignore[var-annotated]

        def send_message(self, msg: dict[str, Any]) -> None:
            self.messages.append(msg)

    def only(word: str) -> Any:
        def keep(msg: dict[str, Any]) -> bool:
            msg["payload"] += " seen"
            return word in msg["payload"]

        return keep

    module.__dict__.update(shout_provider=shout_provider, ListSender=ListSender, only=only)
    monkeypatch.setitem(sys.modules, "tests_compat_provider", module)
    yield
    CLIENT_HOLDER._clients.clear()
    CLIENT_HOLDER.global_config.clear()


def events(client: Any) -> list[Event]:
    assert client.flush(5)
    return [event for frame in client.sender.frames for event in client.encoder.decode(frame)]


def test_a_configuration_file_of_the_original_works_as_it_stands() -> None:
    client = client_from_text_config(TEXT, "metlog")
    client.metlog("login", payload="in", fields={"user": "u1"})
    client.metlog("hidden")
    client.debug("filtered out")
    client.shout("hey")
    with client.timer("slow"):
        pass
    found = events(client)
    assert [(event.type, event.severity, event.payload) for event in found] == [
        ("login", 4, "in"),
        ("shout", 4, "HEY!"),
    ]
    assert found[0].logger == "sync"
    assert CLIENT_HOLDER.global_config["disabled_decorators"] == ["skipped", "other"]
    client.close()


def test_stream_and_dict_give_the_same_client() -> None:
    config = dict_from_stream_config(io.StringIO(TEXT), "metlog")
    assert config["sender"] == {"class": "metlog.senders.DebugCaptureSender"}
    assert config["filters"][0] == ("metlog.filters.severity_max_provider", {"severity": 6})
    for client in (client_from_dict_config(config), client_from_stream_config(io.StringIO(TEXT), "metlog")):
        client.metlog("a")
        assert events(client)[0].logger == "sync"
        client.close()


def test_calls_take_the_originals_arguments() -> None:
    client = client_from_dict_config({"sender": {"class": "metlog.senders.DebugCaptureSender"}})
    client.incr("n", 2, "other", 3, {"a": 1}, 1.0)
    client.timer_send("t", 7, logger="l", severity=5, fields={"b": 2}, rate=0.5)
    with client.timer("w", fields={"c": 3}) as timer:
        pass
    assert timer.result == 0

    @client.timer("d")
    def work() -> int:
        return 1

    assert work() == 1
    counter, sent, measured, decorated = events(client)
    assert (counter.logger, counter.severity, counter.payload) == ("other", 3, "2")
    assert counter.fields == {"a": 1, "name": "n", "rate": 1.0, "count": 2}
    assert (sent.weight, sent.payload, sent.fields["rate"]) == (2.0, "7", 0.5)
    assert measured.fields["c"] == 3
    assert decorated.fields["name"] == "d"
    client.close()


def test_exception_is_an_alert_with_its_traceback() -> None:
    client = client_from_dict_config({"sender": {"class": "metlog.senders.DebugCaptureSender"}})
    try:
        raise ValueError("bad")
    except ValueError:
        client.exception("failed %s", "here")
    (event,) = events(client)
    assert event.severity == 1
    assert "bad" in event.fields["traceback"]
    client.close()


@pytest.mark.parametrize(
    ("sender", "name"),
    [
        ({"class": "metlog.senders.UdpSender", "host": "127.0.0.1", "port": 5565}, "udp"),
        ({"class": "metlog.senders.udp.UdpSender", "host": ["127.0.0.1", "127.0.0.2"], "port": [1, 1]}, "udp"),
        ({"class": "metlog.senders.StdOutSender"}, "stdout"),
        ({"class": "metlog.senders.logging.StdLibLoggingSender", "logger_name": "x"}, "logging"),
        ({"class": "metlog.senders.zmq.ZmqPubSender", "bindstrs": "tcp://127.0.0.1:5585", "pool_size": 3}, "zmq"),
    ],
)
def test_the_originals_senders_are_mapped(sender: dict[str, Any], name: str) -> None:
    client = client_from_dict_config({"sender": sender})
    assert type(client.sender).__name__.lower().startswith(name)
    client.close()


def test_a_file_sender_is_mapped(tmp_path: Any) -> None:
    config = {"sender_class": "metlog.senders.dev.FileSender", "sender_args": [str(tmp_path / "f")]}
    client = client_from_dict_config(config)
    client.metlog("a")
    client.close()
    assert '"type":"a"' in (tmp_path / "f").read_text()


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"sender": {"class": "metlog.senders.zmq.ZmqHandshakePubSender"}}, "push"),
        ({"sender": {"class": "metlog.senders.StdOutSender", "formatter": "x"}}, "sender_formatter"),
        ({"sender": {"class": "no.such.Sender"}}, "cannot be loaded"),
        ({}, "sender_class"),
        ({"sender": {"class": "metlog.senders.UdpSender", "host": "h", "port": [1, 2]}}, "tee"),
        ({"sender": {"class": "metlog.senders.NoSendSender"}, "filters": [("no.such", {})]}, "filters[0]"),
    ],
)
def test_what_cannot_be_mapped_says_so(config: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        client_from_dict_config(config)
    assert word in str(caught.value)


def test_senders_and_filters_written_for_the_original_are_used() -> None:
    config = {
        "sender": {"class": "tests_compat_provider.ListSender", "tag": "t"},
        "filters": [("tests_compat_provider.only", {"word": "yes"})],
    }
    client = client_from_dict_config(config)
    client.metlog("a", payload="yes")
    client.metlog("a", payload="no")
    assert client.flush(5)
    (message,) = client.sender.inner.messages
    assert message["payload"] == "yes seen"
    assert message["metlog_pid"] > 0
    assert client.sender.inner.tag == "t"
    client.close()


def test_holder_and_get_client_share_clients_by_name() -> None:
    client = get_client("svc", {"sender": {"class": "metlog.senders.DebugCaptureSender"}})
    assert get_client("svc") is client
    assert CLIENT_HOLDER.default_client is client
    assert client.is_active
    with pytest.raises(ValueError, match="must either match"):
        get_client("svc", {"logger": "other"})
    CLIENT_HOLDER.delete_client("svc")
    assert CLIENT_HOLDER.default_client is None
    client.close()


def test_decorators_bind_at_the_first_call_after_configuration() -> None:
    @timeit
    def timed() -> str:
        return "t"

    @incr_count("counted", count=2)
    def counted() -> str:
        return "c"

    class Thing:
        @incr_count
        def method(self) -> str:
            return "m"

    assert timed() == "t"  # nothing configured yet
    client = get_client("svc", {"sender": {"class": "metlog.senders.DebugCaptureSender"}})
    assert (timed(), counted(), Thing().method()) == ("t", "c", "m")
    first, second, third = events(client)
    assert first.fields["name"].endswith("timed")
    assert (second.fields["name"], second.fields["count"]) == ("counted", 2)
    assert third.fields["name"].endswith("Thing.method")
    client.close()


def test_a_decorator_can_be_disabled_by_its_name() -> None:
    client = get_client("svc", {"sender": {"class": "metlog.senders.DebugCaptureSender"}})
    CLIENT_HOLDER.global_config["disabled_decorators"] = ["incr_count"]

    @incr_count
    def counted() -> int:
        return 1

    assert counted() == 1
    assert events(client) == []
    assert issubclass(compat.timeit, MetlogDecorator)
    client.close()


def test_hook_logger_hands_on_stdlib_records_once() -> None:
    client = get_client("svc", {"sender": {"class": "metlog.senders.DebugCaptureSender"}})
    logger = logging.getLogger("tests.compat.hook")
    logger.setLevel(logging.DEBUG)
    hook_logger(logger.name, client)
    hook_logger(logger.name, client)
    logger.error("%d wrong", 3)
    logger.debug("small")
    assert [(event.payload, event.severity) for event in events(client)] == [("3 wrong", 3), ("small", 7)]
    client.close()
