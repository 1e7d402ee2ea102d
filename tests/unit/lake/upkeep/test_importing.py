"""An import that is interrupted, and what else happens to its files before it is run again: each event once, and no other one touched."""

from __future__ import annotations

import errno
import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metlog.journal import failpoints
from metlog.lake.query import Lake
from metlog.lake.upkeep import importing
from metlog.lake.upkeep.compact import compact
from metlog.lake.upkeep.expire import expire
from metlog.lake.upkeep.forget import forget
from metlog.lake.upkeep.importing import Imported, ImportFault, Names, examine_file, import_file
from tests.helpers.lakes import FIRST_DAY, make_lake, table

PARTS, DAYS = 3, 2
EVENTS = 10 * PARTS
WRITES = PARTS * DAYS
NOON = 1_790_856_000_000_000
"""2026-10-01 12:00 UTC in microseconds."""


class Killed(BaseException):
    """What a test ends an import by, at a named point."""


@contextmanager
def killed_at(point: str, passing: int = 1) -> Iterator[None]:
    """What it holds ends when it passes a point for the so-manieth time."""
    passed = [0]

    def reached(name: str) -> None:
        passed[0] += name == point
        if name == point and passed[0] == passing:
            raise Killed(point)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(failpoints, "ON", True)
        patched.setattr(failpoints, "point", reached)
        with pytest.raises(Killed):
            yield


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of three parts, each with events of two days."""
    monkeypatch.setattr(importing, "_CHUNK", EVENTS // PARTS)
    path = tmp_path / "old.ndjson"
    lines = [
        {"time": f"2026-10-0{1 + n % DAYS}T0{n % 9}:00:00Z", "late": f"2026-10-0{2 + n % DAYS}T00:00:00Z", "n": n}
        for n in range(EVENTS)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two days of what a listener wrote: 6 files of 5 events each."""
    make_lake(tmp_path / "data", days=DAYS, files=6, events=5)
    return tmp_path / "data"


def counts(data: Path) -> dict[str, tuple[int, int]]:
    """Events, and different ones, by where they come from."""
    ask = "SELECT logger, count(*)::INT, count(DISTINCT fields->>'n')::INT FROM events GROUP BY 1"
    with Lake(data, threads=1) as lake:
        return {logger: (events, different) for logger, events, different in lake.query(ask).rows}


WHOLE = {"shop": (60, 60), "": (EVENTS, EVENTS)}
CASES = [
    *(
        (point, passing)
        for point in ("import.part", "import.part.rename", "import.part.saved")
        for passing in (1, 2, 3, WRITES)
    ),
    ("import.written", 1),
    ("import.known", 1),
]


def test_every_point_of_an_import_is_a_case() -> None:
    assert {point for point, _ in CASES} == set(failpoints.IMPORT_POINTS)


@pytest.mark.parametrize(("point", "passing"), CASES)
@pytest.mark.slow
def test_an_import_killed_at(point: str, passing: int, data: Path, source: Path) -> None:
    with killed_at(point, passing):
        import_file(data, source)
    compact(data, fewest=2)
    again = import_file(data, source)
    assert again.already is (point == "import.known")
    assert counts(data) == WHOLE
    compact(data, fewest=2)
    assert counts(data) == WHOLE, "what is imported whole is merged like all else"
    assert len(list((data / "events").rglob("*.parquet"))) == DAYS
    assert import_file(data, source).already
    assert not [path for path in (data / "events").rglob(".*") if path.name != ".lease"]


def test_a_file_that_has_the_name_of_a_part_and_events_of_others_is_not_overwritten(data: Path, source: Path) -> None:
    """As a release left it that merged the files of an interrupted import."""
    with killed_at("import.part", 2):
        import_file(data, source)
    (part,) = (data / "events").rglob("import-*.parquet")
    parts = [pq.read_table(path, partitioning=None) for path in sorted(part.parent.glob("*.parquet"))]
    for path in part.parent.glob("0*.parquet"):
        path.unlink()
    with pq.ParquetWriter(part, parts[0].schema.remove_metadata()) as writer:
        for one in parts:
            writer.write_table(one.select(parts[0].schema.names).replace_schema_metadata(None))
    import_file(data, source)
    assert counts(data) == WHOLE


def test_an_import_that_is_run_again_with_other_names_leaves_nothing_of_the_first_run(data: Path, source: Path) -> None:
    with killed_at("import.written"):
        import_file(data, source)
    compact(data, fewest=2)
    import_file(data, source, mapping=Names(time="late"))
    assert counts(data) == WHOLE
    with Lake(data, threads=1) as lake:
        ask = "SELECT min(date), max(date) FROM events WHERE type = 'import'"
        assert lake.query(ask).rows == [(date(2026, 10, 2), date(2026, 10, 3))]


@pytest.mark.slow
def test_forget_and_expire_reach_what_an_interrupted_import_wrote(data: Path, source: Path) -> None:
    with killed_at("import.written"):
        import_file(data, source)
    assert forget(data, "type = 'import' AND fields->>'n' = '7'").left == 0
    assert counts(data)[""] == (EVENTS - 1, EVENTS - 1)
    import_file(data, source)
    assert counts(data)[""] == (EVENTS - 1, EVENTS - 1), "the file that was cleaned is left as it is"
    assert expire(data, timedelta(0), types=["import"]).events == EVENTS - 1


