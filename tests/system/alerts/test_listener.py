"""Alerts of a real listener: a webhook is told once, also by one that is killed; recovery, missing data, `for`, what fails."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from metlog.client import MetlogClient
from metlog.journal import failpoints
from metlog.lake.query import Lake
from tests.helpers import listener as listener_module
from tests.helpers.commands import metlog_here
from tests.helpers.listener import Listener
from tests.helpers.ports import port_of
from tests.helpers.waiting import wait_for


class Hook(http.server.ThreadingHTTPServer):
    """Takes notices, or refuses them."""

    daemon_threads = True

    def __init__(self) -> None:
        self.refuses = False
        self.notices: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def told(self, alert: str = "errors") -> list[str]:
        return [notice["kind"] for notice in self.notices if notice["alert"] == alert]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        notice = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self.server.refuses:
            self.server.notices.append(notice)
        self.send_response(503 if self.server.refuses else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as made:
        yield made
        made.shutdown()


@pytest.fixture
def start(tmp_path: Path, hook: Hook) -> Iterator[Callable[..., Listener]]:
    made: list[Listener] = []

    def listen(alerts: str) -> Listener:
        target = f'[alerting]\nto = [{{ name = "webhook", url = "http://127.0.0.1:{hook.server_address[1]}/" }}]\n'
        inputs = '[[inputs]]\nname = "udp"\nport = 0\n[[inputs]]\nname = "http"\nport = 0\n'
        (tmp_path / "listener.toml").write_text(f"{inputs}{target}{alerts}")
        made.append(Listener(tmp_path / "data", "--config", str(tmp_path / "listener.toml")))
        return made[-1]

    yield listen
    for each in made:
        each.stop()


def log(listener: Listener, count: int, severity: int = 3) -> None:
    client = MetlogClient.from_config({
        "logger": "shop", "sender": {"name": "udp", "port": port_of(listener.address("udp"))}, "statsd": False,
    })  # fmt: skip
    for _ in range(count):
        client.log(("order",), "an order", severity=severity)
    client.close()


def state(listener: Listener, name: str = "errors") -> dict[str, Any]:
    return next((item for item in listener.status()["alerts"] if item["name"] == name), {"state": "", "alarm": None})


def kept(listener: Listener, name: str = "errors") -> dict[str, Any]:
    found = json.loads((listener.data / "alerts" / "listener-main.json").read_text())["alerts"]
    return next(item for item in found if item["name"] == name)


ERRORS = """
[[alerts]]
name = "errors"
where = "severity <= 3"
when = "value > 5"
every = "0.2s"
delay = 0
"""


def test_it_fires_is_killed_and_says_nothing_twice(start: Any, hook: Hook) -> None:
    config = f'{ERRORS}window = "3s"\nno_data = "ok"\n'
    listener = start(config.replace('window = "3s"', 'window = "1h"'))
    log(listener, 8)
    wait_for(lambda: hook.told() == ["firing"])
    (notice,) = hook.notices
    assert (notice["state"], notice["value"], notice["when"], notice["test"]) == ("firing", 8.0, "value > 5", False)
    wait_for(lambda: not kept(listener)["outbox"])
    listener.stop(signal.SIGKILL)
    listener = start(config.replace('window = "3s"', 'window = "1h"'))
    before = kept(listener)["evaluated_at"]
    wait_for(lambda: kept(listener)["evaluated_at"] > before and state(listener)["state"] == "firing")
    assert hook.told() == ["firing"]
    listener.stop()
    listener = start(config)  # another window, by now without an event: it recovers
    wait_for(lambda: hook.told() == ["firing", "recovered"])
    assert kept(listener)["alarm"] is False
    log(listener, 8)
    wait_for(lambda: hook.told() == ["firing", "recovered", "firing"])
    wait_for(lambda: hook.told() == ["firing", "recovered", "firing", "recovered"])
    assert len({notice["id"] for notice in hook.notices}) == 4


def test_what_nobody_takes_is_told_after_a_kill_and_once(start: Any, hook: Hook) -> None:
    hook.refuses = True
    listener = start(f'{ERRORS}window = "1h"\n')
    log(listener, 8)
    wait_for(lambda: "503" in state(listener).get("error", ""))
    assert any("alert errors: not told" in line for line in wait_for(lambda: listener.status()["health"]))
    first = kept(listener)["outbox"][0]["notice"]["id"]
    listener.stop(signal.SIGKILL)
    hook.refuses = False
    listener = start(f'{ERRORS}window = "1h"\n')
    wait_for(lambda: hook.told() == ["firing"], seconds=30)
    assert hook.notices[0]["id"] == first
    wait_for(lambda: not kept(listener)["outbox"])
    wait_for(lambda: not listener.status()["health"])


def test_for_missing_data_events_and_what_fails(start: Any, hook: Hook) -> None:
    listener = start(f"""{ERRORS}
