"""Links planted in the data folder lead nowhere, and what is made there is for the owner and the group only."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from metlog.listener.config import from_mapping
from metlog.listener.service import Service
from tests.helpers.reliability import Client, Listener, datagram, faults_in, in_file, in_lake
from tests.helpers.waiting import wait_for

Make = Callable[..., Listener]


@pytest.mark.parametrize("place", ["journal", "journal/main", "journal/main/cursors", "dead"])
def test_a_folder_that_is_a_link_is_not_entered(tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    planted = tmp_path / "data" / place
    planted.parent.mkdir(parents=True)
    planted.symlink_to(outside)
    service = Service(from_mapping({}, data=tmp_path / "data", inputs=[{"name": "udp", "port": 0}]))
    with pytest.raises(OSError, match=planted.name):
        service.start()
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("place", ["journal/main/lock", "journal/main/keys"])
def test_a_file_of_the_journal_that_is_a_link_is_not_opened(tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    planted = tmp_path / "data" / place
    planted.parent.mkdir(parents=True)
    planted.symlink_to(outside)
    service = Service(from_mapping({}, data=tmp_path / "data", inputs=[{"name": "udp", "port": 0}]))
    with pytest.raises(OSError, match=planted.name):
        service.start()
    assert outside.read_text() == "mine"


def test_other_links_are_passed_by_or_replaced_and_never_written_through(listener: Make) -> None:
    made = listener()
    outside = made.data.parent / "outside"
    outside.mkdir()
    target = outside / "target"
    target.write_text("mine")
    links = [
        "status.json", "dead/main.input.ndjson", "journal/main/000000000009-aa.seg", "journal/main/000000000008-aa.open",
        "journal/main/cursors/lake.cursor", "journal/main/cursors/file.cursor", "reports",
    ]  # fmt: skip
    for link in links:
        path = made.data / link
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    client = Client()
    assert made.start(), made.told.read_text()
    for _ in range(10):
        assert client.submit(made.port("http"))
    datagram(made.port("udp"), b"rubbish")
    wait_for(lambda: made.metric("metlog_dead_letters_total") == 1)
    assert made.stop() == 0
    assert faults_in(in_lake(made.data), client.acknowledged, client.sent) == []
    assert faults_in(in_file(made.lines), client.acknowledged, client.sent) == []
    assert target.read_text() == "mine"
    assert [path.name for path in outside.iterdir()] == ["target"]
    assert "dead letters cannot be kept, only counted" in made.told.read_text()


@pytest.mark.parametrize("place", ["events", "events/date={today}"])
def test_the_lake_waits_for_a_link_in_its_way_to_be_taken_away(listener: Make, place: str) -> None:
    made = listener()
    made.config.write_text(made.config.read_text().replace("stall_after = 5", "stall_after = 0.5"))
    outside = made.data.parent / "outside"
    outside.mkdir()
    planted = made.data / place.format(today=datetime.now(UTC).date().isoformat())
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.symlink_to(outside)
    client = Client()
    assert made.start()
    for _ in range(10):
        assert client.submit(made.port("http"))
    wait_for(lambda: "output lake: has not moved" in made.ask("/healthz")[1])
    wait_for(lambda: {n for n, _ in in_file(made.lines)} == client.acknowledged)  # it delays no other
    assert list(outside.iterdir()) == []
    planted.unlink()
    wait_for(lambda: made.ask("/healthz")[0] == 200)
    assert made.stop() == 0
    assert faults_in(in_lake(made.data), client.acknowledged, client.sent) == []
    assert list(outside.iterdir()) == []


def test_whatever_the_umask_is_others_can_read_nothing(listener: Make) -> None:
    made = listener()
    made.umask = 0
    assert made.start()
    client = Client()
    for _ in range(10):
        assert client.submit(made.port("http"))
    datagram(made.port("udp"), b"rubbish")
    time.sleep(0.6)  # the keys of what was sealed are written
    assert client.submit(made.port("http"))
    made.kill()
    with made.journaled()[-1].open("ab") as segment:
        segment.write(b"damage")
    assert made.start()
    assert client.submit(made.port("http"))
    assert made.stop() == 0
    found = list(made.data.rglob("*"))
    assert {path.name for path in found} >= {"quarantine", "main.input.ndjson", "status.json", "keys", "lake.cursor"}
    for path in [*found, made.data]:
        assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path
    assert made.lines.stat().st_mode & 0o777 == 0o640
