"""Tables in terminals of any width."""

from __future__ import annotations

import io
import re
import string
from datetime import datetime

import pytest

from metlog.cli.output import print_table
from metlog.lake.query import Column

WORD, NUMBER = string.ascii_letters, 1234567890
COLUMNS = [Column("word", "VARCHAR"), Column("number", "BIGINT"), Column("none", "VARCHAR")]


def printed(
    monkeypatch: pytest.MonkeyPatch, width: int, columns: list[Column], row: tuple[object, ...], **more: bool
) -> list[str]:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    out = io.BytesIO()
    print_table(columns, [row], output=out, **more)
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue().decode()).splitlines()


@pytest.mark.parametrize("width", [12, 16, 20, 24, 30, 40, 60, 80, 200])
def test_a_value_is_folded_and_never_cut(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = printed(monkeypatch, width, COLUMNS, (WORD, NUMBER, None))
    assert max(map(len, lines)) <= width
    rule = next(at for at, line in enumerate(lines) if line[0] in "─┡")
    body = "".join(lines[rule + 1 :])
    assert "".join(re.findall("[A-Za-z]", body)) == WORD
    assert "".join(re.findall("[0-9]", body)) == str(NUMBER)


def test_texts_make_room_for_numbers_and_times(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [Column("word", "VARCHAR"), Column("at_time", "TIMESTAMP"), Column("number", "BIGINT")]
    lines = printed(monkeypatch, 50, columns, (WORD, datetime(2026, 3, 10, 8, 30), NUMBER))
    assert any("2026-03-10 08:30:00" in line and "1,234,567,890" in line for line in lines)
    assert [line.split() for line in lines[:2]] == [["at_"], ["word", "time", "number"]]


def test_only_who_says_so_loses_columns_without_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for may_drop in (False, True):
        text = "\n".join(printed(monkeypatch, 40, COLUMNS, (WORD, NUMBER, None), may_drop=may_drop))
        assert ("without a value, and left out: none" in text) == may_drop
    assert "none" in printed(monkeypatch, 200, COLUMNS, (WORD, NUMBER, None), may_drop=True)[1]  # there is room
