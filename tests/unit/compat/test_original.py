"""What the original's documentation and tests do, call by call, where the other files here have not done it already."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest

from metlog.compat import CLIENT_HOLDER, MetlogClient, client_from_dict_config, client_from_stream_config, hook_logger
from metlog.compat.client import SEVERITY
from metlog.compat.config import dict_from_stream_config
from metlog.compat.decorators import incr_count, return_fq_name, timeit
from metlog.compat.filters import (
    severity_max_provider,
    type_blacklist_provider,
    type_severity_max_provider,
    type_whitelist_provider,
)
from metlog.compat.holder import get_client
from metlog.compat.senders import DebugCaptureSender, FileSender, StdOutSender, UdpSender, ZmqPubSender
from metlog.errors import ConfigError, MetlogError
from metlog.testing.peers import DatagramPeer
from tests.helpers.compat import messages
from tests.helpers.waiting import wait_for

INI = """
[metlog]
logger = myapp
severity = 4
disabled_timers = foo
                  bar
sender_class = metlog.senders.zmq.ZmqPubSender
sender_bindstrs = tcp://127.0.0.1:5565
sender_queue_length = 5000
global_disabled_decorators = incr_count

[metlog_filter_sev_max]
provider = metlog.filters.severity_max_provider
severity = 4

[metlog_filter_type_whitelist]
provider = metlog.filters.type_whitelist_provider
types = timer
        oldstyle

[metlog_plugin_dummysection]
provider=theirs:dummy_provider
port=8080
host=localhost
"""

NAMES = {
    "client": ["MetlogClient", "SEVERITY"],
    "config": [
        "client_from_dict_config",
        "client_from_stream_config",
        "client_from_text_config",
        "dict_from_stream_config",
        "nest_prefixes",
    ],
    "decorators": ["incr_count", "timeit"],
    "decorators.base": ["MetlogDecorator"],
    "decorators.stats": ["incr_count", "timeit"],
    "decorators.util": ["return_fq_name"],
    "exceptions": ["EnvironmentNotFoundError", "MethodNotFoundError"],
    "filters": [
        "severity_max_provider",
        "type_blacklist_provider",
        "type_severity_max_provider",
        "type_whitelist_provider",
    ],
    "holder": ["CLIENT_HOLDER", "MetlogClientHolder", "get_client"],
    "logging": ["MetlogHandler", "hook_logger"],
    "senders": ["DebugCaptureSender", "FileSender", "NoSendSender", "StdOutSender", "StreamSender", "UdpSender"],
    "senders.dev": ["DebugCaptureSender", "FileSender", "StdOutSender", "StreamSender"],
    "senders.logging": ["StdLibLoggingSender"],
    "senders.udp": ["UdpSender"],
    "senders.zmq": ["ZmqHandshakePubSender", "ZmqPubSender"],
}
"""The original's modules, and the names in them that its documentation has."""


