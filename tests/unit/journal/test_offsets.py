"""Offsets in the journal's records."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metlog.journal.offsets import Partition, Run, Spans, clean_source, first_only, run_of
from metlog.journal.rows import pieces_of
from metlog.journal.segment import Record

PARTITION = Partition("events.v1-x_y", "0123abcdef45", 3)
ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


def record(first: int, messages: int, each: int = 1, begin: int | None = None) -> Record:
    run = Run(PARTITION, first if begin is None else begin, first, each)
    lines = b"".join(
        b'{"type":"t","seq":%d}\n' % (offset * 100 + n)
        for offset in range(first, first + messages)
        for n in range(each)
    )
    return Record(0, 0, 0, messages * each, run.source(), "", lines)


def test_a_source_says_what_was_put_into_it() -> None:
    run = Run(PARTITION, 90, 100, 7)
    assert run_of(run.source()) == run
    assert run.end(21) == 103
    assert clean_source(run.source()) == "kafka://events.v1-x_y/3"


def test_other_sources_are_no_runs() -> None:
    for source in ("udp://127.0.0.1:1", "", "kafka://a/1", "kafka://a/b#1.2.3.4", "kafka://a/1#zz.1.1.1"):
        assert run_of(source) is None
    assert clean_source("udp://h:1#x") == "udp://h:1#x"


@given(ranges, st.integers(0, 60), st.integers(0, 60))
def test_spans_are_a_set_of_numbers(pairs: list[tuple[int, int]], low: int, high: int) -> None:
    spans, model = Spans(), set[int]()
    for begin, end in pairs:
        spans.add(begin, end)
        model |= set(range(begin, end))
    assert {number for begin, end in spans.ranges for number in range(begin, end)} == model
    assert all(before[1] < after[0] for before, after in zip(spans.ranges, spans.ranges[1:], strict=False))
    wanted = set(range(low, high))
    assert {n for begin, end in spans.overlapping(low, high) for n in range(begin, end)} == model & wanted
    if low < high:
        assert {n for begin, end in spans.missing(low, high) for n in range(begin, end)} == wanted - model


@given(ranges, ranges)
def test_a_merge_has_both(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    assert Spans(left).merge(Spans(right)) == Spans([*left, *right])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10), st.just(1)), max_size=8), st.integers(1, 3))
def test_every_message_comes_once_however_it_is_read_again(reads: list[tuple[int, int, int]], each: int) -> None:
    records = [record(first, count, each) for first, count, _ in reads]
    seen: dict[Partition, Spans] = {}
    lines = [line for found in first_only(records, seen) for line in found.events.splitlines()]
    whole = {line for found in records for line in found.events.splitlines()}
    assert sorted(lines) == sorted(whole)
    for found in first_only(records, {}):
        assert found.count == len(found.events.splitlines())
        run = run_of(found.source)
        assert run is not None
        assert found.events.startswith(b'{"type":"t","seq":%d}' % (run.first * 100))
    offsets = {first + n for first, count, _ in reads for n in range(count)}
    assert {n for begin, end in seen.get(PARTITION, Spans()).ranges for n in range(begin, end)} == offsets


def test_offsets_without_events_count_as_seen() -> None:
    seen: dict[Partition, Spans] = {}
    assert len([*first_only([record(10, 2, begin=5)], seen)]) == 1
    assert seen[PARTITION].ranges == [(5, 12)]


@given(st.integers(1, 30), st.integers(1, 400), st.sampled_from([1, 1, 5]))
def test_a_record_in_pieces_keeps_its_offsets(messages: int, size: int, each: int) -> None:
    whole = record(100, messages if each == 1 else 1, each)
    found = []
    for piece in pieces_of(whole, size):
        run = run_of(piece.source)
        assert run is not None
        found += [run.first + index // run.each for index in range(piece.count)]
    assert found == [100 + index // each for index in range(whole.count)]
