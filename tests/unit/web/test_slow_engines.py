"""The page over an engine that takes its time: it comes at once, tells how far the query is, ends it, and keeps what came."""

from __future__ import annotations

import html
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import metlog.web.app
from metlog.lake.cancel import Cancel, Progress
from metlog.lake.query import Lake
from metlog.lake.result import Queryable, Stream
from metlog.lake.sql.guard import QueryError
from tests.helpers.waiting import wait_for

pytestmark = pytest.mark.slow


class Slow(Queryable):
    """DuckDB that waits before each answer until it is let go."""

    name, slow = "sloth", True

    def __init__(self, data: Path) -> None:
        self._lake = Lake(data)
        self.go = threading.Event()
        self.asked: list[str] = []
        self.ended: list[str] = []

    @contextmanager
    def stream(
        self, sql: str, params: Any = None, *, timeout: float | None = None, loggers: Sequence[str] | None = None,
        cancel: Cancel | None = None
    ) -> Iterator[Stream]:  # fmt: skip
        self.asked.append(sql)
        assert cancel is not None
        cancel.progress = Progress("sloth: 3 of 7 stages", 3 / 7)
        while not self.go.wait(0.01):
            if cancel.cancelled:
                self.ended.append(sql)
                raise QueryError("the query was cancelled", "cancelled")
        with self._lake.stream(sql, params, loggers=loggers) as found:
            yield found

    def close(self) -> None:
        self._lake.close()


