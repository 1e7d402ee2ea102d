"""Charts: what is drawn is what the rows say, in light and dark, with dates, units and a word where there is nothing."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from metlog.lake.query import Column, Lake
from metlog.reports import Chart, Library, Report, ReportResult
from metlog.reports.charts.scales import decades, in_digits
from metlog.reports.charts.terminal import lines
from metlog.reports.charts.timeline import STEPS, between, step_after
from metlog.reports.charts.vega import period
from metlog.reports.times import zone
from tests.helpers.reportdata import EVENTS, NOW, event, hours, numbered, write

vl_convert = pytest.importorskip("vl_convert")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with Lake(write(tmp_path_factory.mktemp("data"), numbered(EVENTS))) as made:
        yield made


LIBRARY = Library()


def run(data: Lake | Path, name: str, /, **params: Any) -> tuple[Report, ReportResult]:
    if isinstance(data, Path):
        with Lake(data) as lake:
            return run(lake, name, **params)
    return LIBRARY[name], LIBRARY[name].run(data, {"since": "2026-03-01", **params}, now=NOW)


def svg_of(specification: dict[str, Any]) -> str:
    return str(vl_convert.vegalite_to_svg(specification, allowed_base_urls=[]))


def words(svg: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<(?:text|tspan)[^>]*>([^<]+)", svg)]


def made(chart: Chart, rows: list[dict[str, Any]], **values: Any) -> tuple[Report, ReportResult]:
    """A report that has this chart, and a result that has these rows."""
    report = Report("mine", "Mine", "", "SELECT 1", {}, chart, Library()["logins"].empty)
    table = pa.Table.from_pylist(rows)
    columns = [Column(name, str(kind)) for name, kind in zip(table.column_names, table.schema.types, strict=True)]
    return report, ReportResult(columns, table, False, 1.0, values)


def by_day(first: int, number: int, **values: Any) -> list[dict[str, Any]]:
    return [{"time": datetime(2026, 3, first) + timedelta(days=n), **values} for n in range(number)]


ASKED = {
    "since": datetime(2026, 3, 1, tzinfo=zone("UTC")),
    "until": datetime(2026, 3, 8, tzinfo=zone("UTC")),
    "tz": "UTC",
    "by": "day",
}


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("report", list(Library()), ids=lambda report: report.name)
def test_every_built_in_chart_draws_with_its_period_and_unit(lake: Lake, report: Report, dark: bool) -> None:
    found = run(lake, report.name)[1]
    specification = report.chart(found, dark=dark)
    assert specification["background"] == ("#0f172a" if dark else "#ffffff")
    said = words(svg_of(specification))
    assert report.title in said
    assert any(word.startswith("1 Mar to 12 Mar 2026 09:30, UTC") for word in said)
    assert report.chart_spec is not None
    unit = report.chart_spec.unit.replace("{by}", str(found.values.get("by") or report.chart_spec.step)).replace(
        "a hour", "an hour"
    )
    assert unit
    assert unit in said


@pytest.mark.parametrize("report", list(Library()), ids=lambda report: report.name)
def test_an_empty_chart_says_so_with_the_code_that_brings_data(lake: Lake, report: Report) -> None:
    nothing = run(lake, report.name, since="2020-01-01", until="2020-01-02")[1]
    said = words(svg_of(report.chart(nothing, width=860)))
    assert report.empty.text in said
    assert all(line in said for line in report.empty.code.splitlines())


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(part * share for part, share in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_texts_and_marks_stand_out_from_the_paper(dark: bool) -> None:
    """Contrast as WCAG 2 counts it: 4.5 for texts, 3 for what is drawn (2 for the two palest of eight series)."""

    def contrast(one: str, other: str) -> float:
        high, low = sorted((luminance(one), luminance(other)), reverse=True)
        return (high + 0.05) / (low + 0.05)

    rows = [{"time": row["time"], "name": f"n{n}", "v": 1} for n in range(8) for row in by_day(1, 2)]
    report, result = made(Chart(kind="lines", x="time", y=("v",), color="name"), rows, **ASKED)
    specification = report.chart(result, dark=dark)
    paper = specification["background"]
    axis, legend, title = (specification["config"]["axis"], specification["config"]["legend"], specification["title"])
    for colour in (
        axis["labelColor"],
        axis["titleColor"],
        legend["labelColor"],
        title["color"],
        title["subtitleColor"],
    ):
        assert contrast(colour, paper) >= 4.5
    drawn = [contrast(colour, paper) for colour in specification["encoding"]["color"]["scale"]["range"]]
    assert len(set(specification["encoding"]["color"]["scale"]["range"])) == 8
    assert min(drawn) >= 2
    assert sum(value >= 3 for value in drawn) >= 6


def test_bars_are_stacked_and_as_wide_as_their_step(lake: Lake) -> None:
    report, found = run(lake, "logins")
    values = report.chart(found)["data"]["values"]
    assert [(row["_series"], row["_from"], row["_to"], row["time"], row["_end"]) for row in values] == [
        ("logins", 0, 1, "2026-03-10T00:00:00Z", "2026-03-11T00:00:00Z"),
        ("logins", 0, 2, "2026-03-11T00:00:00Z", "2026-03-12T00:00:00Z"),
        ("failures", 1, 2, "2026-03-10T00:00:00Z", "2026-03-11T00:00:00Z"),
    ]
    by_month = report.chart(run(lake, "logins", by="month")[1])["data"]["values"]
    assert (by_month[0]["time"], by_month[0]["_end"]) == ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")


def ends(x: dict[str, Any]) -> list[str]:
    """Where an axis of time begins and ends."""
    times = (int(x["scale"][name]["expr"]) / 1000 for name in ("domainMin", "domainMax"))
    return [f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}" for seconds in times]


def test_rows_of_several_clients_add_up_to_one_bar_a_step_and_series() -> None:
    """A row a client and minute, as `delivery-by-minute` has it, and rows of listeners, of which nothing is known."""
    chart = Chart(kind="bars", x="minute", step="minute", y=("lost", "late"), unit="events a {by}")
    first, second = datetime(2026, 3, 10, 12), datetime(2026, 3, 10, 12, 1)
    rows = [
        {"minute": first, "lost": 2, "late": 1}, {"minute": first, "lost": 3, "late": 0}, {"minute": second, "lost": 0, "late": 4},
        {"minute": second, "lost": None, "late": None},
    ]  # fmt: skip
    report, result = made(
        chart, rows, since=first.replace(tzinfo=UTC), until=first.replace(hour=13, tzinfo=UTC), tz="UTC"
    )
    specification = report.chart(result)
    drawn = [
        (row["_series"], row["_from"], row["_to"], row["minute"], row["_end"])
        for row in specification["data"]["values"]
    ]
    assert drawn == [
        ("lost", 0, 5, "2026-03-10T12:00:00Z", "2026-03-10T12:01:00Z"),
        ("late", 5, 6, "2026-03-10T12:00:00Z", "2026-03-10T12:01:00Z"),
        ("late", 0, 4, "2026-03-10T12:01:00Z", "2026-03-10T12:02:00Z"),
    ]
    assert specification["encoding"]["y"]["title"] == "events a minute"
    assert ends(specification["encoding"]["x"])[1] == "2026-03-10T13:00:00Z"


def test_bars_of_nothing_say_that_nothing_was_lost() -> None:
    report = Library()["delivery-by-minute"]
    first = datetime(2026, 3, 10, 12)
    rows = [{"minute": first, "lost": 0, "repeated": 0, "reordered": 0, "kernel_drops": None}]
    result = made(Chart(kind="bars", x="minute", y=("lost",)), rows, **ASKED)[1]
    assert "Nothing was lost, repeated or reordered in this time." in words(svg_of(report.chart(result)))
    assert lines(report, result)[1].plain == "Nothing was lost, repeated or reordered in this time."


def test_a_day_of_minutes_has_bars_that_can_be_seen() -> None:
    """1,440 steps in 760 pixels, of eight clients: more rows than a chart takes. What is not 0 is there, and the whole day with it."""
    report = Library()["delivery-by-minute"]
    day = datetime(2026, 3, 10, tzinfo=UTC)
    zeros = {"repeated": 0, "reordered": 0}
    rows = [
        {"minute": day + timedelta(minutes=n), "lost": int(n % 100 == 5), **zeros}
        for n in range(1440)
        for _ in range(8)
    ]
    result = made(
        Chart(kind="bars", x="minute", y=("lost",)), rows, since=day, until=day + timedelta(days=1), tz="UTC"
    )[1]
    specification = report.chart(result, width=760)
    drawn = {row["minute"][11:16]: row["_to"] for row in specification["data"]["values"]}
    assert drawn == {f"{n // 60:02}:{n % 60:02}": 8 for n in range(5, 1440, 100)}
    assert ends(specification["encoding"]["x"]) == ["2026-03-10T00:00:00Z", "2026-03-11T00:00:00Z"]
    widths = [
        float(width)
        for width in re.findall(r'd="M[\d.]+,[\d.]+h([\d.]+)v[\d.]+h-[\d.]+Z" fill="#dc2626"', svg_of(specification))
    ]
    assert len(widths) == 15
    assert min(widths) >= 1
    told = [line.plain for line in lines(report, result, 60)]
    assert told[2] == "without 1,425 empty ones"
    assert len(told) == 3 + 15


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (11, 2190, [10, 20, 50, 100, 200, 500, 1000, 2000, 5000]),
        (10, 1000, [10, 20, 50, 100, 200, 500, 1000]),
        (0.021, 1971, [0.01, 0.1, 1, 10, 100, 1000, 10000]),
        (999.9999999999999, 1000000.0000000001, [500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 2000000]),
    ],
)  # fmt: skip
def test_a_logarithmic_scale_has_round_numbers_around_all_values(low: float, high: float, ticks: list[float]) -> None:
    assert decades(low, high) == ticks


@pytest.mark.parametrize(
    ("fast", "slow", "kind"), [(2.0, 99.0, None), (2.0, 100.0, "log"), (0.0, 100.0, None), (None, 100.0, None)]
)
def test_a_spread_over_fifty_times_the_least_is_logarithmic_and_says_so(
    fast: float | None, slow: float, kind: str | None
) -> None:
    """A value of 0 has no place on such a scale."""
    chart = Chart(kind="spread", x="route", y=("p50", "p99"), unit="ms")
    rows = [{"route": "/a", "p50": fast, "p99": fast}, {"route": "/b", "p50": 50.0, "p99": slow}]
    report, result = made(chart, rows)
    for layer in report.chart(result)["layer"]:
        x = layer["encoding"]["x"]
        assert x.get("scale", {}).get("type") == kind
        assert x["title"] == ("ms, log scale" if kind else "ms")
    said = words(svg_of(report.chart(result)))
    assert ("5" in said) == (kind == "log")
    assert ("log scale" in lines(report, result)[1].plain) == (kind == "log")


def test_the_axis_shows_the_whole_time_that_was_asked_for(lake: Lake) -> None:
    report, found = run(lake, "logins")
    assert ends(report.chart(found)["encoding"]["x"]) == ["2026-03-01T00:00:00Z", "2026-03-13T00:00:00Z"]
    far = run(lake, "logins", since="2000-01-01")[1]  # unless that would leave the bars no room
    assert ends(report.chart(far)["encoding"]["x"]) == ["2026-03-10T00:00:00Z", "2026-03-12T00:00:00Z"]
    berlin = run(lake, "requests-by-hour", since="2026-03-10", until="2026-03-11", tz="Europe/Berlin")
    axis = berlin[0].chart(berlin[1])["encoding"]["x"]
    assert ends(axis) == ["2026-03-10T00:00:00Z", "2026-03-11T00:00:00Z"]  # the clock on the wall there
    assert axis["title"] == "hour, Europe/Berlin"


@pytest.mark.parametrize(
    ("by", "since", "until", "expected"),
    [
        ("day", "2026-03-08", "2026-03-15", [f"{day} Mar" for day in range(8, 15)]),
        ("hour", "2026-03-10", "2026-03-11", ["10 Mar", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00"]),
        (
            "hour",
            "2026-03-09",
            "2026-03-13",
            ["9 Mar", "12:00", "10 Mar", "12:00", "11 Mar", "12:00", "12 Mar", "12:00"],
        ),
        ("minute", "2026-03-10T08:00", "2026-03-10T08:30", ["08:00", "08:05", "08:10", "08:15", "08:20", "08:25"]),
        ("week", "2026-03-02", "2026-03-30", ["2 Mar", "9 Mar", "16 Mar", "23 Mar"]),
        ("month", "2026-01-01", "2026-05-01", ["Jan 2026", "Feb 2026", "Mar 2026", "Apr 2026"]),
    ],
)
def test_labels_are_dates_at_round_steps(lake: Lake, by: str, since: str, until: str, expected: list[str]) -> None:
    report, found = run(lake, "requests-by-hour", by=by, since=since, until=until)
    said = words(svg_of(report.chart(found, width=700)))
    shown = [word for word in said if re.fullmatch(r"\d\d:\d\d|\d{1,2} [A-Z][a-z]{2}|[A-Z][a-z]{2} \d{4}", word)]
    assert shown == expected


@pytest.mark.parametrize("number", [1, 2, 5, 31, 90, 366, 3000])
@pytest.mark.parametrize("by", ["minute", "hour", "day", "week", "month"])
@pytest.mark.parametrize("kind", ["bars", "lines"])
def test_there_are_some_labels_and_never_more_than_have_room(kind: Any, by: str, number: int) -> None:
    step = {"week": timedelta(weeks=1), "month": timedelta(days=31)}.get(by) or timedelta(**{f"{by}s": 1})
    first = datetime(2026, 3, 2)
    rows = [
        {"time": (first + n * step).replace(day=1) if by == "month" else first + n * step, "v": 1}
        for n in range(number)
    ]
    chart = Chart(kind=kind, x="time", y=("v",))
    report, result = made(
        chart,
        rows,
        by=by,
        tz="UTC",
        since=first.replace(tzinfo=zone("UTC")),
        until=rows[-1]["time"].replace(tzinfo=zone("UTC")),
    )
    places = json.loads(report.chart(result, width=700)["encoding"]["x"]["axis"]["values"]["expr"])
    assert 1 <= len(places) <= 11


def test_what_the_time_zone_of_the_reader_is_does_not_matter(lake: Lake) -> None:
    """Times are the clock on the wall of the report's zone, told as UTC, on an axis of UTC."""
    report, found = run(lake, "requests-by-hour", tz="Asia/Kolkata", since="2026-03-10", until="2026-03-11")
    specification = report.chart(found)
    assert {row["time"] for row in specification["data"]["values"]} == {
        "2026-03-10T13:00:00Z", "2026-03-10T14:00:00Z"}  # 08:00, 08:30 and 09:00 UTC  # fmt: skip
    assert specification["encoding"]["x"]["scale"]["type"] == "utc"
    assert specification["encoding"]["tooltip"][0]["timeUnit"].startswith("utc")


