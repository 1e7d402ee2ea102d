"""Lines that end in the same members: what is decoded without them is what is decoded with them, in the listener and in the lake."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog.encoders.json import JsonEncoder, JsonRecords
from metlog.event import Event
from metlog.journal.offsets import Partition, Run, first_only
from metlog.journal.routing import Route
from metlog.journal.rows import pieces_of
from metlog.journal.segment import Clock, Record, Scan, encode_record, header
from metlog.journal.tails import cut, origin_of
from metlog.lake.schema import tables
from metlog.listener._frame import LIMITS, Frame, Limits, Validated
from metlog.listener._heads import validate_usual
from metlog.listener._json_lines import check_json
from metlog.listener.validate import validate, validate_frames

TAIL = b',"stream":"f00dfacef00dface","logger":"web","env_version":"1","pid":12,"hostname":"host-1"}'
NOW = 1_764_331_200_000_000


def ordinary(data: bytes) -> Validated:
    """What is found where nobody looks for a tail."""
    found = Frame(len(data), LIMITS, None)
    check_json(data, found)
    return found.result(b"\n")


def stored(validated: Validated, *, tail: bool) -> list[Record]:
    made = validated if tail else Validated(validated.lines, validated.count)
    return list(Scan(header(Clock()) + made.record(NOW, "udp://10.0.0.1:5")))


def in_lake(records: list[Record], route: Route = Route()) -> pa.Table:  # noqa: B008 - frozen
    bad: list[tuple[bytes, str, str]] = []
    found = pa.concat_tables(list(tables(records, Clock(), route, bad=bad)))
    assert bad == []
    return found


def assert_same(one: pa.Table, other: pa.Table) -> None:
    assert one.drop(["fields"]).equals(other.drop(["fields"]))
    for mine, theirs in zip(one["fields"].to_pylist(), other["fields"].to_pylist(), strict=True):
        assert without_repeats(mine) == json.loads(theirs), (mine, theirs)


def without_repeats(text: str) -> object:
    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        assert len(dict(found)) == len(found), text
        return dict(found)

    return json.loads(text, object_pairs_hook=pairs)


_SPACE = st.sampled_from(["", "", "", "", " ", "\t", "\r", "  "])
_NUMBER = st.sampled_from(
    [
        "0", "-0", "1", "-1.5", "1.50", "1e5", "1E5", "1e-5", "1e-05", "1e+16", "1e308", "1e309", "1e999", "-1e999", "1e-999", "0e999",
        "9007199254740993", "18446744073709551616", "123456789012345678901234567890", "0.1000000000000000055511151231257827",
        "1" * 400, "1" * 400 + ".0", "1" * 5000, "01", "1.", ".5", "+1", "-", "NaN", "Infinity", "-0.0",
    ]
)  # fmt: skip
_NAME = st.sampled_from(["a", "b", "a", "ä", "\\u0061", "a\\n", 'a\\"', "a\\\\", "", " a", "a ", "\\/", "x:", 'x\\":'])
_TEXT = st.one_of(
    st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False)[1:-1]),
    st.text(max_size=8).map(lambda text: json.dumps(text)[1:-1]),
    st.sampled_from(
        [
            "\\ud800", "\\ud83d\\ude00", "\\u0000", "\\u001f", "\\x", "\x01", '{\\"a\\":1}', '\\":', '\\\\\\":', "a, b: c", " ", "}", "{",
            "[" * 120,
            ',\\"stream\\":\\"x\\"', "\\/", "\x7f", "\u2028",
        ]
    ),
)  # fmt: skip
_VALUE = st.recursive(
    st.one_of(_NUMBER, _TEXT.map(lambda text: f'"{text}"'), st.sampled_from(["true", "false", "null", "tru", ""])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]"), st.deferred(lambda: _object(inner))
    ),
    max_leaves=6,
)


def _object(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.builds(
        lambda name, value, spaces: f'{spaces[0]}"{name}"{spaces[1]}:{spaces[2]}{value}{spaces[3]}',
        _NAME, values, st.tuples(_SPACE, _SPACE, _SPACE, _SPACE),
    )  # fmt: skip
    return st.lists(member, max_size=4).map(lambda members: f"{{{','.join(members)}}}")


_USUAL = _object(st.one_of(st.sampled_from(["1", "2.5", "true", "null"]), _TEXT.map(lambda text: f'"{text}"')))
_DEEP = st.integers(90, 105).map(lambda depth: '{"a":' + "[" * depth + "]" * depth + "}")
_FIELDS = st.one_of(_USUAL, _USUAL, _object(_VALUE), _VALUE, _DEEP)
_MEMBER = st.one_of(
    st.builds('"fields":{}'.format, _FIELDS),
    st.sampled_from(
        [
            '"timestamp":"2026-11-28T12:00:00.123456Z"', '"timestamp":"2026-11-28T12:00:00+02:00"', '"timestamp":"x"', '"severity":3',
                       '"severity":9', '"tokens":["a","b"]', '"tokens":[ "a",\t"\\u00e4\\n" ]',
            '"tokens":[]', '"tokens":"a"', '"payload":"GET /"', '"payload":1', '"weight":2',
            '"weight":0.5', '"weight":0',
            '"seq":1', '"seq":2', '"seq":-1', '"seq":9223372036854775808', '"pid":3', '"stream":"other"', '"unknown":1', '"unknown":1e999',
        ]
    ),
)  # fmt: skip
_LINE = st.builds(
    lambda kind, members, tail: (f'{{"type":"{kind}"' + "".join("," + member for member in members)).encode() + tail,
    st.sampled_from(["a", "request", "metlog.end", "metlog.report", "\\ud800", "ä"]),
    st.lists(_MEMBER, max_size=4),
    st.sampled_from([*[TAIL] * 12, TAIL.replace(b"12", b"13"), b"}", TAIL + b" ", b"\n" + TAIL, TAIL + TAIL]),
)
_PIECE = st.one_of(
    _LINE, _LINE, _LINE, _LINE, _LINE, _LINE, _LINE,
    st.sampled_from([b"", b" ", TAIL, b"{" + TAIL[1:], b'{"type":"a"}{"type":"b"' + TAIL, b'{"type":"a","fields":{"x":1' + TAIL,
                     b'"x":2' + TAIL, b"}", b'{"type":"a","payload":"\xff"' + TAIL, b'{"type":"\xff"' + TAIL, b"{" * 120]),
)  # fmt: skip


@given(st.lists(_PIECE, min_size=1, max_size=6))
def test_a_tail_changes_no_verdict_and_nothing_of_what_is_stored(pieces: list[bytes]) -> None:
    data = b"\n".join(pieces) + b"\n"
    found = validate(data, "json")
    expected = ordinary(data)
    assert (found.count, found.lines, [*found.invalid]) == (expected.count, expected.lines, [*expected.invalid])
    assert ([*found.runs.runs], [*found.runs.reports]) == ([*expected.runs.runs], [*expected.runs.reports])
    if found.count and not found.invalid:
        assert_same(in_lake(stored(found, tail=True)), in_lake(stored(found, tail=False)))


_TOKENS = st.sampled_from(["[]", '["web"]', '["login","sync"]', '[ "web" ]', '["\\u00e4"]', '["ä"]'])


@given(st.lists(st.tuples(_USUAL, _TOKENS), min_size=1, max_size=6), st.integers(1, 3))
def test_usual_lines_are_cut_in_the_lake_as_well(events: list[tuple[str, str]], first: int) -> None:
    lines = [
        f'{{"timestamp":"2026-11-28T12:00:00.000001Z","type":"a","tokens":{tokens},"fields":{text},"seq":{number}'.encode()
        + TAIL
        for number, (text, tokens) in enumerate(events, first)
    ]
    found = validate(b"\n".join(lines) + b"\n")
    if found.invalid:
        return
    assert found.tail == TAIL
    assert found.runs.runs == [("f00dfacef00dface", first, len(events))]
    assert_same(in_lake(stored(found, tail=True)), in_lake(stored(found, tail=False)))


def frame(count: int, first: int = 1, **fields: object) -> bytes:
    """As the client's encoder makes it."""
    records = JsonRecords()
    client = Event(
        datetime(2026, 11, 28, tzinfo=UTC), type="", logger="web", pid=12, hostname="host-1", stream="f00dfacef00dface"
    )
    record, stream = records.maker(client)
    return records.frame(
        [
            record(client.timestamp, "request", ("web",), 6, "GET /", fields or {"n": n}, n, stream)
            for n in range(first, first + count)
        ]
    )


