"""The loop of an output that takes batches: form one, deliver it until it is taken, move the cursor."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from metlog.errors import ConfigError, MetlogError, Problems
from metlog.event import Event
from metlog.journal import failpoints
from metlog.journal.cursor import Cursor, Position
from metlog.journal.offsets import clean_source
from metlog.journal.reader import Entry, read
from metlog.journal.rows import Row, correct
from metlog.lake.careful import TrialError
from metlog.listener.delivery.care import UNDELIVERABLE, Care, Limits
from metlog.listener.delivery.lines import Fatal, lines_of
from metlog.listener.outputs import BaseOutput, Batch, Delivery, Rejected
from metlog.listener.outputs.context import Context
from metlog.plugins.schema import checked

__all__ = ["Limits", "limits_of", "run_batches"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIGURES: Final = 1500
"""Bytes that an output's own counters may take in a report to the listener, which a pipe takes in one piece."""
_KEEP: Final = 1.0
"""Seconds after which a cursor that has moved is saved, and an output without events looks again."""


class _Forming:
    """A batch that grows, and the position after its last event."""

    def __init__(self, start: Position, fatal: Fatal) -> None:
        self.start = start
        self.fatal = fatal
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
    """Forms batches and delivers them until the listener ends. Where a batch ends is durable before the batch is delivered, so that after a
    crash the same one is formed again, under the same id. Once the process has ended several times at one place, smaller ones are."""
    cursor = context.cursor()
    context.report(at=cursor.at, starting=True)
    _try(output.start, context)
    context.report(starting=False, error="")
    care = Care(context, limits)
    if care.halves:
        cursor.pending = None  # smaller batches take the place of the one that was under way
    delivered = rejected = 0
    saved = time.monotonic()
    while True:
        context.pause(0)  # raises Stopped, which nothing else here does while there is a backlog
        if cursor.pending is not None:
            forming = _read(context, _form, cursor, cursor.pending, care)
        else:
            cursor.route = context.route
            forming = _read(context, _collect, cursor, care.limits, care)
            if forming.deliveries and not care.gives_up:
                cursor.pending = forming.end
                context.keep(cursor)
                failpoints.point("batch.pending")
        if forming.deliveries and care.gives_up:
            rejected += len(forming.deliveries)
            _refuse([(msgspec.json.encode(d.event), d.source, UNDELIVERABLE) for d in forming.deliveries], context)
            care.passed(len(forming.deliveries))
        elif forming.deliveries:
            rejected += _deliver(output, forming.batch(cursor.route), context)
            delivered += len(forming.deliveries)
            failpoints.point("batch.delivered")
            care.passed(len(forming.deliveries))
        moved = forming.end > cursor.at
        cursor.at, cursor.pending = forming.end, None
        draining = context.draining  # asked for before `end`, which does not change once it drains
        idle = cursor.at >= context.end
        if moved and (idle or care.taken or time.monotonic() - saved >= _KEEP):
            context.keep(cursor)
            saved = time.monotonic()
        if moved:
            figures, error = _figures(output)
            told = {"at": cursor.at, "events": delivered, "rejected": rejected, "error": error, "moved": time.time()}
            context.report(**{**figures, **told})
        if idle and draining:
            context.keep(cursor)
            return


def _figures(output: BaseOutput) -> tuple[dict[str, Any], str]:
    """The output's own counters, or what is wrong with them: a batch that is delivered must not come again for that."""
    try:
        said = msgspec.json.encode(output.stats())
        figures = msgspec.json.decode(said, type=dict[str, Any])
    except Exception as error:  # noqa: BLE001 - whatever an output raises: told, and asked again after the next batch
        return {}, f"its figures cannot be had: {type(error).__name__}: {error}"
    if len(said) > _FIGURES:
        return {}, f"its figures cannot be had: they take {len(said)} bytes, and a report has room for {_FIGURES}"
    return figures, ""


def _read(context: Context, form: Callable[..., _Forming], *arguments: Any) -> _Forming:
    """A batch, for as many tries as the disk wants: what fails here is no fault of an event's."""
    for delay in context.backoff():
        try:
            return form(context, *arguments)
        except OSError as error:
            context.report(error=f"cannot read the journal: {error.strerror or error}")
            context.pause(delay)
        except TrialError as error:
            context.report(error=str(error))
            context.pause(delay)
    raise AssertionError("backoff has no end")


