"""Configuration files and dicts of the original, as they stand."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from metlog.compat import (
    CLIENT_HOLDER,
    EnvironmentNotFoundError,
    client_from_dict_config,
    client_from_stream_config,
    client_from_text_config,
    dict_from_stream_config,
    get_client,
)
from metlog.compat.senders import DebugCaptureSender
from metlog.errors import ConfigError
from metlog.filters.severity import SeverityMax
from metlog.filters.types import TypeAllow, TypeDeny, TypeSeverityMax
from tests.helpers.compat import messages

CAPTURE = {"class": "metlog.senders.DebugCaptureSender"}

TEXT = """
[metlog]
sender_class = metlog.senders.DebugCaptureSender
sender_note = ${NOTE}, and more   ; a comment, as Python 2 had them
logger = sync
severity = 4
disabled_timers = slow
                  slower
                  404
global_disabled_decorators = skipped
    other

[metlog_filter_sev_max]
provider = metlog.filters.severity_max_provider
severity = 6

[metlog_filter_types]
provider = metlog.filters.type_blacklist_provider
types = hidden
    secret

[metlog_filter_theirs]
provider = theirs.only
word = seen

[metlog_plugin_shout]
provider = theirs:shout_provider
punctuation = !

[unrelated]
metlog_filter = 100%% of it
"""


@pytest.fixture(autouse=True)
def _note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTE", "noted")


def test_a_file_works_as_it_stands() -> None:
    client = client_from_text_config(TEXT, "metlog")
    client.metlog("login", payload="in", fields={"user": "u1"})
    client.metlog("hidden")
    client.debug("filtered out")
    client.shout("hey")
    for name in ("slow", "slower", "404"):
        with client.timer(name):
            pass
    found = messages(client)
    assert [(m["type"], m["severity"], m["payload"]) for m in found] == [
        ("login", 4, "in seen"),
        ("shout", 4, "HEY! seen"),
    ]
    assert found[0]["logger"] == "sync"
    assert found[0]["fields"] == {"user": "u1", "deep": {"seen": True}}
    assert isinstance(client.sender, DebugCaptureSender)
    assert client.sender.note == "noted, and more"  # type: ignore[attr-defined]
    assert CLIENT_HOLDER.global_config["disabled_decorators"] == ["skipped", "other"]
    assert json.loads(client._config)["logger"] == "sync"
    client.close()


def test_text_stream_and_dict_are_the_same() -> None:
    config = dict_from_stream_config(io.StringIO(TEXT), "metlog")
    assert config == {
        "sender": {"class": "metlog.senders.DebugCaptureSender", "note": "noted, and more"},
        "logger": "sync",
        "severity": 4,
        "disabled_timers": ["slow", "slower", 404],
        "global": {"disabled_decorators": ["skipped", "other"]},
        "filters": [
            ("metlog.filters.severity_max_provider", {"severity": 6}),
            ("metlog.filters.type_blacklist_provider", {"types": ["hidden", "secret"]}),
            ("theirs.only", {"word": "seen"}),
        ],
        "plugins": {"shout": ("theirs:shout_provider", {"punctuation": "!"})},
    }
    kept = json.dumps(config)
    for client in (client_from_dict_config(config), client_from_stream_config(io.StringIO(TEXT), "metlog")):
        client.metlog("a")
        assert messages(client)[0]["logger"] == "sync"
        client.close()
    assert json.dumps(config) == kept  # it can be used again


def test_values_are_converted_as_the_original_did() -> None:
    text = """
    [x]
    sender_class = theirs.ListSender
    sender_integer = 123
    sender_negative = -5
    sender_version = 1.2.3
    sender_yes = t
              on
              YES
    sender_no = F
              off
    sender_tag = ${NOTE}
    """
    client = client_from_text_config(text, "x")
    assert client.sender.tag == "noted"
    assert client.sender.options == {
        "integer": 123, "negative": -5, "version": "1.2.3", "yes": [True] * 3, "no": [False] * 2,
    }  # fmt: skip
    client.close()


def test_percent_signs_and_repeated_keys_are_as_in_python_2() -> None:
    text = "[m]\nbase = 1\nlogger = %(base)s00%%\nlogger = last %(base)s\nsender_class = metlog.senders.NoSendSender\n"
    assert dict_from_stream_config(io.StringIO(text), "m")["logger"] == "last 1"


def test_every_fault_of_a_file_is_told_at_once() -> None:
    text = """
    [metlog]
    sender_class = ${NO_SUCH_VAR}
    logger = 100% mine
    [metlog_filter_a]
    severity = 6
    [metlog_plugin_b]
    provider = theirs.shout_provider
    punctuation = ${NOR_THIS}
    """
    with pytest.raises(ConfigError) as caught:
        client_from_text_config(text, "metlog")
    starts = [
        "[metlog] sender_class: the environment variable NO_SUCH_VAR is not set",
        "[metlog] logger: ",
        "[metlog_filter_a] provider: missing",
        "[metlog_plugin_b] punctuation: the environment variable NOR_THIS is not set",
    ]
    assert len(caught.value.problems) == len(starts)
    assert all(any(line.startswith(start) for line in caught.value.problems) for start in starts), caught.value.problems
    assert "%%" in str(caught.value)


def test_unset_variables_alone_are_the_originals_error() -> None:
    with pytest.raises(EnvironmentNotFoundError) as caught:
        client_from_text_config("[m]\nsender_class = ${NO_SUCH_VAR}\n", "m")
    assert caught.value.varname == "NO_SUCH_VAR"


@pytest.mark.parametrize(
    ("text", "words"),
    [("nonsense", "not INI"), ("[other]\n[third]\n", r"\[metlog\]: no such section; there is \[other\], \[third\]")],
)
def test_what_is_no_configuration_says_so(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        client_from_text_config(text, "metlog")


UDP, ZMQ = "metlog.senders.UdpSender", "metlog.senders.zmq.ZmqHandshakePubSender"
NO_PORT = {"class": UDP, "host": "127.0.0.1", "port": 0}
FILTERS = "metlog.filters"
WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["sender_class: missing; wants a dotted name, such as metlog.senders.UdpSender"]),
    ({"sender_class": "no.such.Sender"}, ["sender_class = 'no.such.Sender': cannot be loaded: ModuleNotFoundError"]),
    ({"sender_class": "theirs.NoSender"}, ["sender_class = 'theirs.NoSender': cannot be loaded"]),
    ({"sender_class": 5}, ["sender_class = 5: wants a dotted name"]),
    ({"sender_class": "theirs.unwilling"}, ["sender_class: 'theirs.unwilling' cannot be made: KeyError"]),
    ({"sender_class": "os.getcwd"}, ["sender_class: '/"]),
    ({"sender_class": UDP}, [f"sender_class = '{UDP}': UdpSender(…) missing 2 required"]),
    ({"sender": {**NO_PORT, "x": 2}}, [f"sender_class = '{UDP}': UdpSender(…) got no option 'x'"]),
    ({"sender": NO_PORT}, ["sender.port = 0: wants a port"]),
    (
        {"sender": {"class": ZMQ, "connect_bind": "tcp://h:1"}},
        [f"sender_class = '{ZMQ}': ZmqHandshakePubSender has no counterpart"],
    ),
    (
        {"sender": {"class": "metlog.senders.FileSender", "filepath": "/no/such/folder/x"}},
        ["sender.path = '/no/such/folder/x': there is no folder"],
    ),
    (
        {"sender": {"class": "metlog.senders.StdOutSender", "formatter": "no.such"}},
        ["sender_formatter = 'no.such': cannot be loaded"],
    ),
    (
        {"sender": CAPTURE, "severity": 9, "filters": 3},
        ["severity = 9: a severity is 0", "filters = 3: wants a list"],
    ),
    (
        {
            "sender": CAPTURE,
            "filters": [
                ("no.such", {}),
                7,
                ("theirs.unwilling", {}),
                (f"{FILTERS}.severity_max_provider", {"severity": 8}),
                (f"{FILTERS}.type_severity_max_provider", {"types": {"a": 4}}),
                (f"{FILTERS}.type_whitelist_provider", {"typs": []}),
                (f"{FILTERS}.type_blacklist_provider", {"types": ""}),
                (f"{FILTERS}.type_severity_max_provider", {"types": "a"}),
            ],
        },
        [
            "filters[0] = 'no.such': cannot be loaded",
            "filters[1] = 7: wants a pair",
            "filters[2] = 'theirs.unwilling': KeyError",
            "filters[3].severity = 8",
            "filters[4].types.a = 4: wants a table with severity",
            f"filters[5] = '{FILTERS}.type_whitelist_provider': TypeError",
            "filters[6].types = []",
            "filters[7].types = 'a': wants a table",
        ],
    ),
    (
        {
            "sender": CAPTURE,
            "plugins": {
                "a": ("theirs.unwilling", {}),
                "b": ("os.getcwd", None),
                "c": ("os.environ.copy", {}),
                "d": ("json.dumps", {}),
            },
        },
        [
            "plugins.a = 'theirs.unwilling': KeyError",
            "plugins.b = 'os.getcwd': TypeError",
            "plugins.c = 'os.environ.copy': TypeError",
            "plugins.d = 'json.dumps': gave '{}'; wants a function",
        ],
    ),
    (
        {"sender": NO_PORT, "severity": "much", "filters": [("no.such", {})], "plugins": {"a": 1}},
        [
            "sender.port = 0",
            "severity = 'much': wants a whole number",
            "filters[0] = 'no.such'",
            "plugins.a = 1: wants a pair",
        ],
    ),
]


@pytest.mark.parametrize(("config", "starts"), WRONG, ids=[starts[0][:40] for _, starts in WRONG])
def test_what_is_wrong_is_told_with_key_value_and_remedy(config: dict[str, Any], starts: list[str]) -> None:
    client = get_client("live", {"sender": CAPTURE})
    with pytest.raises(ConfigError) as caught:
        client_from_dict_config({**config, "global": {"changed": True}}, client)
    told = caught.value.problems
    assert [any(line.startswith(start) for line in told) for start in starts] == [True] * len(starts), told
    assert len(told) == len(starts), told
    client.metlog("still")  # and nothing has changed
    assert messages(client)[-1]["type"] == "still"
    assert "changed" not in CLIENT_HOLDER.global_config


def test_a_sender_of_the_applications_own_is_made_when_all_else_is_right(theirs: ModuleType, tmp_path: Path) -> None:
    sender = {"class": "theirs.ListSender", "tag": "t", "args": []}
    for wrong in ({"filters": [("no.such", {})]}, {"plugins": {"a": 1}}, {"severity": 9}):
        with pytest.raises(ConfigError):
            client_from_dict_config({"sender": sender, **wrong})
    taken = client_from_dict_config({"sender": CAPTURE})
    taken.add_method(lambda self: None, override="shout")
    plugin = {"p": ("theirs.shout_provider", {"punctuation": ""})}
    with pytest.raises(SyntaxError, match=r"The name \[shout\] is already in use"):
        client_from_dict_config({"sender": sender, "plugins": plugin}, taken)
    assert theirs.ListSender.made == 0
    client = client_from_dict_config({"sender": sender})
    assert theirs.ListSender.made == 1
    client.metlog("a")
    assert client.flush(5)
    assert [message["type"] for message in client.sender.messages] == ["a"]
    client.close()


def test_a_client_is_configured_again_without_losing_a_message() -> None:
    config = {"sender": CAPTURE, "plugins": {"p": ("theirs.shout_provider", {"punctuation": "!"})}}
    client = get_client("svc", config)
    client.shout("a")
    first = client.sender
    config["plugins"] = {"p": ("theirs.shout_provider", {"punctuation": "?"})}
    assert get_client("svc", config) is client
    client.shout("b")
    assert [json.loads(msg)["payload"] for msg in (*first.msgs, *client.sender.msgs)] == ["A!", "B?"]


def test_global_settings_stay_unless_they_are_cleared() -> None:
    text = "[m]\nsender_class = metlog.senders.DebugCaptureSender\nglobal_{} = 1\n"
    clients = [client_from_text_config(text.format("a"), "m"), client_from_text_config(text.format("b"), "m")]
    assert CLIENT_HOLDER.global_config == {"a": 1, "b": 1}
    clients.append(client_from_text_config(text.format("c"), "m", clear_global=True))
    assert CLIENT_HOLDER.global_config == {"c": 1}
    for client in clients:
        client.close()


def test_a_key_that_is_none_is_left_alone_and_told_when_it_looks_misspelt(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "metlog"):
        client_from_dict_config({"sender": CAPTURE, "sevrity": 4, "extensions_x": 1}).close()
    assert [record.getMessage() for record in caplog.records] == [
        "sevrity = 4: no such setting, left alone; did you mean 'severity'?"
    ]


def test_filters_are_this_packages_own_where_it_has_them() -> None:
    config = {
        "sender": CAPTURE,
        "filters": [
            ("metlog.filters.severity_max_provider", {"severity": 5}),
            ("metlog.filters.severity_max", {"severity": 5}),  # as its documentation has it
            ("metlog.filters.type_whitelist_provider", {"types": ["a", 404, "d"]}),
            ("metlog.filters.type_blacklist_provider", {"types": "d"}),
            ("metlog.filters.type_severity_max_provider", {"types": {"a": {"severity": 3}}}),
        ],
    }
    client = client_from_dict_config(config)
    assert [type(item) for item in client.filters] == [SeverityMax, SeverityMax, TypeAllow, TypeDeny, TypeSeverityMax]
    for kind, severity in (("a", 3), ("a", 4), ("404", 5), ("404", 6), ("d", 0), ("x", 0)):
        client.metlog(kind, severity=severity)
    assert [(m["type"], m["severity"]) for m in messages(client)] == [("a", 3), ("404", 5)]
    client.close()


def test_the_file_of_its_documentation(tmp_path: Path) -> None:
    path = tmp_path / "config.ini"
    path.write_text(
        "[metlog]\nlogger = myapp\nseverity = 4\ndisabled_timers = foo\n                  bar\n"
        "sender_class = metlog.senders.zmq.ZmqPubSender\nsender_bindstrs = tcp://127.0.0.1:5565\n"
        "sender_queue_length = 5000\nglobal_disabled_decorators = incr_count\n"
    )
    with path.open() as stream:
        client = client_from_stream_config(stream, "metlog")
    sender = client.sender
    assert (sender.endpoint, sender.hwm, sender.pattern, sender.bind) == ("tcp://127.0.0.1:5565", 5000, "pub", False)
    assert CLIENT_HOLDER.global_config == {"disabled_decorators": "incr_count"}
    assert client.timer_disabled("bar")
    client.close(0.1)
