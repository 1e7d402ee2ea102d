"""Children that live shortly: multiprocessing in all three ways, pools and executors. `flush_interval` is ten minutes in all of
them, so that only the end of the process can have sent what they logged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.programs import run
from tests.helpers.receivers import assert_exactly_once, assert_streams_end, receiver, streams

METHODS = ["fork", "spawn", "forkserver"]

HEAD = """
import concurrent.futures, json, multiprocessing, os, sys, time
"""

AT_IMPORT = """
import metlog
metlog.configure(json.loads(os.environ["SETTINGS"]))

def prepare(): ...
"""

IN_THE_CHILD = """
def prepare():
    global metlog
    import metlog
    if not metlog.get_client().is_active:
        metlog.configure(json.loads(os.environ["SETTINGS"]))
"""

IMPORTED_FIRST = """
import metlog

def prepare():
    if not metlog.get_client().is_active:
        metlog.configure(json.loads(os.environ["SETTINGS"]))
"""

PROCESSES = """
def work(number, how):
    prepare()
    for each in range(3):
        metlog.log("child", f"{number}-{each}")
    if how == "exit":
        sys.exit(5)
    if how == "raise":
        raise SystemError("on purpose")

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    children = [context.Process(target=work, args=(number, how)) for number, how in enumerate(["", "exit", "raise"])]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print(json.dumps([child.exitcode for child in children]))
"""

EXECUTOR = """
def work(number):
    prepare()
    metlog.log("task", f"{number}")

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        list(executor.map(work, range(20)))
    print(json.dumps("done"))
"""

POOL = """
def work(number):
    prepare()
    metlog.log("task", f"{number}")

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    pool = context.Pool(2, maxtasksperchild=4)
    pool.map(work, range(20), chunksize=2)
    pool.close()
    pool.join()
    print(json.dumps("done"))
"""


def settings(sender: dict[str, Any]) -> dict[str, Any]:
    return {"sender": sender, "buffer": {"flush_interval": 600}}


@pytest.mark.parametrize(
    ("method", "configured"),
    [
        *((method, AT_IMPORT) for method in METHODS),
        ("fork", IN_THE_CHILD),
        ("forkserver", IN_THE_CHILD),
        ("forkserver", IMPORTED_FIRST),
    ],
    ids=["fork", "spawn", "forkserver", "fork-late", "forkserver-late", "forkserver-imported"],
)
def test_a_multiprocessing_child_leaves_nothing_unsent(method: str, configured: str, tmp_path: Path) -> None:
    with receiver("udp", tmp_path) as arrived:
        ended = run(HEAD + configured + PROCESSES, tmp_path, settings(arrived.sender), method)
        assert ended.result == [0, 5, 1], "and keeps its exit code"
        seen = arrived.wait_for(lambda seen: len(seen) == 12)
    assert_exactly_once(seen, [f"{number}-{each}" for number in range(3) for each in range(3)])
    assert_streams_end(seen)
    assert len(streams(seen)) == 3


@pytest.mark.parametrize("work", [EXECUTOR, POOL], ids=["ProcessPoolExecutor", "Pool"])
@pytest.mark.parametrize("method", METHODS)
def test_workers_of_pools_leave_nothing_unsent(method: str, work: str, tmp_path: Path) -> None:
    with receiver("file", tmp_path) as arrived:  # behind a queue: the thread that sends is to be started at the end
        run(HEAD + AT_IMPORT + work, tmp_path, settings(arrived.sender), method)
        seen = arrived.seen()
    assert_exactly_once(seen, [f"{number}" for number in range(20)])
    assert_streams_end(seen)
    assert len(streams(seen)) >= (2 if work == POOL else 1)


@pytest.mark.parametrize("late", [False, True], ids=["first", "after metlog"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("library", ["billiard", "multiprocess"])
@pytest.mark.parametrize("work", [PROCESSES, POOL], ids=["Process", "Pool"])
def test_libraries_with_the_same_processes(library: str, work: str, method: str, late: bool, tmp_path: Path) -> None:
    """billiard is Celery's, multiprocess that of pathos and datasets."""
    pytest.importorskip(library)
    head = HEAD.replace("multiprocessing,", "").replace("concurrent.futures,", "")
    imported = f"import {library} as multiprocessing\n"
    program = head + (AT_IMPORT + imported if late else imported + AT_IMPORT) + work
    with receiver("udp", tmp_path) as arrived:
        ended = run(program, tmp_path, settings(arrived.sender), method)
        if work == PROCESSES:
            assert ended.result == [0, 5, 1]
            seen = arrived.wait_for(lambda seen: len(seen) >= 12)
            assert_exactly_once(seen, [f"{number}-{each}" for number in range(3) for each in range(3)])
        else:
            seen = arrived.wait_for(lambda seen: sum(event.type == "task" for event in seen) >= 20)
            assert_exactly_once(seen, [f"{number}" for number in range(20)])
    assert_streams_end(seen)


