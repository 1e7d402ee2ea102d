"""The events of journal records before they are columns: what differs from event to event as rows, what records have in common once."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import compress, groupby
from typing import Any, Final

import msgspec
import pyarrow as pa
from msgspec import UNSET, Raw

from metlog.journal.offsets import Partition, clean_source, run_of
from metlog.journal.routing import AnyRoute
from metlog.journal.rows import WRONG, Row, micros, rows_of
from metlog.journal.segment import Record
from metlog.journal.tails import Head, origin_of

__all__ = ["TIME", "TOKENS", "Piece", "Shared", "chain_of", "read", "uncollected"]

TIME: Final = pa.timestamp("us", tz="UTC")
TOKENS: Final = pa.list_(pa.string())


class _StoredRow(Row, gc=False, kw_only=True):
    """An event as it stands in the journal, where it has been checked: its time is read by Arrow, a column at once."""

    timestamp: str | None = None  # type: ignore[assignment]


class _StoredHead(Head, gc=False, kw_only=True, forbid_unknown_fields=True):
    """As `_StoredRow`, of a line without its tail, with `tokens` and `fields` as they were written."""

    timestamp: str | None = None
    tokens: Raw = Raw(b"[]")  # type: ignore[assignment]
    fields: Raw = Raw(b"{}")


_decode_rows: Final[Callable[[bytes], list[_StoredRow]]] = msgspec.json.Decoder(_StoredRow).decode_lines
_decode_heads: Final[Callable[[bytes], list[_StoredHead]]] = msgspec.json.Decoder(_StoredHead).decode_lines
_decode_objects: Final[Callable[[bytes], list[dict[str, Any]]]] = msgspec.json.Decoder(dict[str, Any]).decode_lines
_decode_tokens: Final[Callable[[bytes], list[tuple[str, ...]]]] = msgspec.json.Decoder(tuple[str, ...]).decode_lines
_encode_lines: Final = msgspec.json.Encoder().encode_lines


@dataclass(slots=True)
class Shared:
    """What several rows have in common: a value for each run of rows, which is a record, or a row where its origin is its own."""

    counts: list[int] = field(default_factory=list)
    """Rows of each run."""
    stream: list[str] = field(default_factory=list)
    logger: list[str] = field(default_factory=list)
    env_version: list[str] = field(default_factory=list)
    pid: list[int] = field(default_factory=list)
    hostname: list[str] = field(default_factory=list)
    received_at: list[int] = field(default_factory=list)
    source: list[str] = field(default_factory=list)

    def add(self, record: Record, origins: Sequence[Any], counts: Sequence[int]) -> None:
        """Adds the runs of a record. `origins`: what has the fields of `metlog.journal.tails.Origin`, one for each run."""
        self.counts += counts
        self.stream += [origin.stream for origin in origins]
        self.logger += [origin.logger for origin in origins]
        self.env_version += [origin.env_version for origin in origins]
        self.pid += [origin.pid for origin in origins]
        self.hostname += [origin.hostname for origin in origins]
        self.received_at += [record.received_at] * len(origins)
        self.source += [clean_source(record.source)] * len(origins)

    def taken(self, taken: Sequence[bool]) -> Shared:
        """Some of the runs."""
        return Shared(
            [*compress(self.counts, taken)],
            [*compress(self.stream, taken)],
            [*compress(self.logger, taken)],
            [*compress(self.env_version, taken)],
            [*compress(self.pid, taken)],
            [*compress(self.hostname, taken)],
            [*compress(self.received_at, taken)],
            [*compress(self.source, taken)],
        )


@dataclass(slots=True)
class Piece:
    """Events of some records."""

    rows: Sequence[Any]
    """What has `type`, `severity`, `payload`, `weight` and `seq`, one for each event."""
    tokens: pa.Array
    fields: bytes
    """`fields` of each event as JSON, one a line."""
    claimed: pa.Array
    """What the clients' clocks said: microseconds since the epoch, or null."""
    shared: Shared
    logs: Sequence[str | None] = ()
    """Of events that were read from a partitioned log its name (`chain_of`), and the offset there. Empty when there are none."""
    offsets: Sequence[int | None] = ()

    def taken(self, route: AnyRoute) -> Piece:
        """The events that a route takes. Each row must be a run of its own."""
        taken = [route.takes(row) for row in self.rows]
        return Piece(
            [*compress(self.rows, taken)],
            self.tokens.filter(pa.array(taken, pa.bool_())),
            b"".join([line + b"\n" for line in compress(self.fields.split(b"\n"), taken)]),
            self.claimed.filter(pa.array(taken, pa.bool_())),
            self.shared.taken(taken),
            [*compress(self.logs, taken)],
            [*compress(self.offsets, taken)],
        )