def test_series_beyond_the_colours_are_left_out_and_said_to_be(tmp_path: Path) -> None:
    events = [event(hours(n), "counter", {"name": f"c{n:02}", "count": n + 1}) for n in range(12)]
    report, found = run(write(tmp_path, events), "counters", by="day")
    specification = report.chart(found)
    assert specification["encoding"]["color"]["scale"]["domain"] == [f"c{n:02}" for n in range(4, 12)]
    assert specification["title"]["subtitle"].endswith("the 8 largest of 12 by name")
    assert len(specification["data"]["values"]) == 8


def test_colours_mean_the_same_in_every_chart(lake: Lake) -> None:
    report, found = run(lake, "status-codes")
    scale = report.chart(found)["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == {
        "2xx": "#16a34a",
        "4xx": "#d97706",
        "5xx": "#dc2626",
    }
    report, found = run(lake, "logins")
    scale = report.chart(found)["encoding"]["color"]["scale"]
    assert scale == {"domain": ["logins", "failures"], "range": ["#16a34a", "#dc2626"]}


def test_a_ranking_leaves_zeros_out_and_says_when_there_is_nothing_else(lake: Lake, tmp_path: Path) -> None:
    report, found = run(lake, "delivery")
    assert [row["lost"] for row in report.chart(found)["data"]["values"]] == [2]
    whole = [{**item, "seq": n} for n, item in enumerate(EVENTS, 1)]
    report, found = run(write(tmp_path, whole), "delivery")
    assert found.rows
    assert "Nothing was lost in this time." in words(svg_of(report.chart(found)))
    assert [line.plain for line in lines(report, found)][1:] == ["Nothing was lost in this time."]


