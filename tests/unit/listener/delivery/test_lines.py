"""A record's lines one after the other, whatever its size and its tail."""

from __future__ import annotations

import pytest

from metlog.journal.segment import Record
from metlog.listener.delivery import lines as module
from metlog.listener.delivery.lines import lines_of

HEADS = [b'{"type":"t%d","payload":"%s"' % (n, b"x" * (n * 37 % 500)) for n in range(300)]
TAIL = b',"logger":"shop","hostname":"h"}'


def made(tail: bytes) -> Record:
    lines = [head if tail else head + TAIL for head in HEADS]
    return Record(0, 0, 1, len(lines), "udp://1", "", b"\n".join(lines) + b"\n", tail)


@pytest.mark.parametrize("tail", [b"", TAIL], ids=["plain", "a common tail"])
@pytest.mark.parametrize("piece", [1, 200, 4096, 1 << 20])
@pytest.mark.parametrize("skip", [0, 1, 150, 299, 300])
def test_each_line_has_its_number_its_text_and_its_event(
    monkeypatch: pytest.MonkeyPatch, tail: bytes, piece: int, skip: int
) -> None:
    monkeypatch.setattr(module, "_PIECE", piece)
    found = list(lines_of(made(tail), skip))
    assert [line.number for line in found] == list(range(skip, 300))
    assert [line.text for line in found] == [head + TAIL for head in HEADS[skip:]]
    assert all(line.row is not None and line.row.type == f"t{line.number}" for line in found)
    assert all(line.row is not None and line.row.logger == "shop" for line in found)


def test_what_is_fatal_is_not_decoded() -> None:
    record = Record(0, 0, 1, 3, "udp://1", "", b'{"type":"a"}\n{"type":"b"}\n{"type":"c"}\n')

    class Named(module.Fatal):
        def __call__(self, lines: object, record: object) -> list[int]:
            return [1]

    assert [(line.number, line.row is None, line.reason) for line in lines_of(record, 0, Named())] == [
        (0, False, ""),
        (1, True, "ended the process that read it"),
        (2, False, ""),
    ]
