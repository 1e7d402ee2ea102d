"""Compact, expire, forget and import over real files: what a query finds before, meanwhile and afterwards."""

from __future__ import annotations

import gzip
import json
import os
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metlog.journal.routing import Route
from metlog.journal.segment import Clock, Scan, header
from metlog.lake.leases import reading
from metlog.lake.query import Lake
from metlog.lake.replacing import ReadersHold, Replacement, replace
from metlog.lake.schema import tables
from metlog.lake.sql.guard import QueryError
from metlog.lake.upkeep.compact import compact
from metlog.lake.upkeep.expire import expire
from metlog.lake.upkeep.folders import UpkeepError, opened
from metlog.lake.upkeep.forget import forget
from metlog.lake.upkeep.importing import ImportFault, Names, import_file
from metlog.listener.validate import validate
from tests.helpers.lakes import FIRST_DAY, make_lake, table

NUMBERS = (
    "SELECT count(*) AS n, count(DISTINCT fields->>'n') AS d, sum((fields->>'n')::BIGINT)::BIGINT AS s FROM events"
)

ARRIVALS = "SELECT arrival_file, (fields->>'n')::INT AS n FROM arrivals ORDER BY arrival_file, arrival_row"


def numbers(lake: Lake) -> tuple[int, int, int]:
    return lake.query(NUMBERS).rows[0]


def whole(count: int) -> tuple[int, int, int]:
    return count, count, count * (count - 1) // 2


def names(data: Path) -> list[str]:
    return sorted(str(path.relative_to(data / "events")) for path in (data / "events").rglob("*") if path.is_file())


def test_small_files_become_one_a_day_and_every_event_stays(tmp_path: Path) -> None:
    count = make_lake(tmp_path)
    with Lake(tmp_path) as lake:
        assert numbers(lake) == whole(count)
        before = lake.query(ARRIVALS)
        done = compact(tmp_path)
        assert (done.days, done.files_before, done.files_after, done.events) == (3, 18, 3, count)
        assert numbers(lake) == whole(count)
        after = lake.query(ARRIVALS)
        assert [row[1] for row in after.rows] == [row[1] for row in before.rows], "the order of arrival"
    assert names(tmp_path) == [
        ".lease", *(f"date={FIRST_DAY + timedelta(days=n)}/{(n + 1) * 6:012d}-abc123.parquet" for n in range(3))
    ]  # fmt: skip
    assert compact(tmp_path).days == 0


@pytest.mark.parametrize("codec", ["SNAPPY", "GZIP", "UNCOMPRESSED", "ZSTD"])
def test_what_takes_the_place_of_files_is_compressed_as_they_were(tmp_path: Path, codec: str) -> None:
    make_lake(tmp_path, days=1)
    for path in (tmp_path / "events").rglob("*.parquet"):
        pq.write_table(
            pq.read_table(path, partitioning=None), path, compression="none" if codec == "UNCOMPRESSED" else codec
        )
    assert compact(tmp_path).files_after == 1
    (merged,) = (tmp_path / "events").rglob("*.parquet")
    assert pq.read_metadata(merged).row_group(0).column(0).compression == codec


def test_large_files_and_a_few_small_ones_are_left_alone(tmp_path: Path) -> None:
    make_lake(tmp_path, days=1, files=3)
    before = names(tmp_path)
    assert compact(tmp_path, fewest=4).days == 0
    assert compact(tmp_path, fewest=2, dry_run=True).files_before == 3
    assert compact(tmp_path, fewest=2, target=100).days == 0, "each is larger than half of the target"
    assert [name for name in names(tmp_path) if name != ".lease"] == before


def test_files_that_a_listener_may_write_again_are_not_touched(tmp_path: Path) -> None:
    make_lake(tmp_path, days=1)
    journal = tmp_path / "journal" / "main"
    journal.mkdir(parents=True)
    (journal / "000000000003-abc123.seg").write_bytes(b"")
    done = compact(tmp_path)
    assert done.files_before == 5
    assert any("000000000003-abc123" in name for name in names(tmp_path))


