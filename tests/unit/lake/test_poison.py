"""Events that take more memory than there is: they are found one by one, and a segment's memory is bounded whatever its events are."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metlog.journal.folder import Folder
from metlog.journal.routing import Route
from metlog.journal.rows import decode, pieces_of
from metlog.journal.segment import Clock, Record, SegmentName, encode_record, header
from metlog.lake.schema import tables
from metlog.lake.writer import write_segment
from metlog.listener.delivery.process import _ALLOCATOR
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.process

MOMENT = 1_790_000_000_000_000
NAME = SegmentName.parse("000000000001-0123456789abcdef")
assert NAME is not None


def record(*lines: bytes) -> Record:
    return Record(0, 0, MOMENT, len(lines), "udp://10.0.0.1", "", b"".join(line + b"\n" for line in lines))


def line(number: int, size: int) -> bytes:
    return b'{"type":"t%d","payload":"%s"}' % (number, b"x" * size)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60), st.integers(1, 2000))
def test_a_record_in_pieces_is_the_record(sizes: list[int], size: int) -> None:
    whole = record(*(line(number, length) for number, length in enumerate(sizes)))
    parts = list(pieces_of(whole, size))
    assert b"".join(part.events for part in parts) == whole.events
    assert sum(part.count for part in parts) == whole.count
    assert all(part.count == len(decode(part.events)) for part in parts)
    assert all(len(part.events) <= size or part.count == 1 for part in parts)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.lists(st.integers(0, 400), min_size=1, max_size=20), min_size=1, max_size=8),
    st.integers(50, 2000),
    st.integers(1, 30),
)
def test_tables_of_any_size_hold_every_event_in_order(records: list[list[int]], size: int, rows: int) -> None:
    numbers = iter(range(10_000))
    made = [record(*(line(next(numbers), length) for length in lengths)) for lengths in records]
    found = [row for table in tables(made, Clock(), Route(), rows=rows, size=size) for row in table["type"].to_pylist()]
    assert found == [f"t{number}" for number in range(sum(map(len, records)))]


def test_what_is_no_event_is_told_with_the_source_that_the_column_has() -> None:
    bad: list[tuple[bytes, str, str]] = []
    made = record(b'{"type":"a"}', b'{"type":7}')._replace(source="kafka://t/0#ab12.0.5.1")
    (table,) = tables([made], Clock(), Route(), bad=bad)
    assert table["source"].to_pylist() == [source for _, source, _ in bad] == ["kafka://t/0"]


def test_a_segment_of_many_days_and_row_groups_has_every_event_once(tmp_path: Path, monkeypatch: object) -> None:
    import duckdb

    from metlog.lake import writer

    monkeypatch.setattr(writer, "_GROUP", 20_000)  # type: ignore[attr-defined]
    with (
        Folder.root(tmp_path / "journal", create=True) as journal,
        Folder.root(tmp_path / "events", create=True) as events,
    ):
        lines = [
            b'{"type":"a","timestamp":"2026-09-%02dT01:02:03Z","fields":{"n":%d},"payload":"%s"}\n'
            % (18 + n % 4, n, b"y" * 200)
            for n in range(2000)
        ]
        body = b"".join(
            encode_record(MOMENT, 10, b"s", b"", b"".join(lines[at : at + 10])) for at in range(0, 2000, 10)
        )
        (tmp_path / "journal" / f"{NAME}.seg").write_bytes(header(Clock()) + body)
        for _ in range(2):  # once more onto itself
            assert write_segment(journal, NAME, events, Route()) == 2000
    sql = "SELECT count(*), count(DISTINCT fields->>'n'), count(DISTINCT date) FROM read_parquet(?, hive_partitioning = true)"
    assert duckdb.connect().execute(sql, [f"{tmp_path}/events/*/*.parquet"]).fetchone() == (2000, 2000, 4)
    assert not list((tmp_path / "events").rglob("*.tmp"))


def limited(code: str, limit: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True, timeout=120, cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )  # fmt: skip


def test_the_event_that_ends_its_process_is_found_and_the_others_stay() -> None:
    found = limited(
        """
        from metlog.journal.segment import Record
        from metlog.lake.careful import survivors
        deadly = b'{"type":"deadly","fields":{"a":[' + b"[]," * 3_000_000 + b"[]]}}\\n"
        good = [b'{"type":"good%d","payload":"%s"}\\n' % (n, b"x" * (10 if n % 2 else 9000)) for n in range(6)]
        lines = [*good[:3], deadly, *good[3:]]
        bad = []
        record = Record(0, 0, 1790000000000000, len(lines), "kafka://t/0#ab12.0.5.1", "", b"".join(lines))
        kept = b"".join(part.events for part in survivors([record], bad, 1 << 20))
        assert kept == b"".join(good), len(kept)
        assert [(len(data), source, reason) for data, source, reason in bad] == [
            (len(deadly) - 1, "kafka://t/0", "ended the process that read it")
        ]
        """,
        420 << 20,
    )
    assert found.returncode == 0, found.stderr


INNOCENT = r"""
        from metlog.journal.segment import Record
        from metlog.lake.careful import TrialError, survivors
        bad = []
        records = [Record(0, 0, 1, 1, "s", "", b'{"type":"a","payload":"%s"}\n' % (b"x" * 9000))]
