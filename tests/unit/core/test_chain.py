"""What filters return decides; what is neither an event nor None is their fault, and told as theirs."""

from __future__ import annotations

from typing import Any

import pytest

from metlog import Event, MetlogClient
from metlog.filters import BaseFilter
from metlog.senders.memory import MemorySender


class Wrong(BaseFilter):
    """Returns what it was given in place of an event."""

    def __init__(self, returned: Any) -> None:
        self.returned = returned

    def __call__(self, event: Event, /) -> Event | None:
        return self.returned  # type: ignore[no-any-return]


def whether_wanted(event: Event) -> Any:
    return event.type != "noise"


class Own(Event):
    """A subclass of the application's."""


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (whether_wanted, "the filter whether_wanted returned True"),
        (Wrong(False), "the filter Wrong returned False"),
        (Wrong({"type": "a"}), "the filter Wrong returned a value of type dict"),
        (Wrong(0), "the filter Wrong returned a value of type int"),
    ],
)
@pytest.mark.parametrize("interval", [0.0, 600.0])
def test_a_filter_that_returns_no_event_is_told_and_its_events_are_filtered(
    wrong: Any, told: str, interval: float, caplog: pytest.LogCaptureFixture
) -> None:
    client = MetlogClient.from_config("memory:", filters=[wrong], buffer={"flush_interval": interval})
    client.log("one")
    client.log("two", fields={"deep": [1]})
    client.metlog("three", weight=2.0)
    assert client.flush(20)
    stats = client.stats()
    assert (stats.filtered, stats.accepted, stats.buffered, stats.errors) == (3, 0, 0, 3)
    assert f"filter_error: TypeError: {told}; it has to return the event to go on with, or None" in caplog.text
    assert not client.sender.events
    client.close()


def test_so_is_one_in_a_branch_of_a_tee() -> None:
    client = MetlogClient.from_config(
        {"sender": {"name": "tee", "senders": [{"sender": "memory:", "filters": [whether_wanted]}, "memory:"]}}
    )
    client.log("event")
    assert client.flush(20)
    assert [(branch.stats().filtered, branch.stats().sent) for branch in client.branches] == [(1, 0), (0, 1)]
    client.close()


def test_a_subclass_of_an_event_is_one() -> None:
    client = MetlogClient.from_config("memory:", filters=[lambda event: Own(type="own", fields=event.fields)])
    client.log("event", fields={"a": 1})
    assert client.flush(20)
    assert [(event.type, event.fields) for event in client.sender.events] == [("own", {"a": 1})]
    client.close()


@pytest.mark.parametrize("interval", [0.0, 600.0])
def test_an_event_that_a_filter_makes_anew_is_one_of_the_stream(interval: float) -> None:
    def anew(event: Event) -> Event:
        return Event(type="other", payload=event.payload)

    sender = MemorySender()
    client = MetlogClient.from_config(
        {
            "logger": "sync",
            "sender": sender,
            "filters": [anew],
            "buffer": {"flush_interval": interval},
            "statsd": False,
        }
    )
    client.log("login", "user logged in")
    client.close()
    event, end = sender.events
    assert (event.type, event.payload, event.logger, event.seq) == ("other", "user logged in", "sync", 1)
    assert (event.stream, event.pid, event.hostname) == (end.stream, end.pid, end.hostname)
    assert event.stream
