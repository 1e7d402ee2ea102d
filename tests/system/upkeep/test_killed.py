"""Upkeep killed at each of its named points: the next one finishes it, and no query sees an event twice or misses one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metlog.lake.query import Lake
from tests.helpers.lakes import make_lake
from tests.system.upkeep.killing import ASK, POINTS, run


def upkeep(data: Path, *arguments: str, fault: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "metlog", *arguments, "--data", str(data)]
    environment = {**os.environ, **({"METLOG_FAULT": fault} if fault else {})}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, start_new_session=True, check=False
    )


@pytest.mark.parametrize("point", POINTS)
def test_an_upkeep_killed_at(tmp_path: Path, point: str) -> None:
    count = make_lake(tmp_path, days=2, files=4, events=20)
    whole = (count, count, count * (count - 1) // 2)
    with Lake(tmp_path) as lake:
        assert lake.query(ASK).rows == [whole]
        assert upkeep(tmp_path, "compact", fault=point).returncode == -9
        assert lake.query(ASK).rows == [whole], "after the kill"
        again = upkeep(tmp_path, "compact")
        assert again.returncode == 0, again.stderr
        assert lake.query(ASK).rows == [whole], "after the next upkeep"
    left = [path.name for path in (tmp_path / "events").rglob("*") if path.is_file()]
    assert sorted(left) == [".lease", "000000000004-abc123.parquet", "000000000008-abc123.parquet"]


def test_random_kills_beside_queries() -> None:
    queries, killed, wrong = run(queries=300, days=4, seed=3)
    assert not wrong
    assert queries >= 300
    assert killed
