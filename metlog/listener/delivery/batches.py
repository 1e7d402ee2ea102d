"""The loop of an output that takes batches: form one, deliver it until it is taken, move the cursor."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from metlog.event import Event
from metlog.journal import failpoints
from metlog.journal.cursor import Cursor, Position
from metlog.journal.reader import Entry, read
from metlog.journal.rows import Row, correct, rows_of
from metlog.listener.outputs import BaseOutput, Batch, Delivery, Rejected
from metlog.listener.outputs.context import Context
from metlog.plugins.schema import Seconds, Size

__all__ = ["Limits", "run_batches"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEEP: Final = 1.0
"""Seconds between saves of a cursor that passes only events of other outputs."""


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ends a batch; whichever comes first."""

    batch_events: Annotated[int, Meta(ge=1)] = 500
    batch_bytes: Annotated[Size, Meta(ge=1)] = 1 << 20
    batch_age: Annotated[Seconds, Meta(gt=0)] = 1.0
    """Seconds since its first event."""


class _Forming:
    """A batch that grows, and the position after its last event."""

    def __init__(self, start: Position) -> None:
        self.start = start
        self.end = start
        self.first = ""
        self.deliveries: list[Delivery] = []
        self.size = 0
        self.since = time.monotonic()

    def full(self, limits: Limits) -> bool:
        return len(self.deliveries) >= limits.batch_events or self.size >= limits.batch_bytes

    def batch(self, route: Any) -> Batch:
        end = self.end
        span = f"{self.first}.{self.start.offset}.{self.start.skip}-{end.number}.{end.offset}.{end.skip}"
        return Batch(f"{span}-{zlib.crc32(msgspec.json.encode(route)):08x}", self.deliveries, self.size)


def run_batches(output: BaseOutput, context: Context, limits: Limits) -> None:
    """Until the listener ends. The end of a batch is durable before it is delivered, so that after a crash the same batch,
    under the same id, is formed again."""
    cursor = context.cursor()
    _try(output.start, context)
    delivered = rejected = 0
    saved = time.monotonic()
    while True:
        context.pause(0)  # with a long backlog it waits nowhere else
        if cursor.pending is not None:
            forming = _form(context, cursor, cursor.pending)
        else:
            cursor.route = context.route
            forming = _collect(context, cursor, limits)
            if forming.deliveries:
                cursor.pending = forming.end
                context.keep(cursor)
                failpoints.point("batch.pending")
        if forming.deliveries:
            rejected += _deliver(output, forming.batch(cursor.route), context)
            delivered += len(forming.deliveries)
            failpoints.point("batch.delivered")
        moved = forming.end > cursor.at
        cursor.at, cursor.pending = forming.end, None
        idle = cursor.at >= context.end
        if moved and (idle or time.monotonic() - saved >= _KEEP):
            context.keep(cursor)
            saved = time.monotonic()
        if moved:
            facts = output.stats()
            context.report(at=cursor.at, events=delivered, rejected=rejected, error="", moved=time.time(), **facts)
        if idle and context.draining:
            context.keep(cursor)
            return


def _collect(context: Context, cursor: Cursor, limits: Limits) -> _Forming:
    """Events from the cursor on, until a limit of the batch is reached."""
    forming = _Forming(cursor.at)
    while True:
        end = context.end
        waits = _KEEP if not forming.deliveries else limits.batch_age - (time.monotonic() - forming.since)
        if forming.end >= end:
            if context.draining or waits <= 0 or (not forming.deliveries and forming.end > cursor.at):
                return forming
            context.wait(forming.end, waits)
            continue
        if _extend(forming, context, cursor, end, limits) or waits <= 0:
            return forming


def _form(context: Context, cursor: Cursor, end: Position) -> _Forming:
    """The batch that may have been delivered before a crash, again."""
    forming = _Forming(cursor.at)
    _extend(forming, context, cursor, end, None)
    forming.end = end
    return forming


def _extend(forming: _Forming, context: Context, cursor: Cursor, end: Position, limits: Limits | None) -> bool:
    """Adds events up to `end` (exclusive) or the limits; True when a limit was reached."""
    # A position within a record: that record is wanted whole, to take the events before it from.
    last = Position(end.number + 1) if end.skip else end
    for entry in read(context.journal, forming.end, last, context.damaged):
        here = Position(entry.segment.number, entry.record.offset)
        if here >= end:
            break
        skip = forming.end.skip if (here.number, here.offset) == (forming.end.number, forming.end.offset) else 0
        until = end.skip if (here.number, here.offset) == (end.number, end.offset) else entry.record.count
        forming.first = forming.first or str(entry.segment)
        rows, bad = rows_of(entry.record.events)
        if bad and limits is not None and skip == 0:  # told once: not when the batch is formed again
            letters = [(line, entry.record.source, reason) for line, reason in bad]
            _try(lambda letters=letters: context.dead.add(letters, durable=True), context)
        for index, row, line in _rows(entry, rows, skip, until):
            forming.end = Position(here.number, here.offset, index + 1)
            if cursor.route.takes(row):
                if not forming.deliveries:
                    forming.since = time.monotonic()
                forming.deliveries.append(_delivery(entry, row))
                forming.size += line
                if limits is not None and forming.full(limits):
                    return True
        if until >= entry.record.count:
            forming.end = Position(here.number, entry.record.end)
    if limits is not None:
        forming.end = max(forming.end, end)
    return False


def _rows(entry: Entry, rows: list[Row], skip: int, until: int) -> Iterator[tuple[int, Row, int]]:
    size = len(entry.record.events) // max(len(rows), 1)
    for index in range(skip, min(until, len(rows))):
        yield index, rows[index], size


def _delivery(entry: Entry, row: Row) -> Delivery:
    moment, _ = correct(row.timestamp, entry.record.received_at, entry.clock)
    event = Event(
        _EPOCH + timedelta(microseconds=moment), row.type, row.tokens, row.logger, row.severity, row.payload, row.fields,
        row.weight, row.env_version, row.pid, row.hostname, row.stream, row.seq,
    )  # fmt: skip
    return Delivery(event, entry.record.received_at, entry.record.source)


def _deliver(output: BaseOutput, batch: Batch, context: Context) -> int:
    """Writes until the batch is taken; returns the number of refused events, which are dead letters by then."""
    for delay in context.backoff():
        try:
            output.write(batch)
        except Rejected as refused:
            letters = [(msgspec.json.encode(d.event), d.source, reason) for d, reason in refused.rejected]
            _try(lambda letters=letters: context.dead.add(letters, durable=True), context)
            return len(letters)
        except Exception as error:  # noqa: BLE001 - whatever an output raises means "not delivered": told, and tried again
            context.report(error=f"{type(error).__name__}: {error}")
            context.pause(delay)
        else:
            return 0
    raise AssertionError("backoff has no end")


def _try(call: Any, context: Context) -> None:
    for delay in context.backoff():
        try:
            call()
        except Exception as error:  # noqa: BLE001 - as in _deliver
            context.report(error=f"{type(error).__name__}: {error}")
            context.pause(delay)
        else:
            return


def limits_of(output: BaseOutput, options: Mapping[str, Any]) -> Limits:
    """The limits of a batch: the configuration's, else the output's own defaults, else ours."""
    return Limits(**{**output.batch_defaults, **options})
