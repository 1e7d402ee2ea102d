"""Frames of JSON, one event a line: at once where all is well, in blocks and line by line where not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from metlog.encoders.wire import is_utf8
from metlog.journal.rows import WRONG, Row, decode
from metlog.listener._frame import NESTING, Frame, check_depth, opening_marks, reason_of, too_deep

__all__ = ["BLOCK", "check_block", "check_json", "check_values"]

BLOCK: Final = 64 << 10
"""Bytes of JSON that are decoded at once, unless one line is longer. Lines of so many bytes have at most 32,768 values."""
_LINES: Final = 64
"""Lines that are tried together after their block failed."""
_COMMA: Final = ord(",")
_OPENS: Final = frozenset(b"[{")
_LINE: Final = re.compile(rb"[^ \t\r\n][^\n]*")
"""A line that is not blank, from its first character that JSON does not pass over."""
_BETWEEN: Final = re.compile(rb"\}[ \t\r]*\n[ \t\r]*\{")
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[][{},]', re.DOTALL)


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
    marks = opening_marks(data)
    if len(rows) != marks.count(b"\n") or not _separate(data, len(rows) - 1) or too_deep(data, marks):
        return False
    frame.accept(data, rows)
    return True


def _separate(data: bytes, gaps: int) -> bool:
    """Whether so many line feeds, all but the last one, stand between events. Else a frame cut off in the middle could swallow the one that
    follows it, and who reads the journal by lines would find parts of events.

    Within an event no line feed stands between `}` and `{`, so that a blank line or one of two events does not make up for an event of
    two lines."""
    if data.count(b"}\n{") == gaps or data.count(b"}\r\n{") == gaps:
        return True
    return len(_BETWEEN.findall(data)) == gaps


_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_LEAP_SECOND: Final = re.compile(rb'"timestamp"\s*:\s*"[^"]{14,17}:60')


def _check_lines(block: bytes, frame: Frame) -> int:
    """Accepts the good lines and rejects the others; the offset of what it gave up, else -1."""
    matches = _LINE.finditer(block)
    while lines := list(islice(matches, _LINES)):
        together = b"\n".join([match[0] for match in lines])
        if len(together) <= BLOCK and check_block(together, frame):
            continue
        given_up = _check_each(lines, frame)
        if given_up >= 0:
            return given_up
    return -1


def _check_each(lines: list[re.Match[bytes]], frame: Frame) -> int:
    """As `_check_lines`, for lines that are not all good."""
    good: list[bytes] = []
    rows: list[Row] = []
    given_up = -1
    for match in lines:
        line = match[0]
        try:
            if not line.isascii():
                line.decode()  # the decoder skips a key that is no field of an event, with its value
            if len(line) > 2 * frame.limits.values:
                check_values(line, frame.limits.values)
            found = decode(line)
            check_depth(line)
            if len(found) == 1:
                good.append(line)
                rows += found
                continue
            reason = "more than one event on a line"
        except WRONG as error:
            reason = _true_fault(line, error)
        frame.rejects.add(line, reason, frame.position + len(good))
        if frame.rejects.exhausted:
            given_up = match.end() + 1
            break
    if good:
        frame.accept(b"\n".join(good) + b"\n", rows)
    return given_up


def _true_fault(line: bytes, error: Exception) -> str:
    """As `reason_of`, where the decoder names another fault than the one that is there."""
    if isinstance(error, msgspec.ValidationError) and "datetime" in str(error) and _LEAP_SECOND.search(line):
        return "not an event: a second of 60 (a leap second) is not taken; send it as 59 - at `$.timestamp`"
    if isinstance(error, msgspec.DecodeError) and _SURROGATE.search(line):
        try:
            json.loads(line)
        except (ValueError, RecursionError):
            pass
        else:
            return "not JSON: a text holds half of a surrogate pair (\\ud800 to \\udfff), which is no character"
    return reason_of(error)


def check_values(line: bytes, most: int) -> None:
    """Raises ValueError for JSON of more values than `most`, and RecursionError for JSON that is nested too deeply, before they
    become objects in memory. Of long texts only what stands between their strings is looked at."""
    if line.count(b",") + line.count(b"[") + line.count(b"{") <= most:
        return
    count = depth = 0
    for match in _TOKEN.finditer(line):
        if match.end() - match.start() > 1:
            continue
        mark = line[match.start()]
        if mark == _COMMA:
            count += 1
        elif mark in _OPENS:
            count += 1
            depth += 1
        else:
            depth -= 1
        if depth > NESTING:
            raise RecursionError
        if count > most:
            raise ValueError(f"it has more than {most} values")