def test_a_long_ranking_is_cut_and_says_so() -> None:
    rows = [{"name": f"n{n}", "v": 100 - n} for n in range(40)]
    report, result = made(Chart(kind="ranked", x="name", y=("v",)), rows)
    specification = report.chart(result)
    assert len(specification["data"]["values"]) == 25
    assert specification["title"]["subtitle"] == "the first 25 of 40"


def test_a_chart_says_what_it_was_narrowed_down_to(lake: Lake) -> None:
    report, found = run(lake, "top-values", until="2026-03-12")
    assert report.chart(found)["title"]["subtitle"] == "1 Mar to 11 Mar 2026, UTC; field = user"
    report, found = run(lake, "top-values", field="route", type="request", logger="svc", until="2026-03-12")
    expected = "1 Mar to 11 Mar 2026, UTC, svc only; field = route; type = request"
    assert report.chart(found)["title"]["subtitle"] == expected
    assert lines(report, found)[0].plain == f"Top values of a field  {expected}"


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (7, "7"),
        (1234567.0, "1,234,567"),
        (934.91, "935"),
        (999.6, "1,000"),
        (99.96, "100"),
        (99.94, "99.9"),
        (73.36, "73.4"),
        (0.5049, "0.505"),
        (-250.4, "-250"),
    ],
)
def test_numbers_beside_bars_have_the_digits_that_count(number: float, shown: str) -> None:
    report, result = made(Chart(kind="ranked", x="name", y=("v",)), [{"name": "n", "v": number or 1.0}])
    assert in_digits(number) == shown
    if number:
        assert shown in words(svg_of(report.chart(result)))


