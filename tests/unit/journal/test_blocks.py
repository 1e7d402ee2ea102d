"""A segment read a block at a time gives what it gives when it is read whole, damaged or not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metlog.journal import blocks
from metlog.journal.blocks import SegmentReader, read_blocks
from metlog.journal.folder import Folder
from metlog.journal.segment import HEADER_SIZE, Clock, Scan, SegmentName, encode_record, header

NAME = SegmentName(1, "abc123")
TAIL = b',"stream":"s","logger":"","env_version":"1","pid":1,"hostname":"h"}'


def segment(sizes: list[int], flips: list[int]) -> bytes:
    made = [
        encode_record(number, 1, b"udp://a", b"", b'{"type":"%s"\n' % (b"x" * size), TAIL)
        if number % 2
        else encode_record(number, 1, b"udp://a", b"", b'{"type":"%s"}\n' % (b"x" * size))
        for number, size in enumerate(sizes)
    ]
    data = bytearray(header(Clock(5, 6)) + b"".join(made))
    for place in flips:
        data[place % len(data)] ^= 0x11
    return bytes(data)


@example([0, 0], [28, 83], 64)
@given(
    st.lists(st.sampled_from([0, 10, 100, 3000, 9000]), max_size=12),
    st.lists(st.integers(0, 1 << 20), max_size=4),
    st.sampled_from([64, 500, 4096, 1 << 20]),
)
def test_blocks_give_what_the_whole_gives(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], flips: list[int], block: int
) -> None:
    data = segment(sizes, flips)
    scan = Scan(data)
    expected = list(scan)
    path = tmp_path_factory.mktemp("journal") / "segment"
    path.write_bytes(data)
    damaged: list[tuple[int, int]] = []
    with path.open("rb") as file:
        found = list(
            read_blocks(
                file.fileno(),
                HEADER_SIZE,
                len(data),
                lambda offset, piece: damaged.append((offset, offset + len(piece))),
                complete=True,
                block=block,
            )
        )
    assert found == expected
    assert damaged == [span for span in scan.damaged if span != (0, HEADER_SIZE)]


def test_a_reader_says_what_it_passed_over_and_where_its_segment_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_BLOCK", 256)
    data = segment([100] * 9, [HEADER_SIZE + 200, 20])
    (tmp_path / f"{NAME}.seg").write_bytes(data)
    with Folder.root(tmp_path) as folder:
        reader = SegmentReader(folder, NAME)
        assert len(list(reader)) == 8
        assert (reader.size, reader.clock) == (len(data), Clock())
        first, second = reader.damaged
        assert first == (0, HEADER_SIZE)
        assert reader.read(*second) == data[second[0] : second[1]]
        with pytest.raises(FileNotFoundError):
            SegmentReader(folder, SegmentName(2, "abc123"))
