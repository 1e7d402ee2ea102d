"""Messages of a partitioned log on their way into the journal: each record says which offsets it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from metlog.journal.offsets import Partition, Run
from metlog.listener.accounting import SeqRuns
from metlog.listener.validate import validate, validate_frames

__all__ = ["Encoded", "Messages", "OrderedSink", "encode"]

_PIECE: Final = 96 << 10
"""Bytes that are validated at once, as in `metlog.listener.ingest`."""


class Messages(NamedTuple):
    """Consecutive messages of a partition, all received at the same time."""

    partition: Partition
    begin: int
    """The offset from which on the partition was seen without a break; at most `first`."""
    first: int
    """Offset of the first message; the others follow without a gap."""
    frames: Sequence[bytes]
    received_at: int
    """Microseconds since the epoch. It comes from the messages, so that a second reading gives them the same time and day."""


@runtime_checkable
class OrderedSink(Protocol):
    """What the listener's sink can do beside `metlog.listener.inputs.Sink`, for an input that reads a partitioned log."""

    def messages(self, batch: Sequence[Messages]) -> int:
        """Journals messages with their offsets; what is invalid in them is dead-lettered. Returns the log sequence number to `wait`
        for before the log is told that they were taken. Raises `Full`; then nothing was journaled."""
        ...

    def wait(self, lsn: int) -> None:
        """Returns when everything up to there is on disk, as the journal's `sync` setting has it. Raises `Full` when the disk
        does not take it in time."""
        ...


class Encoded(NamedTuple):
    """What becomes of messages."""

    records: list[bytes]
    runs: list[SeqRuns]
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
        validated = validate_frames(frames)
        if validated.count == len(frames) and not validated.invalid:
            _add(messages, Run(messages.partition, begin, messages.first + start, 1), validated, made)
            return messages.first + stop, validated.count
    events = 0
    for index, frame in enumerate(frames, messages.first + start):
        validated = validate(frame)
        made.letters.extend(
            (item.data, messages.partition.source, _told(item.reason, index)) for item in validated.invalid
        )
        if validated.count:
            _add(messages, Run(messages.partition, begin, index, validated.count), validated, made)
            begin = index + 1
            events += validated.count
    return begin, events


def _is_line(frame: bytes) -> bool:
    """Whether it can only be one event: JSON on one line."""
    return frame[:1] == b"{" and frame.find(b"\n", 0, -1) < 0


def _told(reason: str, offset: int) -> str:
    """The reason with the offset as a detail, which is what comes after its colon."""
    return f"{reason} (offset {offset})" if ":" in reason else f"{reason}: offset {offset}"


def _add(messages: Messages, run: Run, validated: Any, made: Encoded) -> None:
    made.records.append(validated.record(messages.received_at, run.source()))
    made.runs.append(validated.runs)
