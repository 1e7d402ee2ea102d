"""What is a line: lines of JSON, good and bad, joined and cut anywhere, against a reference that splits and decodes one after the other."""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from typing import Any, NamedTuple
from unittest import mock

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metlog.encoders.json import JsonEncoder
from metlog.encoders.wire import is_msgpack
from metlog.event import Event
from metlog.journal.rows import rows_of
from metlog.listener import _json_lines
from metlog.listener.validate import BLOCK, NESTING, Limits, Validated, validate, validate_frames

EVERY = Limits(rejects=sys.maxsize)
"""Each bad piece is a dead letter of its own."""
BOM = b"\xef\xbb\xbf"
WHITE = b" \t\r"
NOON = "2026-11-29T12:00:00Z"
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z")


class Found(NamedTuple):
    """The events, as JSON has them, and how many lines are none."""

    events: list[Any]
    bad: int


# ---- the reference ---------------------------------------------------------------------------------------------------


def is_event(line: bytes) -> bool:
    try:
        value = json.loads(line.decode())
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict) or depth(value) > NESTING:
        return False
    times = TIME.fullmatch(str(value.get("timestamp", NOON)))
    texts = isinstance(value.get("type"), str) and isinstance(value.get("payload", ""), str)
    return bool(times and texts and isinstance(value.get("fields", {}), dict))


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def reference(frame: bytes) -> Found:
    """One line after the other."""
    frame = frame.removeprefix(BOM)
    if not frame:
        return Found([], 1)
    lines = [line for line in frame.split(b"\n") if line.strip(WHITE)]
    good = [json.loads(line) for line in lines if is_event(line)]
    return Found(good, len(lines) - len(good))


def of_datagram(frame: bytes) -> Found:
    """As `reference`; the first byte says whether it is JSON at all."""
    plain = frame.removeprefix(BOM)
    return Found([], 1) if plain and plain[:1] not in b"{ \t\r\n" else reference(frame)


# ---- what comes ------------------------------------------------------------------------------------------------------

_encode = JsonEncoder().encode
_text = st.text(st.sampled_from('ab}{][",:\\\n\r\0 é漢\u2028\U0001f600'), max_size=8)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-1e6, 1e6) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_fields = st.dictionaries(_text, _values, max_size=3)
_by_hand = st.builds(
    lambda value, ascii_only, indent: json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(),
    st.fixed_dictionaries({"type": _text}, optional={"payload": _text, "fields": _fields, "x": _values}),
    st.booleans(),
    st.none() | st.just(1),  # 1: over many lines
)
_by_client = st.builds(
    lambda text, fields, seq: _encode(Event(type="a", payload=text, fields=fields, seq=seq, stream="s", logger="é")),
    _text,
    _fields,
    st.integers(1, 9),
)
_deep = b'{"type":"a","fields":' + b'{"a":' * NESTING + b"1" + b"}" * NESTING + b"}"
_bad = st.sampled_from(
    [
        b"{}", b"[]", b"1", b'"a"', b"null", b"}", b"{", b'{"type":1}', b'{"type":"a"', b'{"type":"a"}}', b'{"type":"a"},',
        b'"a"}', b'{"type":', b'{"type":"a","payload":"', b'"}', b'{"type":"a","fields":[]}', _deep,
        b'{"type":"a","payload":"\xff"}', b'{"type":"a","\xff":1}', b'{"payload":"a","fields":{}',
    ]
)  # fmt: skip
_marks = st.sampled_from(
    [b"\n", b"", b"\r\n", b"\n\n", b"\r", b" \n\t\n ", b"\n ", b" ", BOM, b"\0", b"\x0b", b"\n\x0c", b",", b"\x85", b"\xe2\x80\xa8"]
)  # fmt: skip


@st.composite
def _frames(draw: st.DrawFn) -> bytes:
    """Lines with something between them, mostly line feeds, and something put in anywhere."""
    lines = draw(st.lists(st.one_of(_by_client, _by_client, _by_hand, _bad), min_size=1, max_size=6))
    whole = draw(_marks) if draw(st.integers(0, 4)) == 0 else b""
    for line in lines:
        whole += line + (draw(_marks) if draw(st.integers(0, 2)) == 0 else b"\n")
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(whole)))
        whole = whole[:at] + draw(_marks) + whole[at:]
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.integers(0, 4)) == 0 else whole


def found(validated: Validated) -> Found:
    """What was taken, read by lines as every reader of the journal does."""
    assert validated.lines.count(b"\n") == validated.count
    events = [json.loads(line) for line in validated.lines.split(b"\n")[:-1]]
    assert len(events) == validated.count
    return Found(events, len(validated.invalid))


# ---- the tests -------------------------------------------------------------------------------------------------------


@given(_frames(), st.sampled_from([BLOCK, 100]))
def test_a_frame_is_taken_at_once_or_line_by_line_with_the_same_result(frame: bytes, block: int) -> None:
    with mock.patch.object(_json_lines, "BLOCK", block):
        assert found(validate(frame, "json", EVERY)) == reference(frame)
        behind_a_bad_line = b"[]\n" + frame  # then it is not tried as a whole
        assert found(validate(behind_a_bad_line, "json", EVERY)) == reference(behind_a_bad_line)


@given(_frames(), st.lists(st.integers(0, 400), max_size=4))
def test_frames_that_are_checked_together_are_taken_as_each_by_itself(whole: bytes, cuts: list[int]) -> None:
    at = [0, *sorted({min(cut, len(whole)) for cut in cuts}), len(whole)]
    frames = [whole[start:end] for start, end in pairwise(at)]
    assume(not any(is_msgpack(frame.removeprefix(BOM)) for frame in frames))
    each = [of_datagram(frame) for frame in frames]
    wanted = Found([event for part in each for event in part.events], sum(part.bad for part in each))
    assert found(validate_frames(frames, EVERY)) == wanted


@pytest.mark.parametrize(
    ("frame", "events"),
    [
        (b'{"type":\n"a"}{"type":"b"}\n', 0),
        (b'{"type":"c"}\n{"type":\n"a"}{"type":"b"}\n', 1),
        (b'{"type":"a","fields":{"x":1}\n}{"type":"b"}\n', 0),
        (b'{"type":"a"}\n\n{"type":"b"}{"type":"c"}\n', 1),
        (b'{"type":"a"}\r\n \t{"type":"b"} \r\n', 2),
        (b'{"type":"a"}\n\x0b{"type":"b"}\n', 1),
        (b'{"type":\r"a"}\n', 1),
    ],
)
def test_a_line_feed_within_an_event_is_not_made_up_for_by_two_events_on_a_line(frame: bytes, events: int) -> None:
    assert validate(frame, limits=EVERY).count == events == len(reference(frame).events)
    assert len(validate(frame, limits=EVERY).invalid) == reference(frame).bad


def test_a_frame_that_was_cut_off_takes_nothing_from_the_next() -> None:
    validated = validate_frames([b'{"type":', b'"a"}{"type":"b"}\n', b'{"type":"c"}\n'], EVERY)
    assert validated.lines == b'{"type":"c"}\n'
    assert len(validated.invalid) == 2


def test_a_carriage_return_ends_no_line_of_a_record() -> None:
    rows, bad = rows_of(b'{"type":\r"a"}\nno event\n{"type":"b"}\r\n')
    assert [row.type for row in rows] == ["a", "b"]
    assert [text for text, _ in bad] == [b"no event"]
