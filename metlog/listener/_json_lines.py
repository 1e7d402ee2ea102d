"""Frames of JSON, one event a line: at once where all is well, in blocks and line by line where not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from metlog.encoders.wire import is_utf8
from metlog.journal.rows import WRONG, decode
from metlog.listener._frame import Frame, check_depth, opening_marks, reason_of, too_deep

__all__ = ["BLOCK", "check_block", "check_json", "check_values"]

BLOCK: Final = 64 << 10
"""Bytes of JSON that are decoded at once, unless one line is longer. Lines of so many bytes have at most 32,768 values."""
_LINES: Final = 64
"""Lines that are tried together after their block failed."""
_LINE: Final = re.compile(rb"[^\s][^\n]*")
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def check_json(data: bytes, frame: Frame) -> None:
    """Checks a frame of lines."""
    start = 0
    for block in _blocks(data):
        if not (len(block) <= BLOCK and check_block(block, frame)):
            given_up = _check_lines(block, frame)
            if given_up >= 0:
                frame.rejects.skip(data[start + given_up :])
                return
        start += len(block)


def _blocks(data: bytes) -> Iterator[bytes]:
    """Runs of whole lines of at most `BLOCK` bytes, or one longer line."""
    start, end = 0, len(data)
    while end - start > BLOCK:
        cut = data.rfind(b"\n", start, start + BLOCK)
        if cut < 0:
            cut = data.find(b"\n", start + BLOCK)
        if cut < 0:
            break
        yield data[start : cut + 1]
        start = cut + 1
    if start < end:
        yield data[start:] if start else data


def check_block(data: bytes, frame: Frame) -> bool:
    """Accepts lines that are good throughout; False, and nothing done, when there is anything odd about them."""
    if data[:1] != b"{" or not is_utf8(data):
        return False
    try:
        rows = decode(data)
    except WRONG:
        return False
    if not data.endswith(b"\n"):
        data += b"\n"
    # One event, one line: else a frame cut off in the middle could swallow the one that follows it.
    marks = opening_marks(data)
    # A blank line would make up for a line of two.
    if len(rows) != marks.count(b"\n") or b"\n\n" in marks or too_deep(marks):
        return False
    frame.accept(data, rows)
    return True


def _check_lines(block: bytes, frame: Frame) -> int:
    """Accepts the good lines and rejects the others; the offset of what it gave up, else -1."""
    matches = _LINE.finditer(block)
    while lines := list(islice(matches, _LINES)):
        together = b"\n".join([match[0] for match in lines])
        if len(together) <= BLOCK and check_block(together, frame):
            continue
        for match in lines:
            _check_line(match[0], frame)
            if frame.rejects.exhausted:
                return match.end() + 1
    return -1


def _check_line(line: bytes, frame: Frame) -> None:
    try:
        line.decode()  # the decoder skips a key that is no field of an event, with its value
        check_depth(line)
        check_values(line, frame.limits.values)
        rows = decode(line)
    except WRONG as error:
        frame.reject(line, reason_of(error))
        return
    if len(rows) == 1:
        frame.accept(line + b"\n", rows)
    else:
        frame.reject(line, "more than one event on a line")


def check_values(line: bytes, most: int) -> None:
    """Raises ValueError for JSON of more values than `most`, before they become objects in memory."""
    if len(line) <= 2 * most or _separators(line) <= most:
        return
    if _separators(_STRING.sub(b"", line)) > most:
        raise ValueError(f"it has more than {most} values")


def _separators(line: bytes) -> int:
    """At least the number of values."""
    return line.count(b",") + line.count(b"[") + line.count(b"{")
