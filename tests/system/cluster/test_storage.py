"""The data set on shared storage, with real servers: SeaweedFS and moto for S3."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import uuid
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

import metlog
from metlog.errors import ConfigError
from metlog.lake.attached import folder_for
from metlog.lake.engine.client import GuardedLake
from metlog.lake.promotion.choice import Promotion
from metlog.lake.query import Lake, QueryError
from metlog.lake.sql.guard import parse
from metlog.lake.storage import check_uri, open_storage
from metlog.listener.config import from_mapping
from metlog.reports.sample import fill
from tests.helpers.promoted import file_content
from tests.system.cluster.servers import ACCESS, Listener, poll, uri_of

UDP = """
[journal]
segment_age = 0.5
[[inputs]]
name = "udp"
port = 0
"""


def new_uri(endpoint: str) -> str:
    return uri_of(endpoint, f"lake/{uuid.uuid4().hex}")


def listener(folder: Path, uri: str) -> Listener:
    return Listener(folder, UDP, "--data", uri, "--state", str(folder / "data"), env=ACCESS)


def send(item: Listener, number: int) -> None:
    """So many events in a stream of their own."""
    client = metlog.MetlogClient.from_config({"logger": "shop", "sender": item.status()["addresses"][0]})
    for _ in range(number):
        client.metlog("t", fields={"host": item.folder.name})
    client.close()


def ended(*items: Listener) -> None:
    for item in items:
        if item.process is not None and item.process.poll() is None:
            item.kill()


def test_a_name_is_given_once_whoever_asks(endpoint: str) -> None:
    uri = new_uri(endpoint)
    outcomes: list[bool] = []

    def create(number: int) -> None:
        outcomes.append(open_storage(uri).create("events/date=2026-01-01/a-1.parquet", b"%d" % number))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]
    storage = open_storage(uri)
    first = storage.read("events/date=2026-01-01/a-1.parquet")
    assert not storage.create("events/date=2026-01-01/a-1.parquet", b"later")
    assert storage.read("events/date=2026-01-01/a-1.parquet") == first


def test_names_are_listed_by_folder_and_beginning(endpoint: str) -> None:
    storage = open_storage(new_uri(endpoint))
    for name in ("a-1", "a-2", "a-10", "ab", "b-1"):
        storage.create(f"events/date=2026-01-01/{name}", b"x")
    storage.create("events/date=2026-01-02/a-3", b"x")
    assert storage.names("events/date=2026-01-01") == ["a-1", "a-10", "a-2", "ab", "b-1"]
    assert storage.names("events/date=2026-01-01", "a-") == ["a-1", "a-10", "a-2"]
    assert storage.names("events/date=2026-01-03") == []
    assert storage.folders("events") == ["date=2026-01-01", "date=2026-01-02"]
    storage.remove("events/date=2026-01-02/a-3")
    storage.remove("events/date=2026-01-02/a-3")
    assert storage.names("events/date=2026-01-02") == []


def test_a_slash_too_many_in_a_uri_is_no_other_folder(endpoint: str, tmp_path: Path) -> None:
    uri = new_uri(endpoint)
    odd = uri.replace("//lake/", "//lake//", 1).replace("?", "//?", 1)
    fill(tmp_path, days=1, per_day=20, until=datetime(2026, 6, 30, 23, tzinfo=UTC))
    (file,) = (tmp_path / "events").glob("*/*.parquet")
    name = f"events/{file.parent.name}/{file.name}"
    assert open_storage(odd).create(name, file.read_bytes())
    assert not open_storage(uri).create(name, b"")
    counts = []
    for where in (uri, odd):
        with Lake(folder_for(where)) as lake:
            counts += lake.query("SELECT count(*) FROM events").rows
    assert counts[0] == counts[1] != (0,)


def test_a_part_of_a_file_is_read_without_the_rest(endpoint: str) -> None:
    storage = open_storage(new_uri(endpoint))
    content = bytes(range(256)) * 8
    storage.create("x", content)
    with storage.open("x") as file:
        file.seek(-10, 2)
        assert file.read() == content[-10:]
        file.seek(100)
        assert (file.read(5), file.tell(), file.read(0)) == (content[100:105], 105, b"")
    with pytest.raises(FileNotFoundError):
        storage.read("y")
    with pytest.raises(FileNotFoundError):
        storage.open("y")


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("ftp://host/x", "no storage of this kind"),
        ("s3://user:secret@lake/x", "must not hold a password"),
        ("s3:///x", "names no bucket"),
        ("s3://user@lake/x", "must not hold a password"),
        ("s3://lake:abc/x", "its host, or its port, is none"),
        ("hdfs://lake:abc/x", "its host, or its port, is none"),
        ("hdfs://lake:99999/x", "its host, or its port, is none"),
        ("s3://user:ab℀c@lake/x", "its host, or its port, is none"),
        ("s3://lake:9000/x", "has no port"),
        ("s3://lake/x#abc", "has no fragment"),
        ("s3://lake/x?abc", "NAME=VALUE"),
        ("s3://lake/x?reigon=eu", "'reigon' is not valid"),
        ("s3://lake/x?secret_access_key=abc", "comes from the environment"),
    ],
)
def test_a_uri_that_cannot_be_right_is_told_without_its_secrets(uri: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        check_uri(uri)
    assert "abc" not in str(raised.value)
    assert "user" not in str(raised.value)
    with pytest.raises(ConfigError, match=told):
        from_mapping({}, data=uri)


def test_state_is_only_for_a_data_set_that_lies_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"listener\.state"):
        from_mapping({"listener": {"state": str(tmp_path)}}, data=tmp_path)
    checked = from_mapping({}, data="s3://lake/x?region=eu-central-1", state=tmp_path)
    assert checked.general.data == tmp_path
    assert checked.outputs[0].spec["uri"] == "s3://lake/x?region=eu-central-1"
    assert checked.where == "s3://lake/x"


def test_two_listeners_write_one_data_set_and_anybody_reads_it(endpoint: str, tmp_path: Path, cache: Path) -> None:
    uri = new_uri(endpoint)
    items = [listener(tmp_path / name, uri) for name in ("one", "other")]
    try:
        for item in items:
            item.start()
        for item in items:
            send(item, 300)
        assert [item.stop() for item in items] == [0, 0]
    finally:
        ended(*items)
    folder = folder_for(uri)
    assert folder.is_relative_to(cache)
    with Lake(folder) as lake:
        found = lake.query(
            "SELECT fields->>'host' AS host, count(*) FROM events WHERE type = 't' GROUP BY host ORDER BY host"
        )
        assert [tuple(row) for row in found.rows] == [("one", 300), ("other", 300)]
        assert lake.query("SELECT sum(received), sum(lost), count(*) FROM delivery").rows[0] == (602, 0, 2)
        assert lake.query("SELECT count(*) FROM events WHERE date = $day", {"day": date(2020, 1, 1)}).rows[0] == (0,)
        files = lake.query("SELECT kind, sum(events), min(bytes) > 0 FROM files GROUP BY kind").rows
        assert [tuple(row) for row in files] == [("parquet", 602, True)]
        arrivals = lake.query("SELECT count(*), count(DISTINCT (arrival_file, arrival_row)) FROM arrivals").rows[0]
        assert arrivals == (602, 602)
        with pytest.raises(QueryError):
            lake.query(f"SELECT * FROM read_parquet('{uri.partition('?')[0]}/events/*/*.parquet')")
    with Lake(tmp_path / "one" / "data") as lake:  # a listener's own folder knows where its data set lies
        assert lake.query("SELECT count(*) FROM events").rows[0] == (602,)


def test_promoted_columns_are_chosen_once_and_read_where_the_files_lie(endpoint: str, cache: Path) -> None:
    uri = new_uri(endpoint)
    storage = open_storage(uri)
    users = [{"user": f"u{n % 9}", "ms": n / 4} for n in range(600)]
    for number, fields in enumerate([users, users, [{"user": 7}, {"user": {"a": 1}}, {"ms": None}]]):
        promotion = Promotion(storage, True)  # each a writer of its own
        content = file_content([fields], promotion, first=number * 1000)
        assert storage.create(f"events/date=2026-03-01/file-{number}.parquet", content)
    assert Promotion(storage).choice().names == ["ms", "user"]
    assert storage.names("promoted") == ["00000001.json"]
    questions = (
        "SELECT fields->>'user' AS user, count(*), sum(TRY_CAST(fields->>'ms' AS DOUBLE)) FROM events GROUP BY user ORDER BY user",
        "SELECT seq, fields->'user' AS v FROM events WHERE fields->>'user' IN ('u1', '7') ORDER BY seq",
        "SELECT * FROM events WHERE fields->>'user' = 'u3' ORDER BY seq",
    )
    with Lake(folder_for(uri)) as lake:
        for sql in questions:
            assert parse(sql).promotable is not None
            assert lake.query(sql).rows == lake.query(sql.replace("fields-", "(fields || '')::JSON-")).rows
            limited = lake.query(sql, loggers=["shop"]).rows
            assert limited == lake.query(sql).rows


def test_the_pages_engine_reads_it_without_credentials_in_its_environment(
    weed: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in ACCESS.items():
        monkeypatch.setenv(key, value)
    uri = new_uri(weed)
    item = listener(tmp_path / "one", uri)
    try:
        item.start()
        send(item, 50)
        assert item.stop() == 0
    finally:
        ended(item)
    lake = GuardedLake(folder_for(uri))
    try:
        assert lake.query("SELECT count(*) FROM events").rows[0] == (51,)
        engine = lake._engine
        assert engine is not None
        environment = Path(f"/proc/{engine.process.pid}/environ").read_bytes()
        assert ACCESS["AWS_SECRET_ACCESS_KEY"].encode() not in environment
        for sql in (
            "SELECT getenv('AWS_SECRET_ACCESS_KEY')",
            "SELECT * FROM duckdb_secrets()",
            "SELECT * FROM '/etc/passwd'",
        ):
            with pytest.raises(QueryError):
                lake.query(sql)
    finally:
        lake.close()


def test_a_listener_whose_folder_is_a_copy_is_refused(weed: str, tmp_path: Path) -> None:
    uri = new_uri(weed)
    original, copy = listener(tmp_path / "original", uri), listener(tmp_path / "copy", uri)
    try:
        original.start()
        send(original, 10)
        assert original.stop() == 0
        shutil.copytree(original.folder / "data", copy.folder / "data", ignore=shutil.ignore_patterns("takeover"))
        original.start()
        poll(
            lambda: (
                original.status()["outputs"]["lake"].get("at") and not original.status()["outputs"]["lake"]["error"]
            ),
            20,
            "it claims",
        )
        copy.start()
        poll(
            lambda: "is a copy of the other's" in copy.status()["outputs"]["lake"].get("error", ""),
            20,
            "the copy is refused",
        )
        assert "identity.json" in copy.status()["outputs"]["lake"]["error"]
        send(original, 10)
        assert original.stop() == 0
        copy.stop()
        (copy.folder / "data" / "journal" / "main" / "identity.json").unlink()
        copy.start()
        send(copy, 5)
        assert copy.stop() == 0
    finally:
        ended(original, copy)
    os.environ.update(ACCESS)
    with Lake(copy.folder / "data") as lake:
        assert lake.query("SELECT count(*), count(DISTINCT (stream, seq)) FROM events WHERE type = 't'").rows[0] == (
            25,
            25,
        )


def test_an_outage_of_the_store_costs_nothing_but_lag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moto: str
) -> None:
    """The store is put behind a relay that is stopped for some seconds."""
    for key, value in ACCESS.items():
        monkeypatch.setenv(key, value)
    import socket
    import subprocess
    import sys

    target = moto.removeprefix("http://").split(":")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    relay = subprocess.Popen(
        [sys.executable, "-m", "tests.system.cluster.relay", str(port), *target], cwd=Path(__file__).parents[3]
    )
    uri = new_uri(f"http://127.0.0.1:{port}")
    item = listener(tmp_path / "one", uri)
    try:
        item.start()
        send(item, 100)
        poll(lambda: item.status()["outputs"]["lake"].get("events", 0) >= 101, 30, "the first events are stored")
        relay.send_signal(signal.SIGSTOP)
        send(item, 100)
        poll(
            lambda: item.status()["outputs"]["lake"]["error"] or item.status()["outputs"]["lake"]["behind_seconds"] > 1,
            60,
            "it is behind",
        )
        relay.kill()
        relay.wait()
        send(item, 100)
        poll(lambda: "cannot write to s3://lake/" in item.status()["outputs"]["lake"]["error"], 60, "the error is told")
        relay = subprocess.Popen(
            [sys.executable, "-m", "tests.system.cluster.relay", str(port), *target], cwd=Path(__file__).parents[3]
        )
        poll(
            lambda: item.status()["outputs"]["lake"].get("events", 0) >= 303,
            90,
            "the rest is stored when the store is back",
        )
        assert item.stop() == 0
        with Lake(item.folder / "data") as lake:
            assert lake.query("SELECT sum(received), sum(duplicates), sum(lost) FROM delivery").rows[0] == (303, 0, 0)
    finally:
        ended(item)
        relay.kill()
        relay.wait()
