"""`metlog sql`: statements, commands, formats, history, completion, Ctrl-C; the terminal's side through a pty."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metlog.cli.common import UsageError
from metlog.cli.output import Format
from metlog.cli.sqlshell import Shell, history_file, statements
from metlog.cli.words import SqlWords
from metlog.lake.query import Lake
from tests.helpers.reportdata import EVENTS, numbered, write

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ENDLESS = "SELECT count(*) FROM range(100000000000) a, range(1000) b WHERE a.range % 7 = b.range;"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data"), numbered(EVENTS))


@pytest.mark.parametrize(
    ("text", "whole", "rest"),
    [
        ("SELECT 1;", ["SELECT 1"], ""),
        ("SELECT 1", [], "SELECT 1"),
        ("SELECT ';' AS a; SELECT 2", ["SELECT ';' AS a"], "SELECT 2"),
        ("SELECT 'it''s;", [], "SELECT 'it''s;"),
        ('SELECT 1 AS "a;b";', ['SELECT 1 AS "a;b"'], ""),
        ("SELECT 1 -- one; two\n;", ["SELECT 1 -- one; two"], ""),
        ("SELECT 1 -- one;", [], "SELECT 1 -- one;"),
        ("SELECT /* ; */ 1;;", ["SELECT /* ; */ 1"], ""),
        ("SELECT /* ;", [], "SELECT /* ;"),
        ("SELECT 5-2;", ["SELECT 5-2"], ""),
        ("-- first\n; SELECT 1; -- done", ["SELECT 1"], ""),
        ("-- first\nSELECT 1;\n/* of\ntwo; lines */\n", ["-- first\nSELECT 1"], ""),
        ("SELECT 1; /* goes on;", ["SELECT 1"], "/* goes on;"),
    ],
)
def test_a_statement_ends_at_a_semicolon_outside_of_texts_and_comments(text: str, whole: list[str], rest: str) -> None:
    assert statements(text) == (whole, rest)


def test_a_script_runs_each_statement_and_ends_at_the_first_that_fails(data: Path, capfdbinary: Any) -> None:
    with Lake(data) as lake:
        assert Shell(lake, Format.csv).run(io.StringIO("SELECT 1 AS a;\nSELECT\n2 AS b"))
        assert not Shell(lake, Format.csv).run(io.StringIO("SELECT nothing; SELECT 3 AS c;"))
    out, err = capfdbinary.readouterr()
    assert out == b"a\n1\nb\n2\n"
    assert b"nothing" in err


def test_a_script_may_have_comments_and_commands(data: Path, capfdbinary: Any) -> None:
    with Lake(data) as lake:
        text = "-- first\n\\format csv\nSELECT 1\nAS a; /* of\ntwo; lines */\n/* of\ntwo */\n\\timing\nSELECT '\n\\q\n' AS b\n;\n-- last"
        assert Shell(lake).run(io.StringIO(text))
        assert Shell(lake).run(io.StringIO("\\q\nSELECT nothing;"))
        assert not Shell(lake).run(io.StringIO("\\fromat csv\nSELECT 5 AS e;"))
    out, err = capfdbinary.readouterr()
    assert out == b'format: csv\na\n1\ntiming: off\nb\n"\n\\q\n"\n'
    assert b"\\fromat: no such command" in err


@pytest.mark.parametrize("line", ["\\d nothing", "\\format xml", "\\nothing"])
def test_a_command_that_fails_ends_a_script(data: Path, capfdbinary: Any, line: str) -> None:
    with Lake(data) as lake:
        assert not Shell(lake, Format.csv).run(io.StringIO(f"{line}\nSELECT 5 AS e;"))
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert line.encode() in err


def test_a_script_may_forget_the_lines_so_far(data: Path, capfdbinary: Any) -> None:
    with Lake(data) as lake:
        assert Shell(lake, Format.csv).run(io.StringIO("SELECT 1\nAS\n\\r\nSELECT 2 AS b;"))
    assert capfdbinary.readouterr().out == b"b\n2\n"


def test_formats_that_are_not_for_reading_are_refused(data: Path) -> None:
    with Lake(data) as lake, pytest.raises(UsageError, match="wants table, json"):
        Shell(lake, Format.parquet)


def test_tab_offers_columns_functions_keywords_and_fields() -> None:
    words = SqlWords(["user", "user_agent", "status"])
    assert "severity" in words.candidates("SELECT sev")
    assert "count(" in words.candidates("SELECT coun")
    assert "GROUP BY" in words.candidates("SELECT type FROM events gro")
    assert "events" in words.candidates("SELECT * FROM ev")
    assert words.candidates("SELECT fields->>'us") == ["'user'", "'user_agent'"]
    assert words.candidates("SELECT fields->>") == ["'status'", "'user'", "'user_agent'"]
    assert words.candidates("SELECT ") == []


class Terminal:
    """The command on a pseudo terminal."""

    def __init__(self, data: Path, home: Path, *more: str) -> None:
        ours, theirs = pty.openpty()
        environment = {
            **os.environ, "TERM": "xterm", "COLUMNS": "100", "XDG_STATE_HOME": str(home), "METLOG_DATA": str(data), "NO_COLOR": "1",
            "INPUTRC": os.devnull,
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "metlog", "sql", *more], stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
            start_new_session=True, preexec_fn=_controlled,
        )  # fmt: skip
        os.close(theirs)
        self._fd = ours
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def until(self, pattern: str, seconds: float = 40) -> str:
        """What was written up to the pattern; it is taken."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen, re.DOTALL)):
            if time.monotonic() > end:
                raise AssertionError(f"no {pattern!r} in {self.seen!r}")
            if select.select([self._fd], [], [], 0.5)[0]:
                try:
                    self.seen += os.read(self._fd, 65536).decode("utf-8", "replace")
                    self.seen = _ESCAPES.sub("", self.seen)
                except OSError as error:  # the terminal is closed
                    raise AssertionError(f"no {pattern!r} in {self.seen!r}") from error
        before, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return before

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._fd)


