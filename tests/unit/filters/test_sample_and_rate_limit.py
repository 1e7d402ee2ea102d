"""Sampled and limited events say how many they stand for, on every machine and to the end."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from metlog import MetlogClient
from metlog.event import Event
from metlog.filters.rate_limit import RateLimit
from metlog.filters.sample import Sample


def event(**values: Any) -> Event:
    return Event(**{"type": "a", **values})


@pytest.mark.process
def test_a_hash_decides_alike_on_every_machine() -> None:
    def share(value: object) -> float:
        digest = hashlib.blake2b(str(value).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    sample = Sample(rate=0.3, field="user")
    for user in ["ann", "bob", 7, 1.5, None, True, "jürgen", *range(200)]:
        if user is not None:
            assert (sample(event(fields={"user": user})) is not None) == (share(user) < 0.3)
    script = (
        "from metlog.event import Event; from metlog.filters.sample import Sample\n"
        "s = Sample(rate=0.3, field='user')\n"
        "print([n for n in range(300) if s(Event(type='a', fields={'user': f'u{n}'}))])"
    )
    kept = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert kept == {str([n for n in range(300) if sample(event(fields={"user": f"u{n}"}))]) + "\n"}


def test_the_sum_of_weights_is_the_number_of_events() -> None:
    sample = Sample(rate=0.2, field="n")
    total = sum(made.weight for n in range(20_000) if (made := sample(event(fields={"n": n}))))
    assert 18_500 < total < 21_500


def test_two_samples_multiply_their_weights_and_counters_keep_theirs() -> None:
    filters = [{"name": "sample", "rate": 0.5}, {"name": "sample", "rate": 0.5, "types": ["counter"]}]
    with MetlogClient.from_config("memory:", filters=filters, counters="each", buffer={"max_frame": 60_000}) as client:
        for n in range(400):
            client.log("a", fields={"n": n})
            client.incr("c")
        sender = client.sender
    weights = {(event.type, event.weight) for event in sender.events if event.type != "metlog.end"}
    assert weights == {("a", 2.0), ("counter", 4.0)}


def test_suppressed_is_told_at_close_and_events_of_it_have_a_seq() -> None:
    filters = [{"name": "rate_limit", "rate": 0.001, "burst": 2, "types": ["noisy"]}]
    with MetlogClient.from_config("memory:", filters=filters, logger="svc") as client:
        for _ in range(10):
            client.log("noisy")
            client.log("quiet")
        sender = client.sender
    found = sender.events
    assert [event.type for event in found].count("noisy") == 2
    assert [event.type for event in found].count("quiet") == 10
    (told,) = [event for event in found if event.type == "suppressed"]
    assert (told.fields["type"], told.fields["count"], told.fields["weight"]) == ("noisy", 8, 8.0)
    assert (told.logger, told.payload, told.tokens) == ("svc", "8", ("suppressed", "noisy"))
    assert sorted(event.seq for event in found) == list(range(1, len(found) + 1))
    assert sum(event.weight if event.type == "noisy" else told.fields["weight"] for event in found
               if event.type in {"noisy", "suppressed"}) == 10  # fmt: skip


def test_a_bucket_fills_again_at_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("metlog.filters.rate_limit.monotonic", lambda: now[0])
    limit = RateLimit(rate=2, burst=4)

    def passed(number: int) -> int:
        return sum(limit(event()) is not None for _ in range(number))

    assert passed(10) == 4
    now[0] += 1
    assert passed(10) == 2
    now[0] += 60
    assert passed(10) == 4  # never more than the burst


def test_limits_hold_under_threads() -> None:
    told: list[Event] = []
    limit = RateLimit(rate=0.001, burst=50)
    limit.emit = told.append
    kept = [0] * 8

    def work(number: int) -> None:
        kept[number] = sum(limit(event()) is not None for _ in range(500))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    limit.close()
    assert sum(kept) == 50
    assert told[0].fields["count"] == 8 * 500 - 50


def test_a_forked_child_begins_anew_though_a_thread_of_the_parent_was_in_the_middle() -> None:
    limit = RateLimit(rate=0.001, burst=1)
    client = MetlogClient.from_config("memory:", filters=[limit])
    client.log("a")
    client.log("a")  # suppressed, for the parent to tell
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with limit._lock:
            held.set()
            go.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        client.log("a")
        client.flush(5)
        types = [event.type for event in client.sender.events]
        os._exit(0 if types == ["a"] else 3)
    go.set()
    thread.join()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    sender = client.sender
    client.close()
    assert [event.type for event in sender.events] == ["a", "suppressed", "metlog.end"]


def test_what_rate_limit_tells_is_redacted_too() -> None:
    filters = [{"name": "rate_limit", "rate": 0.001, "burst": 1}, {"name": "redact", "mask": ["email"]}]
    with MetlogClient.from_config("memory:", filters=filters) as client:
        for _ in range(3):
            client.log("login of ann@example.org")
        sender = client.sender
    assert b"suppressed" in b"".join(sender.frames)
    assert b"ann@example.org" not in b"".join(sender.frames)


def test_what_a_filter_adds_passes_those_behind_it_and_none_before_it() -> None:
    seen: list[tuple[str, str]] = []

    class Watch:
        def __init__(self, name: str) -> None:
            self.name = name

        def __call__(self, event: Event) -> Event | None:
            seen.append((self.name, event.type))
            return None if event.type == "unwanted" else event

    class Adds:
        emit: Any = None

        def __call__(self, event: Event) -> Event | None:
            for kind in ("wanted", "unwanted"):
                self.emit(Event(type=kind))
            return event

    with MetlogClient.from_config("memory:", filters=[Watch("before"), Adds(), Watch("behind")]) as client:
        client.log("a")
        sender = client.sender
        client.flush()
        assert client.stats().filtered == 1
    assert seen == [("before", "a"), ("behind", "wanted"), ("behind", "unwanted"), ("behind", "a")]
    events = sender.events
    assert [(event.type, event.seq) for event in events] == [("wanted", 1), ("a", 2), ("metlog.end", 3)]
    assert len({(event.stream, event.pid, event.hostname) for event in events}) == 1


def test_a_window_ends_in_an_idle_process() -> None:
    """No further event is needed: the flusher keeps the time, though it would sleep without such a filter."""
    filters = [{"name": "rate_limit", "rate": 0.001, "burst": 1, "window": 0.2}]
    client = MetlogClient.from_config("memory:", filters=filters, buffer={"flush_interval": 0.01})
    for _ in range(5):
        client.log("noisy")
    sender = client.sender
    end = time.monotonic() + 10
    while not any(event.type == "suppressed" for event in sender.events):
        assert time.monotonic() < end
        time.sleep(0.01)
    client.close()


@pytest.mark.parametrize("where", ["whole", "branch"])
def test_windows_end_in_a_tee_as_well(where: str) -> None:
    limit = [{"name": "rate_limit", "rate": 0.001, "burst": 1, "window": 0.1}]
    branch: dict[str, Any] = {"sender": "memory:", "filters": limit if where == "branch" else []}
    client = MetlogClient.from_config(
        {"sender": {"name": "tee", "senders": [branch]}, "filters": limit if where == "whole" else []}
    )
    for _ in range(4):
        client.log("noisy")
    sender: Any = client.branches[0].sender
    end = time.monotonic() + 10
    while not any(event.type == "suppressed" for event in sender.events):
        assert time.monotonic() < end
        time.sleep(0.01)
    (told,) = [event for event in sender.events if event.type == "suppressed"]
    assert told.fields["count"] == 3
    client.close()
