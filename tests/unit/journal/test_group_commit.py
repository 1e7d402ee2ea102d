"""What bounds a group commit and a segment: time, bytes and whoever waits; and what is kept until the last output is past it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from metlog.journal import active
from metlog.journal.cursor import Position
from metlog.journal.errors import Full
from metlog.journal.folder import Folder
from metlog.journal.reader import read
from metlog.journal.routing import Route
from metlog.journal.segment import Clock, encode_record, listing
from metlog.journal.writer import Journal, JournalOptions
from metlog.lake.writer import write_segment
from tests.helpers.waiting import wait_for

LONG = 3600.0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with Folder.root(tmp_path / "journal", create=True) as opened:
        yield opened


@contextmanager
def journal(folder: Folder, **options: Any) -> Iterator[Journal]:
    made = Journal(
        folder, JournalOptions(**{"min_free": 0, "sync_interval": LONG, "segment_age": LONG} | options), Clock()
    )
    try:
        yield made
    finally:
        made.close()
        made.release()


def record(n: int, size: int = 1000) -> bytes:
    return encode_record(n, 1, b"test://", b"", b'{"type":"a","payload":"%s"}\n' % (b"x" * size))


def durable(made: Journal) -> int:
    found: int = made.stats()["durable_bytes"]
    return found


def test_bytes_end_the_wait_for_others(folder: Folder) -> None:
    with journal(folder, sync_bytes=10_000) as made:
        for n in range(9):
            made.append(record(n))
        time.sleep(0.2)
        assert durable(made) == 0  # an hour is not over, and nobody waits
        made.append(record(9))
        wait_for(lambda: durable(made) >= 10_000)
        assert made.stats()["syncs"] == 1


def test_time_ends_it_too(folder: Folder) -> None:
    with journal(folder, sync_interval=0.05) as made:
        lsn = made.append(record(0))
        wait_for(lambda: durable(made) >= lsn)


def test_whoever_waits_is_not_kept_waiting_and_takes_all_others_along(folder: Folder) -> None:
    with journal(folder) as made:
        last = [made.append(record(n)) for n in range(50)][-1]
        began = time.monotonic()
        made.wait(last)
        assert time.monotonic() - began < 10  # an hour otherwise
        assert durable(made) == last
        assert made.stats()["syncs"] == 1


def test_a_segment_ends_by_its_bytes_and_by_its_age(folder: Folder) -> None:
    with journal(folder, segment_bytes=4096, sync_interval=0.01) as made:
        for n in range(10):
            made.append(record(n))
        wait_for(lambda: len(listing(folder)[0]) == 3)  # three records fit
        assert all(folder.size(f"{name}.seg") <= 4096 for name in listing(folder)[0])
    with journal(folder, segment_age=0.1, sync_interval=0.01) as made:
        made.append(record(10))
        wait_for(lambda: listing(folder)[1] == [])  # sealed, though nothing more came


def test_names_rise_over_restarts_and_are_not_used_again_when_all_is_gone(folder: Folder) -> None:
    seen = set()
    for _ in range(4):
        with journal(folder) as made:
            made.wait(made.append(record(0)))
        names = listing(folder)[0]
        assert len(names) == 1
        assert names[0] not in seen
        assert all(names[0].run != earlier.run for earlier in seen)
        seen.add(names[0])
        folder.unlink(f"{names[0]}.seg")


def fill(made: Journal) -> None:
    for n in range(100):
        made.append(record(n))


@pytest.mark.slow
def test_the_cap_refuses_and_what_is_retired_makes_room(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    with journal(folder, segment_bytes=4096, max_bytes=20_000, sync_interval=0.01) as made:
        with pytest.raises(Full, match=r"holds its 20000 bytes \(journal.max_bytes\)"):
            fill(made)
        assert folder_bytes(folder) <= 20_000
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:  # one byte of room, or a hundred, is none
            with pytest.raises(Full):
                made.append(record(0))
            assert made.refuses
            time.sleep(0.01)
        assert len(caplog.records) == 1
        wait_for(lambda: made.retire(made.end.number) >= 0 and not made.refuses)  # each as soon as it is sealed
        made.append(record(0))
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def folder_bytes(folder: Folder) -> int:
    """Of all segments; a listing in which one is sealed meanwhile is thrown away."""
    while True:
        sealed, live = listing(folder)
        try:
            names = [*(f"{name}.seg" for name in sealed), *(f"{name}.open" for name in live)]
            return sum(folder.size(name) for name in names)
        except FileNotFoundError:
            continue


def test_a_segment_gives_the_same_files_however_often_it_is_written(folder: Folder, tmp_path: Path) -> None:
    with journal(folder) as made:
        for n in range(200):  # two days
            lines = b'{"type":"a","timestamp":"2026-11-%02dT23:59:%02dZ","fields":{"n":%d}}\n' % (24 + n % 2, n % 60, n)
            moment = 1_795_600_000_000_000
            made.append(encode_record(moment, 1, b"test://", b"", lines))
    (name,) = listing(folder)[0]
    written = []
    for turn in ("first", "second"):
        with Folder.root(tmp_path / turn, create=True) as events:
            assert write_segment(folder, name, events, Route()) == 200
            assert write_segment(folder, name, events, Route()) == 200  # once more onto itself
        files = sorted((tmp_path / turn).rglob("*.parquet"))
        written.append({str(file.relative_to(tmp_path / turn)): file.read_bytes() for file in files})
        assert [file.name for file in (tmp_path / turn).rglob("*") if file.is_file()] == [f"{name}.parquet"] * 2
    assert written[0] == written[1]
    assert set(written[0]) == {f"date=2026-11-{day}/{name}.parquet" for day in (24, 25)}


def events(folder: Folder) -> list[int]:
    return [entry.record.received_at for entry in read(folder, Position(), Position(1 << 40))]


@pytest.mark.parametrize("cut_off", [True, False])
def test_a_write_that_fails_takes_nothing_along_that_counts_without_an_fsync(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, cut_off: bool
) -> None:
    """Half of the record is on the disk by then, and may stay there."""
    real = active.write_all

    def fails(fd: int, data: bytes) -> None:
        real(fd, data[: len(data) // 2])
        raise OSError(errno.EIO, "made up")

    def stays(fd: int, size: int) -> None:
        raise OSError(errno.EIO, "made up")

    with journal(folder, sync="never", sync_interval=0.01) as made:
        for n in range(50):
            made.wait(made.append(record(n)))
        with monkeypatch.context() as patch:
            patch.setattr(active, "write_all", fails)
            if not cut_off:
                patch.setattr(os, "ftruncate", stays)
            with pytest.raises(Full, match="its disk fails"):
                made.append(record(50))
        wait_for(lambda: not made.refuses)
        made.wait(made.append(record(51)))
        assert made.rotate() == made.end
        assert events(folder) == [*range(50), 51]
    with journal(folder):
        assert events(folder) == [*range(50), 51]


@pytest.mark.parametrize("failing", [1, 2])
def test_a_change_of_sync_keeps_what_counted_before_and_confirms_what_comes_after(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    synced: set[int] = set()
    left = [failing]

    def sync(fd: int) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EIO, "made up")
        synced.add(os.fstat(fd).st_ino)

    real = os.fsync
    with journal(folder, sync="never") as made:
        for n in range(10):
            made.wait(made.append(record(n)))
        monkeypatch.setattr(os, "fdatasync", sync)
        monkeypatch.setattr(os, "fsync", lambda fd: (real(fd), synced.add(os.fstat(fd).st_ino)))
        made.configure(JournalOptions(sync_interval=LONG, segment_age=LONG, min_free=0), Clock())
        for n in range(10, 20):
            made.wait(made.append(record(n)))
        assert events(folder) == [*range(20)]
        for entry in read(folder, Position(), made.end):
            name = next(path for path in folder.names() if path.startswith(str(entry.segment)) and ".end" not in path)
            assert entry.record.received_at < 10 or os.stat(name, dir_fd=folder.fd).st_ino in synced


def test_a_rotation_waits_for_no_file_that_could_not_be_made(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(fd: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "made up")

    with journal(folder, sync_interval=0.01) as made:
        with monkeypatch.context() as patch:
            patch.setattr(active, "write_all", fails)
            with pytest.raises(Full):
                made.append(record(0))
        began = time.monotonic()
        assert made.rotate() == made.end == Position(2)
        assert time.monotonic() - began < 20  # half a minute otherwise
        wait_for(lambda: not made.refuses)
        made.append(record(1))
        assert made.rotate() == Position(3)
        assert events(folder) == [1]


def test_a_position_knows_what_is_durable(folder: Folder) -> None:
    with journal(folder) as made:
        assert made.end == Position(1)
        made.append(record(0))
        assert made.end == Position(1)  # appended is not durable
        made.wait(made.append(record(1)))
        (live,) = listing(folder)[1]
        assert made.end == Position(1, folder.size(f"{live}.open"))
