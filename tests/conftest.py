"""What every test gets: no METLOG_ variables of the developer's, and a default client that is closed again."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

import metlog

settings.register_profile("shared", deadline=None)  # a speed is asserted in a benchmark; machines are shared
settings.load_profile("shared")

for _key in [key for key in os.environ if key.startswith("METLOG_") and not key.startswith("METLOG_TEST_")]:
    del os.environ[_key]


@pytest.fixture(autouse=True)
def _closed_default_client() -> Iterator[None]:
    yield
    metlog.close(timeout=1.0)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Tests that fork, and those marked `untraced`, run without coverage's tracer: its lock stays held in a forked child, and before
    Python 3.12 two threads cannot begin to be traced at the same time, which happens where threads are switched all the time."""
    traced = sys.gettrace()
    if traced is None or not ("fork" in item.name or item.get_closest_marker("untraced")):
        yield
        return
    in_threads = threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]
    yield
    sys.settrace(traced)
    threading.settrace(in_threads)  # type: ignore[arg-type]
