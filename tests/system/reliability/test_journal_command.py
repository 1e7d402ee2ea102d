"""`metlog journal`, as an operator uses it at night: on a listener that runs, on one that was killed, on a damaged disk."""

from __future__ import annotations

import copy
import http.client
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metlog.journal import inspect as inspection
from metlog.journal.cursor import Cursor, Position
from metlog.journal.folder import Folder
from tests.helpers.commands import metlog_here
from tests.helpers.ports import free_port
from tests.helpers.reliability import Client, Listener, datagram, faults_in, in_file, in_lake, lines
from tests.helpers.waiting import wait_for

Make = Callable[..., Listener]

DEAD = '[[outputs]]\nname = "http"\nid = "dead"\nport = {port}\nbatch_age = 0.05\ntimeout = 2\ntypes = ["numbered"]\n'


def run(made: Listener, action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return metlog_here("journal", action, "--data", str(made.data), *arguments)


def journal(made: Listener, action: str, *arguments: str) -> str:
    done = run(made, action, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def exported(made: Listener, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal(made, "export", *arguments).splitlines()]


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["fields"]["n"] for event in events if event["type"] == "numbered"]


def state(made: Listener) -> dict[str, tuple[int, bytes]]:
    """Every file of the journal, as it is now."""
    top = made.data / "journal" / "main"
    return {
        str(path.relative_to(top)): (path.stat().st_mode, path.read_bytes())
        for path in top.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def dead_port() -> int:
    return free_port()


Made = tuple[Path, Client]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A journal of several segments, its listener killed; the output `dead` has handed on nothing of it."""
    folder = tmp_path_factory.mktemp("kept")
    made = Listener(folder, more=DEAD.format(port=free_port()))
    client = Client(count=5)
    try:
        assert made.start(), made.told.read_text()
        for _ in range(30):
            assert client.submit(made.port("http"))
        datagram(made.port("udp"), b'{"type":"other"}')
        wait_for(lambda: len(in_file(made.lines)) == 150)
        with Folder.root(made.data / "journal/main") as journal:

            def settled() -> bool:
                behind = {item.output: item.bytes for item in inspection.look(journal, "main", journal).outputs}
                return set(behind) == {"dead", "file", "lake"} and behind["file"] == 0 and len(made.journaled()) > 3

            wait_for(settled)
    finally:
        made.kill()
        client.close()
    return folder, client


@pytest.fixture
def killed(kept: Made, listener: Make, tmp_path: Path, dead_port: int) -> tuple[Listener, Client]:
    """The same, a copy for each test."""
    folder, client = kept
    shutil.copytree(folder, tmp_path / "killed", ignore=shutil.ignore_patterns("takeover"))  # a socket
    made = listener("killed", more=DEAD.format(port=dead_port))
    made.config.write_text(made.config.read_text().replace("stall_after = 5", "drain_timeout = 0.5"))
    return made, copy.deepcopy(client)


def test_status_says_who_writes_what_is_held_and_who_is_behind(listener: Make, dead_port: int) -> None:
    made = listener(more=DEAD.format(port=dead_port))
    client = Client(count=5)
    assert made.start()
    for _ in range(20):
        assert client.submit(made.port("http"))
    wait_for(lambda: client.acknowledged <= {n for n, _ in in_lake(made.data)})

    def look() -> dict[str, Any]:
        (found,) = json.loads(journal(made, "status", "--format", "json"))
        return dict(found)

    wait_for(lambda: "dead" in {item["output"] for item in look()["outputs"]})
    wait_for(lambda: all(item["segments"] == 0 for item in look()["outputs"] if item["output"] != "dead"))
    found = look()
    assert (found["name"], found["listener"]) == ("main", made.pid)
    held = sum(path.stat().st_size for path in made.journaled())
    assert sum(item["bytes"] for item in found["segments"]) == held > 0
    dead = next(item for item in found["outputs"] if item["output"] == "dead")
    assert dead["segments"] == len(made.journaled())
    assert 0 < dead["bytes"] < held  # but for the headers
    refused = re.compile("ConnectionRefusedError|Connection refused|ConnectError")
    wait_for(lambda: refused.search(journal(made, "status")))  # told with the next status
    text = journal(made, "status")
    assert f"runs, process {made.pid}" in text
    assert f"{len(made.journaled())} segments," in text
    assert "dead" in text
    made.kill()
    assert "does not run" in journal(made, "status")
    assert look()["listener"] is None


def test_check_finds_the_damaged_byte_and_no_fault_in_a_journal_that_is_written(
    killed: tuple[Listener, Client],
) -> None:
    made, client = killed
    text = journal(made, "check")
    assert "151 events in" in text
    # A record that is half written is no damage while its listener runs, and is some when it does not.
    assert made.start()
    with (made.data / "journal/main/000000009999-aa.open").open("wb") as file:
        file.write(made.journaled()[0].read_bytes()[:60])
    assert " bytes at " not in journal(made, "check")
    made.kill()
    done = run(made, "check")
    assert done.returncode == 1
    assert "32 bytes at 28" in done.stdout
    path = made.journaled()[1]
    raw = bytearray(path.read_bytes())
    raw[40] ^= 0xFF
    path.write_bytes(raw)
    done = run(made, "check", "--format", "json")
    assert done.returncode == 1
    (found,) = json.loads(done.stdout)
    (hit,) = [item for item in found["segments"] if item["damaged"] and item["segment"]["name"][0] < 9999]
    assert hit["segment"]["name"] == [int(path.stem[:12]), path.stem[13:]]
    assert hit["damaged"][0][0] == 28
    assert found["wrong"] == []
    (made.data / "journal/main/cursors/dead.cursor").write_text("rubbish")
    (made.data / "journal/main/keys").write_bytes(b"rubbish")
    (made.data / "journal/main/notes.txt").write_text("call me")
    (made.data / "journal/main/link.seg").symlink_to("/etc/passwd")
    told = run(made, "check").stdout
    for text in (
        "cursors/dead.cursor is damaged", "keys is damaged", "notes.txt is no part of a journal", "link.seg is no regular file",
    ):  # fmt: skip
        assert text in told
    assert len(client.acknowledged) == 150


def test_export_gives_every_event_once_and_only_what_an_output_still_wants(killed: tuple[Listener, Client]) -> None:
    made, client = killed
    everything = exported(made)
    assert sorted(numbers(everything)) == sorted(client.acknowledged)
    assert [event["type"] for event in everything].count("other") == 1
    assert all(event["received_at"] and event["source"] for event in everything)
    waiting = exported(made, "--behind", "dead")
    assert len(waiting) == 150  # `other` is not its business
    assert exported(made, "--behind", "file") == []
    one = made.journaled()[0]
    part = exported(made, "--segment", one.stem)
    assert 0 < len(part) < 150
    assert part == exported(made, "--file", str(one))
    done = run(made, "export", "--segment", "000000000001-zz")
    assert (done.returncode, "no segment 000000000001-zz here" in done.stderr) == (2, True)
    done = run(made, "export", "--behind", "nobody")
    assert done.returncode == 2
    assert "there is dead, file, lake" in done.stderr


def test_an_output_in_the_middle_of_a_record_exports_its_rest(killed: tuple[Listener, Client]) -> None:
    made, _ = killed
    first = made.journaled()[0]
    whole = numbers(exported(made))
    with Folder.root(made.data / "journal/main/cursors") as cursors:
        Cursor("dead", Position(int(first.stem[:12]), 28, 2)).save(cursors)
    assert numbers(exported(made, "--behind", "dead")) == whole[2:]


def test_what_is_exported_is_taken_by_another_listener(killed: tuple[Listener, Client], listener: Make) -> None:
    made, client = killed
    second = listener("second")
    assert second.start()
    body = journal(made, "export")
    connection = http.client.HTTPConnection("127.0.0.1", second.port("http"), timeout=20)
    connection.request("POST", "/submit/again", body.encode())
    assert connection.getresponse().status == 201
    connection.close()
    assert second.stop() == 0
    assert faults_in(in_lake(second.data), client.acknowledged, client.sent) == []


def test_repair_shows_its_plan_and_does_nothing_until_it_is_told_to(killed: tuple[Listener, Client]) -> None:
    made, client = killed
    assert made.start()
    done = run(made, "repair", "--apply")
    assert done.returncode == 1
    assert f"a listener (process {made.pid}) writes this journal; stop it first" in done.stderr
    made.kill()
    top = made.data / "journal/main"
    with made.journaled()[-1].open("ab") as segment:
        segment.write(b"torn")
    (top / "cursors/file.cursor").write_text("rubbish")
    made.journaled()[0].chmod(0o666)
    (top / ".keys.4711.tmp").write_text("left behind")
    before = state(made)
    plan = journal(made, "repair")
    assert "nothing was done: --apply does it" in plan
    assert state(made) == before
    for text in (
        "cursors/file.cursor is damaged",
        "sealed, or cleared away",
        "mode 0666 becomes 0640",
        ".keys.4711.tmp",
    ):
        assert text in plan
    done = run(made, "repair", "--apply")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == plan.splitlines()[:-1]
    assert all(path.suffix == ".seg" for path in made.journaled())
    assert {path.name for path in (top / "quarantine").iterdir()} >= {"file.cursor"}
    assert any(path.read_bytes() == b"torn" for path in (top / "quarantine").iterdir())
    assert "nothing to mend" in journal(made, "repair")
    assert "4 bytes at" in journal(made, "check")  # it is there still, and known
    # And it is started from: the output whose cursor was damaged has everything again, all others have it once.
    made.lines.unlink()
    assert made.start()
    wait_for(lambda: {n for n, _ in in_file(made.lines)} == client.acknowledged)
    wait_for(lambda: client.acknowledged == {n for n, _ in in_lake(made.data)})
    made.stop()
    assert faults_in(in_lake(made.data), client.acknowledged, client.sent) == []


def test_a_segment_is_set_aside_and_its_events_can_be_read_there(killed: tuple[Listener, Client]) -> None:
    made, client = killed
    path = made.journaled()[1]
    inside = set(numbers(exported(made, "--segment", path.name)))
    assert inside
    before = state(made)
    assert f"{path.name}: to quarantine/" in journal(made, "repair", "--set-aside", path.name)
    assert state(made) == before
    assert run(made, "repair", "--set-aside", "000000000001-zz").returncode == 2
    journal(made, "repair", "--set-aside", path.name, "--apply")
    assert path.stem not in {other.stem for other in made.journaled()}
    kept = made.data / "journal/main/quarantine" / path.name
    assert set(numbers(exported(made, "--file", str(kept)))) == inside
    assert made.start()
    datagram(made.port("udp"), lines([1_000_000]))
    wait_for(lambda: 1_000_000 in {n for n, _ in in_lake(made.data)})
    made.stop()
    found = {n for n, _ in in_lake(made.data)}
    assert found >= client.acknowledged - inside
    assert kept.exists()


def test_links_in_a_journal_are_not_followed(killed: tuple[Listener, Client], tmp_path: Path) -> None:
    made, _ = killed
    outside = tmp_path / "outside"
    outside.write_text("mine")
    os.chmod(outside, 0o666)
    (made.data / "journal/main/notes").symlink_to(outside)
    (made.data / "journal/main/000000000001-bb.seg").symlink_to(outside)
    assert run(made, "check").returncode == 1
    journal(made, "repair", "--apply")
    assert (outside.stat().st_mode & 0o777, outside.read_text()) == (0o666, "mine")


def test_a_folder_without_a_journal_is_one_line(tmp_path: Path) -> None:
    for arguments in (["status", "--data", str(tmp_path)], ["check", "--data", str(tmp_path / "none")]):
        done = metlog_here("journal", *arguments)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
