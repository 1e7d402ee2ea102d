"""What every test gets: no METLOG_ variables of the developer's, and a default client that is closed again."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

import metlog

settings.register_profile("shared", deadline=None)  # a speed is asserted in a benchmark; machines are shared
settings.register_profile("quick", deadline=None, max_examples=20)  # make quick
settings.load_profile("shared")

for _key in [key for key in os.environ if key.startswith("METLOG_") and not key.startswith("METLOG_TEST_")]:
    del os.environ[_key]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs with SIGINT ignored, and every process that a test starts would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(hookwrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected stays to the end: the garbage collector, which would look through all of it again and again, neither
    runs meanwhile nor looks at it later."""
    gc.disable()
    yield
    gc.enable()
    gc.freeze()


@pytest.fixture(autouse=True)
def _closed_default_client() -> Iterator[None]:
    yield
    metlog.close(timeout=1.0)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Tests marked `untraced` run without coverage's tracer: those that start many threads, or measure memory."""
    if item.get_closest_marker("untraced") is None:
        yield
        return
    _stop_tracing()
    yield
    _go_on_tracing()


_stopped: list[tuple[Any, Any]] = []


def _stop_tracing() -> None:
    _stopped.append((sys.gettrace(), threading.gettrace()))
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]


def _go_on_tracing() -> None:
    traced, in_threads = _stopped.pop()
    sys.settrace(traced)
    threading.settrace(in_threads)


# A forked child begins without coverage's tracer: another thread may have held the tracer's lock, which then nobody lets go of.
os.register_at_fork(before=_stop_tracing, after_in_parent=_go_on_tracing)
