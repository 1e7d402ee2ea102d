"""What goes to people: no text steers a terminal, and no cell of a CSV file is a formula."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog.cli import main
from metlog.cli.terminal import _Bytes, _Text, legible
from metlog.lake.export import csv_rows
from metlog.lake.values import Column, formula_safe
from metlog.reports.library import save
from tests.helpers.webdata import Journal, event, write

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\x1b[8m\u202eEVIL\r\x08"
STEERING = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\u202a-\u202e\u2066-\u2069]")
COLOUR = re.compile(r"\x1b\[(?!(?:[0-9;]*;)?8[;m])[0-9;]*m")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_legible_text_steers_nothing(text: str) -> None:
    assert not STEERING.search(legible(text))
    assert "\r" not in legible(text)


@given(st.lists(st.text(st.sampled_from("\x1b[]8;m31J\x9b\x07ab\u202e\r\n"), max_size=12), max_size=6))
def test_a_stream_to_a_terminal_lets_colours_pass_and_nothing_else(parts: list[str]) -> None:
    raw = io.StringIO()
    stream = _Text(raw)
    for part in parts:
        stream.write(part)
    assert not STEERING.search(COLOUR.sub("", raw.getvalue()))


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 7))
def test_bytes_to_a_terminal_are_put_together_and_steer_nothing(text: str, step: int) -> None:
    raw = io.BytesIO()
    stream = _Bytes(raw)
    content = text.encode()
    for start in range(0, len(content), step):
        stream.write(content[start : start + step])
    assert raw.getvalue().decode() == legible(text)


@pytest.mark.parametrize("made", [lambda: _Text(io.StringIO()), lambda: _Bytes(io.BytesIO())], ids=["text", "bytes"])
def test_a_guard_that_outlives_its_stream_ends_without_an_error(made: Callable[[], Any]) -> None:
    """What a console holds is collected at any time; from Python 3.13 on an error of its end is shown."""
    guard = made()
    guard._stream.close()
    guard.close()


@given(st.text() | st.text(st.sampled_from(" =+-@\t\r\n1.e\0\ufeff\xa0\uff1da'\"")))
def test_no_text_of_a_safe_cell_is_a_formula(text: str) -> None:
    shown = formula_safe(text)
    number = re.fullmatch(r"[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?", shown)
    assert number or shown.strip(" \xa0\ufeff\0")[:1] not in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
    assert shown.removeprefix("'") == text.removeprefix("'") or shown == f"'{text}"


def test_the_names_of_columns_are_cells_too() -> None:
    made = io.BytesIO()
    csv_rows(
        [Column("=cmd|' /C calc'!A0", "VARCHAR"), Column("n", "DOUBLE")], [["@SUM(1)", -2.5]], made, spreadsheet=True
    )
    assert list(csv.reader(io.StringIO(made.getvalue().decode()))) == [
        ["'=cmd|' /C calc'!A0", "n"],
        ["'@SUM(1)", "-2.5"],
    ]
    made = io.BytesIO()
    csv_rows([Column("=x", "VARCHAR")], [["=y"]], made)
    assert made.getvalue() == b"=x\n=y\n", "only when asked: programs read it"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    now = datetime.now(UTC).replace(microsecond=0)
    rows = [
        event(
            n,
            now,
            type=EVIL,
            logger=EVIL,
            payload=EVIL,
            hostname=EVIL,
            stream=EVIL,
            tokens=[EVIL],
            fields={EVIL: EVIL, "route": EVIL, "ms": 1},
        )
        for n in (1, 2)
    ]  # fmt: skip
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder, rows)
    write(folder, [event(3, now, type="request", fields={"route": EVIL, "ms": 5})], "more")
    sql = 'SELECT 1 AS n, "type" AS "' + EVIL + '" FROM events'
    save(folder, "saved", {"title": EVIL, "description": EVIL, "sql": sql})
    save(folder, "none", {"title": EVIL, "sql": sql + " WHERE false", "empty": {"text": EVIL, "code": EVIL}})
    (folder / "reports" / "wrong.toml").write_text(f"title = {json.dumps(EVIL[:-2])}\n")
    return folder


@contextmanager
def instead(*descriptors: int, by: int) -> Iterator[None]:
    """Puts another descriptor in the place of some: what native code and processes write goes there, too."""
    kept = [(number, os.dup(number)) for number in descriptors]
    for number in descriptors:
        os.dup2(by, number)
    try:
        yield
    finally:
        for number, before in kept:
            os.dup2(before, number)
            os.close(before)


def in_terminal(*arguments: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    found: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # the other side is closed
            while part := os.read(ours, 1 << 16):
                found.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with (
            instead(0, 1, 2, by=theirs),
            open(0, closefd=False) as stdin,
            open(1, "w", encoding="utf-8", closefd=False) as stdout,
            open(2, "w", encoding="utf-8", closefd=False) as stderr,
            pytest.MonkeyPatch.context() as patch,
            suppress(SystemExit),
        ):
            patch.setenv("TERM", "xterm-256color")
            patch.setenv("COLUMNS", "200")
            for name, stream in {"stdin": stdin, "stdout": stdout, "stderr": stderr}.items():
                patch.setattr(sys, name, stream)
            main(arguments)
    finally:
        os.close(theirs)
        reader.join(30)
        os.close(ours)
    return b"".join(found).decode("utf-8", "replace").replace("\r\n", "\n")


ALL = 'SELECT *, type AS "' + EVIL + '" FROM events'


@pytest.mark.parametrize(
    "arguments",
    [
        ("query", ALL), ("query", ALL, "--format", "csv"), ("query", ALL, "--format", "json"),
        ("query", f"SELECT '{EVIL}' FROM nowhere"), ("query", f'SELECT "{EVIL}" FROM events'),
        ("report",), ("report", "saved"), ("report", "saved", "--format", "csv"), ("report", "saved", "--format", "json"),
        ("report", "none"),
        ("report", "events-by-type", "--chart", "-"), ("report", "request-times", "--chart", "-"), ("report", "delivery"),
        ("report", EVIL), ("report", "top-values", "--field", EVIL), ("plugins",), ("query", "--help"),
    ],
)  # fmt: skip
def test_no_command_lets_data_steer_the_terminal(data: Path, arguments: tuple[str, ...]) -> None:
    options = () if arguments[-1] == "--help" or arguments[0] == "plugins" else ("--data", str(data))
    shown = in_terminal(*arguments, *options)
    assert shown.strip()
    rest = COLOUR.sub("", shown)
    assert not STEERING.search(rest), repr(rest[:2000])
    assert "\r" not in rest


def test_a_tail_lets_events_steer_nothing(data: Path) -> None:
    journal = Journal(data)
    stop = threading.Event()

    def go() -> None:
        while not stop.is_set():
            journal.append({"type": EVIL, "logger": EVIL, "payload": EVIL, "fields": {EVIL: EVIL}})
            time.sleep(0.2)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        for form in ("text", "json"):
            shown = COLOUR.sub("", in_terminal("tail", "-n", "2", "--format", form, "--data", str(data)))
            assert "EVIL" in shown
            assert not STEERING.search(shown), repr(shown)
    finally:
        stop.set()
        thread.join()
