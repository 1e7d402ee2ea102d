"""A person's events that are under way while they are removed: in the hands of the lake, of a query, of what appends lines."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from metlog.journal import failpoints
from metlog.journal.cursor import Cursor, Position
from metlog.journal.folder import Folder
from metlog.journal.routing import Route
from metlog.journal.segment import SEALED, Clock, Record, SegmentName, encode_record, header
from metlog.lake import backlog as backlog_module
from metlog.lake import leases
from metlog.lake import writer as writer_module
from metlog.lake.query import Lake
from metlog.lake.snapshot import Memory, snapshot
from metlog.lake.upkeep import forget as module
from metlog.lake.upkeep.folders import UpkeepError
from metlog.lake.upkeep.forget import forget
from metlog.listener.deadletters import DeadLetters
from metlog.listener.outputs.context import Context, Stopped
from metlog.listener.outputs.file import FileOutput
from metlog.listener.outputs.lake import LakeOutput
from tests.helpers.waiting import wait_for
from tests.unit.lake.test_writer import DAY, RECEIVED, Journaled

ANNA = "logger = 'anna'"


class Lakes(Journaled):
    """A data folder with segments of events of two persons, and the lake's output at work there."""

    def persons(self, number: int, *, days: int = 1) -> SegmentName:
        name = SegmentName(number, "abcdef123456aaaaaaaa")
        lines = b'{"type":"a","logger":"anna"}\n{"type":"a","logger":"other"}\n'
        records = [encode_record(RECEIVED + day * DAY, 2, b"s", b"", lines) for day in range(days)]
        (self.journal.path / f"{name}{SEALED}").write_bytes(header(Clock()) + b"".join(records))
        return name

    @contextmanager
    def lake(self, output: LakeOutput, end: int, route: Route = Route()) -> Iterator[Context]:  # noqa: B008 - immutable
        """The output at work in a thread, until it is to end."""
        report = dict[str, Any]()
        dead = DeadLetters(self.root.sub("dead", create=True), "lake")
        context = Context("lake", route, self.root, self.journal, self.cursors, dead, report.update)

        def run() -> None:
            try:
                output.run(context)
            except Stopped:
                pass
            finally:
                output._lease.release()  # as the kernel does when the process ends

        context.advance(Position(end))
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield context
        finally:
            context.stop()
            thread.join()
            dead.close()

    def at(self) -> int:
        return Cursor.of_lakes(self.journal)[0].at.number

    def loggers(self) -> list[str]:
        with Lake(self.data, threads=1) as lake:
            return [row[0] for row in lake.query("SELECT logger FROM events ORDER BY 1").rows]

    def in_files(self) -> list[str]:
        """What another engine finds in the bare files."""
        paths = self.events.path.rglob("*.parquet")
        return sorted(text for path in paths for text in pq.read_table(path, partitioning=None)["logger"].to_pylist())


@pytest.fixture
def made(tmp_path: Path) -> Lakes:
    return Lakes(tmp_path)


