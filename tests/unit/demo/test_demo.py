"""`metlog demo --days`: a month that looks like one, and a service beside it that sends as services do."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from metlog.lake.query import Lake
from metlog.reports import Library

pytestmark = pytest.mark.process

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("METLOG_", "DISPLAY", "WAYLAND"))}
COMMAND = [sys.executable, "-m", "metlog", "demo", "--seconds", "1.5", "--days", "3"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The data folder and what was printed, the page served at the end and ended by Ctrl-C."""
    folder = tmp_path_factory.mktemp("demo") / "with a space"
    process = subprocess.Popen(
        [*COMMAND, "--data", str(folder), "--serve"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True,
    )  # fmt: skip
    said = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if line.startswith("the page is at"):
                break
        address = re.search(r"http://[\d.:]+", said.splitlines()[-1])
        assert address, said + process.communicate()[1]
        with urllib.request.urlopen(f"{address[0]}/reports/unique-users", timeout=20) as answer:
            assert b"Unique users" in answer.read()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        rest, errors = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    left = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True)
    assert left.stdout == ""
    return folder, said + rest


def query(demo: tuple[Path, str], sql: str) -> list[tuple[Any, ...]]:
    with Lake(demo[0]) as lake:
        return lake.query(sql).rows


def test_it_says_how_fast_the_days_were_filled_and_shows_charts_of_them(demo: tuple[Path, str]) -> None:
    said = demo[1]
    assert re.search(r"[\d,]{6,} sample events of 3 days and today in \d+\.\d s", said)
    assert re.search(r"events sent ([\d,]+), received \1, lost 0", said)
    for word in ("Unique users", "Logins", "█", "Request times", "/invoices"):
        assert word in said


def test_its_last_lines_can_be_typed_and_name_the_page(demo: tuple[Path, str]) -> None:
    said = demo[1]
    assert re.search(r"^the page is at http://127\.0\.0\.1:\d+/; Ctrl-C ends it$", said, re.MULTILINE)
    lines = [line.split("#")[0].strip() for line in said.splitlines() if line.startswith("  ") and "--data" in line]
    assert len(lines) == 3
    bin_folder = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, env={**ENVIRONMENT, "PATH": bin_folder}, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_each_report_has_something_to_show(demo: tuple[Path, str]) -> None:
    with Lake(demo[0]) as lake:
        for report in Library():
            assert report.run(lake, {"since": "3d"}).rows, report.name


def test_the_service_sends_counters_and_timers_as_services_do(demo: tuple[Path, str]) -> None:
    """What the middleware and `client.statsd` send comes through the statsd input, what the client sends through its own; nothing twice."""
    live = "timestamp >= (SELECT min(timestamp) FROM events WHERE source LIKE 'udp://127.0.0.1:%')"
    requests, ok = query(demo, f"""
        SELECT count(*), count(*) FILTER (fields->>'route' = '/checkout' AND fields->>'status' = '200')
        FROM events WHERE type = 'request' AND source LIKE 'udp://127.0.0.1:%' AND {live}""")[0]  # fmt: skip
    counted = dict(query(demo, f"""
        SELECT fields->>'name', sum(weight) FROM events
        WHERE type IN ('counter', 'timer') AND source LIKE 'statsd://127.0.0.1:%' AND {live} GROUP BY 1"""))  # fmt: skip
    assert counted.get("orders", 0) == ok
    assert counted["request.GET"] == requests > 20
    assert sum(number for name, number in counted.items() if name.startswith("request.GET.")) == requests
    own = query(
        demo,
        f"SELECT DISTINCT fields->>'name' FROM events WHERE type IN ('counter', 'timer') AND source LIKE 'udp://127%' AND {live}",
    )
    assert {name for (name,) in own} == {"db.query", "cache.hit"}
    hits = query(
        demo,
        f"SELECT DISTINCT weight * (fields->>'count')::DOUBLE % 10 FROM events WHERE fields->>'name' = 'cache.hit' AND {live}",
    )
    assert hits == [(0.0,)]  # one of ten is kept, and counts for ten


def test_a_folder_with_other_data_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    done = subprocess.run(
        [*COMMAND, "--data", str(tmp_path)], capture_output=True, text=True, env=ENVIRONMENT, timeout=60
    )
    assert done.returncode == 1
    assert "is none of the demo's folders" in done.stderr
    assert sorted(item.name for item in tmp_path.rglob("*")) == ["events"]


def test_a_folder_with_a_running_listener_is_left_alone(tmp_path: Path) -> None:
    from metlog.cli.demo import _claim

    data = tmp_path / "data"
    _claim(data)
    _claim(data)  # one of its own
    listener = subprocess.Popen(
        [sys.executable, "-m", "metlog", "listen", "--data", str(data), "--udp", "127.0.0.1:0"],
        stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    try:
        assert listener.stdout is not None
        while not listener.stdout.readline().startswith("ready"):
            assert listener.poll() is None
        with pytest.raises(RuntimeError, match=f"process {listener.pid}"):
            _claim(data)
    finally:
        listener.terminate()
        listener.wait(20)
    _claim(data)
