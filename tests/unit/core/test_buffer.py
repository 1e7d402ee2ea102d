"""The end of a buffer while another call of its sender is under way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from metlog import MetlogClient
from metlog.core.pipeline import Pipeline
from metlog.encoders import BaseEncoder
from metlog.encoders.json import JsonEncoder
from metlog.encoders.wire import decode
from metlog.senders import BaseSender
from tests.helpers.waiting import wait_for


class Stop(BaseException):
    """What a signal handler raises, as Ctrl-C does."""


class Single(BaseSender):
    """Takes one call at a time, and never waits, as it says; `meanwhile` is called in the first one."""

    nonblocking = True
    max_frame = 1000

    def __init__(self, meanwhile: Callable[[], Any]) -> None:
        self.meanwhile = meanwhile
        self.calls: list[list[str]] = []
        self.at_once = self.most_at_once = 0
        self.closed = False

    def send(self, frame: bytes) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.calls.append([event.type for event in decode(frame)])
        if len(self.calls) == 1:
            self.meanwhile()
        self.at_once -= 1

    def close(self) -> None:
        self.closed = True


class OneByOne(JsonEncoder):
    """A subclass has no records: events are encoded at the call."""


def counts_of(client: MetlogClient) -> Callable[[], tuple[int, int, dict[str, int]]]:
    """What tells, also after the end, how many events are sent, on their way, and dropped."""
    pipeline = client._state.pipeline
    assert isinstance(pipeline, Pipeline)

    def counts() -> tuple[int, int, dict[str, int]]:
        stats = pipeline.stats()
        assert stats.accepted == stats.sent + stats.buffered + sum(stats.dropped.values())
        return stats.sent, stats.buffered, stats.dropped

    return counts


@pytest.mark.parametrize("interval", [0.0, 600.0])
def test_the_end_is_left_out_while_another_thread_sends(interval: float) -> None:
    asked, may = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        assert may.wait(60)

    sender = Single(wait)
    client = MetlogClient.from_config({"sender": sender, "buffer": {"flush_interval": interval}})
    counts = counts_of(client)

    def work() -> None:
        client.log("first")
        client.flush(60)

    thread = threading.Thread(target=work)
    thread.start()
    assert asked.wait(60)
    client.log("second")
    client.close(0.01)
    assert sender.closed
    may.set()
    thread.join(60)
    assert (sender.calls, sender.most_at_once) == ([["first"]], 1)
    assert counts() == (1, 0, {"exit": 1})


@pytest.mark.parametrize("encoder", [JsonEncoder, OneByOne], ids=["records", "one by one"])
@pytest.mark.parametrize("interval", [0.0, 600.0])
def test_a_signal_handler_that_closes_in_the_middle_of_a_call_of_the_sender_makes_no_other(
    interval: float, encoder: type[BaseEncoder]
) -> None:
    """And what was on its way in that call is sent or counted, too."""
    sender = Single(lambda: client.close(5))
    client = MetlogClient.from_config({"sender": sender, "encoder": encoder(), "buffer": {"flush_interval": interval}})
    counts = counts_of(client)
    number = 0
    while not sender.calls:
        client.log("event", "x" * (300 + number % 2 * 200))
        number += 1
    assert sender.closed
    assert sender.most_at_once == 1
    sent, buffered, dropped = counts()
    assert (sent + dropped.get("exit", 0), buffered) == (number, 0)
    assert {kind for call in sender.calls for kind in call} == {"event"}


def test_the_end_follows_a_call_that_is_over_by_the_deadline() -> None:
    asked, may = threading.Event(), threading.Event()

    def wait() -> None:
        asked.set()
        assert may.wait(60)

    sender = Single(wait)
    client = MetlogClient.from_config({"sender": sender, "buffer": {"flush_interval": 0}})
    sending = threading.Thread(target=client.log, args=("first",))
    sending.start()
    assert asked.wait(60)
    closing = threading.Thread(target=client.close, args=(60,))
    closing.start()
    wait_for(lambda: not client.is_active)
    may.set()
    sending.join(60)
    closing.join(60)
    assert (sender.calls, sender.most_at_once) == ([["first"], ["metlog.end"]], 1)


def test_nothing_follows_the_end() -> None:
    """What is dropped afterwards is counted, and not reported: the end said how many events there were."""
    sender = Single(lambda: None)
    client = MetlogClient.from_config({"sender": sender, "buffer": {"flush_interval": 600}})
    pipeline = client._state.pipeline
    client.log("event")
    client.close()
    pipeline.counts.dropped("closed", 1)
    pipeline.drain(0.0)
    assert sender.calls == [["event"], ["metlog.end"]]


def test_what_interrupts_the_last_frame_leaves_no_sender_open() -> None:
    def interrupt() -> None:
        raise Stop

    sender = Single(interrupt)
    client = MetlogClient.from_config({"sender": sender, "buffer": {"flush_interval": 600}})
    counts = counts_of(client)
    client.log("event")
    with pytest.raises(Stop):
        client.close()
    assert sender.closed
    assert counts()[1] == 0
