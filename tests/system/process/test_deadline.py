"""The end of a process has one deadline for all senders together (`exit_timeout`, 2 s), whatever the peer does.

All processes of the table run side by side; what they did is looked at afterwards.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metlog.testing.peers import closed_port, silent_peer
from tests.helpers.programs import Ended, Program

DEADLINE = 1.0
MARGIN = 4.0
"""Seconds that a busy machine may add to what would be tenths."""

CODE = 7

SOURCE = """
import atexit, json, os, sys, time

def after_metlog():   # registered before metlog's: it runs after it
    stats = metlog.stats()
    print(json.dumps({"begin": begin, "end": time.monotonic(), "accepted": stats.accepted, "sent": stats.sent,
                      "buffered": stats.buffered, "dropped": stats.dropped}))

atexit.register(after_metlog)
import metlog

client = metlog.configure(json.loads(os.environ["SETTINGS"]))
for number in range(3000):
    metlog.log("event", str(number), fields={"filler": "x" * 4000})
time.sleep(float(sys.argv[1]))
begin = time.monotonic()
sys.exit(7)
"""


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """The port of a listening socket whose queue is full: nobody refuses a connection, nobody answers."""
    with contextlib.ExitStack() as stack:
        bound = stack.enter_context(socket.socket())
        bound.bind(("127.0.0.1", 0))
        bound.listen(0)
        port = int(bound.getsockname()[1])
        while True:
            knock = stack.enter_context(socket.socket())
            knock.settimeout(0.3)
            try:
                knock.connect(("127.0.0.1", port))
            except TimeoutError:
                break
        yield port


def _senders(port: int) -> dict[str, Any]:
    tcp = {"name": "tcp", "port": port}
    http = {"name": "http", "port": port}
    zmq = {"name": "zmq", "endpoint": f"tcp://127.0.0.1:{port}", "linger": 30}
    return {
        "tcp": tcp,
        "http": http,
        "zmq": zmq,
        "tee": {"name": "tee", "senders": [tcp, http, zmq, tcp, http]},
        "fallback": {"name": "fallback", "senders": [tcp, http]},
        "tee-of-fallback": {"name": "tee", "senders": [{"name": "fallback", "senders": [tcp, http]}, tcp]},
    }


PEERS = ["refuses", "swallows", "never-reads"]
SENDERS = list(_senders(1))


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Ended]]:
    with contextlib.ExitStack() as stack:
        ports = {
            "refuses": closed_port(),
            "swallows": stack.enter_context(black_hole()),
            "never-reads": stack.enter_context(silent_peer()),
        }
        programs = {}
        for peer, port in ports.items():
            for name, sender in _senders(port).items():
                settings = {"sender": sender, "exit_timeout": DEADLINE}
                folder = tmp_path_factory.mktemp("deadline")
                programs[peer, name] = stack.enter_context(Program(SOURCE, folder, settings, "0.5"))
        yield {key: program.wait() for key, program in programs.items()}


@pytest.mark.parametrize("name", SENDERS)
@pytest.mark.parametrize("peer", PEERS)
def test_the_process_ends_within_the_deadline_with_its_exit_code(
    ended: dict[tuple[str, str], Ended], peer: str, name: str
) -> None:
    process = ended[peer, name]
    assert process.code == CODE, process.err
    took = process.result["end"] - process.result["begin"]
    assert took < DEADLINE + MARGIN


@pytest.mark.parametrize("name", SENDERS)
@pytest.mark.parametrize("peer", PEERS)
def test_what_could_not_be_sent_by_then_is_counted_and_told(
    ended: dict[tuple[str, str], Ended], peer: str, name: str
) -> None:
    process = ended[peer, name]
    result = process.result
    branches = {"tee": 5, "tee-of-fallback": 2}.get(name, 1)
    assert result["accepted"] == 3000 * branches
    assert result["buffered"] == 0
    assert result["accepted"] == result["sent"] + sum(result["dropped"].values())
    if name != "zmq":  # ZeroMQ takes messages as its own, up to the high-water mark
        assert sum(result["dropped"].values()) > 0
        assert "events are dropped" in process.err
        assert "Traceback" not in process.err


def _timed(settings: dict[str, Any], folder: Path, source: str = SOURCE, *arguments: str) -> tuple[float, Ended]:
    program = Program(source, folder, settings, *(arguments or ("0",)))
    process = program.wait()
    assert process.code == CODE, process.err
    return program.ended - process.result["begin"], process


def test_two_seconds_unless_configured(tmp_path: Path) -> None:
    with silent_peer() as port:
        took, process = _timed({"sender": {"name": "tcp", "port": port}}, tmp_path)
    assert 1.5 < took < 2 + MARGIN
    assert sum(process.result["dropped"].values()) > 0


def test_a_peer_that_takes_everything_costs_no_waiting(tmp_path: Path) -> None:
    """The deadline is a limit, not a pause."""
    settings = {"sender": {"name": "file", "path": str(tmp_path / "events")}, "exit_timeout": 60}
    settings["buffer"] = {"max_bytes": 64 << 20}
    took, process = _timed(settings, tmp_path)
    assert took < 20
    assert process.result["dropped"] == {}


def test_a_sender_that_never_comes_back_is_left_behind(tmp_path: Path) -> None:
    took, process = _timed({"sender": "stuck", "exit_timeout": DEADLINE}, tmp_path)
    assert took < DEADLINE + MARGIN
    assert process.result["dropped"]["exit"] > 0


def test_the_frame_of_a_sender_that_never_comes_back_is_counted(tmp_path: Path) -> None:
    _, process = _timed({"sender": "stuck", "exit_timeout": 0.2}, tmp_path)
    assert process.result["buffered"] == 0
    assert sum(process.result["dropped"].values()) == 3000
    assert process.result["dropped"]["exit"] > 0


SEVERAL = """
import atexit, json, os, sys, time
import metlog