class Paused(LakeOutput):
    """The lake, which stops in the middle of a segment until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.reads, self.may_go_on = threading.Event(), threading.Event()

    def _survivors(
        self, context: Context, segment: SegmentName, bad: list[tuple[bytes, str, str]]
    ) -> Callable[[Clock, Iterable[Record]], Iterable[Record]]:
        def slowly(_: Clock, records: Iterable[Record]) -> Iterator[Record]:
            for record in records:
                yield record
                self.reads.set()
                assert self.may_go_on.wait(60)

        return slowly


def test_what_the_lake_has_read_of_a_segment_does_not_come_back(made: Lakes, monkeypatch: pytest.MonkeyPatch) -> None:
    made.persons(1)
    made.persons(2)
    output = Paused()
    found = list[Any]()
    waits = threading.Event()

    def sleep(seconds: float) -> None:
        waits.set()
        time.sleep(seconds)

    monkeypatch.setattr(leases, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    with made.lake(output, 3):
        assert output.reads.wait(60)
        forgetting = threading.Thread(target=lambda: found.append(forget(made.data, ANNA)))
        forgetting.start()
        wait_for(lambda: waits.is_set() or found, 60)
        assert not found, "it ended while the lake had read an event and not written it"
        output.may_go_on.set()
        forgetting.join()
        wait_for(lambda: made.at() == 3)
    assert (found[0].left, found[0].journal) == (0, 2)
    assert "anna" not in made.loggers()
    assert "anna" not in made.in_files()
    assert made.loggers().count("other") == 2


@pytest.mark.parametrize(
    ("where", "gone"),
    [
        ("received_at < '2020-01-01'", 0),
        ("timestamp < '2020-01-01'", 0),
        ("date < '2020-01-01'", 0),
        ("claimed_timestamp IS NOT NULL", 0),
        ("received_at > '2020-01-01' AND timestamp > '2020-01-01' AND logger = 'anna'", 1),
        ("source = 's' AND logger = 'anna'", 1),
        ("stream = '' AND type <> 'b'", 2),
    ],
)
def test_the_condition_sees_a_journaled_event_as_a_query_does(made: Lakes, where: str, gone: int) -> None:
    name = made.persons(1)
    path = made.journal.path / f"{name}{SEALED}"
    time = datetime.fromtimestamp(RECEIVED / 1e6, UTC).isoformat()
    lines = b'{"timestamp":"%s","type":"a","logger":"anna"}\n{"type":"a","logger":"other"}\n' % time.encode()
    path.write_bytes(header(Clock()) + encode_record(RECEIVED, 2, b"s", b"", lines))
    done = forget(made.data, where)
    assert (done.journal, done.left) == (gone, 0)
    assert [name for name in made.loggers() if name] == ["anna", "other"][gone:]
    assert forget(made.data, where).total == 0


@pytest.mark.parametrize(
    ("where", "files", "letters"),
    [
        ("timestamp < '2020-01-01'", ["anna", "shop", "is it"], ["anna", "shop", "is it"]),
        ("received_at < '2020-01-01'", ["anna", "shop", "is it"], ["anna", "shop", "is it"]),
        ("source = 'udp://a' AND logger = 'anna'", ["anna", "shop", "is it"], []),
        ("type = 'order' AND logger = 'anna'", ["shop", "is it"], ["is it"]),
        ("payload = 'is it'", ["anna", "shop"], ["anna", "shop"]),
    ],
)
def test_the_condition_sees_what_lines_say_and_no_more(
    made: Lakes, tmp_path: Path, where: str, files: list[str], letters: list[str]
) -> None:
    events = [
        '{"timestamp":"2026-01-01T00:00:00Z","type":"order","logger":"%s"}' % name  # noqa: UP031 - braces
        for name in ("anna", "shop")
    ]
    lines = [*events, "is it"]
    written = tmp_path / "out.ndjson"
    written.write_text("".join(f"{line}\n" for line in lines))
    dead = DeadLetters(made.root.sub("dead", create=True), "main.input", 1 << 20)
    dead.add([(line.encode(), "udp://a", "r") for line in lines])
    dead.close()
    forget(made.data, where, files=[written])
    for path, left in ((written, files), (made.data / "dead" / "main.input.ndjson", letters)):
        text = path.read_text()
        assert [word for word in ("anna", "shop", "is it") if word in text] == left


def test_a_lake_that_does_not_let_go_of_a_segment_is_told(made: Lakes) -> None:
    made.persons(1)
    output = Paused()
    with made.lake(output, 2):
        assert output.reads.wait(60)
        with pytest.raises(UpkeepError, match="the lake has been writing it for more than 0 s; see metlog status"):
            forget(made.data, ANNA, patience=0)
        output.may_go_on.set()
        wait_for(lambda: made.at() == 2)
    assert forget(made.data, ANNA).parquet == 1
    assert made.loggers() == made.in_files() == ["other"]


def test_a_lake_that_fails_is_not_waited_for(made: Lakes, monkeypatch: pytest.MonkeyPatch) -> None:
    made.persons(1)
    tries = list[str]()

    def fails(point: str) -> None:
        if point == "lake.sync":
            tries.append(point)
            raise OSError(5, "broken")

    with monkeypatch.context() as patched:
        patched.setattr(failpoints, "point", fails)
        with made.lake(LakeOutput(), 2):
            wait_for(lambda: len(tries) >= 2)
            assert made.in_files() == ["anna", "other"], "what it wrote has its name, and the cursor is before it"
            done = forget(made.data, ANNA)
            assert (done.journal, done.left) == (1, 0)
    with made.lake(LakeOutput(), 2):
        wait_for(lambda: made.at() == 2)
    assert "anna" not in made.in_files()
    assert "anna" not in made.loggers()


def test_what_an_interrupted_lake_left_on_a_day_that_has_no_event_any_more_goes_too(made: Lakes) -> None:
    """The route does not take what has the place of the person's events, so the lake writes no file for that day again."""
    name = made.persons(1, days=2)
    route = Route(loggers=("anna", "nobody"))
    writer_module.write_segment(made.journal, name, made.events, route)
    (made.events.path / "date=2026-09-04" / f".{name}.parquet.tmp").write_bytes(b"half of it")
    assert made.in_files() == ["anna", "anna"]
    assert forget(made.data, ANNA).left == 0
    assert made.in_files() == []
    assert made.files() == []
    with made.lake(LakeOutput(), 2, route):
        wait_for(lambda: made.at() == 2)
    assert made.in_files() == []


