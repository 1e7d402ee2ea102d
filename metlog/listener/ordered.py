"""Messages of a partitioned log on their way into the journal: each record says which offsets it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from metlog.journal.offsets import Partition, Run
from metlog.journal.segment import encode_record
from metlog.listener.accounting import Heard, survey
from metlog.listener.validate import check

__all__ = ["Encoded", "Messages", "encode"]

_PIECE: Final = 96 << 10
"""Bytes that are checked at once, as in `metlog.listener.ingest`."""


class Messages(NamedTuple):
    """Consecutive messages of a partition, all received at the same time."""

    partition: Partition
    begin: int
    """The offset from which on the partition was seen without a break; at most `first`."""
    first: int
    """Offset of the first message; the others follow without a gap."""
    frames: Sequence[bytes]
    received_at: int
    """Microseconds since the epoch. It comes from the messages, so that whoever reads them again gives them the same time and day."""


class Encoded(NamedTuple):
    """What becomes of messages."""

    records: list[bytes]
    heard: list[Heard]
    letters: list[tuple[bytes, str, str]]
    """What is bad, with its source and the reason."""
    events: int


def encode(batch: Sequence[Messages]) -> Encoded:
    """Checks messages and makes records of them."""
    made = Encoded([], [], [], 0)
    events = 0
    for messages in batch:
        begin = messages.begin
        start = 0
        while start < len(messages.frames):
            stop, size = start, 0
            while stop < len(messages.frames) and size < _PIECE:
                size += len(messages.frames[stop])
                stop += 1
            begin, count = _piece(messages, begin, start, stop, made)
            events += count
            start = stop
    return made._replace(events=events)


def _piece(messages: Messages, begin: int, start: int, stop: int, made: Encoded) -> tuple[int, int]:
    """Some of the messages; gives the next `begin`, and the number of events."""
    frames = messages.frames[start:stop]
    if all([_is_line(frame) for frame in frames]):
        checked = check(frames)
        if checked.count == len(frames) and not checked.bad:
            _add(messages, Run(messages.partition, begin, messages.first + start, 1), checked, made)
            return messages.first + stop, checked.count
    events = 0
    for index, frame in enumerate(frames, messages.first + start):
        checked = check([frame])
        made.letters.extend((bad.data, messages.partition.source, _told(bad.reason, index)) for bad in checked.bad)
        if checked.count:
            _add(messages, Run(messages.partition, begin, index, checked.count), checked, made)
            begin = index + 1
            events += checked.count
    return begin, events


def _is_line(frame: bytes) -> bool:
    """Whether it can only be one event: JSON on one line."""
    return frame[:1] == b"{" and frame.find(b"\n", 0, -1) < 0


def _told(reason: str, offset: int) -> str:
    """The reason with the offset as a detail, which is what comes after its colon."""
    return f"{reason} (offset {offset})" if ":" in reason else f"{reason}: offset {offset}"


def _add(messages: Messages, run: Run, checked: Any, made: Encoded) -> None:
    source = run.source().encode()
    made.records.append(encode_record(messages.received_at, checked.count, source, b"", checked.lines))
    made.heard.append(survey(checked.rows))
