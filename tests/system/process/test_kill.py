"""Ends that nothing can be done at: `os._exit` and SIGKILL lose what is younger than `flush_interval`, no more; SIGTERM; a freeze."""

from __future__ import annotations

import os
import signal
import socket
import textwrap
import time
from pathlib import Path

import pytest

from tests.helpers.programs import Program, run
from tests.helpers.receivers import Receiver, assert_exactly_once, assert_streams_end, receiver

INTERVAL = 0.2
MARGIN = 1.0
"""Seconds that a busy machine may keep a thread from its turn."""

STEADY = """
import json, os, sys, time
import metlog

metlog.configure(json.loads(os.environ["SETTINGS"]))
pace, end = float(sys.argv[1]), time.monotonic() + float(sys.argv[2])
number = 0
print("started", flush=True)
while time.monotonic() < end:
    metlog.log("tick", str(number), fields={"at": time.monotonic()})
    number += 1
    time.sleep(pace)
os._exit(3)
"""


def _lost_tail(arrived: Receiver, ended: float) -> None:
    """What did not arrive is the end of the stream alone, and younger than `flush_interval`."""
    time.sleep(0.3)  # what the kernel holds
    seen = sorted(arrived.seen(), key=lambda event: event.seq)
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1)), "no gap, nothing twice"
    age = ended - seen[-1].fields["at"]
    assert age < INTERVAL + MARGIN, f"the last event that arrived was logged {age:.2f} s before the end"


@pytest.mark.parametrize(
    ("kind", "pace"),
    [("udp", 0.0005), ("udp", 0.01), ("file", 0.0005), ("tcp", 0.01), ("zmq", 0.01)],  # frames fill, or wait
)
def test_sigkill_loses_at_most_flush_interval(kind: str, pace: float, tmp_path: Path) -> None:
    with receiver(kind, tmp_path) as arrived:
        settings = {"sender": arrived.sender, "buffer": {"flush_interval": INTERVAL}}
        with Program(STEADY, tmp_path, settings, str(pace), "60") as program:
            program.line()
            time.sleep(1.0)
            killed = time.monotonic()
            program.process.kill()
            program.process.wait(10)
            _lost_tail(arrived, killed)


@pytest.mark.parametrize("kind", ["udp", "file"])
def test_os_exit_loses_at_most_flush_interval(kind: str, tmp_path: Path) -> None:
    with receiver(kind, tmp_path) as arrived:
        program = Program(
            STEADY, tmp_path, {"sender": arrived.sender, "buffer": {"flush_interval": INTERVAL}}, "0.01", "1"
        )
        assert program.wait().code == 3
        _lost_tail(arrived, program.ended)


@pytest.mark.parametrize("kind", ["udp", "tcp", "file"])
def test_an_event_after_a_long_silence_waits_no_longer_than_others(kind: str, tmp_path: Path) -> None:
    """The flusher sleeps while nothing is logged; the first event wakes it."""
    source = """
    import json, os, sys
    import metlog
    metlog.configure(json.loads(os.environ["SETTINGS"]))
    metlog.log("event", "first")
    for line in sys.stdin:
        metlog.log("event", line.strip())
    """
    with receiver(kind, tmp_path) as arrived:
        settings = {"sender": arrived.sender, "buffer": {"flush_interval": 0.02}}
        with Program(source, tmp_path, settings) as program:
            assert len(arrived.application(1)) == 1
            for silence in (0.0, 1.5):  # the flusher falls asleep after twenty empty rounds
                time.sleep(silence)
                before = len(arrived.seen())
                program.tell(f"after {silence}")
                assert len(arrived.application(before + 1, seconds=MARGIN)) == before + 1


def test_sigterm_with_python_s_own_handler_loses_at_most_flush_interval(tmp_path: Path) -> None:
    with receiver("udp", tmp_path) as arrived:
        settings = {"sender": arrived.sender, "buffer": {"flush_interval": INTERVAL}}
        with Program(STEADY, tmp_path, settings, "0.01", "60") as program:
            program.line()
            time.sleep(0.7)
            ended = time.monotonic()
            program.process.terminate()
            assert program.process.wait(10) == -signal.SIGTERM
            _lost_tail(arrived, ended)


