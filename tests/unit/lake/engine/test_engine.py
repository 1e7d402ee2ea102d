"""The engine in a process of its own: the same answers, and an end to everything that DuckDB alone lets go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from metlog.errors import ConfigError
from metlog.lake.engine.client import GuardedLake
from metlog.lake.query import Cancel, Lake, QueryError
from metlog.reports.sample import fill
from tests.helpers.waiting import wait_for

pytestmark = pytest.mark.process

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
UNINTERRUPTED = "SELECT jaro_winkler_similarity(repeat('a', 6000000), repeat('b', 6000000)) AS {}"
"""One call of a function that goes on for minutes and does not look up."""
ENDLESS = "SELECT count(*) FROM events e, range(100000000000) r WHERE r.range % 7 = e.severity"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    fill(folder, days=3, per_day=400, until=NOW)
    return folder


def small(data: Path) -> GuardedLake:
    return GuardedLake(data, memory="300MB", spill="50MB", headroom=400 << 20)


@pytest.fixture
def lake(data: Path) -> Iterator[GuardedLake]:
    made = small(data)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(data: Path) -> Iterator[GuardedLake]:
    """One for all queries that are answered, and that leave the engine as it was."""
    made = small(data)
    yield made
    made.close()


@pytest.fixture(scope="module")
def plain(data: Path) -> Iterator[Lake]:
    with Lake(data) as made:
        yield made


def engine_of(lake: GuardedLake) -> int:
    lake.start()
    assert lake._engine is not None
    return lake._engine.process.pid


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT * FROM events WHERE stream <> '' ORDER BY stream, seq, received_at LIMIT 50", None),
        ("SELECT type, sum(weight) AS n, max(timestamp) FROM events GROUP BY type ORDER BY type", None),
        ("SELECT count(*) FROM events WHERE timestamp >= $since AND timestamp < $until AND logger = $logger",
         {"since": NOW - timedelta(days=1), "until": NOW, "logger": "shop"}),
        ("SELECT $a AS a, $b AS b, $c AS c, $d AS d, $e AS e, $f AS f",
         {"a": None, "b": True, "c": 2**53, "d": 1.5, "e": date(2026, 1, 2), "f": datetime(2026, 1, 2, 3, 4, 5, 6)}),
        ("SELECT ?, ?", ["é\n", -1]),
        ("SELECT 1::HUGEINT, 1.50::DECIMAL(9,2), [1, NULL], {'a': [1.5]}, map {'k': 'v'}, INTERVAL 3 DAY, '\\xAA'::BLOB, "
         "'{\"a\":1}'::JSON, TIME '01:02:03', uuid() IS NULL, 'a'::ENUM('a', 'b'), NULL", None),
        ("SELECT 1 AS x, 2 AS x, 3 AS \"a.b\"", None),
        ("SELECT * FROM events WHERE false", None),
        ("SELECT * FROM delivery ORDER BY stream", None), ("SELECT sum(events) FROM files", None),
    ],
)  # fmt: skip
def test_it_answers_as_the_lake_itself_does(plain: Lake, shared: GuardedLake, sql: str, params: object) -> None:
    wanted = plain.query(sql, params)  # type: ignore[arg-type]
    found = shared.query(sql, params)  # type: ignore[arg-type]
    assert found.columns == wanted.columns
    assert found.rows == wanted.rows
    assert found.arrow.schema.equals(wanted.arrow.schema)


@pytest.mark.parametrize(
    "sql",
    ["SELECT\n  paylod FROM events", "SELECT * FROM nowhere", "SELEC 1", "SELECT 1; SELECT 2",
     "SELECT CAST(type AS INT) FROM events WHERE type = 'request'",
     "SELECT $missing", "SELECT error('said')"],
)  # fmt: skip
def test_an_error_comes_with_its_kind_words_and_place(plain: Lake, shared: GuardedLake, sql: str) -> None:
    with pytest.raises(QueryError) as wanted:
        plain.query(sql)
    with pytest.raises(QueryError) as found:
        shared.query(sql)
    same = ("kind", "message", "line", "column")
    assert [getattr(found.value, name) for name in same] == [getattr(wanted.value, name) for name in same]
    assert str(found.value) == str(wanted.value)


def test_a_long_result_streams_in_small_parts_and_a_limit_stops_it(lake: GuardedLake) -> None:
    sql = "SELECT range AS n, repeat('x', 20000) AS long FROM range(3000)"
    with lake.stream(sql) as stream:
        batches = list(stream.batches)
    assert sum(batch.num_rows for batch in batches) == 3000
    assert max(batch.nbytes for batch in batches) < 16 << 20
    result = lake.query("SELECT * FROM range(100000000000)", limit=10)
    assert (len(result.rows), result.truncated) == (10, True)
    with pytest.raises(QueryError, match="larger than 1 MiB") as caught:
        lake.query(sql, max_bytes=1 << 20)
    assert caught.value.kind == "memory"
    with pytest.raises(QueryError, match="a row of the result is larger"):
        lake.query("SELECT repeat('x', 50000000)")
    assert lake.restarts == 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT length(repeat('x', 3000000000))",
        "SELECT repeat('x', 1000000 + range) FROM range(8192)",
        "SELECT max(length(s)) FROM (SELECT repeat('x', 1000000 + (range % 7)) AS s FROM range(100000))",
        "SELECT sum(len(range(100000000 + i))) FROM range(16) t(i)",
        "SELECT length(printf('%2000000000d', 1))",
        "SELECT length(format('{:2000000000}', 1))",
        "SELECT damerau_levenshtein(repeat('a', 30000), repeat('b', 30000))",
        "SELECT list_reduce(range(1000000000), lambda x, y: x + y)",
        "SELECT list_sort(list_transform(range(300000000), lambda x: hash(x)))[1]",
        "SELECT len(string_split(repeat('a,', 500000000), ','))",
        "SELECT len(list(range)) FROM range(1000000000)",
        "SELECT length(string_agg(repeat('x', 1000), '')) FROM range(10000000)",
        "WITH RECURSIVE r(n, s) AS (SELECT 1, 'x' UNION ALL SELECT n + 1, s || s FROM r WHERE n < 60) SELECT max(length(s)) FROM r",
        "SELECT " + ", ".join(f"repeat('x', 10000) AS c{n}" for n in range(1500)) + " FROM range(100000)",
        "SELECT max(x) FROM (SELECT row_number() OVER (ORDER BY u) AS x FROM (SELECT uuid()::VARCHAR AS u FROM range(300000000)))",
        "SELECT count(*) FROM (SELECT DISTINCT uuid() FROM range(300000000))",
    ],
    ids=lambda sql: sql[:40],
)  # fmt: skip
def test_a_query_that_would_fill_memory_or_disk_is_ended_with_a_word_about_it(lake: GuardedLake, sql: str) -> None:
    engine = engine_of(lake)
    with pytest.raises(QueryError) as caught:
        lake.query(sql, timeout=100)
    assert caught.value.kind == "memory"
    assert "memory" in str(caught.value)
    assert lake.query("SELECT count(*) > 0 FROM events").rows == [(True,)]
    if engine == engine_of(lake):
        status = Path(f"/proc/{engine}/status").read_text().splitlines()
        for peak in [line for line in status if line.startswith("VmHWM")]:  # none of a process that ends just now
            assert int(peak.split()[1]) * 1024 < 900 << 20


def test_a_query_that_cannot_be_interrupted_is_ended_and_the_others_are_asked_again(data: Path) -> None:
    lake = GuardedLake(data, memory="300MB", spill="50MB")
    engine = engine_of(lake)
    answers: list[object] = []

    def patient() -> None:
        try:
            answers.append(lake.query(ENDLESS, timeout=120, cancel=given_up).rows)
        except QueryError as error:
            answers.append(error.kind)

    given_up = Cancel()
    thread = threading.Thread(target=patient)
    thread.start()
    with pytest.raises(QueryError) as caught:
        lake.query(UNINTERRUPTED.format("x"), timeout=3)  # long enough to be in the middle of it on a busy machine
    assert caught.value.kind == "timeout"
    assert "3 s" in str(caught.value)
    wait_for(lambda: engine_of(lake) != engine)
    assert answers == [], "it is still being answered, by the new engine"
    given_up.cancel()
    thread.join(20)
    assert answers == ["cancelled"]
    assert not Path(f"/proc/{engine}").exists()
    assert lake.restarts == 1
    lake.close()


@pytest.mark.parametrize("sql", [ENDLESS, UNINTERRUPTED.format("y")], ids=["endless", "uninterrupted"])
def test_a_cancelled_query_is_gone_soon(data: Path, sql: str) -> None:
    lake = GuardedLake(data)
    lake.start()
    cancel = Cancel()
    threading.Timer(0.3, cancel.cancel).start()
    began = time.monotonic()
    with pytest.raises(QueryError) as caught:
        lake.query(sql, cancel=cancel, timeout=300)
    assert caught.value.kind == "cancelled"
    assert time.monotonic() - began < 30  # far from the limit
    assert lake.query("SELECT 1").rows == [(1,)]
    lake.close()


def test_an_engine_that_dies_is_told_of_and_started_again(lake: GuardedLake) -> None:
    engine = engine_of(lake)
    threading.Timer(0.3, os.kill, [engine, signal.SIGKILL]).start()
    with pytest.raises(QueryError, match="SIGKILL") as caught:
        lake.query(ENDLESS, timeout=60)
    assert caught.value.kind == "memory"
    assert lake.query("SELECT 1").rows == [(1,)]
    os.kill(engine_of(lake), signal.SIGKILL)
    wait_for(lambda: lake._engine is not None and not lake._engine.alive)
    assert lake.query("SELECT 2").rows == [(2,)], "between two queries nobody notices"
    assert lake.restarts == 2


def test_the_engine_knows_no_tokens_comes_last_and_leaves_nothing_behind(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METLOG_PAGE_TOKEN", "a-token-nobody-may-read")
    lake = GuardedLake(data)
    engine = Path(f"/proc/{engine_of(lake)}")
    assert b"nobody-may-read" not in (engine / "environ").read_bytes()
    lake.query("SELECT count(*) FROM events")
    assert not any(name in (engine / "maps").read_text() for name in ("/numpy/", "/pandas/")), (
        "they take 0.2 s and 50 MB"
    )
    assert int((engine / "oom_score_adj").read_text()) > 0
    assert lake._engine is not None
    folder = Path(lake._engine.folder)
    assert folder.is_dir()
    lake.close()
    assert not folder.exists()
    assert not engine.exists()
    with pytest.raises(QueryError) as caught:
        lake.query("SELECT 1")
    assert caught.value.kind == "cancelled"


@pytest.mark.parametrize("sql", [ENDLESS, UNINTERRUPTED.format("z")], ids=["endless", "uninterrupted"])
def test_an_engine_whose_page_was_killed_ends_and_cleans_up(data: Path, sql: str) -> None:
    code = (
        "import sys; from metlog.lake.engine.client import GuardedLake; lake = GuardedLake(sys.argv[1]); lake.start();"
        "print(lake._engine.process.pid, lake._engine.folder, flush=True); lake.query(sys.argv[2])"
    )
    page = subprocess.Popen([sys.executable, "-c", code, str(data), sql], stdout=subprocess.PIPE, text=True)
    assert page.stdout is not None
    engine, folder = page.stdout.readline().split()
    page.kill()
    page.communicate()
    wait_for(lambda: not Path(f"/proc/{engine}").exists())
    assert not Path(folder).exists()


def test_queries_are_answered_at_once_from_many_threads(lake: GuardedLake) -> None:
    found: list[object] = []

    def ask(number: int) -> None:
        found.append((number, lake.query(f"SELECT {number} + count(*) * 0 FROM events").rows[0][0]))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(number, number) for number in range(24)]  # type: ignore[type-var]
    assert lake.restarts == 0


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        GuardedLake(tmp_path / "nowhere")


@pytest.mark.parametrize("sizes", [{"memory": "lots"}, {"spill": "4"}, {"memory": "-1GB"}, {"memory": ""}])
def test_a_size_that_is_none_is_told_at_once(data: Path, sizes: dict[str, str]) -> None:
    (name,) = sizes
    with pytest.raises(ConfigError, match=rf"^{name} = '.*': wants a number and KB"):
        GuardedLake(data, **sizes)
    with pytest.raises(ConfigError, match=rf"^{name} = '.*': wants a number and KB"):
        Lake(data, **sizes)


def test_an_engine_that_cannot_start_says_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    lake = GuardedLake(data)
    with pytest.raises(QueryError, match="does not start"):
        lake.query("SELECT 1")
    lake.close()


def test_an_engine_without_its_data_set_says_where_it_should_be(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lake.json").write_text('{"uri":"file:///nonexistent/lake"}')
    lake = GuardedLake(tmp_path)
    with pytest.raises(
        QueryError, match=r"does not start: there is no data set 'file:///nonexistent/lake'.*lake\.json"
    ):
        lake.start()
    lake.close()
    assert capfd.readouterr().err == ""


def test_a_query_that_takes_its_time_tells_how_far_it_is(lake: GuardedLake) -> None:
    cancel = Cancel()
    ended = threading.Event()

    def ask() -> None:
        with pytest.raises(QueryError, match="cancelled"):
            lake.query("SELECT i % 7 AS a, sum(sqrt(i)) FROM range(4000000000) t(i) GROUP BY a", cancel=cancel)
        ended.set()

    threading.Thread(target=ask, daemon=True).start()
    wait_for(lambda: cancel.progress is not None and (cancel.progress.share or 0) > 0.01)
    assert cancel.progress is not None
    assert cancel.progress.text.endswith("% read")
    cancel.cancel()
    assert ended.wait(30)
