"""The loop of outputs that take batches, over a real journal folder: what is formed after a crash is what was formed before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metlog.journal.cursor import Cursor, Position
from metlog.journal.folder import Folder
from metlog.journal.reader import Entry
from metlog.journal.routing import Route
from metlog.journal.segment import HEADER_SIZE, Clock, SegmentName, encode_record, header
from metlog.lake.careful import TrialError
from metlog.listener.deadletters import DeadLetters
from metlog.listener.delivery.batches import Limits, run_batches
from metlog.listener.outputs import BaseOutput, Batch
from metlog.listener.outputs.context import Context, Stopped

NOW = 1_700_000_000_000_000


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class Collector(BaseOutput):
    """An output that remembers its batches, and may be killed when it has taken one."""

    def __init__(self, die_after: int = -1) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self._left = die_after

    def start(self) -> None:
        pass

    def write(self, batch: Batch) -> None:
        self.batches.append((batch.id, [delivery.event.fields["n"] for delivery in batch.deliveries]))
        self._left -= 1
        if self._left == 0:
            raise Killed

    def close(self) -> None:
        pass


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Folder]:
    with Folder.root(tmp_path) as folder:
        yield folder


def fill(data: Folder, sizes: list[int], number: int = 1) -> Position:
    """One sealed segment with records of so many numbered events each; gives the position behind it."""
    name = SegmentName(number, "test")
    first = 0
    content = header(Clock())
    for size in sizes:
        lines = b"".join(
            msgspec.json.encode({"type": ("even", "odd")[n % 2], "fields": {"n": n}}) + b"\n"
            for n in range(first, first + size)
        )
        content += encode_record(NOW, size, b"test://", b"", lines)
        first += size
    with data.sub("journal", create=True) as journal:
        journal.replace(f"{name}.seg", content)
    return Position(number + 1)


def run(
    data: Folder,
    output: Any,
    end: Position,
    limits: Limits,
    route: Route | None = None,
    *,
    deaths: int = 0,
    told: dict[str, Any] | None = None,
) -> None:
    with (
        data.sub("journal") as journal,
        data.sub("cursors", create=True) as cursors,
        data.sub("dead", create=True) as dead,
    ):
        letters = DeadLetters(dead, "test")
        context = Context(
            "out", route or Route(), data, journal, cursors, letters, (told if told is not None else {}).update
        )
        context.deaths = deaths
        context.advance(end)
        context.drain()
        if hasattr(output, "context"):
            output.context = context
        run_batches(output, context, limits)


@pytest.mark.parametrize(
    "sizes", [[20] * 30, [7] * 30, [1] * 40, [500], [3, 450, 3, 90]], ids=["20s", "7s", "1s", "500", "mixed"]
)
@pytest.mark.parametrize("die_after", [1, 2, 3])
def test_a_batch_that_ends_within_a_record_is_the_same_one_after_a_crash(
    data: Folder, sizes: list[int], die_after: int
) -> None:
    end = fill(data, sizes)
    limits = Limits(batch_events=10)
    whole = Collector()
    run(data, whole, end, limits)
    with data.sub("cursors") as cursors:
        cursors.unlink("out.cursor")
    first, second = Collector(die_after), Collector()
    with pytest.raises(Killed):
        run(data, first, end, limits)
    run(data, second, end, limits)
    assert second.batches[0] == first.batches[-1]  # the same id, the same events
    assert [*first.batches[:-1], *second.batches] == whole.batches
    assert [n for _, numbers in whole.batches for n in numbers] == list(range(sum(sizes)))


def test_events_of_other_outputs_are_passed_over_and_the_cursor_moves(data: Folder) -> None:
    end = fill(data, [5] * 20)
    output = Collector()
    run(data, output, end, Limits(batch_events=7), Route(types=("odd",)))
    assert [n for _, numbers in output.batches for n in numbers] == list(range(1, 100, 2))
    with data.sub("cursors") as cursors:
        cursor = Cursor.load(cursors, "out")
    assert cursor is not None
    assert cursor.at == end
    assert cursor.pending is None


def test_a_changed_route_does_not_change_the_batch_that_was_under_way(data: Folder) -> None:
    end = fill(data, [20] * 5)
    first, second = Collector(1), Collector()
    with pytest.raises(Killed):
        run(data, first, end, Limits(batch_events=10), Route(types=("odd",)))
    run(data, second, end, Limits(batch_events=10), Route(types=("even",)))
    assert second.batches[0] == first.batches[0]
    # From there on the new route holds; where the old one stopped in the middle of a record stands in the cursor.
    assert [n for _, numbers in second.batches[1:] for n in numbers] == list(range(20, 100, 2))


class Stopping(Collector):
    """Its listener goes while the second batch is written."""

    context: Context | None = None

    def write(self, batch: Batch) -> None:
        super().write(batch)
        if len(self.batches) == 2:
            assert self.context is not None
            self.context.stop()


def test_an_output_in_the_middle_of_a_backlog_ends_with_its_listener(data: Folder) -> None:
    end = fill(data, [10] * 30)
    first, second = Stopping(), Collector()
    with pytest.raises(Stopped):
        run(data, first, end, Limits(batch_events=10))
    run(data, second, end, Limits(batch_events=10))
    assert len(first.batches) == 2
    delivered = dict([*first.batches, *second.batches])  # of one id, one batch: what came twice was the same
    assert [n for numbers in delivered.values() for n in numbers] == list(range(300))


def test_what_is_journaled_last_is_delivered_though_the_end_comes_while_an_output_looks_whether_it_is_idle(
    data: Folder,
) -> None:
    first, output = fill(data, [10]), Collector()
    with (
        data.sub("journal") as journal,
        data.sub("cursors", create=True) as cursors,
        data.sub("dead", create=True) as dead,
    ):

        def report(told: dict[str, Any]) -> None:
            if told.get("at", Position()) >= first and not context.draining:
                context.advance(fill(data, [3], 2))
                context.drain()

        context = Context("out", Route(), data, journal, cursors, DeadLetters(dead, "test"), report)
        context.advance(first)
        run_batches(output, context, Limits(batch_events=10))
        cursor = Cursor.load(cursors, "out")
    assert [numbers for _, numbers in output.batches] == [list(range(10)), list(range(3))]
    assert cursor is not None
    assert cursor.at == Position(3)


def test_a_position_in_a_segment_begins_with_its_first_record(data: Folder) -> None:
    assert Position(3) < Position(3, HEADER_SIZE) < Position(3, HEADER_SIZE, 1) < Position(4)


@pytest.mark.slow
def test_a_long_record_is_decoded_in_pieces_and_its_lines_are_counted(data: Folder) -> None:
    """Blank lines count for nothing, what is no event has a number like all others."""
    lines = [msgspec.json.encode({"type": "even", "fields": {"n": n, "text": "x" * 900}}) for n in range(1000)]
    lines[500] = b'{"type": 7}'
    body = b"\n\n".join(lines) + b"\n"
    with data.sub("journal", create=True) as journal:
        content = header(Clock()) + encode_record(NOW, 1000, b"test://", b"", body)
        journal.replace(f"{SegmentName(1, 'test')}.seg", content)
    for limits in (Limits(batch_events=7), Limits(batch_events=100_000, batch_bytes=40_000)):
        whole, first, second = Collector(), Collector(3), Collector()
        run(data, whole, Position(2), limits)
        with data.sub("cursors") as cursors:
            cursors.unlink("out.cursor")
        with pytest.raises(Killed):
            run(data, first, Position(2), limits)
        run(data, second, Position(2), limits)
        assert [*first.batches[:-1], *second.batches] == whole.batches
        assert [n for _, numbers in whole.batches for n in numbers] == [n for n in range(1000) if n != 500]
        assert max(len(numbers) for _, numbers in whole.batches) <= max(
            limits.batch_events if limits.batch_events < 1000 else 0, 50
        )
        with data.sub("cursors") as cursors:
            cursors.unlink("out.cursor")
    with data.sub("dead") as dead:
        letters = [
            msgspec.json.decode(line) for entry in dead.regular("") for line in dead.read(entry.name).splitlines()
        ]
    assert {letter["text"] for letter in letters} == {'{"type": 7}'}


class Deadly(Collector):
    """A process that ends when it is to deliver one of these."""

    def __init__(self, *deadly: int) -> None:
        super().__init__()
        self._deadly = set(deadly)

    def write(self, batch: Batch) -> None:
        if any(delivery.event.fields["n"] in self._deadly for delivery in batch.deliveries):
            raise Killed
        super().write(batch)


@pytest.mark.slow
@pytest.mark.parametrize("deadly", [(0,), (137,), (199,), (5, 6), (3, 150)])
def test_batches_are_halved_down_to_the_event_that_ends_the_process(data: Folder, deadly: tuple[int, ...]) -> None:
    end = fill(data, [30, 100, 70])
    output = Deadly(*deadly)
    deaths, at, lives = 0, None, 0
    while True:  # as the listener does
        lives += 1
        assert lives < 120
        told: dict[str, Any] = {}
        try:
            run(data, output, end, Limits(batch_events=64), deaths=deaths, told=told)
        except Killed:
            deaths, at = (deaths + 1, at) if told["at"] == at else (1, told["at"])
        else:
            break
    found = [n for _, numbers in output.batches for n in numbers]
    assert sorted(set(found)) == [n for n in range(200) if n not in deadly]
    assert len(found) == len(set(found))
    with data.sub("dead") as dead:
        letters = [
            msgspec.json.decode(line) for entry in dead.regular("") for line in dead.read(entry.name).splitlines()
        ]
    assert sorted(msgspec.json.decode(letter["text"])["fields"]["n"] for letter in letters) == list(deadly)
    assert {letter["reason"] for letter in letters} == {"ended the process that was to deliver it"}


def test_the_source_of_what_was_read_from_a_log_is_told_without_the_journal_s_offsets(data: Folder) -> None:
    lines = b'{"type":"a"}\n{"type":7}\n{"type":"b"}\n'
    content = header(Clock()) + encode_record(NOW, 3, b"kafka://t/0#ab12.0.5.1", b"", lines)
    with data.sub("journal", create=True) as journal:
        journal.replace(f"{SegmentName(1, 'test')}.seg", content)

    sources: list[str] = []

    class Sources(Collector):
        def write(self, batch: Batch) -> None:
            sources.extend(delivery.source for delivery in batch.deliveries)

    run(data, Sources(), Position(2), Limits(batch_age=0.01))
    assert sources == ["kafka://t/0"] * 2
    with data.sub("dead") as dead:
        (letter,) = dead.read("test.ndjson").splitlines()
    assert msgspec.json.decode(letter)["source"] == "kafka://t/0"


def test_the_place_is_told_as_one_that_is_read_from_only_when_the_output_has_started(data: Folder) -> None:
    told: dict[str, Any] = {}
    seen: list[tuple[str, Any, Any]] = []

    class Starting(Collector):
        def start(self) -> None:
            seen.append(("start", told["at"], told["starting"]))

        def write(self, batch: Batch) -> None:
            seen.append(("write", told["at"], told["starting"]))

    run(data, Starting(), fill(data, [5]), Limits(), told=told)
    assert seen == [("start", Position(), True), ("write", Position(), False)]


def test_a_journal_that_cannot_be_read_now_is_read_later(data: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends there would be started again, and the third time the events would be suspected."""
    from metlog.listener.delivery import batches

    told: dict[str, Any] = {}
    output, failures = Collector(), iter([OSError(5, "Input/output error"), TrialError("events cannot be tried")])
    errors: list[str] = []

    def read(*arguments: Any) -> Iterator[Entry]:
        for failure in failures:
            raise failure
        errors.append(told["error"])
        return real(*arguments)

    real = batches.read
    monkeypatch.setattr(batches, "read", read)
    run(data, output, fill(data, [5]), Limits(batch_events=10), told=told)
    assert [numbers for _, numbers in output.batches] == [[0, 1, 2, 3, 4]]
    assert errors[0] == "events cannot be tried"
    assert told["error"] == ""


@pytest.mark.parametrize(
    ("figures", "wrong"),
    [
        ({"sent": object()}, True),
        (None, True),
        (KeyError("broken"), True),
        ({f"partition_{number}": number for number in range(200)}, True),
        ({"error": "mine", "at": 7, "events": "many"}, False),
        ({1: 2}, False),
    ],
    ids=["no number", "none", "raises", "more than a report holds", "names of ours", "no text"],
)
def test_figures_of_an_output_that_cannot_be_told_keep_no_batch(data: Folder, figures: Any, wrong: bool) -> None:
    class Telling(Collector):
        def stats(self) -> dict[str, int]:
            if isinstance(figures, Exception):
                raise figures
            return figures  # type: ignore[no-any-return]

    told: dict[str, Any] = {}
    output, end = Telling(), fill(data, [10])
    run(data, output, end, Limits(batch_events=5), told=told)
    assert [len(numbers) for _, numbers in output.batches] == [5, 5]
    assert (told["at"], told["events"]) == (end, 10)
    assert told["error"].startswith("its figures cannot be had") if wrong else told["error"] == ""
