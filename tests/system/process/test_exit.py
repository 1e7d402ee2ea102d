"""How interpreters end, and what is logged while they do."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.programs import run
from tests.helpers.receivers import assert_exactly_once, assert_streams_end, own, receiver

HEAD = """
import atexit, concurrent.futures, gc, json, os, sys, threading, time, weakref
import metlog
metlog.configure(json.loads(os.environ["SETTINGS"]))
"""

ENDINGS = {
    "returns": ("", 0),
    "exits": ("sys.exit(5)", 5),
    "raises": ("raise KeyError('on purpose')", 1),
    "exits-in-a-thread": (
        """
def leave():
    metlog.log("event", "one more")
    sys.exit(9)
thread = threading.Thread(target=leave)
thread.start()
thread.join()
metlog.log("event", "the last one")
""",
        0,
    ),
    "raises-in-a-thread": (
        """
def fail():
    metlog.log("event", "one more")
    raise KeyError("on purpose")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
metlog.log("event", "the last one")
""",
        0,
    ),
    "threads-outlive-main": (
        """
def late():
    time.sleep(0.3)
    metlog.log("event", "one more")
    metlog.log("event", "the last one")
threading.Thread(target=late).start()
""",
        0,
    ),
    "keyboard-interrupt": (
        """
import signal
metlog.flush()   # so that imports are done: an `exec` at the end makes Python forget how it ends
metlog.log("event", "one more")
metlog.log("event", "the last one")
os.kill(os.getpid(), signal.SIGINT)
time.sleep(5)
""",
        -2,
    ),
}


@pytest.mark.parametrize(
    ("kind", "how"),
    [*itertools.product(["udp", "file"], ENDINGS), ("tcp", "returns"), ("zmq", "returns"), ("http", "returns")],
)
def test_everything_arrives_however_the_interpreter_ends(kind: str, how: str, tmp_path: Path) -> None:
    ending, code = ENDINGS[how]
    source = HEAD + 'for number in range(100): metlog.log("event", str(number))\n' + ending
    expected = [str(number) for number in range(100)]
    if "thread" in how or how == "keyboard-interrupt":
        expected += ["one more", "the last one"]
    with receiver(kind, tmp_path) as arrived:
        run(source, tmp_path, {"sender": arrived.sender, "buffer": {"flush_interval": 600}}, code=code)
        seen = arrived.wait_for(lambda seen: any(map(own, seen)))
    assert_exactly_once(seen, expected)
    assert_streams_end(seen)


AT_THE_END = {
    "atexit": """
def last():
    for number in range(10):
        metlog.log("event", f"{number}")
atexit.register(last)
""",
    "atexit-of-a-module-imported-later": """
import collections
class Keeper:
    def __init__(self): atexit.register(self.stop)
    def stop(self):
        for number in range(10): metlog.log("event", f"{number}")
Keeper()
""",
    "executor": """
executor = concurrent.futures.ThreadPoolExecutor(4)
def work(number):
    time.sleep(0.05)
    metlog.log("event", f"{number}")
for number in range(10):
    executor.submit(work, number)   # joined by threading._register_atexit, after the main thread's end
""",
    "main-thread-ends-first": """
def work():
    threading.main_thread().join()
    for number in range(10):
        metlog.log("event", f"{number}")
threading.Thread(target=work).start()
""",
    "loop-in-a-thread": """
import asyncio
def work():
    async def main():
        for number in range(10):
            await asyncio.sleep(0.01)
            metlog.log("event", f"{number}")
    asyncio.run(main())
threading.Thread(target=work).start()
""",
}


@pytest.mark.parametrize("how", AT_THE_END)
@pytest.mark.parametrize("kind", ["udp", "file"])
def test_what_is_logged_while_the_interpreter_ends_arrives(kind: str, how: str, tmp_path: Path) -> None:
    with receiver(kind, tmp_path) as arrived:
        run(HEAD + AT_THE_END[how], tmp_path, {"sender": arrived.sender, "buffer": {"flush_interval": 600}})
        seen = arrived.wait_for(lambda seen: any(map(own, seen)))
    assert_exactly_once(seen, [f"{number}" for number in range(10)])
    assert_streams_end(seen)


def test_a_handler_registered_before_metlog_runs_after_its_end_and_its_events_are_counted(tmp_path: Path) -> None:
    source = """
    import atexit, json, os

    def late():
        metlog.log("event", "too late")
        stats = metlog.stats()
        print(json.dumps([stats.accepted, stats.sent, stats.buffered, stats.filtered]))

    atexit.register(late)
    import metlog
    metlog.configure(json.loads(os.environ["SETTINGS"]))
    metlog.log("event", "in time")
    """
    with receiver("udp", tmp_path) as arrived:
        ended = run(source, tmp_path, {"sender": arrived.sender})
        assert ended.result == [1, 1, 0, 1]
        assert_exactly_once(arrived.application(1), ["in time"])


def test_flush_and_close_in_an_atexit_handler(tmp_path: Path) -> None:
    source = (
        HEAD
        + """
def last():
    metlog.log("event", "one")
    print(json.dumps(metlog.flush(5)))
    metlog.log("event", "two")
    metlog.close()
    metlog.close()
    print(json.dumps([metlog.stats().accepted, metlog.stats().sent]))
