"""`metlog serve` as it runs: started, followed, left by its visitors, ended."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.helpers.waiting import wait_for
from tests.helpers.webdata import Journal, Served

ENDLESS = "SELECT count(*) FROM events, range(100000000000) r WHERE r.range % 7 = severity"


def metric(address: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", httpx.get(f"{address}/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def events(lines: Iterator[str]) -> Iterator[dict[str, object]]:
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_quickly_and_cleanly_with_a_tail_open_and_a_query_running(data: Path, number: signal.Signals) -> None:
    with Served(data, "--timeout", "300") as served, httpx.Client(timeout=30) as client:
        with client.stream("GET", f"{served.address}/api/tail") as tail:
            assert next(tail.iter_lines()) == "retry: 2000"
            ended: list[object] = []

            def ask() -> None:
                try:
                    ended.append(
                        httpx.post(f"{served.address}/api/query", json={"sql": ENDLESS}, timeout=60).status_code
                    )
                except httpx.HTTPError as error:
                    ended.append(error)

            thread = threading.Thread(target=ask)
            thread.start()
            wait_for(lambda: metric(served.address, "metlog_page_queries") == 1)
            status, seconds, errors = served.stop(number)
            thread.join()
        assert (status, errors) == (0, "")
        assert seconds < 8
        assert ended
        assert ended[0] != 200


def test_a_closed_tab_ends_its_query(data: Path) -> None:
    with Served(data, "--timeout", "300") as served:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{served.address}/sql", params={"sql": ENDLESS}, timeout=0.7)
        wait_for(lambda: metric(served.address, 'metlog_page_queries_total{outcome="cancelled"}') == 1)
        wait_for(lambda: metric(served.address, "metlog_page_queries") == 0)


def test_heavy_queries_do_not_stop_the_page(data: Path) -> None:
    """As many as run at once but one, none of which would end; everything else is answered beside them, and they are ended at last."""
    with Served(data, "--timeout", "300") as served, httpx.Client(base_url=served.address, timeout=60) as client:
        ended: list[object] = []

        def ask() -> None:
            try:
                ended.append(httpx.post(f"{served.address}/api/query", json={"sql": ENDLESS}, timeout=5).status_code)
            except httpx.ReadTimeout:
                ended.append("closed")

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_for(lambda: metric(served.address, "metlog_page_queries") == 3)
        for path in ("/healthz", "/metrics", "/", "/reports", "/reports/events-by-type", "/reports/events-by-type.svg", "/events",
                     "/events/shop1/60", "/sql?sql=SELECT+1", "/api/events", "/tail"):  # fmt: skip
            assert client.get(path).status_code == 200, path
        answer = client.post("/api/query", json={"sql": "SELECT count(*) FROM events"})
        assert answer.json()["rows"] == [[118]]
        for thread in threads:
            thread.join()
        assert ended == ["closed"] * 3
        wait_for(lambda: metric(served.address, "metlog_page_queries") == 0)


def test_the_tail_tells_each_event_once_and_only_what_is_wanted(data: Path) -> None:
    journal = Journal(data)
    journal.append({"type": "before", "logger": "shop"})
    with Served(data) as served, httpx.Client(timeout=15) as client:
        with client.stream("GET", f"{served.address}/api/tail", params={"logger": "shop", "q": "é"}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.iter_lines()
            assert [next(lines), next(lines)] == ["retry: 2000", ": open"]
            for number in range(20):
                journal.append(
                    {"type": "a", "logger": "shop", "payload": f"É {number}\n\ndata: no", "fields": {"n": number}},
                    {"type": "a", "logger": "bank", "payload": "é"},
                    {"type": "a", "logger": "shop", "payload": "other"},
                )
            found = events(lines)
            assert [next(found)["fields"] for _ in range(20)] == [{"n": number} for number in range(20)]
            assert metric(served.address, "metlog_page_tails") == 1
        wait_for(lambda: metric(served.address, "metlog_page_tails") == 0)


def test_a_tail_that_is_limited_tells_nothing_else(data: Path, tmp_path: Path) -> None:
    journal = Journal(data)
    config = tmp_path / "page.toml"
    config.write_text('tails = 1\n[[tokens]]\ntoken = "a-token-that-sees-the-shop"\nloggers = ["shop"]\n')
    headers = {"authorization": "Bearer a-token-that-sees-the-shop"}
    with Served(data, "--config", str(config)) as served, httpx.Client(timeout=15, headers=headers) as client:
        with client.stream("GET", f"{served.address}/api/tail?logger=") as answer:
            lines = answer.iter_lines()
            assert [next(lines), next(lines)] == ["retry: 2000", ": open"]
            journal.append({"type": "a", "logger": "bank"}, {"type": "b", "logger": "shop"})
            assert next(events(lines))["type"] == "b"
            assert client.get(f"{served.address}/api/tail").status_code == 429
        assert client.get(f"{served.address}/healthz").headers.get("server") is None


@pytest.mark.parametrize(
    ("sql", "status", "words"),
    [
        ("SELECT list(range::VARCHAR || repeat('x', 100)) FROM range(100000000)", 413, "memory"),
        ("SELECT max(x) FROM (SELECT row_number() OVER (ORDER BY u) AS x FROM (SELECT uuid()::VARCHAR AS u FROM range(300000000)))",
         413, "memory"),  # what does not fit is spilled, up to the cap
        ("SELECT length(printf('%2000000000d', 1))", 413, "memory"),
        ("SELECT jaro_winkler_similarity(repeat('a', 6000000), repeat('b', 6000000))", 408, "2 s"),
        (ENDLESS, 408, "2 s"),
    ],
    ids=["memory", "spill", "memory nobody counts", "cannot be interrupted", "for ever"],
)  # fmt: skip
def test_a_query_that_takes_too_much_is_ended_and_the_page_goes_on(
    data: Path, tmp_path: Path, sql: str, status: int, words: str
) -> None:
    config = tmp_path / "page.toml"
    config.write_text(
        'memory = "200MB"\nspill = "50MB"\ntimeout = 2\n' if status == 408 else 'memory = "200MB"\nspill = "50MB"\n'
    )
    before = {path for path in data.rglob("*") if path.name != ".lease"}
    with Served(data, "--config", str(config)) as served, httpx.Client(base_url=served.address, timeout=60) as client:
        answer = client.post("/api/query", json={"sql": sql})
        assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
        assert client.post("/api/query", json={"sql": "SELECT count(*) FROM events"}).json()["rows"] == [[118]]
        after = {path for path in data.rglob("*") if path.name != ".lease"}  # the lease of queries
        assert after == before, "nothing is spilled into the data folder"
        assert served.stop()[0] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "--token-file"),
        (["--token-file", "nowhere"], "nowhere"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
        (["--host", "192.0.2.1", "--user-header", "X-User"], "192.0.2.1"),
    ],
)
def test_it_says_why_it_does_not_start(data: Path, options: list[str], words: str) -> None:
    arguments = [sys.executable, "-m", "metlog", "serve", "--data", str(data), "--port", "0", *options]
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("metlog serve: ")
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "there is no data set 'file:///nonexistent/lake'"),
        (["--engine", "duckdb:///nonexistent/folder"], "there is no data folder '/nonexistent/folder'"),
    ],
)
def test_data_that_is_not_there_is_told_in_a_line(tmp_path: Path, options: list[str], words: str) -> None:
    (tmp_path / "lake.json").write_text('{"uri":"file:///nonexistent/lake"}')
    arguments = [sys.executable, "-m", "metlog", "serve", "--data", str(tmp_path), "--port", "0", *options]
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert words in ran.stderr
    assert re.fullmatch(r"metlog serve: [^\n]+\n", ran.stderr)
    assert "cannot listen" not in ran.stderr


def test_an_address_that_is_taken_is_told(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = [sys.executable, "-m", "metlog", "serve", "--data", str(data), "--port", port]
        ran = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"metlog serve: cannot listen on 127.0.0.1:{port}: ")


def test_it_listens_where_other_machines_reach_it_when_it_knows_who_asks(data: Path, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("0123456789abcdef0123456789abcdef\n")
    os.chmod(secret, 0o600)
    with Served(data, "--host", "0.0.0.0", "--token-file", str(secret)) as served:
        address = served.address.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{address}/api/reports").status_code == 401
        assert (
            httpx.get(
                f"{address}/api/reports", headers={"authorization": f"Bearer {secret.read_text().strip()}"}
            ).status_code
            == 200
        )
