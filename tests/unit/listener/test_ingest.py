"""The listener's sink over a journal that takes nothing: what is told, counted and kept, and what is not."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metlog import Event
from metlog.journal.errors import Full
from metlog.journal.folder import Folder
from metlog.journal.idempotency import IdempotencyKeys
from metlog.journal.offsets import Partition
from metlog.journal.segment import Clock, listing, scan
from metlog.journal.writer import Journal, JournalOptions
from metlog.listener.accounting import Accounting
from metlog.listener.deadletters import DeadLetters
from metlog.listener.ingest import Ingest
from metlog.listener.ordered import Messages
from tests.helpers.waiting import wait_for


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    with Folder.root(tmp_path) as opened:
        yield opened


@pytest.fixture
def journal(folder: Folder) -> Iterator[Journal]:
    made = Journal(folder, JournalOptions(min_free=0), Clock())
    yield made
    made.close()
    made.release()


@pytest.fixture
def dead(folder: Folder) -> Iterator[DeadLetters]:
    made = DeadLetters(folder, "main.input")
    yield made
    made.close()


@pytest.fixture
def ingest(folder: Folder, journal: Journal, dead: DeadLetters) -> Ingest:
    return Ingest(journal, dead, IdempotencyKeys(folder), Accounting(10))


def test_frames_never_raise_also_where_the_disk_does_not_say_how_full_it_is(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(_: int) -> os.statvfs_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "fstatvfs", stale)
    ingest.frames([(b'{"type":"a"}\n{"type":"b"}\n', "udp://192.0.2.7:1")])
    with pytest.raises(Full):
        ingest.messages([Messages(Partition("t", "ab", 0), 0, 0, [b'{"type":"a"}'], 0)])
    assert {key: count for key, count in ingest.stats().items() if count} == {
        "frames": 1, "dropped_full": 2, "refused_full": 1,
    }  # fmt: skip


def test_a_bad_message_becomes_a_dead_letter_once_however_often_its_batch_is_refused(
    ingest: Ingest, journal: Journal, dead: DeadLetters, folder: Folder
) -> None:
    batch = [Messages(Partition("t", "ab", 0), 0, 0, [b"bad", b'{"type":"a"}'], 10**15)]
    journal.configure(JournalOptions(min_free=1 << 60), Clock())
    for _ in range(5):
        with pytest.raises(Full):
            ingest.messages(batch)
    assert dead.counts == {}
    journal.configure(JournalOptions(min_free=0), Clock())
    wait_for(lambda: not journal.refuses)
    journal.wait(ingest.messages(batch))
    assert folder.read("main.input.ndjson").count(b"\n") == 1
    assert (ingest.stats()["dead"], ingest.stats()["journaled"]) == (1, 1)


def test_dead_letters_that_are_not_to_be_written_journal_no_message_again_and_again(
    ingest: Ingest, journal: Journal, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = [Messages(Partition("t", "ab", 0), 0, 0, [b"bad", b'{"type":"a"}'], 10**15)]

    def fails(*_: object, durable: bool) -> None:
        raise OSError(errno.EIO, "made up")

    with monkeypatch.context() as patch:
        patch.setattr(DeadLetters, "add", fails)
        for _ in range(5):
            with pytest.raises(OSError, match="made up"):
                ingest.messages(batch)
    size = journal.stats()["appended_bytes"]
    ingest.messages(batch)
    assert journal.stats()["appended_bytes"] == 2 * size
    assert folder.read("main.input.ndjson").count(b"\n") == 1


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("spool://na\udcefve", "spool://na\\udcefve"),
        ("spool://" + "é" * 70_000, "spool://" + "é" * 2044),
        ("x" * 4095 + "é", "x" * 4095),
        ("", ""),
    ],
)
def test_a_source_may_be_any_text(
    source: str, kept: str, ingest: Ingest, journal: Journal, folder: Folder, tmp_path: Path
) -> None:
    """Such as the name of a file, which need not be UTF-8."""
    good = b'{"type":"a"}\n'
    ingest.frame(good, source)
    ingest.frames([(good, source), (b"bad", source)])
    ingest.submit([Event(type="a")], source)
    ingest.reject(b"bad", source, "no reason")
    journal.close()
    (name,), _ = listing(folder)
    assert [record.source for record in scan(folder, name)[1]] == [kept] * 3
    letters = (tmp_path / "main.input.ndjson").read_bytes().splitlines()
    assert [msgspec.json.decode(line)["source"] for line in letters] == [kept] * 2


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_frame_may_lie_in_a_buffer(kind: Any, ingest: Ingest) -> None:
    ingest.frame(kind(b'{"type":"a"}\n'), "mine://")
    assert ingest.stats()["journaled"] == 1


@pytest.mark.parametrize("frame", [None, "text", 1, [b"x"]])
def test_a_frame_that_is_no_bytes_is_named(frame: Any, ingest: Ingest) -> None:
    with pytest.raises(
        TypeError, match=f"a frame is bytes, not a value of type {type(frame).__name__} \\(from mine://\\)"
    ):
        ingest.frames([(frame, "mine://")])
