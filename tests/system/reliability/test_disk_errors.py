"""A disk that fails at a named step: the listener stays, says so, goes on when it can, and loses and doubles nothing."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from metlog.journal.cursor import Position
from metlog.journal.errors import Full
from metlog.journal.folder import Folder
from metlog.journal.reader import read
from metlog.journal.segment import Clock, encode_record, listing, scan
from metlog.journal.writer import Journal, JournalOptions
from tests.helpers.reliability import Client, Listener, faults_in, in_file, in_lake
from tests.helpers.waiting import eventually, wait_for

Make = Callable[..., Listener]


FAULTS = (
    "fsync:3=eio",
    "append:5=eio",
    "append:5=enospc",
    "create:3=enospc",
    "header:3=eio",
    "fsync:3=eio,rescue.write:1=enospc",
    "fsync:3=eio,rescue.end:1=enospc",
    "fsync:3=eio,rescue.rename:1=eio",
    "rename:2=eio",
    "keys:1=enospc",
    "cursor:4=enospc",
    "cursor.rename:3=eio",
    "lake.write:2=enospc",
    "lake.fsync:1=eio",
    "lake.rename:1=eio",
)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """What came of every fault that was asked for; they run side by side, for most of what each does is wait."""
    wanted = [
        item.callspec.params["fault"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == "test_one_failure_of_the_disk_is_survived_without_a_restart"
    ]  # fmt: skip
    with ThreadPoolExecutor(4) as pool:
        yield {fault: pool.submit(one_failure, fault, tmp_path_factory.mktemp("failing")) for fault in wanted}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_failure_of_the_disk_is_survived_without_a_restart(fault: str, outcomes: dict[str, Future[None]]) -> None:
    outcomes[fault].result()


def one_failure(fault: str, folder: Path) -> None:
    made = Listener(folder)
    client = Client()
    try:
        assert made.start(fault), made.told.read_text()
        pid = made.pid
        for _ in range(30):
            client.settle(made.port("http"))
            client.submit(made.port("http"))
        client.settle(made.port("http"))
        assert eventually(lambda: made.ask("/healthz")[0] == 200), made.ask("/healthz")
        assert made.pid == pid
        assert made.stop() == 0
    finally:
        made.close()
    assert faults_in(in_lake(made.data), client.acknowledged, client.sent) == []
    assert faults_in(in_file(made.lines), client.acknowledged, client.sent) == []
    assert client.acknowledged == set(client.sent)


def test_while_every_fsync_fails_nothing_is_acknowledged_and_the_next_start_has_it_all(listener: Make) -> None:
    made = listener()
    client = Client()
    assert made.start("fsync:6+=eio,rescue.write:1+=eio")
    wait_for(lambda: not client.submit(made.port("http")))
    before = set(client.acknowledged)
    assert made.ask("/healthz")[0] == 503
    assert made.metric("metlog_journal_accepting") == 0
    assert not client.submit(made.port("http"))
    assert client.acknowledged == before
    assert client.statuses[503] > 0
    made.kill()
    assert made.start()
    for _ in range(5):
        client.settle(made.port("http"))
        client.submit(made.port("http"))
    assert made.stop() == 0
    assert faults_in(in_lake(made.data), client.acknowledged, client.sent) == []
    assert faults_in(in_file(made.lines), client.acknowledged, client.sent) == []


def record(n: int) -> bytes:
    return encode_record(1_700_000_000_000_000, 1, b"test://", b"", b'{"type":"a","seq":%d}\n' % n)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with Folder.root(tmp_path) as made:
        yield made


@contextmanager
def journal(folder: Folder, **options: object) -> Iterator[Journal]:
    made = Journal(folder, JournalOptions(**{"min_free": 0, "sync_interval": 0.002, **options}), Clock())  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()
        made.release()


def seqs(folder: Folder) -> list[int]:
    found = [entry.record.events for entry in read(folder, Position(), Position(1 << 40))]
    return sorted(int(events.rsplit(b":", 1)[1].rstrip(b"}\n")) for events in found)


def test_an_fsync_that_failed_is_never_asked_of_that_file_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, bool]] = []
    real = os.fdatasync

    def flaky(fd: int) -> None:
        inode, fails = os.fstat(fd).st_ino, len(asked) in {3, 7, 8}
        asked.append((inode, fails))
        if fails:
            raise OSError(errno.EIO, "made up")
        real(fd)

    monkeypatch.setattr(os, "fdatasync", flaky)
    with journal(folder) as made:
        for n in range(40):
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                try:
                    made.wait(made.append(record(n)))
                    break
                except Full:
                    time.sleep(0.01)
            else:
                pytest.fail(f"record {n} was not taken")
        assert made.stats()["failures"] == 3
        assert seqs(folder) == list(range(40))
    failed = {inode for inode, fails in asked if fails}
    assert len(failed) == 3
    for inode in failed:
        assert [fails for asked_of, fails in asked if asked_of == inode][-1]  # the failure was the last that it heard
    assert seqs(folder) == list(range(40))


def test_a_waiter_hears_of_a_disk_that_does_not_confirm(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    real = os.fdatasync
    with journal(folder) as made:
        made.wait(made.append(record(0)))
        monkeypatch.setattr(os, "fdatasync", lambda fd: (hangs.wait(20), real(fd)))
        lsn = made.append(record(1))
        with pytest.raises(Full, match="did not confirm in time"):
            made.wait(lsn, timeout=0.2)
        hangs.set()
        made.wait(lsn)  # it did, in the end


def test_with_always_an_event_counts_after_its_fsync(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    may = threading.Event()
    real = os.fdatasync
    with journal(folder, sync="always") as made:
        monkeypatch.setattr(os, "fdatasync", lambda fd: (may.wait(20), real(fd)))
        confirmed = threading.Event()
        lsn = made.append(record(0))
        waiter = threading.Thread(target=lambda: (made.confirm(lsn), confirmed.set()))
        waiter.start()
        assert not confirmed.wait(0.2)
        may.set()
        assert confirmed.wait(10)
        waiter.join()


def test_with_never_nothing_is_synced(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(fd: int) -> None:
        raise AssertionError("fsync was called")

    with journal(folder, sync="never", segment_bytes=4096) as made:
        monkeypatch.setattr(os, "fdatasync", refused)
        monkeypatch.setattr(os, "fsync", refused)
        for n in range(200):
            made.wait(made.append(record(n)))
        made.close()
        monkeypatch.undo()
    assert seqs(folder) == list(range(200))


def test_the_part_of_a_failed_segment_that_was_written_anew_is_read_once(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fdatasync
    with journal(folder) as made:
        made.wait(made.append(record(0)))
        failing = [OSError(errno.EIO, "made up")]

        def once(fd: int) -> None:
            if failing:
                raise failing.pop()
            real(fd)

        monkeypatch.setattr(os, "fdatasync", once)
        made.wait(made.append(record(1)))
    sealed, live = listing(folder)
    assert (len(sealed), live) == (2, [])
    assert [[r.events for r in scan(folder, name)[1]] for name in sealed] == [
        [b'{"type":"a","seq":0}\n'],
        [b'{"type":"a","seq":1}\n'],
    ]
