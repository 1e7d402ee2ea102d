"""Chains: events of a partitioned log, each once in the data set, whoever writes them."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metlog.journal.folder import Folder
from metlog.journal.offsets import Spans
from metlog.lake.chains import Chains, chain_file, last_files, parse_chain
from metlog.lake.parquet import Parquet
from metlog.lake.schema import SCHEMA, UNCOMMITTED_SCHEMA
from metlog.lake.storage import FolderStorage

DAY = date(2026, 11, 28)
CHAIN = "events-0123abcdef45-3"
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[FolderStorage]:
    with Folder.root(tmp_path) as root:
        yield FolderStorage(root)


def rows(offsets: list[int]) -> pa.Table:
    values = {
        "timestamp": NOON, "type": "t", "tokens": [], "logger": "", "severity": 6, "payload": "", "fields": "{}", "weight": 1.0,
        "env_version": "1", "pid": 0, "hostname": "", "stream": "s", "received_at": NOON, "source": "kafka://events/3",
        "claimed_timestamp": None, "date": DAY, "log": CHAIN,
    }  # fmt: skip
    return pa.Table.from_pylist([{**values, "seq": n, "log_offset": n} for n in offsets], schema=UNCOMMITTED_SCHEMA)


def writer(storage: FolderStorage) -> Chains:
    return Chains(storage)


def write(chains: Chains, begin: int, end: int) -> int:
    table = rows([*range(begin, end)])
    return chains.write(CHAIN, DAY, table, Spans([(begin, end)]))


def held(storage: FolderStorage) -> list[int]:
    names = storage.names(f"events/date={DAY}")
    found: list[int] = []
    for name in names:
        table = pq.read_table(io.BytesIO(storage.read(f"events/date={DAY}/{name}")))
        assert table.schema.equals(SCHEMA)
        found += table["seq"].to_pylist()
    return found


def test_names_are_told_from_others() -> None:
    assert parse_chain(chain_file("a-b.c-0f-12", 7)) == ("a-b.c-0f-12", 7)
    assert parse_chain("000000000012-9f3c.parquet") is None
    assert last_files(["x.parquet", chain_file("a-0f-1", 0), chain_file("a-0f-1", 10), chain_file("a-0f-1", 9)]) == {
        "a-0f-1": chain_file("a-0f-1", 10)
    }


def test_what_is_written_again_is_left_out(storage: FolderStorage) -> None:
    chains = writer(storage)
    assert write(chains, 0, 10) == 10
    assert write(chains, 0, 10) == 0
    assert write(chains, 5, 15) == 5
    assert chains.repeated == 15
    assert sorted(held(storage)) == list(range(15))


def test_another_writer_reads_what_the_first_has_written(storage: FolderStorage) -> None:
    assert write(writer(storage), 100, 200) == 100
    assert write(writer(storage), 0, 150) == 100
    assert write(writer(storage), 0, 250) == 50
    assert sorted(held(storage)) == list(range(250))


def test_two_writers_that_found_the_same_chain_do_not_both_write(storage: FolderStorage) -> None:
    one, other = writer(storage), writer(storage)
    write(one, 0, 1)
    write(other, 1, 2)
    # Now each believes to know the end of the chain, and `one` is wrong.
    assert write(one, 1, 5) == 3
    assert write(other, 0, 9) == 4
    assert sorted(held(storage)) == list(range(9))


def test_offsets_between_events_are_not_forgotten(storage: FolderStorage) -> None:
    chains = writer(storage)
    table = rows([3, 9])  # of another day are 4 to 8
    chains.write(CHAIN, DAY, table, Spans([(0, 12)]))
    assert write(writer(storage), 12, 13) == 1
    assert write(writer(storage), 0, 12) == 0


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(1, 15)), min_size=1, max_size=12))
def test_any_cuts_by_any_writers_give_each_event_once(cuts: list[tuple[int, int, int]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, Folder.root(Path(folder)) as root:
        storage = FolderStorage(root)
        writers = [writer(storage) for _ in range(3)]
        for number, begin, size in cuts:
            write(writers[number], begin, begin + size)
        assert sorted(held(storage)) == sorted({n for _, begin, size in cuts for n in range(begin, begin + size)})


@pytest.mark.slow
def test_writers_at_the_same_time_give_each_event_once(storage: FolderStorage) -> None:
    def work(start: int) -> None:
        chains = writer(storage)
        for begin in range(start, 400, 7):
            write(chains, max(0, begin - 5), begin + 10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = held(storage)
    assert len(found) == len(set(found))
    assert set(range(400)) <= set(found)


def test_a_footer_that_was_lost_is_an_error_and_no_reason_to_write_twice(
    storage: FolderStorage, tmp_path: Path
) -> None:
    write(writer(storage), 0, 10)
    path = tmp_path / f"events/date={DAY}" / chain_file(CHAIN, 0)
    table = pq.read_table(path, partitioning=None)
    path.unlink()
    pq.write_table(table.replace_schema_metadata(None), path)
    with pytest.raises(OSError, match="footer does not say which offsets"):
        write(writer(storage), 0, 10)


def test_upkeep_leaves_what_the_last_file_of_a_chain_says(storage: FolderStorage, tmp_path: Path) -> None:
    from metlog.lake.upkeep.compact import compact
    from metlog.lake.upkeep.forget import forget

    for begin in range(0, 100, 10):
        write(writer(storage), begin, begin + 10)
    assert compact(tmp_path, fewest=2).files_after == 1
    assert storage.names(f"events/date={DAY}") == [chain_file(CHAIN, 9)]
    assert write(writer(storage), 0, 105) == 5
    assert sorted(held(storage)) == list(range(105))
    forget(tmp_path, "seq >= 0")
    assert held(storage) == []
    assert write(writer(storage), 0, 110) == 5  # what was forgotten does not come back
    assert compact(tmp_path, fewest=2).files_after >= 1
    assert write(writer(storage), 0, 110) == 0


def test_files_of_a_day_go_before_what_the_chain_says(storage: FolderStorage, tmp_path: Path) -> None:
    from datetime import timedelta

    from metlog.lake.upkeep.expire import expire

    write(writer(storage), 0, 10)
    write(writer(storage), 10, 20)
    fresh = tmp_path / f"events/date={DAY}/other.parquet"
    late = rows([1]).set_column(
        0, UNCOMMITTED_SCHEMA.field(0), pa.array([NOON + timedelta(hours=6)], SCHEMA.field(0).type)
    )
    other = Parquet().grow()
    other.write(late)
    fresh.write_bytes(other.close())
    expire(tmp_path, timedelta(hours=1), now=NOON + timedelta(hours=3))
    assert storage.names(f"events/date={DAY}") == [chain_file(CHAIN, 1), "other.parquet"]
    assert write(writer(storage), 0, 20) == 0
    expire(tmp_path, timedelta(hours=1), now=NOON + timedelta(hours=9))
    assert storage.names(f"events/date={DAY}") == []
