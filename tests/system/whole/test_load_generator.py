"""The load generator in benchmarks/: what it sends, and that its verdict on a listener can be believed. No speed is asserted."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from metlog.encoders.json import JsonEncoder
from tests.helpers.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"


def load(folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Runs the command; its data folder stays below `folder`."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "listener_load.py"), "--json", "--keep", "--folder", str(folder),
         "--seconds", "1.5", "--streams", "2", *options],
        stdout=subprocess.PIPE, text=True, timeout=100,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout)


def parquet(folder: Path) -> str:
    return str(folder / "metlog-load-*" / "data" / "events" / "*" / "*.parquet")


@pytest.mark.parametrize(("options", "single"), [(["--rate", "5000"], False), (["--rate", "3000", "--single"], True)])
def test_every_event_of_the_load_is_in_parquet_once_and_one_that_is_there_twice_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], single: bool
) -> None:
    status, found = load(tmp_path, *options)
    assert status == 0
    rows = duckdb.sql(
        "SELECT stream, count(*), count(DISTINCT seq), min(seq), max(seq),"
        "  any_value(fields->>'last_seq') FILTER (type = 'metlog.end')::BIGINT"
        f" FROM read_parquet('{parquet(tmp_path)}') GROUP BY stream"
    ).fetchall()
    assert len(rows) == found["streams"] == 4
    for _, count, distinct, first, last, told in rows:
        assert (count, distinct, first) == (last, last, 1)
        assert told == last
    assert sum(row[1] for row in rows) == found["sent"] == found["journaled"]
    assert found["sent"] == pytest.approx(float(options[1]) * 1.5, rel=0.05)
    assert found["lost"]["all"] == found["twice"] == 0
    assert (found["received_datagrams"] == found["sent"]) == single
    assert found["answers_ms"]["statuses"] == {
        "200": sum(found["answers_ms"][p]["asked"] for p in ("/healthz", "/metrics"))
    }
    (data,) = tmp_path.glob("metlog-load-*/data")
    (file, *_) = data.glob("events/*/*.parquet")
    shutil.copy(file, file.with_name(f"again{file.name}"))
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from listener_load import in_the_lake

    with_some_twice = in_the_lake(data)
    assert with_some_twice["events"] > with_some_twice["distinct"] == found["sent"]


def test_a_stopped_output_catches_up(tmp_path: Path) -> None:
    settings = "[journal]\nsegment_bytes = '1MB'\nsegment_age = 0.5"
    status, found = load(tmp_path, "--rate", "4000", "--lead", "2", "--stop", "3", "--settings", settings)
    assert status == 0
    assert found["catch_up"]["caught_up"] == 1
    assert found["catch_up"]["backlog_events"] > 1000
    assert found["lost"]["all"] == found["twice"] == 0


def test_lost_events_are_counted_and_fail_the_run(tmp_path: Path) -> None:
    settings = "[journal]\nmax_bytes = '2MB'\nsegment_bytes = '1MB'"
    status, found = load(tmp_path, "--rate", "12000", "--lead", "0.5", "--stop", "1", "--settings", settings)
    assert status == 1
    assert found["lost"]["journal_full"] > 0
    ((there,),) = duckdb.sql(
        f"SELECT count(*) FROM read_parquet('{parquet(tmp_path)}') WHERE source LIKE 'udp://%'"
    ).fetchall()
    assert found["lost"]["all"] == found["sent"] - there > 0


def test_the_generator_sends_events_of_the_usual_size_that_differ() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        done = subprocess.run(
            [sys.executable, str(BENCHMARKS / "load_generator.py"), "127.0.0.1", str(sock.getsockname()[1]),
             "--rate", "2000", "--seconds", "0.5", "--per-frame", "25", "--streams", "2"],
            stdout=subprocess.PIPE, text=True, check=True, timeout=60,
        )  # fmt: skip
        said = json.loads(done.stdout)
        frames = [sock.recv(65_535) for _ in range(said["frames"])]
    decoder = JsonEncoder()
    events = [event for frame in frames for event in decoder.decode(frame)]
    assert len(events) == said["events"] == 1002
    assert 250 <= said["bytes"] / 1000 <= 300
    for stream, last in said["streams"].items():
        assert [event.seq for event in events if event.stream == stream] == list(range(1, last + 1))
    usual = [event for event in events if event.type != "metlog.end"]
    assert len({event.fields["id"] for event in usual}) > 950
    assert len({event.timestamp for event in usual}) > 950
