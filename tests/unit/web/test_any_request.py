"""Whatever stands in an address is shown, refused by name, or not there: no fault of the page's own."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from metlog.web.app import create_app, routes
from metlog.web.assets import Assets
from metlog.web.settings import WebSettings
from tests.helpers.webdata import small_lake

pytestmark = [pytest.mark.process, pytest.mark.slow]

DIGITS = "1" * 5000
ADDRESSES = [
    "/events?since=0001-01-02",
    "/events?until=9999-12-31T23:59",
    "/events?since=1900-01-01T00:00Z&until=2200-12-31T23:59Z&tz=Pacific/Kiritimati",
    "/?since=0001-01-02",
    "/?since=1900-01-01&tz=America/New_York",
    "/reports/unique-users?since=0001-01-01T00:00Z&tz=America/New_York",
    "/api/reports/unique-users?since=1900-01-01T00:00Z&tz=America/New_York",
    "/api/reports/unique-users?since=1901-01-01&_compare=1",
    "/events/shop1/60?at=0001-01-01T00:00:00Z",
    f"/api/events?limit={DIGITS}",
    f"/events/shop1/{DIGITS}",
    "/events/shop1/-1",
    f"/sql?sql=SELECT+1&sort={DIGITS}",
    f"/sql?sql=SELECT+$x&p.x={DIGITS}",
    f"/reports/unique-users?_sort={DIGITS}",
    f"/events?severity={DIGITS}",
    f"/events?field=ms>{DIGITS}",
    "/events?field=ms>inf",
    "/events?field=a.=x",
    "/jobs/%C3%A9",
    "/sql?sql=SELECT+TIMESTAMPTZ+'0001-01-01+00:00:00%2B00'+AS+t,+1+AS+n&tz=America/New_York",
    "/sql/chart.svg?sql=SELECT+DATE+'9999-12-31'+AS+t,+1+AS+n&chart=bars&x=t&y=n",
]
NAMES = [
    "since", "until", "tz", "refresh", "span", "limit", "after", "severity", "severities", "q", "type", "not_type", "token", "logger",
    "stream", "host", "field", "cols", "sql", "sort", "order", "p.x", "p.since", "chart", "x", "y", "series", "at", "by", "top", "each",
    "name", "next", "report", "_since", "_sort", "_order", "_compare", "_size", "_theme", "_download",
]  # fmt: skip
TEXTS = [
    "", "0", "1", "-1", DIGITS, "1e999", "nan", "inf", "true", "desc", "now", "7d", "999999w", "999999d", "²d", "٣d", "0001-01-02",
    "1900-01-01T00:00", "2200-12-31T23:59:59.999999", "9999-12-31T23:59", "0001-01-01T00:00Z", "2026-02-30", "2026-W05", "24:00",
    "America/New_York", "Pacific/Kiritimati", "Etc/../UTC", "..", "/etc/passwd", "\x00", "5xx", "=", "!", "a>1", "a>inf", "a.b.=1",
    "id=1234567890123456789", "user|x~é", 'a"b\\=1', "error,8", "bars", "ranked", "week", "month", "t", "n", "small", "dark", "WzBd",
    "é", "<script>", "%", "//x",
]  # fmt: skip
QUERIES = [
    "SELECT 1 AS n", "SELECT $x AS n", "SELECT TIMESTAMPTZ '0001-01-01 00:00:00+00' AS t, 1 AS n",
    "SELECT DATE '9999-12-31' AS t, 1 AS n", "SELECT DATE 'infinity' AS t, 1e308 * 10 AS n, NULL AS z, INTERVAL 1 DAY AS i",
    "SELECT type AS t, count(*) AS n FROM events GROUP BY 1", "SELECT 1) x, (SELECT 2", "SELECT 'x' AS t, 10::HUGEINT * 1e30 AS n",
    "SELECT count(*) FROM events WHERE timestamp > $since AND fields->>'user' = $x",
]  # fmt: skip
WORDS = {
    "name": ["unique-users", "requests-by-hour", "top-values", "nothing", "é", "new"], "kind": ["csv", "svg", "json", "exe"],
    "stream": ["shop1", "é"], "seq": ["60", "x", "0", DIGITS], "id": ["x", "é"], "digest": ["x"],
}  # fmt: skip


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    data: Path = small_lake(tmp_path_factory.mktemp("any") / "data", datetime.now(UTC).replace(microsecond=0))
    client = TestClient(
        create_app(WebSettings(data=data, memory="500MB", workers=2)), base_url="http://127.0.0.1:8565", follow_redirects=False,
        headers={"accept": "application/json"},
    )  # fmt: skip
    with client as made:
        yield made


@pytest.fixture(scope="module")
def paths(lone: TestClient) -> list[str]:
    """What can be fetched. A tail has no end; its conditions are those of a search."""
    assets: Assets = lone.app.page.views.assets  # type: ignore[attr-defined]
    return sorted({route.path for route in routes(assets) if "GET" in (route.methods or ())} - {"/api/tail"})


@pytest.mark.parametrize("address", ADDRESSES, ids=[address[:60] for address in ADDRESSES])
def test_an_address_that_was_a_fault_once(lone: TestClient, address: str) -> None:
    for accept in ("application/json", "text/html"):
        assert lone.get(address, headers={"accept": accept}).status_code < 500


@settings(max_examples=60)
@given(st.data())
def test_no_parameters_make_a_fault(lone: TestClient, paths: list[str], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(paths))
    for word in re.findall(r"{(\w+)}", path):
        path = path.replace(f"{{{word}}}", data.draw(st.sampled_from(WORDS[word])), 1)
    text = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    given = data.draw(st.lists(st.tuples(st.sampled_from(NAMES), text), max_size=4))
    if path.startswith("/sql"):
        given.append(("sql", data.draw(st.sampled_from(QUERIES))))
    assert lone.get(path, params=given).status_code < 500
