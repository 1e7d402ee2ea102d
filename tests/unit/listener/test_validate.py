"""What is taken as an event, and what is not."""

from __future__ import annotations

import json

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog.event import Event
from metlog.journal.routing import Route
from metlog.journal.segment import Clock, Scan, encode_record, header
from metlog.lake.schema import tables
from metlog.listener.validate import NESTING, validate, validate_events, validate_frames


def nested(depth: int) -> bytes:
    """An event with so many levels: itself, `fields`, and arrays within."""
    return b'{"type":"deep","fields":{"a":%s%s}}' % (b"[" * (depth - 2), b"]" * (depth - 2))


def packed(depth: int) -> bytes:
    value: list[object] = []
    for _ in range(depth - 3):
        value = [value]
    return bytes(msgpack.packb({"type": "deep", "fields": {"a": value}}))


@pytest.mark.parametrize("depth", [NESTING + 1, 200, 500, 900, 980, 1100, 50_000])
def test_nesting_has_a_limit_far_below_the_stack_of_any_reader(depth: int) -> None:
    for frame in [nested(depth), *([packed(depth)] if depth <= 500 else [])]:
        validated = validate(frame)
        assert (validated.count, [bad.reason for bad in validated.invalid]) == (0, ["nested too deeply"])


@pytest.mark.parametrize("frame", [nested(NESTING), packed(NESTING)])
def test_what_is_within_the_limit_of_nesting_is_taken(frame: bytes) -> None:
    assert validate(frame).count == 1


@pytest.mark.parametrize("depth", [NESTING + 1, 950])
def test_deep_values_hide_nowhere(depth: int) -> None:
    deep = nested(depth)
    hidden = b'{"type":"a","no_such_field":%s}' % (b"[" * depth + b"]" * depth)
    behind_a_string = b'{"type":"a","payload":"]]]]\\"}}}","fields":{"a":%s}}' % (b"[" * depth + b"]" * depth)
    for line in (deep, hidden, behind_a_string):
        validated = validate(b'{"type":"good"}\n' + line + b'\n{"type":"good"}')
        assert validated.count == 2
        assert [bad.reason for bad in validated.invalid] == ["nested too deeply"]


def test_brackets_in_texts_nest_nothing() -> None:
    text = '{"' * 2000 + '\\"'
    line = msgspec.json.encode({"type": "a", "payload": text, "fields": {"a": [text, "]" * 500]}})
    assert validate(line).count == 1
    assert validate(b"\n".join([line] * 50)).count == 50


def test_many_events_of_many_objects_are_not_deep() -> None:
    line = msgspec.json.encode({"type": "a", "fields": {"list": [{"n": [n]} for n in range(300)]}})
    assert validate_frames([line] * 20).count == 20


def test_a_blank_line_does_not_make_up_for_a_line_of_two_events() -> None:
    validated = validate_frames([b'{"type":"a"}{"type":"b"}', b"", b'{"type":"c"}'])
    assert validated.count == 1
    assert sorted(bad.reason for bad in validated.invalid) == ["empty", "more than one event on a line"]


def test_a_submitted_event_has_the_same_limit() -> None:
    value: list[object] = []
    for _ in range(NESTING):
        value = [value]
    with pytest.raises(ValueError, match=r"event 1: nested too deeply"):
        validate_events([Event(type="a"), Event(type="b", fields={"a": value})])


_TEXT = st.text(max_size=20)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)
_HOSTILE = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda cut, line: line[:cut],
        st.integers(0, 80),
        st.just(b'{"type":"login","tokens":["a"],"fields":{"n":1e300},"seq":9223372036854775807}'),
    ),
    st.dictionaries(
        st.sampled_from(["type", "timestamp", "tokens", "severity", "fields", "weight", "seq", "pid", "stream", "x"]),
        _JSON,
    ).map(lambda value: json.dumps(value).encode()),
    st.dictionaries(_TEXT, st.binary(max_size=5) | st.integers(0, 2**64 - 1) | _TEXT).map(msgpack.packb),
)


@given(st.lists(_HOSTILE, min_size=1, max_size=4))
def test_whatever_comes_every_reader_can_read_what_is_taken(frames: list[bytes]) -> None:
    validated = validate_frames(frames)
    if not validated.count:
        assert validated.lines == b""
        return
    record = encode_record(1_700_000_000_000_000, validated.count, b"test://", b"", validated.lines)
    bad: list[tuple[bytes, str, str]] = []
    rows = sum(part.num_rows for part in tables(Scan(header(Clock()) + record), Clock(), Route(), bad=bad))
    assert (rows, bad) == (validated.count, [])
    assert validated.lines.count(b"\n") == validated.count


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (rb'{"type":"a","payload":"\ud800"}', "half of a surrogate pair"),
        (rb'{"type":"a","fields":{"\udc00":1}}', "half of a surrogate pair"),
        (rb'{"type":"a","payload":"\ud800x"}', "half of a surrogate pair"), (rb'{"type":"a","payload":"\ud83d\ude00', "truncated"),
        (rb'{"type":"a","payload":"\ud800', "truncated"), (rb'{"type":"a","payload":"x', "truncated"),
        (rb'{"type":"a","timestamp":"2016-12-31T23:59:60Z"}', "a second of 60"),
        (rb'{"type":"a","timestamp":"2016-12-31T23:60:00Z"}', "Invalid RFC3339"),
    ],
)  # fmt: skip
def test_reasons_name_the_fault_that_is_there(line: bytes, words: str) -> None:
    found = validate(line + b"\n" + b'{"type":"good"}', "json")
    assert found.count == 1
    assert words in found.invalid[0].reason
