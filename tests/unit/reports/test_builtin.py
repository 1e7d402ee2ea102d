"""Every built-in report against data counted by hand, weights other than 1 included."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import metlog
from metlog.errors import ConfigError
from metlog.journal.segment import Clock, header
from metlog.lake.query import Lake
from metlog.lake.schema import SCHEMA
from metlog.reports import Library, Report
from tests.helpers.reportdata import DAY, EVENTS, NOW, event, hours, numbered, request, write

BUILT_IN = [
    "apdex", "counters", "delivery", "delivery-by-minute", "error-rate", "errors-by-type", "events-by-type", "funnel", "logins",
    "new-users",
    "request-times", "requests-by-hour", "retention", "slowest-routes", "status-codes", "timers", "top-pages", "top-values", "unique-users",
    "volume",
]  # fmt: skip
Rows = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data"), numbered(EVENTS))


def run(data: Path, name: str, /, **params: Any) -> list[tuple[Any, ...]]:
    with Lake(data) as lake:
        return Library()[name].run(lake, {"since": "2026-03-01", **params}, now=NOW).rows


@pytest.fixture(scope="module")
def lake(data: Path) -> Iterator[Lake]:
    with Lake(data) as made:
        yield made


@pytest.fixture
def rows(lake: Lake) -> Rows:
    return lambda name, /, **params: Library()[name].run(lake, {"since": "2026-03-01", **params}, now=NOW).rows


D0, D1 = datetime(2026, 3, 10), datetime(2026, 3, 11)


def test_the_twenty_are_there() -> None:
    library = Library()
    assert library.broken == []
    assert [report.name for report in library] == BUILT_IN


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("unique-users", {}, [(D0, 3), (D1, 1)]),
        ("unique-users", {"by": "month"}, [(datetime(2026, 3, 1), 4)]),
        ("unique-users", {"by": "week"}, [(datetime(2026, 3, 9), 4)]),
        ("unique-users", {"tz": "Europe/Berlin"}, [(D0, 3), (D1, 2)]),  # u1 at 23:30 UTC is of the next day there
        ("unique-users", {"tz": "America/Los_Angeles"}, [(D0, 3), (D1, 1)]),
        ("unique-users", {"logger": "other"}, []),
        ("unique-users", {"until": "2026-03-11"}, [(D0, 3)]),
        ("logins", {}, [(D0, 1, 1), (D1, 2, 0)]),
        ("logins", {"by": "month"}, [(datetime(2026, 3, 1), 3, 1)]),
        ("requests-by-hour", {"until": "2026-03-11"},
         [(D0.replace(hour=8), 4, 0), (D0.replace(hour=9), 0, 1), (D0.replace(hour=23), 1, 0)]),
        ("request-times", {}, [("/a", 5, 24.0, 30.0, 30.0, 30.0), ("/b", 2, 150.0, 100.0, 200.0, 200.0)]),
        ("slowest-routes", {"top": 1}, [("/b", 2, 150.0, 100.0, 200.0, 200.0)]),
        ("status-codes", {"by": "day"}, [(D0, "2xx", 4), (D0, "4xx", 1), (D0, "5xx", 1), (D1, "2xx", 1)]),
        ("status-codes", {"by": "month", "each": "yes"},
         [(datetime(2026, 3, 1), "200", 5), (datetime(2026, 3, 1), "404", 1), (datetime(2026, 3, 1), "500", 1)]),
        ("counters", {"by": "day"}, [(D0, "orders", 32.0)]),
        ("counters", {"by": "day", "name": "none"}, []),
        ("timers", {"by": "day"}, [(D0, "work", 7.0, 8.0, 4)]),
        ("error-rate", {"by": "day"}, [(D0, 6, 1, 100 / 6), (D1, 1, 0, 0)]),
        ("error-rate", {"by": "month"}, [(datetime(2026, 3, 1), 7, 1, 100 / 7)]),
        ("apdex", {"by": "day", "target": 50}, [(D0, 0.75, 4, 1, 1), (D1, 1, 1, 0, 0)]),  # 404 after 100 ms is tolerable, 500 never
        ("apdex", {"by": "day", "target": 10, "route": "/a"}, [(D0, 0.625, 1, 3, 0), (D1, 0.5, 0, 1, 0)]),
        ("top-pages", {}, [("/a", 5, 3)]),
        ("top-pages", {"field": "user"}, [("u2", 3, 1), ("u1", 1, 1), ("u3", 1, 1)]),
        ("new-users", {}, [(D0, 3, 0), (D1, 1, 0)]),
        ("new-users", {"tz": "Europe/Berlin"}, [(D0, 3, 0), (D1, 1, 1)]),
        ("new-users", {"since": "2026-03-11", "tz": "Europe/Berlin"}, [(D1, 1, 1)]),
        ("new-users", {"since": "2026-03-11", "tz": "Europe/Berlin", "known": "2026-03-12"}, [(D1, 2, 0)]),
        ("retention", {}, [(datetime(2026, 3, 9), 0, 4, 100)]),
        ("funnel", {}, [(1, "any page", 4, 100), (2, "/product/{id}", 0, 0), (3, "/cart", 0, 0), (4, "/checkout", 0, 0)]),
        ("funnel", {"second": "/b", "third": "", "fourth": ""}, [(1, "any page", 4, 100), (2, "/b", 1, 25)]),
        ("funnel", {"second": "/b", "third": "", "fourth": "", "pause": "1440"}, [(1, "any page", 3, 100), (2, "/b", 1, 100 / 3)]),
        ("top-values", {"field": "user"}, [("u1", 3), ("u2", 3), ("u3", 3), ("u9", 1)]),
        ("top-values", {"field": "route", "type": "request", "top": 1}, [("/a", 5)]),
    ],
)  # fmt: skip
def test_a_report_gives_what_was_counted_by_hand(
    rows: Rows, name: str, params: dict[str, Any], expected: list[tuple[Any, ...]]
) -> None:
    assert rows(name, **params) == expected


def test_a_funnel_goes_by_sessions_and_in_order(tmp_path: Path) -> None:
    pages = [
        ("a", 8.0, "/"), ("a", 8.1, "/p"), ("a", 8.2, "/cart"), ("a", 8.3, "/checkout"),
        ("b", 9.0, "/"), ("b", 9.1, "/cart"), ("b", 9.2, "/p"),
        ("c", 8.0, "/"), ("c", 9.0, "/p"), ("d", 8.0, "/p"),
    ]  # fmt: skip
    write(tmp_path, [request(hours(hour), page, 200, 1.0, user=user) for user, hour, page in pages])
    steps = {"first": "/", "second": "/p", "third": "/cart", "fourth": "/checkout"}
    third = 100 / 3
    assert run(tmp_path, "funnel", **steps) == [
        (1, "/", 3, 100),
        (2, "/p", 2, 2 * third),
        (3, "/cart", 1, third),
        (4, "/checkout", 1, third),
    ]
    assert run(tmp_path, "funnel", **{**steps, "fourth": ""})[-1][:3] == (3, "/cart", 1)
    assert run(tmp_path, "funnel", **{**steps, "second": ""}) == [
        (1, "/", 3, 100),
        (3, "/cart", 2, 2 * third),
        (4, "/checkout", 1, third),
    ]
    assert run(tmp_path, "funnel", **{**steps, "third": ""})[1:] == [
        (2, "/p", 2, 2 * third),
        (4, "/checkout", 1, third),
    ]
    assert run(tmp_path, "funnel", **{**steps, "second": "", "third": ""})[1:] == [(4, "/checkout", 1, third)]
    assert run(tmp_path, "funnel", **{**steps, "second": "/"})[1] == (2, "/", 0, 0)  # a page is one step, not two
    assert run(tmp_path, "funnel", **steps, pause="90")[1] == (2, "/p", 3, 100)  # c's hour is no end of a session then


def test_a_funnel_from_any_page_counts_who_lands_on_the_next(tmp_path: Path) -> None:
    pages = [
        ("a", 8.0, "/"), ("a", 8.1, "/p"), ("a", 8.2, "/cart"), ("a", 8.3, "/checkout"),
        ("b", 9.0, "/p"), ("b", 9.1, "/cart"), ("c", 8.0, "/cart"), ("c", 8.1, "/p"), ("d", 8.0, "/"),
    ]  # fmt: skip
    write(tmp_path, [request(hours(hour), page, 200, 1.0, user=user) for user, hour, page in pages])
    steps = {"first": "", "second": "/p", "third": "/cart", "fourth": "/checkout"}
    for given, expected in (
        ({}, [(1, "any page", 4), (2, "/p", 3), (3, "/cart", 2), (4, "/checkout", 1)]),
        ({"second": ""}, [(1, "any page", 4), (3, "/cart", 3), (4, "/checkout", 1)]),
        ({"third": ""}, [(1, "any page", 4), (2, "/p", 3), (4, "/checkout", 1)]),
        ({"second": "", "third": "", "fourth": "/p"}, [(1, "any page", 4), (4, "/p", 3)]),
        ({"second": "", "third": "", "fourth": ""}, [(1, "any page", 4)]),
    ):
        found = run(tmp_path, "funnel", **{**steps, **given})
        assert [row[:3] for row in found] == expected
        assert [row[3] for row in found] == [row[2] * 25 for row in expected]


def test_retention_leaves_out_weeks_that_are_not_over(tmp_path: Path) -> None:
    days = [("u1", 0), ("u2", 1), ("u1", 7), ("u1", 14), ("u3", 8), ("u3", 15)]
    write(tmp_path, [event(hours(8, day), "visit", {"user": user}) for user, day in days])
    first, second = datetime(2026, 3, 9), datetime(2026, 3, 16)
    found = [(first, 0, 2, 100), (first, 1, 1, 50), (second, 0, 1, 100)]
    assert run(tmp_path, "retention", until="2026-03-27") == found
    whole = [*found[:2], (first, 2, 1, 50), (second, 0, 1, 100), (second, 1, 1, 100)]
    assert run(tmp_path, "retention", until="2026-03-30") == whole


def test_errors_and_events_by_type(rows: Rows) -> None:
    assert rows("errors-by-type") == [
        ("log line: ValueError", 2, D0.replace(hour=10), "oldstyle", "ValueError"),
        ("request: KeyError", 1, D0.replace(hour=9), "request", "KeyError"),
    ]  # fmt: skip
    assert rows("errors-by-type", top=1) == [("log line: ValueError", 2, D0.replace(hour=10), "oldstyle", "ValueError")]
    assert rows("events-by-type") == [
        ("counter", 11, 1, D0 + timedelta(hours=8.2)), ("request", 7, 1, D1.replace(hour=8)), ("login", 4, 1, D1.replace(hour=9)),
        ("timer", 4, 1, D0 + timedelta(hours=8.1)), ("oldstyle", 2, 1, D0.replace(hour=10)),
    ]  # fmt: skip


def test_a_login_that_says_nothing_of_success_is_one(tmp_path: Path) -> None:
    """As the first page of the documentation logs it: metlog.log(("login", "sync"), …, fields={"user": "u1"})."""
    write(tmp_path, [
        event(hours(8), "login", {"user": "u1"}, weight=5.0), event(hours(8), "login", {"success": False}, weight=2.0),
        event(hours(9), "login", {"success": True}), event(hours(9), "login", {"success": None}),
    ])  # fmt: skip
    assert run(tmp_path, "logins") == [(D0, 7, 2)]


def test_the_values_of_nested_and_oddly_named_fields(tmp_path: Path) -> None:
    write(tmp_path, [
        event(hours(8), "a", {"cart": {"size": 2, "by": "u1"}, "a.b": "dotted", "it's": "quoted"}, weight=3.0),
        event(hours(9), "a", {"cart": {"size": 2}, "a": {"b": "nested"}}), event(hours(9), "b", {"cart": {"size": 7}}),
        event(hours(9), "b", {"cart": None}),
    ])  # fmt: skip
    assert run(tmp_path, "top-values", field="$.cart.size") == [("2", 4), ("7", 1)]
    assert run(tmp_path, "top-values", field="$.cart.size", type="b") == [("7", 1)]
    assert run(tmp_path, "top-values", field="a.b") == [("dotted", 3)]
    assert run(tmp_path, "top-values", field="$.a.b") == [("nested", 1)]
    assert run(tmp_path, "top-values", field="it's") == [("quoted", 3)]
    assert run(tmp_path, "top-values", field="x' OR 1=1 --") == []


def test_a_failed_request_without_an_exception_is_told_by_its_status(tmp_path: Path) -> None:
    write(tmp_path, [request(hours(8), "/a", 503, 1.0, weight=4.0), request(hours(8), "/a", 500, 1.0)])
    assert [row[:2] for row in run(tmp_path, "errors-by-type")] == [
        ("request: status 503", 4),
        ("request: status 500", 1),
    ]


def test_percentiles_go_by_weight(tmp_path: Path) -> None:
    """A hundred requests: 90 took 10 ms (nine events that stand for ten each), nine took 20, one took 500."""
    events = [request(hours(8), "/a", 200, 10.0, weight=10.0) for _ in range(9)]
    events += [request(hours(8), "/a", 200, 20.0) for _ in range(9)]
    events += [request(hours(8), "/a", 200, 500.0)]
    write(tmp_path, events)
    assert run(tmp_path, "request-times") == [("/a", 100, (900 + 180 + 500) / 100, 10.0, 20.0, 20.0)]
    write(tmp_path, [*events, request(hours(8), "/a", 200, 600.0)])
    assert run(tmp_path, "request-times")[0][5] == 500.0  # of 101 the hundredth


def test_days_are_those_of_the_time_zone_also_when_the_clocks_change(tmp_path: Path) -> None:
    """Berlin, 2026: 29 March has 23 hours, 25 October 25; one request each half hour of UTC."""
    for day, length in ((datetime(2026, 3, 29), 23), (datetime(2026, 10, 25), 25)):
        folder = tmp_path / f"{day:%m}"
        begin = event(day.replace(tzinfo=DAY.tzinfo), "x", {})["timestamp"] - timedelta(days=1)
        write(folder, [request(begin + timedelta(minutes=30 * n), "/a", 200, 1.0, weight=2.0) for n in range(3 * 48)])
        bounds = {"tz": "Europe/Berlin", "since": f"{day:%Y-%m-%d}", "until": f"{day + timedelta(days=1):%Y-%m-%d}"}
        assert run(folder, "requests-by-hour", by="day", **bounds) == [(day, 2 * 2 * length, 0)]
        by_hour = {row[0].hour: row[1] for row in run(folder, "requests-by-hour", **bounds)}
        assert sum(by_hour.values()) == 2 * 2 * length
        if length == 23:
            assert 2 not in by_hour  # the hour that is left out
        else:
            assert by_hour[2] == 8  # the hour that comes twice, as the clock on the wall has it: one row


def test_volume_is_what_lies_on_disk(tmp_path: Path) -> None:
    write(tmp_path, EVENTS)
    journal = tmp_path / "journal" / "main" / "000000000001-0123456789abcdef.open"
    journal.parent.mkdir(parents=True)
    journal.write_bytes(header(Clock()))
    os.utime(journal, (hours(9, 1).timestamp(),) * 2)
    (journal.parent / "cursor").write_text("no segment")
    sizes = {}
    for day, number in (("2026-03-10", 11), ("2026-03-11", 2)):
        (path,) = tmp_path.glob(f"events/date={day}/*.parquet")
        sizes[day] = (path.stat().st_size, number)
    (first, n0), (second, n1) = sizes["2026-03-10"], sizes["2026-03-11"]
    kept = journal.stat().st_size
    expected = [(D0, "parquet", first, n0, 1, first / n0), (D1, "parquet", second, n1, 1, second / n1),
                (D1, "journal", kept, None, 1, None)]  # fmt: skip
    assert run(tmp_path, "volume") == expected
    assert run(tmp_path, "volume", until="2026-03-10T23:00") == expected[:1]
    assert run(tmp_path, "volume", since="2026-03-11T05:00") == expected[1:]
    assert run(tmp_path, "volume", by="month")[0][2] == first + second
    with pytest.raises(ConfigError, match="logger = 'svc': report 'volume' is of all services together"):
        run(tmp_path, "volume", logger="svc")


def stream(name: str, numbers: dict[int, float], **more: Any) -> list[dict[str, Any]]:
    """Events of a stream: number and seconds after the beginning of the day."""
    return [event(DAY + timedelta(seconds=at), "x", {}, stream=name, seq=seq, **more) for seq, at in numbers.items()]


def drops(at: float, host: str, logger: str = "metlog.listener", **fields: Any) -> dict[str, Any]:
    """What a listener tells of what it could not take."""
    return event(DAY + timedelta(seconds=at), "metlog.drops", fields, logger=logger, hostname=host, stream="", seq=0)


LOSSY = [
    *stream("gap", {1: 10, 2: 20, 3: 30, 5: 50, 6: 60}, pid=7), *stream("gap", {5: 51}, pid=7),
    # Of yesterday it had 9 events; today 13 and 14 are lost, which the end record tells.
    *stream("tail", {n: n - 3600 for n in range(1, 10)}), *stream("tail", {10: 10, 11: 11, 12: 12}),
    event(hours(1), "metlog.end", {"last_seq": 14, "dropped": {"full": 3}}, stream="tail", seq=15),
    *stream("other", {1: 5, 3: 6}, logger="other"),
    # Numbers and times of two threads cross at midnight: nothing is lost.
    *stream("edge", {8: -0.2, 7: 0.2, 9: 2.0, 10: 3.0}),
    # What no client numbers (statsd) is of no stream.
    *stream("", {0: 100}),
    drops(70, "c1", input="udp", socket="udp://[::]:5565#0", kernel_drops=3),
    drops(71, "c1", input="udp", socket="udp://[::]:5565#1", kernel_drops=50),
    drops(190, "c1", input="udp", socket="udp://[::]:5565#0", kernel_drops=4),
    drops(191, "c1", journal_full=8), drops(192, "c2", journal_full=16),
    drops(-90, "c1", journal_full=1000),  # of the day before
]  # fmt: skip
ON_THE_DAY = {"since": "2026-03-10", "until": "2026-03-11"}


def test_delivery_counts_gaps_repeats_and_the_tail(tmp_path: Path) -> None:
    write(tmp_path, LOSSY)
    found = {row[1]: row for row in run(tmp_path, "delivery", **ON_THE_DAY) if row[0].startswith("svc ") or row[3]}
    assert {name: row[3:] for name, row in found.items()} == {
        "gap": (5, 1, 1, 0, "unconfirmed tail", None, None, None),
        "tail": (4, 2, 0, 9, "yes", '{"full":3}', None, None),
        "other": (2, 1, 0, 0, "unconfirmed tail", None, None, None),
        "edge": (3, 0, 0, 6, "unconfirmed tail", None, None, None),
    }
    assert found["gap"][:3] == ("svc h 7", "gap", D0 + timedelta(seconds=60))
    mine = run(tmp_path, "delivery", **ON_THE_DAY, logger="other")
    assert [row[1] for row in mine] == ["other"]


def test_delivery_says_what_the_kernel_and_the_journal_dropped_by_listener_and_socket(tmp_path: Path) -> None:
    write(tmp_path, LOSSY)
    assert [row for row in run(tmp_path, "delivery", **ON_THE_DAY) if row[0].startswith("listener ")] == [
        ("listener c2", "journal", D0 + timedelta(seconds=192), *[None] * 6, None, 16),
        ("listener c1", "journal", D0 + timedelta(seconds=191), *[None] * 6, None, 8),
        ("listener c1", "udp://[::]:5565#0", D0 + timedelta(seconds=190), *[None] * 6, 7, None),
        ("listener c1", "udp://[::]:5565#1", D0 + timedelta(seconds=71), *[None] * 6, 50, None),
    ]


def test_delivery_by_minute_counts_when_events_came(tmp_path: Path) -> None:
    write(tmp_path, LOSSY)
    rows = run(tmp_path, "delivery-by-minute", **ON_THE_DAY)
    minute = [D0 + timedelta(minutes=n) for n in range(4)]
    assert [row for row in rows if not row[1].startswith("listener ")] == [
        # 4 is missed when 5 comes, in minute 0; 5 came twice; 6 is of minute 1.
        (minute[0], "svc h 7", "gap", 5, 1, 1, 0, "unconfirmed tail", None, None, None),
        (minute[0], "other h 1", "other", 2, 1, 0, 0, "unconfirmed tail", None, None, None),
        (minute[0], "svc h 1", "edge", 3, 0, 0, 0, "unconfirmed tail", None, None, None),
        (minute[0], "svc h 1", "tail", 3, 0, 0, 0, "yes", None, None, None),
        (minute[1], "svc h 7", "gap", 1, 0, 0, 0, "unconfirmed tail", None, None, None),
        (D0.replace(hour=1), "svc h 1", "tail", 1, 2, 0, 0, "yes", '{"full":3}', None, None),
    ]
    assert {row[:3] + row[9:] for row in rows if row[1].startswith("listener ")} == {
        (minute[1], "listener c1", "udp://[::]:5565#0", 3, None), (minute[1], "listener c1", "udp://[::]:5565#1", 50, None),
        (minute[3], "listener c1", "udp://[::]:5565#0", 4, None), (minute[3], "listener c1", "journal", None, 8),
        (minute[3], "listener c2", "journal", None, 16),
    }  # fmt: skip
    assert {row[2] for row in run(tmp_path, "delivery-by-minute", **ON_THE_DAY, logger="other")} == {"other"}
    berlin = run(tmp_path, "delivery-by-minute", **ON_THE_DAY | {"since": "2026-03-10T01:00", "tz": "Europe/Berlin"})
    assert berlin[0][0] == D0.replace(hour=1)


def test_delivery_by_minute_goes_by_the_order_of_arrival(tmp_path: Path) -> None:
    """3 and 2 come late, after 5, 3 in the minute after: nothing is lost. 5 comes again a minute later: a repeat, and not late."""
    made = stream("s", {1: 1, 5: 2, 4: 3, 2: 4})
    for seq, came in ((3, 61), (5, 62), (6, 63)):
        more = stream("s", {seq: 5})
        made += [{**more[0], "received_at": DAY + timedelta(seconds=came)}]
    write(tmp_path, made)
    assert [row[3:7] for row in run(tmp_path, "delivery-by-minute", **ON_THE_DAY)] == [(4, 0, 0, 2), (3, 0, 1, 1)]


@pytest.mark.parametrize("since", ["2026-03-10", "2026-03-10T00:00:10", "2026-03-10T00:00:30"])
@pytest.mark.parametrize("until", ["2026-03-10T00:00:59", "2026-03-11"])
def test_both_reports_of_delivery_find_the_same_losses(tmp_path: Path, since: str, until: str) -> None:
    """Streams of two threads, whose numbers and times cross, with every fifth event lost, and looked at from other edges."""
    made = []
    for name, end in (("a", True), ("b", False)):
        numbers = {seq: (seq ^ 1) / 8 for seq in range(1, 600) if seq % 5 and not 100 < seq < 120}
        made += stream(name, numbers)
        if end:
            made.append(
                event(
                    DAY + timedelta(seconds=75.5), "metlog.end", {"last_seq": 604, "dropped": {}}, stream=name, seq=605
                )
            )
    write(tmp_path, made)
    asked = {"since": since, "until": until}
    whole = {row[1]: (row[3], row[4]) for row in run(tmp_path, "delivery", **asked)}
    assert set(whole) == {"a", "b"}
    assert all(lost > 25 for _, lost in whole.values())
    summed: dict[str, tuple[int, int]] = {}
    for row in run(tmp_path, "delivery-by-minute", **asked):
        received, lost = summed.get(row[2], (0, 0))
        summed[row[2]] = (received + row[3], lost + row[4])
    assert summed == whole


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_report_reads_the_days_it_is_asked_for_and_no_others(tmp_path: Path, name: str) -> None:
    """The files of all other days are broken: whoever opens one fails."""
    write(tmp_path, numbered(EVENTS))
    asked = {"since": "2026-03-10", "until": "2026-03-11"}
    if "known" in Library()[name].parameters:
        asked["known"] = "2026-03-10"
    whole = run(tmp_path, name, **asked)
    assert whole
    for day in ("2026-03-09", "2026-03-13", "2025-01-01"):
        path = tmp_path / "events" / f"date={day}" / "hand.parquet"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"no Parquet")
    assert run(tmp_path, name, **asked) == whole


@pytest.mark.parametrize("report", list(Library()), ids=lambda report: report.name)
def test_every_report_has_a_chart_of_columns_that_it_has(data: Path, report: Report) -> None:
    assert report.chart_spec is not None
    with Lake(data) as lake:
        found = report.run(lake, {"since": "2026-03-01"}, now=NOW)
    assert found.rows
    chart = report.chart_spec
    assert {chart.x, *chart.y, *([chart.color] if chart.color else [])} <= {column.name for column in found.columns}


@pytest.mark.parametrize("report", list(Library()), ids=lambda report: report.name)
def test_the_line_of_code_that_a_report_asks_for_brings_it_data(
    tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `empty.code` says is run as it stands, and its events are put into an empty lake."""
    assert report.empty.text
    assert report.empty.code
    (tmp_path / "events").mkdir()
    with Lake(tmp_path) as lake:
        assert report.run(lake, {"since": "1h"}).rows == []
    client = metlog.configure("memory:", logger="sync")
    configure = metlog.configure
    monkeypatch.setattr(metlog, "configure", lambda *args, **more: configure("memory:", logger="sync"))

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b""]

    names: dict[str, Any] = {"metlog": metlog, "application": application}
    exec(report.empty.code, names)
    names["application"]({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *args: None)
    if report.name == "errors-by-type":
        try:
            raise ValueError("inside the handler of an exception")
        except ValueError:
            exec(report.empty.code, names)
    assert client.flush(5)
    made = [
        {**{key: getattr(sent, key) for key in ("type", "logger", "severity", "payload", "weight", "env_version", "pid", "hostname")},
         "timestamp": sent.timestamp, "tokens": list(sent.tokens), "fields": json.dumps(sent.fields), "stream": sent.stream,
         "seq": sent.seq, "received_at": sent.timestamp, "source": "udp://127.0.0.1:1", "claimed_timestamp": None}
        for sent in client.sender.events
    ]  # fmt: skip
    folder = tmp_path / "events" / f"date={made[0]['timestamp']:%Y-%m-%d}"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(made, schema=SCHEMA), folder / "made.parquet")
    with Lake(tmp_path) as lake:
        params = {"since": "1h", "until": "tomorrow"}
        if report.name == "top-values":
            params["field"] = "user"
        assert report.run(lake, params).rows


def test_a_minute_that_the_clock_shows_twice_is_two_rows_by_minute(tmp_path: Path) -> None:
    begin = datetime(2026, 10, 25, 0, 30, tzinfo=DAY.tzinfo)
    write(tmp_path, [event(begin + timedelta(hours=n), "x", {}, stream="s", seq=n + 1) for n in range(3)])
    bounds = {"tz": "Europe/Berlin", "since": "2026-10-25", "until": "2026-10-26"}
    times = [row[0] for row in run(tmp_path, "delivery-by-minute", **bounds)]
    half_past = datetime(2026, 10, 25, 2, 30)
    assert times == [half_past, half_past, half_past + timedelta(hours=1)]
    first = run(tmp_path, "events-by-type", **bounds | {"since": "2026-10-25T02:30", "until": "2026-10-25T02:31"})
    second = run(
        tmp_path, "events-by-type", **bounds | {"since": "2026-10-25T02:30+01:00", "until": "2026-10-25T02:31+01:00"}
    )
    assert first[0][1] == second[0][1] == 1
