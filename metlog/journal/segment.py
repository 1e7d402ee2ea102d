"""A journal segment on disk: its name, its format, how it is read.

    segment = header, record…
    header  = "metlog-journal 1" (16 bytes), past limit, future limit (u32, seconds), crc32 of these
    record  = marker (4 bytes), length of the body (u32), crc32 of the body (u32), body
    body    = received_at (i64, µs since the epoch), events (u32), length of source (u16), of key (u16), source, key,
              events as JSON, one a line

Events of a client all end in the same members. A record of the second kind, with a marker of its own, holds these once:

    body    = received_at, events, length of source, of key, of tail (u16), members (i32), source, key, tail, events without it

Each of its lines with the tail behind it is an event. `members`: how many members all objects `fields` have together, each of another
name in its object, those of objects within them left out; -1 when that is not known.

All little-endian. A marker begins with a byte that UTF-8 never holds, so that after damage the next record can be
found: what a reader cannot verify it skips, byte by byte, up to the next marker whose record verifies.
The limits are those of a client's clock (see `metlog.lake.schema`): they stand in the segment, so that every reader, at any
time, gives each event the same timestamp.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from metlog.journal.folder import Folder, read_all

__all__ = [
    "END",
    "FIRST",
    "HEADER_SIZE",
    "ACTIVE",
    "LAST",
    "RESCUE",
    "SEALED",
    "Clock",
    "End",
    "Record",
    "Scan",
    "SegmentName",
    "encode_record",
    "end_mark",
    "end_of",
    "header",
    "listing",
    "read_end",
    "read_header",
    "record_parts",
    "scan",
    "source_bytes",
]

ACTIVE: Final = ".open"
"""Suffix of the segment that is being written."""
SEALED: Final = ".seg"
"""Suffix of a segment that will not change any more."""
END: Final = ".end"
"""Suffix of a small file that says at which offset a segment ends for good, written when an fsync of it failed: what lies
beyond was written again to a later segment, whose name stands there too."""
RESCUE: Final = ".rescue"
"""Suffix of that later segment until the small file stands, which makes it one."""

_MAGIC: Final = b"metlog-journal 1"
_HEADER: Final = struct.Struct("<16sIII")
HEADER_SIZE: Final = _HEADER.size
MARKER: Final = b"\xc1ML\xfe"
TAIL_MARKER: Final = b"\xc1ML\xfd"
_MARKERS: Final = MARKER[:-1]
_FRAME: Final = struct.Struct("<4sII")
_BODY: Final = struct.Struct("<qIHH")
_TAIL_BODY: Final = struct.Struct("<qIHHHi")
_LONGEST_SOURCE: Final = 4096
_BODIES: Final = {MARKER: _BODY, TAIL_MARKER: _TAIL_BODY}
FRAME_SIZE: Final = _FRAME.size

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
FIRST: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
LAST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
"""Microseconds since the epoch: all times of records and events lie between the two, which are those of a `datetime`."""


class Clock(NamedTuple):
    """How far a client's clock may be off, in seconds, before its timestamp is only a claim."""

    past: int = 7 * 86400
    """A week: what a client or a chained listener could not deliver over a weekend keeps its time; and hostile
    timestamps reach nine folders, not a million."""
    future: int = 3600
    """An hour: more than clocks drift, and than a wrong daylight saving."""


class SegmentName(NamedTuple):
    """`000000000012-9f3c2a…`: a number that rises within a journal, and the random name of the listener's run, so that no
    name is used twice, whatever was deleted, and listeners that share a lake never meet."""

    number: int
    run: str

    def __str__(self) -> str:
        return f"{self.number:012d}-{self.run}"

    @classmethod
    def parse(cls, text: str) -> SegmentName | None:
        number, dash, run = text.partition("-")
        if dash and number.isdecimal() and number.isascii() and run.isalnum():
            return cls(int(number), run)
        return None


