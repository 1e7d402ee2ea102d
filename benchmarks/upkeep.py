"""What a merge of small files, zstd's level and the order of events in a file bring: bytes an event, seconds to write, query times.

`python benchmarks/upkeep.py` writes a day of the sample shop as a listener with `journal.segment_age = 300` leaves it, 288 files, then the
same
events as `metlog compact` merges them at several levels, and in other orders. Queries are asked by `Lake.query`, the fastest of `--rounds`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from metlog.lake.query import Lake
from metlog.lake.upkeep.compact import compact
from metlog.reports.sample import fill

FILES: Final = 288
"""A day of segments of five minutes."""
ROW_GROUP: Final = 122_880
QUERIES: Final = {
    "count by type": "SELECT type, count(*) FROM events GROUP BY type",
    "one hour": "SELECT count(*), sum(severity) FROM events WHERE timestamp >= '{day} 11:00:00+00' AND timestamp < '{day} 12:00:00+00'",
    "one type": "SELECT avg((fields->>'ms')::DOUBLE) FROM events WHERE type = 'request'",
    "one user": "SELECT count(*) FROM events WHERE fields->>'user' = 'u17'",
}
LEVELS: Final = (1, 3, 6, 9, 15, 19)
ORDERS: Final = {  # compared with each other: all in one file of the same columns, without those that a merge promotes
    "received_at": [("received_at", "ascending")],
    "type, timestamp": [("type", "ascending"), ("timestamp", "ascending")],
    "logger, type, timestamp": [("logger", "ascending"), ("type", "ascending"), ("timestamp", "ascending")],
    "stream, seq": [("stream", "ascending"), ("seq", "ascending")],
}


def times(data: Path, day: str, rounds: int) -> dict[str, float]:
    """Milliseconds of each query, the fastest round."""
    found: dict[str, float] = {}
    with Lake(data, threads=1) as lake:
        for name, sql in QUERIES.items():
            asked = []
            for _ in range(rounds):
                began = time.perf_counter()
                lake.query(sql.format(day=day))
                asked.append((time.perf_counter() - began) * 1000)
            found[name] = round(min(asked), 1)
    return found


def size(data: Path) -> int:
    return sum(path.stat().st_size for path in data.rglob("*.parquet"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=500_000, help="a day, about")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="metlog-upkeep-bench-") as made:
        sample = Path(made, "sample")
        fill(sample, days=1, per_day=round(given.events / 3.5), until=datetime(2026, 11, 26, 23, 59, 59, tzinfo=UTC))
        (folder,) = sorted((sample / "events").iterdir())[-1:]
        day = folder.name.removeprefix("date=")
        table = pa.concat_tables([pq.ParquetFile(path).read() for path in sorted(folder.glob("*.parquet"))]).sort_by(
            "received_at"
        )
        number = table.num_rows

        def note(name: str, data: Path, wrote: float) -> None:
            found = times(data, day, given.rounds)
            rows.append({"what": name, "files": len(list(data.rglob("*.parquet"))), "bytes an event": round(size(data) / number, 2),
                         "seconds": round(wrote, 2), **found})  # fmt: skip

        def put(data: Path, name: str, part: pa.Table, level: int) -> None:
            target = data / "events" / folder.name
            target.mkdir(parents=True, exist_ok=True)
            pq.write_table(part, target / name, compression="zstd", compression_level=level, row_group_size=ROW_GROUP)

        small = Path(made, "small")
        began = time.perf_counter()
        step = -(-number // FILES)
        for index in range(FILES):
            put(small, f"{index + 1:012d}-bench.parquet", table.slice(index * step, step), 3)
        note("as written", small, time.perf_counter() - began)
        for level in LEVELS:
            data = Path(made, f"level{level}")
            shutil.copytree(small, data)
            began = time.perf_counter()
            compact(data, level=level)
            note(f"merged, level {level}", data, time.perf_counter() - began)
        for name, order in ORDERS.items():
            data = Path(made, name)
            began = time.perf_counter()
            put(data, "000000000001-bench.parquet", table.sort_by(order), 3)
            note(f"by {name}, level 3", data, time.perf_counter() - began)
    if given.json:
        print(json.dumps({"events": number, "rows": rows}, indent=1))
        return
    print(f"{number:,} events")
    print(" | ".join(rows[0]))
    for row in rows:
        print(" | ".join(str(value) for value in row.values()))


if __name__ == "__main__":
    main()
