"""`os.fork`: the child starts empty, with a stream, a socket and a flusher of its own; the parent loses nothing; nothing goes twice.

METLOG_TEST_FORKS=N forks N times with every sender (`make test`: 400 times over UDP, fewer with the others).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from metlog.testing.peers import closed_port
from tests.helpers.programs import Program, run
from tests.helpers.receivers import assert_exactly_once, assert_streams_end, own, receiver, streams

KINDS = ["udp", "file", "tcp", "unix", "zmq", "http"]
FORKS = {"udp": 400, "file": 100, "tcp": 100, "unix": 100, "zmq": 60, "http": 30}
NOT_BY_FLUSH = {"zmq"}
"""ZeroMQ sends in a thread of its own; only `close` waits until it has."""

HAMMER = """
import faulthandler, json, os, sys, threading, time, traceback
import metlog

forks, by_close = int(sys.argv[1]), sys.argv[2] == "close"
metlog.configure(json.loads(os.environ["SETTINGS"]))
stop = threading.Event()
logged = [0] * 3

def log_hard(number):
    while not stop.is_set():
        while metlog.stats().buffered > 5000:  # a machine that is busy sends less than it logs, and the oldest would make room
            time.sleep(0.001)
        for _ in range(25):
            metlog.log("thread", f"t{number}-{logged[number]}")
            logged[number] += 1
        time.sleep(0.001)

def child(number):
    faulthandler.dump_traceback_later(30, exit=True)
    empty = metlog.stats()
    assert empty.accepted == empty.buffered == empty.sent == 0, empty
    metlog.log("child", f"c{number}")
    metlog.close(20) if by_close else metlog.flush(20)
    sent = metlog.stats()
    assert (sent.accepted, sent.sent, sent.buffered, sent.dropped) == (1, 1, 0, {}), sent

def fork(number):
    pid = os.fork()
    if pid:
        return pid
    code = 3
    try:
        child(number)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)

def fork_often():
    running = []
    for number in range(forks):
        running.append(fork(number))
        if len(running) == 4 or number == forks - 1:
            for pid in running:
                codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            running.clear()

codes = []
threads = [threading.Thread(target=log_hard, args=(number,)) for number in range(3)]
forker = threading.Thread(target=fork_often)
for thread in [*threads, forker]:
    thread.start()
forker.join()
stop.set()
for thread in threads:
    thread.join()
metlog.close(20)
print(json.dumps({"codes": codes, "logged": logged}))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_forks_under_hard_logging_lose_nothing_send_nothing_twice_and_never_deadlock(kind: str, tmp_path: Path) -> None:
    forks = int(os.environ.get("METLOG_TEST_FORKS", FORKS[kind]))
    by = "close" if kind in NOT_BY_FLUSH else "flush"
    with receiver(kind, tmp_path) as arrived:
        ended = run(HAMMER, tmp_path, {"sender": arrived.sender}, str(forks), by, timeout=110)
        result = ended.result
        assert result["codes"] == [0] * forks, ended.err
        assert all(result["logged"]), "the threads did log"
        expected = [f"t{thread}-{number}" for thread, count in enumerate(result["logged"]) for number in range(count)]
        expected += [f"c{number}" for number in range(forks)]
        arrived.application(len(expected))
        seen = arrived.seen()
    assert_exactly_once(seen, expected)
    children = [events for events in streams(seen).values() if events[0].payload.startswith("c")]
    assert len(children) == forks, "each child has a stream of its own"
    assert {events[0].seq for events in children} == {1}
    assert len({events[0].pid for events in children}) > 1
    (parent,) = [events for events in streams(seen).values() if not events[0].payload.startswith("c")]
    assert_streams_end(parent)


FIRST = """
import json, os, sys
import metlog

metlog.configure(json.loads(os.environ["SETTINGS"]))
before = set(sys.modules)
metlog.log("first", "f")
metlog.flush(2)
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("kind", [*KINDS, "nobody", "https"])
def test_nothing_is_imported_with_the_first_frame(kind: str, tmp_path: Path) -> None:
    """A child that is forked while another thread imports something waits without end when it needs the same."""
    with receiver(kind if kind in KINDS else "tcp", tmp_path) as arrived:
        sender = arrived.sender
        if kind not in KINDS:
            port = closed_port(socket.SOCK_STREAM) if kind == "nobody" else sender["port"]
            sender = {"name": "https" if kind == "https" else "http", "host": "localhost", "port": port, "timeout": 0.5}
        assert run(FIRST, tmp_path, {"sender": sender}).result == []


PENDING = """
import json, os, sys
import metlog

metlog.configure(json.loads(os.environ["SETTINGS"]))
for number in range(10):
    metlog.log("parent", f"p{number}")
pid = os.fork()
if pid == 0:
    metlog.log("child", "c0")
    metlog.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
print("forked", flush=True)
sys.stdin.readline()
metlog.log("parent", "p10")
metlog.close()
"""


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_pending_at_a_fork_is_the_parent_s_alone(kind: str, tmp_path: Path) -> None:
    with receiver(kind, tmp_path) as arrived:
        with Program(PENDING, tmp_path, {"sender": arrived.sender, "buffer": {"flush_interval": 600}}) as program:
            assert program.line() == "forked"
            assert [event.payload for event in arrived.application(1)] == ["c0"]
            program.tell()
            assert program.wait().code == 0
        seen = arrived.application(12)
        assert_exactly_once(seen, ["c0", *(f"p{number}" for number in range(11))])
        assert_streams_end(arrived.wait_for(lambda seen: sum(map(own, seen)) == 2))


FLUSHERS = """
import json, os, sys
import metlog

