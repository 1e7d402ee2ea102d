"""What there is among the events of a search: counts, fields, bars; and nothing of services that a token may not see."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from metlog.lake.cancel import Cancel
from metlog.lake.query import Lake
from metlog.lake.sql.guard import QueryError
from metlog.web import events, facets
from metlog.web.conditions import Search
from metlog.web.facets import Facets, counted, sampled
from metlog.web.search import page as search_page
from metlog.web.settings import Access, token_digest
from metlog.web.templating import toggled, valued
from metlog.web.times import Times
from tests.helpers.waiting import wait_for
from tests.helpers.webdata import HTML, event, write

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def lake(data: Path) -> Iterator[Lake]:
    with Lake(data) as made:
        yield made


def explored(
    lake: Lake, *pairs: tuple[str, str], loggers: list[str] | None = None, since: str = "1h", want: int = 51
) -> Facets:
    times = Times.of(since)
    search = Search.parse(pairs, times.begin, times.end)
    found = counted(lake, search, times, want, loggers=loggers, cancel=Cancel())
    sampled(found, lake, search, loggers=loggers, cancel=Cancel())
    return found


def test_counts_are_of_all_that_is_found(lake: Lake) -> None:
    found = explored(lake)
    assert (found.events, found.weight) == (118, 118.0)
    assert [(count.name, count.events) for count in found.services] == [("shop", 116), ("bank", 2)]
    assert [(count.name, count.events) for count in found.types] == [
        ("request", 115),
        (HTML, 1),
        ("html", 1),
        ("transfer", 1),
    ]
    assert [(count.name, count.wire, count.events) for count in found.severities] == [
        ("error", "3", 1),
        ("info", "6", 117),
    ]
    assert (found.drawn.events, found.drawn.errors) == (118, 1)
    assert {count.name: count.events for count in found.tokens} == {"request": 116, "transfer": 1, "money": 1, HTML: 1}
    assert found.sampled == 118


def test_counts_follow_the_conditions(lake: Lake) -> None:
    found = explored(lake, ("field", "user=u1"), ("not_logger", "bank"))
    assert found.events == 39
    assert [(count.name, count.events) for count in found.types] == [("request", 39)]
    values = {name.name: [(count.name, count.events) for count in name.values] for name in found.fields}
    assert values["user"] == [("u1", 39)]


def test_fields_have_their_types_and_shares(lake: Lake) -> None:
    fields = {name.name: name for name in explored(lake).fields}
    assert (fields["status"].events, fields["status"].types) == (115, ["number"])
    assert (fields["ms"].low, fields["ms"].high) == (1.5, 180.0)
    assert fields["ms"].values == [], "all of them are different"
    assert fields["user"].types == ["text"]
    assert {"a.b", "deep", "deep.er", "amount"} <= set(fields)
    assert fields["deep"].types == ["object"]


def test_names_and_values_that_no_condition_can_ask_for_are_shown_without_buttons(
    own_page: TestClient, own_data: Path, now: datetime
) -> None:
    fields = {"a=b": "x", "big": 10**400, "two": "lines\nof text", "fine": "y"}
    write(
        own_data,
        [event(n, now - timedelta(seconds=n), stream="odd", logger="odd", fields=fields) for n in (1, 2)],
        "odd",
    )
    text = html.unescape(own_page.get("/events?since=1h&logger=odd").text)
    facets = text[text.index('<form class="facets"') :]
    assert '<button name="field" value="fine=y"' in facets
    assert '<button name="field" value="fine"' in facets
    assert "<code>a=b</code>" in facets
    for wrong in ('value="a=b', 'value="two=', 'value="a=b=x'):
        assert f'name="field" {wrong}' not in facets
    assert f"<tr data-plain><th>a=b<td>x<tr data-plain><th>big<td>{10**400}<tr data-plain><th>two<td>lines" in text


def test_the_newest_times_are_those_of_the_page(lake: Lake) -> None:
    found = explored(lake, want=7)
    rows = lake.query("SELECT timestamp FROM events ORDER BY timestamp DESC LIMIT 7").rows
    assert found.newest == [row[0] for row in rows]
    assert explored(lake, ("type", "nothing")).newest == []


def test_the_sample_is_bounded(tmp_path: Path, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facets, "SAMPLE", 20)
    rows = [
        event(
            n,
            now - timedelta(seconds=10 * n),
            fields={"old" if n > 20 else "new": n, "much": "x" * (20_000 if n == 1 else 5)},
        )
        for n in range(1, 101)
    ]
    write(tmp_path, rows)
    with Lake(tmp_path) as lake:
        found = explored(lake)
    assert (found.events, found.sampled) == (100, 20)
    assert {name.name: name.events for name in found.fields} == {"new": 19, "much": 19}, "a huge event is left out"


def test_a_limited_token_sees_only_its_services(start: Callable[..., TestClient]) -> None:
    """In facets, suggestions, the histogram, the fields, and whatever was just shown to somebody else."""
    tokens = {token_digest("a" * 16): Access("all"), token_digest("b" * 16): Access("shop", ("shop",))}
    page = start(tokens=tokens)
    for query in (
        "",
        "&severities=3",
        "&q=secret",
        "&field=amount",
        "&token=money",
        "&logger=bank",
        "&cols=amount,service",
    ):
        address = f"/events?since=1h{query}"
        everything = page.get(address, headers={"authorization": f"Bearer {'a' * 16}"}).text
        assert "bank" in everything
        assert "amount" in everything
        shown = page.get(address, headers={"authorization": f"Bearer {'b' * 16}"}).text
        for word in ("bank", "transfer", "money", "secret", "amount", "deep.er"):
            if word not in query:
                assert word not in shown, (word, address)
        if "logger=bank" in query or "secret" in query:
            assert "No events" in shown
    assert '<option value="shop">' in shown or "No events" in shown
    text = page.get("/events?since=1h", headers={"authorization": f"Bearer {'b' * 16}"}).text
    assert '<option value="shop">' in text
    bars = re.findall(r"<title>[^<]*: (\d+) events(, \d+ errors)?</title>", text)
    assert sum(int(number) for number, _ in bars) == 116
    assert not any(errors for _, errors in bars)


def test_the_page_leads_from_each_thing_to_its_events(page: TestClient) -> None:
    text = page.get("/events?since=1h").text
    for words in (
        '<button name="logger" value="bank" class="for">bank</button>',
        '<button name="not_type" value="request" class="mini" aria-label="Without request">',
        '<button name="severities" value="3" class="for">error</button>',
        '<button name="field" value="status=200" class="for">200</button>',
        '<button name="field" value="!status=200" class="mini"',
        '<button name="cols" value="status" class="mini">as column</button>',
    ):
        assert words in text
    total = 0
    for address in re.findall(r'<a href="(\?[^"]+)" tabindex', text):
        there = page.get(f"/api/events{html.unescape(address)}").json()
        assert there["total"] > 0
        total += there["total"]
    assert total == 118


def test_columns_are_chosen_in_the_url(page: TestClient) -> None:
    text = page.get("/events?since=1h&type=request&cols=status,user,severity,status").text
    assert "cols3" in text
    assert '<span class="value">200</span><span class="value">u0</span><span class="sev' in text
    assert '<input type="hidden" name="cols" value="status,user,severity">' in text
    assert 'name="cols" value="user,severity" class="mini" aria-label="Without the column status"' in text
    assert events.chosen("a,,b, a ,c") == ["a", "b", "c"]
    assert len(events.chosen(",".join("abcdefghijk"))) == 8


def test_what_comes_from_events_is_escaped(page: TestClient) -> None:
    for address in ("/events?since=1h", "/events?since=1h&logger=bank&cols=type,host,message", "/events/bank1/2", "/"):
        text = page.get(address).text
        assert HTML not in text
        assert "<script>alert" not in text
        assert "<img" not in re.sub(r'<img src="/reports[^>]*>', "", text)
    assert (
        HTML
        not in page.get(
            "/events", params={"q": HTML, "cols": HTML, "not_type": HTML, "field": f"{HTML.replace('=', '')}"}
        ).text
    )


def test_where_counting_takes_too_much_memory_the_events_are_there(
    page: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def much(*_: object, **__: object) -> Facets:
        raise QueryError("too much", "memory")

    monkeypatch.setattr(events, "counted", much)
    answer = page.get("/events?since=1h&type=request")
    assert answer.status_code == 200
    assert "115 events" in answer.text
    assert 'class="facets"' not in answer.text


def test_a_page_does_not_wait_for_its_counts_and_gets_them_later(
    page: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events come at once; the counts when they are there, from the query that began with the page."""
    go, begun = threading.Event(), list[str]()

    def slow(*given: Any, **options: Any) -> Facets:
        begun.append(given[1].type)
        go.wait(30)
        return counted(*given, **options)

    monkeypatch.setattr(events, "counted", slow)
    monkeypatch.setattr(events, "_COUNTING", 0.1)
    monkeypatch.setattr(events, "_LEAST", 0.1)
    first = page.get("/events?since=1h&type=request&severity=info")
    assert first.status_code == 200
    assert first.text.count("<li>\n<details>") == 50
    assert "all of them are being counted" in first.text
    assert 'class="facets" id="facets"><p' in first.text
    assert "counting.js" in first.text
    job = re.findall(r'data-counting="(/jobs/[^"]+)"', first.text)[0]
    assert page.get(job).json()["state"] == "running"
    following = html.unescape(re.findall(r'href="([^"]+)" rel="next"', first.text)[0])
    second = page.get(following)
    assert "The newest events" in second.text
    assert second.text.count("<li>\n<details>") == 50
    go.set()
    wait_for(lambda: page.get(job).json()["state"] == "done")
    assert begun == ["request"], "both pages wait for one query"
    counts = page.get("/events?since=1h&type=request&severity=info").text
    assert "115 events, newest first" in counts
    assert '<button name="logger" value="shop"' in counts
    assert "data-counting" not in counts
    last = page.get(html.unescape(re.findall(r'href="([^"]+)" rel="next"', second.text)[0])).text
    assert "115 events" in last
    assert "This is the last page" in last


