from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from metlog.reports.sample import fill
from tests.helpers.commands import metlog_here


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data")
    fill(folder, days=2, per_day=200)
    return str(folder)


SQL = "SELECT type, count(*) AS n FROM events WHERE type IN ('request', 'login') GROUP BY type ORDER BY type"


@pytest.mark.parametrize("comment", ["-- what there is\n", "--what there is\n", "---\n", "--x\n--y\n"])
def test_a_query_may_begin_with_a_comment(data: str, comment: str) -> None:
    wanted = metlog_here("query", SQL, "--data", data, "--format", "csv")
    for arguments in (("query", comment + SQL, "--data", data), ("query", "--data", data, comment + SQL)):
        found = metlog_here(*arguments, "--format", "csv")
        assert (found.returncode, found.stdout) == (0, wanted.stdout), found.stderr


@pytest.mark.parametrize("option", ["--dta=x", "--dta=-- x\ny", "--Data", "--top5"])
def test_an_option_that_is_none_is_no_comment(data: str, option: str) -> None:
    found = metlog_here("query", SQL, option, "--data", data)
    assert found.returncode == 2
    assert f"No such option: {option.partition('=')[0]}" in found.stderr


def test_formats_hold_the_same_rows(data: str, tmp_path: Path) -> None:
    lines = metlog_here("query", SQL, "--data", data, "--format", "json").stdout
    parsed = json.loads(lines) if lines.lstrip().startswith("[") else [json.loads(line) for line in lines.splitlines()]
    rows = [(row["type"], row["n"]) for row in parsed]
    assert [name for name, _ in rows] == ["login", "request"]
    found = list(csv.reader(io.StringIO(metlog_here("query", SQL, "--data", data, "--format", "csv").stdout)))
    assert found == [["type", "n"], *([name, str(number)] for name, number in rows)]
    done = metlog_here("query", SQL, "--data", data, "--format", "parquet", "--output", str(tmp_path / "out.parquet"))
    assert done.returncode == 0, done.stderr
    assert [tuple(row.values()) for row in pq.read_table(tmp_path / "out.parquet").to_pylist()] == rows
    table = metlog_here("query", SQL, "--data", data).stdout
    assert all(name in table and str(number) in table for name, number in rows)


def test_the_data_folder_comes_from_the_environment(data: str) -> None:
    assert "request" in metlog_here("query", SQL, METLOG_DATA=data).stdout


def test_a_missing_data_folder_is_one_line(tmp_path: Path) -> None:
    for command in (("query", SQL), ("report", "logins"), ("tail",)):
        done = metlog_here(*command, "--data", str(tmp_path / "none"))
        assert done.returncode == 2, command
        assert done.stderr.count("\n") == 1
        assert "there is no data folder" in done.stderr


def test_what_is_wrong_with_a_question_is_told_in_its_own_words(data: str) -> None:
    done = metlog_here("query", "SELECT $a + $b", "--data", data, "--param", "a=1")
    assert (done.returncode, done.stderr) == (2, "metlog query: no value is given for $b; in a command: --param b=…\n")
    done = metlog_here("query", "SELECT $a", "--data", data, "--param", "a=1", "--param", "b=2", "--param", "c=3")
    assert (done.returncode, done.stderr) == (2, "metlog query: the query has no $b, $c, for which a value is given\n")
    done = metlog_here("query", SQL, "--data", data, "--format", "xml")
    assert done.returncode == 2
    assert "--format" in done.stderr
    assert "Value error" not in done.stderr


def test_what_is_not_utf_8_is_said_to_be_so(data: str) -> None:
    done = metlog_here("query", "SELECT 1,\n'\udcff'", "--data", data)
    said = "metlog query: line 2, column 2: this is no character: the query is not UTF-8\n"
    assert (done.returncode, done.stderr) == (2, said)
    for command in (("query", "SELECT $a", "--param", "a=\udcff"), ("report", "top-values", "--field", "\udcff")):
        done = metlog_here(*command, "--data", data)
        said = f"metlog {command[0]}: a value that is given for the query is not UTF-8\n"
        assert (done.returncode, done.stderr) == (2, said)


def test_plugins_lists_every_kind_with_its_origin() -> None:
    done = metlog_here("plugins")
    assert done.returncode == 0, done.stderr
    for name in ("udp", "msgpack", "redact", "lake", "statsd", "tee"):
        assert name in done.stdout
    assert "metlog" in done.stdout


def test_help_and_version() -> None:
    assert "listen" in metlog_here("--help").stdout
    assert metlog_here("--version").stdout.startswith("metlog ")


def test_send_counts_what_could_not_be_sent() -> None:
    done = metlog_here("send", "--to", "tcp://127.0.0.1:1", "lost")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_send_names_a_wrong_sender() -> None:
    done = metlog_here("send", "--to", "upd://127.0.0.1", "x")
    assert done.returncode == 2
    assert "'udp'" in done.stderr


def test_doctor_finds_what_is_wrong_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text('logger = "x"\nsender = "udp://127.0.0.1:1"\n')
    done = metlog_here("doctor", "--config", str(tmp_path / "m.toml"), cwd=tmp_path)
    assert done.returncode == 1
    assert "nothing listens on 127.0.0.1:1" in done.stdout
    assert "metlog listen" in done.stdout
    (tmp_path / "good.toml").write_text('logger = "x"\nsender = "null"\n')
    assert metlog_here("doctor", "--config", str(tmp_path / "good.toml"), cwd=tmp_path).returncode == 0


@pytest.mark.process
def test_tail_follows_events_as_they_arrive(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    command = [sys.executable, "-m", "metlog"]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}
    listener = subprocess.Popen(
        [*command, "listen", "--data", str(folder), "--udp", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True, env=kept
    )
    tail = None
    try:
        assert listener.stdout is not None
        address = listener.stdout.readline().split()[-1]
        assert listener.stdout.readline().startswith("ready")
        tail = subprocess.Popen(
            [
                *command, "tail", "--data", str(folder), "--type", "t", "-n", "3", "--format", "json",
                "--logger", "shop", "--severity", "warning", "--field", "n>=2", "--field", "!user=u1",
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=kept,
        )  # fmt: skip
        assert tail.stderr is not None
        assert "following" in tail.stderr.readline()
        time.sleep(0.3)
        wanted = {"--to": address, "--token": "t", "--logger": "shop", "--severity": "error", "--field": "n=2"}
        for word, change in (
            ("one", {}), ("x", {"--token": "u"}), ("x", {"--logger": "other"}), ("x", {"--severity": "info"}),
            ("x", {"--field": "n=1"}), ("two", {"--field": "n=3.5"}), ("three", {"--severity": "4"}),
        ):  # fmt: skip
            options = [part for pair in {**wanted, **change}.items() for part in pair]
            assert metlog_here("send", *options, word).returncode == 0
        out, _ = tail.communicate(timeout=20)
        assert [json.loads(line)["payload"] for line in out.splitlines()] == ["one", "two", "three"]
    finally:
        for process in (tail, listener):
            if process is not None and process.poll() is None:
                process.kill()
            if process is not None:
                process.communicate()


def into(output: str, data: str, **streams: Any) -> subprocess.CompletedProcess[bytes]:
    """`metlog query … --output` as a process, whose standard output is where `streams` say."""
    arguments = ["query", "SELECT 1 AS a", "--data", data, "--format", "csv", "--output", output]
    return subprocess.run(
        [sys.executable, "-m", "metlog", *arguments], stderr=subprocess.PIPE, timeout=60, check=False, **streams
    )


@pytest.mark.process
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_standard_output_by_another_name_is_standard_output(data: str, tmp_path: Path, name: str) -> None:
    if name == "link":
        (tmp_path / name).symlink_to("/dev/stdout")
        name = str(tmp_path / name)
    done = into(name, data, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"a\n1\n", b"")
    file = tmp_path / "file"
    file.write_bytes(b"before\n")
    with file.open("ab") as target:
        done = into(name, data, stdout=target)
        target.write(b"after\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert file.read_bytes() == b"before\na\n1\nafter\n"


@pytest.mark.process
def test_a_pipe_that_has_a_number_only_is_written_to(data: str) -> None:
    """As `--output >(gzip > FILE)` of bash gives one."""
    source, target = os.pipe()
    done = into(f"/dev/fd/{target}", data, stdout=subprocess.DEVNULL, pass_fds=[target])
    os.close(target)
    with os.fdopen(source, "rb") as pipe:
        assert (done.returncode, done.stderr, pipe.read()) == (0, b"", b"a\n1\n")


def test_a_file_that_is_written_anew_keeps_its_rights(data: str, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.touch(0o600)
    path.chmod(0o620)
    done = metlog_here("query", SQL, "--data", data, "--output", str(path))
    assert done.returncode == 0, done.stderr
    assert path.read_text().startswith("type,n\n")
    assert path.stat().st_mode & 0o7777 == 0o620


@pytest.mark.parametrize("command", [["listen"], ["import"]])
@pytest.mark.parametrize(("place", "told"), [("file", "Not a directory"), ("file/below", "Not a directory")])
def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path, command: list[str], place: str, told: str) -> None:
    file = tmp_path / "file"
    file.write_text('{"type":"a"}\n')
    done = metlog_here(*command, "--data", str(tmp_path / place), *([str(file)] if command == ["import"] else []))
    assert (done.returncode, done.stderr) == (1, f"metlog {command[0]}: {tmp_path / place}: {told}\n")


def test_an_import_of_nothing_makes_no_data_folder(tmp_path: Path) -> None:
    done = metlog_here("import", "--data", str(tmp_path / "data"), str(tmp_path / "none"))
    assert (done.returncode, (tmp_path / "data").exists()) == (2, False)
