"""The real process killed without a word: what was journaled is in the lake, exactly once, after the next start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import metlog
from metlog.lake.query import open_lake
from tests.helpers.waiting import wait_for

LISTEN = [sys.executable, "-m", "metlog", "listen", "--udp", "127.0.0.1:0", "--data"]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def start(data: Path, started: list[subprocess.Popen[str]]) -> tuple[subprocess.Popen[str], str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}
    process = subprocess.Popen([*LISTEN, str(data)], stdout=subprocess.PIPE, text=True, env=environment)
    started.append(process)
    address = ""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("ready"):
            return process, address
        address = line.split()[-1]
    raise AssertionError("the listener did not start")


def numbers(data: Path) -> list[int]:
    rows = open_lake(data).query("SELECT (fields->>'n')::BIGINT FROM events WHERE type = 'numbered'").rows
    return sorted(row[0] for row in rows)


def send(address: str, first: int, count: int) -> None:
    client = metlog.MetlogClient.from_config(address, logger="killed")
    for n in range(first, first + count):
        client.log("numbered", fields={"n": n})
        if n % 100 == 99:
            client.flush(5)
            time.sleep(0.002)
    client.close()


def at_least(count: int, data: Path) -> list[int]:
    """The numbers in the lake, once there are so many."""
    return wait_for(lambda: found if len(found := numbers(data)) >= count else [])


def test_what_was_seen_before_a_kill_is_there_once_after_it(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    data = tmp_path / "data"
    sent = 0
    for _ in range(4):
        process, address = start(data, started)
        send(address, sent, 1000)
        sent += 1000
        assert at_least(sent, data) == list(range(sent))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert numbers(data) == list(range(sent))  # read from what lies there, nobody running
    process, address = start(data, started)
    send(address, sent, 1)
    assert at_least(sent + 1, data) == list(range(sent + 1))
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert numbers(data) == list(range(sent + 1))
    assert not [path for path in data.glob("journal/main/*") if path.suffix in {".open", ".sealed"}]


def test_a_torn_and_flipped_journal_is_started_from_and_keeps_what_is_whole(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    data = tmp_path / "data"
    process, address = start(data, started)
    send(address, 0, 500)
    assert at_least(500, data) == list(range(500))
    process.kill()
    process.wait()
    (live,) = data.glob("journal/main/*.open")
    raw = bytearray(live.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    live.write_bytes(bytes(raw) + b"\x00torn")
    process, address = start(data, started)
    send(address, 1000, 10)
    deadline = time.monotonic() + 20
    while 1009 not in (found := numbers(data)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [n for n in found if n >= 1000] == list(range(1000, 1010))
    kept = [n for n in found if n < 1000]
    assert kept == sorted(set(kept))
    assert 0 < len(kept) < 500
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_two_listeners_do_not_share_one_journal(tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    data = tmp_path / "data"
    start(data, started)
    second = subprocess.run([*LISTEN, str(data)], capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert len(second.stderr.splitlines()) == 1


def test_files_and_folders_are_for_the_owner_and_the_group_only(
    tmp_path: Path, started: list[subprocess.Popen[str]]
) -> None:
    data = tmp_path / "data"
    process, address = start(data, started)
    send(address, 0, 10)
    at_least(10, data)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    for path in data.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path
    status = json.loads((data / "status.json").read_text())
    assert status["intake"]["journaled"] == 11  # with the end of the stream
