"""`metlog status`: sentences for people, JSON for programs, a status that is old told as a fault."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from metlog.cli import main
from metlog.journal.cursor import Cursor, Position
from metlog.journal.folder import Folder
from metlog.journal.inspect import journals, look
from metlog.journal.segment import Clock, encode_record
from metlog.journal.writer import Journal, JournalOptions
from metlog.listener.overview import overview, told
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


@pytest.mark.parametrize("content", ["", '{"time": "2026', "[]", "null", "{}", '{"time": 7}', '{"time": "soon"}'])
def test_a_status_file_that_a_crash_of_the_machine_left_damaged_is_a_problem_and_no_end(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "status.json").write_text(content)
    status, shown = run(capsys, "--data", str(tmp_path))
    assert (status, "!! status.json is damaged" in shown) == (1, True)
    (tmp_path / "journal" / "main").mkdir(parents=True)
    with Folder.root(tmp_path) as data:
        assert [look(data, name, journal).status for name, journal in journals(data)] == [{}]


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


def test_each_segment_each_outputs_lag_and_upkeep_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Folder.root(tmp_path) as root, root.sub("journal", create=True) as journals:
        journal = Journal(journals.sub("main", create=True), JournalOptions(min_free=0), Clock())
        record = encode_record(1, 1, b"udp://x", b"", b'{"type":"x"}\n')
        journal.wait(journal.append(record))
        journal.rotate()
        journal.wait(journal.append(record * 3))
        with journals.sub("main") as main_journal:
            Cursor("lake", Position(2), lake=True).save(main_journal.sub("cursors"))
            Cursor("http", Position(1)).save(main_journal.sub("cursors"))
        upkeep = {"compact": {
            "running": False, "succeeded": "2026-10-06T03:17:09Z", "next": "2026-10-07T03:17:00Z", "error": "held back",
            "done": {"files_before": 9},
        }}  # fmt: skip
        outputs = {"lake": {"describe": "events/"}, "http": {"describe": "http://x", "leaving": True}}
        reloads = {"done": 1, "refused": 1, "error": "outputs[0]: no such output"}
        written(tmp_path, time=datetime.now(UTC).isoformat(), upkeep=upkeep, outputs=outputs, reloads=reloads, pid=77)
        _, shown = run(capsys, "--data", str(tmp_path))
        journal.close()
        journal.release()
    for text in (
        "running (process 77)", "segment 000000000001 sealed", "waits for http", "segment 000000000002 is written",
        "lake        keeps up, ", "ends with what came until it was taken out",
        "upkeep compact     last went well 2026-10-06 03:17: files before 9; due 2026-10-07 03:17 UTC",
        "; held back", "the last reload changed nothing: outputs[0]: no such output",
    ):  # fmt: skip
        assert text in shown, (text, shown)
    found = overview(tmp_path)
    assert found.outputs["http"]["lag_bytes"] > found.outputs["lake"]["lag_bytes"] > 0
    assert (found.outputs["http"]["lag_segments"], found.outputs["lake"]["lag_segments"]) == (2, 1)


@pytest.mark.process
def test_watch_looks_again_until_it_is_ended(tmp_path: Path) -> None:
    written(tmp_path, time=datetime.now(UTC).isoformat())
    command = [sys.executable, "-m", "metlog", "status", "--watch", "--json", "--data", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        written(tmp_path, time=datetime.now(UTC).isoformat(), inputs={"udp": {"frames": 6}})
        second = json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert first["inputs"]["udp"]["frames"] == 5
    assert second["inputs"]["udp"]["frames"] == 6
    assert process.returncode == 130


def test_a_status_that_was_written_before_the_clock_was_set_back_is_of_no_listener_that_runs(tmp_path: Path) -> None:
    written(tmp_path)
    assert overview(tmp_path, NOW - timedelta(seconds=30)).state == "running", "another machine's clock"
    found = overview(tmp_path, NOW - timedelta(days=365))
    assert found.state == "not answering"
    assert "is of a time that lies 31,536,000 s ahead" in found.problems[0]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"time": 5}', b'{"time": "yesterday"}'], ids=repr)
def test_a_status_that_cannot_be_read_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    """It is not synced: a machine that lost power may leave an empty one."""
    (tmp_path / "status.json").write_bytes(content)
    found = overview(tmp_path)
    assert (found.running, found.state) == (False, "not answering")
    assert "status.json" in found.problems[0]
    assert run(capsys, "--data", str(tmp_path))[0] == 1


def test_a_listener_with_a_journal_of_another_name_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(UTC).isoformat()
    facts = {"time": now, "running": True, "pid": 7, "health": ["output lake has not moved for 61 s: 403 Forbidden"]}
    (tmp_path / "status-b.json").write_text(json.dumps(facts))
    (tmp_path / "status-b.json.tmp").write_text("{}")
    assert told(tmp_path) == ["b"]
    with pytest.raises(SystemExit) as left:
        main(["status", "--data", str(tmp_path)])
    shown = capsys.readouterr().out
    assert left.value.code == 1
    assert "the listener b is running (process 7)" in shown
    assert "!! output lake has not moved for 61 s: 403 Forbidden" in shown
    (tmp_path / "status.json").write_text(json.dumps({**facts, "health": []}))
    assert told(tmp_path) == ["main", "b"]
    with pytest.raises(SystemExit) as left:
        main(["status", "--data", str(tmp_path), "--json"])
    assert left.value.code == 1
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == ["main", "b"]


def test_the_doctor_looks_at_every_listener_and_not_at_a_sender_that_nobody_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("METLOG_")]:
        monkeypatch.delenv(name)
    old = tmp_path / "status-b.json"
    old.write_text(json.dumps({"time": "2026-01-01T00:00:00Z", "running": True}))
    os.utime(old, (1, 1))
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--data", str(tmp_path)])
    shown = capsys.readouterr().out
    assert left.value.code == 1
    assert "FAIL  the status of the listener b is" in shown
    assert "sender" not in shown


@pytest.mark.process
@pytest.mark.parametrize("command", [["status"], ["journal", "status"]])
def test_arrow_and_duckdb_are_not_loaded(command: list[str], tmp_path: Path) -> None:
    """They are most of the time of a command that a monitor may call every few seconds."""
    code = (
        "import sys; from metlog.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(sorted({'pyarrow', 'duckdb', 'numpy'} & {*sys.modules}))"
    )
    written(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--data", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr
