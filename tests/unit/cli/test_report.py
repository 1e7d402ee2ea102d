"""`metlog report` as a user types it, and as cron does."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from metlog.reports.sample import fill
from tests.helpers.commands import metlog_here
from tests.helpers.reportdata import EVENTS, event, hours, numbered, write

pytestmark = pytest.mark.process  # charts are drawn in a process of their own


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data"), numbered(EVENTS))


def command(*arguments: str, data: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """`metlog report` in this process: what starting it fifty times would add is known from one test below."""
    return metlog_here("report", *arguments, *(["--data", str(data)] if data is not None else []), **environment)


SINCE = ("--since", "2026-03-01", "--until", "2026-03-12")
TIMES = [
    {"route": "/a", "requests": 5.0, "average": 24.0, "p50": 30.0, "p95": 30.0, "p99": 30.0},
    {"route": "/b", "requests": 2.0, "average": 150.0, "p50": 100.0, "p95": 200.0, "p99": 200.0},
]


def test_without_a_name_they_are_listed_with_their_own_options(tmp_path: Path) -> None:
    done = command(data=tmp_path)
    assert done.returncode == 0
    for word in ("unique-users", "volume", "--field --type --top", "--since, --until, --tz and --logger"):
        assert word in done.stdout


@pytest.mark.process
def test_the_command_as_a_process(data: Path, tmp_path: Path) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}
    arguments = ["request-times", *SINCE, "--data", str(data), "-f", "json", "--fail-if", "p95 > 150"]
    done = subprocess.run(
        [sys.executable, "-m", "metlog", "report", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=kept,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (3, "metlog report: request-times: p95 > 150: 200 at /b\n")
    assert json.loads(done.stdout) == TIMES


def test_each_format_has_the_same_rows(data: Path, tmp_path: Path) -> None:
    assert json.loads(command("request-times", *SINCE, "--format", "json", data=data).stdout) == TIMES
    table = command("request-times", *SINCE, data=data).stdout
    for word in ("Request times", "route", "95th percentile", "/a", "150", "200"):
        assert word in table
    rows = list(csv.DictReader(io.StringIO(command("request-times", *SINCE, "-f", "csv", data=data).stdout)))
    assert [{k: v if k == "route" else float(v) for k, v in row.items()} for row in rows] == TIMES
    out = tmp_path / "out.parquet"
    assert command("request-times", *SINCE, "-f", "parquet", "-o", str(out), data=data).returncode == 0
    assert pq.read_table(out).to_pylist() == TIMES
    for kind in ("table", "csv", "json"):
        path = tmp_path / f"out.{kind}"
        done = command("request-times", *SINCE, "-f", kind, "--output", str(path), data=data)
        assert (done.returncode, done.stdout) == (0, "")
        assert "/a" in path.read_text()


def test_a_table_says_of_which_time_it_is_and_days_have_no_midnight(data: Path, tmp_path: Path) -> None:
    def lines(*arguments: str) -> list[str]:
        return command("unique-users", *SINCE, *arguments, data=data).stdout.splitlines()

    by_day = lines()
    assert by_day[0] == "Unique users, 1 Mar to 11 Mar 2026, UTC"  # whole, though the table is narrower
    assert [line.split() for line in by_day[4:6]] == [
        ["│", "2026-03-10", "│", "3", "│"],
        ["│", "2026-03-11", "│", "1", "│"],
    ]
    assert lines("--by", "month")[4].split()[1] == "2026-03"
    assert lines("--by", "week")[4].split()[1] == "2026-03-09"
    assert "│ 2026-03-10 08:00 │" in command("requests-by-hour", *SINCE, "--by", "hour", data=data).stdout
    command("unique-users", *SINCE, "--output", str(tmp_path / "out"), data=data)
    assert (tmp_path / "out").read_text().splitlines() == by_day


def at_width(width: int, *arguments: str, data: Path) -> list[str]:
    """The lines that a terminal of this width shows, without colours."""
    said = command(*arguments, data=data, FORCE_COLOR="1", COLUMNS=str(width), TERM="xterm").stdout
    return re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines()


def test_a_table_that_is_too_wide_loses_its_lines_and_columns_without_a_value_and_keeps_numbers_and_times(
    data: Path,
) -> None:
    wide = at_width(200, "delivery", *SINCE, data=data)
    assert wide[1].startswith("┏")
    narrow = at_width(100, "delivery", *SINCE, data=data)
    assert max(map(len, narrow)) <= 100
    assert narrow[0] == wide[0]
    assert not any("│" in line for line in narrow)
    text = "\n".join(narrow)
    for whole in ("2026-03-11 09:00:00", "duplicates", "before first", "unconfirmed"):
        assert whole in text
    assert "without a value, and left out: dropped by the client, dropped by the kernel, refused, journal full" in text
    assert "journal full" in "\n".join(wide)
    folded = at_width(40, "delivery", *SINCE, data=data)
    assert max(map(len, folded)) <= 40


def test_the_data_folder_comes_from_the_environment(data: Path) -> None:
    assert "/a" in command("request-times", *SINCE, METLOG_DATA=str(data)).stdout


def test_options_of_a_report_s_own_are_taken_in_each_way(data: Path) -> None:
    for way in (["--by", "month"], ["--by=month"], ["--param", "by=month"], ["-p", "by=month"]):
        found = json.loads(command("unique-users", *SINCE, *way, "-f", "json", data=data).stdout)
        assert found == [{"time": "2026-03-01T00:00:00", "users": 4}], way


def test_a_boolean_alone_is_true_and_the_next_option_is_no_value(data: Path) -> None:
    whole = json.loads(command("status-codes", *SINCE, "--each", "true", "-f", "json", data=data).stdout)
    assert {row["status"] for row in whole} == {"200", "404", "500"}
    for way in (["--each", "--by", "day"], ["--each"], ["--by=day", "--each=yes"], ["--by", "day", "--each", "1"]):
        found = command("status-codes", *SINCE, *way, "-f", "json", data=data)
        assert {row["status"] for row in json.loads(found.stdout)} == {"200", "404", "500"}, way
    done = command("events-by-type", *SINCE, "--top", "--logger", "svc", data=data)
    assert (done.returncode, done.stderr) == (
        2, "metlog report: --top: wants a value; one that begins with -- is given as --top=VALUE\n",
    )  # fmt: skip
    done = command("events-by-type", *SINCE, "--tpo", data=data)
    assert done.stderr.endswith("tpo: report 'events-by-type' has no such parameter; did you mean 'top'?\n")


def test_a_folder_of_reports_that_is_not_there_is_told_by_who_named_it(data: Path) -> None:
    done = command("logins", "--reports", "/nope", data=data)
    assert (done.returncode, done.stderr) == (2, "metlog report: --reports '/nope': no such folder\n")
    done = command("logins", data=data, METLOG_REPORTS="/nope")
    assert (done.returncode, done.stderr) == (2, "metlog report: METLOG_REPORTS = '/nope': no such folder\n")


def test_days_are_those_of_the_named_time_zone(data: Path) -> None:
    arguments = ("unique-users", *SINCE, "--tz", "Europe/Berlin", "-f", "csv")
    assert command(*arguments, data=data).stdout.splitlines()[2] == "2026-03-11T00:00:00,2"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "begin"), [("c.svg", b"<svg"), ("c.PNG", b"\x89PNG"), ("c.html", b"<!DOCTYPE html>")])
def test_a_chart_is_drawn_into_a_file(data: Path, tmp_path: Path, name: str, begin: bytes) -> None:
    pytest.importorskip("vl_convert")
    done = command("request-times", *SINCE, "--chart", str(tmp_path / name), data=data)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    content = (tmp_path / name).read_bytes()
    assert content.lstrip().startswith(begin)
    if name.endswith("svg"):
        for word in (b"Request times", b"1 Mar to 11 Mar 2026, UTC", b"/a", b"95th percentile", b"ms"):
            assert word in content
    if name.endswith("html"):
        assert (
            b"http://" not in content.replace(b"http://www.w3.org", b"").split(b"<body", 1)[1].split(b"<script", 1)[0]
        )
    assert [path.name for path in tmp_path.iterdir()] == [name]  # nothing else is left


def test_chart_and_table_go_together_when_both_are_asked_for(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("vl_convert")
    done = command("request-times", *SINCE, "--chart", str(tmp_path / "c.svg"), "-f", "csv", data=data)
    assert done.stdout.startswith("route,")
    assert (tmp_path / "c.svg").exists()


def test_a_chart_in_the_terminal(data: Path) -> None:
    done = command("requests-by-hour", *SINCE, "--until", "2026-03-11", "--chart", "-", data=data)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout  # no colours where nobody sees them
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "10 Mar 08:00  ████" in done.stdout


@pytest.mark.parametrize(
    ("condition", "status", "said"),
    [
        ("p95 > 150", 3, "request-times: p95 > 150: 200 at /b"),
        ("p95 >= 200", 3, "200 at /b"),
        ("p95 > 200", 0, ""),
        ("average < 24.5", 3, "24 at /a"),
        ("requests == 5", 3, "5 at /a"),
        ("requests = 5", 3, "5 at /a"),
        ("requests != 5", 3, "2 at /b"),
        ("p50 <= -1", 0, ""),
        ("rows = 0", 0, ""),
        ("rows > 1", 3, "rows > 1: there are 2"),
    ],
)
def test_a_condition_gives_an_exit_status_for_cron(data: Path, condition: str, status: int, said: str) -> None:
    done = command("request-times", *SINCE, "--fail-if", condition, data=data)
    assert done.returncode == status
    assert said in done.stderr
    assert bool(done.stderr) == bool(status)
    assert "/a" in done.stdout  # the rows are there all the same


def test_a_loss_is_a_condition_for_cron_beside_rows_of_the_listener_that_have_none(tmp_path: Path) -> None:
    drops = event(
        hours(8), "metlog.drops", {"socket": "udp://h:1", "kernel_drops": 9}, stream="", logger="metlog.listener"
    )
    numbers = [event(hours(8), "x", {}, stream="s", seq=seq) for seq in (1, 2, 5)]
    write(tmp_path, [*numbers, drops])
    done = command("delivery", *SINCE, "--fail-if", "lost > 0", "-f", "csv", data=tmp_path)
    assert (done.returncode, done.stderr) == (3, "metlog report: delivery: lost > 0: 2 at svc h 1\n")
    assert command("delivery", *SINCE, "--fail-if", "lost > 2", data=tmp_path).returncode == 0
    assert command("delivery", *SINCE, "--fail-if", "kernel_drops > 8", data=tmp_path).returncode == 3


def test_one_condition_of_several_is_enough_and_silence_is_a_condition_too(data: Path) -> None:
    several = ("--fail-if", "p95 > 9000", "--fail-if", "p50 > 90")
    done = command("request-times", *SINCE, *several, data=data)
    assert (done.returncode, done.stderr) == (3, "metlog report: request-times: p50 > 90: 100 at /b\n")
    nothing = ("--since", "2020-01-01", "--until", "2020-01-02")
    assert command("request-times", *nothing, "--fail-if", "p95 > 0", data=data).returncode == 0
    done = command("request-times", *nothing, "--fail-if", "rows = 0", data=data)
    assert (done.returncode, done.stderr) == (3, "metlog report: request-times: rows = 0: there are 0\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("request-times", "--fail-if", "p95 bad"), "wants COLUMN OPERATOR NUMBER"),
        (("request-times", "--fail-if", "p95 > many"), "wants COLUMN OPERATOR NUMBER"),
        (("request-times", "--fail-if", "nope > 1"), "no column 'nope'; there is route, requests"),
        (("request-times", "--fail-if", "route > 1"), "the column 'route' holds no numbers"),
        (("request-times", "--chart", "x.bmp"), "ends in .svg, .png or .html, or - for the terminal"),
        (("request-times", "--chart", "/no/where/x.svg"), "--chart '/no/where/x.svg': its folder does not exist"),
        (("request-times", "--output", "/no/where/x.csv", "-f", "csv"), "--output '/no/where/x.csv': its folder"),
        (("request-times", "--nope", "1"), "nope: report 'request-times' has no such parameter"),
        (("request-times", "stray"), "'stray': a parameter is given as --NAME VALUE"),
        (("request-times", "--param", "by"), "--param 'by': wants NAME=VALUE"),
        (("request-tmes",), "'request-tmes': no such report; did you mean 'request-times'?"),
        (("request-times", "--tz", "Berlin"), "tz = 'Berlin': no such time zone"),
        (("request-times", "--since", "soon"), "since = 'soon': wants a time"),
        (("request-times", "--since", "2026-03-02", "--until", "2026-03-01"), "not before until"),
        (("volume", "--logger", "svc"), "report 'volume' is of all services together"),
        (("top-values", "--top", "0"), "top = '0': wants 1 to 1000"),
        (("request-times", "--format", "xml"), "xml"),
        (("",), "which report? `metlog report` alone lists them"),
    ],
)
def test_what_cannot_work_is_one_line_and_status_2(data: Path, arguments: tuple[str, ...], said: str) -> None:
    given = arguments if "--since" in arguments else (*arguments[:1], *SINCE, *arguments[1:])
    done = command(*given, data=data)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [("--fail-if", "rows = 0"), ("--format", "json"), ("--output", "x.csv"), ("--chart", "-"), ("--compare",), ("--since", "3d")],
)  # fmt: skip
def test_a_list_of_reports_is_no_answer_to_what_is_asked_of_one(data: Path, arguments: tuple[str, ...]) -> None:
    done = command(*arguments, data=data)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "metlog report: which report? `metlog report` alone lists them\n"


def test_no_data_folder_is_told_with_what_makes_one(tmp_path: Path) -> None:
    done = command("logins", data=tmp_path / "none")
    assert done.returncode == 2
    assert "metlog listen" in done.stderr


def test_no_events_is_told_with_the_code_that_brings_some(data: Path, tmp_path: Path) -> None:
    nothing = ("--since", "2020-01-01", "--until", "2020-01-02")
    for more in ((), ("--chart", "-")):
        done = command("logins", *nothing, *more, data=data)
        assert done.returncode == 0
        assert "Nobody logged in" in done.stdout
        assert '    login_success("u1")\n' in done.stdout
    assert command("logins", *nothing, "-f", "json", data=data).stdout == "[]\n"
    assert command("logins", *nothing, "-f", "csv", data=data).stdout == "time,logins,failures\n"
    pytest.importorskip("vl_convert")
    command("logins", *nothing, "--chart", str(tmp_path / "c.svg"), data=data)
    assert "login_success" in (tmp_path / "c.svg").read_text()


@pytest.mark.slow
def test_every_row_is_there_however_many(tmp_path: Path) -> None:
    """Beyond the ten thousand that a page or a chart shows."""
    fill(tmp_path, 2, per_day=5_000, until=datetime(2026, 6, 15, 23, tzinfo=UTC))
    sql = 'title = "T"\nsql = "SELECT timestamp, seq FROM events WHERE timestamp >= $since"\n'
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "all.toml").write_text(sql)
    assert len(command("all", "--format", "csv", "--since", "2026-06-01", data=tmp_path).stdout.splitlines()) > 25_000


def test_a_report_s_values_cannot_steer_the_terminal(tmp_path: Path) -> None:
    hostile = "\x1b]0;title\x07\x1b[31m\u202e"
    event = {**EVENTS[0], "fields": json.dumps({"user": hostile, "route": hostile, "ms": 1, "status": 200})}
    write(tmp_path, [event])
    for name in ("top-values", "request-times"):
        for more in ((), ("--chart", "-")):
            done = command(name, *SINCE, *more, data=tmp_path)
            assert done.returncode == 0
            assert not {"\x1b", "\x07", "\u202e"} & set(done.stdout)
            assert "title" in done.stdout


def test_a_time_near_the_end_of_the_calendar_is_a_wrong_question_and_no_fault(data: Path) -> None:
    for given in (
        ("--since", "0001-01-01T00:00Z", "--tz", "America/New_York"),
        ("--until", "9999-12-31T23:59Z", "--tz", "Asia/Tokyo"),
    ):
        done = command("unique-users", *given, data=data)
        assert done.returncode == 2
        assert "wants a time of the years 1900 to 2200" in done.stderr