metlog.configure(json.loads(os.environ["SETTINGS"]))
metlog.log("parent", "before")   # the flusher and, behind a queue, the sender's thread are running now
metlog.flush()
pid = os.fork()
metlog.log("child" if pid == 0 else "parent", "child" if pid == 0 else "after")
sys.stdin.readline() if pid else os.read(0, 1)   # neither flushes, neither ends
os._exit(0)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_the_flushers_of_parent_and_child_both_work_after_a_fork(kind: str, tmp_path: Path) -> None:
    with receiver(kind, tmp_path) as arrived, Program(FLUSHERS, tmp_path, {"sender": arrived.sender}):
        assert_exactly_once(arrived.application(3), ["before", "child", "after"])


@pytest.mark.parametrize("kind", ["udp", "tcp", "unix"])
def test_parent_and_child_never_share_a_socket(kind: str, tmp_path: Path) -> None:
    with receiver(kind, tmp_path) as arrived, Program(FLUSHERS, tmp_path, {"sender": arrived.sender}):
        arrived.application(3)
        by_source = [
            {line.split(b'"stream":"')[1][:16] for line in part.splitlines()} for part in arrived.parts() if part
        ]
    assert [len(found) for found in by_source] == [1, 1], "one stream a source"
    assert by_source[0] != by_source[1]


FAMILY = """
import json, os
import metlog

metlog.configure(json.loads(os.environ["SETTINGS"]))
bound = metlog.bind(bound=True)
named = metlog.get_client("audit").configure(json.loads(os.environ["SETTINGS"]))
depth = 0
while depth < 4:
    metlog.log("default", f"default {depth}")
    bound.log("bound", f"bound {depth}")
    named.log("named", f"named {depth}")
    if os.fork():
        break
    depth += 1
status = os.wait()[1] if depth < 4 else 0
metlog.close()
named.close()
os._exit(os.waitstatus_to_exitcode(status))
"""


def test_children_of_children_and_every_client_of_the_process(tmp_path: Path) -> None:
    with receiver("file", tmp_path) as arrived:
        run(FAMILY, tmp_path, {"sender": arrived.sender, "buffer": {"flush_interval": 600}})
        seen = arrived.seen()
    assert_exactly_once(seen, [f"{name} {depth}" for name in ("default", "bound", "named") for depth in range(4)])
    assert_streams_end(seen)
    assert len(streams(seen)) == 8


IN_A_TEE = """
import json, os
import metlog

metlog.configure(json.loads(os.environ["SETTINGS"]))
metlog.log("parent", "before")
pid = os.fork()
metlog.log("event", "child" if pid == 0 else "parent")
metlog.close()
if pid:
    assert os.wait()[1] == 0
os._exit(0)
"""


@pytest.mark.parametrize("composite", ["tee", "fallback"])
def test_composite_senders_pass_a_fork_on_to_their_parts(composite: str, tmp_path: Path) -> None:
    with receiver("tcp", tmp_path) as one, receiver("udp", tmp_path) as other:
        sender = {"name": composite, "senders": [one.sender, other.sender]}
        run(IN_A_TEE, tmp_path, {"sender": sender, "buffer": {"flush_interval": 600}})
        for arrived in (one, other) if composite == "tee" else (one,):
            assert_exactly_once(arrived.application(3), ["before", "child", "parent"])
            assert_streams_end(arrived.wait_for(lambda seen: sum(map(own, seen)) == 2))


WITH_FAILURES = """
import json, os
import metlog

os.register_at_fork(before=lambda: metlog.log("hook", "before"), after_in_parent=lambda: metlog.log("hook", "parent"),
                    after_in_child=lambda: metlog.log("hook", "child"))
metlog.configure(json.loads(os.environ["SETTINGS"]))
pid = os.fork()
metlog.close()
if pid:
    assert os.wait()[1] == 0
os._exit(0)
"""


def test_the_application_s_own_fork_hooks_may_log(tmp_path: Path) -> None:
    with receiver("file", tmp_path) as arrived:
        run(WITH_FAILURES, tmp_path, {"sender": arrived.sender, "buffer": {"flush_interval": 600}})
        seen = arrived.seen()
    assert_exactly_once(seen, ["before", "parent", "child"])
    assert_streams_end(seen)
    assert len(streams(seen)) == 2


IN_A_HANDLER = """
import itertools, json, os, signal
import metlog

metlog.configure(json.loads(os.environ["SETTINGS"]))
children = []
numbers = itertools.count()

def handler(number, frame):
    mine = next(numbers)
    pid = os.fork()
    if pid:
        children.append(pid)
        return
    # The child is still inside what the signal interrupted: it logs, sends and ends from here.
    metlog.log("child", f"c{mine}")
    os._exit(0 if metlog.flush(20) and metlog.stats().sent == 1 else 3)

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.003)
logged = 0
while len(children) < 100:
    metlog.log("parent", f"p{logged}")
    logged += 1
signal.setitimer(signal.ITIMER_REAL, 0)
codes = {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children}
metlog.close(20)
print(json.dumps({"codes": sorted(codes), "logged": logged, "children": next(numbers)}))
"""


@pytest.mark.parametrize("kind", ["file", "udp"])
def test_a_signal_handler_may_fork_while_its_thread_is_inside_log(kind: str, tmp_path: Path) -> None:
    with receiver(kind, tmp_path) as arrived:
        settings = {"sender": {**arrived.sender, "max_frame": 600}}  # small frames: most signals come amid sending
        result = run(IN_A_HANDLER, tmp_path, settings, timeout=80).result
        assert result["codes"] == [0]
        expected = [f"p{number}" for number in range(result["logged"])]
        expected += [f"c{number}" for number in range(result["children"])]
        arrived.application(len(expected))
        assert_exactly_once(arrived.seen(), expected)
