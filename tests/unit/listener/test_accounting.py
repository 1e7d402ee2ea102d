"""Loss accounting in the listener: against a count by hand, and in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog.event import END_TYPE, REPORT_TYPE
from metlog.journal.rows import Row
from metlog.listener import metrics
from metlog.listener.accounting import Accounting


def rows(stream: str, *seqs: int, type: str = "a", **fields: Any) -> list[Row]:
    return [Row(type=type, stream=stream, seq=seq, fields=fields) for seq in seqs]


def counts(accounting: Accounting) -> tuple[int, int, int, int]:
    found = accounting.stats()
    return found["received"], found["lost"], found["repeated"], found["reordered"]


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([[1, 2, 3], [4, 5]], (5, 0, 0, 0)),
        ([[1, 2], [5, 6]], (4, 2, 0, 0)),
        ([[1, 2], [5, 6], [3, 4]], (6, 0, 0, 2)),
        ([[1, 2, 2, 3]], (4, 0, 1, 0)),
        ([[1, 2], [1, 2]], (4, 0, 2, 0)),
        ([[1, 3, 3, 4]], (4, 1, 1, 0)),  # its ends and its length look like 1, 2, 3, 4
        ([[1, 5], [2, 3], [3]], (5, 1, 1, 2)),
        ([[7, 8], [10]], (3, 1, 0, 0)),  # a stream that was there before
        ([[7], [3]], (2, 0, 1, 0)),
        ([[0, 0, 0]], (0, 0, 0, 0)),  # not numbered
        ([[1], [5_000_000], [5_000_001]], (3, 0, 0, 0)),  # no loss: it counts anew
        ([[-3, 1, 2]], (2, 0, 0, 0)),
        ([[1, 2, 3], [2, 3, 4, 5]], (7, 0, 2, 0)),
    ],
)
def test_counted_by_hand(batches: list[list[int]], expected: tuple[int, int, int, int]) -> None:
    accounting = Accounting(10)
    for batch in batches:
        accounting.note(rows("s", *batch))
    assert counts(accounting) == expected


def test_streams_are_told_apart_within_a_batch() -> None:
    accounting = Accounting(10)
    accounting.note([row for pair in zip(rows("a", 1, 2, 4), rows("b", 1, 2, 3), strict=True) for row in pair])
    assert counts(accounting) == (6, 1, 0, 0)
    assert accounting.stats()["streams"] == 2
    accounting.note([*rows("a", 5), Row(type="x", stream="", seq=9), *rows("b", 4)])
    assert counts(accounting) == (8, 1, 0, 0)


def test_what_clients_say_they_dropped_are_totals() -> None:
    accounting = Accounting(10)
    accounting.note(rows("s", 1, type=REPORT_TYPE, dropped={"queue_full": 5}))
    accounting.note(rows("s", 2, type=REPORT_TYPE, dropped={"queue_full": 7, "send_error": 1}))
    accounting.note(rows("s", 3, type=END_TYPE, last_seq=2, dropped={"queue_full": 7, "send_error": 1}))
    accounting.note(rows("t", 1, type=END_TYPE, last_seq=0, dropped={"queue_full": 2, "odd": "x", "wild": 1 << 62}))
    accounting.note(rows("u", 1, type=END_TYPE, dropped="none"))
    found = accounting.stats()
    assert found["dropped_by_client"] == {"queue_full": 9, "send_error": 1}
    assert (found["ended"], found["streams"]) == (3, 3)


@pytest.mark.slow
def test_any_number_of_streams_takes_the_memory_of_those_that_are_remembered() -> None:
    accounting = Accounting(2_000)

    def note(numbers: range) -> int:
        for n in numbers:
            accounting.note([Row(type="a", stream=f"stream-{n}", seq=1)])
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    filled = note(range(4_000))
    grown = note(range(4_000, 40_000))
    tracemalloc.stop()
    assert grown < filled * 1.1
    assert filled < 2_000 * 500  # bytes of a stream that is remembered
    found = accounting.stats()
    assert (found["streams"], found["forgotten"]) == (40_000, 38_000)
    # The last that were heard of are remembered, and a forgotten one begins anew without a loss.
    accounting.note(rows("stream-39999", 3))
    assert accounting.stats()["lost"] == 1
    accounting.note(rows("stream-0", 500))
    assert (accounting.stats()["lost"], accounting.stats()["joined"]) == (1, 1)


def test_gaps_and_reasons_of_a_hostile_stream_are_bounded() -> None:
    accounting = Accounting(10)
    accounting.note(rows("s", *range(1, 200_000, 2)))
    assert accounting.stats()["lost"] == 99_999
    stream = accounting._streams["s"]
    assert len(stream.gaps) <= 32
    for n in range(1000):
        accounting.note(rows("s", 200_001 + n, type=REPORT_TYPE, dropped={f"reason {n}": 1}))
    assert len(accounting.stats()["dropped_by_client"]) <= 51
    assert len(accounting._streams["s"].dropped) <= 51


@given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=12), max_size=12))
def test_any_order_of_arrival_is_counted_right(batches: list[list[int]]) -> None:
    accounting = Accounting(10)
    accounting.note(rows("s", 1))
    seen: Counter[int] = Counter([1])
    reordered = 0
    for batch in batches:
        for seq in batch:
            reordered += seq not in seen and seq < max(seen)
            seen[seq] += 1
        accounting.note(rows("s", *batch))
    expected = (seen.total(), max(seen) - len(seen), seen.total() - len(seen), reordered)
    assert counts(accounting) == expected


def test_the_figures_are_metrics() -> None:
    accounting = Accounting(10)
    accounting.note(rows("s", 1, 2, 5, 5, 3))
    accounting.note(rows("s", 6, type=END_TYPE, dropped={"queue_full": 4}))
    sockets: dict[str, Sequence[dict[str, Any]]] = {
        "udp": [{"address": "udp://[::1]:5", "kernel_drops": 0}, {"address": "udp://[::1]:5", "kernel_drops": 17}]
    }
    status = {"health": [], "delivery": accounting.stats(), "sockets": sockets}
    page = metrics.render(metrics.of_listener(status)).decode().splitlines()
    for line in (
        "metlog_delivery_received_total 6",
        "metlog_delivery_lost 1",
        "metlog_delivery_repeated_total 1",
        "metlog_delivery_reordered_total 1",
        "metlog_delivery_streams_total 1",
        "metlog_delivery_ended_total 1",
        'metlog_delivery_dropped_by_client_total{reason="queue_full"} 4',
        'metlog_socket_kernel_drops_total{input="udp",socket="0"} 0',
        'metlog_socket_kernel_drops_total{input="udp",socket="1"} 17',
    ):
        assert line in page
