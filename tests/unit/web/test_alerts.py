"""Alerts on the page: its own are evaluated, those of a listener are shown, and nobody sees them who does not see every service."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from metlog.alerts.config import alerts_of
from metlog.alerts.runner import Alerts
from metlog.alerts.states import State, Store
from metlog.errors import ConfigError, Problems
from metlog.web import alerts
from metlog.web.settings import Access, load, token_digest
from tests.helpers.waiting import wait_for

pytestmark = pytest.mark.process

TOKENS = {
    token_digest("all-of-it-0123456789"): Access("all"),
    token_digest("shop-only-0123456789"): Access("shop", ("shop",)),
}
EVERY = {"every": "0.2s", "window": "30d", "delay": 0}


def settings(data: Path, *tables: dict[str, Any]) -> Any:
    problems = Problems()
    found = alerts_of({"alerts": list(tables)}, data, problems, in_listener=False)
    problems.check()
    return found


def text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_page_evaluates_its_own_and_shows_them(start: Any, own_data: Path) -> None:
    several = settings(
        own_data,
        {"name": "many", "sql": "SELECT count(*) AS n FROM events", "when": "n > 1", **EVERY},
        {"name": "slow", "report": "request-times", "when": "p95 > 1000000", "window": "30d", "every": "0.2s"},
        {"name": "broken", "sql": "SELECT 1 AS n", "when": "m > 1", **EVERY},
    )
    page = start(data=own_data, alerts=several)
    shown = wait_for(
        lambda: (
            found
            if "many firing" in (found := text(page.get("/alerts").text)) and "there is no column" in found
            else ""
        )
    )
    assert shown.index("many firing") < shown.index("broken error")
    assert "there is no column &#39;m&#39;; there is n, and rows" in shown
    assert "SQL: n &gt; 1" in shown
    assert "Alert many fires" in text(page.get("/").text)
    metrics = page.get("/metrics").text
    assert 'metlog_alert_firing{alert="many"} 1' in metrics
    assert 'metlog_alert_state{alert="broken",state="error"} 1' in metrics


def test_what_is_told_above_the_table_stands_in_it(start: Any, own_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated = threading.Event()
    read, listed = Alerts._read, alerts._listed

    def held_back(self: Alerts, *args: Any) -> Any:
        evaluated.wait(20)
        return read(self, *args)

    def evaluated_meanwhile(page: Any, now: float) -> Any:
        found = listed(page, now)
        evaluated.set()
        wait_for(page.alerts.health)
        return found

    monkeypatch.setattr(Alerts, "_read", held_back)
    monkeypatch.setattr(alerts, "_listed", evaluated_meanwhile)
    broken = settings(own_data, {"name": "broken", "sql": "SELECT 1 AS n", "when": "m > 1", **EVERY})
    page = start(data=own_data, alerts=broken)
    shown = text(page.get("/alerts").text)
    assert ("there is no column" in shown) == ("broken error" in shown), shown
    assert "broken error" in text(page.get("/alerts").text)


def test_states_of_a_listener_are_shown_with_what_they_say_and_no_markup(start: Any, own_data: Path) -> None:
    store = Store(own_data / "alerts", "listener-main")
    old = State(
        name="old",
        state="ok",
        since=1.0,
        evaluated_at=time.time() - 9000,
        about="SQL: <script>alert(1)</script>",
        every=60.0,
        error="<b>",
    )
    store.save([old], 0.0)
    store.close()
    page = start(data=own_data)
    answer = page.get("/alerts")
    assert answer.status_code == 200
    assert "<script>alert(1)" not in answer.text
    assert "<b>" not in answer.text
    assert "not evaluated any more" in answer.text
    assert "listener-main" in answer.text
    assert "fires" not in text(page.get("/").text)


def test_without_any_the_page_says_how_to_have_one(page: Any) -> None:
    assert "No alerts are evaluated here" in page.get("/alerts").text


def test_they_are_not_for_who_sees_one_service(start: Any, own_data: Path) -> None:
    store = Store(own_data / "alerts", "listener-main")
    store.save([State(name="secret", state="firing", alarm=True, evaluated_at=time.time())], 0.0)
    store.close()
    page = start(data=own_data, tokens=TOKENS)
    some, all_of_it = (
        {"authorization": f"Bearer {token}"} for token in ("shop-only-0123456789", "all-of-it-0123456789")
    )
    assert page.get("/alerts").status_code in {303, 401}
    refused = page.get("/alerts", headers=some)
    assert refused.status_code == 403
    assert "secret" not in refused.text + page.get("/", headers=some).text
    assert 'href="/alerts"' not in page.get("/", headers=some).text
    assert "secret" in page.get("/alerts", headers=all_of_it).text
    assert "secret" in page.get("/", headers=all_of_it).text


def test_the_file_of_the_page_has_alerts(tmp_path: Path, own_data: Path) -> None:
    (tmp_path / "page.toml").write_text("""
        [alerting]
        state = "states"
        [[alerts]]
        name = "errors"
        where = "severity <= 3"
        when = "value > 5"
        to = [{ name = "event", to = "udp://127.0.0.1:5565" }]
    """)
    found = load(own_data, config=tmp_path / "page.toml").alerts
    assert [item.name for item in found.alerts] == ["errors"]
    assert found.alerting.state == "states"


def test_a_folder_that_cannot_be_written_is_named_at_the_start(start: Any, own_data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    problems = Problems()
    alert = {"name": "many", "sql": "SELECT count(*) AS n FROM events", "when": "n > 1"}
    found = alerts_of(
        {"alerts": [alert], "alerting": {"state": str(tmp_path / "file")}}, own_data, problems, in_listener=False
    )
    with pytest.raises(ConfigError, match=r"alerting.state: .*file cannot be written"):
        start(data=own_data, alerts=found)
