"""Data folders that earlier releases left, each of a listener that was killed: this release goes on from there, each event once.

Archives stay as they are, also when the format changes; `tests/system/restarts/making.py` makes the one of a release.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from metlog.lake.query import Lake
from tests.helpers.commands import metlog_here
from tests.helpers.listener import Listener, metlog_command
from tests.helpers.paths import ROOT
from tests.helpers.ports import port_of
from tests.helpers.waiting import wait_for
from tests.system.restarts.making import LAST, STREAM, put
from tests.system.restarts.test_reload import receiver

ARCHIVES = sorted((ROOT / "tests" / "data" / "upgrades").glob("*.tar.gz"))
ALL = list(range(1, LAST + 1))
SQL = f"SELECT seq::INT FROM events WHERE type = 'numbered' AND stream = '{STREAM}' ORDER BY seq"


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    with tarfile.open(request.param) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # which Python 3.11 has from 3.11.4 on
        tar.extractall(tmp_path)
    return tmp_path


def queried(data: Path, sql: str = SQL) -> list[object]:
    with Lake(data) as lake:
        return [row[0] for row in lake.query(sql).rows]


def test_there_are_some() -> None:
    assert len(ARCHIVES) >= 2


def test_a_query_finds_each_event_once_before_a_listener_starts(folder: Path) -> None:
    assert queried(folder / "data") == ALL
    assert queried(folder / "data", "SELECT DISTINCT (fields->'nested')::VARCHAR FROM events WHERE seq > 0") == [
        '{"ä":[1,2.5,null]}'
    ]
    checked = metlog_here("journal", "check", "--data", str(folder / "data"))
    assert checked.returncode == 0, checked.stdout


def test_a_listener_starts_finishes_the_journal_and_knows_what_was_answered(folder: Path) -> None:
    data, config = folder / "data", folder / "listener.toml"
    checked = metlog_command("listen", "--check", "--config", str(config), "--data", str(data))
    assert checked.returncode == 0, checked.stderr
    letters = (data / "dead" / "main.input.ndjson").read_bytes()
    with receiver() as up:
        text = config.read_text("utf-8")
        assert "port = 9\n" in text
        config.write_text(text.replace("port = 9\n", f"port = {up.port}\n"), "utf-8")
        listener = Listener(data, "--config", str(config))
        try:
            assert listener.status()["recovered"]["segments"] == 1
            assert listener.status()["recovered"]["damaged_bytes"] == 0
            port = port_of(listener.address("http"))
            assert (put(port, "first", 41), put(port, "second", LAST)) == (201, 201)
            assert listener.status()["intake"]["journaled"] == 0
            assert queried(data) == ALL
            wait_for(lambda: len(up.numbers) >= LAST, 60)
            wait_for(lambda: not list((data / "journal" / "main").glob("*.seg")), 30)
            assert queried(data) == ALL
        finally:
            assert listener.stop() == 0
        assert sorted(up.numbers) == ALL
    assert (data / "dead" / "main.input.ndjson").read_bytes().startswith(letters)
    compacted = metlog_here("compact", "--fewest", "2", "--data", str(data))
    assert compacted.returncode == 0, compacted.stderr
    assert "merged: " in compacted.stdout
    assert queried(data) == ALL


def test_the_folder_is_kept_up_and_forgets_as_any_other(folder: Path) -> None:
    data = folder / "data"
    done = metlog_here("forget", "--where", "fields->>'n' = '7'", "--data", str(data))
    assert done.returncode == 0, done.stderr
    assert queried(data) == [n for n in ALL if n != 7]
