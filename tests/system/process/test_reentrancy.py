"""Logging from where logging is already going on: signal handlers, `__del__`, weakref callbacks, senders, encoders, filters, hooks.

METLOG_TEST_SIGNALS=N handles that many signals in each of four ways (`make test`: 2,500).
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from metlog.core.stats import Counts
from tests.helpers.programs import run
from tests.helpers.receivers import assert_exactly_once, receiver

SIGNALS = os.environ.get("METLOG_TEST_SIGNALS", "2500")

HEAD = """
import gc, json, logging, os, signal, sys, threading, time, weakref
import metlog
metlog.configure(json.loads(os.environ["SETTINGS"]))

def report(**more):
    metlog.close(20)
    stats = metlog.stats()
    print(json.dumps({"accepted": stats.accepted, "sent": stats.sent, "buffered": stats.buffered,
                      "dropped": stats.dropped, "errors": stats.errors, **more}))
"""

HANDLER = """
wanted, flushes = int(sys.argv[1]), sys.argv[2] == "flushes"
handled = 0
def handler(number, frame):
    global handled
    metlog.log("handler", f"h{handled}")
    handled += 1
    if handled < wanted:
        signal.setitimer(signal.ITIMER_REAL, 0.00005)   # again, once this one is done
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.00005)
logged = 0
while handled < wanted:
    metlog.log("main", f"m{logged}")
    logged += 1
    if flushes and logged % 20 == 0:
        metlog.flush(10)
report(handled=handled, logged=logged)
"""


@pytest.mark.parametrize("flushes", ["logs", "flushes"])
@pytest.mark.parametrize("kind", ["udp", "file"])
def test_a_signal_handler_logs_while_its_thread_is_inside_log_and_flush(
    kind: str, flushes: str, tmp_path: Path
) -> None:
    """A frame is 600 bytes, so that many signals come while frames are made and sent."""
    with receiver(kind, tmp_path) as arrived:
        settings = {"sender": {**arrived.sender, "max_frame": 600}, "buffer": {"max_bytes": 64 << 20}}
        result = run(HEAD + HANDLER, tmp_path, settings, SIGNALS, flushes, timeout=100).result
        expected = [f"m{number}" for number in range(result["logged"])]
        expected += [f"h{number}" for number in range(result["handled"])]
        assert result["accepted"] == result["sent"] == len(expected)
        assert result["dropped"] == {}
        arrived.application(len(expected))
        assert_exactly_once(arrived.seen(), expected)


FLUSHING_HANDLER = """
handled = 0
slowest = 0.0
def handler(number, frame):
    global handled, slowest
    begin = time.monotonic()
    metlog.flush(5)
    slowest = max(slowest, time.monotonic() - begin)
    handled += 1
    signal.setitimer(signal.ITIMER_REAL, 0.001)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001)
logged = 0
end = time.monotonic() + 6
while handled < 300 and slowest < 4 and time.monotonic() < end:
    metlog.log("main", f"m{logged}")
    logged += 1
signal.setitimer(signal.ITIMER_REAL, 0)
report(handled=handled, slowest=slowest)
"""


def test_a_signal_handler_that_flushes_does_not_wait_for_the_thread_that_it_interrupted(tmp_path: Path) -> None:
    with receiver("udp", tmp_path) as arrived:
        settings = {"sender": {**arrived.sender, "max_frame": 600}}
        result = run(HEAD + FLUSHING_HANDLER, tmp_path, settings, timeout=60).result
    assert result["handled"] == 300
    assert result["slowest"] < 4


GARBAGE = """
class Loud:
    def __init__(self, number):
        self.itself = self          # a cycle: its end comes with the garbage collector, amid anything
        self.number = number
    def __del__(self):
        metlog.log("del", f"d{self.number}")

class Plain: ...

def gone(number):
    return lambda _: metlog.log("weakref", f"w{number}")

gc.set_threshold(7, 2, 2)
references = []
for number in range(4000):
    Loud(number)
    thing = Plain()
    thing.itself = thing
    references.append(weakref.ref(thing, gone(number)))
    del thing
    metlog.log("main", f"m{number}", fields={"list": [[], {}, []]})
    if number % 100 == 0:
        metlog.flush(10)