@pytest.mark.parametrize("module", NAMES)
def test_every_name_is_found_by_changing_the_import(module: str) -> None:
    there = importlib.import_module(f"metlog.compat.{module}")
    assert [name for name in NAMES[module] if not hasattr(there, name)] == []


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of an application."""

    def dummy_provider(config: dict[str, Any]) -> Callable[..., Any]:
        def dummy(self: Any, *args: Any, **kwargs: Any) -> Any:
            return config

        dummy.metlog_name = "dummy"  # type: ignore[attr-defined]
        return dummy

    module = ModuleType("theirs")
    module.dummy_provider = dummy_provider  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "theirs", module)
    yield module
    CLIENT_HOLDER.global_config.clear()


def test_the_documented_ini_and_the_dict_that_it_becomes(theirs: ModuleType) -> None:
    made = dict_from_stream_config(StringIO(INI), "metlog")
    assert {key: made[key] for key in ("logger", "severity", "disabled_timers", "sender", "global", "filters")} == {
        "logger": "myapp",
        "severity": 4,
        "disabled_timers": ["foo", "bar"],
        "sender": {
            "class": "metlog.senders.zmq.ZmqPubSender",
            "bindstrs": "tcp://127.0.0.1:5565",
            "queue_length": 5000,
        },
        "global": {"disabled_decorators": "incr_count"},
        "filters": [
            ("metlog.filters.severity_max_provider", {"severity": 4}),
            ("metlog.filters.type_whitelist_provider", {"types": ["timer", "oldstyle"]}),
        ],
    }
    assert list(made["plugins"].values()) == [("theirs:dummy_provider", {"port": 8080, "host": "localhost"})]
    client = get_client("myapp")
    assert client_from_stream_config(StringIO(INI), "metlog", client) is client
    assert CLIENT_HOLDER.get_client("myapp").dummy("some", "ignored", "arguments", 42) == {
        "port": 8080,
        "host": "localhost",
    }
    assert client.sender.hwm == 5000
    assert (client.severity, len(client.filters)) == (4, 2)
    client.close()


def test_the_documented_dict_with_its_short_names_of_filters() -> None:
    filters = [
        ("metlog.filters.severity_max", {"severity": 4}),
        ("metlog.filters.type_whitelist", {"types": ["timer", "oldstyle"]}),
    ]
    client = client_from_dict_config({"sender_class": "metlog.senders.DebugCaptureSender", "filters": filters})
    client.debug("no")
    client.metlog("other", severity=1)
    client.error("yes")
    assert [msg["payload"] for msg in messages(client)] == ["yes"]
    client.close()


def test_the_configuration_can_be_looked_at() -> None:
    cfg = {
        "logger": "addons-marketplace-dev",
        "sender": {"class": "metlog.senders.UdpSender", "host": ["127.0.0.1", "127.0.0.2"], "port": "5566"},
    }
    for _ in range(2):  # it is not changed by being used
        client = client_from_dict_config(cfg)
        assert client._config == json.dumps(cfg)
        client.close()


FILTERS: dict[str, tuple[Any, list[int]]] = {
    "severity": (severity_max_provider(severity=SEVERITY.ERROR), [0, 1, 2, 3, 10, 11, 12, 13]),
    "blacklist": (type_blacklist_provider(types={"foo"}), list(range(10, 18))),
    "whitelist": (type_whitelist_provider(types={"foo"}), list(range(8))),
    "type and severity": (
        type_severity_max_provider(types={"foo": {"severity": 3}, "bar": {"severity": 5}}),
        [*range(4), *range(10, 16)],
    ),
    "their own": (lambda msg: msg["severity"] == 7, [7, 17]),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("calls", ["metlog", "send_message"])
def test_filters_are_assigned(name: str, calls: str) -> None:
    """As all of the original's own tests of filters do."""
    keep, expected = FILTERS[name]
    client: Any = MetlogClient(DebugCaptureSender(), "tests")
    client.filters = [keep]
    for kind, base in (("foo", 0), ("bar", 10)):
        for severity in range(8):
            if calls == "metlog":
                client.metlog(kind, severity=severity, payload=str(base + severity))
            else:
                client.send_message({"type": kind, "severity": severity, "payload": str(base + severity)})
    assert [int(msg["payload"]) for msg in messages(client)] == expected
    client.filters = []
    client.metlog("foo", severity=7, payload="18")
    assert messages(client)[-1]["payload"] == "18"
    client.close()


def test_filters_that_are_wrong_are_all_told_and_change_nothing() -> None:
    sender = DebugCaptureSender()
    client: Any = MetlogClient(sender, "tests", filters=[severity_max_provider(severity=3)])
    with pytest.raises(ConfigError) as caught:
        client.filters = [3, lambda msg: True, "x"]
    assert [line.partition(" ")[0] for line in caught.value.problems] == ["filters[0]", "filters[2]"]
    client.debug("no")
    client.error("yes")
    assert len(messages(client)) == 1
    client.close()
    client.filters = []  # a closed client stays closed
    client.error("no")
    assert not client.is_active
    assert len(sender.msgs) == 1


def test_a_sender_is_assigned_and_the_rest_stays() -> None:
    first, second = DebugCaptureSender(), DebugCaptureSender()
    client: Any = MetlogClient(
        first, "tests", severity=5, disabled_timers="slow", filters=[severity_max_provider(severity=5)]
    )
    client.metlog("a")
    client.sender = second
    assert client.sender is second
    client.metlog("b")
    client.debug("filtered still")
    with client.timer("slow") as timer:
        pass
    assert timer.result is None
    assert [json.loads(msg)["type"] for msg in first.msgs] == ["a"]
    assert [(json.loads(msg)["type"], json.loads(msg)["severity"]) for msg in second.msgs] == [("b", 5)]
    with DatagramPeer() as peer:
        client.sender = UdpSender("127.0.0.1", peer.port)
        client.metlog("c")
        client.sender = None
        wait_for(lambda: b'"type":"c"' in b"".join(peer.frames))
    assert not client.is_active


