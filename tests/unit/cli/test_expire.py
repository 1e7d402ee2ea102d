"""`metlog expire` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from metlog.cli import main
from tests.helpers.lakes import make_lake


def expired(data: Path, age: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["expire", "--data", str(data), "--older-than", age, "--yes"])
    return int(left.value.code or 0)


@pytest.mark.parametrize("age", ["60y", "1000y"])
def test_nothing_is_as_old_as_that(tmp_path: Path, age: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_lake(tmp_path, days=1)
    files = sorted((tmp_path / "events").rglob("*.parquet"))
    assert expired(tmp_path, age) == 0
    assert capsys.readouterr().out == f"nothing is older than {age}\n"
    assert sorted((tmp_path / "events").rglob("*.parquet")) == files


@pytest.mark.parametrize(
    "age", ["", "90", "d", "-1d", "1e3d", "90 days", "0d", "1001y", "99999999999999y", f"{'9' * 5000}d"]
)
def test_what_is_no_age_is_refused(tmp_path: Path, age: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_lake(tmp_path, days=1)
    assert expired(tmp_path, age) == 2
    assert "wants a number and s, m, h, d, w or y" in capsys.readouterr().err
