"""`metlog status`: sentences for people, JSON for programs, a status that is old told as a fault."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from metlog.cli import main
from metlog.listener.overview import overview
from tests.helpers.lakes import FIRST_DAY, make_lake

NOW = datetime(2026, 10, 6, 12, tzinfo=UTC)


def written(data: Path, **more: Any) -> None:
    status = {
        "time": NOW.isoformat(), "running": True, "health": [], "warnings": [], "intake": {"journaled": 7},
        "journal": {"bytes": 1_500_000, "segments": 2, "refuses": ""}, "dead_letters": {"not JSON": 3},
        "inputs": {"udp": {"frames": 5, "kernel_drops": 2}},
        "outputs": {"lake": {"describe": "events/", "events": 6, "behind_seconds": 61.0, "error": "disk full"}},
        "delivery": {"received": 9, "lost": 1, "repeated": 0, "streams": 1, "ended": 1},
    }  # fmt: skip
    (data / "status.json").write_text(json.dumps({**status, **more}))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as leave:
        main(["status", *arguments])
    return int(leave.value.code or 0), capsys.readouterr().out


def test_it_says_what_runs_what_is_behind_and_what_was_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_lake(tmp_path, days=2, files=1)
    written(tmp_path, time=datetime.now(UTC).isoformat())
    status, shown = run(capsys, "--data", str(tmp_path))
    assert status == 0
    for text in (
        "the listener is running", "input udp", "kernel drops 2", "7 events taken, 1.5 MB in 2 segments", "is 61 s behind", "disk full",
        "1 of 10 numbered events lost", "3, most of them: not JSON", "2 files", "free, full in",
    ):  # fmt: skip
        assert text in shown, text


def test_a_problem_is_shown_and_is_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, time=datetime.now(UTC).isoformat(), health=["output lake has not moved for 99 s"])
    status, shown = run(capsys, "--data", str(tmp_path))
    assert (status, "!! output lake has not moved for 99 s" in shown) == (1, True)


@pytest.mark.parametrize(
    ("more", "age", "state"),
    [({}, 0, "running"), ({}, 60, "not answering"), ({"running": False}, 60, "stopped"), (None, 0, "never started")],
)
def test_states(tmp_path: Path, more: dict[str, Any] | None, age: int, state: str) -> None:
    if more is not None:
        written(tmp_path, **more)
    found = overview(tmp_path, NOW + timedelta(seconds=age))
    assert found.state == state
    assert bool(found.problems) is (state == "not answering")


def test_the_disk_is_forecast_from_the_last_whole_days(tmp_path: Path) -> None:
    make_lake(tmp_path, days=3, files=2)
    found = overview(tmp_path, datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day + 2, 12, tzinfo=UTC))
    sizes = [
        sum(path.stat().st_size for path in day.glob("*.parquet"))
        for day in sorted((tmp_path / "events").glob("date=*"))
    ]
    assert found.parquet == {"files": 6, "bytes": sum(sizes), "days": 3, "bytes_a_day": sum(sizes[:2]) // 2}
    assert found.disk["full_in_days"] == round(found.disk["free"] / found.parquet["bytes_a_day"], 1)


def test_json_is_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, time=datetime.now(UTC).isoformat())
    _, shown = run(capsys, "--data", str(tmp_path), "--json")
    found = json.loads(shown)
    assert found["state"] == "running"
    assert found["outputs"]["lake"]["events"] == 6
