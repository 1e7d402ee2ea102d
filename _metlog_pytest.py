"""The pytest plugin of metlog: the fixture `metlog_events`.

It stands beside the package, so that pytest can load it in every run without importing metlog: that costs nothing where
metlog is not under test, and where it is, whoever measures coverage sees its import.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from metlog.testing import LoggedEvents

_EVENTS: pytest.StashKey[LoggedEvents] = pytest.StashKey()


@pytest.fixture
def metlog_events(request: pytest.FixtureRequest) -> Iterator[LoggedEvents]:
    """What the code under test logs through metlog, by whichever client, instead of sending it.

    A sequence of `metlog.Event`, with helpers: `one`, `none`, `matching`, `wait_for`, `counter`, `timers`, `mentions`.
    """
    from metlog.testing import capture

    with capture() as events:
        request.node.stash[_EVENTS] = events
        yield events


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Shows the events of a test that fails."""
    yield
    events = item.stash.get(_EVENTS, None)
    if events:
        item.add_report_section("call", "metlog events", str(events))