def test_frames_of_the_client_are_stored_without_their_tail() -> None:
    found = validate_frames([frame(3), frame(4, 4)])
    assert (found.count, found.tail, found.members) == (7, TAIL, 7)
    assert found.lines == frame(7)
    assert found.runs.runs == [("f00dfacef00dface", 1, 7)]
    assert len(found.body) < 0.6 * len(found.lines)
    table = in_lake(stored(found, tail=True))
    assert table["hostname"].to_pylist() == ["host-1"] * 7
    assert table["fields"].to_pylist() == [f'{{"n":{n}}}' for n in range(1, 8)]
    assert table["source"].to_pylist() == ["udp://10.0.0.1:5"] * 7


def test_the_end_of_a_stream_is_read_whole() -> None:
    end = JsonEncoder().encode(
        Event(type="metlog.end", stream="s", seq=8, fields={"last_seq": 8, "dropped": {"full": 2}})
    )
    found = validate(end + b"\n")
    assert found.runs.reports[0].dropped == {"full": 2}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ('{"a":1,"b":2,"a":3}', '{"a":3,"b":2}'),
        ('{"a":1,"\\u0061":2}', '{"a":2}'),
        ('{"a" :1,"b":1,"b":2}', '{"a":1,"b":2}'),
        ('{"a": 1, "b": [1, 2]}', '{"a":1,"b":[1,2]}'),
        ('{"a":{"b":1,"b":2}}', '{"a":{"b":2}}'),
        ('{"a":"\\u00e4\\/"}', '{"a":"ä/"}'),
        ('{"a":"{\\"b\\":1}"}', '{"a":"{\\"b\\":1}"}'),
        ('{"a":"\\\\","a":"\\":"}', '{"a":"\\":"}'),
        ('{"a\\\\":1,"b":1,"b":2}', '{"a\\\\":1,"b":2}'),
        ('{"a":1.50}', '{"a":1.50}'),
        ("{}", "{}"),
    ],
)
def test_names_that_come_twice_are_one_and_spaces_are_left_out(fields: str, text: str) -> None:
    found = validate(f'{{"type":"a","fields":{fields}'.encode() + TAIL + b'\n{"type":"b"' + TAIL + b"\n")
    assert found.tail == TAIL
    assert in_lake(stored(found, tail=True))["fields"].to_pylist() == [text, "{}"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"a","fields":{"n":1e999}' + TAIL,
        b'{"type":"a","fields":{"n":' + b"[" * 100 + b"]" * 100 + b"}" + TAIL,
        b'{"type":"a","severity":8' + TAIL,
        b'{"type":"a"' + TAIL.replace(b"12", b"-1"),
        b'{"type":"a"' + TAIL.replace(b"12", b'"12"'),
        b'{"type":"a","payload":"\xff"' + TAIL,
    ],
)
def test_what_is_refused_elsewhere_is_refused_here(line: bytes) -> None:
    good = b'{"type":"a"' + TAIL + b"\n"
    found = validate(good + line + b"\n" + good)
    assert (found.count, len(found.invalid)) == (2, 1)
    assert found.tail == b""