def test_files_with_different_columns_are_merged_by_name(tmp_path: Path) -> None:
    count = make_lake(tmp_path, days=1)
    path = next((tmp_path / "events").rglob("000000000002-*"))
    wider = pq.read_table(path, partitioning=None).append_column("user", pa.array(["x"] * 50))
    pq.write_table(wider, path)
    older = next((tmp_path / "events").rglob("000000000003-*"))
    pq.write_table(pq.read_table(older, partitioning=None).drop_columns(["weight"]), older)
    compact(tmp_path)
    with Lake(tmp_path) as lake:
        assert numbers(lake) == whole(count)
        assert lake.query("SELECT sum(weight) FROM events").rows == [(count,)]
    (merged,) = (tmp_path / "events").rglob("*.parquet")
    assert pq.read_table(merged, partitioning=None)["user"].null_count == count - 50


def test_a_query_that_runs_holds_the_old_files_until_it_ends(tmp_path: Path) -> None:
    count = make_lake(tmp_path, days=1, files=6, events=3000)
    with Lake(tmp_path) as lake, lake.stream("SELECT fields->>'n' AS n FROM events") as stream:
        batches = iter(stream.batches)
        seen = next(batches).num_rows
        with pytest.raises(ReadersHold):
            compact(tmp_path, patience=0.1)
        with Lake(tmp_path) as other:
            assert numbers(other) == whole(count), "a query that begins now sees the merged file"
        seen += sum(batch.num_rows for batch in batches)
    assert seen == count
    compact(tmp_path)  # finishes what was begun
    with Lake(tmp_path) as lake:
        assert numbers(lake) == whole(count)
    assert len(list((tmp_path / "events").rglob("*.parquet"))) == 1


def test_one_upkeep_at_a_time(tmp_path: Path) -> None:
    make_lake(tmp_path)
    with opened(tmp_path), pytest.raises(UpkeepError, match="another upkeep"):
        compact(tmp_path)


@pytest.mark.slow
def test_queries_beside_a_loop_of_upkeep_see_each_event_once(tmp_path: Path) -> None:
    count = make_lake(tmp_path, days=2, files=8, events=40)
    stop, wrong = threading.Event(), list[Any]()

    def ask() -> None:
        with Lake(tmp_path) as lake:
            while not stop.is_set():
                if (found := numbers(lake)) != whole(count):
                    wrong.append(found)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        for _ in range(6):
            compact(tmp_path, fewest=2)
            for day in sorted((tmp_path / "events").glob("date=*")):  # and apart again, by the same protocol
                _split(tmp_path, day)
    finally:
        stop.set()
        for thread in asking:
            thread.join()
    assert not wrong


def _split(data: Path, day: Path) -> None:
    """Puts one file of half the events, and the other half as a file of another name, in the place of a merged file."""
    from metlog.journal.folder import Folder

    (name,) = [path.name for path in day.glob("*.parquet") if not path.name.startswith(".")]
    rows = pq.read_table(day / name, partitioning=None)
    half = rows.num_rows // 2
    with opened(data) as upkeep, Folder.root(day) as folder:
        pq.write_table(rows, day / f".new-{name}")
        replace(upkeep.events, folder, [Replacement([name], f".new-{name}")], patience=30)
    assert half


def test_old_files_go_by_their_newest_event(tmp_path: Path) -> None:
    make_lake(tmp_path, days=3)
    now = datetime(2026, 10, 4, tzinfo=UTC)
    late = next((tmp_path / "events" / f"date={FIRST_DAY}").glob("000000000001-*"))
    assert expire(tmp_path, timedelta(days=2), now=now, dry_run=True).events == 300
    pq.write_table(table(range(50), FIRST_DAY), late)
    done = expire(tmp_path, timedelta(days=2), now=now)
    assert (done.files, done.events, done.days) == (6, 300, [str(FIRST_DAY)])
    assert not (tmp_path / "events" / f"date={FIRST_DAY}").exists()
    with Lake(tmp_path) as lake:
        assert lake.query("SELECT count(*) FROM events").rows == [(600,)]
    record = [json.loads(line) for line in (tmp_path / "upkeep.ndjson").read_text().splitlines()]
    assert [(line["action"], line["events"]) for line in record] == [("expire", 300)]
    assert expire(tmp_path, timedelta(days=2), now=now).events == 0


