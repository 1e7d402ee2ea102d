"""The interface for programs, and what the pages show."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import threading
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from metlog.reports import Library
from metlog.web.console import EXAMPLES, SCHEMA
from metlog.web.reports import _FEATURED
from tests.helpers.webdata import event, write

pytestmark = pytest.mark.process

ENDLESS = "SELECT count(*) FROM events, range(100000000000) r WHERE r.range % 7 = severity"
NOT_ALLOWED = [
    "COPY (SELECT 1) TO '{data}/events/x.csv'",
    "COPY (SELECT 1) TO '/tmp/metlog-evil.csv'",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_text('{data}/reports/x.toml')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_parquet('{data}/events/*/*.parquet')",
    "ATTACH 'x.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '100GB'",
    "CREATE TABLE t AS SELECT 1",
    "DROP VIEW events",
    "PRAGMA database_list",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO 'x'",
    "SELECT getenv('HOME')",
    "SELECT * FROM duckdb_settings()",
    "WITH x AS (DELETE FROM events RETURNING *) SELECT * FROM x",
]


def ask(page: TestClient, sql: str, **more: object) -> tuple[int, dict[str, object]]:
    answer = page.post("/api/query", json={"sql": sql, **more})
    return answer.status_code, answer.json()


def test_a_query_gives_columns_and_rows(page: TestClient) -> None:
    status, found = ask(
        page,
        "SELECT logger, sum(weight) AS events, max(fields) AS f FROM events WHERE type <> 'html' AND seq < 121 GROUP BY 1 ORDER BY 1",
    )
    assert status == 200
    assert found["columns"] == [
        {"name": "logger", "type": "VARCHAR"}, {"name": "events", "type": "DOUBLE"}, {"name": "f", "type": "JSON"},
    ]  # fmt: skip
    assert [row[:2] for row in found["rows"]] == [["bank", 1.0], ["shop", 115.0]]  # type: ignore[attr-defined,index]
    assert found["rows"][0][2] == {"amount": 5, "a.b": "dotted", "deep": {"er": "nested"}}  # type: ignore[index]
    assert found["truncated"] is False
    assert isinstance(found["ms"], float)


def test_values_that_json_lacks_have_a_form(page: TestClient) -> None:
    sql = r"""SELECT TIMESTAMPTZ '2026-01-02 03:04:05.678901+00' AS t, DATE '2026-01-02' AS d,
             170141183460469231731687303715884105727::HUGEINT AS h,
             'nan'::DOUBLE AS n, 1.50::DECIMAL(9,2) AS m, [1, 2] AS l, {'a': 1} AS s, NULL AS z, '\xC3'::BLOB AS b, INTERVAL 1 DAY AS i"""
    status, found = ask(page, sql)
    assert status == 200
    row = found["rows"][0]  # type: ignore[index]
    assert row[:8] == [
        "2026-01-02T03:04:05.678901Z",
        "2026-01-02",
        170141183460469231731687303715884105727,
        None,
        1.5,
        [1, 2],
        {"a": 1},
        None,
    ]
    assert page.get("/sql", params={"sql": sql}).status_code == 200
    for kind in ("csv", "json"):
        assert page.get(f"/sql/result.{kind}", params={"sql": sql}).status_code == 200


def test_a_limit_truncates_and_says_so(page: TestClient) -> None:
    status, found = ask(page, "SELECT * FROM range(50)", limit=10)
    assert (status, len(found["rows"]), found["truncated"]) == (200, 10, True)  # type: ignore[arg-type]
    assert ask(page, "SELECT * FROM range(10)", limit=10)[1]["truncated"] is False
    assert ask(page, "SELECT 1", limit=0)[0] == 400
    status, found = ask(page, "SELECT 1", limit=10**9)
    assert status == 400
    assert "10000" in str(found["error"])


@pytest.mark.parametrize("sql", NOT_ALLOWED)
def test_a_query_reads_events_and_does_nothing_else(page: TestClient, data: Path, sql: str) -> None:
    before = sorted(data.rglob("*"))
    status, found = ask(page, sql.format(data=data))
    assert status == 400
    assert len(str(found["error"])) > 10
    assert sorted(data.rglob("*")) == before
    shown = page.get("/sql", params={"sql": sql.format(data=data)})
    assert shown.status_code == 400
    assert "cannot be run" in shown.text


def test_an_error_has_its_place(page: TestClient) -> None:
    status, found = ask(page, "SELECT type,\n       payloat\nFROM events")
    assert (status, found["line"], found["column"]) == (400, 2, 8)
    assert "did you mean 'payload'" in str(found["error"])
    text = page.get("/sql", params={"sql": "SELECT type,\n       payloat\nFROM events"}).text
    assert '<pre class="caret">       payloat\n       ^</pre>' in text


def test_a_query_over_its_time_is_ended(start: Callable[..., TestClient]) -> None:
    page = start(timeout=0.3)
    status, found = ask(page, ENDLESS)
    assert (status, found["kind"]) == (408, "timeout")
    assert "0.3 s" in str(found["error"])
    assert ask(page, "SELECT 1")[0] == 200


def test_a_query_over_its_memory_is_ended(start: Callable[..., TestClient]) -> None:
    page = start(memory="60MB", spill="20MB")
    status, found = ask(page, "SELECT list(range::VARCHAR || repeat('x', 100)) FROM range(10000000)")
    assert (status, found["kind"]) == (413, "memory")
    assert ask(page, "SELECT 1")[0] == 200


def test_too_many_queries_are_told_to_come_back(start: Callable[..., TestClient]) -> None:
    page = start(workers=1, waiting=1, timeout=2)
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(ask(page, ENDLESS)[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [408, 408, 429, 429]
    assert 'outcome="full"} 2' in page.get("/metrics").text


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"nonsense", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{}", "application/json", 400),
        (b'{"sql": 1}', "application/json", 400),
        (b'{"sql": "SELECT 1", "colour": 1}', "application/json", 400),
        (b'{"sql": "\xff"}', "application/json", 400),
        (b'{"sql": "SELECT 1"}', "text/plain", 400),
        (b'{"sql": "SELECT 1"}', "application/json; charset=utf-8", 200),
        (b'{"sql": ""}', "application/json", 400),
        (b'{"sql": "SELECT \\u0000"}', "application/json", 400),
        (b'{"sql": "' + b"x" * 2_000_000 + b'"}', "application/json", 413),
    ],
)
def test_what_is_no_query_is_refused(page: TestClient, content: bytes, kind: str, status: int) -> None:
    answer = page.post("/api/query", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert ("error" in answer.json()) == (status != 200)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/nothing", 404), ("/api/reports/nothing", 404), ("/reports/nothing", 404), ("/reports/nothing.svg", 404),
        ("/events/nobody/1", 404), ("/events/shop1/999999999999999999999", 404), ("/static/x/nothing.js", 404),
        ("/static/x/..%2fapp.py", 404),
        ("/sql/result.exe?sql=SELECT+1", 404), ("/sql/result.csv?sql=SELEC", 400), ("/api/query", 405), ("/api/events?since=nonsense", 400),
        ("/api/events?limit=0", 400), (f"/api/events?limit={'9' * 5000}", 400), ("/api/events?limit=%C2%B2", 400),
        ("/api/events?severity=8", 400), ("/api/events?after=nonsense", 400), ("/api/events?field=%3D", 400),
        ("/api/events?type=%00", 400), ("/events/shop1/1?at=nonsense", 400), ("/?span=1y", 400), ("/api/tail?severity=x", 400),
        ("/api/events?typ=login", 400), ("/api/tail?since=1h", 400),
        ("/login", 404),
    ],
)  # fmt: skip
def test_what_is_not_there_or_wrong_has_its_code(page: TestClient, path: str, status: int) -> None:
    answer = page.get(path, headers={"accept": "application/json"})
    assert answer.status_code == status
    assert answer.json()["error"]
    if not path.startswith("/api"):
        shown = page.get(path, headers={"accept": "text/html"})
        assert shown.status_code == status
        assert "<h1>" in shown.text


def found(page: TestClient, **given: object) -> list[int]:
    answer = page.get("/api/events", params={"limit": 500, **given})  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return [row["seq"] for row in answer.json()["events"]]


def test_search_finds_by_everything(page: TestClient, now: datetime) -> None:
    assert len(found(page)) == 118
    assert len(found(page, type="request")) == 115
    assert found(page, token="money") == [1]
    assert found(page, logger="bank", type="transfer") == [1]
    assert found(page, severity=3) == [1]
    assert found(page, q="SECRET") == [1]
    assert found(page, q='"ms":15.0') == [10]
    assert found(page, q="100%_") == []
    assert found(page, field="ms>=178.5") == [120, 119]
    assert found(page, field="ms<3") == [1]
    assert found(page, field="ms=15") == [10], "numbers are compared as numbers"
    assert found(page, field="amount") == [1]
    assert found(page, field="a.b=dotted") == [1]
    assert found(page, field="deep.er~NEST") == [1]
    assert len(found(page, field="user!=u1")) == 118 - 39
    assert found(page, field=["user=u1", "ms>170"]) == [118, 115]
    assert found(page, type="request' OR true --") == []
    begin = now - timedelta(seconds=180)
    window = {"since": (begin + timedelta(seconds=5)).isoformat(), "until": (begin + timedelta(seconds=8)).isoformat()}
    assert found(page, **window) == [7, 6, 5]


def test_pages_of_a_search_stay_as_they_are_while_events_arrive(
    own_page: TestClient, own_data: Path, now: datetime
) -> None:
    tie = now - timedelta(seconds=300)
    write(
        own_data,
        [event(0, tie, stream="", payload=f"by hand {n}", logger="hand", received_at=tie) for n in range(25)],
        "hand",
    )
    seen: list[str] = []
    after, totals = "", set()
    for number in range(100):
        answer = own_page.get("/api/events", params={"limit": 7, "after": after}).json()
        totals.add(answer["total"])
        seen += [row["payload"] for row in answer["events"]]
        late = [event(1000 + number, now - timedelta(seconds=60 + number), received_at=now + timedelta(days=1))]
        write(own_data, late, f"late{number}")
        if not answer["after"]:
            break
        after = answer["after"]
    assert len(seen) == 118 + 25
    assert totals == {118 + 25}
    assert sorted(text for text in seen if text.startswith("by hand")) == sorted(f"by hand {n}" for n in range(25))
    assert len(set(seen)) == len(seen)


def test_the_page_of_a_search_leads_on(page: TestClient) -> None:
    text = page.get("/events?logger=shop&type=request").text
    assert "115 events" in text
    assert "GET /120" in text
    assert "GET /70<" not in text
    link = text.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0].replace("&amp;", "&")
    following = page.get(link).text
    assert "GET /70" in following
    assert "First page" in following


def test_an_event_is_shown_with_those_around_it(page: TestClient) -> None:
    text = page.get("/events/shop1/60").text
    assert "GET /60" in text
    assert "5 events are missing here (50 to 54)" in text
    assert "GET /40 " in text
    assert "GET /80 " in text
    assert "GET /39 " not in text
    assert "GET /81 " not in text


def test_downloads_hold_the_whole_result(page: TestClient) -> None:
    query = {
        "sql": "SELECT seq, timestamp, tokens, fields, payload FROM events WHERE logger = 'shop' AND type = 'request' ORDER BY seq"
    }
    rows = list(csv.reader(io.StringIO(page.get("/sql/result.csv", params=query).text)))
    assert rows[0] == ["seq", "timestamp", "tokens", "fields", "payload"]
    assert (len(rows), rows[1][0], rows[1][2]) == (116, "1", '["request"]')
    assert rows[1][1].endswith("Z")
    objects = page.get("/sql/result.json", params=query).json()
    assert (len(objects), objects[0]["fields"]["user"]) == (115, "u1")
    answer = page.get("/sql/result.parquet", params=query)
    assert pq.read_table(io.BytesIO(answer.content)).num_rows == 115
    assert answer.headers["content-disposition"] == 'attachment; filename="metlog.parquet"'
    assert page.get("/sql/result.json", params={"sql": "SELECT 1 WHERE false"}).json() == []


def test_a_download_is_no_larger_than_allowed(start: Callable[..., TestClient]) -> None:
    page = start(export_bytes=10_000, rows=5)
    for kind in ("csv", "json", "parquet"):
        answer = page.get(
            f"/sql/result.{kind}", params={"sql": "SELECT uuid() AS u FROM range(100000)"}, headers={"accept": "*/*"}
        )
        assert (answer.status_code, answer.json()["kind"]) == (413, "memory")
    assert "Only the first 5 rows" in page.get("/sql", params={"sql": "SELECT * FROM range(6)"}).text


def test_the_overview_counts_weights_and_losses(own_page: TestClient, own_data: Path, now: datetime) -> None:
    write(own_data, [event(1, now - timedelta(seconds=30), stream="s", weight=10.0)], "sampled")
    text = own_page.get("/?span=24h").text
    assert "<strong>128</strong>" in text
    assert '<strong class="bad">5</strong>' in text
    assert '<strong class="bad">1</strong>' in text


def test_the_overview_shows_what_the_listener_says(own_page: TestClient, own_data: Path) -> None:
    status = {
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "started_at": "2026-01-01T00:00:00Z", "running": True, "addresses": ["udp://127.0.0.1:5565"],
        "warnings": ["a small buffer"], "health": ["output lake: has not moved"], "inputs": {"udp": {"frames": 12345, "kernel_drops": 7}},
        "outputs": {"lake": {"error": "<b>disk</b>"}}, "intake": {}, "journal": {}, "dead_letters": {},
    }  # fmt: skip
    (own_data / "status.json").write_text(json.dumps(status))
    (own_data / "status-broken.json").write_text("nonsense")
    text = own_page.get("/").text
    for words in (
        "udp://127.0.0.1:5565",
        "12,345",
        "has not moved",
        "a small buffer",
        "&lt;b&gt;disk",
        "status-broken.json cannot be read",
    ):
        assert words in text


def test_the_overview_shows_built_in_reports_that_have_a_chart(page: TestClient) -> None:
    text = page.get("/").text
    shown = list(dict.fromkeys(re.findall(r'<img src="/reports/([a-z-]+)\.svg', text)))
    assert shown == ["request-times", "unique-users", "logins"]
    assert all(Library()[name].chart_spec is not None for name in _FEATURED)
    assert shown == [*_FEATURED]


def test_an_empty_folder_says_what_to_do(start: Callable[..., TestClient], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    page = start(data=empty)
    assert "metlog listen" in page.get("/").text
    assert page.get("/api/events").json() == {"events": [], "total": 0, "after": None, "ms": pytest.approx(0, abs=5000)}
    assert "Nothing matches" in page.get("/events").text


def test_pages_are_small(own_page: TestClient, own_data: Path, now: datetime) -> None:
    """Everything that a page needs beside the chart library and the charts, unpacked."""
    write(
        own_data, [event(n, now - timedelta(seconds=n), stream="long", payload="x" * 300) for n in range(300)], "long"
    )
    query = "SELECT * FROM events LIMIT 20"
    for path in (
        "/",
        "/reports",
        "/reports/request-times",
        "/reports/top-values?field=ms&top=1000",
        "/events",
        "/events/long/100",
        "/tail",
        f"/sql?sql={query}",
    ):
        text = own_page.get(path).text
        needed = [
            found for found in re.findall(r'(?:src|href)="(/static/[^"]+)"', text) if not found.endswith("/vega.js")
        ]
        assert len(needed) >= 3
        assert len(text.encode()) + sum(len(own_page.get(found).content) for found in needed) < 100_000, path


def test_a_long_report_shows_its_first_rows_and_a_download_has_all(
    own_page: TestClient, own_data: Path, now: datetime
) -> None:
    write(own_data, [event(n, now - timedelta(seconds=n), stream="long") for n in range(300)], "long")
    address = "/reports/top-values{}?field=ms&top=1000"
    text = own_page.get(address.format("")).text
    assert "300 rows" in text
    assert "The first 200 rows; a download has 300." in text
    assert text.count("<tr>") == 1 + 200
    assert len(own_page.get(address.format(".csv")).text.splitlines()) == 1 + 300


def test_a_report_of_more_rows_than_a_page_takes_says_so_and_its_downloads_have_all(
    own_page: TestClient, own_data: Path
) -> None:
    (own_data / "reports").mkdir()
    (own_data / "reports" / "many.toml").write_text("""