ON_SIGNAL = """
import json, os, signal, sys, threading, time
import metlog

metlog.configure(json.loads(os.environ["SETTINGS"]))
before = sys.argv[1]
if before == "exits":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
elif before == "ignores":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
metlog.flush_on_signal(timeout=5)
count = 0
while not os.path.exists("sent"):   # logs without a pause: the signal comes amid all of it
    metlog.log("tick", str(count))
    count += 1
    if count == 1000:
        print("started", flush=True)
"""


@pytest.mark.parametrize(("before", "code"), [("default", -signal.SIGTERM), ("exits", 9)])
@pytest.mark.parametrize("kind", ["udp", "file"])
def test_flush_on_signal_loses_nothing_of_what_was_logged(kind: str, before: str, code: int, tmp_path: Path) -> None:
    """Five times, since a signal has many places to come at; a frame is 600 bytes, so that it is often one where frames are made."""
    for _ in range(5):
        with receiver(kind, tmp_path) as arrived:
            settings = {"sender": {**arrived.sender, "max_frame": 600}, "buffer": {"flush_interval": 600}}
            with Program(ON_SIGNAL, tmp_path, settings, before) as program:
                program.line()
                sent = time.monotonic()
                program.process.terminate()
                assert program.process.wait(20) == code
                assert time.monotonic() - sent < 4, "it did not wait in vain for the thread that it interrupted"
            time.sleep(0.05)
            events = sorted(arrived.seen(), key=lambda event: event.seq)
            ticks = [int(event.payload) for event in events if event.type == "tick"]
            # The last event may be the one that the signal interrupted; all before it are there.
            assert ticks == list(range(len(ticks)))
            assert len(ticks) >= 1000
            if before == "exits":
                assert_streams_end(events, interrupted=5)  # as many are in a frame of 600 bytes
            if kind == "file":
                (tmp_path / "events.ndjson").unlink()


def test_flush_on_signal_goes_on_where_the_signal_was_ignored(tmp_path: Path) -> None:
    with receiver("udp", tmp_path) as arrived:
        settings = {"sender": arrived.sender, "buffer": {"flush_interval": 600}}
        source = """
        import json, os, signal, sys
        import metlog
        metlog.configure(json.loads(os.environ["SETTINGS"]))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        metlog.flush_on_signal()
        metlog.log("event", "one")
        print("logged", flush=True)
        sys.stdin.readline()
        """
        with Program(source, tmp_path, settings) as program:
            program.line()
            program.process.terminate()
            assert_exactly_once(arrived.application(1), ["one"])
            program.tell()
            assert program.wait().code == 0


def test_flush_on_signal_refuses_a_handler_that_it_could_not_call(tmp_path: Path) -> None:
    source = """
    import faulthandler, signal
    import metlog
    faulthandler.register(signal.SIGUSR1)   # a handler in C
    signal.getsignal = lambda number: None   # what Python says of one that it did not set, from its start on
    try:
        metlog.flush_on_signal(signal.SIGUSR1)
    except metlog.MetlogError as error:
        print(error)
    """
    assert "SIGUSR1" in run(source, tmp_path).out


