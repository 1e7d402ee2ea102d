"""Tables in terminals of any width."""

from __future__ import annotations

import io
import re
import string
from datetime import UTC, date, datetime
from typing import Any

import pytest

from metlog.cli.output import print_table
from metlog.lake.columns import COLUMNS as COLUMNS_OF_EVENTS
from metlog.lake.query import Column

WORD, NUMBER = string.ascii_letters, 1234567890
COLUMNS = [Column("word", "VARCHAR"), Column("number", "BIGINT"), Column("none", "VARCHAR")]


def printed(
    monkeypatch: pytest.MonkeyPatch, width: int, columns: list[Column], row: tuple[object, ...], **more: Any
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


EVENT = {
    "timestamp": datetime(2026, 3, 10, 8, 30, 1, 250_000, tzinfo=UTC),
    "type": "request",
    "tokens": ["request"],
    "logger": "shop",
    "severity": 6,
    "payload": "GET / 200\x1b[31m " + "x" * 60,
    "fields": '{"user":"u1","ms":3.5}',
    "weight": 1.0,
    "env_version": "1",
    "pid": 4102,
    "hostname": "web",
    "stream": "s",
    "seq": 12345,
    "received_at": datetime(2026, 3, 10, tzinfo=UTC),
    "source": "udp",
    "claimed_timestamp": None,
    "date": date(2026, 3, 10),
}
WHOLE = [Column(name, kind) for name, kind in COLUMNS_OF_EVENTS.items()]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200, 400])
def test_a_whole_event_is_one_line_on_a_terminal_of_any_width(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = printed(monkeypatch, width, WHOLE, tuple(EVENT[column.name] for column in WHOLE))
    assert lines[0].split()[:3] == ["timestamp", "logger", "type"] or width == 40
    assert lines[2].startswith("2026-03-10 08:30:01")
    text = " ".join(lines[3:])
    for column in WHOLE:
        named = column.name in lines[0].split() or (column.name == "severity" and "sev" in lines[0].split())
        assert named or column.name in re.split(r"[ ,;]+", text) or width == 40, column.name
    if width >= 60:
        assert max(map(len, lines)) <= width
    if width >= 120:
        assert "user=u1 ms=3.5" in lines[2]
    assert "\x1b" not in lines[2]


def test_elsewhere_whole_events_have_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    print_table(WHOLE, [tuple(EVENT[column.name] for column in WHOLE)], output=out)
    head = out.getvalue().decode().splitlines()[1]
    assert [name.strip() for name in head.split("┃")[1:-1]][:6] == [
        "timestamp",
        "logger",
        "type",
        "severity",
        "payload",
        "fields",
    ]
    assert head.count("┃") == len(WHOLE) + 1


def test_many_columns_that_find_no_room_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [Column(f"column{n}", "VARCHAR") for n in range(30)]
    lines = printed(monkeypatch, 80, columns, ("word",) * 30)
    assert max(map(len, lines)) <= 80
    assert "no room for column11, column12" in " ".join(lines)


def test_the_caption_is_not_folded_to_a_narrow_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, 80, [Column("a", "BIGINT")], (1,), caption="1 row, 78 ms")[-1] == "1 row, 78 ms"
