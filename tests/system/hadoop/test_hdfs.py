"""From an event over HDFS to SQL, with a real NameNode and DataNode; Spark reads the same files where it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import metlog
from metlog.lake.attached import folder_for
from metlog.lake.query import Lake
from metlog.lake.storage import open_storage
from tests.system.cluster.servers import Listener
from tests.system.hadoop import servers

pytestmark = [pytest.mark.hadoop, pytest.mark.timeout(600)]

UDP = """
[journal]
segment_age = 0.5
[[inputs]]
name = "udp"
port = 0
"""


@pytest.fixture(scope="module")
def hdfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if reason := servers.missing():
        pytest.skip(reason)
    with servers.hdfs(tmp_path_factory.mktemp("hdfs")) as address:
        yield address


def test_a_name_is_given_once_whoever_asks(hdfs: str) -> None:
    uri = f"{hdfs}/{uuid.uuid4().hex}"
    outcomes: list[bool] = []

    def create(number: int) -> None:
        outcomes.append(open_storage(uri).create("events/date=2026-01-01/a-1.parquet", b"%d" % number))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 5 + [True]
    storage = open_storage(uri)
    first = storage.read("events/date=2026-01-01/a-1.parquet")
    assert not storage.create("events/date=2026-01-01/a-1.parquet", b"later")
    assert storage.read("events/date=2026-01-01/a-1.parquet") == first
    assert storage.names("events/date=2026-01-01") == ["a-1.parquet"]
    assert storage.names("events/date=2026-01-01", "b") == []
    assert storage.folders("events") == ["date=2026-01-01"]
    storage.remove("events/date=2026-01-01/a-1.parquet")
    assert storage.names("events/date=2026-01-01") == []
    assert storage.names("events/none") == []


def test_events_end_up_in_hadoop_and_sql_finds_them(hdfs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    uri = f"{hdfs}/{uuid.uuid4().hex}"
    items = [
        Listener(tmp_path / name, UDP, "--data", uri, "--state", str(tmp_path / name / "data"))
        for name in ("one", "other")
    ]
    try:
        for item in items:
            item.start()
        for item in items:
            client = metlog.MetlogClient.from_config(
                {"logger": item.folder.name, "sender": item.status()["addresses"][0]}
            )
            for number in range(200):
                client.metlog("t", fields={"n": number})
            client.close()
        assert [item.stop() for item in items] == [0, 0]
    finally:
        for item in items:
            if item.process is not None and item.process.poll() is None:
                item.kill()
    with Lake(folder_for(uri)) as lake:
        found = lake.query(
            "SELECT logger, count(*), sum((fields->>'n')::INT) FROM events WHERE type = 't' GROUP BY logger ORDER BY 1"
        )
        assert [tuple(row) for row in found.rows] == [("one", 200, 19900), ("other", 200, 19900)]
        assert lake.query("SELECT sum(lost), sum(duplicates) FROM delivery").rows[0] == (0, 0)
        assert lake.query("SELECT count(*) FROM arrivals").rows[0] == (402,)
    assert _spark(f"{uri}/events", tmp_path) == "400"


def _spark(path: str, folder: Path) -> str:
    """The number of events of type `t`, as Spark counts them."""
    pytest.importorskip("pyspark", reason="needs pyspark 4")
    program = f"""
from pyspark.sql import SparkSession
spark = (SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
         .config("spark.sql.session.timeZone", "UTC").config("spark.sql.shuffle.partitions", "2").getOrCreate())
spark.sparkContext.setLogLevel("ERROR")
print("COUNT", spark.sql("SELECT count(*) FROM parquet.`{path}` WHERE type = 't'").first()[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"},
    )  # fmt: skip
    counted = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("COUNT ")]
    assert counted, done.stderr[-2000:]
    return counted[0]
