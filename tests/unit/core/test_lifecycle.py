"""What runs at a fork, at a flush of everything and at the end: a part that raises keeps no other part from its own."""

from __future__ import annotations

import math
import os
from time import monotonic
from typing import Any

import pytest

from metlog import MetlogClient
from metlog.core import lifecycle
from metlog.core.living import Living
from metlog.core.stats import Counts
from metlog.senders.memory import MemorySender


class Part:
    exit_timeout = 0.0

    def __init__(self, fails: bool) -> None:
        self.fails = fails
        self.pid = os.getpid()
        self.counts = Counts()
        self.calls: list[str] = []
        self.deadlines: list[float] = []

    def drain(self, deadline: float) -> None:
        self._called("drain", deadline)

    def flush(self, deadline: float) -> bool:
        self._called("flush", deadline)
        return True

    def close(self, deadline: float) -> None:
        self._called("close", deadline)

    def _called(self, name: str, deadline: float) -> None:
        self.calls.append(name)
        self.deadlines.append(deadline)
        if self.fails:
            raise ValueError("a stranger's part")

    def after_fork(self) -> None:
        if self.fails:
            raise ValueError("a stranger's part")
        self.pid = os.getpid()


@pytest.fixture
def parts(live: Living[Any]) -> list[Part]:
    """Eight that have no order: some good ones come behind bad ones."""
    parts = [Part(fails=number % 2 == 0) for number in range(8)]
    for part in parts:
        live.add(part)
    return parts


def test_a_part_that_raises_when_all_is_flushed_counts_it_and_keeps_no_other_from_its_own(
    parts: list[Part], caplog: pytest.LogCaptureFixture
) -> None:
    client = MetlogClient.from_config({"sender": "memory:", "buffer": {"flush_interval": 600}})
    client.log("event")
    assert not lifecycle.flush_all(20)
    assert client.stats().sent == 1
    assert {(*part.calls,) for part in parts} == {("drain", "flush")}
    assert [part.counts.errors for part in parts] == [2, 0] * 4
    assert caplog.text.count("flush_error: ValueError: a stranger's part") == 4
    client.close()


def test_a_part_that_raises_at_the_end_counts_it_and_keeps_no_other_from_its_own(
    parts: list[Part], caplog: pytest.LogCaptureFixture
) -> None:
    sender = MemorySender()
    client = MetlogClient.from_config({"sender": sender, "buffer": {"flush_interval": 600}})
    client.log("event")
    lifecycle.close_all()
    assert [event.type for event in sender.events] == ["event", "metlog.end"]
    assert sender.closed
    assert {(*part.calls,) for part in parts} == {("drain", "close")}
    assert [part.counts.errors for part in parts] == [2, 0] * 4
    assert caplog.text.count("close_error: ValueError: a stranger's part") == 4
    client.close()


@pytest.mark.parametrize(
    ("timeout", "least", "most"), [(None, 0, 0), (50, 50, 50), (math.inf, 1e6, 1e6), (-1, 0, 0), (math.nan, 0, 0)]
)
def test_all_share_one_deadline(parts: list[Part], timeout: float | None, least: float, most: float) -> None:
    before = monotonic()
    lifecycle.close_all(timeout)
    deadlines = {deadline for part in parts for deadline in part.deadlines}
    assert len(deadlines) == 1
    assert least <= deadlines.pop() - before <= most + monotonic() - before


def test_a_part_that_raises_after_a_fork_keeps_no_other_from_its_own(parts: list[Part]) -> None:
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.write(theirs, bytes(part.pid == os.getpid() for part in parts))
        os._exit(0)
    os.waitpid(child, 0)
    os.close(theirs)
    assert os.read(ours, 100) == bytes(not part.fails for part in parts)
    os.close(ours)
