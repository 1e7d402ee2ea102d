"""Pages of a search: each event once, however many have the same place; and no more of them in hand than a page shows."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metlog.journal.rows import micros
from metlog.lake.cancel import Cancel
from metlog.lake.query import Lake
from metlog.lake.result import Result
from metlog.web.conditions import Search
from metlog.web.errors import Refused
from metlog.web.search import Page, page
from tests.helpers.webdata import event, write

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPAN = (NOW - timedelta(days=30), NOW + timedelta(days=1))
SAME = 65
"""Events with one timestamp, stream and seq."""


class Counting:
    """The lake, with a note of how many rows each query gave."""

    name = "counting"

    def __init__(self, lake: Lake, *, slow: bool) -> None:
        self.lake, self.slow = lake, slow
        self.rows: list[int] = []

    def query(self, *given: Any, **more: Any) -> Result:
        found = self.lake.query(*given, **more)
        self.rows.append(len(found.rows))
        return found


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    data: Path = tmp_path_factory.mktemp("data")
    tie = {"stream": "", "logger": "hand"}
    rows = [event(0, NOW, payload=f"tie {number}", **tie) for number in range(SAME)]
    rows += [event(0, NOW, payload="twice", **tie), event(0, NOW, payload="twice", **tie)]
    rows += [event(number, NOW, payload=f"other {number}", stream="s") for number in range(1, 8)]
    rows += [
        event(number, NOW - timedelta(hours=number), payload=f"late {number}", stream="s") for number in range(8, 30)
    ]
    rows += [event(30, NOW, payload="early stream", stream=" ", logger="hand")]
    write(data, rows)
    with Lake(data) as made:
        yield made


def at(asof: int, total: int, timestamp: int, stream: str, seq: int, skip: int) -> str:
    text = msgspec.json.encode([asof, total, timestamp, stream, seq, skip])
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def shown(engine: Any, after: str, size: int, *, count: bool = False) -> Page:
    search = Search(*SPAN, after=after)
    return page(engine, search, size, loggers=None, cancel=Cancel(), count=count)


@pytest.mark.parametrize("size", [1, 7, 60, 500])
@pytest.mark.parametrize("slow", [False, True])
def test_every_event_is_on_one_page_and_no_more_come_than_a_page_shows(lake: Lake, size: int, slow: bool) -> None:
    engine = Counting(lake, slow=slow)
    seen: list[str] = []
    after = ""
    while True:
        found = shown(engine, after, size)
        seen += [row["payload"] for row in found.events]
        if not (after := found.after):
            break
    assert len(seen) == SAME + 2 + 7 + 22 + 1
    assert len(set(seen)) == len(seen) - 1
    assert seen[:7] == [f"other {number}" for number in range(7, 0, -1)]
    assert seen[-22:] == [f"late {number}" for number in range(8, 30)]
    assert max(engine.rows) <= size + 1


@pytest.mark.parametrize("skip", [500, 2**52])
def test_a_place_that_somebody_made_up_costs_a_page_and_no_more(lake: Lake, skip: int) -> None:
    engine = Counting(lake, slow=False)
    found = shown(engine, at(micros(datetime.now(UTC)), -1, micros(NOW), "z", 1, skip), 5)
    assert (found.events, found.after) == ([], "")
    assert max(engine.rows) <= 6


GOOD = (micros(NOW), -1, micros(NOW), "s", 1, 1)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (0, 10**17), (0, -(10**17)), (1, -2), (1, 10**400), (2, 253402300799999999), (2, -62135596800000000), (3, 1), (4, 2**63), (5, -1),
        (5, 2**60), (0, 1.5),
    ],
)  # fmt: skip
def test_what_is_no_place_is_refused(lake: Lake, number: int, value: Any) -> None:
    place = [*GOOD]
    place[number] = value
    with pytest.raises(Refused, match="no place in a search"):
        shown(lake, at(*place), 5)


@pytest.mark.parametrize("after", ["x", "é", "AAAA", "=", base64.urlsafe_b64encode(b"\xff").decode(), at(*GOOD)[:-8]])
def test_what_is_not_even_written_as_one_is_refused(lake: Lake, after: str) -> None:
    with pytest.raises(Refused, match="no place in a search"):
        shown(lake, after, 5)
