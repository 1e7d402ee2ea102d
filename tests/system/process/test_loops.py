"""asyncio, uvloop and gevent: a loop is never blocked by a peer that is away, and everything arrives."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from metlog.testing.peers import closed_port, silent_peer
from tests.helpers.programs import run
from tests.helpers.receivers import assert_exactly_once, assert_streams_end, own, receiver

LARGEST_GAP = 0.25
"""Seconds: a call that waited for the peer would take as long as the sender's timeout, 10 s."""

WATCHDOG = """
import asyncio, json, os, sys, time
import metlog

async def watch(stop):
    largest, last = 0.0, time.monotonic()
    while not stop.is_set():
        await asyncio.sleep(0.005)
        now = time.monotonic()
        largest, last = max(largest, now - last), now
    return largest

async def main():
    metlog.configure(json.loads(os.environ["SETTINGS"]))
    stop = asyncio.Event()
    watchdog = asyncio.create_task(watch(stop))
    for number in range(100):
        for _ in range(20):
            metlog.log("event", "x" * 2000)
        metlog.incr("count")
        await asyncio.sleep(0.01)
    stop.set()
    largest = await watchdog
    stats = metlog.stats()
    print(json.dumps([largest, stats.accepted]))

if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("name", "peer", "loop"),
    [
        ("tcp", "refuses", "asyncio"),
        ("tcp", "never-reads", "asyncio"),
        ("tcp", "never-reads", "uvloop"),
        ("http", "never-reads", "asyncio"),
    ],
)
def test_the_loop_goes_on_while_the_peer_does_not_take_anything(
    name: str, peer: str, loop: str, tmp_path: Path
) -> None:
    pytest.importorskip(loop, reason=f"needs {loop}: pip install {loop}")
    with silent_peer() as silent:
        port = closed_port() if peer == "refuses" else silent
        settings = {"sender": {"name": name, "port": port}, "buffer": {"max_bytes": 1 << 20}, "exit_timeout": 0.1}
        largest, accepted = run(WATCHDOG, tmp_path, settings, loop).result
    assert 2000 < accepted <= 2100  # equal counters are added up
    assert largest < LARGEST_GAP, f"the loop stood still for {largest:.3f} s"


TASKS = """
import asyncio, json, os, sys
import metlog

async def work(number):
    with metlog.context(task=number):
        for each in range(20):
            metlog.log("event", f"{number}-{each}")
            await asyncio.sleep(0)

async def main():
    await asyncio.gather(*(work(number) for number in range(20)))

metlog.configure(json.loads(os.environ["SETTINGS"]))
if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_tasks_log_side_by_side_each_with_its_own_context(loop: str, tmp_path: Path) -> None:
    pytest.importorskip(loop, reason=f"needs {loop}: pip install {loop}")
    with receiver("tcp", tmp_path) as arrived:
        run(TASKS, tmp_path, {"sender": arrived.sender}, loop)
        seen = arrived.wait_for(lambda seen: any(map(own, seen)))
    assert_exactly_once(seen, [f"{number}-{each}" for number in range(20) for each in range(20)])
    assert_streams_end(seen)
    assert all(event.payload.startswith(f"{event.fields['task']}-") for event in seen if not own(event))


GEVENT = {
    "before": "from gevent import monkey; monkey.patch_all()\nimport metlog\n",
    "after": "import metlog\nfrom gevent import monkey; monkey.patch_all()\n",
    "after-configure": """
import json, os, metlog
metlog.configure(json.loads(os.environ["SETTINGS"]))
metlog.log("event", "early")     # native threads run already
metlog.flush()
from gevent import monkey; monkey.patch_all()
""",
}

GREENLETS = """
import json, os, sys, time
import gevent

if not metlog.get_client().is_active:
    metlog.configure(json.loads(os.environ["SETTINGS"]))
    metlog.log("event", "early")

def work(number):
    for each in range(20):
        metlog.log("event", f"{number}-{each}")
        gevent.sleep(0)

gevent.joinall([gevent.spawn(work, number) for number in range(20)], raise_error=True)
flushed = metlog.flush(10)
stats = metlog.stats()
print(json.dumps([flushed, stats.accepted, stats.sent]))
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "patched"), [*itertools.product(["udp", "tcp"], GEVENT), ("file", "before"), ("http", "before")]
)
def test_gevent_patched_before_and_after_the_import(kind: str, patched: str, tmp_path: Path) -> None:
    pytest.importorskip("gevent", reason="needs gevent: pip install gevent")
    with receiver(kind, tmp_path) as arrived:
        result = run(GEVENT[patched] + GREENLETS, tmp_path, {"sender": arrived.sender}, timeout=30).result
        assert result == [True, 401, 401]
        seen = arrived.wait_for(lambda seen: any(map(own, seen)))
    assert_exactly_once(seen, ["early", *(f"{number}-{each}" for number in range(20) for each in range(20))])
    assert_streams_end(seen)


GEVENT_WATCHDOG = """
from gevent import monkey; monkey.patch_all()
import json, os, time
import gevent
import metlog

metlog.configure(json.loads(os.environ["SETTINGS"]))
stop = False

def watch():
    largest, last = 0.0, time.monotonic()
    while not stop:
        gevent.sleep(0.005)
        now = time.monotonic()
        largest, last = max(largest, now - last), now
    return largest

watchdog = gevent.spawn(watch)
for number in range(100):
    metlog.log("event", "x" * 2000)
    gevent.sleep(0.01)
stop = True
print(json.dumps([watchdog.get(), metlog.stats().accepted]))
"""


@pytest.mark.parametrize("peer", ["refuses", "never-reads"])
def test_the_hub_of_gevent_goes_on_while_the_peer_does_not_take_anything(peer: str, tmp_path: Path) -> None:
    pytest.importorskip("gevent", reason="needs gevent: pip install gevent")
    settings: dict[str, Any]
    with silent_peer() as silent:
        port = closed_port() if peer == "refuses" else silent
        settings = {"sender": {"name": "tcp", "port": port}, "exit_timeout": 0.2}
        largest, accepted = run(GEVENT_WATCHDOG, tmp_path, settings).result
    assert accepted == 100
    assert largest < LARGEST_GAP
