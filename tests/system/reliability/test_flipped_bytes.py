"""Each byte of a small journal flipped, and the journal cut at each offset: it is started from, and only what was hit is missing."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metlog.journal.cursor import Cursor, Position
from metlog.journal.folder import Folder
from metlog.journal.idempotency import IdempotencyKeys
from metlog.journal.reader import Damage, read
from metlog.journal.recovery import quarantine
from metlog.journal.routing import Route
from metlog.journal.segment import (
    ACTIVE,
    HEADER_SIZE,
    SEALED,
    Clock,
    SegmentName,
    encode_record,
    end_mark,
    header,
    listing,
    scan,
)
from metlog.journal.writer import Journal, JournalOptions
from metlog.lake.writer import write_segment
from tests.helpers.reliability import Client, Listener, faults_in, in_file, in_lake

Make = Callable[..., Listener]

NOW = 1_700_000_000_000_000
RECORDS = 4
EVERYTHING = Position(1 << 40)


def record(n: int) -> bytes:
    return encode_record(NOW, 1, b"udp://1", b"web/%d" % n, b'{"type":"a","fields":{"n":%d}}\n' % n)


def segment(first: int) -> bytes:
    return header(Clock()) + b"".join(record(n) for n in range(first, first + RECORDS))


def hit(offset: int) -> int:
    """Which record of a segment an offset lies in; -1: the header."""
    return (offset - HEADER_SIZE) // len(record(0)) if offset >= HEADER_SIZE else -1


class Small:
    """A journal with a sealed segment (records 0 to 3) and a live one (4 to 7), and what is made of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sealed = SegmentName(1, "aa")
        self.live = SegmentName(2, "aa")

    def fill(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "cursors").mkdir(parents=True)
        (self.folder / f"{self.sealed}{SEALED}").write_bytes(segment(0))
        (self.folder / f"{self.live}{ACTIVE}").write_bytes(segment(RECORDS))

    def start(self) -> tuple[list[int], list[tuple[str, int]]]:
        """Starts on it as a listener does, and reads it as an output does: the numbers found, and the files of the quarantine
        with their sizes."""
        with Folder.root(self.folder) as folder:
            journal = Journal(folder, JournalOptions(min_free=0), Clock())
            try:
                IdempotencyKeys(folder)

                def damaged(damage: Damage) -> None:
                    span = (damage.offset, damage.offset + len(damage.data))
                    quarantine(folder, damage.segment, damage.data, [span], damage.offset)

                found = [number(entry.record.events) for entry in read(folder, Position(), EVERYTHING, damaged)]
                lsn = journal.append(record(99))
                journal.wait(lsn)
            finally:
                journal.close()
                journal.release()
            assert number(list(scan(folder, listing(folder)[0][-1])[1])[-1].events) == 99
        kept = self.folder / "quarantine"
        return found, sorted((path.name, path.stat().st_size) for path in kept.iterdir()) if kept.is_dir() else []


def number(events: bytes) -> int:
    return int(events.rpartition(b":")[2].rstrip(b"}\n"))


@pytest.fixture
def small() -> Iterator[Small]:
    logging.disable(logging.CRITICAL)  # thousands of warnings, each of them in place
    memory = Path("/dev/shm")  # where an fsync costs nothing: there are thousands
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Small(Path(folder) / "main")
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", ["sealed", "live"])
@pytest.mark.parametrize("mask", [0xFF, 0x01])
def test_a_flipped_byte_costs_the_record_that_it_is_in(small: Small, name: str, mask: int) -> None:
    first = 0 if name == "sealed" else RECORDS
    whole = segment(first)
    for offset in range(len(whole)):
        small.fill()
        path = small.folder / (f"{small.sealed}{SEALED}" if name == "sealed" else f"{small.live}{ACTIVE}")
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ mask]) + whole[offset + 1 :])
        found, kept = small.start()
        lost = [first + hit(offset)] if hit(offset) >= 0 else []
        assert found == [n for n in range(2 * RECORDS) if n not in lost], offset
        start = HEADER_SIZE + hit(offset) * len(record(0)) if lost else 0
        size = len(record(0)) if lost else HEADER_SIZE
        assert kept == [(f"{small.sealed if name == 'sealed' else small.live}-{start}.bin", size)], offset


