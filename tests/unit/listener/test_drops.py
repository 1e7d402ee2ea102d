"""What the listener itself dropped is told in the lake: all of it, once, and never less than nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog.journal.cursor import Position
from metlog.journal.reader import read
from metlog.listener.config import from_mapping
from metlog.listener.drops import DROPS_TYPE, Drops
from metlog.listener.service import Service
from tests.helpers.waiting import wait_for


def sockets(*drops: int) -> dict[str, list[dict[str, Any]]]:
    return {"udp": [{"address": "udp://0.0.0.0:5565", "kernel_drops": number} for number in drops]}


def test_what_could_not_be_journaled_is_told_with_what_came_since() -> None:
    drops = Drops()
    assert [event.fields["journal_full"] for event in drops.events({}, 1000)] == [1000]
    (event,) = drops.events({}, 1500)  # the first was not taken
    assert event.fields["journal_full"] == 1500
    drops.settle()
    assert drops.events({}, 1500) == []
    assert [event.fields["journal_full"] for event in drops.events({}, 1600)] == [100]


def test_a_counter_that_begins_again_is_told_from_its_beginning() -> None:
    drops = Drops()
    drops.events(sockets(500), 0)
    drops.settle()
    assert drops.events(sockets(0), 0) == []
    drops.settle()
    assert [event.fields["kernel_drops"] for event in drops.events(sockets(7), 0)] == [7]
    drops.settle()
    drops.events({}, 1000)
    drops.settle()
    drops.begin_anew()
    assert [event.fields["journal_full"] for event in drops.events({}, 1500)] == [1500]


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.booleans()), max_size=30))
def test_all_that_was_dropped_is_told_once(steps: list[tuple[int, bool, bool]]) -> None:
    """Each step drops some, may begin with a new counter, and is journaled or not."""
    drops = Drops()
    total = dropped = told = pending = 0
    for more, anew, taken in steps:
        if anew and not pending:  # what a counter knew that nobody was told of is gone with it
            total = 0
            drops.begin_anew()
        total += more
        dropped += more
        events = drops.events({}, total)
        pending = sum(event.fields["journal_full"] for event in events)
        assert pending >= 0
        if taken:
            drops.settle()
            told, pending = told + pending, 0
    assert told + pending == dropped


@pytest.mark.process
def test_a_listener_tells_what_a_full_journal_dropped_once_it_takes_events(tmp_path: Path) -> None:
    config = from_mapping({}, data=tmp_path / "data", inputs=[{"name": "http", "port": 0}], without={"udp"})
    service = Service(config)
    service.start()
    try:
        service.journal.configure(msgspec.structs.replace(config.journal, min_free=1 << 60), config.clock)
        service.sink.frames([(b'{"type":"a"}\n{"type":"b"}\n', "test://")])
        service._tell_drops()  # as each minute
        service.sink.frames([(b'{"type":"c"}\n', "test://")])
        service._tell_drops()
        service.journal.configure(msgspec.structs.replace(config.journal, min_free=0), config.clock)
        wait_for(lambda: not service.journal.refuses)
        service._tell_drops()
        service._tell_drops()
        folder = service._folder
        told = [entry.record.lines for entry in read(folder, Position(), service.journal.end)]
        assert [lines.count(DROPS_TYPE.encode()) for lines in told] == [2]  # as type and as token
        assert b'"journal_full":3' in told[0]
    finally:
        service.stop()