atexit.register(last)
"""
    )
    with receiver("file", tmp_path) as arrived:  # its thread cannot be started any more: the handler does its work
        assert run(source, tmp_path, {"sender": arrived.sender}).result == [2, 2]
        seen = arrived.seen()
    assert_exactly_once(seen, ["one", "two"])
    assert_streams_end(seen)


NAMED = (
    """
import socket
asked = socket.getaddrinfo
def answer(host, *rest, **more):
    return asked("127.0.0.1" if host == "collector.example" else host, *rest, **more)
socket.getaddrinfo = answer
"""
    + HEAD
    + """
def refuse(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")   # Python 3.12 and later do so by themselves
atexit.register(setattr, threading.Thread, "start", refuse)

def in_a_child(work):
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
    else:
        work()
"""
)

BY_NAME = {
    "tcp": ("tcp", 'metlog.log("event", "once")'),
    "udp": ("udp", 'metlog.log("event", "once")'),
    "udp-in-a-child-that-asks-first": ("udp", 'in_a_child(lambda: metlog.log("event", "once"))'),
    "udp-in-a-child-that-knows-the-address": (
        "udp",
        """
metlog.log("event", "warm")
metlog.flush()
while metlog.stats().transport: time.sleep(0.01)   # `waiting`: the name is looked up
in_a_child(lambda: metlog.log("event", "once"))
""",
    ),
}


@pytest.mark.parametrize("how", BY_NAME)
def test_a_name_is_looked_up_when_no_thread_can_be_started_any_more(how: str, tmp_path: Path) -> None:
    kind, source = BY_NAME[how]
    with receiver(kind, tmp_path) as arrived:
        sender = {**arrived.sender, "host": "collector.example"}
        run(NAMED + source, tmp_path, {"sender": sender, "buffer": {"flush_interval": 600}})
        seen = arrived.wait_for(lambda seen: any(event.payload == "once" for event in seen) and any(map(own, seen)))
    assert_exactly_once(seen, ["warm", "once"] if "warm" in source else ["once"])
    assert_streams_end(seen)


LATE_OBJECTS = """
class Loud:
    def __init__(self, name): self.name = name
    def __del__(self): metlog.log("event", self.name)

kept = Loud("global")                 # its end comes when modules are torn down
sys.modules["kept_elsewhere"] = Loud("module")
cycle = Loud("cycle"); cycle.itself = cycle
thing = Loud("finalized"); weakref.finalize(thing, metlog.log, "event", "finalize")   # runs in atexit
threading.local().loud = Loud("local")
"""


@pytest.mark.parametrize("kind", ["udp", "file", "tcp", "memory"])
def test_objects_that_log_when_they_are_torn_down_do_no_harm(kind: str, tmp_path: Path) -> None:
    source = HEAD + 'metlog.log("event", "first")\n' + LATE_OBJECTS
    settings: dict[str, Any]
    with receiver("file" if kind == "memory" else kind, tmp_path) as arrived:
        settings = {"sender": "memory" if kind == "memory" else arrived.sender}
        ended = run(source, tmp_path, settings, timeout=20)
        assert "Traceback" not in ended.err
        assert "Exception ignored" not in ended.err
        if kind != "memory":
            seen = arrived.wait_for(lambda seen: any(map(own, seen)))
            assert {"first", "finalize"} <= {event.payload for event in seen}
            assert_streams_end(seen)


DAEMONS = """
class Loud:
    def __del__(self):
        for _ in range(10): metlog.log("event", "from __del__")
        os.write(1, b"torn down")

def forever():
    while True:
        metlog.log("daemon", "x")

for number in range(3):
    threading.Thread(target=forever, daemon=True).start()
time.sleep(0.05)
"""

TORN_DOWN = """
import types
module = types.ModuleType("module")   # torn down with sys.modules, after all other threads were stopped
module.kept = [Loud() for _ in range(10)]
sys.modules["module"] = module
del module
"""


def _end_often(source: str, kind: str, folder: Path, rounds: int) -> None:
    for _ in range(rounds):
        with receiver(kind, folder) as arrived:
            ended = run(source, folder, {"sender": arrived.sender}, timeout=5)
        assert "Traceback" not in ended.err
        assert ("torn down" in ended.out) == ("module.kept" in source)
        (folder / "events.ndjson").unlink(missing_ok=True)


@pytest.mark.parametrize("kind", ["udp", "file"])
def test_daemon_threads_that_log_to_the_very_end_do_not_hang_it(kind: str, tmp_path: Path) -> None:
    _end_often(HEAD + DAEMONS, kind, tmp_path, 3)


@pytest.mark.parametrize("kind", ["udp", "file"])
def test_objects_that_log_after_daemon_threads_were_stopped_do_not_hang(kind: str, tmp_path: Path) -> None:
    """A daemon thread is stopped wherever it is, with whatever it holds; what runs after it must not wait for that."""
    _end_often(HEAD + DAEMONS + TORN_DOWN, kind, tmp_path, 8)


def test_importing_and_never_configuring_costs_nothing_at_the_end(tmp_path: Path) -> None:
    ended = run('import metlog\nmetlog.log("event")\nassert metlog.stats().filtered == 1', tmp_path)
    assert (ended.out, ended.err) == ("", "")
