"""A clock that jumps by years, back and forth: nothing stops, nothing is lost, and no time makes a folder of its own."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from tests.helpers.reliability import Client, Listener, datagram, faults_in, in_file, in_lake, lines
from tests.helpers.waiting import eventually, wait_for

Make = Callable[..., Listener]

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
UDP_FIRST = 1_000_000


def rows(data: Path, sql: str) -> list[tuple[object, ...]]:
    view = "SELECT *, date FROM read_parquet(?, hive_partitioning = true, hive_types = {'date': DATE})"
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection.execute(f"WITH events AS ({view}) {sql}", [f"{data}/events/date=*/*.parquet"]).fetchall()


@pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime: apt-get install faketime")
def test_the_clock_jumps_by_years_while_events_come(listener: Make, tmp_path: Path) -> None:
    made = listener()
    clock = tmp_path / "clock"
    given = {
        "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip
    client = Client(count=5)
    udp = UDP_FIRST
    clock.write_text("+0")
    assert made.start(**given)
    years = [0, 6, -9, 3, -1, 0]
    for turn, jump in enumerate(years):
        clock.write_text(f"{365 * jump:+}d")
        for _ in range(3):
            assert client.submit(made.port("http"))
            datagram(made.port("udp"), lines([udp]))
            udp += 1
        # A segment comes of age by a clock that does not jump.
        assert eventually(lambda: client.acknowledged <= {n for n, _ in in_lake(made.data)}), f"{jump:+} years"
        assert made.ask("/healthz")[0] == 200
        if turn in {1, 2}:  # killed in one time, started in another
            made.kill()
            clock.write_text(f"{365 * -jump:+}d")
            assert made.start(**given)
    wait_for(lambda: len(in_file(made.lines)) == len(client.acknowledged) + udp - UDP_FIRST)
    assert made.stop() == 0
    sent = {*client.sent, *range(UDP_FIRST, udp)}
    assert faults_in(in_lake(made.data), sent, sent) == []
    assert faults_in(in_file(made.lines), sent, sent) == []
    received = {(datetime.now(UTC) + timedelta(days=365 * jump)).year for jump in (*years, -6, 9)}
    seen = {row[0] for row in rows(made.data, "SELECT DISTINCT year(received_at) FROM events")}
    assert len(seen) >= 5
    assert seen <= received | {year + 1 for year in received} | {year - 1 for year in received}


def test_hostile_timestamps_make_no_folders_and_keep_their_claim(listener: Make) -> None:
    made = listener(segment_bytes=1 << 20)
    rng = random.Random(4711)
    assert made.start()
    now = datetime.now(UTC)
    claims: list[datetime] = [now + timedelta(seconds=s) for s in (-8 * 86400, -6 * 86400, -60, 0, 1800, 7200)]
    claims += [
        datetime(rng.randrange(1, 9999), rng.randrange(1, 13), rng.randrange(1, 29), tzinfo=UTC) for _ in range(5000)
    ]
    for start in range(0, len(claims), 100):
        part = claims[start : start + 100]
        datagram(
            made.port("udp"),
            b"".join(
                json.dumps(
                    {"type": "timed", "timestamp": f"{claim:%Y-%m-%dT%H:%M:%S.%f}Z".rjust(27, "0"), "seq": start + k}
                ).encode()
                + b"\n"
                for k, claim in enumerate(part)
            ),
        )
        time.sleep(0.001)
    assert eventually(lambda: made.metric("metlog_events_journaled_total") == len(claims)), made.metric(
        "metlog_dead_letters_total"
    )
    assert made.stop() == 0
    found = {
        seq: (timestamp, received, claim, date)
        for seq, timestamp, received, claim, date in rows(
            made.data, "SELECT seq, timestamp, received_at, claimed_timestamp, date FROM events"
        )
    }
    assert len(found) == len(claims)
    within = {1, 2, 3, 4}  # six days ago, a minute ago, now, in half an hour
    for seq, sent in enumerate(claims):
        timestamp, received, claim, date = found[seq]
        near = timedelta(days=-7) <= sent - received <= timedelta(hours=1)
        assert near == (seq in within) or seq >= 6
        if near:
            assert (timestamp, claim) == (sent, None)
        else:
            assert (timestamp, claim) == (received, sent)
        assert date == timestamp.date()
    assert len(list((made.data / "events").iterdir())) <= 9