def test_a_tail_of_other_members_is_none() -> None:
    assert origin_of(TAIL) is not None
    assert origin_of(TAIL[:-1] + b',"x":1}') is None
    assert origin_of(b',"stream":"a"}') is None
    assert cut(b'{"type":"a","stream":"a"}\n') is None
    assert cut(b'{"type":"a"' + TAIL) is None  # no line feed: it may be the beginning of a line
    assert validate_usual(frame(11), Limits(events=10)) is None


@pytest.mark.parametrize("size", [1, 40, 10_000])
def test_parts_of_a_record_have_its_tail(size: int) -> None:
    (record,) = stored(validate(frame(5)), tail=True)
    parts = list(pieces_of(record, size))
    assert b"".join(part.events for part in parts) == frame(5)
    assert_same(in_lake(parts), in_lake([record]))


def test_messages_that_come_again_are_left_out_of_a_record_with_a_tail() -> None:
    def record(first: int, count: int) -> bytes:
        return validate(frame(count, first + 1)).record(NOW, Run(Partition("t", "ab", 0), first, first, 1).source())

    seen: dict[Partition, object] = {}
    records = [*first_only(Scan(record(0, 3) + record(1, 4), 1), seen)]  # type: ignore[arg-type]
    table = in_lake(records)
    assert table["seq"].to_pylist() == [1, 2, 3, 4, 5]
    assert table["log_offset"].to_pylist() == [0, 1, 2, 3, 4]


def test_records_of_both_kinds_stand_side_by_side() -> None:
    plain = b'{"type":"b","logger":"batch","fields":{"x":[1, 2]},"seq":5,"stream":"s2"}\n'
    data = b"".join(
        [header(Clock()), validate(frame(2)).record(NOW, "udp://a"), encode_record(NOW + 1, 1, b"http://b", b"key", plain),
         validate(frame(1, 3)).record(NOW, "udp://a")]
    )  # fmt: skip
    table = in_lake([*Scan(data)])
    assert table["logger"].to_pylist() == ["web", "web", "batch", "web"]
    assert table["fields"].to_pylist() == ['{"n":1}', '{"n":2}', '{"x":[1,2]}', '{"n":3}']
    assert table["source"].to_pylist() == ["udp://a", "udp://a", "http://b", "udp://a"]
    only = in_lake([*Scan(data)], Route(loggers=("web",)))
    assert_same(only, table.filter(pa.array([True, True, False, True])))


def test_a_damaged_record_with_a_tail_is_skipped_and_the_next_one_found() -> None:
    made = [validate(frame(2, first)).record(NOW, "udp://a") for first in (1, 3, 5)]
    data = bytearray(header(Clock()) + b"".join(made))
    data[len(header(Clock())) + len(made[0]) + 30] ^= 1
    scan = Scan(bytes(data))
    assert [msgspec.json.decode(record.events.split(b"\n")[0])["seq"] for record in scan] == [1, 5]
    assert len(scan.damaged) == 1
