"""Events of the journal are decoded once, and every query finds just those that a first look would find."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metlog.journal.cursor import Cursor, Position
from metlog.journal.folder import Folder
from metlog.journal.routing import Route
from metlog.journal.segment import ACTIVE, END, SEALED, Clock, Record, SegmentName, encode_record, end_mark, header
from metlog.lake import backlog
from metlog.lake import uncommitted as module
from metlog.lake.query import Cancel, Lake, QueryError
from metlog.lake.snapshot import Memory, Snapshot, snapshot
from metlog.lake.writer import write_segment

STEPS = (
    "append",
    "append",
    "append",
    "torn",
    "damage",
    "seal",
    "seal",
    "seal",
    "commit",
    "keep",
    "written",
    "look",
    "look",
)
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
        return self.journal.path / f"{self.name}{ACTIVE}"

    def record(self, count: int = 1, type: str = "a") -> bytes:
        lines = b""
        for _ in range(count):
            self.seq += 1
            lines += b'{"type":"%s","stream":"s","seq":%d}\n' % (type.encode(), self.seq)
        return encode_record(RECEIVED + self.seq * 200_000_000, count, b"test://", b"", lines)  # some hundred a day

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


def kept(most: int = 1 << 30) -> Memory:
    return Memory(most, None)


def seqs(data: Path, memory: Memory | None = None) -> list[int]:
    return snapshot(data, memory=memory).uncommitted["seq"].to_pylist()


def numbers_in(files: Iterable[tuple[date, Path]]) -> list[int]:
    return [n for _, path in files for n in pq.read_table(path, columns=["seq"])["seq"].to_pylist()]


def unwritten(found: Snapshot) -> list[int]:
    """Numbers of the events that are in the journal only."""
    return sorted(numbers_in(found.backlog_files) + found.uncommitted["seq"].to_pylist())


def day_of(chance: random.Random, writer: Writer) -> date:
    at = RECEIVED + chance.randrange(writer.seq + 1) * 200_000_000
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)).date()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("most", "own"), [(1 << 30, False), (40_000, False), (1 << 30, True), (0, True)])
def test_whatever_happens_to_the_journal_it_finds_what_a_first_look_finds(
    writer: Writer, tmp_path: Path, seed: int, most: int, own: bool
) -> None:
    chance = random.Random(seed)
    memory = Memory(most, tmp_path / "own" if own else None)
    torn = b""
    behind_by: list[int] = []
    for _ in range(150):
        step = chance.choice(STEPS)
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
            case "written" if writer.sealed:  # and before the cursor says so, the output was killed
                write_segment(writer.journal, writer.sealed[0], writer.events, writer.cursor.route)
            case "look":
                since, until = chance.choice(
                    ((None, None), (day_of(chance, writer), None), (None, day_of(chance, writer)))
                )
                first = snapshot(tmp_path, since_date=since, until_date=until)
                again = snapshot(tmp_path, since_date=since, until_date=until, memory=memory)
                assert again.files == first.files
                assert unwritten(again) == unwritten(first)
                assert own or again.uncommitted.equals(first.uncommitted)
                behind_by.append(len(again.backlog_files))
                everything = numbers_in(again.files) + unwritten(again)
                assert len(set(everything)) == len(everything)
    assert len(behind_by) > 10
    assert (max(behind_by) > 0) == own
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
    memory = kept()
    writer.append(writer.record(5))
    good = writer.live.stat().st_size
    writer.append(writer.record(5))
    assert seqs(tmp_path, memory) == list(range(1, 11))
    (writer.journal.path / f"{writer.name}{END}").write_bytes(end_mark(good, ""))
    assert seqs(tmp_path, memory) == [1, 2, 3, 4, 5]


def test_another_route_of_the_lake_is_obeyed(writer: Writer, tmp_path: Path) -> None:
    memory = kept()
    writer.append(writer.record(2, "a") + writer.record(2, "b"))
    assert seqs(tmp_path, memory) == [1, 2, 3, 4]
    writer.cursor.route = Route(types=("b",))
    writer.cursor.save(writer.cursors)
    assert seqs(tmp_path, memory) == [3, 4]


def test_no_more_is_kept_than_was_allowed_and_the_oldest_stays(
    writer: Writer, tmp_path: Path, decoded: list[int]
) -> None:
    for _ in range(4):
        writer.append(writer.record(1000))
        writer.seal()
    whole = kept()
    seqs(tmp_path, whole)
    size = sum(part.size for part in whole.uncommitted._kept.values())
    memory = kept(size * 5 // 8)
    seqs(tmp_path, memory)
    decoded.clear()
    assert seqs(tmp_path, memory) == list(range(1, 4001))
    assert decoded == [1000, 1000]
    assert sorted(name.number for name in memory.uncommitted._kept) == [1, 2]


def test_many_small_looks_leave_few_tables(writer: Writer, tmp_path: Path) -> None:
    memory = kept()
    for _ in range(300):
        writer.append(writer.record(1))
        seqs(tmp_path, memory)
    assert snapshot(tmp_path, memory=memory).uncommitted["seq"].num_chunks == 1


def behind(writer: Writer, segments: int, events: int = 100) -> None:
    for _ in range(segments):
        writer.append(writer.record(events))
        writer.seal()


def test_what_the_lake_is_far_behind_by_is_written_once_beside_it(
    writer: Writer, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    real = backlog.write_segment
    monkeypatch.setattr(
        backlog,
        "write_segment",
        lambda j, name, *rest, **more: (written.append(name.number), real(j, name, *rest, **more)),
    )
    behind(writer, 6)
    writer.append(writer.record(7))
    sql = "SELECT count(*), count(DISTINCT seq) FROM events"
    arrivals = "SELECT seq FROM arrivals ORDER BY arrival_file, arrival_row"
    with Lake(tmp_path) as lake:
        assert lake.query(sql).rows == [(607, 607)]
        assert (written, decoded) == ([1, 2, 3, 4], [100, 100, 7])
        behind(writer, 1)
        assert lake.query(sql).rows == [(707, 707)]
        assert written == [1, 2, 3, 4, 5]
        assert [row[0] for row in lake.query(arrivals).rows] == list(range(1, 708))
        assert lake.query("SELECT DISTINCT kind FROM files").rows == [("journal",)]
        for _ in range(3):
            writer.commit()
        assert lake.query(sql).rows == [(707, 707)]
        for _ in range(4):
            writer.commit()
        assert lake.query(sql).rows == [(707, 707)]
        assert written == [1, 2, 3, 4, 5]
        folder = lake._memory.backlog._path
        assert len([*folder.glob("*/*.parquet")]) >= 5  # a query that runs may yet read them
        monkeypatch.setattr(backlog, "_LINGER", -1.0)
        assert lake.query(sql).rows == [(707, 707)]
        assert [*folder.glob("*/*.parquet")] == []
    assert not folder.exists()


def test_a_route_that_changes_makes_the_files_anew(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "_LINGER", -1.0)
    for _ in range(3):
        writer.append(writer.record(2, "a") + writer.record(1, "b"))
        writer.seal()
    memory = Memory(0, tmp_path / "own")
    assert unwritten(snapshot(tmp_path, memory=memory)) == list(range(1, 10))
    writer.cursor.route = Route(types=("b",))
    writer.cursor.save(writer.cursors)
    for _ in range(2):
        found = snapshot(tmp_path, memory=memory)
        assert (unwritten(found), len(found.backlog_files)) == ([3, 6, 9], 1)


@pytest.mark.slow
def test_a_query_that_ends_at_its_limit_leaves_what_it_wrote_to_the_next(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = backlog.write_segment
    written: list[int] = []

    def slow(journal: Folder, name: SegmentName, *rest: object, **more: object) -> object:
        time.sleep(0.15)
        done = real(journal, name, *rest, **more)
        written.append(name.number)
        return done

    monkeypatch.setattr(backlog, "write_segment", slow)
    behind(writer, 10)
    with Lake(tmp_path) as lake:
        with pytest.raises(QueryError, match=r"the limit of 0.4 s was over when [2-7] segments .* ask again") as told:
            lake.query("SELECT count(*) FROM events", timeout=0.4)
        assert told.value.kind == "timeout"
        assert lake.query("SELECT count(*) FROM events").rows == [(1000,)]
    assert written == list(range(1, 9))


def test_who_waits_for_anothers_look_may_give_up(writer: Writer, tmp_path: Path) -> None:
    cancel = Cancel()
    with Lake(tmp_path) as lake:
        with lake._memory.lock:
            with pytest.raises(QueryError, match="limit") as told:
                lake.query("SELECT count(*) FROM events", timeout=0.2)
            assert told.value.kind == "timeout"
            cancel.cancel()
            with pytest.raises(QueryError, match="the query was cancelled"):
                lake.query("SELECT count(*) FROM events", cancel=cancel)
        assert lake.query("SELECT count(*) FROM events").rows == [(0,)]
