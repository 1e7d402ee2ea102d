"""How the cost grows: with threads, with the size of an event, with its fields, against a peer that does not read, with time."""

from __future__ import annotations

import gc
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from metlog.bench.run import both, calm, drained
from metlog.client import MetlogClient

__all__ = ["Point", "as_table", "fields", "percentiles", "scaling", "sizes", "stuck_peer", "sustained", "threads"]


class Point(NamedTuple):
    """One measurement: `figure` in `unit`, and what else is to be said."""

    what: str
    figure: float
    unit: str
    note: str = ""


def _client(sender: str = "udp://127.0.0.1:{port}", **settings: Any) -> tuple[MetlogClient, Callable[[], None]]:
    port, close = drained()
    client = MetlogClient.from_config({"sender": sender.format(port=port), "logger": "bench", **settings})
    return client, both(lambda: client.close(1), close)


def _ns(call: Callable[[], None], calls: int, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        with calm():
            start = time.perf_counter()
            for _ in range(calls):
                call()
            times.append((time.perf_counter() - start) / calls)
    return statistics.median(times) * 1e9


def threads(counts: Sequence[int] = (1, 2, 4, 16), calls: int = 40_000) -> Iterator[Point]:
    """Threads that log at once: events a second of all together. They share one GIL."""
    for count in counts:
        client, close = _client()
        start = threading.Barrier(count + 1)

        def work(each: int = calls // count, client: MetlogClient = client, start: threading.Barrier = start) -> None:
            start.wait()
            for _ in range(each):
                client.log(("login", "sync"), "user logged in", fields={"user": "u1", "path": "/a/b", "ms": 12.5})

        workers = [threading.Thread(target=work) for _ in range(count)]
        for worker in workers:
            worker.start()
        start.wait()
        begun = time.perf_counter()
        for worker in workers:
            worker.join()
        client.flush(10)
        took = time.perf_counter() - begun
        dropped = sum(client.stats().dropped.values())
        close()
        yield Point(
            f"{count} thread{'s' * (count > 1)}", calls // count * count / took, "events/s", f"{dropped} dropped"
        )


def sizes(lengths: Sequence[int] = (100, 300, 1000, 4000, 16_000, 60_000), rounds: int = 7) -> Iterator[Point]:
    """Events of this many bytes, about."""
    for length in lengths:
        client, close = _client()
        text = "x" * max(0, length - 200)
        calls = max(200, min(5000, 4_000_000 // length))
        figure = _ns(lambda client=client, text=text: client.log(("page",), text), calls, rounds)  # type: ignore[misc]
        close()
        yield Point(f"event of {length:,} bytes", figure, "ns an event")


def fields(counts: Sequence[int] = (0, 1, 3, 10, 20, 50), rounds: int = 7) -> Iterator[Point]:
    """Events with this many fields, texts and numbers in turn."""
    for count in counts:
        client, close = _client()
        given = {f"field{n}": (f"value {n}", n, n / 3)[n % 3] for n in range(count)}
        figure = _ns(lambda client=client, given=given: client.log(("page",), "seen", fields=given), 3000, rounds)  # type: ignore[misc]
        close()
        yield Point(f"{count} field{'s' * (count != 1)}", figure, "ns an event")


def stuck_peer(calls: int = 200_000) -> Iterator[Point]:
    """A TCP peer that accepts and never reads: the caller does not wait, and the oldest frames make room."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client, close = _client(
            f"tcp://127.0.0.1:{server.getsockname()[1]}", buffer={"max_bytes": 1 << 20}, exit_timeout=0.2
        )
        worst, start = 0.0, time.perf_counter()
        for _ in range(calls):
            before = time.perf_counter()
            client.log(("login", "sync"), "user logged in", fields={"user": "u1", "path": "/a/b", "ms": 12.5})
            worst = max(worst, time.perf_counter() - before)
        took = time.perf_counter() - start
        stats = client.stats()
        close()
    note = f"longest call {worst * 1e3:.1f} ms; of {calls:,}: {sum(stats.dropped.values()):,} dropped, the oldest first"
    yield Point("TCP peer that never reads", took / calls * 1e9, "ns an event", note)


def percentiles(calls: int = 200_000) -> Iterator[Point]:
    """Single calls of the default mode, with the flusher running: the median and the tail."""
    client, close = _client()
    clock, times = time.perf_counter_ns, [0] * calls
    for index in range(calls):
        before = clock()
        client.log(("login", "sync"), "user logged in", fields={"user": "u1", "path": "/a/b", "ms": 12.5})
        times[index] = clock() - before
    close()
    times.sort()
    median = times[calls // 2]
    for share in (0.5, 0.99, 0.999):
        figure = times[int(calls * share)]
        yield Point(f"call, {share:.1%} of them within", figure, "ns", f"{figure / median:.1f} x the median")


def sustained(seconds: float = 60.0, rate: int = 100_000) -> Iterator[Point]:
    """So many events a second for so long, in bursts of a millisecond: what arrived, and the memory at start and end."""
    client, close = _client()
    burst = max(1, rate // 1000)
    for _ in range(2000):
        client.log(("login", "sync"), "user logged in", fields={"user": "u1", "path": "/a/b", "ms": 12.5})
    gc.collect()
    before, begun, sent = _resident(), time.monotonic(), 0
    while (now := time.monotonic()) - begun < seconds:
        while sent < (now - begun) * rate:
            for _ in range(burst):
                client.log(("login", "sync"), "user logged in", fields={"user": "u1", "path": "/a/b", "ms": 12.5})
            sent += burst
        time.sleep(0.0005)
    took = time.monotonic() - begun
    client.flush(10)
    gc.collect()
    after, stats = _resident(), client.stats()
    close()
    yield Point(
        f"{rate:,} events/s for {seconds:g} s", sent / took, "events/s", f"{sum(stats.dropped.values())} dropped"
    )
    yield Point("memory (RSS) at the start", before / 1e6, "MB")
    yield Point("memory (RSS) at the end", after / 1e6, "MB", f"{(after - before) / 1e6:+.2f} MB")


def _resident() -> int:
    """Bytes of this process in memory; 0 where there is no /proc."""
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - a kernel file
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def scaling(seconds: float = 60.0) -> Iterator[Point]:
    """All of the above."""
    for part in (threads(), sizes(), fields(), stuck_peer(), percentiles(), sustained(seconds)):
        yield from part


def as_table(points: Sequence[Point]) -> str:
    """The points as text."""
    return "\n".join(f"{p.what:32} {p.figure:14,.1f} {p.unit:12} {p.note}".rstrip() for p in points)