def test_a_line_of_the_record_that_a_crash_cut_off_spoils_no_other(data: Path, source: Path, tmp_path: Path) -> None:
    import_file(data, source)
    record = data / "imports.ndjson"
    record.write_bytes(record.read_bytes() + b'{"time":"2026-10-01T00:00:00Z","sha2')
    other = tmp_path / "other.ndjson"
    other.write_text('{"time":"2026-10-01T00:00:00Z","n":"x"}\n')
    assert not import_file(data, other).already
    assert import_file(data, source).already
    assert import_file(data, other).already
    assert counts(data)[""] == (EVENTS + 1, EVENTS + 1)


def test_a_line_of_the_record_that_is_not_durable_is_not_there(
    data: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(table(range(3), FIRST_DAY), source)
    (data / "imports.ndjson").write_text("")
    sync = os.fsync

    def fails(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("imports.ndjson"):
            raise OSError(errno.ENOSPC, "no room")
        sync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="no room"):
            import_file(data, source)
    assert (data / "imports.ndjson").read_text() == ""
    assert import_file(data, source).events == 3


@pytest.mark.parametrize("fault", ["a long line", "strict", "a cut gzip file", "a damaged gzip file"])
def test_a_file_that_ends_in_a_fault_is_not_imported_by_half(
    data: Path, source: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mended, it is another file, all of whose events come."""
    whole = source.read_bytes()
    monkeypatch.setattr(importing, "_LONGEST", 1000)
    if "gzip" in fault:
        packed = gzip.compress(whole)
        source.write_bytes(packed[:-4] if "cut" in fault else packed[:-8] + bytes(8))
    else:
        source.write_bytes(whole + b'{"n":"%s"}\n' % (b"x" * (2000 if "long" in fault else 1)))
    with pytest.raises(ImportFault, match=r"old.ndjson: .*; none of its events is imported"):
        import_file(data, source, strict=True)
    assert "" not in counts(data)
    source.write_bytes(whole)
    import_file(data, source)
    assert counts(data) == WHOLE


@pytest.mark.parametrize(
    ("columns", "time", "fields"),
    [
        ({"timestamp": pa.array([NOON * 1000 + 1], pa.timestamp("ns", "UTC")), "type": ["a"], "n": [1]}, "12:00:00", '{"n":1}'),
        ({"ts": pa.array([NOON * 1000 + 1], pa.timestamp("ns")), "n": [1]}, "12:00:00", '{"n":1}'),
        ({"date": [date(2026, 10, 1)], "n": [1]}, "00:00:00", '{"n":1}'),
        ({"time": ["2026-10-01T12:00Z"], "fields": ["no JSON"]}, "12:00:00", '{"fields":"no JSON"}'),
        ({"time": ["2026-10-01T12:00Z"], "fields": ["17"]}, "12:00:00", '{"fields":"17"}'),
    ],
    ids=["an event's nanoseconds", "nanoseconds", "a day", "fields of another kind", "fields that are a number"],
)  # fmt: skip
def test_parquet_of_other_producers(tmp_path: Path, columns: dict[str, Any], time: str, fields: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "other.parquet")
    assert import_file(tmp_path, tmp_path / "other.parquet").skipped == 0
    with Lake(tmp_path, threads=1) as lake:
        assert lake.query("SELECT CAST(timestamp AS VARCHAR), fields FROM events").rows == [
            (f"2026-10-01 {time}+00", fields)
        ]


@pytest.mark.parametrize(
    ("more", "fields"),
    [
        ({"user": "u1", "source": "nginx"}, {"user": "u1", "source": "nginx"}),
        ({"user": "u1", "level": 3, "fields": {"user": "u2"}}, {"user": "u2", "level": 3}),
        ({"received_at": "2026-10-01T12:00:01Z", "source": "udp://a", "date": "2026-10-01", "claimed_timestamp": None}, {}),
    ],
    ids=["another producer's", "beside fields", "metlog's own"],
)  # fmt: skip
def test_members_that_no_event_has_are_fields(tmp_path: Path, more: dict[str, Any], fields: dict[str, Any]) -> None:
    path = tmp_path / "other.ndjson"
    path.write_text(json.dumps({"timestamp": "2026-10-01T12:00:00Z", "type": "login", **more}))
    import_file(tmp_path, path)
    with Lake(tmp_path, threads=1) as lake:
        ((kind, found),) = lake.query("SELECT type, fields FROM events").rows
    assert (kind, json.loads(found)) == ("login", fields)


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(ImportFault, match=r"other\.parquet: damaged: "):
        import_file(tmp_path, path)


def test_an_examination_tells_the_same_and_writes_nothing(tmp_path: Path) -> None:
    source, data = tmp_path / "old.ndjson", tmp_path / "data"
    source.write_text('{"ts":"2026-01-02T03:04:05Z","a":1}\n{"a":2}\n[]\n{"time":1700000000}\n')
    told = examine_file(data, source)
    assert (told.events, told.skipped, told.already) == (2, 2, False)
    assert "record 2" in told.first_fault
    assert not data.exists()
    data.mkdir()
    assert examine_file(data, source) == told
    assert list(data.iterdir()) == []
    assert import_file(data, source) == told
    assert examine_file(data, source) == Imported(already=True)
