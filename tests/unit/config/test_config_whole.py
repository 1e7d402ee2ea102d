"""A configuration is checked as a whole: all faults at once, and nothing opened while there is one."""

from __future__ import annotations

import builtins
import functools
import io
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import metlog
from metlog import ConfigError, MetlogClient
from metlog.config import plan
from metlog.plugins import registry
from metlog.senders._resolver import Resolver
from metlog.testing.peers import StreamPeer, closed_port


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What this thread opens: sockets, files for writing, look-ups. Not by an audit hook: see `tests/unit/conftest.py`."""
    seen: list[tuple[str, Any]] = []
    here = threading.get_ident()

    def watch(owner: Any, name: str, counts: Callable[..., bool] = lambda *_, **__: True) -> None:
        real = getattr(owner, name)

        @functools.wraps(real)
        def watched(*args: Any, **options: Any) -> Any:
            if threading.get_ident() == here and counts(*args, **options):
                seen.append((name, args))
            return real(*args, **options)

        monkeypatch.setattr(owner, name, watched)

    for name in ("__init__", "bind", "connect", "connect_ex", "sendto"):
        watch(socket.socket, name)
    watch(socket, "getaddrinfo", lambda host, *_, **__: host not in {"127.0.0.1", "::1", b"127.0.0.1", b"::1"})
    watch(os, "open", lambda _, flags, *__, **___: bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
    for owner in (builtins, io):
        watch(owner, "open", lambda _, mode="r", *__, **___: not set("wax+").isdisjoint(mode))
    return seen


def descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            pass  # the listing's own
    return found


def everything(folder: Path, port: int) -> dict[str, Any]:
    """One of each sender that opens something, all right."""
    return {
        "logger": "whole",
        "encoder": "json",
        "filters": [{"name": "severity_max", "severity": 6}, {"name": "sample", "rate": 0.5}],
        "sender": {
            "name": "tee",
            "senders": [
                {"name": "file", "path": str(folder / "events.ndjson")},
                {"name": "zmq", "endpoint": f"tcp://127.0.0.1:{closed_port()}", "bind": True},
                {"sender": {"name": "tcp", "port": port}, "filters": [{"name": "type_deny", "types": ["x"]}]},
                {"name": "http", "port": port},
                {"name": "unix", "path": str(folder / "socket")},
                {"name": "fallback", "senders": [f"tcp://127.0.0.1:{port}", f"file:{folder}/spool"]},
                {"name": "udp", "port": port},
                "stderr",
            ],
        },
        "statsd": {"host": "127.0.0.1", "port": port},
    }


def set_in(settings: Any, path: list[str | int], value: Any) -> None:
    for part in path[:-1]:
        settings = settings[part]
    settings[path[-1]] = value


BRANCH = ["sender", "senders"]
WRONG: list[tuple[list[str | int], Any, str]] = [
    (["lgger"], "x", "lgger: no such"),
    (["exit_timeout"], -1, "exit_timeout = -1"),
    (["encoder"], {"name": "text", "color": "blue"}, "encoder.color = 'blue'"),
    (["encoder"], {"name": "signed", "key": "short"}, "encoder: key 'default'"),
    (["filters", 0, "severity"], 9, "filters[0].severity = 9"),
    (["filters", 1, "rate"], 0, "filters[1].rate = 0.0"),
    ([*BRANCH, 0, "keep"], 0, "sender.senders[0].sender.keep = 0"),
    ([*BRANCH, 1, "pattern"], "pull", "sender.senders[1].sender.pattern = 'pull'"),
    ([*BRANCH, 2, "filters", 0, "types"], [], "sender.senders[2].filters[0].types = []"),
    ([*BRANCH, 2, "logger"], "x", "sender.senders[2].logger = 'x'"),
    ([*BRANCH, 3, "compression"], "lz4", "sender.senders[3].sender.compression = 'lz4'"),
    ([*BRANCH, 4, "kind"], "pipe", "sender.senders[4].sender.kind = 'pipe'"),
    ([*BRANCH, 5, "senders", 0], "tcp://127.0.0.1?timeout=0", "sender.senders[5].sender.senders[0].timeout = 0.0"),
    ([*BRANCH, 6, "max_frame"], 7, "sender.senders[6].sender.max_frame = 7"),
    (["statsd", "prot"], 1, "statsd.prot = 1"),
]


@pytest.mark.parametrize(("path", "value", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_nothing_is_opened_while_any_key_is_wrong(
    path: list[str | int], value: Any, words: str, tmp_path: Path, opened: list[Any]
) -> None:
    with StreamPeer() as peer:
        settings = everything(tmp_path, peer.port)
        set_in(settings, path, value)
        before = descriptors()
        opened.clear()
        threads = set(os.listdir("/proc/self/task"))
        with pytest.raises(ConfigError) as caught:
            metlog.configure(settings)
        assert opened == []
        assert descriptors() <= before  # what earlier tests leave behind may end meanwhile
        assert set(os.listdir("/proc/self/task")) <= threads
        assert os.listdir(tmp_path) == []
        assert peer.streams == []
        assert [line.startswith(words) for line in caught.value.problems] == [True], caught.value.problems


def test_no_name_is_looked_up_while_any_key_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Resolver] = []
    monkeypatch.setattr(Resolver, "start", lambda self: started.append(self))
    with pytest.raises(ConfigError):
        metlog.configure({"sender": "udp://collector.invalid", "filters": [{"name": "severity_max", "severity": 9}]})
    assert started == []
    MetlogClient.from_config({"sender": "udp://collector.invalid"}).close(0)
    assert len(started) == 1


def test_when_all_is_right_it_is_opened(tmp_path: Path, opened: list[Any]) -> None:
    """The control of the test above: the same settings, right, do open what they name."""
    with StreamPeer() as peer, MetlogClient.from_config(everything(tmp_path, peer.port)) as client:
        port = int(client.branches[1].sender.endpoint.rsplit(":", 1)[1])  # type: ignore[attr-defined]
        with socket.socket() as taken, pytest.raises(OSError, match="in use"):
            taken.bind(("127.0.0.1", port))
        for _ in range(40):  # half of them are left out by `sample`
            client.log("a")
        client.flush(0.3)  # not enough for the branches whose peers are not there
        client.close(0.2)
        assert (tmp_path / "events.ndjson").exists()
        (tmp_path / "written").write_bytes(b"")
        socket.getaddrinfo("localhost", 80)
        assert {name for name, _ in opened} == {"__init__", "bind", "connect", "getaddrinfo", "open"}


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    settings = everything(tmp_path, 5565)
    for path, value, _ in WRONG:
        if path != ["encoder"] or value["name"] == "text":
            set_in(settings, path, value)
    with pytest.raises(ConfigError) as caught:
        plan(settings)
    expected = {words for path, value, words in WRONG if path != ["encoder"] or value["name"] == "text"}
    told = {words for words in expected if any(line.startswith(words) for line in caught.value.problems)}
    assert told == expected
    assert len(caught.value.problems) == len(expected)


class Opens:
    """A third party's sender that opens in its constructor."""

    max_frame = 1000

    def __init__(self, made: list[str]) -> None:
        made.append("opened")

    def send(self, frame: bytes) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


