"""Spark's Thrift server beside DuckDB: every report in three time zones over a million events, expressions, TLS, the end of a query."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from metlog.engines import Engine, open_engine
from metlog.engines.ddl import ddl, location_of
from metlog.lake.cancel import Cancel
from metlog.lake.query import Lake
from metlog.lake.sql.guard import QueryError
from metlog.reports import Library
from tests.helpers import certificates
from tests.helpers.comparing import aggregates, expressions, refused
from tests.helpers.engines import NASTY, differences, make_lake
from tests.helpers.java import spark_server, statements
from tests.helpers.waiting import wait_for

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

PER_DAY = int(os.environ.get("METLOG_TEST_PER_DAY", "10600"))
"""Requests a day: 10,600 make a million events of thirty days."""


class Server(NamedTuple):
    folder: Path
    port: int
    data: Path
    lake: Engine
    spark: Engine


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("spark")
    with spark_server(folder) as port:
        data = make_lake(folder / "lake data", per_day=PER_DAY)
        run(port, ddl("spark", location_of(data, None)))
        spark = open_engine(f"spark://127.0.0.1:{port}/metlog")
        with Lake(data, timeout=300) as lake:
            yield Server(folder, port, data, lake, spark)
        spark.close()


def run(port: int, text: str) -> None:
    """Runs statements, each as it was printed."""
    engine = open_engine(f"spark://127.0.0.1:{port}")
    for statement in statements(text):
        with engine.raw(statement) as stream:
            list(stream.batches)
    engine.close()


@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin", "America/St_Johns"])
@pytest.mark.parametrize("name", [report.name for report in Library()])
def test_a_report_is_the_same(server: Server, name: str, tz: str) -> None:
    report = Library()[name]
    since = "2026-03-29" if name == "delivery-by-minute" else "2026-03-01"
    given = {"since": since, "until": "2026-04-02", "tz": tz}
    began = time.perf_counter()
    ours = report.run(server.lake, given, limit=None)
    between = time.perf_counter()
    theirs = report.run(server.spark, given, limit=None)
    print(f"timing {name} {tz} duckdb {between - began:.2f} spark {time.perf_counter() - between:.2f}")
    assert ours.arrow.schema == theirs.arrow.schema
    assert ours.rows
    assert differences(ours.rows, theirs.rows) == []


def test_there_are_a_million_events(server: Server) -> None:
    counted = server.spark.query(
        "SELECT count(*), min(timestamp), max(timestamp), count(DISTINCT date) FROM events"
    ).rows
    assert (
        counted
        == server.lake.query("SELECT count(*), min(timestamp), max(timestamp), count(DISTINCT date) FROM events").rows
    )
    assert counted[0][0] > (1_000_000 if PER_DAY == 10_600 else 94 * PER_DAY)


def test_expressions_are_the_same(server: Server) -> None:
    assert refused(server.spark) == []
    assert list(expressions(server.lake, server.spark)) == []
    assert list(aggregates(server.lake, server.spark)) == []


def test_values_arrive_as_they_are(server: Server) -> None:
    names = [f"x{number}" for number in range(len(NASTY))]
    columns = ", ".join(f"${name} AS {name}, count(*) FILTER (payload = ${name}) AS n{name}" for name in names)
    found = server.spark.query(
        f"SELECT {columns} FROM events WHERE type = 'text'", dict(zip(names, NASTY, strict=True))
    ).rows[0]
    assert list(found[::2]) == NASTY
    assert list(found[1::2]) == [1] * len(NASTY)


def test_views_of_delivery_files_and_arrivals(server: Server) -> None:
    for sql in (
        "SELECT date, kind, name, bytes, events FROM files ORDER BY date, name",
        "SELECT stream, received, lost, duplicates, ended FROM delivery ORDER BY stream LIMIT 50",
        "SELECT arrival_file, arrival_row, seq FROM arrivals WHERE logger = 'odd' ORDER BY date, arrival_file, arrival_row",
    ):
        ours, theirs = server.lake.query(sql), server.spark.query(sql)
        assert ours.rows
        assert differences(ours.rows, theirs.rows) == []


def test_who_sees_one_service_sees_no_other_and_no_error_tells_of_one(server: Server) -> None:
    sql = "SELECT DISTINCT logger FROM events"
    assert server.spark.query(sql, loggers=["odd"]).rows == [("odd",)]
    assert server.spark.query(sql, loggers=[]).rows == []
    # For everybody else this is an error: with another service's payload it must not be one.
    counted = server.spark.query("SELECT count(*) FROM events WHERE CAST(payload AS INTEGER) = 1", loggers=["nobody"])
    assert counted.rows == [(0,)]
    with pytest.raises(QueryError, match="CAST_INVALID_INPUT"):
        server.spark.query("SELECT count(*) FROM events WHERE CAST(payload AS INTEGER) = 1")


def test_new_days_are_seen_and_removed_files_are_no_error(server: Server) -> None:
    before = server.spark.query("SELECT count(*) FROM events").rows[0][0]
    source = next((server.data / "events" / "date=2026-03-30").glob("odd*.parquet"))
    new = server.data / "events" / "date=2026-04-20"
    new.mkdir()
    target = new / "more.parquet"
    target.write_bytes(source.read_bytes())
    more = server.spark.query("SELECT count(*) FROM events WHERE date = DATE '2026-04-20'").rows[0][0]
    assert more > 0
    target.unlink()
    new.rmdir()
    assert server.spark.query("SELECT count(*) FROM events").rows[0][0] == before


HEAVY = "SELECT count(*) FROM events a JOIN events b ON a.pid <> b.pid WHERE a.payload || b.payload = 'x'"


def test_a_query_ends_at_its_limit_and_is_cancelled_in_spark(server: Server) -> None:
    log = server.folder / "spark.log"
    before = log.read_text("utf-8", "replace").count("Cancelled")
    began = time.monotonic()
    with pytest.raises(QueryError) as caught:
        server.spark.query(HEAVY, timeout=3)
    assert caught.value.kind == "timeout"
    cancel = Cancel()
    threading.Timer(3, cancel.cancel).start()
    with pytest.raises(QueryError) as caught:
        server.spark.query(HEAVY, cancel=cancel)
    assert caught.value.kind == "cancelled"
    assert time.monotonic() - began < 120
    assert cancel.progress is not None
    # Nothing goes on in there: the two statements were cancelled, and the next one has the machine to itself.
    words = ("cancelled", "canceled", "Asked to cancel")
    wait_for(lambda: sum(log.read_text("utf-8", "replace").count(word) for word in words) > before, 60, every=0.5)


def test_the_command_asks_spark(server: Server) -> None:
    url = f"spark://127.0.0.1:{server.port}/metlog"
    environment = {**os.environ, "METLOG_ENGINE": url}

    def metlog(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "metlog", *arguments], capture_output=True, text=True, timeout=300, cwd=server.folder, env=environment
        )  # fmt: skip

    done = metlog(
        "query",
        "SELECT type, count(*) AS n FROM events WHERE logger = 'odd' GROUP BY type ORDER BY type",
        "--format",
        "csv",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "type,n"
    assert done.stdout.splitlines()[1].startswith("counter,")
    done = metlog("query", "SHOW TABLES IN metlog", "--raw", "--format", "csv")
    assert "metlog,events,false" in done.stdout.splitlines()
    done = metlog("report", "logins", "--since", "2026-03-30", "--until", "2026-04-01", "--format", "csv")
    assert done.stdout.splitlines()[0] == "time,logins,failures"
    done = metlog("query", "SELECT strptime(payload, '%Y') FROM events")
    assert (done.returncode, "the function strptime" in done.stderr, "Spark" in done.stderr) == (1, True, True)


def test_a_server_that_is_not_there_is_told(server: Server) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        engine = open_engine(f"spark://127.0.0.1:{sock.getsockname()[1]}/metlog")
    with pytest.raises(QueryError, match=r"spark://127\.0\.0\.1:\d+/metlog: no connection"):
        engine.query("SELECT 1 AS x")
    other = open_engine(f"spark://127.0.0.1:{server.port}/nowhere")
    with pytest.raises(QueryError, match="nowhere"):
        other.query("SELECT 1 AS x")


def test_over_tls_the_certificate_is_checked_and_the_password_stays_hidden(server: Server, tmp_path: Path) -> None:
    certificates.make(tmp_path)
    (tmp_path / "password").write_text("a-secret-word\n")
    with tls_proxy(server.port, tmp_path) as port:
        url = f"spark://127.0.0.1:{port}/metlog?tls=true&ca={tmp_path}/ca.pem&auth=LDAP&user=me&password_file={tmp_path}/password"
        engine = open_engine(url)
        # The server asks for no password; what is sent as one is taken.
        assert engine.query("SELECT count(*) > 0 AS x FROM events WHERE logger = 'odd'").rows == [(True,)]
        engine.close()
        stranger = open_engine(url.replace("/ca.pem", "/otherca.pem"))
        with pytest.raises(QueryError, match="no connection") as caught:
            stranger.query("SELECT 1 AS x")
        assert "a-secret-word" not in str(caught.value)
        assert "certificate" in str(caught.value).lower() or "connect" in str(caught.value)


@contextlib.contextmanager
def tls_proxy(target: int, folder: Path) -> Iterator[int]:
    """A port that talks TLS and hands on to the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                secret = context.wrap_socket(plain, server_side=True)
                onward = socket.create_connection(("127.0.0.1", target))
                for pair in ((secret, onward), (onward, secret)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def test_the_engine_hive_speaks_the_same_protocol_and_wants_utc(server: Server) -> None:
    """HiveServer2 cannot be had here: its protocol, against Spark's server; its dialect, on Hive's own driver in test_hive."""
    url = f"hive://127.0.0.1:{server.port}/metlog"
    with pytest.raises(QueryError, match=r"time zone is not UTC \(0 seconds are 1970-01-01 05:30:00 there\)"):
        open_engine(url).query("SELECT 1 AS x")
    hive = open_engine(f"{url}?set=spark.sql.session.timeZone%3DUTC")
    sql = "SELECT date_trunc('day', timezone('Europe/Berlin', timestamp)) AS day, sum(weight) FILTER (severity <= 3) AS bad"
    sql += " FROM events GROUP BY day ORDER BY day"
    assert differences(server.lake.query(sql).rows, hive.query(sql).rows) == []