@pytest.mark.parametrize("name", ["sealed", "live"])
def test_a_cut_journal_keeps_every_record_before_the_cut(small: Small, name: str) -> None:
    first = 0 if name == "sealed" else RECORDS
    whole = segment(first)
    for offset in range(len(whole)):
        small.fill()
        path = small.folder / (f"{small.sealed}{SEALED}" if name == "sealed" else f"{small.live}{ACTIVE}")
        path.write_bytes(whole[:offset])
        found, kept = small.start()
        complete = max(hit(offset), 0)
        assert found == [n for n in range(2 * RECORDS) if not first + complete <= n < first + RECORDS], offset
        torn = offset - HEADER_SIZE - complete * len(record(0))
        if torn > 0:
            assert [size for _, size in kept] == [torn], offset


def test_a_sealed_segment_with_a_flipped_byte_becomes_a_file_without_that_record(small: Small) -> None:
    whole = segment(0)
    for offset in range(0, len(whole), 7):
        small.fill()
        (small.folder / f"{small.sealed}{SEALED}").write_bytes(
            whole[:offset] + bytes([whole[offset] ^ 0x10]) + whole[offset + 1 :]
        )
        with Folder.root(small.folder) as folder, folder.sub("events", create=True) as events:
            rows = write_segment(folder, small.sealed, events, Route())
            _, records = scan(folder, small.sealed)
            assert len(list(records)) == rows
        assert rows == RECORDS - (hit(offset) >= 0)
        assert len(records.damaged) == 1


@pytest.mark.parametrize("file", ["keys", "cursors/out.cursor", "end", "lock"])
def test_small_files_beside_the_segments_are_never_in_the_way_of_a_start(small: Small, file: str) -> None:
    """A damaged cursor is none, and begins at the oldest segment; a damaged mark lets what it cut off be read again."""

    def prepare() -> Path:
        small.fill()
        with Folder.root(small.folder) as folder, folder.sub("cursors") as cursors:
            Cursor("out", Position(2, HEADER_SIZE)).save(cursors)
            memory = IdempotencyKeys(folder)
            memory.save(2)
        (small.folder / "lock").write_text("4711\n")
        mark = small.folder / f"{small.sealed}.end"
        mark.write_bytes(end_mark(HEADER_SIZE + 2 * len(record(0)), str(small.live)))
        return mark if file == "end" else small.folder / file

    whole = prepare().read_bytes()
    for offset in range(len(whole)):
        for damaged in (whole[:offset] + bytes([whole[offset] ^ 0xFF]) + whole[offset + 1 :], whole[:offset]):
            path = prepare()
            path.write_bytes(damaged)
            intact = damaged == whole[:-1]  # but for its line's end
            found, _ = small.start()
            again = file == "end" and not intact
            assert found == [n for n in range(2 * RECORDS) if again or n not in {2, 3}], (offset, damaged)
            with Folder.root(small.folder / "cursors") as cursors:
                cursor = Cursor.load(cursors, "out")
            assert (cursor is not None) == (file != "cursors/out.cursor" or intact)


@pytest.mark.parametrize("place", [3, HEADER_SIZE + 5, -30])
def test_the_real_process_starts_on_a_damaged_journal_and_says_what_it_skipped(listener: Make, place: int) -> None:
    made = listener(segment_bytes=1 << 20, journal="")
    client = Client(count=1)
    assert made.start()
    for _ in range(20):
        assert client.submit(made.port("http"))
    made.kill()
    path = made.journaled()[-1]
    raw = bytearray(path.read_bytes())
    raw[place] ^= 0xFF
    path.write_bytes(raw)
    assert made.start()
    assert client.submit(made.port("http"))
    assert made.stop() == 0
    found = in_lake(made.data)
    lost = client.acknowledged - {n for n, _ in found}
    assert len(lost) == (0 if place == 3 else 1)
    assert faults_in(found, client.acknowledged - lost, client.sent) == []
    assert faults_in(in_file(made.lines), client.acknowledged - lost, client.sent) == []
    assert "do not verify and are skipped (copied to" in made.told.read_text()
    assert len(list((made.data / "journal/main/quarantine").iterdir())) == 1