def test_bytes_have_their_unit_on_the_axis() -> None:
    rows = [{"time": row["time"], "bytes": 1_400_000} for row in by_day(1, 3)]
    report, result = made(Chart(kind="bars", x="time", y=("bytes",), unit="bytes a {by}"), rows, **ASKED)
    said = words(svg_of(report.chart(result)))
    assert {"0 B", "200 kB", "1 MB", "1.4 MB"} <= set(said), said


def test_names_that_are_code_or_paths_are_only_names() -> None:
    evil = ["a'b\"c", "alert(1)", "x.y[0]", "</text><script>", "\\", "\u2028", "${x}", "日本"]
    rows = [{"time.a[0]": row["time"], "na'me": name, "v\\.x": 2.0, "w": 1.0} for name in evil for row in by_day(1, 2)]
    for chart in (
        Chart(kind="lines", x="time.a[0]", y=("v\\.x",), color="na'me"),
        Chart(kind="bars", x="time.a[0]", y=("v\\.x",), color="na'me"),
        Chart(kind="bars", x="time.a[0]", y=("v\\.x", "w")),
        Chart(kind="ranked", x="na'me", y=("v\\.x",)),
        Chart(kind="ranked", x="na'me", y=("v\\.x", "w")),
        Chart(kind="spread", x="na'me", y=("w", "v\\.x")),
    ):
        report, result = made(chart, rows, **ASKED)
        drawn = svg_of(report.chart(result))
        assert "<script" not in drawn
        assert drawn.count("<path") > 4
        if chart.color or chart.kind != "bars":
            assert "alert(1)" in words(drawn)
        assert lines(report, result, 80)


