"""`flush_interval = 0`: each event is a frame of its own, sent before the call returns, whatever other threads do."""

from __future__ import annotations

import os
import sys
import threading
import time

import msgspec
import pytest

from metlog import MetlogClient
from metlog.testing import client_with


class Recording:
    """What arrived, in order; `send` waits for leave where there is a gate."""

    nonblocking = True
    max_frame = 8192

    def __init__(self, gate: threading.Semaphore | None = None) -> None:
        self.events: list[dict[str, int | str]] = []
        self.latest: dict[int, int] = {}
        self.gate = gate
        self.waiting = threading.Semaphore(0)

    def send(self, frame: bytes) -> None:
        if self.gate is not None:
            self.waiting.release()
            assert self.gate.acquire(timeout=20)
        for line in frame.splitlines():
            event = msgspec.json.decode(line)
            self.events.append(event)
            if "thread" in event["fields"]:
                self.latest[event["fields"]["thread"]] = event["fields"]["number"]

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def eager_switching():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.untraced
@pytest.mark.usefixtures("eager_switching")
def test_the_events_of_many_threads_are_each_sent_before_their_call_returns(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "metlog.core.buffer._LOCK_WAIT", 20.0
    )  # a busy machine takes a thread off for longer than 10 ms
    sender = Recording()
    client = client_with(sender, flush_interval=0.0)
    late: list[tuple[int, int, int]] = []

    def log(thread: int) -> None:
        for number in range(1000):
            client.log("busy", fields={"thread": thread, "number": number})
            if sender.latest[thread] != number:
                late.append((thread, number, sender.latest[thread]))

    threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert late == []
    assert client.stats().sent == 4000
    client.close()


def test_what_comes_while_another_thread_is_slow_is_sent_by_that_one_when_it_goes_on():
    """Also what comes while it sends what came meanwhile."""
    sender = Recording(gate=threading.Semaphore(0))
    client = client_with(sender, flush_interval=0.0)
    slow = threading.Thread(target=client.log, args=("first",))
    slow.start()
    assert sender.waiting.acquire(timeout=20)
    client.log("second")
    sender.gate.release()
    assert sender.waiting.acquire(timeout=20)  # the slow thread sends the second one
    client.log("third")
    for _ in range(10):
        sender.gate.release()
    slow.join(20)
    assert [event["type"] for event in sender.events] == ["first", "second", "third"]
    client.close()


def test_what_comes_while_a_flush_is_under_way_is_sent_by_it():
    sender = Recording(gate=threading.Semaphore(0))
    client = client_with(sender, flush_interval=0.0)
    slow = threading.Thread(target=client.log, args=("first",))
    slow.start()
    assert sender.waiting.acquire(timeout=20)
    client.log("second")
    flushing = threading.Thread(target=client.flush, args=(20,))
    flushing.start()
    sender.gate.release()
    assert sender.waiting.acquire(timeout=20)
    client.log("third")
    for _ in range(10):
        sender.gate.release()
    slow.join(20)
    flushing.join(20)
    assert [event["type"] for event in sender.events] == ["first", "second", "third"]
    client.close()


def test_a_sender_that_never_comes_back_costs_no_memory_without_end():
    sender = Recording(gate=threading.Semaphore(0))
    client = client_with(sender, flush_interval=0.0)
    slow = threading.Thread(target=client.log, args=("first",))
    slow.start()
    assert sender.waiting.acquire(timeout=20)
    pipeline = client._state.pipeline
    pipeline.buffer._frames.limit = 20
    for _ in range(30):
        client.log("shed")
    assert len(pipeline.buffer.pending) <= 20
    assert client.stats().dropped["buffer_full"] >= 10
    for _ in range(60):
        sender.gate.release()
    slow.join(20)
    client.flush(5)
    stats = client.stats()
    assert stats.accepted == stats.sent + stats.dropped["buffer_full"] == 31
    client.close()


def _suppressed(client: MetlogClient) -> bool:
    for _ in range(5):
        client.log("often")
    end = time.monotonic() + 20
    while not any(event.type == "suppressed" for event in client.sender.events):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_filters_that_keep_time_are_told_it_in_children_too():
    filters = [{"name": "rate_limit", "rate": 0.001, "burst": 1, "window": 0.1}]
    with MetlogClient.from_config("memory:", filters=filters, buffer={"flush_interval": 0}) as client:
        assert _suppressed(client)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = 0 if _suppressed(client) else 2
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("flush_interval", [0, 0.02])
def test_filters_that_keep_time_are_told_it_while_others_log_without_a_pause(flush_interval):
    filters = [{"name": "rate_limit", "rate": 0.001, "burst": 1, "window": 0.1, "types": ["often"]}]
    stop = threading.Event()
    with MetlogClient.from_config("memory:", filters=filters, buffer={"flush_interval": flush_interval}) as client:

        def busy() -> None:
            while not stop.is_set():
                client.log("busy", "x" * 4000)

        thread = threading.Thread(target=busy)
        thread.start()
        try:
            assert _suppressed(client)
        finally:
            stop.set()
            thread.join(20)
