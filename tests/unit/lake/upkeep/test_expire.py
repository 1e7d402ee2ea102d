"""What counts as the newest event of a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from metlog.journal.folder import Folder
from metlog.lake.chains import FOOTER
from metlog.lake.query import Lake
from metlog.lake.upkeep.compact import compact
from metlog.lake.upkeep.expire import expire, newest
from metlog.lake.upkeep.forget import forget
from tests.helpers.lakes import FIRST_DAY, table

LAST = "kafka-t-ab-0-00000001.parquet"


def test_the_last_file_of_a_chain_whose_events_were_all_forgotten_goes_with_its_day(tmp_path: Path) -> None:
    day = tmp_path / "events" / f"date={FIRST_DAY}"
    day.mkdir(parents=True)
    for number, name in enumerate(["kafka-t-ab-0-00000000.parquet", LAST]):
        rows = table(range(number, number + 1), FIRST_DAY)
        with pq.ParquetWriter(day / name, rows.schema) as writer:
            writer.write_table(rows)
            writer.add_key_value_metadata({FOOTER: b'{"held":[[0,%d]]}' % (number + 1)})
    assert forget(tmp_path, "fields->>'n' = '1'").left == 0
    assert pq.read_metadata(day / LAST).num_rows == 0
    now = datetime(2026, 11, 1, tzinfo=UTC)
    assert compact(tmp_path, fewest=3).days == 0
    with Lake(tmp_path, threads=1) as lake:
        assert lake.query("SELECT count(*)::INT, max(timestamp) IS NULL FROM events").rows == [(1, False)]
        assert lake.query("SELECT count(*)::INT FROM files").rows == [(2,)]
    assert expire(tmp_path, timedelta(days=1), types=["timer"], now=now).events == 0
    done = expire(tmp_path, timedelta(days=1), now=now)
    assert (done.files, done.events) == (2, 1)
    assert not day.exists()


@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("groups", [0, 1])
def test_the_newest_event_with_and_without_statistics(tmp_path: Path, rows: int, statistics: bool, groups: int) -> None:
    found = table(range(rows), FIRST_DAY)
    with pq.ParquetWriter(tmp_path / "a.parquet", found.schema, write_statistics=statistics) as writer:
        for _ in range(groups):
            writer.write_table(found)
    with Folder.root(tmp_path) as folder:
        moment = newest(folder, "a.parquet")
    whole = found["timestamp"].to_pylist() if groups else []
    assert moment == max(whole, default=datetime.min.replace(tzinfo=UTC))
