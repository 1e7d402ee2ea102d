"""Calls that must come back, and children that must end: what the conformance suites share."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable, Collection
from time import monotonic, sleep
from typing import Final, NoReturn, TypeVar

import pytest

__all__ = ["GRACE", "child_status", "join_all", "needs_fork", "survives_forks", "within"]

T = TypeVar("T")

GRACE: Final = 1.5
"""What the suites' `grace` is, unless a subclass says otherwise."""

_MEANING: Final = {
    1: "raised an exception",
    2: "could not flush",
    3: "has its parent's frames, or lost its own",
    -signal.SIGALRM: "hung: it waits for a lock or a thread that stayed with its parent",
}


def within(seconds: float, what: str, call: Callable[[], T]) -> T:
    """The result of a call that must come back; fails the test when it does not, raises what the call raises."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        pytest.fail(f"{what} did not come back within {seconds:g} s")
    if errors:
        raise errors[0]
    return results[0]


def join_all(threads: Collection[threading.Thread], seconds: float) -> bool:
    """Waits for all of them together; whether all have ended."""
    end = monotonic() + seconds
    for one in threads:
        one.join(max(0.0, end - monotonic()))
    return not any(one.is_alive() for one in threads)


def needs_fork() -> None:
    """Skips the test where there is no fork."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")


def child_status(run: Callable[[], int], seconds: float) -> str:
    """Runs `run` in a forked child; empty when it returns 0 in time, else what went wrong there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: there are threads; that is the point
        pid = os.fork()
    if pid == 0:
        _child(run, seconds)
    status = _wait_for_child(pid, seconds + GRACE)
    return _MEANING.get(status, f"ended with {status}") if status else ""


def survives_forks(busy: Callable[[], object], child: Callable[[], int], seconds: float, what: str) -> None:
    """Forks while two threads do `busy` over and over: `child` must not wait for a lock that one of them held."""
    needs_fork()
    stop = threading.Event()

    def again() -> None:
        while not stop.is_set():
            busy()

    threads = [threading.Thread(target=again, daemon=True) for _ in range(2)]
    for one in threads:
        one.start()
    try:
        for _ in range(8):
            trouble = child_status(child, seconds)
            assert not trouble, f"{what} {trouble}"
    finally:
        stop.set()
        join_all(threads, seconds)


def _child(run: Callable[[], int], seconds: float) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        status = run()
    finally:
        os._exit(status)


def _wait_for_child(pid: int, seconds: float) -> int:
    end = monotonic() + seconds
    while monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGALRM
