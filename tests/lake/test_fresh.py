"""Events of the journal are decoded once, and every query finds just those that a first look would find."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from metlog.lake import fresh as module
from metlog.lake.cursor import Cursor, Position
from metlog.lake.files import Folder
from metlog.lake.fresh import Fresh
from metlog.lake.query import Lake
from metlog.lake.routing import Route
from metlog.lake.segment import END, LIVE, SEALED, Clock, Record, SegmentName, encode_record, end_mark, header
from metlog.lake.snapshot import snapshot
from metlog.lake.writer import write_segment

RECEIVED = 1_790_000_000_000_000


class Writer:
    """A journal and its lake, step by step, as a listener and its output leave them."""

    def __init__(self, data: Path) -> None:
        self.root = Folder.root(data, create=True)
        self.journal = self.root.sub("journal", create=True).sub("main", create=True)
        self.cursors = self.journal.sub("cursors", create=True)
        self.events = self.root.sub("events", create=True)
        self.cursor = Cursor("lake", lake=True)
        self.seq = 0
        self.sealed: list[SegmentName] = []
        self.number = 0
        self.begin()

    def begin(self) -> None:
        self.number += 1
        self.name = SegmentName(self.number, "run")
        self.live.write_bytes(header(Clock()))

    @property
    def live(self) -> Path:
        return self.journal.path / f"{self.name}{LIVE}"

    def record(self, count: int = 1, type: str = "a") -> bytes:
        lines = b""
        for _ in range(count):
            self.seq += 1
            lines += b'{"type":"%s","stream":"s","seq":%d}\n' % (type.encode(), self.seq)
        return encode_record(RECEIVED + self.seq * 40_000_000, count, b"test://", b"", lines)  # some thousand a day

    def append(self, content: bytes) -> None:
        with self.live.open("ab") as file:
            file.write(content)

    def seal(self) -> None:
        self.live.rename(self.live.with_suffix(SEALED))
        self.sealed.append(self.name)
        self.begin()

    def commit(self, *, unlink: bool = True) -> None:
        """The oldest sealed segment to Parquet."""
        name = self.sealed.pop(0)
        write_segment(self.journal, name, self.events, self.cursor.route)
        self.cursor.at = Position(name.number + 1)
        self.cursor.save(self.cursors)
        if unlink:
            self.journal.unlink(f"{name}{SEALED}")


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(tmp_path)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of events of each record that is decoded."""
    counts: list[int] = []
    real = module.tables

    def counting(records: Iterable[Record], clock: Clock, route: Route) -> Iterator[pa.Table]:
        def noted() -> Iterator[Record]:
            for record in records:
                counts.append(record.count)
                yield record

        return real(noted(), clock, route)

    monkeypatch.setattr(module, "tables", counting)
    return counts


def seqs(data: Path, fresh: Fresh | None = None) -> list[int]:
    return snapshot(data, fresh=fresh).fresh["seq"].to_pylist()


def day_of(chance: random.Random, writer: Writer) -> date:
    at = RECEIVED + chance.randrange(writer.seq + 1) * 40_000_000
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).date()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("most", [1 << 30, 40_000, 0])
def test_whatever_happens_to_the_journal_it_finds_what_a_first_look_finds(
    writer: Writer, tmp_path: Path, seed: int, most: int
) -> None:
    chance = random.Random(seed)
    fresh = Fresh(most)
    torn = b""
    looks = 0
    for _ in range(150):
        step = chance.choice(("append", "append", "append", "torn", "damage", "seal", "commit", "keep", "look", "look"))
        if step != "look" and torn:  # the rest of the record that was half there
            writer.append(torn)
            torn = b""
        match step:
            case "append":
                writer.append(b"".join(writer.record(chance.randrange(1, 60)) for _ in range(chance.randrange(1, 4))))
            case "torn":
                whole = writer.record(3)
                cut = chance.randrange(1, len(whole))
                writer.append(whole[:cut])
                torn = whole[cut:]
            case "damage":
                writer.append(bytes(chance.randrange(256) for _ in range(40)))
            case "seal":
                writer.seal()
            case "commit" | "keep" if writer.sealed:
                writer.commit(unlink=step == "commit")
            case "look":
                looks += 1
                since, until = chance.choice(
                    ((None, None), (day_of(chance, writer), None), (None, day_of(chance, writer)))
                )
                first = snapshot(tmp_path, since_date=since, until_date=until)
                again = snapshot(tmp_path, since_date=since, until_date=until, fresh=fresh)
                assert again.files == first.files
                assert again.fresh.equals(first.fresh)
    assert looks > 10
    with Lake(tmp_path) as lake:
        whole_seqs = [row[0] for row in lake.query("SELECT seq FROM events ORDER BY seq").rows]
    assert len(set(whole_seqs)) == len(whole_seqs)
    assert set(range(1, writer.seq + 1)) - set(whole_seqs) <= set(range(writer.seq - 2, writer.seq + 1))  # cut, at most


def test_a_query_decodes_only_what_came_since_the_last(writer: Writer, tmp_path: Path, decoded: list[int]) -> None:
    sql = "SELECT count(*), max(seq) FROM events"
    writer.append(writer.record(500))
    with Lake(tmp_path) as lake:
        assert lake.query(sql).rows == [(500, 500)]
        writer.append(writer.record(2))
        assert lake.query(sql).rows == [(502, 502)]
        writer.seal()
        writer.append(writer.record(1))
        assert lake.query(sql).rows == [(503, 503)]
        assert decoded == [500, 2, 1]
        writer.commit()
        decoded.clear()
        assert lake.query(sql).rows == [(503, 503)]
        assert decoded == []


def test_what_an_end_mark_takes_back_is_not_found_any_more(writer: Writer, tmp_path: Path) -> None:
    fresh = Fresh(1 << 30)
    writer.append(writer.record(5))
    good = writer.live.stat().st_size
    writer.append(writer.record(5))
    assert seqs(tmp_path, fresh) == list(range(1, 11))
    (writer.journal.path / f"{writer.name}{END}").write_bytes(end_mark(good, ""))
    assert seqs(tmp_path, fresh) == [1, 2, 3, 4, 5]


def test_another_route_of_the_lake_is_obeyed(writer: Writer, tmp_path: Path) -> None:
    fresh = Fresh(1 << 30)
    writer.append(writer.record(2, "a") + writer.record(2, "b"))
    assert seqs(tmp_path, fresh) == [1, 2, 3, 4]
    writer.cursor.route = Route(types=("b",))
    writer.cursor.save(writer.cursors)
    assert seqs(tmp_path, fresh) == [3, 4]


def test_no_more_is_kept_than_was_allowed_and_the_oldest_stays(
    writer: Writer, tmp_path: Path, decoded: list[int]
) -> None:
    for _ in range(4):
        writer.append(writer.record(1000))
        writer.seal()
    whole = Fresh(1 << 30)
    seqs(tmp_path, whole)
    size = sum(kept.size for kept in whole._kept.values())
    fresh = Fresh(size * 5 // 8)
    seqs(tmp_path, fresh)
    decoded.clear()
    assert seqs(tmp_path, fresh) == list(range(1, 4001))
    assert decoded == [1000, 1000]
    assert sorted(name.number for name in fresh._kept) == [1, 2]


def test_many_small_looks_leave_few_tables(writer: Writer, tmp_path: Path) -> None:
    fresh = Fresh(1 << 30)
    for _ in range(300):
        writer.append(writer.record(1))
        seqs(tmp_path, fresh)
    assert snapshot(tmp_path, fresh=fresh).fresh["seq"].num_chunks == 1
