"""How a command ends that somebody interrupts, or that nobody reads any further."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metlog import cli
from metlog.reports.sample import fill
from tests.helpers.waiting import wait_for

pytestmark = [pytest.mark.process, pytest.mark.slow]

ENDLESS = "SELECT sum(sqrt(a.range + b.range + c.range)) FROM range(100000) a, range(100000) b, range(100000) c"
DEAF = (
    "SELECT length(repeat('x', 500000000)) + sum(length(repeat('y', 300000000 + range::INT % 2))) FROM range(1000000)"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    fill(folder, days=2, per_day=2000)
    return str(folder)


@pytest.fixture
def spill(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tmp"
    folder.mkdir()
    yield folder
    assert not list(folder.iterdir())


def started(*arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "metlog", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **environment}, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def asks(process: subprocess.Popen[bytes], spill: Path) -> bool:
    """Whether the query runs: its engine has a folder, and a thread waits for a signal."""
    threads = Path(f"/proc/{process.pid}/task")
    names = {(thread / "comm").read_text().strip() for thread in threads.iterdir()} if threads.exists() else set()
    return bool(list(spill.iterdir())) and len(names) >= 1 and len(list(threads.iterdir())) > 3


@pytest.mark.parametrize("sql", [ENDLESS, DEAF], ids=["a join", "a function that hears nothing"])
def test_ctrl_c_ends_a_query_at_once(data: str, spill: Path, sql: str) -> None:
    process = started("query", sql, "--data", data, TMPDIR=str(spill))
    wait_for(lambda: asks(process, spill))
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=30)
    assert (process.returncode, out, said) == (130, b"", b"")


def test_ctrl_c_before_a_command_has_begun_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_app", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main(["query", "SELECT 1"])
    assert ended.value.code == 130


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "SELECT * FROM events"],
        ["query", "SELECT * FROM events", "--format", "csv"],
        ["query", "SELECT * FROM events", "--format", "json"],
        ["query", "SELECT * FROM events", "--format", "parquet"],
        ["query", "SELECT 1", "--format", "csv"],
        ["report"],
        ["report", "events-by-type"],
        ["report", "events-by-type", "--format", "json"],
        ["report", "events-by-type", "--chart", "-"],
        ["plugins"],
        ["query", "--help"],
    ],
    ids=" ".join,
)
def test_where_nobody_reads_on_it_ends_quietly_as_other_tools_do(data: str, arguments: list[str]) -> None:
    process = started(*arguments, METLOG_DATA=data)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(30), said) == (141, b"")
