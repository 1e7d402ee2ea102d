"""Questions over ten million events: metlog's own way beside DuckDB on the bare files, in one run.

`python benchmarks/query.py` writes the events with the lake's own writer into a fresh folder, then asks in turns `Lake.query`
and a DuckDB connection of its own, and as whole processes `metlog query` and `python -c "import duckdb; …"`. Exit 1 when the
count by type takes metlog more than 1.2 times as long, or an answer differs. The ratio is that of the fastest rounds, which neighbours
on the machine disturb least; the medians stand beside them. `--keep FOLDER` leaves the events there and
takes them again the next time.

The last questions look into `fields`, whose hot names have columns of their own. DuckDB is asked the same over these columns and, as
"JSON", over `fields`, as it would be without them; metlog is asked as ever, also through the page's interface for programs ("page"). They
may take 1.5 times what the columns take.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import load_generator

from metlog.journal.folder import Folder
from metlog.journal.routing import Route
from metlog.journal.segment import SEALED, Clock, SegmentName, encode_record, header
from metlog.journal.writer import JournalOptions
from metlog.lake.promotion.choice import Promotion
from metlog.lake.query import Lake
from metlog.lake.storage import FolderStorage
from metlog.lake.writer import write_segment

LIMIT: Final = 1.2
"""Most that the count by type may take, in multiples of DuckDB's time."""
FIELDS_LIMIT: Final = 1.5
"""Most that a question about `fields` may take, in multiples of DuckDB's time over flat columns."""
FLAT: Final = {
    "(fields->>'ms')::DOUBLE": "field_double_ms",
    "fields->>'route'": "field_text_route",
    "fields->>'user'": "field_text_user",
}
"""Expressions over `fields`, and the columns that the lake's writer makes for them out of these events."""
FIRST: Final = datetime(2026, 3, 1, tzinfo=UTC)
DAYS: Final = 10
STREAMS: Final = 8
PER_FRAME: Final = 27


