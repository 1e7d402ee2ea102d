"""Whether an event may go two ways, and what takes the events of several ways."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import pytest

from metlog.journal.routing import Route, joined

ROUTES = [
    Route(),
    Route(types=("a",)),
    Route(types=("a.*",)),
    Route(types=("a.b.*", "c")),
    Route(types=("ab",)),
    Route(loggers=("x",)),
    Route(loggers=("y", "x")),
    Route(loggers=("y",), types=("a",)),
    Route(tokens=("t",)),
    Route(tokens=("u",), severity_max=3),
]
PAIRS = list(product(ROUTES, ROUTES))
EVENTS = [
    SimpleNamespace(type=kind, logger=logger, tokens=tokens, severity=severity)
    for kind, logger, tokens, severity in product(
        ["a", "ab", "a.", "a.b", "a.b.c", "c"], ["", "x", "y"], [[], ["t"], ["t", "u"]], [0, 6]
    )
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_two_ways_meet_where_an_event_goes_both(first: Route, second: Route) -> None:
    assert first.meets(second) == any(first.takes(event) and second.takes(event) for event in EVENTS)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_ways_that_are_joined_take_what_one_of_them_takes(first: Route, second: Route) -> None:
    both = joined([first, second])
    assert [both.takes(event) for event in EVENTS] == [first.takes(event) or second.takes(event) for event in EVENTS]
    assert both.takes_all == (first.takes_all or second.takes_all)