@pytest.mark.parametrize(
    "sender",
    [
        lambda: UdpSender("127.0.0.1", 5565),
        lambda: ZmqPubSender("tcp://127.0.0.1:5565"),
        StdOutSender,
        lambda: FileSender("/tmp/x"),
    ],
)
def test_a_sender_without_a_client_says_that_it_needs_one(sender: Callable[[], Any]) -> None:
    with pytest.raises(MetlogError, match=r"a \w+Sender sends through a client only; call MetlogClient"):
        sender().send_message({"payload": "x"})


class Chatty(UdpSender):
    """A sender of an application that was made from one of the original's."""

    got: list[dict[str, Any]] = []  # noqa: RUF012 - looked at by the tests

    def send_message(self, msg: dict[str, Any]) -> None:  # type: ignore[override]
        self.got.append(msg)


class Local(UdpSender):
    """One that only has other arguments."""

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port)


def local(port: int) -> UdpSender:
    """A factory."""
    return UdpSender("127.0.0.1", port)


class Quick(DebugCaptureSender):
    """Its messages are there at once, too."""


@pytest.mark.parametrize("way", ["object", "configuration"])
def test_a_sender_made_from_one_of_the_originals_keeps_its_own_ways(
    way: str, theirs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    vars(theirs).update(Chatty=Chatty, Local=Local, local=local, Quick=Quick)
    monkeypatch.setattr(Chatty, "got", [])

    def client_with(name: str, **options: Any) -> MetlogClient:
        if way == "object":
            return MetlogClient(getattr(theirs, name)(**options), "tests")
        return client_from_dict_config({"sender": {"class": f"theirs.{name}", **options}})

    with DatagramPeer() as peer:
        client = client_with("Chatty", host="127.0.0.1", port=peer.port)
        client.metlog("a")
        assert client.flush(5)
        client.close()
        assert [msg["type"] for msg in Chatty.got] == ["a"]
        assert peer.frames == []
        for name in ("Local", "local"):
            client = client_with(name, port=peer.port)
            client.metlog(name)
            client.close()
            wait_for(lambda name=name: f'"type":"{name}"'.encode() in b"".join(peer.frames))
    client = client_with("Quick")
    client.metlog("now")
    assert len(client.sender.msgs) == 1
    client.close()


def test_a_message_that_cannot_be_sent_is_counted_and_raises_nothing() -> None:
    sender = Mock()
    sender.send_message.side_effect = UnicodeError("UnicodeError encoding user data")
    client: Any = MetlogClient(sender, "tests")
    client.send_message("no message at all")
    client.metlog("a")
    client.flush(5)
    stats = client.stats()
    assert stats.errors == 2
    assert stats.dropped == {"call_error": 1, "send_error": 1}
    assert stats.accepted == 2
    client.close()


def test_the_hook_of_the_standard_library() -> None:
    sender = Mock()
    client = MetlogClient(sender, "tests")
    logger = logging.getLogger("compat-demo")
    logger.setLevel(logging.INFO)
    hook_logger("compat-demo", client)
    logger.info("this is an info message")
    assert client.flush(5)
    assert sender.send_message.call_args[0][0]["payload"] == "this is an info message"
    logger.handlers.clear()
    client.close()


def test_order_of_decorators_and_their_names() -> None:
    client = client_from_dict_config({"sender_class": "metlog.senders.DebugCaptureSender"}, get_client("decorated"))
    CLIENT_HOLDER.set_default_client_name("decorated")

    class Stub:
        @incr_count
        @timeit
        def get_value(self) -> int:
            return 7

    assert Stub().get_value() == 7
    found = messages(client)
    assert [msg["type"] for msg in found] == ["timer", "counter"]
    assert {msg["fields"]["name"] for msg in found} == {f"{__name__}.get_value"}
    assert return_fq_name(local) == f"{__name__}.local"
    assert return_fq_name(Stub, Stub) == f"{__name__}.Stub.PyCallable"
    CLIENT_HOLDER.delete_client("decorated")
    client.close()


def test_arguments_of_decorators_reach_the_call_and_wrong_ones_raise() -> None:
    client = MetlogClient(DebugCaptureSender(), "tests")

    @incr_count(name="qdo.foo", count=5, logger="somelogger", severity=2, client=client)
    def simple(x: int, y: int) -> int:
        return x + y

    assert simple(5, 6) == 11
    (msg,) = messages(client)
    assert (msg["logger"], msg["severity"], msg["payload"], msg["fields"]["name"]) == ("somelogger", 2, "5", "qdo.foo")

    @timeit(name="qdo.timeit", fields={"anumber": 42}, bad_arg=7, client=client)
    def invalid() -> None:
        """Never called."""

    with pytest.raises(TypeError, match="bad_arg"):
        invalid()
    client.close()