def _collect(context: Context, cursor: Cursor, limits: Limits, care: Care) -> _Forming:
    """Events from the cursor on, until a limit of the batch is reached."""
    forming = _Forming(cursor.at, care.fatal)
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


def _form(context: Context, cursor: Cursor, end: Position, care: Care) -> _Forming:
    """Forms again the batch that was under way at a crash."""
    forming = _Forming(cursor.at, care.fatal)
    _extend(forming, context, cursor, end, None)
    forming.end = end
    return forming


def _extend(forming: _Forming, context: Context, cursor: Cursor, end: Position, limits: Limits | None) -> bool:
    """Adds events up to `end` (exclusive) or the limits; True when a limit was reached."""
    # Where `end` is within a record, the record is read too, for the events before that place.
    last = Position(end.number + 1) if end.skip else end
    for entry in read(context.journal, forming.end, last, context.damaged):
        here = Position(entry.segment.number, entry.record.offset)
        if here >= end:
            break
        skip = forming.end.skip if (here.number, here.offset) == (forming.end.number, forming.end.offset) else 0
        until = end.skip if (here.number, here.offset) == (end.number, end.offset) else entry.record.count
        forming.first = forming.first or str(entry.segment)
        for line in lines_of(entry.record, skip, forming.fatal):
            if line.number >= until:
                break
            forming.end = Position(here.number, here.offset, line.number + 1)
            if line.row is None:
                if limits is not None:  # a dead letter already, where the batch is formed again
                    _refuse([(line.text, clean_source(entry.record.source), line.reason)], context)
            elif cursor.route.takes(line.row):
                if not forming.deliveries:
                    forming.since = time.monotonic()
                forming.deliveries.append(_delivery(entry, line.row))
                forming.size += len(line.text)
                if limits is not None and forming.full(limits):
                    return True
        if until >= entry.record.count:
            forming.end = Position(here.number, entry.record.end)
    if limits is not None:
        forming.end = max(forming.end, end)
    return False


def _delivery(entry: Entry, row: Row) -> Delivery:
    moment, _ = correct(row.timestamp, entry.record.received_at, entry.clock)
    event = Event(
        _EPOCH + timedelta(microseconds=moment), row.type, row.tokens, row.logger, row.severity, row.payload, row.fields,
        row.weight, row.env_version, row.pid, row.hostname, row.stream, row.seq,
    )  # fmt: skip
    return Delivery(event, entry.record.received_at, clean_source(entry.record.source))


def _deliver(output: BaseOutput, batch: Batch, context: Context) -> int:
    """Writes until the batch is taken; returns the number of refused events, which are dead letters by then."""
    for delay in context.backoff():
        try:
            output.write(batch)
        except Rejected as refused:
            _refuse([(msgspec.json.encode(d.event), d.source, reason) for d, reason in refused.rejected], context)
            return len(refused.rejected)
        except Exception as error:  # noqa: BLE001 - whatever an output raises means "not delivered": told, and tried again
            context.report(error=_words(error))
            context.pause(delay)
        else:
            return 0
    raise AssertionError("backoff has no end")


def _refuse(letters: list[tuple[bytes, str, str]], context: Context) -> None:
    """Makes dead letters, durably: text, source and reason."""
    _try(lambda: context.dead.add(letters, durable=True), context)


def _try(call: Callable[[], object], context: Context) -> None:
    """Calls until nothing is raised."""
    for delay in context.backoff():
        try:
            call()
        except Exception as error:  # noqa: BLE001 - as in _deliver
            context.report(error=_words(error))
            context.pause(delay)
        else:
            return


def _words(error: Exception) -> str:
    """What is told of an error; those that metlog raises on purpose say all of it."""
    return str(error) if isinstance(error, MetlogError) else f"{type(error).__name__}: {error}"


def limits_of(output: BaseOutput, options: Mapping[str, Any], where: str) -> Limits:
    """Returns the limits of a batch: the configuration's, else the output's own defaults, else those of `Limits`. Raises ConfigError that
    names a default of the output `where` that is none."""
    if not isinstance(output.batch_defaults, Mapping):
        raise ConfigError(f"{where}.batch_defaults = {output.batch_defaults!r}: wants limits of a batch by name")
    problems = Problems()
    defaults = checked(Limits, output.batch_defaults, f"{where}.batch_defaults", problems)
    problems.check()
    return Limits(**{**defaults, **options})
