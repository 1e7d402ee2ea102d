"""`lost` is one number: in the view, the reports, the overview, and what the listener counts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metlog.event import Event
from metlog.lake.cancel import Cancel
from metlog.lake.query import Lake
from metlog.lake.sql.loss import DELIVERY, LOSS_BY_LOGGER, streams
from metlog.listener.accounting import Accounting
from metlog.reports import Library
from metlog.web.overview import look
from metlog.web.times import Times
from tests.helpers.reportdata import NOW, event, write

BEGIN = NOW - timedelta(hours=2)


def stream(name: str, *numbers: int, **more: Any) -> list[dict[str, Any]]:
    return [event(BEGIN + timedelta(seconds=10 * n), "x", {}, stream=name, seq=n, logger=name, **more) for n in numbers]


def end(name: str, seq: int, last: int) -> dict[str, Any]:
    at = BEGIN + timedelta(seconds=10 * seq)
    return event(at, "metlog.end", {"last_seq": last, "dropped": {}}, stream=name, seq=seq, logger=name)


CASES = {
    "whole": (stream("whole", 1, 2, 3), (0, 0, False)),
    "gap": ([*stream("gap", 1, 2, 5, 6), *stream("gap", 5)], (2, 0, False)),
    "confirmed tail": ([*stream("confirmed tail", 1, 2), end("confirmed tail", 6, 5)], (3, 0, True)),
    "ended whole": ([*stream("ended whole", 1, 2), end("ended whole", 3, 2)], (0, 0, True)),
    "before the first": (stream("before the first", 4, 5, 7), (1, 3, False)),
    "over many words": (stream("over many words", *[n for n in range(1, 300) if n % 7]), (42, 0, False)),
    "far": (stream("far", 100, 200), (99, 99, False)),
}
"""By stream: its events, and how many are lost, are before the first, and whether its tail is confirmed."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("lost"), [item for events, _ in CASES.values() for item in events])


def test_every_place_tells_the_same(data: Path) -> None:
    span = {"since": f"{BEGIN - timedelta(hours=1):%Y-%m-%dT%H:%M}", "until": f"{NOW:%Y-%m-%dT%H:%M}"}
    with Lake(data) as lake:
        rows = lake.query("SELECT stream, lost, before_first, ended FROM delivery").rows
        view = {name: tuple(rest) for name, *rest in rows}
        report = Library()["delivery"].run(lake, span).dicts()
        minutes = Library()["delivery-by-minute"].run(lake, span).dicts()
        page = look(lake, Times.of(span["since"], span["until"]), loggers=None, cancel=Cancel())
    expected = {name: known for name, (_, known) in CASES.items()}
    assert view == expected
    told = {row["stream"]: (row["lost"], row["before_first"], row["ended"] == "yes") for row in report}
    assert told == expected
    assert {row["ended"] for row in [*report, *minutes]} == {"yes", "unconfirmed tail"}
    by_minute = dict.fromkeys(expected, 0)
    for row in minutes:
        by_minute[row["stream"]] += row["lost"]
    lost = {name: known[0] for name, known in expected.items()}
    assert by_minute == lost
    assert {name: entry["lost"] for name, entry in page.loss.items()} == lost
    assert (page.lost, page.unconfirmed) == (sum(lost.values()), sum(not ended for _, _, ended in expected.values()))
    assert {name: entry["unconfirmed"] for name, entry in page.loss.items()} == {
        name: int(not ended) for name, (_, _, ended) in expected.items()
    }


def test_a_stream_at_both_ends_of_the_time_only_has_what_it_lost_in_between(tmp_path: Path) -> None:
    begin, until = NOW - timedelta(hours=2), NOW - timedelta(hours=1)
    edges = {1: begin + timedelta(seconds=0.1), 2: begin + timedelta(seconds=0.2), 10: until - timedelta(seconds=0.5)}
    events = [event(at, "x", {}, stream="edges", seq=seq, logger="edges") for seq, at in edges.items()]
    confirmed = [{**item, "stream": "ended", "logger": "ended"} for item in events]
    last = event(until - timedelta(seconds=0.4), "metlog.end", {"last_seq": 10}, stream="ended", seq=11, logger="ended")
    write(tmp_path, [*events, *confirmed, last])
    span = {"since": f"{begin:%Y-%m-%dT%H:%M}", "until": f"{until:%Y-%m-%dT%H:%M}"}
    with Lake(tmp_path) as lake:
        report = Library()["delivery"].run(lake, span).dicts()
        minutes = Library()["delivery-by-minute"].run(lake, span).dicts()
        loss = lake.query(LOSS_BY_LOGGER, {"since": begin, "until": until}).dicts()
    assert {row["stream"]: (row["received"], row["lost"]) for row in report} == {"edges": (3, 7), "ended": (4, 7)}
    assert {(row["stream"], row["lost"]) for row in minutes} == {("edges", 0), ("edges", 7), ("ended", 0), ("ended", 7)}
    assert {row["logger"]: (row["sent"], row["lost"]) for row in loss} == {"edges": (10, 7), "ended": (11, 7)}


def test_the_listener_counts_the_same() -> None:
    lost = ended = joined = 0
    accounting = Accounting(100)
    for events, (missing, before, confirmed) in CASES.values():
        accounting.note([made(item) for item in events])
        lost, ended, joined = lost + missing, ended + confirmed, joined + (before > 0)
    counted = accounting.stats()
    assert (counted["lost"], counted["ended"], counted["joined"]) == (lost, ended, joined)
    assert counted["streams"] == len(CASES)


def made(item: dict[str, Any]) -> Event:
    fields = msgspec.json.decode(item["fields"])
    return Event(timestamp=item["timestamp"], type=item["type"], stream=item["stream"], seq=item["seq"], fields=fields)


def test_the_report_is_of_the_same_text_as_the_view() -> None:
    assert streams(within=True) in Library()["delivery"].sql
    assert streams(within=False, prefix="metlog_") in DELIVERY