def _controlled() -> None:
    """Makes the pseudo terminal the one that Ctrl-C comes from."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal(data: Path, tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(data, tmp_path)
    made.until("metlog> ")
    yield made
    made.close()


@pytest.mark.process
@pytest.mark.slow
def test_a_session_on_a_terminal(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type("SELECT 40 +\n")
    terminal.until("-> ")
    terminal.type("2 AS answer;\n")
    assert "42" in terminal.until("1 row, .*metlog> ")
    terminal.type("\\x\n")
    terminal.until("format: vertical\r\nmetlog> ")
    terminal.type("SELECT 'x' AS word;\n")
    assert re.search(r"─\[ 1 \]─+\r\nword +x\r\n", terminal.until("1 row.*metlog> "))
    terminal.type("\\timing\n")
    terminal.until("timing: off\r\nmetlog> ")
    terminal.type("\\format ndjson\n")
    terminal.until("format: ndjson\r\nmetlog> ")
    terminal.type("SELECT 1 AS n;\n")
    assert '{"n":1}' in terminal.until("1 row\r\nmetlog> ")
    terminal.type("\\d events\n")
    assert "severity" in terminal.until("metlog> ")
    terminal.type("SELECT nothing;\n")
    assert "nothing" in terminal.until("metlog> ")
    terminal.type("\\nonsense\n")
    terminal.until("no such command.*metlog> ")
    terminal.type("\\q\n")
    assert terminal.process.wait(30) == 0
    history = tmp_path / "metlog" / "sql_history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "2 AS answer;" in history.read_text("utf-8")


@pytest.mark.process
@pytest.mark.slow
def test_ctrl_c_ends_the_query_and_not_the_shell(terminal: Terminal) -> None:
    terminal.type(ENDLESS + "\n")
    terminal.until("ends it")  # the line that tells how long it has been running
    terminal.type("\x03")
    terminal.until("cancelled.*metlog> ")
    terminal.type("SELECT half")
    terminal.until("SELECT half")
    time.sleep(0.2)  # between a character and the next wait for one CPython's readline notices no signal
    terminal.type("\x03")
    terminal.until(r"\^C\r\nmetlog> ")
    terminal.type("SELECT 7 AS seven;\n")
    terminal.until("1 row.*metlog> ")
    terminal.type("\x04")
    assert terminal.process.wait(30) == 0


@pytest.mark.process
@pytest.mark.slow
def test_tab_completes_on_a_terminal(terminal: Terminal) -> None:
    terminal.type("SELECT max(sever\t")
    terminal.until("severity")
    terminal.type(") AS worst FROM events;\n")
    assert "worst" in terminal.until("1 row.*metlog> ")
    terminal.type("SELECT any_value(fields->>'excepti\t")
    terminal.until("'exception_type'")


def test_the_history_lies_in_the_folder_for_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_file() == tmp_path / "metlog" / "sql_history"
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")  # the specification says to ignore it
    monkeypatch.setenv("HOME", str(tmp_path))
    assert history_file() == tmp_path / ".local" / "state" / "metlog" / "sql_history"
