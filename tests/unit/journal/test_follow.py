"""The events of a record as people and programs are shown them: without what is of the journal only, and none of those that were had."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog.journal.follow import events_of
from metlog.journal.segment import Clock, Record

LINES = st.lists(
    st.sampled_from([b'{"type":"a"}', b'{"type":"b","payload":"x\\ny"}', b"not an event", b"{}", b""]), max_size=8
)


def record(lines: list[bytes], source: str = "test://") -> Record:
    return Record(0, 0, 10**15, len(lines), source, "", b"".join(line + b"\n" for line in lines))


@given(LINES, st.integers(0, 9))
def test_lines_that_were_had_are_left_out_also_behind_what_is_no_event(lines: list[bytes], skip: int) -> None:
    whole = [event["type"] for line in lines for event in events_of(record([line]), Clock())]
    rest = [event["type"] for line in lines[skip:] for event in events_of(record([line]), Clock())]
    assert [event["type"] for event in events_of(record(lines), Clock())] == whole
    assert [event["type"] for event in events_of(record(lines), Clock(), skip=skip)] == rest


@pytest.mark.parametrize(
    ("source", "shown"),
    [("kafka://t/0#ab12.0.5.1", "kafka://t/0"), ("udp://192.0.2.7:1", "udp://192.0.2.7:1"), ("x://a#b", "x://a#b")],
)
def test_the_source_is_shown_without_the_offsets_of_the_journal(source: str, shown: str) -> None:
    (event,) = events_of(record([b'{"type":"a"}'], source), Clock())
    assert event["source"] == shown