def test_flush_on_signal_waits_no_longer_than_told_while_nobody_reads(tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound and not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        sender = {"name": "tcp", "port": closed.getsockname()[1]}
        source = """
        import json, os, sys
        import metlog
        metlog.configure(json.loads(os.environ["SETTINGS"]))
        metlog.flush_on_signal(timeout=0.5)
        metlog.log("event", "one")
        print("logged", flush=True)
        sys.stdin.readline()
        """
        with Program(source, tmp_path, {"sender": sender}) as program:
            program.line()
            begin = time.monotonic()
            program.process.terminate()
            assert program.process.wait(10) == -signal.SIGTERM
            assert 0.4 < time.monotonic() - begin < 4


FROZEN = """
import json, os, sys, time
import metlog

metlog.configure(json.loads(os.environ["SETTINGS"]))

@metlog.job()
def handler(number):
    for each in range(3):
        metlog.log("invocation", f"{number}-{each}")

for line in sys.stdin:
    handler(int(line))
    print("returned", flush=True)
"""


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_what_was_logged_inside_job_arrives_before_the_runtime_freezes_the_process(kind: str, tmp_path: Path) -> None:
    with receiver(kind, tmp_path) as arrived:
        settings = {"sender": arrived.sender, "buffer": {"flush_interval": 600}}
        with Program(FROZEN, tmp_path, settings) as program:
            for number in range(3):
                program.tell(str(number))
                assert program.line() == "returned"
                os.kill(program.process.pid, signal.SIGSTOP)
                expected = [f"{invocation}-{each}" for invocation in range(number + 1) for each in range(3)]
                assert_exactly_once(arrived.application(len(expected), seconds=5), expected)
                os.kill(program.process.pid, signal.SIGCONT)
            program.end_input()
            assert program.wait(10).code == 0
        assert_streams_end(arrived.wait_for(lambda seen: seen[-1].type == "metlog.end"))


JOBS = {
    "block": """
        with metlog.job():
            metlog.log("event", "one")
        """,
    "decorator": """
        @metlog.job()
        def work():
            metlog.log("event", "one")
            return 7
        assert work() == 7
        """,
    "raises": """
        try:
            with metlog.job():
                metlog.log("event", "one")
                raise KeyError("passes")
        except KeyError:
            pass
        else:
            os._exit(1)
        """,
    "coroutine": """
        @metlog.job()
        async def work():
            await asyncio.sleep(0)
            metlog.log("event", "one")
            return 7
        assert asyncio.run(work()) == 7
        """,
    "async-block": """
        async def work():
            async with metlog.job():
                metlog.log("event", "one")
        asyncio.run(work())
        """,
    "generator": """
        @metlog.job()
        def work():
            yield 1
            metlog.log("event", "one")
        assert list(work()) == [1]
        """,
    "async-generator": """
        @metlog.job()
        async def work():
            yield 1
            metlog.log("event", "one")
        async def all_of_it():
            return [item async for item in work()]
        assert asyncio.run(all_of_it()) == [1]
        """,
}


@pytest.mark.parametrize(("kind", "how"), [*(("udp", how) for how in JOBS), ("file", "block"), ("file", "coroutine")])
def test_job_sends_before_it_ends(kind: str, how: str, tmp_path: Path) -> None:
    head = 'import asyncio, json, os\nimport metlog\nmetlog.configure(json.loads(os.environ["SETTINGS"]))\n'
    with receiver(kind, tmp_path) as arrived:
        settings = {"sender": arrived.sender, "buffer": {"flush_interval": 600}}
        run(head + textwrap.dedent(JOBS[how]) + "os._exit(0)\n", tmp_path, settings)
        assert_exactly_once(arrived.application(1, seconds=5), ["one"])


def test_a_job_of_a_coroutine_waits_beside_its_loop(tmp_path: Path) -> None:
    """The sender takes half a second for a frame; the loop goes on meanwhile."""
    source = """
    import asyncio, json, time
    import metlog, metlog_test_parts
    metlog.configure("commanded_queued")
    metlog_test_parts.control.delay = 0.5
    @metlog.job(timeout=5)
    async def work():
        metlog.log("event", "one")
    async def main():
        task = asyncio.create_task(work())
        turns = 0
        while not task.done():
            await asyncio.sleep(0.005)
            turns += 1
        return turns
    turns = asyncio.run(main())
    print(json.dumps([turns, metlog.stats().sent]))
    """
    turns, sent = run(source, tmp_path).result
    assert sent == 1
    assert turns > 10
