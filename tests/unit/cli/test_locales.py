"""A terminal that is not UTF-8 shows what it can, and ends no command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metlog.reports.sample import fill

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("locale")
    fill(folder, 1)
    return folder


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "SELECT '5 €, 日本' AS price"],
        ["report", "events-by-type", "--chart", "-"],
        ["doctor"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_cannot_be_shown_is_replaced(data: Path, encoding: str, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-m", "metlog", *arguments, *(["--data", str(data)])],
        capture_output=True, timeout=60, env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert b"Unicode" not in done.stderr + done.stdout
    assert done.returncode in ({0, 1} if arguments[0] == "doctor" else {0})
    if arguments[0] == "query":
        shown = done.stdout.decode(encoding)
        assert ("5 €" in shown) is (encoding == "utf-8")
        assert ("日本" in shown) is (encoding == "utf-8")