"""


def test_more_ballast_than_there_is_memory_blames_no_event_and_hinders_none() -> None:
    found = limited(
        f"""{INNOCENT}
        assert list(survivors(records, bad, 4 << 30)) == records
        assert bad == []
        """,
        420 << 20,
    )
    assert found.returncode == 0, found.stderr


def test_ballast_is_halved_where_the_process_does_not_start() -> None:
    """The limit here is one that nobody told."""
    found = limited(
        f"""{INNOCENT}
        from metlog.lake import careful
        careful.available = lambda: 1 << 40
        assert list(survivors(records, bad, 4 << 30)) == records
        assert bad == []
        """,
        420 << 20,
    )
    assert found.returncode == 0, found.stderr


def test_with_too_little_memory_for_any_event_none_is_blamed() -> None:
    found = limited(
        f"""{INNOCENT}
        import resource
        resource.setrlimit(resource.RLIMIT_DATA, (16 << 20, 420 << 20))  # of the process that tries
        try:
            list(survivors(records, bad, 1 << 30))
        except TrialError as error:
            assert "too little memory" in str(error)
            assert bad == []
        else:
            raise SystemExit("not told")
        """,
        420 << 20,
    )
    assert found.returncode == 0, found.stderr


def test_a_segment_of_small_pieces_is_written_in_little_memory(tmp_path: Path) -> None:
    """23 MB of empty arrays: decoded at once they are half a gigabyte."""
    event = b'{"type":"a","fields":{"a":[' + b"[]," * 60_000 + b"[]]}}\n"
    folder = tmp_path / "journal"
    folder.mkdir()
    with (folder / f"{NAME}.seg").open("wb") as file:
        file.write(header(Clock()))
        for _ in range(8):
            file.write(encode_record(MOMENT, 16, b"udp://10.0.0.1", b"", event * 16))
    found = limited(
        """
        import sys
        from pathlib import Path
        from metlog.journal.folder import Folder
        from metlog.journal.routing import Route
        from metlog.journal.segment import SegmentName
        from metlog.lake.writer import write_segment
        journal, events = Folder.root(Path(sys.argv[1])), Folder.root(Path(sys.argv[2]), create=True)
        count = write_segment(journal, SegmentName.parse(sys.argv[3]), events, Route())
        assert count == 128, count
        print(int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) // 1024)
        """,
        700 << 20, str(folder), str(tmp_path / "events"), str(NAME),
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) < 400, "MB"


def test_memory_goes_back_after_a_burst(tmp_path: Path) -> None:
    """As the lake's process is started and works: after a large segment it holds at most 1.3 times what it held after a small one."""
    folder = tmp_path / "journal"
    folder.mkdir()
    small = encode_record(MOMENT, 100, b"udp://10.0.0.1", b"", b'{"type":"a","payload":"x"}\n' * 100)
    large = encode_record(MOMENT, 100, b"udp://10.0.0.1", b"", line(1, 5000) * 1 + b"\n" + (line(2, 5000) + b"\n") * 99)
    (folder / f"{NAME}.seg").write_bytes(header(Clock()) + small)
    (folder / "000000000002-0123456789abcdef.seg").write_bytes(header(Clock()) + large * 100)
    code = """
        import os, sys
        from pathlib import Path
        from metlog.journal.folder import Folder
        from metlog.journal.routing import Route
        from metlog.journal.segment import SegmentName
        from metlog.lake.writer import release_memory, write_segment
        def held():
            return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        journal, events = Folder.root(Path(sys.argv[1])), Folder.root(Path(sys.argv[2]), create=True)
        write_segment(journal, SegmentName.parse("000000000001-0123456789abcdef"), events, Route())
        before = held()
        write_segment(journal, SegmentName.parse("000000000002-0123456789abcdef"), events, Route())
        release_memory()
        print(held() / before)
        """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(folder), str(tmp_path / "events")],
        capture_output=True, text=True, timeout=120, cwd=ROOT, env={**os.environ, **_ALLOCATOR},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) < 1.3
