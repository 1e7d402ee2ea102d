"""Real RQ workers on a real Redis: jobs much shorter than `flush_interval`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metlog.encoders.json import JsonEncoder

redis = pytest.importorskip("redis", reason="needs redis and rq: pip install redis rq")
rq = pytest.importorskip("rq", reason="needs rq: pip install rq")

JOBS = """
import os, metlog
metlog.configure("file:" + os.environ["EVENTS"], buffer={"flush_interval": 60})

def job(number):
    metlog.log(("job", "done"), fields={"number": number})
    if number == 2:
        raise ValueError("the job fails")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis of our own, on a Unix socket."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs redis-server (Debian: apt install redis-server)")
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        while not _answers(str(path)):
            assert process.poll() is None, "redis-server did not start"
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.02)
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait(10)


def _answers(path: str) -> bool:
    try:
        return bool(redis.Redis(unix_socket_path=path).ping())
    except redis.exceptions.ConnectionError:
        return False


def run(server: str, folder: Path, worker: str, *options: str) -> list[Any]:
    """Three jobs through `rq worker`; the events that arrived."""
    (folder / "jobs_of_the_test.py").write_text(JOBS)
    events = folder / "events.ndjson"
    connection = redis.Redis.from_url(server)
    connection.flushall()
    queue = rq.Queue(connection=connection)
    for number in (1, 2, 3):
        queue.enqueue("jobs_of_the_test.job", number)
    result = subprocess.run(
        [sys.executable, "-m", "rq.cli", "worker", "--burst", "-u", server, "-w", worker, "-P", str(folder), *options],
        env={"EVENTS": str(events), "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "the job fails" in result.stderr  # they did run
    return JsonEncoder().decode(events.read_bytes()) if events.exists() else []


@pytest.mark.parametrize("worker", ["MetlogWorker", "MetlogSimpleWorker", "MetlogSpawnWorker"])
def test_every_job_s_events_arrive(server: str, tmp_path: Path, worker: str) -> None:
    events = run(server, tmp_path, f"metlog.integrations.rq.{worker}")
    assert [event.fields["number"] for event in events if event.type == "job"] == [1, 2, 3]
    ends = [event for event in events if event.type == "metlog.end"]
    assert len(ends) == (1 if worker == "MetlogSimpleWorker" else 3)
    assert {event.stream for event in events} == {end.stream for end in ends}


def test_rqs_own_worker_loses_them(server: str, tmp_path: Path) -> None:
    """Why there is a worker of ours: if this ever fails, RQ has changed."""
    assert run(server, tmp_path, "rq.Worker") == []


def test_a_client_that_the_worker_configured_before_the_fork(server: str, tmp_path: Path) -> None:
    (tmp_path / "worker_of_the_test.py").write_text(
        "import jobs_of_the_test\nfrom metlog.integrations.rq import MetlogWorker\n\nclass Preloaded(MetlogWorker): pass\n"
    )
    events = run(server, tmp_path, "worker_of_the_test.Preloaded")
    assert sorted(event.fields["number"] for event in events if event.type == "job") == [1, 2, 3]
    assert len({event.stream for event in events if event.type == "job"}) == 3