@contextmanager
def uncollected() -> Iterator[None]:
    """Without Python's collector, for what decodes much: what is decoded holds no cycles, and the collector would go over it again and
    again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def read(records: Sequence[Record], route: AnyRoute, bad: list[tuple[bytes, str, str]] | None) -> Piece:
    """Decodes records together, and takes the events of the route; record by record when some of it is not as it usually is. `bad` as for
    `metlog.lake.schema.tables`."""
    try:
        piece = _together(records, cut=route.takes_all)
    except (*WRONG, pa.ArrowInvalid):  # a form of RFC 3339 that Arrow does not read: nanoseconds, a small t
        piece = _one_by_one(records, bad)
    return piece if route.takes_all else piece.taken(route)


def _together(records: Sequence[Record], *, cut: bool) -> Piece:
    """`cut`: lines may be decoded without their tails. Raises what `WRONG` names, and ArrowInvalid."""
    rows: list[Any] = []
    tokens: list[pa.Array] = []
    fields: list[bytes] = []
    shared = Shared()
    for tailed, group in groupby(records, lambda record: cut and bool(record.tail)):
        some = list(group)
        start = len(rows)
        if tailed:
            heads, texts = _heads(some)
            rows += heads
            tokens.append(_written_tokens([head.tokens for head in heads]))
            fields.append(texts)
            for record in some:
                if (origin := origin_of(record.tail)) is None:
                    raise ValueError("a record has a tail that is none")
                shared.add(record, [origin], [record.count])
        else:
            rows += _decode_rows(b"".join([record.events for record in some]))
            tokens.append(_tokens([row.tokens for row in rows[start:]]))
            fields.append(_encode_lines([row.fields for row in rows[start:]]))
        if len(rows) - start != sum(record.count for record in some):
            raise ValueError("a record has another number of events than it says")
        if not tailed:
            for record in some:
                shared.add(record, rows[start : start + record.count], [1] * record.count)
                start += record.count
    claimed = pa.array([row.timestamp for row in rows], pa.string()).cast(TIME).cast(pa.int64())
    logs, offsets = _places(records, [record.count for record in records])
    together = tokens[0] if len(tokens) == 1 else pa.concat_arrays(tokens)
    return Piece(rows, together, b"".join(fields), claimed, shared, logs, offsets)


def _heads(records: Sequence[Record]) -> tuple[list[_StoredHead], bytes]:
    """The rows of records with tails, and their `fields`, one a line."""
    lines = b"".join([record.lines for record in records])
    rows = _decode_heads(lines.replace(b"\n", b"}\n"))
    fields = _encode_lines([row.fields for row in rows])  # Raw is copied as it is
    members = [record.members for record in records]
    if min(members) < 0 or fields.count(b"\n") != len(rows) or not _plain(fields, sum(members)):
        fields = _encode_lines(_decode_objects(fields))
    return rows, fields


def _tokens(values: Sequence[tuple[str, ...]]) -> pa.Array:
    if values and values.count(values[0]) == len(values):
        return pa.array(values[:1], TOKENS).take(pa.repeat(0, len(values)))
    return pa.array(values, TOKENS)


def _written_tokens(values: Sequence[Raw]) -> pa.Array:
    """The tokens of rows of which these are the texts. Each text is decoded once."""
    text = _encode_lines(values)
    first = text[: text.index(b"\n") + 1]
    if text == first * len(values):
        return pa.array(_decode_tokens(first), TOKENS).take(pa.repeat(0, len(values)))
    lines = text.split(b"\n")[:-1]
    places = {line: number for number, line in enumerate(dict.fromkeys(lines))}
    different = _decode_tokens(b"\n".join(places))
    if len(different) != len(places) or len(lines) != len(values):
        raise ValueError("tokens that stand on several lines")
    return pa.array(different, TOKENS).take(pa.array([places[line] for line in lines], pa.int32()))


def _plain(fields: bytes, members: int) -> bool:
    """Whether objects, one a line, are as they would be encoded again, but for the way in which numbers are written: no name comes
    twice, and there is no space between values. False too for objects within them. `members`: how many names the objects have in all, each
    counted once."""
    if b"\t" in fields or b"\r" in fields or (b" " in fields and (b'" ' in fields or b'": ' in fields)):
        return False
    ends = fields.count(b'":')  # of names; a text that holds these two has a backslash before them
    if b"\\" in fields:
        if b"\\u" in fields or b"\\/" in fields or b'\\\\"' in fields:
            return False
        ends -= fields.count(b'\\":')
    return ends == members


def _one_by_one(records: Sequence[Record], bad: list[tuple[bytes, str, str]] | None) -> Piece:
    rows: list[Row] = []
    counts = []
    shared = Shared()
    for record in records:
        events, wrong = rows_of(record.events)
        rows += events
        counts.append(len(events))
        shared.add(record, events, [1] * len(events))
        if wrong and bad is not None:
            bad += [(line, clean_source(record.source), reason) for line, reason in wrong]
    claims = [None if row.timestamp is UNSET else micros(row.timestamp) for row in rows]
    fields = _encode_lines([row.fields for row in rows])
    tokens = _tokens([row.tokens for row in rows])
    return Piece(rows, tokens, fields, pa.array(claims, pa.int64()), shared, *_places(records, counts))


def _places(records: Sequence[Record], counts: Sequence[int]) -> tuple[list[str | None], list[int | None]]:
    """For each event the partition that it was read from, and its offset there; empty when none was."""
    logs: list[str | None] = []
    offsets: list[int | None] = []
    runs = [run_of(record.source) for record in records]
    if not any(runs):
        return logs, offsets
    for run, count in zip(runs, counts, strict=True):
        if run is None:
            logs += [None] * count
            offsets += [None] * count
            continue
        logs += [chain_of(run.partition)] * count
        if run.each == 1:
            offsets += range(run.first, run.first + count)
        else:
            offsets += [run.first + index // run.each for index in range(count)]
    return logs, offsets


def chain_of(partition: Partition) -> str:
    """The name of a partition in the data set: what the names of its files begin with, after `kafka-`."""
    return f"{partition.topic}-{partition.ident}-{partition.number}"
