"""Several ways out for one event: they end, and begin anew in a forked child, together and each for itself."""

from __future__ import annotations

import os
from typing import Any

import pytest

from metlog import MetlogClient
from metlog.core import lifecycle
from metlog.core.living import Living
from metlog.senders import BaseSender
from metlog.senders.memory import MemorySender


def tee(*senders: Any, **more: Any) -> MetlogClient:
    return MetlogClient.from_config({"sender": {"name": "tee", "senders": [*senders]}, **more})


def types(client: MetlogClient) -> list[list[str]]:
    return [[event.type for event in branch.sender.events] for branch in client.branches]


def test_what_filters_add_at_the_end_of_the_process_reaches_every_branch(live: Living[Any]) -> None:
    """Branches have no order of their own: each try finds them in another one."""
    for _ in range(10):
        client = tee("memory:", "memory:", filters=[{"name": "rate_limit", "rate": 1}])
        branches = client.branches
        for _ in range(5):
            client.log("event")
        lifecycle.close_all()
        assert [branch.stats().dropped for branch in branches] == [{}, {}]
        assert types(client) == [["event", "suppressed", "metlog.end"]] * 2
        client.close()


def test_a_branch_is_closed_and_flushed_with_the_whole(live: Living[Any]) -> None:
    client = tee("memory:", "memory:")
    assert list(live) == [client._state.pipeline]
    client.log("event")
    assert lifecycle.flush_all(20)
    assert types(client) == [["event"]] * 2
    client.close()


class Stop(BaseException):
    """What a signal handler raises, as Ctrl-C does."""


class Stubborn(BaseSender):
    """Raises whatever happens."""

    nonblocking = True

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def send(self, frame: bytes) -> None:
        raise self.error

    def after_fork(self) -> None:
        raise self.error


def test_a_branch_that_is_interrupted_at_the_end_keeps_no_other_from_its_own() -> None:
    kept = MemorySender()
    later = {"flush_interval": 600}
    client = tee({"sender": Stubborn(Stop()), "buffer": later}, {"sender": kept, "buffer": later})
    client.log("event")
    with pytest.raises(Stop):
        client.close()
    assert kept.closed
    assert [event.type for event in kept.events] == ["event", "metlog.end"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # other threads may be running
def test_a_branch_that_raises_after_a_fork_keeps_no_other_from_its_own() -> None:
    client = tee(Stubborn(ValueError("no")), "memory:")
    client.log("parent's")
    branch = client.branches[1]
    before = branch.stream.id
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        client.log("child's")
        branch.flush(0.0)
        seen = [event.type for event in branch.sender.events]
        os.write(theirs, repr((branch.stream.id != before, branch.stats().accepted, seen)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(theirs)
    assert os.read(ours, 1000).decode() == repr((True, 1, ["child's"]))
    os.close(ours)
    client.close()
