"""Times that come from outside: whatever they say, an event has a time that every reader of the journal can name."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metlog.event import Event
from metlog.journal.cursor import Cursor, Position
from metlog.journal.folder import Folder
from metlog.journal.follow import events_of
from metlog.journal.offsets import Partition
from metlog.journal.reader import Entry, read
from metlog.journal.routing import Route
from metlog.journal.rows import micros, rows_of
from metlog.journal.segment import FIRST, LAST, Clock, Scan, SegmentName, encode_record, header
from metlog.journal.writer import Journal, JournalOptions
from metlog.lake.query import Lake
from metlog.lake.schema import tables
from metlog.lake.storage import FolderStorage
from metlog.lake.writer import LakeWriter
from metlog.listener.delivery.batches import _delivery
from metlog.listener.inputs import _otlp, _shipped, _statsd_lines, _syslog, loki
from metlog.listener.ordered import Messages, encode
from metlog.listener.outputs._otlp import json_of, protobuf_of
from metlog.listener.protobuf import delimited, fixed64, number
from metlog.listener.validate import validate, validate_parsed

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
MICROS = int(NOW.timestamp()) * 1_000_000
SEGMENT = SegmentName(1, "ab12")
CLOCK = Clock()

_EDGES = [0, 1, -1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 253402300799, 253402300800]
NUMBERS = st.one_of(
    st.sampled_from([sign * edge * unit for edge in _EDGES for unit in (1, 10**3, 10**6, 10**9) for sign in (1, -1)]),
    st.integers(),
    st.integers(-(2**70), 2**70),
)
TEXTS = st.one_of(
    st.sampled_from([
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00",
        "9999-12-31T23:59:59.999999999Z", "10000-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-28T24:00:00Z",
        "2026-12-31T23:59:60Z", "2026-11-28T12:00:00", "2026-11-28T12:00:00+23:59", "2026-11-28T12:00:00+99:99", "-",
    ]),
    st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    st.text(alphabet="0123456789-+:.TZ ", max_size=30),
    NUMBERS.map(str),
)  # fmt: skip
"""Times as programs write them, and what looks like them."""


def told(events: Iterator[Event] | list[Event]) -> None:
    """Each event has a time, and the listener takes it; what is not one is refused by ValueError."""
    found: list[Event] = []
    with contextlib.suppress(ValueError):  # not OverflowError, nor struct.error
        found.extend(events)
    for event in found:
        assert event.timestamp.tzinfo is not None
        assert FIRST <= micros(event.timestamp) <= LAST
    if found:
        read_everywhere(validate_parsed(found).record(MICROS, "udp://192.0.2.7:1"))


def read_everywhere(record: bytes, clock: Clock = CLOCK) -> None:
    """What each reader of the journal makes of a record."""
    (found,) = Scan(header(clock) + record)
    assert FIRST <= found.received_at <= LAST
    assert sum(part.num_rows for part in tables([found], clock, Route())) == found.count
    for part in tables([found], clock, Route()):
        for name in ("timestamp", "received_at", "claimed_timestamp", "date"):
            part[name].to_pylist()  # fails for a time that is no datetime
    assert len(events_of(found, clock)) == found.count
    rows, _ = rows_of(found.events)
    deliveries = [_delivery(Entry(SEGMENT, clock, found), row) for row in rows]
    protobuf_of(deliveries)
    json_of(deliveries)
    assert encode_record(found.received_at, 1, b"", b"", b"")


@given(TEXTS)
def test_of_syslog(text: str) -> None:
    for message in (f"<13>1 {text.replace(' ', '')} host app 1 - - text", f"<13>{text} host app: text"):
        told([_syslog.parse(message.encode(), NOW, UTC)])


@given(st.integers(-1, 99), st.integers(-1, 99), st.integers(-1, 99), st.sampled_from(_syslog._MONTHS))
def test_of_syslog_without_a_year(day: int, hour: int, second: int, month: str) -> None:
    told([_syslog.parse(f"<13>{month} {day:2} {hour:02}:00:{second:02} host app: text".encode(), NOW, UTC)])


@given(NUMBERS | TEXTS, NUMBERS)
def test_of_otlp(first: Any, second: int) -> None:
    for made in (first, str(first)):
        record = {"timeUnixNano": made, "observedTimeUnixNano": second}
        body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
        told(_otlp.events_of_json(body, NOW))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_of_otlp_as_protobuf(first: int, second: int) -> None:
    record = fixed64(1, struct.pack("<Q", first)) + fixed64(11, struct.pack("<Q", second))
    told(_otlp.events_of_protobuf(delimited(1, delimited(2, delimited(2, record))), NOW, 100))


@given(NUMBERS | TEXTS, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_of_loki(nanos: Any, seconds: int, rest: int) -> None:
    told(loki._of_json({"streams": [{"stream": {}, "values": [[str(nanos), "line"]]}]}))
    entry = delimited(1, number(1, seconds) + number(2, rest)) + delimited(2, b"line")
    told(loki._of_protobuf(delimited(1, delimited(1, b"{}") + delimited(2, entry))))


@given(NUMBERS)
def test_of_statsd(seconds: int) -> None:
    told(_statsd_lines.parse(f"orders:1|c|T{seconds}".encode(), "logger")[0])


@given(NUMBERS | TEXTS | st.floats())
@example(float("nan"))
@example(float("inf"))
def test_of_elasticsearch(value: Any) -> None:
    told([Event(timestamp=_shipped.time_of(value) or NOW, type="log")])


@given(TEXTS | NUMBERS | st.floats(allow_nan=False, allow_infinity=False), NUMBERS, st.integers(0, 2**32 - 1))
@example("0001-01-01T00:00:00+14:00", 0, 0)
@example("9999-12-31T23:59:59.999999-14:00", 0, 0)
def test_of_an_event_in_json_and_messagepack(value: Any, seconds: int, nanos: int) -> None:
    stamp = struct.pack(">Iq", nanos, seconds % 2**63)  # of a timestamp of 96 bits
    for frame in (
        b'{"type":"a","timestamp":%s}' % str(value).encode(),
        b'{"type":"a","timestamp":"%s"}' % str(value).encode(),
        b"\x82\xa4type\xa1a\xa9timestamp\xc7\x0c\xff" + stamp,
        *([msgspec.msgpack.encode({"type": "a", "timestamp": value})] if isinstance(value, str) else []),
    ):
        found = validate(frame)
        if found.count:
            read_everywhere(found.record(MICROS, "udp://192.0.2.7:1"))
        else:
            assert found.invalid


@given(st.integers(1, 2**63 - 1), st.sampled_from([b"", b',"timestamp":"9999-12-31T23:59:59.999999-14:00"']))
@example(int(NOW.timestamp()) * 10**6, b"")
@example(int(NOW.timestamp()) * 10**9, b',"timestamp":"2026-11-28T12:00:00Z"')
def test_of_a_message_from_kafka(moment: int, stamp: bytes) -> None:
    kafka = pytest.importorskip("metlog.listener.inputs.kafka", reason="needs confluent-kafka")

    class Sent:
        def timestamp(self) -> tuple[int, int]:
            return 1, moment

    at = kafka._moment(Sent())
    assert at == kafka._moment(Sent())
    assert at * 1000 <= LAST
    if moment < 2**42:
        assert moment <= at < moment + 100
    made = encode([Messages(Partition("t", "ab", 0), 0, 0, [b'{"type":"a"%s}' % stamp], at * 1000)])
    read_everywhere(b"".join(made.records))


@given(NUMBERS, TEXTS, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
@example(LAST, "9999-12-31T23:59:59.999999-14:00", 0, 86_400)
@example(FIRST, "0001-01-01T00:00:00+14:00", 86_400, 0)
@example(2**63 - 1, "", 0, 0)
def test_of_a_record(received_at: int, text: str, past: int, future: int) -> None:
    lines = [b'{"type":"a"}\n']
    stamped = b'{"type":"a","timestamp":"%s"}\n' % text.encode()
    if validate(stamped).count:
        lines.append(stamped)
    read_everywhere(encode_record(received_at, len(lines), b"", b"", b"".join(lines)), Clock(past, future))


def test_a_journal_that_holds_times_beyond_all_is_read_and_becomes_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such records were written for messages from Kafka whose producer counted in microseconds."""
    lines = b'{"type":"a"}\n{"type":"b","timestamp":"2026-11-28T12:00:00Z"}\n'
    with monkeypatch.context() as patch:
        patch.setattr("metlog.journal.segment.FIRST", -(2**63))
        patch.setattr("metlog.journal.segment.LAST", 2**63 - 1)
        records = b"".join(encode_record(moment, 2, b"k", b"", lines) for moment in (MICROS * 1000, -(2**63)))
    root = Folder.root(tmp_path)
    folder = root.sub("journal", create=True).sub("main", create=True)
    journal = Journal(folder, JournalOptions(min_free=0), Clock())
    journal.append(records)
    journal.rotate()
    entries = list(read(folder, Position(), journal.end))
    assert [entry.record.received_at for entry in entries] == [LAST, FIRST]
    sql = "SELECT type, year(timestamp AT TIME ZONE 'UTC'), year(received_at AT TIME ZONE 'UTC') FROM events"
    wanted = [("a", 1, 1), ("a", 9999, 9999), ("b", 1, 1), ("b", 9999, 9999)]
    with Lake(tmp_path, threads=1) as lake:
        assert sorted(lake.query(sql).rows) == wanted
        segment = entries[0].segment
        LakeWriter(FolderStorage(root), "zstd", 1, root.sub("events", create=True)).write(folder, segment, Route())
        Cursor("lake", Position(segment.number + 1), lake=True).save(folder.sub("cursors"))
        assert sorted(lake.query(sql).rows) == wanted
    assert sorted(path.parent.name for path in tmp_path.glob("events/*/*.parquet")) == [
        "date=0001-01-01",
        "date=9999-12-31",
    ]
    journal.close()
