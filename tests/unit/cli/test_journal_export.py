"""`metlog journal export --file`: of a file that may be anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metlog.journal.segment import Clock, encode_record, header
from tests.helpers.commands import metlog_here

RECORDS = [encode_record(1_700_000_000_000_000, 1, b"test://", b"", b'{"type":"%d"}\n' % n) for n in range(3)]
SEGMENT = header(Clock()) + b"".join(RECORDS)
BEHIND = len(SEGMENT) - len(RECORDS[2])


@pytest.mark.parametrize(
    ("content", "types", "told"),
    [
        (SEGMENT, ["0", "1", "2"], ""),
        (header(Clock()), [], ""),
        (SEGMENT[:-1], ["0", "1"], f"{len(RECORDS[2]) - 1} bytes at {BEHIND} are damaged and left out"),
        (b"x" + SEGMENT[1:], ["0", "1", "2"], f"{len(header(Clock()))} bytes at 0 are damaged and left out"),
        (header(Clock()) + b"x" * 99, [], f"99 bytes at {len(header(Clock()))} are damaged and left out"),
    ],
    ids=["whole", "empty", "cut", "header damaged", "nothing left"],
)
@pytest.mark.parametrize("place", ["file", "journal"])
def test_what_is_left_out_of_a_segment_is_told(
    tmp_path: Path, content: bytes, types: list[str], told: str, place: str
) -> None:
    file = tmp_path / "journal/main/000000000001-6cc8ef9e6594fae518c9.seg"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    done = metlog_here("journal", "export", *(["--file", str(file)] if place == "file" else ["--data", str(tmp_path)]))
    assert (done.returncode, [json.loads(line)["type"] for line in done.stdout.splitlines()]) == (0, types)
    assert done.stderr.splitlines()[:-1] == ([f"{file if place == 'file' else file.name}: {told}"] if told else [])


@pytest.mark.parametrize(
    "content", [b"", b"x", b'{"type":"a"}\n' * 50, bytes(500)], ids=["empty", "short", "text", "zeros"]
)
def test_what_is_no_segment_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "one.seg"
    file.write_bytes(content)
    done = metlog_here("journal", "export", "--file", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{file}: is no segment of a journal" in done.stderr


@pytest.mark.parametrize("more", [["--segment", "a"], ["--behind", "lake"]])
def test_a_file_is_exported_whole(tmp_path: Path, more: list[str]) -> None:
    file = tmp_path / "one.seg"
    file.write_bytes(SEGMENT)
    done = metlog_here("journal", "export", "--file", str(file), *more)
    assert (done.returncode, done.stdout) == (2, "")
    assert "leave out --segment and --behind" in done.stderr