window = "1h"
for = "1.5s"
to = ["event"]
[[alerts]]
name = "silent"
where = "true"
when = "value < 1"
no_data = "alert"
every = "0.2s"
window = "1h"
[[alerts]]
name = "wrong"
sql = "SELECT count(*) AS n FROM events WHERE received_at >= $since"
when = "nosuch > 1"
every = "0.2s"
""")
    wait_for(lambda: hook.told("silent") == ["firing"])
    wait_for(lambda: state(listener, "silent")["state"] == "no_data")
    assert hook.notices[0]["value"] is None
    wait_for(
        lambda: any(
            "alert wrong: there is no column 'nosuch'; there is n, and rows" in line
            for line in listener.status()["health"]
        )
    )
    log(listener, 8)
    wait_for(lambda: hook.told("silent") == ["firing", "recovered"])
    wait_for(lambda: state(listener)["state"] == "firing")
    sql = "SELECT tokens, severity, fields FROM events WHERE type = 'alert'"

    def events() -> Any:
        return json.loads(metlog_here("query", sql, "--data", str(listener.data), "--format", "json").stdout)

    (event,) = wait_for(events)
    assert (event["tokens"], event["severity"], event["fields"]["alert"]) == (["alert", "firing"], 1, "errors")
    at, since = (datetime.fromisoformat(event["fields"][key]) for key in ("at", "since"))
    assert at - since >= timedelta(seconds=1.5)
    page = httpx.get(f"{listener.address('http')}/metrics").text
    assert 'metlog_alert_firing{alert="errors"} 1' in page
    assert 'metlog_alert_state{alert="wrong",state="error"} 1' in page
    listed = metlog_here("alerts", "--data", str(listener.data), "--json")
    assert {item["name"]: item["state"] for item in json.loads(listed.stdout)} == {
        "errors": "firing",
        "silent": "ok",
        "wrong": "error",
    }
    assert "errors" in metlog_here("alerts", "--data", str(listener.data)).stdout


def test_a_test_changes_no_state_and_tells_only_when_asked(start: Any, hook: Hook, tmp_path: Path) -> None:
    listener = start(
        f'{ERRORS.replace("0.2s", "1h")}window = "1h"\n'
    )  # evaluated at the start, and then not for an hour
    wait_for(lambda: state(listener)["state"] == "no_data")
    log(listener, 8)
    sql = "SELECT count(*) AS n FROM events WHERE severity = 3"
    with Lake(listener.data) as lake:
        wait_for(lambda: lake.query(sql).rows == [(8,)])
    before = kept(listener)
    arguments = ("alerts", "test", "errors", "--config", str(tmp_path / "listener.toml"), "--data", str(listener.data))
    done = metlog_here(*arguments)
    assert done.returncode == 0, done.stderr
    assert "the condition holds" in done.stdout
    assert "would be told: firing: alert errors fires: value is 8" in done.stdout
    assert hook.notices == []
    done = metlog_here(*arguments, "--send")
    assert "told, marked as a test" in done.stdout
    (notice,) = hook.notices
    assert notice["test"]
    assert notice["text"].startswith("Test: ")
    assert kept(listener) == before
    hook.refuses = True
    failed = metlog_here(*arguments, "--send")
    assert failed.returncode == 1
    assert "failed: webhook http://127.0.0.1" in failed.stdout
    assert "there is errors" in metlog_here("alerts", "test", "nosuch", *arguments[3:]).stderr


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a listener without alerts left of eight events: one that evaluates late would tell, too."""
    listener = Listener(tmp_path_factory.mktemp("logged") / "data", "--udp", "127.0.0.1:0")
    try:
        log(listener, 8)
        wait_for(lambda: (listener.data / "status.json").exists() and listener.status()["delivery"]["ended"] == 1)
    finally:
        assert listener.stop() == 0
    return listener.data


@pytest.mark.parametrize(
    ("point", "passing"),
    [*((point, 1) for point in failpoints.ALERT_POINTS), *((point, 2) for point in failpoints.ALERT_POINTS[:3])],
)
def test_killed_at_every_step_no_notice_is_lost_and_none_is_new(
    point: str, passing: int, start: Any, hook: Hook, logged: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    shutil.copytree(logged, tmp_path / "data")
    monkeypatch.setattr(
        listener_module, "environment", lambda: {**os.environ, "METLOG_FAULT": f"{point}:{passing}=die"}
    )
    with contextlib.suppress(AssertionError):  # killed before it was ready
        doomed = start(f'{ERRORS}window = "1h"\n')
        wait_for(lambda: doomed.process.poll() is not None)
    monkeypatch.undo()
    again = start(f'{ERRORS}window = "1h"\n')
    wait_for(lambda: hook.told() and not kept(again)["outbox"] and kept(again)["alarm"])
    before = kept(again)["evaluated_at"]
    wait_for(lambda: kept(again)["evaluated_at"] > before)
    assert set(hook.told()) == {"firing"}
    assert len({notice["id"] for notice in hook.notices}) == 1
    assert len(hook.notices) <= (
        2 if passing == 2 or point == "alerts.sent" else 1
    )  # killed between the answer and the disk
