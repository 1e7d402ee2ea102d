"""The events of a record as people and programs are shown them: without what is of the journal only, and none of those that were had."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog.journal.folder import Folder
from metlog.journal.follow import Follower, events_of
from metlog.journal.segment import Clock, Record, encode_record
from metlog.journal.writer import Journal, JournalOptions

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


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    (tmp_path / "journal").mkdir()
    with Folder.root(tmp_path / "journal" / "0", create=True) as folder:
        made = Journal(folder, JournalOptions(min_free=0, sync_interval=0.001, segment_age=3600.0), Clock())
        try:
            yield made
        finally:
            made.close()
            made.release()


def append(journal: Journal, number: int) -> None:
    journal.wait(journal.append(encode_record(1, 1, b"test://", b"", b'{"type":"a","seq":%d}\n' % number)))


def deliver(journal: Journal) -> None:
    """As when every output has had all there is: the segment is sealed and removed."""
    end = journal.rotate()
    journal.retire(end.number)


def test_a_segment_that_is_removed_between_two_looks_is_read_to_its_end(journal: Journal, tmp_path: Path) -> None:
    append(journal, 0)
    before = len(os.listdir("/proc/self/fd"))
    with Follower(tmp_path) as follower:
        assert follower.read() == []
        seen = []
        for number in range(1, 40, 2):
            append(journal, number)
            deliver(journal)
            append(journal, number + 1)
            seen += [event["seq"] for event in follower.read()]
        assert seen == list(range(1, 41))
        assert follower.read() == []
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert len(os.listdir("/proc/self/fd")) <= before + 1