@pytest.mark.parametrize("kind", ["bars", "lines", "ranked", "spread"])
def test_a_chart_of_a_column_that_is_not_there_says_which_are(kind: Any) -> None:
    report, result = made(Chart(kind=kind, x="time", y=("nope",)), by_day(1, 2, v=1), **ASKED)
    said = "The chart wants the column 'nope'; the result has time, v."
    assert said in words(svg_of(report.chart(result)))
    assert [line.plain for line in lines(report, result)][1:] == [said]


def test_a_counter_is_0_where_nothing_was_counted_and_a_timer_is_not_known(tmp_path: Path) -> None:
    """No line is drawn across hours without events, as if there had been some."""
    events = [event(hours(n), "counter", {"name": "c", "count": 5}, weight=2.0) for n in (8, 11)]
    events += [event(hours(n), "counter", {"name": "d", "count": 1}) for n in (9, 12)]
    events += [event(hours(n), "timer", {"name": "t", "ms": 7.0}) for n in (8, 9, 11)]
    asked = {"since": "2026-03-10", "until": "2026-03-11", "by": "hour"}
    data = write(tmp_path, events)

    def lines_of(name: str, value: str) -> dict[str, dict[int, float | None]]:
        report, found = run(data, name, **asked)
        drawn: dict[str, dict[int, float | None]] = {}
        for row in report.chart(found)["data"]["values"]:
            drawn.setdefault(row["name"], {})[int(row["time"][11:13])] = row[value]
        return drawn

    assert lines_of("counters", "total") == {
        "c": {8: 10, 9: 0, 10: 0, 11: 10, 12: 0},
        "d": {8: 0, 9: 1, 10: 0, 11: 0, 12: 1},
    }
    assert lines_of("timers", "average") == {"t": {8: 7, 9: 7, 10: None, 11: 7}}
    svg = svg_of(run(data, "timers", **asked)[0].chart(run(data, "timers", **asked)[1]))
    paths = re.findall(r'<path[^>]*aria-roledescription="line mark"[^>]* d="([^"]+)"', svg)
    assert [path.count("M") for path in paths] == [2], paths  # begun again after the gap


