"""Real Celery workers: on a broker of files, and on a real Redis; every pool that runs here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import metlog
from metlog import MetlogClient
from metlog.encoders.json import JsonEncoder

celery = pytest.importorskip("celery", reason="needs celery: pip install celery")

TASKS = """
import os, metlog
from celery import Celery
from metlog.integrations.celery import install

app = Celery("shop", broker=os.environ["BROKER"], set_as_current=True)
if app.conf.broker_url.startswith("filesystem"):
    folder = os.environ["FOLDER"]
    app.conf.broker_transport_options = {
        "data_folder_in": folder, "data_folder_out": folder, "control_folder": folder + "/control", "polling_interval": 0.1,
    }
app.conf.worker_prefetch_multiplier = 1
app.conf.broker_connection_retry_on_startup = True
metlog.configure("file:" + os.environ["EVENTS"], buffer={"flush_interval": 600})
install(exclude=("shop.quiet*",))

@app.task(name="shop.work", bind=True, max_retries=1)
def work(self, number):
    metlog.log("own", fields={"number": number})
    if number == 2:
        raise ValueError("the task fails")
    if number == 3:
        raise self.retry(countdown=0, exc=KeyError("again"))

@app.task(name="shop.quiet.one")
def quiet(): metlog.log("own", fields={"number": 100})
"""
COUNT = 6


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    redis = pytest.importorskip("redis", reason="needs redis: pip install redis")
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs redis-server (Debian: apt install redis-server)")
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "redis.sock"
    process = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 10
        while True:
            try:
                redis.Redis(unix_socket_path=str(path)).ping()
                break
            except redis.exceptions.ConnectionError:
                assert time.monotonic() < end, "redis-server does not answer"
                time.sleep(0.02)
        yield f"redis+socket://{path}"
    finally:
        process.terminate()
        process.wait(10)


def events_of(folder: Path) -> list[Any]:
    path = folder / "events.ndjson"
    return JsonEncoder().decode(path.read_bytes()) if path.exists() else []


def environment(folder: Path, broker: str) -> dict[str, str]:
    (folder / "shop.py").write_text(TASKS)
    return {
        **os.environ,
        "BROKER": broker,
        "FOLDER": str(folder / "broker"),
        "EVENTS": str(folder / "events.ndjson"),
        "PYTHONPATH": str(folder),
    }


def give(folder: Path, broker: str) -> None:
    """Every task to the broker."""
    (folder / "broker").mkdir()
    tasks = f"import shop; [shop.work.delay(n) for n in range({COUNT})]; shop.quiet.delay()"
    subprocess.run([sys.executable, "-c", tasks], env=environment(folder, broker), check=True, timeout=60)
    (folder / "events.ndjson").unlink(missing_ok=True)  # what the one that gave the tasks said


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A broker of files with every task."""
    folder = tmp_path_factory.mktemp("given")
    give(folder, "filesystem://")
    return folder / "broker"


def run(folder: Path, broker: str, *options: str) -> list[Any]:
    """What arrived from a worker that was told to stop when all tasks had run."""
    environ = environment(folder, broker)
    log = folder / "worker.log"
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "shop",
        "worker",
        "-l",
        "INFO",
        "--without-gossip",
        "--without-mingle",
        *options,
    ]
    with log.open("wb") as out:
        worker = subprocess.Popen(command, env=environ, cwd=folder, stdout=out, stderr=out)
        try:
            end = time.monotonic() + 60
            # a worker that is told to stop gives back tasks that it has not begun: wait for the end of each, also of those that fail
            while log.read_text().count("] succeeded") < COUNT - 1 or log.read_text().count("raised unexpected") < 2:
                assert worker.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
            worker.send_signal(signal.SIGTERM)
            worker.wait(30)
        finally:
            worker.kill()
            worker.wait(10)
    return events_of(folder)


@pytest.mark.parametrize(
    "options",
    [
        ("-P", "prefork", "-c", "2"),
        ("-P", "prefork", "-c", "2", "--max-tasks-per-child", "1"),
        ("-P", "prefork", "-c", "1", "--max-memory-per-child", "1"),
        ("-P", "solo"),
        ("-P", "threads", "-c", "2"),
    ],
    ids=["prefork", "a process a task", "too much memory", "solo", "threads"],
)
def test_every_event_of_every_task_arrives(tmp_path: Path, given: Path, options: tuple[str, ...]) -> None:
    shutil.copytree(given, tmp_path / "broker")
    check(run(tmp_path, "filesystem://", *options))


def test_on_redis(tmp_path: Path, redis_url: str) -> None:
    give(tmp_path, redis_url)
    check(run(tmp_path, redis_url, "-P", "prefork", "-c", "2", "--max-tasks-per-child", "1"))


def check(found: list[Any]) -> None:
    own = sorted(event.fields["number"] for event in found if event.type == "own")
    assert own == sorted([*range(COUNT), 3, 100])  # number 3 is tried twice
    tasks = [event for event in found if event.type == "task"]
    states = sorted(event.fields["state"] for event in tasks)
    assert states == sorted(["SUCCESS"] * (COUNT - 2) + ["FAILURE", "RETRY", "FAILURE"])
    assert {event.tokens for event in tasks} == {("task", "shop.work")}
    ids = {event.fields["task_id"] for event in tasks}
    assert len(ids) == COUNT
    assert {event.fields["task_id"] for event in found if event.type == "own" and event.fields["number"] != 100} == ids
    failed = [event for event in tasks if event.severity == 3]
    assert {event.fields["exception_type"] for event in failed} == {"ValueError", "KeyError"}
    assert all("Traceback" in event.fields["traceback"] for event in failed)
    assert {event.fields["retries"] for event in tasks} == {0, 1}
    assert all(event.fields["ms"] >= 0 for event in tasks)
    ends = {event.stream for event in found if event.type == "metlog.end"}
    assert {event.stream for event in found} == ends  # each process told the end of its stream


@pytest.fixture
def client() -> Iterator[MetlogClient]:
    made = MetlogClient.from_config("memory:")
    yield made
    made.close()


def test_eager_tasks_and_tasks_in_tasks(client: MetlogClient) -> None:
    from metlog.integrations.celery import install

    app = celery.Celery("eager", broker="memory://", set_as_current=False)
    app.conf.task_always_eager = True

    @app.task(name="inner")
    def inner() -> None:
        client.log("in")

    @app.task(name="outer")
    def outer() -> None:
        inner.delay()
        client.log("out")

    install(client)
    install(client)  # connected once
    outer.delay()
    client.log("after")
    client.flush(5)
    shown = [(event.type, event.fields.get("task"), event.fields.get("task_id")) for event in client.sender.events]
    names = [(kind, task) for kind, task, _ in shown]
    assert names == [("in", "inner"), ("task", "inner"), ("out", "outer"), ("task", "outer"), ("after", None)]
    assert shown[0][2] == shown[1][2] != shown[2][2] == shown[3][2]
    assert metlog.core.context.current.get() is None  # type: ignore[attr-defined]


def test_a_text_in_place_of_names_is_refused(client: MetlogClient) -> None:
    """Each of its letters would be a name, and a `*` among them everything."""
    from metlog.integrations.celery import install

    with pytest.raises(metlog.ConfigError, match=r"exclude = 'shop\.quiet\*': wants a list; write \['shop\.quiet\*'\]"):
        install(client, exclude="shop.quiet*")