def test_nothing_is_older_than_the_calendar(tmp_path: Path) -> None:
    make_lake(tmp_path, days=1)
    assert expire(tmp_path, timedelta(days=900_000)).events == 0
    assert expire(tmp_path, timedelta.max).events == 0


def test_a_type_is_removed_and_the_rest_of_its_files_stays(tmp_path: Path) -> None:
    make_lake(tmp_path, days=1)
    now = datetime(2026, 11, 1, tzinfo=UTC)
    done = expire(tmp_path, timedelta(days=1), types=["counter", "log.*"], now=now)
    assert (done.files, done.rewritten, done.events) == (0, 6, 75)
    with Lake(tmp_path) as lake:
        assert lake.query("SELECT count(*), count(*) FILTER (type = 'counter') FROM events").rows == [(225, 0)]
    assert expire(tmp_path, timedelta(days=1), types=["login*", "l.*"], now=now).events == 0, "neither is `login`"
    with pytest.raises(ValueError, match="older_than"):
        expire(tmp_path, timedelta(days=-1))


@pytest.mark.slow
def test_a_person_is_forgotten_everywhere_and_the_record_does_not_name_them(tmp_path: Path) -> None:
    count = make_lake(tmp_path)
    (tmp_path / "dead").mkdir()
    letters = [
        {"time": "t", "source": "s", "reason": "r", "text": '{"type":"x","fields":{"user":"u7"}}'},
        {"time": "t", "source": "s", "reason": "r", "text": "half a line of u7secret"},
        {"time": "t", "source": "s", "reason": "r", "text": '{"type":"x","fields":{"user":"u8"}}'},
    ]
    (tmp_path / "dead" / "main.ndjson").write_text("".join(json.dumps(letter) + "\n" for letter in letters))
    written = tmp_path / "out.ndjson"
    written.write_text('{"type":"x","fields":{"user":"u7"}}\n{"type":"x","fields":{"user":"u77"}}\n')
    where = "fields->>'user' = 'u7'"
    assert forget(tmp_path, where, dry_run=True, files=[written]).parquet == count // 50
    done = forget(tmp_path, where, files=[written])
    assert (done.parquet, done.left, done.dead_letters, done.files) == (count // 50, 0, 1, 1)
    with Lake(tmp_path) as lake:
        assert lake.query(f"SELECT count(*), count(*) FILTER ({where}) FROM events").rows == [(count - count // 50, 0)]
    assert "u77" in written.read_text()
    assert '"u7"' not in written.read_text()
    assert len((tmp_path / "dead" / "main.ndjson").read_text().splitlines()) == 2
    record = (tmp_path / "upkeep.ndjson").read_text()
    assert "fields->>'user' = ?" in record
    assert "u7" not in record


@pytest.mark.parametrize(
    ("where", "gone", "host"),
    [("fields->>'user' = 'u7'", {2, 4}, "host-7"), ("hostname = 'host-7'", {1, 2, 3, 4}, "")],
)
def test_events_of_a_record_with_a_common_tail_are_forgotten_in_its_place(
    tmp_path: Path, where: str, gone: set[int], host: str
) -> None:
    tail = b',"stream":"s1","logger":"web","env_version":"1","pid":12,"hostname":"host-7"}\n'
    lines = [
        b'{"timestamp":"2026-10-01T00:00:00Z","type":"a","fields":{"user":"u%d"},"seq":%d' % (7 + n % 2, n) + tail
        for n in (1, 2, 3, 4)
    ]
    record = validate(b"".join(lines)).record(1_790_000_000_000_000, "udp://10.0.0.1:1")
    journal = tmp_path / "journal" / "main"
    journal.mkdir(parents=True)
    segment = journal / "000000000003-abc123.seg"
    segment.write_bytes(header(Clock()) + record)
    before = segment.stat().st_size
    forget(tmp_path, where)
    assert segment.stat().st_size == before
    scan = Scan(segment.read_bytes())
    events = [json.loads(line) for found in scan for line in found.events.splitlines()]
    assert scan.damaged == []
    assert {event["seq"] for event in events if event["type"] == "metlog.forgotten"} == gone
    assert [event["stream"] for event in events] == ["s1"] * 4
    assert [event["hostname"] for event in events] == [host] * 4
    assert all("fields" not in event for event in events if event["seq"] in gone)
    parts = list(tables(Scan(segment.read_bytes()), Clock(), Route(), bad=[]))
    assert [part["hostname"].to_pylist() for part in parts] == [[host] * 4]
    forget(tmp_path, where)


@pytest.mark.parametrize(
    "where",
    [
        "",
        "user =",
        "fields->>'user' = $1",
        "EXISTS (SELECT 1 FROM delivery)",
        "true) UNION SELECT 1 --",
        "read_text('/etc/passwd') <> ''",
    ],
)
def test_a_condition_that_is_none_removes_nothing(tmp_path: Path, where: str) -> None:
    make_lake(tmp_path, days=1)
    before = names(tmp_path)
    with pytest.raises(QueryError):
        forget(tmp_path, where)
    assert [name for name in names(tmp_path) if name != ".lease"] == before


def test_each_file_is_imported_once(tmp_path: Path) -> None:
    data, source = tmp_path / "data", tmp_path / "source"
    data.mkdir()
    source.mkdir()
    lines = [{"type": "x", "timestamp": "2026-10-01T00:00:00Z", "fields": {"n": n}, "severity": 3} for n in range(100)]
    (source / "a.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    records = [{"eventTime": "2026-10-02T00:00:00Z", "eventName": str(n)} for n in range(10)]
    (source / "trail.json").write_text(json.dumps({"Records": records}, indent=1))
    (source / "array.json.gz").write_bytes(
        gzip.compress(json.dumps([{"ts": 1_790_000_000 + n, "user": "u"} for n in range(5)]).encode())
    )
    pq.write_table(table(range(7), date(2026, 10, 3)), source / "other.parquet")
    for path in sorted(source.iterdir()):
        assert import_file(data, path, mapping=Names(type="trail", logger="aws")).skipped == 0
    with Lake(data) as lake:
        ask = "SELECT type, count(*)::INT, min(severity)::INT, any_value(logger) FROM events GROUP BY 1 ORDER BY 1"
        found = lake.query(ask).rows
        assert ("trail", 15, 6, "aws") in found
        assert ("x", 100, 3, "") in found
        assert sum(row[1] for row in found) == 122
        assert import_file(data, source / "a.ndjson").already
        assert lake.query("SELECT count(*) FROM events").rows == [(122,)]


def test_records_that_are_none_are_counted_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text('{"time":"2026-10-01T00:00:00Z"}\nnonsense\n{"no":"time"}\n{"time":"yesterday"}\n[1]\n')
    done = import_file(tmp_path, path)
    assert (done.events, done.skipped) == (1, 4)
    assert "record 2: not JSON" in done.first_fault
    path.write_text('{"no":"time"}\n')
    with pytest.raises(ImportFault, match=r"record 1: has no time: none of timestamp, .*--time"):
        import_file(tmp_path, path, strict=True)


def test_a_lease_ends_with_its_process(tmp_path: Path) -> None:
    make_lake(tmp_path)
    compact(tmp_path)
    child = os.fork()
    if child == 0:
        with reading(tmp_path):
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert expire(tmp_path, timedelta(0), patience=0.5).events == 900
