"""The charts that `--chart -` prints, character by character."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metlog.lake.query import Lake
from metlog.reports import Library
from metlog.reports.charts.terminal import lines
from metlog.reports.report import Report
from tests.helpers.reportdata import EVENTS, NOW, event, hours, numbered, request, write


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data"), numbered(EVENTS))


def drawn(data: Path, name: str, /, width: int = 60, **params: Any) -> list[str]:
    report = Library()[name]
    with Lake(data) as lake:
        result = report.run(lake, {"since": "2026-03-10", "until": "2026-03-12", **params}, now=NOW)
    return [line.plain for line in lines(report, result, width)]


def test_bars_are_stacked_with_a_mark_for_each_series(data: Path) -> None:
    assert drawn(data, "logins", width=40) == [
        "Logins  10 Mar to 11 Mar 2026, UTC",
        "logins a day  █ logins  ▓ failures",
        "Tue 10 Mar  ███████████▓▓▓▓▓▓▓▓▓▓▓  1  1",
        "Wed 11 Mar  ██████████████████████  2  0",
    ]


def test_hours_without_events_are_bars_of_no_length(data: Path) -> None:
    found = drawn(data, "requests-by-hour", until="2026-03-10T12:00", width=50)
    assert [line.split("  ")[0] for line in found[2:]] == ["10 Mar 08:00", "10 Mar 09:00"]
    whole = drawn(data, "requests-by-hour", until="2026-03-11", width=50)
    assert len(whole) == 2 + 16  # 08:00 to 23:00
    assert whole[4].split() == ["10", "Mar", "10:00", "0", "0"]


def test_a_ranking_is_longest_first(data: Path) -> None:
    assert drawn(data, "top-values", width=30) == [
        "Top values of a field  10 Mar to 11 Mar 2026, UTC; field = user",
        "events",
        "u1  ███████████████████████  3",
        "u2  ███████████████████████  3",
        "u3  ███████████████████████  3",
        "u9  ████████                 1",
    ]


def test_a_spread_has_each_number_at_its_place(data: Path) -> None:
    assert drawn(data, "request-times", width=60) == [
        "Request times  10 Mar to 11 Mar 2026, UTC",
        "ms  │ median  ● average  ◆ 95th percentile  ▶ 99th percentile  ",
        "/a      ●▶                                30   24   30   30",
        "/b                   │────────●───────▶  100  150  200  200",
    ]


def test_a_spread_of_far_apart_numbers_is_drawn_to_a_logarithmic_scale(tmp_path: Path) -> None:
    data = write(
        tmp_path, [request(hours(8), route, 200, ms) for route, ms in (("/a", 1.0), ("/b", 10.0), ("/c", 100.0))]
    )
    found = drawn(data, "request-times", width=60)
    assert found[1].startswith("ms, log scale  │ median")
    assert [line.index("▶") for line in found[2:]] == [4, 4 + 17, 4 + 34]  # each power of ten as far from the last


def test_curves_have_their_range_and_gaps(tmp_path: Path) -> None:
    events = [event(hours(8 + n), "counter", {"name": "up", "count": n}) for n in (1, 2, 4, 8)]
    events += [event(hours(9), "timer", {"name": "t", "ms": 5.0})]
    data = write(tmp_path, events)
    assert drawn(data, "counters", by="hour", width=50) == [
        "Counters  10 Mar to 11 Mar 2026, UTC",
        "counted an hour, 10 Mar 09:00 to 10 Mar 16:00, each curve of its own height",
        f"up  {'▁▂▁▄▁▁▁█':<38}  0 to 8",  # nothing was counted at 11, 13, 14 and 15
    ]
    events = [event(hours(8 + n), "timer", {"name": "took", "ms": n}) for n in (1, 2, 4, 8)]
    assert drawn(write(tmp_path / "t", events), "timers", by="hour", width=50)[2] == f"took  {'▁▂ ▄   █':<36}  1 to 8"


@pytest.mark.parametrize(
    ("kind", "drawing"),
    [
        ("lines", ["n  ▆ █                            3 to 4"]),
        ("bars", ["x  ████████████████████████          3", "y", "z  ████████████████████████████████  4"]),
        ("spread", ["x                        │          3", "y", "z                                │  4"]),
    ],
)  # fmt: skip
def test_what_has_no_value_is_not_drawn_as_0(tmp_path: Path, kind: str, drawing: list[str]) -> None:
    report = Report.from_toml("r", f"""
title = "R"
sql = "SELECT * FROM (VALUES ('x', 3, NULL), ('y', NULL, NULL), ('z', 4, NULL)) AS t(name, n, was) ORDER BY name"
chart = {{ kind = "{kind}", x = "name", y = ["n", "was"] }}
""")  # fmt: skip
    with Lake(tmp_path) as lake:
        assert [line.plain.rstrip() for line in lines(report, report.run(lake, now=NOW), 40)][2:] == drawing


def test_curves_without_any_value_say_so(tmp_path: Path) -> None:
    report = Report.from_toml("r", """
title = "R"
sql = "SELECT 'x' AS name, NULL::DOUBLE AS n"
chart = { kind = "lines", x = "name", y = ["n"] }
""")  # fmt: skip
    with Lake(tmp_path) as lake:
        found = [line.plain for line in lines(report, report.run(lake, now=NOW), 40)]
    assert found[1:] == ["There are no values in this time."]


@pytest.mark.slow
def test_every_line_fits_the_terminal(data: Path) -> None:
    for report in Library():
        for width in (40, 80, 140):
            found = drawn(data, report.name, width=width)
            assert all(len(line) <= width for line in found[2:]), (report.name, width)