def test_a_segment_that_goes_while_the_lake_is_waited_for_does_not_come_back(
    made: Lakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = made.persons(1)
    real = module._without

    def retired(journal: Folder, *arguments: Any) -> Any:
        found = real(journal, *arguments)
        writer_module.write_segment(made.journal, name, made.events, Route())
        made.commit(2)
        journal.unlink(f"{name}{SEALED}")
        return found

    monkeypatch.setattr(module, "_without", retired)
    done = forget(made.data, ANNA)
    assert (done.journal, done.parquet, done.left) == (0, 1, 0)
    assert made.loggers() == ["other"]
    assert not made.journal.exists(f"{name}{SEALED}")


def test_what_a_query_engine_keeps_of_segments_goes_with_them(made: Lakes, tmp_path: Path) -> None:
    for number in range(1, 6):  # some of them as files of the engine's own, the newest decoded
        made.persons(number)
    kept = Memory(1 << 20, tmp_path / "engine")
    before = snapshot(made.data, memory=kept)
    assert before.backlog_files
    assert before.uncommitted.num_rows
    assert forget(made.data, ANNA).left == 0
    after = snapshot(made.data, memory=kept)
    texts = [
        text for _, path in after.backlog_files for text in pq.read_table(path, partitioning=None)["logger"].to_pylist()
    ]
    assert sorted(texts + after.uncommitted["logger"].to_pylist()) == [""] * 5 + ["other"] * 5


def test_a_file_of_a_query_engine_on_a_day_that_has_no_event_any_more_goes(made: Lakes, tmp_path: Path) -> None:
    name = made.persons(1, days=2)
    route = Route(loggers=("anna",))
    kept = backlog_module.Backlog(tmp_path / "engine")
    assert len(kept.files(made.journal, name, route, lambda: None) or ()) == 2
    forget(made.data, ANNA)
    assert kept.files(made.journal, name, route, lambda: None) == []


LINES = b'{"type":"a","logger":"gone"}\n{"type":"b","logger":"kept"}\n'


@pytest.mark.parametrize(
    ("last", "left"),
    [
        (b"", b""),
        (b'{"type":"c","logger":"also kept"}', b'{"type":"c","logger":"also kept"}'),
        (b'{"type":"c","logger":"gone"}', b""),
        (b'{"type":"c","logger":"g', b'{"type":"c","logger":"g'),
    ],
)
def test_a_last_line_without_a_line_feed_is_a_line(tmp_path: Path, last: bytes, left: bytes) -> None:
    (tmp_path / "data" / "events").mkdir(parents=True)
    path = tmp_path / "out.ndjson"
    path.write_bytes(LINES + last)
    path.chmod(0o604)
    done = forget(tmp_path / "data", "logger = 'gone'", files=[path])
    assert path.read_bytes() == LINES.splitlines(keepends=True)[1] + left
    assert done.files == 1 + (b"gone" in last)
    assert path.stat().st_mode & 0o777 == 0o604
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "events").mkdir()
    path = tmp_path / "out.ndjson"
    path.write_bytes(LINES)

    def dies(point: str) -> None:
        if point == "forget.lines":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(failpoints, "point", dies)
        with pytest.raises(KeyboardInterrupt):
            forget(tmp_path, "logger = 'gone'", files=[path])
    assert path.read_bytes() == LINES
    assert forget(tmp_path, "logger = 'gone'", files=[path]).files == 1


def test_a_file_that_an_output_writes_is_refused_before_anything_is_removed(made: Lakes, tmp_path: Path) -> None:
    name = made.persons(1)
    path = tmp_path / "out.ndjson"
    path.write_bytes(LINES)
    output = FileOutput(path=str(path))
    output.start()
    try:
        with pytest.raises(UpkeepError, match="an output writes it now; stop its listener"):
            forget(made.data, ANNA, files=[path])
        assert forget(made.data, ANNA, files=[path], dry_run=True).journal == 1
    finally:
        output.close()
    assert b"anna" in made.journal.read(f"{name}{SEALED}")
    assert forget(made.data, ANNA, files=[path]).journal == 1


@pytest.mark.parametrize("rotates", [False, True])
def test_dead_letters_that_come_meanwhile_are_kept(
    tmp_path: Path, rotates: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time that a line has been looked at, a letter comes; with small files they also move to the file behind the first."""
    (tmp_path / "events").mkdir()
    dead = Folder.root(tmp_path / "dead", create=True)
    letters = DeadLetters(dead, "main.input", 2 * 4000 if rotates else 1 << 20)
    real, number = module.letter_meets, [0]

    def add(text: str) -> None:
        number[0] += 1
        letters.add([(f"{text} {number[0]}".encode(), "s", "r")])

    def looked(*arguments: Any, **more: Any) -> bool:
        if number[0] < 60:
            add("a letter")
        return real(*arguments, **more)

    for text in ("secret", "a letter", "secret"):
        add(text)
    monkeypatch.setattr(module, "letter_meets", looked)
    done = forget(tmp_path, "payload = 'secret'")
    assert done.dead_letters == 2
    add("the last")
    letters.close()
    left = b"".join(dead.read(name) for name in dead.names())
    assert b"secret" not in left
    for kept in [2, *range(4, number[0])]:
        assert b'letter %d"' % kept in left
    assert b"the last" in left
    assert [name for name in dead.names() if name.startswith(".")] == []


def test_letters_go_on_in_the_file_that_has_the_name(tmp_path: Path) -> None:
    dead = Folder.root(tmp_path, create=True)
    letters = DeadLetters(dead, "x")
    letters.add([(b"first", "s", "r")])
    os.replace(tmp_path / "x.ndjson", tmp_path / "elsewhere")
    letters.add([(b"second", "s", "r")], durable=True)
    assert b"second" in dead.read("x.ndjson")
    assert b"second" not in (tmp_path / "elsewhere").read_bytes()
    letters.close()