def test_a_sender_that_opens_in_its_constructor_is_made_when_all_else_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []
    real = registry.load
    monkeypatch.setattr(
        registry,
        "load",
        lambda kind, name, where: (lambda: Opens(made)) if name == "opens" else real(kind, name, where),
    )
    with pytest.raises(ConfigError):
        MetlogClient.from_config({"sender": "opens", "filters": [{"name": "severity_max", "severity": 9}]})
    assert made == []
    MetlogClient.from_config({"sender": "opens"}).close()
    assert made == ["opened"]


def test_a_sender_that_cannot_open_leaves_nothing_open_and_names_the_key(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        good = closed_port()
        zmq = [{"name": "zmq", "endpoint": f"tcp://127.0.0.1:{number}", "bind": True} for number in (good, port)]
        before = descriptors()
        with pytest.raises(ConfigError, match=r"^sender\.senders\[1\]\.sender\.endpoint = .*in use"):
            MetlogClient.from_config({"sender": {"name": "tee", "senders": zmq}})
        assert descriptors() == before
    with socket.socket() as free:
        free.bind(("127.0.0.1", good))  # the one that could be opened was closed again


def test_an_error_of_any_kind_in_a_constructor_names_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise OSError(13, "Permission denied")

    real = registry.load
    monkeypatch.setattr(
        registry, "load", lambda kind, name, where: broken if name == "broken" else real(kind, name, where)
    )
    with pytest.raises(ConfigError, match=r"^sender: 'broken' cannot be made: PermissionError: .*Permission denied"):
        MetlogClient.from_config({"sender": "broken"})