settings = json.loads(os.environ["SETTINGS"])
for number in range(6):
    client = metlog.get_client(f"client {number}").configure({**settings, "statsd": settings["statsd"]})
    for _ in range(50):
        client.log("event", "x" * 4000)
        client.statsd.incr("count")
time.sleep(0.3)
print(json.dumps({"begin": time.monotonic()}))
sys.exit(7)
"""


def test_all_clients_and_their_statsd_share_the_deadline(tmp_path: Path) -> None:
    with silent_peer() as port:
        settings = {
            "sender": {"name": "tcp", "port": port},
            "statsd": {"host": "127.0.0.1", "port": closed_port(), "transport": "tcp"},
            "exit_timeout": DEADLINE,
        }
        took, _ = _timed(settings, tmp_path, SEVERAL)
    assert took < DEADLINE + MARGIN


def test_closing_wakes_a_sender_that_sleeps_before_its_next_try(tmp_path: Path) -> None:
    """After some refusals the pause between two tries is seconds long."""
    import metlog

    client = metlog.MetlogClient.from_config({"sender": {"name": "tcp", "port": closed_port(), "timeout": 60}})
    client.log("event")
    assert not client.flush(1.0)
    begin = time.monotonic()
    client.close(0.1)
    assert time.monotonic() - begin < 0.1 + MARGIN
    stats = client.stats()
    assert stats.buffered == 0
    assert stats.accepted == sum(stats.dropped.values()) == 1


def test_a_flush_comes_back_when_its_time_is_over() -> None:
    import metlog

    with silent_peer() as port:
        client = metlog.MetlogClient.from_config({"sender": {"name": "tcp", "port": port}})
        for _ in range(3000):
            client.log("event", "x" * 4000)
        begin = time.monotonic()
        assert client.flush(0.2) is False
        assert time.monotonic() - begin < 0.2 + MARGIN
        client.close(0.1)
        assert client.stats().buffered == 0


def test_an_exception_s_exit_code_is_kept_as_well(tmp_path: Path) -> None:

    source = SOURCE.replace("sys.exit(7)", "raise KeyError('on purpose')")
    with silent_peer() as port:
        settings = {"sender": {"name": "tcp", "port": port}, "exit_timeout": 0.2}
        process = Program(source, tmp_path, settings, "0").wait()
    assert process.code == 1
    assert "on purpose" in process.err
    assert json.loads(process.out)["buffered"] == 0
