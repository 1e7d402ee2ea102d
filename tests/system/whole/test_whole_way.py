"""From `metlog.log()` in one process to a SQL answer from another, over real sockets and files."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from metlog.cli import main
from metlog.lake.query import open_lake
from tests.helpers.listener import Listener, environment, metlog_command
from tests.helpers.waiting import eventually, wait_for

SENDER = """
    import sys, time, metlog
    client = metlog.configure(sys.argv[1], logger="sender")
    number, pause = int(sys.argv[2]), float(sys.argv[3])
    for n in range(number):
        metlog.log(("numbered", "whole"), f"event {n}", fields={"n": n, "filler": "x" * 100})
        if n % 200 == 199:
            time.sleep(pause)
    assert metlog.flush(10)
    assert metlog.stats().sent == number, metlog.stats()
"""


def send(address: str, number: int, pause: float = 0.005) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(SENDER), address, str(number), str(pause)]
    return subprocess.Popen(command, text=True, env=environment())


def counts(data: Path) -> tuple[int, int]:
    sql = "SELECT count(*), count(DISTINCT (fields->>'n')::BIGINT) FROM events WHERE type = 'numbered'"
    rows = open_lake(data).query(sql).rows
    return rows[0][0], rows[0][1]


def test_twenty_thousand_events_over_udp_are_found_exactly_once(listen: Callable[..., Listener]) -> None:
    listener = listen()
    sender = send(listener.address("udp"), 20_000)
    assert sender.wait(60) == 0
    assert eventually(lambda: counts(listener.data) == (20_000, 20_000)), counts(listener.data)
    assert listener.stop() == 0
    assert counts(listener.data) == (20_000, 20_000)
    assert sorted(listener.data.glob("events/date=*/*.parquet"))


def test_sigterm_in_the_middle_keeps_all_that_was_journaled(listen: Callable[..., Listener]) -> None:
    listener = listen()
    sender = send(listener.address("udp"), 60_000, 0.02)
    wait_for(lambda: counts(listener.data)[0] > 2_000)
    assert listener.stop() == 0
    journaled = listener.status()["intake"]["journaled"]
    rows = open_lake(listener.data).query("SELECT count(*), count(DISTINCT (stream, seq)) FROM events").rows
    assert rows == [(journaled, journaled)]
    assert 2_000 < journaled < 60_000
    sender.kill()
    sender.wait()


def test_an_event_is_visible_within_two_seconds(listen: Callable[..., Listener]) -> None:
    listener = listen()
    sender = send(listener.address("udp"), 1)
    assert sender.wait(30) == 0
    logged = time.monotonic()
    wait_for(lambda: counts(listener.data) == (1, 1), 10)
    assert time.monotonic() - logged < 5  # generous: the machine may be busy; the listener writes every 50 ms


def test_garbage_is_dead_lettered_with_its_reason_and_the_next_datagram_served(listen: Callable[..., Listener]) -> None:
    listener = listen()
    host, port = listener.address("udp").removeprefix("udp://").rsplit(":", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for datagram in (b"\x00\xffgarbage", b"{", b'{"type":"good","payload":"x"}\n{"severity":3}\n', b""):
            sock.sendto(datagram, (host, int(port)))
        name = sock.getsockname()
    lake = open_lake(listener.data)
    wait_for(lambda: lake.query("SELECT payload FROM events").rows == [("x",)])
    letters = "".join(path.read_text() for path in listener.data.glob("dead/**/*") if path.is_file())
    assert letters.count(f":{name[1]}") == 4  # the empty datagram too
    assert "type" in letters


def test_several_senders_at_once_are_told_apart_by_stream(listen: Callable[..., Listener]) -> None:
    listener = listen()
    senders = [send(listener.address("udp"), 1_500, 0.02) for _ in range(3)]
    assert [sender.wait(60) for sender in senders] == [0, 0, 0]
    lake = open_lake(listener.data)
    sql = "SELECT stream, count(*), max(seq) FROM events WHERE type = 'numbered' GROUP BY stream"
    wait_for(lambda: [row[1:] for row in lake.query(sql).rows] == [(1_500, 1_500)] * 3)


def test_send_reads_real_lines_and_query_gives_them_back(listen: Callable[..., Listener], tmp_path: Path) -> None:
    log = Path("/var/log/dpkg.log")
    text = (
        "".join(log.open(errors="replace").readlines()[:500])
        if log.exists()
        else "".join(f"line {n}\n" for n in range(500))
    )
    lines = text.splitlines()
    listener = listen()
    done = metlog_command("send", "--to", listener.address("udp"), "--token", "dpkg", input=text)
    assert done.returncode == 0, done.stderr
    lake = open_lake(listener.data)
    wait_for(lambda: lake.query("SELECT count(*) FROM events WHERE type = 'dpkg'").rows == [(len(lines),)])
    out = metlog_command(
        "query",
        "SELECT payload FROM events WHERE type = 'dpkg' ORDER BY seq",
        "--data",
        str(listener.data),
        "--format",
        "csv",
    )
    assert out.returncode == 0, out.stderr
    assert len(out.stdout.splitlines()) == len(lines) + 1
    assert [row[0] for row in lake.query("SELECT payload FROM events WHERE type = 'dpkg' ORDER BY seq").rows] == lines


def test_a_taken_port_is_one_line_and_exit_1(listen: Callable[..., Listener], tmp_path: Path) -> None:
    listener = listen()
    port = listener.address("udp").rsplit(":", 1)[1]
    done = metlog_command("listen", "--data", str(tmp_path / "other"), "--udp", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert port in done.stderr


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc").is_dir(), reason="needs /proc as an unwritable folder")
def test_an_unwritable_data_folder_is_one_line_and_exit_1() -> None:
    done = metlog_command("listen", "--data", "/proc/metlog-data", "--udp", "127.0.0.1:0")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "/proc/metlog-data" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (("query", "SELEC 1"), 2, "SELEC"),
        (("query", "SELECT nope FROM events"), 2, "nope"),
        (("query", "SELECT 1", "--format", "xml"), 2, "xml"),
        (("listen", "--udp", "nonsense"), 2, "nonsense"),
        (("listen", "--nope"), 2, "--nope"),
        (("nope",), 2, "nope"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    arguments: tuple[str, ...],
    status: int,
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "metlog-data" / "events").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr().err
    assert ended.value.code == status, told
    assert word in told
    assert "Traceback" not in told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_signals_drain_and_exit_0(listen: Callable[..., Listener], number: int) -> None:
    listener = listen()
    assert send(listener.address("udp"), 500).wait(30) == 0
    assert listener.stop(number) == 0
    assert counts(listener.data) == (500, 500)


def test_the_demo_runs_without_a_terminal_and_loses_nothing(tmp_path: Path) -> None:
    done = metlog_command("demo", "--seconds", "1.5", "--data", str(tmp_path / "demo"))
    assert done.returncode == 0, done.stdout + done.stderr
    match = re.search(r"events sent ([\d,]+), received ([\d,]+), lost 0", done.stdout)
    assert match
    assert match[1] == match[2]
    for title in ("Requests by path", "Logins by minute", "Unique users", "Go on with"):
        assert title in done.stdout
    assert "/product/" in done.stdout
    left = subprocess.run(["pgrep", "-f", str(tmp_path / "demo")], capture_output=True, text=True)
    assert left.stdout == ""
