"""No room: on a real disk filled to the brim, and by the journal's own cap. What was accepted survives, the rest is told, and it
goes on by itself."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.ports import free_port
from tests.helpers.reliability import Client, Listener, datagram, faults_in, in_file, in_lake, lines
from tests.helpers.waiting import eventually, wait_for

Make = Callable[..., Listener]

UDP_FIRST = 1_000_000
FULL = 'metlog_events_not_taken_total{reason="journal_full"}'
FORWARD = '[[outputs]]\nname = "http"\nport = {port}\nbatch_age = 0.05\ntimeout = 2\n'


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "metlog-test", str(place)], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"needs root, to mount a small tmpfs: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    """To the last byte."""
    filler = place / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            while True:
                try:
                    file.write(b"\0" * size)
                except OSError:
                    break
    return filler


def datagrams(port: int, first: int, count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for n in range(first, first + count):
            sock.sendto(lines([n]), ("127.0.0.1", port))
            if n % 50 == 0:
                time.sleep(0.002)


@pytest.mark.parametrize("min_free", ["0", "2MB"])
def test_a_disk_filled_to_the_brim_under_load(small_disk: Path, min_free: str) -> None:
    made = Listener(small_disk / "listener", segment_bytes=65_536)
    made.config.write_text(made.config.read_text().replace('min_free = "1MB"', f'min_free = "{min_free}"'))
    made.told = small_disk.parent / "stderr.txt"
    client = Client(count=20)
    try:
        assert made.start()
        for _ in range(20):
            assert client.submit(made.port("http"))
        filler = fill(small_disk)
        # Over HTTP it is refused, over UDP dropped, and both are told.
        wait_for(lambda: not client.submit(made.port("http")))
        assert client.statuses[503] > 0
        dropped = made.metric(FULL)
        datagrams(made.port("udp"), UDP_FIRST, 300)
        assert eventually(lambda: made.metric(FULL) == dropped + 300), made.metric(FULL)
        status, text = made.ask("/healthz")
        assert (status, "journal" in text) == (503, True)
        assert made.metric("metlog_journal_accepting") == 0
        assert "the journal takes no events" in made.told.read_text()
        # Killed on the full disk: it starts on it, serves what it has, and refuses as before.
        made.kill()
        assert made.start(), made.told.read_text()
        wait_for(lambda: not client.submit(made.port("http")))
        # Room: nobody has to try for it to be well again.
        filler.unlink()
        assert eventually(lambda: made.ask("/healthz")[0] == 200), made.ask("/healthz")
        client.settle(made.port("http"))
        datagrams(made.port("udp"), UDP_FIRST + 1000, 300)
        wait_for(lambda: len([n for n, _ in in_file(made.lines) if n >= UDP_FIRST + 1000]) == 300)
        assert made.stop() == 0
        sent = {*client.sent, *range(UDP_FIRST + 1000, UDP_FIRST + 1300)}
        assert faults_in(in_lake(made.data), sent, sent) == []
        assert faults_in(in_file(made.lines), sent, sent) == []
        assert made.journaled() == []
    finally:
        made.close()


def test_a_disk_that_fills_and_empties_again_and_again_loses_nothing(small_disk: Path) -> None:
    made = Listener(small_disk / "listener", segment_bytes=65_536)
    made.config.write_text(made.config.read_text().replace('min_free = "1MB"', "min_free = 0"))
    client = Client(count=50)
    try:
        assert made.start()
        for _ in range(6):
            filler = fill(small_disk)
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                client.submit(made.port("http"))
            filler.unlink()
            client.settle(made.port("http"))
        assert client.statuses[503] > 0
        assert made.stop() == 0
        assert faults_in(in_lake(made.data), client.acknowledged, client.sent) == []
        assert faults_in(in_file(made.lines), client.acknowledged, client.sent) == []
        assert client.acknowledged == set(client.sent)
    finally:
        made.close()


def test_the_journals_own_cap_while_an_output_is_dead(listener: Make) -> None:
    port = free_port()
    made = listener("first", journal="max_bytes = 20000", more=FORWARD.format(port=port))
    client = Client(count=10)
    assert made.start()
    wait_for(lambda: not client.submit(made.port("http")))
    assert client.statuses[503] > 0
    status, text = made.ask("/healthz")
    assert status == 503
    assert "journal.max_bytes" in text
    before = made.metric(FULL)
    datagrams(made.port("udp"), UDP_FIRST, 100)
    wait_for(lambda: made.metric(FULL) == before + 100)
    # What was taken goes on to the outputs that live.
    wait_for(lambda: client.acknowledged <= {n for n, _ in in_lake(made.data)})
    assert made.metric("metlog_journal_bytes") <= 20_000
    # The dead one comes back: its events go out, segments go, and there is room.
    second = listener("second", http_port=port)
    assert second.start()
    wait_for(lambda: made.metric("metlog_journal_accepting") == 1, 60)
    client.settle(made.port("http"))
    datagram(made.port("udp"), lines([UDP_FIRST + 500]))
    wanted = {*client.sent, UDP_FIRST + 500}
    wait_for(lambda: wanted <= {n for n, _ in in_file(second.lines)}, 30)
    assert made.stop() == 0
    assert second.stop() == 0
    for each in (made, second):
        assert faults_in(in_lake(each.data), wanted, wanted) == []
