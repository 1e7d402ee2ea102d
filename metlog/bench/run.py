"""How the cases are timed: in turn, so that a machine that changes its speed changes it for all."""

from __future__ import annotations

import gc
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

__all__ = ["Case", "Loop", "Opened", "Row", "both", "calm", "drained", "run"]

Loop = Callable[[int], None]
"""Does the thing so many times, and waits until the last of it has left the process."""

Opened = tuple[Loop, Callable[[], None]]
"""The loop to time, and what ends it."""


class Case(NamedTuple):
    """A case: `open()` gives the loop to time and what ends it; ImportError when what it needs is not installed."""

    name: str
    group: str
    open: Callable[[], Opened]


class Row(NamedTuple):
    """The figures of a case, seconds an event: medians of the rounds, the spread (half the interquartile range) of the caller's
    time, and each round's."""

    name: str
    group: str
    caller: float
    spread: float
    cpu: float
    rounds: tuple[float, ...] = ()


def drained() -> tuple[int, Callable[[], None]]:
    """The port of a UDP socket, and what closes it. Nobody reads: the kernel drops what does not fit, for every case alike."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    return receiver.getsockname()[1], receiver.close


def both(*ends: Callable[[], object]) -> Callable[[], None]:
    """Several ends as one."""

    def close() -> None:
        for end in ends:
            end()

    return close


@contextmanager
def calm() -> Iterator[None]:
    """Without the garbage collector, which would come to one case for another's garbage."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run(
    cases: Sequence[Case],
    *,
    rounds: int = 25,
    calls: int = 10_000,
    left_out: list[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Times the cases, `rounds` times `calls` calls each, in turn. `left_out` gets the names of peers that are not installed."""
    opened: list[tuple[Case, Loop, Callable[[], None]]] = []
    try:
        for case in cases:
            try:
                loop, close = case.open()
            except ImportError as error:
                if left_out is not None:
                    left_out.append(f"{case.name}: {error}")
                continue
            opened.append((case, loop, close))
            loop(200)
        figures: list[list[tuple[float, float]]] = [[] for _ in opened]
        for number in range(rounds):
            for index, (_, loop, _) in enumerate(opened):
                with calm():
                    cpu, start = time.process_time(), time.perf_counter()
                    loop(calls)
                    caller, used = time.perf_counter() - start, time.process_time() - cpu
                figures[index].append((caller / calls, used / calls))
            if progress is not None:
                progress(number + 1, rounds)
    finally:
        for _, _, close in reversed(opened):
            close()
    return [_row(case, pairs) for (case, _, _), pairs in zip(opened, figures, strict=True)]


def _row(case: Case, pairs: Sequence[tuple[float, float]]) -> Row:
    times = [pair[0] for pair in pairs]
    quarters = statistics.quantiles(times, n=4) if len(times) > 1 else [times[0]] * 3
    return Row(
        case.name,
        case.group,
        statistics.median(times),
        (quarters[2] - quarters[0]) / 2,
        statistics.median(pair[1] for pair in pairs),
        tuple(times),
    )