class Frames:
    """In the place of a socket: keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, frame: bytes) -> None:
        self.sent.append(frame)


def fill(data: Path, events: int) -> None:
    """Events of ten days, as the listener would have written them: segments of the usual size, each a file."""
    promotion = Promotion(FolderStorage(Folder.root(data)), True)
    values = load_generator.pools(0)
    streams = [load_generator.Stream("127.0.0.1", 9, PER_FRAME, values, number) for number in range(STREAMS)]
    frames = Frames()
    for stream in streams:
        stream.socket.close()
        stream.socket = frames  # type: ignore[assignment]
    with tempfile.TemporaryDirectory(dir=data) as folder:
        journal = Folder.root(Path(folder))
        files = Folder.root(data).sub("events", create=True)
        count = number = 0
        segment = bytearray()
        while count < events:
            moment = FIRST + timedelta(days=DAYS) * (count / events)
            stamp = moment.isoformat(timespec="microseconds")[:22].encode()
            for stream in streams:
                stream.send(stamp)
            received = int(moment.timestamp() * 1_000_000) + 20_000
            for index, frame in enumerate(frames.sent):
                segment += encode_record(received, PER_FRAME, b"udp://192.0.2.7:%d" % (40_000 + index), b"", frame)
            frames.sent.clear()
            count += PER_FRAME * STREAMS
            if len(segment) >= JournalOptions().segment_bytes or count >= events:
                number += 1
                name = SegmentName(number, "benchmark")
                (Path(folder) / f"{name}{SEALED}").write_bytes(header(Clock()) + segment)
                write_segment(journal, name, files, Route(), promotion=promotion)
                journal.unlink(f"{name}{SEALED}")
                segment.clear()


class Way:
    """One of the two ways to ask; each keeps its engine from question to question, as a program would."""

    def __init__(self, name: str, ask: Callable[[str], Any], command: Callable[[str], list[str]]) -> None:
        self.name = name
        self.ask = ask
        self.command = command


def ways(data: Path) -> tuple[Way, Way]:
    lake = Lake(data)
    bare = duckdb.connect()
    bare.execute("SET TimeZone = 'UTC'")
    files = f"read_parquet('{data}/events/*/*.parquet', hive_partitioning = true)"

    def over_files(sql: str) -> str:
        return sql.replace("FROM events", f"FROM {files}")

    def in_duckdb(sql: str) -> list[str]:
        program = f"import duckdb; duckdb.execute(\"SET TimeZone = 'UTC'\"); duckdb.sql({over_files(sql)!r}).show()"
        return [sys.executable, "-c", program]

    return (
        Way(
            "metlog",
            lambda sql: lake.query(sql).rows,
            lambda sql: [sys.executable, "-m", "metlog", "query", sql, "--data", str(data)],
        ),
        Way("DuckDB", lambda sql: bare.execute(over_files(sql)).fetchall(), in_duckdb),
    )


def over_columns(sql: str) -> str:
    """The question over flat columns."""
    for expression, column in FLAT.items():
        sql = sql.replace(expression, column)
    return sql


class Served:
    """`metlog serve` over the data set, asked by its interface for programs over one connection."""

    def __init__(self, data: Path) -> None:
        command = [sys.executable, "-m", "metlog", "serve", "--data", str(data), "--port", "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        address = ""
        for line in self._process.stdout:
            if found := re.search(r"http://([\d.]+:\d+)", line):
                address = found[1]
                break
        self._connection = http.client.HTTPConnection(address)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        body = json.dumps({"sql": sql, "limit": 1000})
        self._connection.request("POST", "/api/query", body, {"Content-Type": "application/json"})
        answer = json.loads(self._connection.getresponse().read())
        return [tuple(row) for row in answer["rows"]]

    def close(self) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.wait()


def compare_fields(data: Path, sql: str, rounds: int, served: Served) -> dict[str, Any]:
    """A question about `fields` in turns: as a program asks it, through the page, over flat columns, over JSON."""
    lake, bare = Lake(data), duckdb.connect()
    bare.execute("SET TimeZone = 'UTC'")
    files = f"read_parquet('{data}/events/*/*.parquet', hive_partitioning = true)"
    plain = f"(SELECT * REPLACE (CAST(fields AS JSON) AS fields) FROM {files})"
    asked: dict[str, Callable[[], list[tuple[Any, ...]]]] = {
        "metlog": lambda: lake.query(sql).rows,
        "page": lambda: served.ask(sql),
        "DuckDB": lambda: bare.execute(over_columns(sql).replace("FROM events", f"FROM {files}")).fetchall(),
        "JSON": lambda: bare.execute(sql.replace("FROM events", f"FROM {plain}")).fetchall(),
    }
    answers = {name: sorted(rounded(row) for row in ask()) for name, ask in asked.items()}
    times: dict[str, list[float]] = {name: [] for name in asked}
    for number in range(rounds):
        for name in [*asked][:: -1 if number % 2 else 1]:
            if name != "JSON" or number < 3:
                times[name].append(seconds(asked[name]))
    fastest = {name: min(values) for name, values in times.items()}
    return {
        "sql": sql,
        "same": all(answer == answers["JSON"] for answer in answers.values()),
        "ms": {name: round(value * 1000, 1) for name, value in fastest.items()},
        "median_ms": {name: round(statistics.median(values) * 1000, 1) for name, values in times.items()},
        "ratio": round(fastest["metlog"] / fastest["DuckDB"], 3),
        "ratio_page": round(fastest["page"] / fastest["DuckDB"], 3),
        "ratio_json": round(fastest["JSON"] / fastest["DuckDB"], 3),
    }


def rounded(row: Sequence[Any]) -> tuple[Any, ...]:
    """Without the last digits, which depend on the order of adding."""
    return tuple(float(f"{value:.9g}") if isinstance(value, float) else value for value in row)


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def files_read(data: Path, command: list[str]) -> int | None:
    """How many files a process reads, by their times of access; None where the file system keeps none."""
    files = list((data / "events").glob("*/*.parquet"))
    for path in files:
        os.utime(path, (0, path.stat().st_mtime))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return sum(path.stat().st_atime > 0 for path in files) or None


def compare(pair: tuple[Way, Way], sql: str, rounds: int, processes: int) -> dict[str, Any]:
    ours, theirs = pair
    answers = [sorted(way.ask(sql), key=repr) for way in pair]
    times: dict[str, list[float]] = {way.name: [] for way in pair}
    whole: dict[str, list[float]] = {way.name: [] for way in pair}
    for number in range(rounds):
        for way in pair if number % 2 else (theirs, ours):
            times[way.name].append(seconds(lambda way=way: way.ask(sql)))
    for number in range(processes):
        for way in pair if number % 2 else (theirs, ours):
            call = lambda way=way: subprocess.run(way.command(sql), check=True, stdout=subprocess.DEVNULL)  # noqa: E731
            whole[way.name].append(seconds(call))
    fastest = {name: min(values) for name, values in times.items()}
    median = {name: statistics.median(values) for name, values in times.items()}
    process = {name: statistics.median(values) if values else 0.0 for name, values in whole.items()}
    return {
        "sql": sql,
        "rows": len(answers[0]),
        "same": answers[0] == answers[1],
        "ms": {name: round(value * 1000, 1) for name, value in fastest.items()},
        "median_ms": {name: round(value * 1000, 1) for name, value in median.items()},
        "ratio": round(fastest[ours.name] / fastest[theirs.name], 3),
        "process_ms": {name: round(value * 1000) for name, value in process.items()},
    }


def measure(data: Path, given: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    if not (data / "events").is_dir():
        took = seconds(lambda: fill(data, given.events))
        print(f"{given.events:,} events written in {took:.0f} s", file=sys.stderr)
    start = FIRST + timedelta(days=4)
    since, until, midnight = (
        f"TIMESTAMPTZ '{start + timedelta(hours=hours):%Y-%m-%d %H:%M:%S}+00'" for hours in (0, 18, 24)
    )
    day = f"timestamp >= {since} AND timestamp < {midnight}"
    questions = (
        "SELECT type, count(*) AS events FROM events GROUP BY type",
        "SELECT type, sum(weight) AS events FROM events GROUP BY type",
        f"SELECT type, count(*) AS events FROM events WHERE timestamp >= {since} AND timestamp < {until} GROUP BY type",
        f"SELECT logger, count(*) AS events FROM events WHERE {day} GROUP BY logger",
        "SELECT fields->>'route' AS route, quantile_cont((fields->>'ms')::DOUBLE, 0.95) AS p95 "
        f"FROM events WHERE type = 'request' AND {day} GROUP BY route",
        f"SELECT count(DISTINCT fields->>'user') AS users FROM events WHERE type = 'login' AND {day}",
        "SELECT fields->>'route' AS route, sum(weight) AS requests FROM events WHERE type = 'order' GROUP BY route",
    )
    about_fields = (
        "SELECT fields->>'route' AS route, avg((fields->>'ms')::DOUBLE) AS average, "
        "quantile_cont((fields->>'ms')::DOUBLE, 0.95) AS p95 FROM events WHERE type = 'request' GROUP BY route",
        "SELECT count(DISTINCT fields->>'user') AS users FROM events",
        "SELECT fields->>'route' AS route, count(*) AS events FROM events GROUP BY route",
    )
    pair = ways(data)
    found = [compare(pair, sql, given.rounds, given.processes) for sql in questions]
    served = Served(data)
    try:
        fields = [compare_fields(data, sql, given.rounds, served) for sql in about_fields]
    finally:
        served.close()
    every = len(list((data / "events").glob("*/*.parquet")))
    for row in found:
        row["files"] = every
        row["files_read"] = {way.name: files_read(data, way.command(row["sql"])) for way in pair}
    return found, fields


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=21, help="questions each way, in turns")
    parser.add_argument("--processes", type=int, default=5, help="whole processes each way, in turns")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the events stay; taken again when there")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    data = given.keep or Path(tempfile.mkdtemp(prefix="metlog-query-"))
    try:
        data.mkdir(parents=True, exist_ok=True)
        found, fields = measure(data.resolve(), given)
    finally:
        if given.keep is None:
            shutil.rmtree(data)
    if given.json:
        print(json.dumps([*found, *fields]))
    else:
        for row in found:
            print(row["sql"])
            for name in row["ms"]:
                read = row["files_read"][name]
                print(
                    f"  {name:<8} {row['ms'][name]:>8.1f} ms   median {row['median_ms'][name]:>8.1f} ms   "
                    f"as a process {row['process_ms'][name]:>6} ms   "
                    f"files read {'unknown' if read is None else read} of {row['files']}"
                )
            print(f"  ratio {row['ratio']:.2f}{'' if row['same'] else '   THE ANSWERS DIFFER'}")
        for row in fields:
            print(row["sql"])
            for name, value in row["ms"].items():
                print(f"  {name:<8} {value:>8.1f} ms   median {row['median_ms'][name]:>8.1f} ms")
            print(
                f"  of flat columns: {row['ratio']:.2f}, through the page {row['ratio_page']:.2f}, as JSON {row['ratio_json']:.2f}"
                f"{'' if row['same'] else '   THE ANSWERS DIFFER'}"
            )
    slow = found[0]["ratio"] > LIMIT or any(row["ratio"] > FIELDS_LIMIT for row in fields)
    return int(slow or not all(row["same"] for row in [*found, *fields]))


if __name__ == "__main__":
    sys.exit(main())
