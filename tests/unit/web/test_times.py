"""The time control: read from the URL, on every page, carried along by links."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import duckdb
import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from metlog.web.errors import Refused
from metlog.web.histogram import PARTS, histogram, steps
from metlog.web.overview import _COUNTS
from metlog.web.times import Times, times_of

PAGES = ("/", "/reports", "/reports/logins", "/events")


def asked(query: str, path: str = "/events") -> Request:
    scope = {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": []}
    return Request(scope)


def test_a_span_is_read_from_the_url() -> None:
    times = times_of(asked("since=2026-03-01&until=2026-03-02T06:30&tz=Europe/Berlin&refresh=10s"))
    assert times.begin.isoformat() == "2026-02-28T23:00:00+00:00"
    assert times.end.isoformat() == "2026-03-02T05:30:00+00:00"
    assert times.seconds == 10
    plain = times_of(asked(""))
    assert (plain.since, plain.until, plain.tz, plain.seconds, plain.query) == ("24h", "now", "UTC", 0, "")
    assert plain.end - plain.begin == timedelta(hours=24)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("since=nonsense", "since = 'nonsense'"),
        ("until=2026-99-01", "until = '2026-99-01'"),
        ("tz=../../etc/passwd", "tz = '../../etc/passwd'"),
        ("tz=Mars/Base", "no such time zone"),
        ("refresh=1s", "refresh = '1s': wants 10s, 1m, 5m"),
        ("since=1h&until=2h", "not before until"),
    ],
)
def test_what_is_no_span_is_refused_by_name(query: str, words: str) -> None:
    with pytest.raises(Refused, match=re.escape(words)) as refused:
        times_of(asked(query))
    assert refused.value.status == 400


def test_a_permalink_has_absolute_times_and_all_else_of_the_address() -> None:
    times = times_of(asked("type=login&field=a%3Db&field=c&since=7d&tz=Europe/Berlin&refresh=1m&after=xyz"))
    link = times.permanent
    assert "type=login&field=a%3Db&field=c" in link
    assert "refresh" not in link
    assert "after" not in link
    again = times_of(asked(link.partition("?")[2]))
    assert (again.begin, again.end, again.tz) == (times.begin, times.end, times.tz)
    assert again.permanent == link


def test_links_take_the_span_along_unless_they_say_another_one() -> None:
    times = times_of(asked("since=7d&tz=Europe/Berlin&refresh=1m"))
    assert times.link("/reports") == "/reports?since=7d&tz=Europe/Berlin"
    assert times.link("/events", [("since", "1h"), ("type", "a"), ("host", "")]) == (
        "/events?since=1h&type=a&tz=Europe/Berlin"
    )
    assert times.here(since="1h") == "/events?since=1h&tz=Europe/Berlin&refresh=1m"


def test_a_condition_is_dropped_alone() -> None:
    times = times_of(asked("not_type=a&not_type=b&q=x&since=1h"))
    assert times.without("not_type", "a") == "/events?not_type=b&q=x&since=1h"


@pytest.mark.process
@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_the_control_and_links_that_keep_the_span(page: TestClient, path: str) -> None:
    text = html.unescape(page.get(f"{path}?since=7d&tz=Europe/Berlin&refresh=10s").text)
    assert 'id="since"' in text
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in text
    assert 'data-refresh="10"' in text
    assert "times in Europe/Berlin" in text
    assert 'href="/events?since=7d&tz=Europe/Berlin"' in text
    permalink = re.search(r'class="permalink" href="([^"]+)"', text)
    assert permalink
    assert re.search(r"since=\d{4}-\d\d-\d\dT", permalink[1])
    plain = page.get(path).text
    assert 'http-equiv="refresh"' not in plain
    assert 'href="/events"' in plain


@pytest.mark.process
@pytest.mark.parametrize("path", ["/sql", "/tail", "/events/shop1/60"])
def test_a_page_without_a_span_has_the_zone_and_keeps_the_span_for_the_others(page: TestClient, path: str) -> None:
    text = html.unescape(page.get(f"{path}?since=7d&tz=Europe/Berlin").text)
    assert '<input id="tz" name="tz" value="Europe/Berlin"' in text
    assert 'id="since"' not in text
    assert '<input type="hidden" name="since" value="7d">' in text
    assert "times in Europe/Berlin" in text
    assert 'href="/events?since=7d&tz=Europe/Berlin"' in text


@pytest.mark.process
@pytest.mark.parametrize("path", ["/", "/events", "/reports/logins"])
def test_a_wrong_span_is_told_on_the_page(page: TestClient, path: str) -> None:
    answer = page.get(f"{path}?since=%3Cscript%3E")
    assert answer.status_code == 400
    assert "ince = &#39;&lt;script&gt;&#39;" in answer.text
    assert "<script>" not in answer.text


@pytest.mark.process
def test_times_are_shown_in_the_zone(page: TestClient, now: datetime) -> None:
    moment = now - timedelta(seconds=60)
    shown = page.get("/events?type=request&tz=Asia/Kathmandu").text
    there = moment + timedelta(hours=5, minutes=45)
    assert f"{there:%Y-%m-%d}</span> {there:%H:%M:%S}" in shown
    event = page.get("/events/shop1/120?tz=Asia/Kathmandu").text
    assert f"{there:%Y-%m-%d}</span> {there:%H:%M:%S}" in event


@pytest.mark.process
def test_the_overviews_charts_show_its_span(page: TestClient) -> None:
    text = html.unescape(page.get("/?since=6h&tz=Europe/Berlin").text)
    pictures = re.findall(r'src="(/reports/[^"]+\.svg[^"]*)"', text)
    assert len(pictures) == 3
    assert all("since=6h&until=now&tz=Europe%2FBerlin" in address for address in pictures)


@pytest.mark.parametrize("span", ["1m", "15m", "1h", "6h", "24h", "3d", "7d", "30d", "90d", "3650d"])
@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin", "America/Havana", "Asia/Kathmandu"])
def test_bars_cover_the_span_and_no_more(span: str, tz: str) -> None:
    times = Times.of(span, tz=tz)
    by = steps(times)
    drawn = histogram([{"bar": by.first, "events": 12.0, "error": 2.0, "warning": 1.0, "debug": 3.0}], by, times)
    assert 10 <= len(drawn.bars) <= 98
    assert drawn.bars[0].begin == times.begin
    assert drawn.bars[-1].end == times.end
    for bar, following in zip(drawn.bars, drawn.bars[1:], strict=False):
        assert bar.end == following.begin
    if by.width == 86400:  # where the clocks leave midnight out, the day begins at 1
        assert {bar.begin.astimezone(times.zone).hour for bar in drawn.bars[1:]} <= ({0, 1} if "Havana" in tz else {0})
    assert [(name, events) for name, events, _, _ in drawn.bars[0].parts] == [
        ("error", 2.0), ("warning", 1.0), ("usual", 6.0), ("debug", 3.0),
    ]  # fmt: skip
    assert (drawn.events, drawn.errors, drawn.top) == (12.0, 2.0, 20.0)
    assert sum(height for _, _, _, height in drawn.bars[0].parts) <= 100
    assert set(PARTS) - {"usual"} <= set(re.findall(r"AS (\w+)", _COUNTS))


@pytest.mark.parametrize(
    ("tz", "until"),
    [
        ("Europe/Berlin", "2025-11-20"), ("Europe/Berlin", "2025-04-20"), ("America/Havana", "2025-11-20"),
        ("America/Havana", "2025-04-20"), ("Africa/Casablanca", "2025-05-01"), ("Australia/Lord_Howe", "2025-05-01"),
        ("Pacific/Apia", "2012-01-20"),
        ("America/Santiago", "2025-10-01"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("days", [9, 80, 500])
def test_bars_of_days_are_those_of_the_clock_on_the_wall_also_before_it_was_changed(
    tz: str, until: str, days: int
) -> None:
    zone, end = ZoneInfo(tz), datetime.fromisoformat(until).replace(tzinfo=ZoneInfo(tz)).astimezone(UTC)
    times = Times("", "", tz, "", end - timedelta(days=days), end, zone)
    by = steps(times)
    shift = 259_200 if by.width >= 604_800 else 0
    moments = [times.begin + timedelta(hours=hour, minutes=13) for hour in range(24 * days)]
    walls = [moment.astimezone(zone).replace(tzinfo=UTC).timestamp() for moment in moments]
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("CREATE TABLE events AS SELECT unnest($1::TIMESTAMPTZ[]) AS timestamp", [moments])
    numbers = [
        row[0] for row in connection.execute(f"SELECT {by.sql} FROM events ORDER BY timestamp", by.values).fetchall()
    ]
    assert numbers == [int((wall + shift) // by.width) for wall in walls]
    assert by.first == numbers[0]
    assert by.last == numbers[-1]
    drawn = histogram(
        [{"bar": number, "events": 1.0, "error": 0, "warning": 0, "debug": 0} for number in set(numbers)], by, times
    )
    for number, moment in zip(numbers, moments, strict=True):
        bar = drawn.bars[number - by.first]
        assert bar.begin <= moment < bar.end
    for bar, following in pairwise(drawn.bars):
        assert bar.end == following.begin