class Record(NamedTuple):
    """What was received from one source at one time."""

    offset: int
    end: int
    received_at: int
    """Microseconds since the epoch."""
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody asks a record for
    source: str
    key: str
    lines: bytes
    """JSON, one event a line, without the tail."""
    tail: bytes = b""
    """What each line ends in before its line feed."""
    members: int = -1
    """How many members the objects `fields` have in all, as in the format."""

    @property
    def events(self) -> bytes:
        """JSON, one event a line."""
        return self.lines.replace(b"\n", self.tail + b"\n") if self.tail else self.lines


def header(clock: Clock) -> bytes:
    past, future = clock
    return _HEADER.pack(_MAGIC, past, future, zlib.crc32(struct.pack("<II", past, future)))


def read_header(data: bytes) -> Clock:
    """The clock limits of a segment; the defaults when the header is damaged (its records are still good)."""
    if len(data) >= HEADER_SIZE:
        magic, past, future, crc = _HEADER.unpack_from(data)
        if magic == _MAGIC and crc == zlib.crc32(struct.pack("<II", past, future)):
            return Clock(past, future)
    return Clock()


def source_bytes(source: str) -> bytes:
    """A source as records and dead letters hold it, cut at 4,096 bytes. What is no text in UTF-8, as in the name of a file, is escaped."""
    try:
        data = source.encode()
    except UnicodeEncodeError:
        data = source.encode("utf-8", "backslashreplace")
    return data if len(data) <= _LONGEST_SOURCE else data[:_LONGEST_SOURCE].decode("utf-8", "ignore").encode()


def record_parts(
    received_at: int, count: int, source: bytes, key: bytes, lines: bytes, tail: bytes = b"", members: int = -1
) -> tuple[bytes, bytes, bytes]:
    """As `encode_record`: the record in pieces, for one that joins many."""
    received_at = min(max(received_at, FIRST), LAST)
    if tail:
        head = _TAIL_BODY.pack(received_at, count, len(source), len(key), len(tail), members) + source + key + tail
    else:
        head = _BODY.pack(received_at, count, len(source), len(key)) + source + key
    crc = zlib.crc32(lines, zlib.crc32(head))
    return _FRAME.pack(TAIL_MARKER if tail else MARKER, len(head) + len(lines), crc), head, lines


def encode_record(
    received_at: int, count: int, source: bytes, key: bytes, lines: bytes, tail: bytes = b"", members: int = -1
) -> bytes:
    """A record. With `tail`, at most 65,535 bytes, it is one of the second kind, and each line must end in a line feed. A `received_at`
    that no `datetime` can be is the nearest one that can."""
    return b"".join(record_parts(received_at, count, source, key, lines, tail, members))


def _record_at(data: bytes, offset: int) -> Record | None:
    start = offset + FRAME_SIZE
    if start > len(data):
        return None
    marker, length, crc = _FRAME.unpack_from(data, offset)
    end = start + length
    body = _BODIES.get(marker)
    if body is None or length < body.size or end > len(data) or zlib.crc32(memoryview(data)[start:end]) != crc:
        return None
    received_at, count, source_size, key_size, *more = body.unpack_from(data, start)
    tail_size, members = more or (0, -1)
    source_end = start + body.size + source_size
    key_end = source_end + key_size
    tail_end = key_end + tail_size
    return Record(
        offset,
        end,
        min(max(received_at, FIRST), LAST),  # of a message from Kafka it could be any number, once
        count,
        data[start + body.size : source_end].decode("utf-8", "replace"),
        data[source_end:key_end].decode("utf-8", "replace"),
        data[tail_end:end],
        data[key_end:tail_end],
        members,
    )


