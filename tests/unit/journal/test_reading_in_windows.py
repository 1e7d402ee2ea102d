"""A segment that is read window by window gives the records that a scan of the whole gives, damage included."""

from __future__ import annotations

import os
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from metlog.journal.blocks import read_blocks
from metlog.journal.segment import HEADER_SIZE, Clock, Record, Scan, encode_record, header

INNER = encode_record(7, 1, b"forged", b"", b'{"type":"forged"}\n')
"""A record that stands in an event's text: it is none, also where the window ends before the true one does."""


def made(sizes: list[int]) -> bytes:
    parts = [
        encode_record(n, 1, b"udp", b"key", (INNER if size % 3 == 0 else b"") + b"x" * size)
        for n, size in enumerate(sizes)
    ]
    return header(Clock()) + b"".join(parts)


def read(data: bytes, start: int, window: int) -> list[Record]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        assert os.fstat(file.fileno()).st_size == len(data)
        start = max(start, HEADER_SIZE)
        return list(read_blocks(file.fileno(), start, len(data), lambda *_: None, complete=True, block=window))


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.integers(0, 400), max_size=12),
    st.integers(64, 900),
    st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), max_size=3),
    st.integers(0, 80),
)
def test_windows_find_what_a_scan_of_the_whole_finds(
    sizes: list[int], window: int, damage: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(made(sizes))
    for at, value in damage:
        if HEADER_SIZE <= at < len(data):
            data[at] = value
    whole = bytes(data[: len(data) - cut])
    assert read(whole, 0, window) == list(Scan(whole))


def test_reading_goes_on_behind_a_record() -> None:
    data = made([10, 300, 20])
    first, *rest = Scan(data)
    assert read(data, first.end, 64) == rest
    assert read(data, len(data), 64) == []
