"""Whatever an event may say that the listener takes: every report, picture, page and download is still there for everybody."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from metlog.journal.rows import WRONG, decode
from metlog.lake.query import Cancel, Lake
from metlog.reports import Library
from metlog.reports.charts.terminal import lines
from metlog.reports.charts.vega import specification
from metlog.web.app import create_app
from metlog.web.overview import look
from metlog.web.settings import WebSettings
from metlog.web.times import Times
from tests.helpers.waiting import wait_for
from tests.helpers.webdata import event, write

pytestmark = pytest.mark.process

BIG = 2**63 - 1
NUMBERS = [
    0,
    1,
    -1,
    2**53,
    BIG,
    -(2**63),
    2**64 - 1,
    10**30,
    1e15,
    1.0000001e15,
    1e100,
    1.7e308,
    -1.7e308,
    5e-324,
    1e-300,
]
TEXTS = [
    "",
    "x",
    "\0",
    "\x1b[2J",
    "\ufffe",
    "\u202e",
    "-1",
    "=1+1",
    "1e400",
    "nan",
    "inf",
    "x" * 5000,
    "a.b['c']",
    "200",
    "7" * 40,
    "…",
]
VALUE = st.one_of(
    st.sampled_from(NUMBERS), st.sampled_from(TEXTS), st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**70), 2**70), st.text(max_size=5), st.lists(st.sampled_from(NUMBERS), max_size=2),
    st.dictionaries(st.sampled_from(TEXTS), st.sampled_from(NUMBERS), max_size=2),
)  # fmt: skip
FIELDS = st.dictionaries(
    st.sampled_from(
        ["ms", "status", "route", "user", "success", "name", "count", "error", "exception_type", "last_seq", "dropped",
         "kernel_drops", "journal_full", "socket", "method"]
    ) | st.sampled_from(TEXTS),
    VALUE, max_size=8,
)  # fmt: skip
EVENT = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["request", "timer", "counter", "login", "metlog.end", "metlog.report", "metlog.drops", "a", *TEXTS]
        )
    },
    optional={
        "fields": FIELDS,
        "seq": st.sampled_from([0, 1, 2, 63, 64, 2**52, 2**53 - 1, 2**53, BIG]) | st.integers(0, BIG),
        "weight": st.sampled_from([1.0, 5e-324, 1e-300, 1e14, 1e15, 1.1e15, 1e100, sys.float_info.max]),
        "stream": st.sampled_from(["s", "t", *TEXTS]),
        "logger": st.sampled_from(["shop", *TEXTS]),
        "hostname": st.sampled_from(["h", *TEXTS]),
        "pid": st.sampled_from([0, BIG]),
        "severity": st.integers(0, 7),
        "payload": st.sampled_from(TEXTS),
        "tokens": st.lists(st.sampled_from(TEXTS), max_size=3),
    },
)


def taken(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that pass the listener's door, as rows of the lake."""
    begin = datetime.now(UTC) - timedelta(minutes=30)
    found = []
    for number, item in enumerate(events):
        try:
            (row,) = decode(json.dumps(item).encode())
        except WRONG:
            continue
        given = {name: getattr(row, name) for name in item if name not in {"tokens", "seq"}}
        found.append(event(row.seq, begin + timedelta(minutes=number % 20), **{**given, "tokens": list(row.tokens)}))
    return found


@pytest.mark.parametrize(
    ("name", "value"),
    [("seq", 2**63), ("seq", -1), ("weight", 1.1e15), ("weight", 0), ("weight", 1.7e308)],
)
def test_numbers_beyond_their_bounds_are_no_events(name: str, value: float) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"Expected .* - at `.*{name}`"):
        decode(json.dumps({"type": "a", name: value}).encode())


@settings(max_examples=12, deadline=None, phases=(Phase.reuse, Phase.generate), suppress_health_check=list(HealthCheck))
@given(st.lists(EVENT, min_size=1, max_size=25))
def test_every_report_and_the_overview_answer(
    tmp_path_factory: pytest.TempPathFactory, events: list[dict[str, Any]]
) -> None:
    data = tmp_path_factory.mktemp("data")
    write(data, taken(events))
    with Lake(data) as lake:
        for report in Library():
            found = report.run(lake, {"since": "2h"})
            msgspec.json.encode(specification(report, found))
            assert lines(report, found)
        overview = look(lake, Times.of("1h"), loggers=None, cancel=Cancel())
        assert overview.lost >= 0
        assert len(overview.drawn.bars) in {60, 61}
        lake.query("SELECT * FROM delivery")


@settings(max_examples=3, deadline=None, phases=(Phase.reuse, Phase.generate), suppress_health_check=list(HealthCheck))
@given(st.lists(EVENT, min_size=15, max_size=25))
def test_every_page_answers(tmp_path_factory: pytest.TempPathFactory, events: list[dict[str, Any]]) -> None:
    data = Path(tmp_path_factory.mktemp("data"))
    write(data, taken(events))
    with TestClient(
        create_app(WebSettings(data=data)), base_url="http://127.0.0.1", headers={"accept": "text/html"}
    ) as page:
        paths = [
            "/",
            "/events?since=24h",
            "/events?since=24h&field=ms>5",
            "/sql?sql=FROM+events",
            "/sql?sql=FROM+delivery",
        ]
        for report in Library():
            paths += [
                f"/reports/{report.name}",
                f"/reports/{report.name}.svg",
                f"/reports/{report.name}.csv",
                f"/api/reports/{report.name}",
            ]
        for path in paths:
            answer = wait_for(lambda path=path: (found := page.get(path)).status_code != 202 and found, seconds=60)
            assert answer.status_code == 200, path