class Scan:
    """Iterates the records of a segment's bytes; afterwards `damaged` has the ranges that were skipped.

    base: the offset of `data` in the segment, for a reader that goes on where it stopped. stop: where the segment ends, when `data` is
    a part of it that more bytes follow: then `cut` says afterwards from where on these are needed. What begins in `data` and says of
    itself that it ends beyond is never searched for records, so that nothing inside a long record is taken for one.
    """

    def __init__(self, data: bytes, base: int = 0, stop: int = 0) -> None:
        self.data = data
        self._base, self._stop = base, stop
        self.damaged: list[tuple[int, int]] = []
        """Offsets (start, end) of what does not verify. The last one may be a record that is still being written."""
        self.cut: tuple[int, int] | None = None
        """The offset at which `data` has to begin the next time, and the one up to which it has to reach at least."""
        if base == 0 and data and data[:HEADER_SIZE] != header(read_header(data)):
            self.damaged.append((0, min(HEADER_SIZE, len(data))))

    def __iter__(self) -> Iterator[Record]:
        data, base = self.data, self._base
        offset = HEADER_SIZE if base == 0 else 0
        while offset < len(data):
            record = _record_at(data, offset)
            if record is None:
                if (reach := self._beyond(offset)) is not None:
                    self.cut = (base + offset, reach)
                    return
                record, found = self._resync(offset)
                if self.cut is not None and self.cut[0] == base + offset:
                    return
                self.damaged.append((base + offset, base + found))
                if record is None:
                    return
            offset = record.end
            yield record._replace(offset=base + record.offset, end=base + record.end) if base else record

    def _resync(self, offset: int) -> tuple[Record | None, int]:
        found = offset
        while (found := self.data.find(_MARKERS, found + 1)) >= 0:
            if record := _record_at(self.data, found):
                return record, found
            if (reach := self._beyond(found)) is not None:
                self.cut = (self._base + found, reach)
                return None, found
        if self._base + len(self.data) < self._stop:  # the damage goes on, or a marker is cut in two
            self.cut = (self._base + offset, self._base + len(self.data) + 1)
        return None, len(self.data)

    def _beyond(self, offset: int) -> int | None:
        """Up to where the segment has to be read to tell whether a record is at an offset of `data`; None when `data` has all of it."""
        end = offset + FRAME_SIZE
        if end <= len(self.data):
            marker, length, _ = _FRAME.unpack_from(self.data, offset)
            if marker not in _BODIES:
                return None
            end += length
        return self._base + end if end > len(self.data) and self._base + end <= self._stop else None


def scan(folder: Folder, name: SegmentName, suffix: str = SEALED) -> tuple[Clock, Scan]:
    """Reads a segment up to its end as it is now. Raises FileNotFoundError when it is gone."""
    descriptor = folder.open(f"{name}{suffix}", os.O_RDONLY)
    try:
        data = read_all(descriptor, end_of(folder, name))
    finally:
        os.close(descriptor)
    return read_header(data), Scan(data)


class End(NamedTuple):
    """Where a segment ends for good, and the name of the segment that has what came after."""

    offset: int
    rest: str


def end_mark(offset: int, rest: str) -> bytes:
    """The content of the file with suffix END; `rest` may be empty when nothing came after."""
    text = b"%d %s" % (offset, rest.encode() or b"-")
    return b"%s %08x\n" % (text, zlib.crc32(text))


def read_end(folder: Folder, name: str) -> End | None:
    """The mark of a segment that has one. A damaged one counts as none: then what came after it is read twice, not never."""
    try:
        text, _, crc = folder.read(f"{name}{END}").rstrip(b"\n").rpartition(b" ")
        if int(crc, 16) != zlib.crc32(text):
            return None
        offset, rest = text.split(b" ")
        return End(int(offset), "" if rest == b"-" else rest.decode())
    except (FileNotFoundError, ValueError):
        return None


def end_of(folder: Folder, name: SegmentName) -> int | None:
    """Where a segment ends when an fsync of it failed; None for every other."""
    mark = read_end(folder, str(name))
    return mark.offset if mark is not None else None


def listing(folder: Folder) -> tuple[list[SegmentName], list[SegmentName]]:
    """Sealed and active segments of a journal, oldest first, each in one of the two. Lists active
    segments first, so that one sealed in between is not missed."""
    active = _named(folder, ACTIVE)
    sealed = _named(folder, SEALED)
    return sorted(sealed), sorted(active - sealed)


def _named(folder: Folder, suffix: str) -> set[SegmentName]:
    names = (SegmentName.parse(entry.name.removesuffix(suffix)) for entry in folder.regular(suffix))
    return {name for name in names if name is not None}
