"""From an event over HDFS to SQL, with a real NameNode and DataNode; Spark's Thrift server reads the same files."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import metlog
from metlog.engines import open_engine
from metlog.engines.ddl import ddl, location_of
from metlog.lake.attached import folder_for
from metlog.lake.query import Lake
from metlog.lake.storage import open_storage
from metlog.reports import Library
from tests.helpers.java import spark_server, statements
from tests.system.cluster.servers import Listener
from tests.system.hadoop import servers

pytestmark = [pytest.mark.hadoop, pytest.mark.timeout(600)]

COUNTS = "SELECT logger, count(*), sum((fields->>'n')::INT) FROM events WHERE type = 't' GROUP BY logger ORDER BY 1"
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
        assert lake.query("SELECT sum(lost), sum(duplicates) FROM delivery").rows[0] == (0, 0)
        assert lake.query("SELECT count(*) FROM arrivals").rows[0] == (402,)
    with spark_server(tmp_path) as port:
        with closing(open_engine(f"spark://127.0.0.1:{port}")) as engine:
            for statement in statements(ddl("spark", location_of(None, uri))):
                with engine.raw(statement) as stream:
                    list(stream.batches)
        report = Library()["events-by-type"]
        with Lake(folder_for(uri)) as lake, closing(open_engine(f"spark://127.0.0.1:{port}/metlog")) as engine:
            assert engine.query(COUNTS).rows == lake.query(COUNTS).rows == [("one", 200, 19900), ("other", 200, 19900)]
            ours, theirs = (report.run(each, {"since": "1d"}, limit=None) for each in (lake, engine))
            assert ours.rows == theirs.rows != []