title = "Many"
sql = "SELECT $since + INTERVAL 1 SECOND * i AS time, i AS n FROM range(12000) t(i) WHERE $since < $until ORDER BY i"
chart = { kind = "lines", x = "time", y = ["n"], step = "minute" }
""")
    (own_data / "dashboards").mkdir()
    (own_data / "dashboards" / "many.toml").write_text('title = "Many"\n[[panels]]\nreport = "many"\n')
    text = own_page.get("/reports/many").text
    assert "a download has all" in text
    made = own_page.get("/api/reports/many").json()
    assert (len(made["rows"]), made["truncated"]) == (10_000, True)
    assert "of the first 10,000 rows alone, there are more" in made["chart"]["title"]["subtitle"]
    downloaded = own_page.get("/reports/many.csv?tz=Europe/Berlin").text.splitlines()
    assert (len(downloaded), downloaded[-1].split(",")[1]) == (12_001, "11999")
    with zipfile.ZipFile(io.BytesIO(own_page.get("/dashboards/many.zip").content)) as packed:
        assert len(packed.read("01-many.csv").splitlines()) == 12_001
    refused = own_page.get("/reports/many.csv?_compare=1", headers={"accept": "*/*"})
    assert (refused.status_code, "more than 10,000 rows" in refused.json()["error"]) == (413, True)


def test_the_rows_of_a_dashboard_take_no_more_together_than_a_download_may(
    start: Callable[..., TestClient], own_data: Path
) -> None:
    for kind in ("reports", "dashboards"):
        (own_data / kind).mkdir()
    (own_data / "reports" / "many.toml").write_text('title = "Many"\nsql = "SELECT i AS n FROM range(12000) t(i)"\n')
    (own_data / "dashboards" / "two.toml").write_text('title = "Two"\n' + '[[panels]]\nreport = "many"\n' * 2)
    page = start(data=own_data, export_bytes=100_000)
    with zipfile.ZipFile(io.BytesIO(page.get("/dashboards/two.zip").content)) as packed:
        assert packed.namelist() == ["01-many.csv", "02-many-rows.txt"]
        assert len(packed.read("01-many.csv").splitlines()) == 12_001


@pytest.mark.parametrize(("title", "sql"), EXAMPLES)
def test_every_example_of_the_console_runs(page: TestClient, title: str, sql: str) -> None:
    text = page.get("/sql").text
    assert f">{title}</a>" in text
    link = re.search(rf'href="([^"]+)">{re.escape(title)}</a>', text)
    assert link is not None
    shown = page.get(html.unescape(link[1]))
    assert shown.status_code == 200, shown.text
    assert sql in html.unescape(shown.text)
    assert 'class="data"' in shown.text


def test_the_console_lists_the_columns_that_there_are(page: TestClient) -> None:
    for view, columns in SCHEMA.items():
        found = ask(page, f"SELECT * FROM {view} LIMIT 0")[1]["columns"]
        named = [(column["name"], column["type"]) for column in found]  # type: ignore[attr-defined]
        assert [name for name, _ in named] == [name for name, _ in columns]
        assert [kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ") for _, kind in named] == [
            kind for _, kind in columns
        ]


def test_assets_are_kept_by_the_browser_until_they_change(page: TestClient) -> None:
    address = page.app.page.views.assets.url("page.css")  # type: ignore[attr-defined]
    assert "immutable" in page.get(address).headers["cache-control"]
    assert page.get("/static/old/page.css").headers["cache-control"] == "no-cache"


def test_metrics_have_a_bounded_number_of_series(own_page: TestClient) -> None:
    for number in range(30):
        own_page.get(f"/events/{number}/1")
        own_page.get(f"/nowhere/{number}")
    for path in ("/dashboards", "/words", "/jobs/x", "/api/schema", "/api/nothing", "/api", "/sql/result.csv"):
        own_page.get(path, headers={"accept": "application/json"})
    text = own_page.get("/metrics").text
    pages = re.findall(r'metlog_page_requests_total{page="([^"]+)"', text)
    assert pages == ["/api/schema", "/dashboards", "/events", "/jobs", "/sql", "/words", "other"]
    assert 'metlog_page_requests_total{page="other",status="404"} 32' in text
    assert len(text.splitlines()) < 40
