"""Upkeep that a listener does by its configuration, told in status, metrics and health."""

from __future__ import annotations

import fcntl
import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metlog.lake.query import Lake
from tests.helpers.commands import metlog_here
from tests.helpers.lakes import FIRST_DAY, make_lake
from tests.helpers.listener import Listener
from tests.helpers.waiting import wait_for
from tests.system.upkeep.killing import ASK

CONFIG = """
[[inputs]]
name = "udp"
port = 0

[[inputs]]
name = "http"
port = 0

[lake]
"""


@contextmanager
def running(folder: Path, lake: str) -> Iterator[Listener]:
    (folder / "listener.toml").write_text(CONFIG + lake, "utf-8")
    listener = Listener(folder / "data", "--config", str(folder / "listener.toml"))
    try:
        yield listener
    finally:
        assert listener.stop() == 0


def metrics(listener: Listener) -> str:
    with urllib.request.urlopen(listener.address("http") + "/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def job(listener: Listener, name: str) -> dict[str, Any]:
    found: dict[str, Any] = listener.status()["upkeep"][name]
    return found


def recorded(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "data" / "upkeep.ndjson").read_text().splitlines()]


def test_small_files_are_merged_when_it_is_time_and_every_query_sees_each_event_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    count = make_lake(data, days=2, files=6, events=20)
    whole = (count, count, count * (count - 1) // 2)
    with running(tmp_path, 'compact = "1s"') as listener, Lake(data, threads=1) as lake:

        def merged() -> bool:
            assert lake.query(ASK).rows == [whole]
            return job(listener, "compact")["runs"] >= 2  # the second finds nothing to merge

        wait_for(merged, 60)
        assert lake.query(ASK).rows == [whole]
        assert [entry["action"] for entry in recorded(tmp_path)] == ["compact", "compact"]
        assert len(list(data.rglob("*.parquet"))) == 2
        found = job(listener, "compact")
        assert (found["failures"], found["error"]) == (0, "")
        assert found["succeeded"]
        page = metrics(listener)
        assert 'metlog_upkeep_failing{job="compact"} 0' in page
        assert 'metlog_upkeep_failures_total{job="compact"} 0' in page
        assert listener.status()["health"] == []
    shown = metlog_here("status", "--data", str(data)).stdout
    assert "upkeep compact" in shown


def test_old_events_go_when_it_is_time(tmp_path: Path) -> None:
    data = tmp_path / "data"
    make_lake(data, days=4, files=2, events=20)
    day_after = FIRST_DAY.day + 2
    edge = datetime(FIRST_DAY.year, FIRST_DAY.month, day_after, tzinfo=UTC)
    age = int((datetime.now(UTC) - edge).total_seconds())
    with running(tmp_path, f'expire = "{age}s"\nexpire_at = "1s"\nexpire_types = {{ login = "1h" }}') as listener:
        wait_for(lambda: job(listener, "expire")["runs"] >= 2, 60)
        with Lake(data) as lake:
            assert lake.query("SELECT count(*)::INT, min(date)::VARCHAR FROM events").rows == [
                (60, edge.date().isoformat())
            ]
            assert lake.query("SELECT count(*)::INT FROM events WHERE type = 'login'").rows == [(0,)]
    assert sum(entry["events"] for entry in recorded(tmp_path)) == 160 - 60


def test_a_restart_does_not_make_it_due_anew_and_one_that_was_missed_is_made_up_for(tmp_path: Path) -> None:
    make_lake(tmp_path / "data", days=1, files=6, events=5)
    with running(tmp_path, 'compact = "1h"') as listener:
        first = job(listener, "compact")
    with running(tmp_path, 'compact = "1h"') as listener:
        assert job(listener, "compact")["next"] == first["next"]
    state = tmp_path / "data" / "upkeep-state.json"
    known = json.loads(state.read_text())
    known["compact"]["last"] = "2026-01-01T00:00:00Z"
    state.write_text(json.dumps(known))
    with running(tmp_path, 'compact = "1h"') as listener:
        wait_for(lambda: job(listener, "compact")["runs"] == 1, 30)
    assert len(list((tmp_path / "data").rglob("*.parquet"))) == 1


def test_another_upkeep_holds_it_back_and_is_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    make_lake(data, days=1, files=6, events=5)
    lock = os.open(data / "upkeep.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with running(tmp_path, 'compact = "1s"') as listener:
        wait_for(lambda: "another upkeep" in job(listener, "compact")["error"], 30)
        wait_for(lambda: any("another upkeep" in text for text in listener.status()["health"]), 60)
        assert 'metlog_upkeep_failing{job="compact"} 1' in metrics(listener)
        os.close(lock)
        wait_for(lambda: not job(listener, "compact")["error"], 30)
        wait_for(lambda: not listener.status()["health"], 30)
    assert len(list(data.rglob("*.parquet"))) == 1


def test_a_file_that_is_damaged_is_told_in_health(tmp_path: Path) -> None:
    data = tmp_path / "data"
    make_lake(data, days=1, files=6, events=5)
    worst = sorted(data.rglob("*.parquet"))[2]
    worst.write_bytes(worst.read_bytes()[:100])
    with running(tmp_path, 'compact = "1s"') as listener:
        wait_for(lambda: listener.status()["health"], 30)
        (told,) = listener.status()["health"]
        assert told.startswith("upkeep compact: ")
        assert len(told) > len("upkeep compact: ")


def test_the_end_of_the_listener_ends_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    make_lake(data, days=12, files=30, events=3)
    with running(tmp_path, 'compact = "1s"\ncompact_fewest = 2') as listener:
        wait_for(lambda: job(listener, "compact")["running"], 30)
    done = metlog_here("compact", "--fewest", "2", "--data", str(data))
    assert done.returncode == 0, done.stderr
    assert len(list(data.rglob("*.parquet"))) == 12
    with Lake(data) as lake:
        assert lake.query("SELECT count(*)::INT, count(DISTINCT fields->>'n')::INT FROM events").rows == [(1080, 1080)]
