"""Finds the events that a process cannot survive, by trying them in one that may die.

When an output's process has ended several times at the same segment, something in the segment is too much for it: more memory than it may
have, or a fault in native code. Each event of some size is then decoded in a process of its own kind, one after the other; the one at which
that process ends is left out, and the search goes on behind it.

The trying process holds memory beside the event, the ballast, as the process does that is to take it. With more than there is it could not
even start, or would end at any event: the ballast is half of what is available at most, and halved while the process does not start.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from metlog.errors import MetlogError
from metlog.journal.offsets import clean_source
from metlog.journal.routing import Route
from metlog.journal.rows import pieces_of, rows_of
from metlog.journal.segment import Clock, Record
from metlog.lake.memory import available

__all__ = ["REASON", "TrialError", "fatal", "main", "survivors"]

REASON: Final = "ended the process that read it"
_SMALL: Final = 4096
"""Bytes of an event that is not tried: so little harms no process that is alive."""
_LEAST: Final = 1 << 20
"""Bytes of ballast below which none is tried."""
_ROOM: Final = 16 << 20
"""Bytes that the trying process must have left beside its ballast: far more than an event that does no harm takes."""
_HEAD: Final = struct.Struct("<qI")


class TrialError(MetlogError):
    """Events cannot be tried now: no process for it starts, however little memory it holds."""


def survivors(records: Iterable[Record], bad: list[tuple[bytes, str, str]], ballast: int) -> Iterator[Record]:
    """The records without the events that no process survives; `bad` gets these with their source. `ballast`: bytes that the trying process
    holds beside each event, as the process does that is to take them. Raises TrialError."""
    for record in records:
        if len(record.events) <= _SMALL:
            yield record
            continue
        small: list[Record] = []
        lines = list(pieces_of(record, 1))
        large = [line for line in lines if len(line.events) > _SMALL]
        deadly = {id(large[number]) for number in fatal(large, ballast)}
        for line in lines:
            if id(line) in deadly:
                bad.append((line.events.rstrip(b"\n"), clean_source(line.source), REASON))
            else:
                small.append(line)
        yield from small


def fatal(lines: list[Record], ballast: int, *, columns: bool = True) -> Iterator[int]:
    """The numbers of those at which a process that decodes one after the other ends. `columns`: it makes columns of them, as the lake does;
    else it encodes them again, as outputs do that take batches. Raises TrialError."""
    trial = _Trial(min(ballast, available() // 2), columns)
    start = 0
    while start < len(lines):
        start += trial.survived(lines[start:])
        if start < len(lines):
            if trial.survived(lines[start : start + 1]) == 0:  # it was no chance that the process ended there
                yield start
            start += 1


class _Trial:
    """Processes that decode events, each until it ends."""

    def __init__(self, ballast: int, columns: bool) -> None:
        self._ballast = ballast
        self._how = "columns" if columns else "rows"

    def survived(self, lines: list[Record]) -> int:
        """How many lines a process takes before it ends."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        done = 0
        try:
            for line in lines:  # one at a time: an answer a line
                process.stdin.write(_HEAD.pack(line.received_at, len(line.events)) + line.events)
                if process.stdout.read(1) != b".":
                    return done
                done += 1
        except OSError:  # it is gone
            return done
        finally:
            _end(process)
        return done

    def _started(self) -> subprocess.Popen[bytes]:
        while True:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "metlog.lake.careful", str(self._ballast), self._how],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                    bufsize=0,
                )  # fmt: skip
            except OSError as error:
                raise TrialError(f"events cannot be tried: no process to be had: {error.strerror or error}") from error
            assert process.stdout is not None
            if process.stdout.read(1) == b"!":
                return process
            _end(process)
            if self._ballast == 0:
                raise TrialError("events cannot be tried: there is too little memory for any; raise its limit")
            self._ballast = self._ballast // 2 if self._ballast > _LEAST else 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def main(ballast: int, how: str) -> None:
    """Decodes events from standard input as an output does; a point on standard output for each that went well."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    take = _as_columns if how == "columns" else _as_rows
    held = b"x" * ballast
    room = b"x" * _ROOM  # too little for an innocent event is found now, and not at one
    del room
    take(Record(0, 0, 0, 1, "", "", b'{"type":"a"}'))
    target.write(b"!")
    target.flush()
    while len(head := source.read(_HEAD.size)) == _HEAD.size:
        received_at, size = _HEAD.unpack(head)
        take(Record(0, 0, received_at, 1, "", "", source.read(size)))
        target.write(b".")
        target.flush()
    del held


def _as_rows(record: Record) -> None:
    rows, _ = rows_of(record.events)
    for row in rows:
        msgspec.json.encode(row)


def _as_columns(record: Record) -> None:
    from metlog.lake.schema import tables

    for _ in tables([record], Clock(), Route(), bad=[]):
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
