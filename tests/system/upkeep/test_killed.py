"""Upkeep killed at each of its named points: the next one finishes it, and no query sees an event twice or misses one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metlog.journal.failpoints import IMPORT_POINTS
from metlog.lake.query import Lake
from tests.helpers.commands import metlog_here
from tests.helpers.lakes import make_lake
from tests.system.upkeep.killing import ASK, POINTS, run


def upkeep(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return metlog_here(*arguments, "--data", str(data))


def killed_at(point: str, data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "metlog", *arguments, "--data", str(data)]
    environment = {**os.environ, "METLOG_FAULT": point}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, start_new_session=True, check=False
    )


@pytest.mark.parametrize("point", POINTS)
def test_an_upkeep_killed_at(tmp_path: Path, point: str) -> None:
    count = make_lake(tmp_path, days=2, files=4, events=20)
    whole = (count, count, count * (count - 1) // 2)
    with Lake(tmp_path) as lake:
        assert lake.query(ASK).rows == [whole]
        assert killed_at(point, tmp_path, "compact").returncode == -9
        assert lake.query(ASK).rows == [whole], "after the kill"
        again = upkeep(tmp_path, "compact")
        assert again.returncode == 0, again.stderr
        assert lake.query(ASK).rows == [whole], "after the next upkeep"
    left = [path.name for path in (tmp_path / "events").rglob("*") if path.is_file()]
    assert sorted(left) == [".lease", "000000000004-abc123.parquet", "000000000008-abc123.parquet"]


@pytest.mark.parametrize("point", IMPORT_POINTS)
def test_an_import_killed_at(tmp_path: Path, point: str) -> None:
    """In the middle of its files, beside those of a listener that are merged before it is run again."""
    data, source = tmp_path / "data", tmp_path / "old.ndjson"
    count = make_lake(data, days=3, files=3, events=20)
    lines = [{"time": f"2026-10-0{1 + n % 3}T00:00:00Z", "n": count + n} for n in range(60)]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    whole = (count + 60, count + 60, (count + 60) * (count + 59) // 2)
    passing = 2 if point.startswith("import.part") else 1
    first = killed_at(f"{point}:{passing}", data, "import", str(source))
    assert first.returncode == -9, first.stderr
    for arguments in (
        ("compact", "--fewest", "2"),
        ("import", str(source)),
        ("compact", "--fewest", "2"),
        ("import", str(source)),
    ):
        done = upkeep(data, *arguments)
        assert done.returncode == 0, done.stderr
    assert "imported before" in done.stdout
    with Lake(data) as lake:
        assert lake.query(ASK).rows == [whole]
    left = [path.name for path in (data / "events").rglob("*") if path.is_file() and path.name != ".lease"]
    assert len(left) == 3
    assert not [name for name in left if name.startswith(".")]


def test_random_kills_beside_queries() -> None:
    queries, killed, wrong = run(queries=300, days=4, seed=3)
    assert not wrong
    assert queries >= 300
    assert killed
