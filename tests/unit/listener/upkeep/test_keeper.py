"""When upkeep is due, by the file that a restart finds: also one that was written while the clock was wrong."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metlog.journal.folder import Folder
from metlog.listener.upkeep import keeper as module
from metlog.listener.upkeep.keeper import UpkeepKeeper
from metlog.listener.upkeep.settings import LakeUpkeep
from metlog.listener.upkeep.worker import Outcome, Task
from tests.helpers.waiting import wait_for

AHEAD = "2938-01-19T00:00:00Z"


@contextmanager
def keeping(folder: Path, settings: LakeUpkeep) -> Iterator[UpkeepKeeper]:
    with Folder.root(folder) as data:
        made = UpkeepKeeper(data, settings)
        made.start()
        yield made
        made.stop()


def kept(folder: Path, job: str, **facts: Any) -> None:
    (folder / "upkeep-state.json").write_text(json.dumps({job: facts}))


@pytest.mark.parametrize(
    "settings",
    [LakeUpkeep(expire=86_400.0), LakeUpkeep(expire=86_400.0, expire_at="6h")],
    ids=["a time of day", "every"],
)
def test_a_time_that_was_noted_while_the_clock_was_wrong_postpones_nothing(
    tmp_path: Path, settings: LakeUpkeep
) -> None:
    kept(tmp_path, "expire", last=AHEAD, succeeded=AHEAD, runs=3)
    with keeping(tmp_path, settings) as made:
        found = made.status()["expire"]
    now = datetime.now(UTC)
    assert found["next"] <= now + timedelta(days=1)
    assert found["last"] <= now
    assert found["succeeded"] <= now
    assert found["runs"] == 3
    noted = json.loads((tmp_path / "upkeep-state.json").read_text())["expire"]
    assert noted["last"] < AHEAD


def test_a_clock_that_is_set_back_while_it_runs_postpones_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TURN", 0.01)
    done: list[str] = []
    monkeypatch.setattr(UpkeepKeeper, "_work", lambda _, job: done.append(job) or Outcome())
    with keeping(tmp_path, LakeUpkeep(compact="1s")) as made:
        made._jobs["compact"].last = datetime.fromisoformat(AHEAD)
        wait_for(lambda: len(done) >= 2)


@pytest.mark.parametrize("every", ["03:47", "6h", "100d"])
@pytest.mark.parametrize(
    ("late", "job", "runs"), [(29, "expire", True), (32, "expire", False), (5000, "compact", True)]
)
def test_nothing_is_removed_at_once_where_the_clock_may_be_years_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: str, late: int, job: str, runs: bool
) -> None:
    monkeypatch.setattr(module, "_TURN", 0.01)
    done: list[str] = []
    monkeypatch.setattr(UpkeepKeeper, "_work", lambda _, job: done.append(job) or Outcome())
    last = datetime.now(UTC) - timedelta(days=late + (100 if every == "100d" else 0))
    kept(tmp_path, job, last=last.isoformat(), succeeded=last.isoformat(), runs=3)
    settings = LakeUpkeep(expire=86_400.0, expire_at=every) if job == "expire" else LakeUpkeep(compact=every)
    with keeping(tmp_path, settings) as made:
        wait_for(lambda: made._jobs[job].last > last)
        wait_for(lambda: bool(done) == runs and made._running == "")
        found = made.status()[job]
        assert bool(made.health()) is not runs
        if runs:
            return
        assert (done, found["runs"], found["failures"]) == ([], 3, 0)
        assert found["next"] >= found["last"] + timedelta(days=1)
        assert "by the clock, which says" in made.health()[0]
        made._jobs[job].last = datetime.fromisoformat(AHEAD)  # it was ahead, and is set right
        wait_for(lambda: made.health() == [])
        assert made.status()[job]["next"] <= datetime.now(UTC) + timedelta(days=101)
        made._jobs[job].last, made._jobs[job].put_off = datetime.now(UTC) - timedelta(days=1), True  # or it was right
        if every != "100d":
            wait_for(lambda: done == ["expire"])
            wait_for(lambda: made.status()[job]["error"] == "")


@pytest.mark.parametrize("content", ["", "[]", '{"compact": {"last": "2026-01-01T00:00:00"}}'])
def test_a_file_that_cannot_be_read_is_told_and_counts_as_none(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "upkeep-state.json").write_text(content)
    with caplog.at_level(logging.WARNING, "metlog.listener"), keeping(tmp_path, LakeUpkeep(compact="6h")) as made:
        assert made.status()["compact"]["runs"] == 0
    assert "upkeep-state.json" in caplog.text


def test_what_a_job_raises_is_told_and_the_other_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TURN", 0.01)

    def work(_: UpkeepKeeper, job: str) -> Outcome:
        if job == "compact":
            raise RuntimeError("cannot start new thread")
        return Outcome({"events": 1})

    monkeypatch.setattr(UpkeepKeeper, "_work", work)
    with keeping(tmp_path, LakeUpkeep(compact="1s", expire=1.0, expire_at="1s")) as made:
        wait_for(lambda: made.status()["expire"]["runs"] >= 1 and made.status()["compact"]["runs"] >= 1)
        assert made.health() == ["upkeep compact: RuntimeError: cannot start new thread"]


@pytest.mark.process
def test_a_signal_to_every_process_of_a_unit_ends_no_upkeep(tmp_path: Path) -> None:
    """A reload sent to all of them would leave a run that failed in the health."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "metlog.listener.upkeep.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )

    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

    def ignores() -> bool:  # all of them: under nohup it inherits that SIGHUP is ignored
        mask = next(
            line for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines() if line[:7] == "SigIgn:"
        )
        return all(int(mask.split()[1], 16) & 1 << number - 1 for number in numbers)

    try:
        wait_for(ignores)
        for number in numbers:
            worker.send_signal(number)
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(msgspec.json.encode(Task(str(tmp_path), "compact", {})) + b"\n")
        worker.stdin.flush()
        told = worker.stdout.readline()
    finally:
        worker.kill()
        worker.communicate()
    assert msgspec.json.decode(told, type=Outcome).error == ""
