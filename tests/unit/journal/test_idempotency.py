"""Keys of submissions: a repeat is known at once, from two threads, after a restart, and when its segment is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from metlog.journal.errors import Full
from metlog.journal.folder import Folder
from metlog.journal.idempotency import IdempotencyKeys
from metlog.journal.segment import Clock, listing
from metlog.journal.writer import Journal, JournalOptions
from metlog.listener.accounting import Accounting
from metlog.listener.deadletters import DeadLetters
from metlog.listener.ingest import Ingest
from tests.helpers.sink import numbered
from tests.helpers.waiting import wait_for


class Run:
    """One run of a listener's journal, without its outputs."""

    def __init__(self, path: Path, limit: int = 1000, **options: Any) -> None:
        self.folder = Folder.root(path, create=True)
        self.folder.sub("cursors", create=True).close()
        self.journal = Journal(self.folder, JournalOptions(min_free=0, sync_interval=0.01, **options), Clock())
        self.keys = IdempotencyKeys(self.folder, limit)
        self.sink = Ingest(
            self.journal, DeadLetters(self.folder.sub("dead", create=True), "input"), self.keys, Accounting(100)
        )

    def submit(self, key: str, count: int = 1) -> bool:
        return self.sink.submit(numbered(count), "test://", key=key)

    def retire(self) -> int:
        return self.journal.retire(self.keys.save(self.journal.end.number))

    def end(self) -> None:
        self.journal.close()
        self.journal.release()


Begin = Callable[..., Run]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    runs: list[Run] = []

    def start(**options: Any) -> Run:
        if runs:
            runs.pop().end()
        runs.append(Run(tmp_path / "journal", **options))
        return runs[-1]

    yield start
    for run in runs:
        run.end()


def test_a_repeat_is_known_in_this_run_and_the_next(begin: Begin) -> None:
    run = begin()
    assert run.submit("web/1", 3)
    assert not run.submit("web/1", 3)
    assert run.submit("web/2")
    assert run.sink.stats()["repeated"] == 3
    run = begin()
    assert not run.submit("web/1")
    assert not run.submit("web/2")
    assert run.submit("web/3")


def test_a_repeat_is_known_though_its_segment_is_gone(begin: Begin) -> None:
    run = begin(segment_bytes=4096)
    for number in range(60):
        assert run.submit(f"web/{number}", 5)
    wait_for(lambda: run.journal.end.number > 5)
    gone = run.retire()
    assert gone >= 5
    run = begin(segment_bytes=4096)
    assert not any([run.submit(f"web/{number}") for number in range(60)])
    run.retire()
    assert len(listing(run.folder)[0]) <= 1
    run = begin()
    assert not any([run.submit(f"web/{number}") for number in range(60)])


@pytest.mark.slow
def test_nothing_is_unlinked_whose_keys_are_in_a_claim(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(segment_bytes=4096)
    assert run.submit("web/first", 30)
    claimed = run.keys.claim("web/open")
    assert claimed is None
    run.submit("other/1", 30)
    wait_for(lambda: run.journal.end.number > 1)
    assert run.retire() == 0  # after a second: the claim may stand for a record that is sealed
    run.keys.settle("web/open", None)
    assert run.retire() >= 1


def test_two_at_once_are_one(begin: Begin) -> None:
    run = begin()
    outcomes: list[bool] = []
    barrier = threading.Barrier(8)

    def send() -> None:
        barrier.wait()
        outcomes.append(run.submit("web/same", 2))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(outcomes) == [False] * 7 + [True]
    assert run.sink.stats()["journaled"] == 2


def test_a_refused_submission_is_not_remembered(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin()
    with monkeypatch.context() as patch:

        def full(records: bytes) -> int:
            raise Full("no room")

        patch.setattr(run.journal, "append", full)
        for _ in range(2):
            with pytest.raises(Full):
                run.submit("web/1")
    assert run.submit("web/1")


def test_what_was_appended_and_not_confirmed_is_not_appended_again(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin()
    with monkeypatch.context() as patch:

        def late(lsn: int, timeout: float = 30.0) -> None:
            raise Full("the disk did not confirm in time")

        patch.setattr(run.journal, "wait", late)
        with pytest.raises(Full):
            run.submit("web/1")
    assert not run.submit("web/1")
    assert not begin().submit("web/1")


def test_the_oldest_keys_are_forgotten_first(begin: Begin) -> None:
    run = begin(limit=10)
    for number in range(15):
        run.submit(f"web/{number}")
    assert len(run.keys) == 10
    assert not run.submit("web/5")
    assert run.submit("web/4")
    assert len(begin(limit=10).keys) == 10


@pytest.mark.parametrize("harm", [lambda data: data[:-1], lambda data: b"", lambda data: data[:30] + b"x" + data[31:]])
def test_a_damaged_file_is_told_and_the_journal_read(
    begin: Begin, harm: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(segment_bytes=4096)
    run.submit("web/1", 30)
    run.submit("web/2", 30)
    wait_for(lambda: run.journal.end.number > 1)
    run.keys.save(run.journal.end.number)
    path = run.folder.path / "keys"
    path.write_bytes(harm(path.read_bytes()))
    run = begin()
    assert not run.submit("web/1")
    assert not run.submit("web/2")
    assert "damaged" in caplog.text


def test_a_full_disk_does_not_keep_what_makes_room(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(segment_bytes=4096)
    run.submit("web/1", 30)
    run.submit("web/2", 30)
    wait_for(lambda: run.journal.end.number > 1)
    with monkeypatch.context() as patch:

        def full(*args: object, **options: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(run.folder, "replace", full)
        assert run.retire() >= 1
    assert not run.submit("web/1")
    run.retire()
    assert not begin().submit("web/1")  # written as soon as there was room