gc.collect()
report()
"""


@pytest.mark.parametrize("kind", ["udp", "file"])
def test_del_and_weakref_callbacks_log_amid_log_and_flush(kind: str, tmp_path: Path) -> None:
    with receiver(kind, tmp_path) as arrived:
        settings = {"sender": {**arrived.sender, "max_frame": 600}, "buffer": {"max_bytes": 64 << 20}}
        result = run(HEAD + GARBAGE, tmp_path, settings, timeout=60).result
        assert result["accepted"] == result["sent"] == 12000
        arrived.application(12000)
        assert_exactly_once(arrived.seen(), [f"{kind}{number}" for kind in "mdw" for number in range(4000)])


TALK = """
for number in range(200):
    metlog.log("main", f"m{number}", fields={"filler": "x" * 100})
flushed = metlog.flush(10)
begin = metlog.stats().accepted
time.sleep(0.5)
grown = metlog.stats().accepted - begin
report(flushed=flushed, grown=grown)
"""

PARTS = {
    "sender": {"sender": "talking"},
    "sender behind a queue": {"sender": "talking_queued"},
    "encoder": {"sender": "null", "encoder": "talking"},
    "filter": {"sender": "null", "filters": ["talking"]},
}


@pytest.mark.parametrize("part", PARTS)
def test_parts_that_log_themselves_neither_recurse_nor_deadlock(part: str, tmp_path: Path) -> None:
    """What they log is an event like others, or left out; it never sets off an avalanche, and every event stays accounted for."""
    ended = run(HEAD + TALK, tmp_path, {**PARTS[part], "buffer": {"flush_interval": 0.02}}, timeout=10)
    result = ended.result
    assert result["flushed"] is True
    assert result["accepted"] >= 200
    assert result["buffered"] == 0
    assert result["accepted"] == result["sent"] + sum(result["dropped"].values())
    assert result["errors"] == 0, ended.err
    assert result["grown"] <= 200, "at most an event or so a frame, not one for each event"
    assert "RecursionError" not in ended.err


HOOK = """
metlog.close()
heard = []
def on_drop(reason, count):
    heard.append(count)
    metlog.log("hook", "from the hook")
    metlog.stats()
import metlog_test_parts
client = metlog.configure({"sender": sys.argv[1], "on_drop": on_drop, "exit_timeout": 5})
metlog_test_parts.control.failing = True
for number in range(200):
    metlog.log("main", f"m{number}")
metlog.flush(10)
metlog_test_parts.control.failing = False
metlog.flush(10)
report(heard=sum(heard))
"""


@pytest.mark.parametrize("name", ["commanded", "commanded_queued"])
def test_the_drop_hook_may_log(name: str, tmp_path: Path) -> None:
    result = run(HEAD + HOOK, tmp_path, {"sender": "null"}, name, timeout=30).result
    assert result["buffered"] == 0
    assert result["accepted"] == result["sent"] + sum(result["dropped"].values())
    assert 200 <= result["heard"] <= sum(result["dropped"].values())


HANDLERS = """
metlog.close()
import metlog_test_parts
from metlog.integrations.logging import MetlogHandler

plain = metlog_test_parts.Commanded.send
def send(self, frame):
    logging.getLogger("sender").warning("a frame of %d bytes", len(frame))
    plain(self, frame)
metlog_test_parts.Commanded.send = send
metlog.configure({"sender": sys.argv[1]})
logging.basicConfig(level=logging.DEBUG, handlers=[MetlogHandler()])
for number in range(200):
    logging.getLogger("app").info("m%d", number)
metlog_test_parts.control.failing = True      # what metlog says of it goes to the root logger, and to its own handler
logging.getLogger("app").info("lost")
metlog.flush(10)
metlog_test_parts.control.failing = False
logging.getLogger("app").info("again")
metlog.flush(10)
report()
"""


@pytest.mark.parametrize("name", ["commanded", "commanded_queued"])
def test_a_handler_on_the_root_logger_feeds_nothing_back(name: str, tmp_path: Path) -> None:
    result = run(HEAD + HANDLERS, tmp_path, {"sender": "null"}, name, timeout=30).result
    assert result["accepted"] == 202, "the application's records, none about sending"
    assert sum(result["dropped"].values()) >= 1
    assert result["buffered"] == 0


def test_a_signal_handler_takes_no_count_of_drops_away_from_its_thread() -> None:
    counts = Counts(None)
    made = handled = 0

    def handler(number: int, frame: object) -> None:
        nonlocal handled
        handled += 1
        counts.dropped("queue_full", 1)

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    end = time.monotonic() + 20
    try:
        while handled < 500 and time.monotonic() < end:
            counts.dropped("queue_full", 1)
            made += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert handled >= 500
    assert counts.by_reason == {"queue_full": made + handled}