def test_counts_that_fail_leave_the_events(page: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object, **__: object) -> Facets:
        raise QueryError("it takes too long", "timeout")

    monkeypatch.setattr(events, "counted", late)
    answer = page.get("/events?since=1h&type=request&severity=debug")
    assert answer.status_code == 200
    assert answer.text.count("<li>\n<details>") == 50
    assert "not counted: it takes too long" in answer.text


def test_the_newest_are_found_wherever_they_lie(tmp_path: Path, now: datetime) -> None:
    """A page without a count looks at a span from its end on, and gives what one with a count gives, page by page."""
    moments = (
        [timedelta(seconds=n) for n in range(30)]
        + [timedelta(hours=n) for n in range(1, 60)]
        + [timedelta(days=29)] * 3
    )
    write(tmp_path, [event(n, now - moment) for n, moment in enumerate(moments, 1)])
    times = Times.of("30d")
    with Lake(tmp_path) as lake:
        for size in (10, 25, 200):
            found: dict[bool, list[int]] = {}
            for count in (True, False):
                after, found[count] = "", []
                while True:
                    search = Search(times.begin, times.end, after=after)
                    shown = search_page(lake, search, size, loggers=None, cancel=Cancel(), count=count)
                    assert shown.total == (len(moments) if count else None)
                    found[count] += [row["seq"] for row in shown.events]
                    if not (after := shown.after):
                        break
            assert found[True] == found[False]
            assert len(found[True]) == len(set(found[True])) == len(moments)
        nothing = Search.parse([("q", "nowhere")], times.begin, times.end)
        assert search_page(lake, nothing, 10, loggers=None, cancel=Cancel(), count=False).total == 0


def test_pages_after_the_first_keep_the_facets(page: TestClient) -> None:
    first = page.get("/events?since=1h&logger=shop").text
    following = html.unescape(re.findall(r'href="([^"]+)" rel="next"', first)[0])
    second = page.get(following).text
    assert 'class="facets"' in second
    assert "First page" in second


def test_values_of_columns() -> None:
    row = {
        "type": "oldstyle", "logger": "shop", "severity": 3, "payload": "text", "tokens": ["a", "b"], "hostname": "h",
        "fields": {"type": "its own", "a": {"b": 1}, "c": None, "long": "x" * 400},
    }  # fmt: skip
    for column, wanted in (
        ("type", "log line"), ("service", "shop"), ("severity", "error"), ("message", "text"), ("tokens", "a, b"), ("host", "h"),
        ("a.b", "1"), ("a", '{"b":1}'), ("c", ""), ("nothing", ""), ("long", "x" * 300),
    ):  # fmt: skip
        assert valued(row, column) == wanted
    assert toggled(["a", "b"], "b") == "a"
    assert toggled(["a"], "b") == "a,b"