@pytest.mark.parametrize(("distance", "size"), [(1, None), (2, 9)])
def test_a_lone_value_between_gaps_is_seen_however_many_there_are(distance: int, size: int | None) -> None:
    rows = [{"time": datetime(2026, 3, 1) + timedelta(minutes=distance * n), "v": 1.0} for n in range(50)]
    report, result = made(Chart(kind="lines", x="time", y=("v",)), rows, **{**ASKED, "by": "minute"})
    assert report.chart(result)["mark"]["point"] == (False if size is None else {"size": size})


def test_an_hour_that_the_clocks_leave_out_is_no_gap() -> None:
    """Berlin, 29 March 2026: two o'clock does not come; 25 October: it comes twice, as one row."""
    spring = [datetime(2026, 3, 29, hour, tzinfo=UTC) for hour in (1, 3, 5)]
    assert [moment.hour for moment in between(spring, "hour", "Europe/Berlin")] == [1, 3, 4, 5]
    assert [moment.hour for moment in between(spring, "hour", "UTC")] == [1, 2, 3, 4, 5]
    autumn = [datetime(2026, 10, 25, hour) for hour in (1, 4)]
    assert [moment.hour for moment in between(autumn, "hour", "Europe/Berlin")] == [1, 2, 3, 4]
    assert len(between([datetime(2026, 3, 1), datetime(2026, 4, 1)], "day", "Europe/Berlin")) == 32


@pytest.mark.parametrize("kind", ["bars", "lines", "ranked", "spread"])
def test_missing_values_are_left_out_not_drawn_as_numbers(kind: Any) -> None:
    rows = [{"x": None, "v": 1.0}, {"x": datetime(2026, 3, 2), "v": None}, {"x": datetime(2026, 3, 3), "v": 3.0}]
    report, result = made(Chart(kind=kind, x="x", y=("v",)), rows, **ASKED)
    assert "NaN" not in svg_of(report.chart(result))
    assert lines(report, result)


@pytest.mark.parametrize(
    ("since", "until", "tz", "said"),
    [
        ("2026-03-01", "2026-03-08", "UTC", "1 Mar to 7 Mar 2026, UTC"),
        ("2026-03-01", "2026-03-02", "UTC", "1 Mar 2026, UTC"),
        ("2025-12-30", "2026-01-02", "UTC", "30 Dec 2025 to 1 Jan 2026, UTC"),
        ("2026-03-01", "2026-03-07T13:00", "Europe/Berlin", "1 Mar to 7 Mar 2026 13:00, Europe/Berlin"),
        ("2026-03-01T08:00", "2026-03-01T09:30", "UTC", "1 Mar 2026 08:00 to 09:30, UTC"),
        ("2026-03-01T08:00", "2026-03-02T08:00", "UTC", "1 Mar 2026 08:00 to 2 Mar 08:00, UTC"),
        ("2026-03-01", "2026-03-01T09:30", "UTC", "1 Mar 2026 00:00 to 09:30, UTC"),
    ],
)
def test_the_period_is_told_as_people_write_it(since: str, until: str, tz: str, said: str) -> None:
    values = Library()["logins"].values({"since": since, "until": until, "tz": tz})
    assert period(values) == said
    assert period({**values, "logger": "shop"}) == f"{said}, shop only"


@pytest.mark.parametrize("step", sorted(STEPS))
def test_the_calendar_has_an_end(step: str) -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert last < step_after(last, step) == datetime.max.replace(tzinfo=UTC)
    assert between([last, step_after(last, step)], step, "America/New_York")[-1] == datetime.max.replace(tzinfo=UTC)
    assert between([datetime(1, 1, 1, tzinfo=UTC)], step, "Asia/Tokyo") == [datetime(1, 1, 1, tzinfo=UTC)]