PRELOADED = """
def work(number):
    metlog.log("child", f"{number}")

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__"])
    children = [context.Process(target=work, args=(number,)) for number in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print(json.dumps([child.exitcode for child in children]))
"""


def test_children_of_a_fork_server_that_has_metlog_configured_already(tmp_path: Path) -> None:
    with receiver("udp", tmp_path) as arrived:
        assert run(HEAD + AT_IMPORT + PRELOADED, tmp_path, settings(arrived.sender)).result == [0] * 4
        seen = arrived.wait_for(lambda seen: len(seen) == 8)
    assert_exactly_once(seen, [f"{number}" for number in range(4)])
    assert_streams_end(seen)
    assert len(streams(seen)) == 4


NESTED = """
def leaf(number):
    metlog.log("leaf", f"leaf {number}")

def work(method, number):
    metlog.log("child", f"child {number}")
    child = multiprocessing.get_context(method).Process(target=leaf, args=(number,))
    child.start()
    child.join()
    assert child.exitcode == 0

if __name__ == "__main__":
    children = [multiprocessing.get_context(sys.argv[1]).Process(target=work, args=(sys.argv[1], n)) for n in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print(json.dumps([child.exitcode for child in children]))
"""


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_children_of_children(method: str, tmp_path: Path) -> None:
    with receiver("udp", tmp_path) as arrived:
        assert run(HEAD + AT_IMPORT + NESTED, tmp_path, settings(arrived.sender), method).result == [0, 0]
        seen = arrived.wait_for(lambda seen: len(seen) == 8)
    assert_exactly_once(seen, [f"{kind} {number}" for kind in ("leaf", "child") for number in range(2)])
    assert_streams_end(seen)


TERMINATED = """
def prepare_worker():
    metlog.flush_on_signal()

def work(number):
    metlog.log("task", f"{number}")

if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(2, prepare_worker) as pool:   # its end is SIGTERM to the workers
        pool.map(work, range(20), chunksize=2)
    print(json.dumps("done"))
"""


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_flush_on_signal_saves_the_events_of_workers_that_a_pool_terminates(method: str, tmp_path: Path) -> None:
    """A worker that is told to end in the very moment in which it begins to wait hears of it when its waiting ends: so it is with every
    handler that is written in Python. That happens once in some hundred runs, and then the pool waits for ever."""
    with receiver("file", tmp_path) as arrived:
        for attempt in range(3):
            (tmp_path / "events.ndjson").unlink(missing_ok=True)
            try:
                run(HEAD + AT_IMPORT + TERMINATED, tmp_path, settings(arrived.sender), method, timeout=20)
                break
            except AssertionError as error:
                if attempt == 2 or "synchronize.py" not in str(error):
                    raise
        assert_exactly_once(arrived.application(20), [f"{number}" for number in range(20)])
