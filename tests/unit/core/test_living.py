"""Weak references to what is in use: they may be walked while threads add to them."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator

import pytest

from metlog.core.living import Living


class Thing:
    pass


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads change places between any two instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_what_nobody_uses_is_gone() -> None:
    kept, lost = Thing(), Thing()
    living = Living[Thing]()
    living.add(kept)
    living.add(kept)
    living.add(lost)
    assert set(living) == {kept, lost}
    assert len(list(living)) == 2
    del lost
    gc.collect()
    assert list(living) == [kept]


def test_what_was_taken_out_is_gone() -> None:
    first, second = Thing(), Thing()
    living = Living[Thing]()
    living.add(first)
    living.discard(first)
    living.discard(second)
    assert list(living) == []


def test_what_is_added_and_taken_out_during_a_walk_does_not_disturb_it() -> None:
    things = [Thing() for _ in range(10)]
    living = Living[Thing]()
    for thing in things:
        living.add(thing)
    seen = []
    for thing in living:
        seen.append(thing)
        things.append(Thing())
        living.add(things[-1])
        living.discard(thing)
    assert set(seen) == set(things[:10])
    assert set(living) == set(things[10:])


@pytest.mark.usefixtures("hasty")
def test_threads_add_while_another_walks() -> None:
    living, stop, kept = Living[Thing](), threading.Event(), [Thing() for _ in range(100)]
    for thing in kept:
        living.add(thing)

    def add() -> None:
        while not stop.is_set():
            living.add(Thing())

    threads = [threading.Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            assert set(living).issuperset(kept)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
