"""A background thread is started once, whoever asks for it meanwhile."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from metlog import MetlogClient
from metlog.core import worker as module
from metlog.core.worker import Worker
from metlog.senders import BaseSender
from tests.helpers.waiting import wait_for


class Task:
    """What the thread does: it counts its starts, and lasts until it is told to end."""

    def __init__(self) -> None:
        self.starts = 0
        self.end = threading.Event()

    def __call__(self) -> None:
        self.starts += 1
        self.end.wait(60)


@pytest.fixture
def task() -> Iterator[Task]:
    task = Task()
    yield task
    task.end.set()


def in_the_place_of_start(monkeypatch: pytest.MonkeyPatch, start: Callable[[threading.Thread], None]) -> None:
    class Thread(threading.Thread):
        def start(self) -> None:
            start(self)

    class Module:
        Lock = threading.Lock

    Module.Thread = Thread  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "threading", Module)


def test_who_asks_while_it_is_being_started_does_not_wait_and_starts_no_other(
    monkeypatch: pytest.MonkeyPatch, task: Task
) -> None:
    """As a signal handler does that logs in that moment."""
    worker = Worker(task, "test")
    meanwhile: list[bool] = []

    def start(thread: threading.Thread) -> None:
        if len(meanwhile) < 10:
            meanwhile.append(worker.start())
        threading.Thread.start(thread)

    in_the_place_of_start(monkeypatch, start)
    assert worker.start()
    assert meanwhile == [True]
    assert worker.start()
    wait_for(lambda: task.starts)
    assert task.starts == 1


def test_where_no_thread_can_be_started_it_says_so_and_tries_again(monkeypatch: pytest.MonkeyPatch, task: Task) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    worker = Worker(task, "test")
    with monkeypatch.context() as patch:
        in_the_place_of_start(patch, start)
        assert not worker.start()
        assert not worker.start()
        worker.join(0)
    assert worker.start()
    wait_for(lambda: task.starts)


def test_a_thread_that_has_ended_is_started_again(task: Task) -> None:
    worker = Worker(task, "test")
    worker.join(0)
    assert worker.start()
    wait_for(lambda: task.starts)
    task.end.set()
    worker.join(60)
    assert worker.start()
    wait_for(lambda: task.starts == 2)
    worker.join(60)


class Queued(BaseSender):
    """A sender behind a queue, and so with a thread."""

    def send(self, frame: bytes) -> None: ...


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("name", "call"),
    [("metlog-flusher", lambda client: client.log("event")), ("metlog-sender", lambda client: client.flush(20))],
)
def test_a_client_has_one_thread_of_a_kind_whoever_is_the_first(name: str, call: Callable[[MetlogClient], Any]) -> None:
    before = set(threading.enumerate())

    def started() -> list[threading.Thread]:
        return [thread for thread in set(threading.enumerate()) - before if thread.name == name]

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5):
            client = MetlogClient.from_config({"sender": Queued()})
            start = threading.Barrier(12)

            def work(client: MetlogClient = client, start: threading.Barrier = start) -> None:
                start.wait(60)
                call(client)

            threads = [threading.Thread(target=work) for _ in range(12)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(started()) == 1
            client.close()
            wait_for(lambda: not started())
    finally:
        sys.setswitchinterval(usual)