@pytest.fixture
def engine(data: Path, monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow(data)
    monkeypatch.setattr(metlog.web.app, "open_engine", lambda *_, **__: made)
    return made


@pytest.fixture
def page(engine: Slow, start: Callable[..., TestClient]) -> Iterator[TestClient]:
    yield start(engine="sloth://h")
    engine.go.set()


def job_of(text: str) -> str:
    found = re.search(r'data-job="(/jobs/[^"]+)"', text)
    assert found, text
    return found[1]


def csrf_of(text: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', text)
    assert found
    return found[1]


@pytest.mark.parametrize("address", ["/", "/reports/logins", "/sql?sql=SELECT+1+AS+one", "/events"])
def test_a_page_says_that_it_waits_and_then_shows_the_result(engine: Slow, page: TestClient, address: str) -> None:
    answer = page.get(address)
    assert answer.status_code == 202
    assert "sloth is working on it" in answer.text
    told = page.get(job_of(answer.text)).json()
    assert told["state"] == "running"
    assert told["text"] == "sloth: 3 of 7 stages"
    assert told["share"] == pytest.approx(3 / 7)
    engine.go.set()
    wait_for(lambda: page.get(address).status_code == 200)


def test_those_who_ask_for_the_same_wait_for_one_query(engine: Slow, page: TestClient) -> None:
    first, second = page.get("/sql?sql=SELECT+1+AS+one"), page.get("/sql?sql=SELECT+1+AS+one")
    assert job_of(first.text) == job_of(second.text)
    assert engine.asked == ["SELECT 1 AS one"]


def test_cancelling_ends_the_query_in_the_engine(engine: Slow, page: TestClient) -> None:
    answer = page.get("/sql?sql=SELECT+1+AS+one")
    job = job_of(answer.text)
    wrong = page.post(f"{job}/cancel", data={"back": "/sql"}, headers={"origin": "http://127.0.0.1:8565"})
    assert wrong.status_code == 403
    assert engine.ended == []
    given = {"csrf": csrf_of(answer.text), "back": "/sql?sql=SELECT+1+AS+one"}
    answer = page.post(f"{job}/cancel", data=given, headers={"origin": "http://127.0.0.1:8565"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sql?sql=SELECT+1+AS+one")
    assert wait_for(lambda: engine.ended) == ["SELECT 1 AS one"]
    shown = page.get(answer.headers["location"])
    assert "the query was cancelled" in shown.text
    assert "Ask again" in shown.text
    assert engine.asked == ["SELECT 1 AS one"]
    again = re.search(r'href="(/sql\?sql=[^"]*_since=[^"]+)"', shown.text)
    assert again
    assert page.get(again[1].replace("&amp;", "&")).status_code == 202
    assert len(engine.asked) == 2


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_cancelling_leads_back_to_this_page_only(engine: Slow, page: TestClient, back: str) -> None:
    answer = page.get("/sql?sql=SELECT+1+AS+one")
    given = {"csrf": csrf_of(answer.text), "back": back}
    answer = page.post(f"{job_of(answer.text)}/cancel", data=given, headers={"origin": "http://127.0.0.1:8565"})
    assert answer.headers["location"] == "/"


def test_a_query_that_nobody_asks_for_is_ended(engine: Slow, page: TestClient) -> None:
    jobs = page.app.page.jobs  # type: ignore[attr-defined]
    jobs._abandoned = 0.2
    page.get("/sql?sql=SELECT+1+AS+one")
    assert wait_for(lambda: engine.ended) == ["SELECT 1 AS one"]
    engine.go.set()
    assert page.get("/sql?sql=SELECT+1+AS+one").status_code == 200  # asked anew, as nobody had cancelled it
    assert len(engine.asked) == 2


def test_a_result_is_kept_and_its_age_is_shown(engine: Slow, page: TestClient) -> None:
    engine.go.set()
    assert page.get("/reports/status-codes").status_code == 200
    for job in page.app.page.jobs._by_key.values():  # type: ignore[attr-defined]
        job.began -= 40
    shown = page.get("/reports/status-codes").text
    assert re.search(r"as of 4\d s ago", shown)
    assert len(engine.asked) == 1
    again = re.search(r'href="(/reports/status-codes\?[^"]*_since=[^"]+)"', shown)
    assert again
    address = again[1].replace("&amp;", "&")
    assert "as of" not in page.get(address).text
    assert len(engine.asked) == 2
    page.get(address)
    assert len(engine.asked) == 2  # an address that is loaded again asks no more


@pytest.mark.process
def test_programs_and_pictures_wait_to_the_end(engine: Slow, page: TestClient) -> None:
    threading.Timer(1.5, engine.go.set).start()
    began = time.monotonic()
    answer = page.get("/api/reports/logins")
    assert (answer.status_code, time.monotonic() - began > 1.2) == (200, True)
    assert page.get("/reports/logins.svg").headers["content-type"] == "image/svg+xml"
    assert len(engine.asked) == 1


def test_a_query_of_somebody_else_cannot_be_seen_or_ended(engine: Slow, start: Callable[..., TestClient]) -> None:
    from metlog.web.settings import Access, token_digest

    tokens = {token_digest("a" * 16): Access("a"), token_digest("b" * 16): Access("b")}
    page = start(engine="sloth://h", tokens=tokens)
    answer = page.get("/sql?sql=SELECT+1+AS+one", headers={"authorization": f"Bearer {'a' * 16}"})
    job = job_of(answer.text)
    assert page.get(job, headers={"authorization": f"Bearer {'a' * 16}"}).status_code == 200
    assert page.get(job, headers={"authorization": f"Bearer {'b' * 16}"}).status_code == 404
    engine.go.set()


def test_without_a_data_folder_there_is_no_tail_and_nothing_is_saved(
    engine: Slow, start: Callable[..., TestClient]
) -> None:
    engine.go.set()
    page = start(engine="sloth://h", data=None)
    assert page.get("/healthz").json() == {"status": "ok"}
    assert page.get("/").status_code == 200
    assert page.get("/tail").status_code == 404
    assert page.get("/api/tail").status_code == 404
    text = page.get("/sql?sql=SELECT+1+AS+one").text
    assert "/sql/save" not in text
    given = {"sql": "SELECT 1 AS one", "name": "one", "title": "One"}
    refused = page.post("/sql/save", data=given, headers={"origin": "http://127.0.0.1:8565"})
    assert refused.status_code == 403
    assert "This page asks an engine and has none" in refused.text


@pytest.mark.process
def test_the_tables_of_a_dashboard_are_asked_for_at_once_and_shared_with_its_charts(
    engine: Slow, start: Callable[..., TestClient], tmp_path: Path
) -> None:
    board = 'title = "Board"\n' + "".join(
        f'[[panels]]\nreport = "{name}"\nshow = "{show}"\n'
        for name, show in (("logins", "both"), ("status-codes", "table"), ("volume", "chart"))
    )
    (tmp_path / "board.toml").write_text(board, "utf-8")
    page = start(engine="sloth://h", dashboards=tmp_path)
    first = page.get("/dashboards/board")
    assert first.status_code == 202
    job = job_of(first.text)
    assert page.get(job).json()["text"] == "0 of 2 are there"
    assert len(wait_for(lambda: engine.asked if len(engine.asked) == 2 else None) or []) == 2
    given = {"csrf": csrf_of(first.text), "back": "/dashboards/board"}
    back = page.post(f"{job}/cancel", data=given, headers={"origin": "http://127.0.0.1:8565"})
    assert len(wait_for(lambda: engine.ended if len(engine.ended) == 2 else None) or []) == 2
    shown = page.get(back.headers["location"])
    assert shown.status_code == 200
    assert "was cancelled" in shown.text
    again = re.search(r'href="(/dashboards/board\?[^"]*_since=[^"]+)"', shown.text)
    assert again
    assert page.get(again[1].replace("&amp;", "&")).status_code == 202
    engine.go.set()
    whole = wait_for(lambda: got if (got := page.get("/dashboards/board")).status_code == 200 else None)
    assert whole is not None
    assert whole.text.count('<table class="data">') == 2
    assert len(engine.asked) == 4
    for picture in re.findall(r'<img src="([^"]+)"', whole.text):
        assert page.get(html.unescape(picture)).status_code == 200
    assert len(engine.asked) == 5, "the third panel has a chart only"
