"""`metlog.end` and `metlog.report`: what a client says of itself; and the calls before `configure`."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from metlog_test_parts import control

import metlog
from tests.helpers.receivers import Seen, own


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    control.failing, control.delay, control.taken = False, 0.0, []
    yield
    control.failing, control.delay = False, 0.0


def taken(since: int = 0) -> list[Seen]:
    """The events of the frames that the sender took, from that frame on."""
    return [event for frame in control.taken[since:] for event in decode_lines(frame)]


def client(kind: str, **more: Any) -> metlog.MetlogClient:
    return metlog.MetlogClient.from_config({"sender": kind, "buffer": {"flush_interval": 600}, **more})


decode_lines = msgspec.json.Decoder(Seen).decode_lines


@pytest.mark.parametrize("kind", ["commanded", "commanded_queued"])
def test_the_end_tells_the_last_seq_and_every_drop_by_its_reason(kind: str) -> None:
    made = client(kind)
    made.log("kept")
    assert made.flush(5)
    control.failing = True
    for _ in range(3):
        made.log("lost")
    assert made.flush(5)
    control.failing = False
    made.close(5)
    end = taken()[-1]
    assert (end.type, end.fields) == ("metlog.end", {"last_seq": end.seq - 1, "dropped": {"told": 3}})
    assert made.stats().dropped == {"told": 3}


@pytest.mark.parametrize("kind", ["commanded", "commanded_queued"])
def test_a_report_with_the_totals_goes_with_the_next_frame_after_a_drop(kind: str) -> None:
    """At most one an interval, since a report may be dropped as well."""
    made = client(kind, buffer={"flush_interval": 0.01})
    for lost in (2, 3):
        control.failing = True
        for _ in range(lost):
            made.log("lost")
        made.flush(5)
        time.sleep(0.05)
        control.failing = False
        before = len(control.taken)
        made.log("kept")
        made.flush(5)
        assert "metlog.report" in {event.type for event in taken(before)}
        made.log("kept")
        made.flush(5)
    reports = [event for event in taken() if event.type == "metlog.report"]
    assert [event.fields["dropped"] for event in reports] == [{"told": 2}, {"told": 5}]
    made.close(5)
    seqs = [event.seq for event in taken()]
    assert len(seqs) == len(set(seqs))
    # What is missing between 1 and the end is what was dropped: a listener needs no more to count losses.
    assert taken()[-1].seq - len(seqs) == 5


def test_the_client_s_own_events_are_in_no_count() -> None:
    made = client("commanded")
    control.failing = True
    made.log("lost")
    made.flush(5)
    control.failing = False
    made.log("kept")
    made.flush(5)
    made.close(5)
    stats = made.stats()
    assert (stats.accepted, stats.sent, stats.dropped) == (2, 1, {"told": 1})
    assert sum(map(own, taken())) == 2


def test_a_client_that_logged_nothing_ends_without_a_word() -> None:
    client("commanded").close(5)
    assert control.taken == []


def test_a_full_queue_drops_the_oldest_and_counts_them() -> None:
    made = client("commanded_queued", buffer={"flush_interval": 600, "max_bytes": 5000})
    control.delay = 0.05
    for number in range(200):
        made.log("event", str(number))
    assert made.flush(20)
    stats = made.stats()
    assert stats.accepted == 200
    assert set(stats.dropped) == {"queue_full"}
    kept = [int(event.payload) for event in taken() if not own(event)]
    assert len(kept) == stats.sent == 200 - stats.dropped["queue_full"]
    assert kept[-1] == 199, "the newest stay"
    assert kept == sorted(kept)
    made.close(5)


class Gated:
    """Keeps frames behind a queue, once it may."""

    max_frame = 1000

    def __init__(self) -> None:
        self.asked, self.may, self.taken = threading.Event(), threading.Event(), list[bytes]()

    def send(self, frame: bytes) -> None:
        self.asked.set()
        assert self.may.wait(60)
        self.taken.append(frame)

    def flush(self) -> None: ...

    def close(self) -> None: ...


def test_a_frame_larger_than_the_queue_takes_no_other_s_place() -> None:
    sender = Gated()
    made = metlog.MetlogClient.from_config({"sender": sender, "buffer": {"flush_interval": 600, "max_bytes": 5000}})
    large = "y" * 6000
    made.log("small", "in the sender's hand")
    assert not made.flush(0)
    assert sender.asked.wait(60)
    made.log("small", "in the queue")
    assert not made.flush(0)
    made.log("large", large)
    assert not made.flush(0)
    assert (made.stats().dropped, made.stats().buffered) == ({"queue_full": 1}, 2)
    sender.may.set()
    assert made.flush(20)
    made.log("large", large)
    assert made.flush(20), "nothing waits: it goes"
    made.close(20)
    kept = [event for frame in sender.taken for event in decode_lines(frame) if not own(event)]
    assert [event.type for event in kept] == ["small", "small", "large"]
    assert made.stats().dropped == {"queue_full": 1}


def test_an_event_that_cannot_be_encoded_is_counted_and_its_neighbours_are_sent() -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise ValueError("no words")

        __repr__ = __str__

    made = client("commanded")
    for number in range(5):
        made.log("event", str(number), fields={"thing": Unspeakable()} if number == 2 else {"n": number})
    assert made.flush(5)
    stats = made.stats()
    assert stats.accepted == 5 == stats.sent + sum(stats.dropped.values())
    assert {"0", "1", "3", "4"} <= {event.payload for event in taken()}
    made.close(5)


def test_before_configure_every_kind_of_call_is_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    made = metlog.MetlogClient()
    with caplog.at_level(logging.DEBUG, "metlog"):
        made.log("a")
        made.metlog("b")
        made.error("c")
        made.incr("d")
        made.timer_send("e", 1.0)
        made.bind(x=1).log("f")
        with made.timer("g"):
            pass
        assert made.flush(0.1)
        made.close()
    stats = made.stats()
    assert (stats.filtered, stats.accepted, stats.buffered) == (7, 0, 0)
    assert len(caplog.records) == 1


def test_before_configure_a_call_keeps_nothing() -> None:
    """Not a buffer that grows until somebody configures: a later `configure` starts with nothing."""
    made = metlog.MetlogClient()
    for _ in range(10_000):
        made.log("early", "x" * 1000)
    made.configure({"sender": "commanded"})
    made.log("later")
    assert made.flush(5)
    made.close(5)
    assert [event.type for event in taken() if not own(event)] == ["later"]


def test_buffered_is_what_has_not_gone_yet() -> None:
    made = client("commanded_queued")
    control.delay = 0.2
    for _ in range(5):
        made.log("event")
    assert made.stats().buffered == 5
    assert not made.flush(0.02)
    assert made.stats().buffered == 5, "the frame is in the sender's hand"
    assert made.flush(5)
    assert made.stats().buffered == 0
    made.close(5)


@pytest.mark.parametrize("interval", [0.001, 600.0])
@pytest.mark.parametrize("kind", ["commanded", "commanded_queued"])
def test_a_flush_ends_and_covers_what_was_logged_before_it_while_others_go_on(kind: str, interval: float) -> None:
    made = client(kind, buffer={"flush_interval": interval, "max_bytes": 1 << 30})
    stop = threading.Event()
    logged = [0] * 3

    def work(number: int) -> None:
        while not stop.is_set():
            made.log("noise", "x" * 200)
            logged[number] += 1
            time.sleep(0.0001)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for number in range(50):
        before = len(control.taken)
        made.log("marked", str(number))
        assert made.flush(10)
        assert str(number) in {event.payload for event in taken(before) if event.type == "marked"}
    stop.set()
    for thread in threads:
        thread.join()
    made.close(10)
    stats = made.stats()
    assert stats.accepted == stats.sent == sum(logged) + 50
    assert stats.dropped == {}


@pytest.mark.slow
@pytest.mark.untraced
def test_nothing_goes_wrong_inside_while_some_log_and_one_flushes() -> None:
    """Threads take turns as often as they can: each turn is between two other steps."""
    made = metlog.MetlogClient.from_config({"sender": "null", "buffer": {"flush_interval": 0.001}})
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            made.log("noise")
            time.sleep(0.0001)  # so that the buffer is nearly empty, and each of them looks after it

    threads = [threading.Thread(target=work) for _ in range(3)]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        end = time.monotonic() + 2
        while time.monotonic() < end and not made.stats().errors:
            assert made.flush(10)
    finally:
        sys.setswitchinterval(usual)
        stop.set()
    for thread in threads:
        thread.join()
    made.close(10)
    assert made.stats().errors == 0


class _Stop(BaseException):
    """What a signal handler raises, as Ctrl-C does."""


@pytest.mark.parametrize("leaves", [True, False], ids=["left", "numbered"])
def test_a_call_that_a_signal_handler_cuts_off_leaves_its_event_or_counts_it(leaves: bool) -> None:
    mine = client("memory")
    pipeline = mine._state.pipeline
    hot = pipeline.fast_path
    leave = hot[4]

    def abort_record(record: Any) -> None:
        if leaves:
            leave(record)
        raise _Stop

    mine.log("first")
    pipeline.fast_path = (*hot[:4], abort_record, *hot[5:])
    with pytest.raises(_Stop):
        mine.log("second")
    pipeline.fast_path = hot
    mine.log("third")
    mine.close()
    stats = mine.stats()
    assert (stats.accepted, stats.sent, stats.buffered) == (3, 2 + leaves, 0)
    assert stats.dropped == ({} if leaves else {"interrupted": 1})
