"""What a frame may cost: pieces, values and memory are bounded, and the worst input costs about as much as good input of its size."""

from __future__ import annotations

import contextlib
import gc
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import thread_time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metlog.event import Event
from metlog.journal.folder import Folder
from metlog.listener.deadletters import DeadLetters
from metlog.listener.inputs._statsd_lines import BadLine, parse
from metlog.listener.validate import LIMITS, Limits, Rejects, TooManyEvents, Validated, validate, validate_frames

SIZE = 60_000
"""Bytes of a frame here: about the largest datagram."""
BIG = 4 << 20
GOOD = (
    b'{"timestamp":"2026-11-28T12:00:00.123456Z","type":"request","tokens":["request","GET"],"logger":"web","severity":6,'
    b'"payload":"GET /a/b 200","fields":{"user":"u12345","path":"/a/b","ms":12.5,"status":200},"env_version":"1","pid":1234,'
    b'"hostname":"host-1","stream":"f00dfacef00dfacef00dfacef00dface","seq":1}\n'
)


def array(item: bytes, count: int) -> bytes:
    return b"\xdd" + count.to_bytes(4) + item * count


def packed_fields(count: int, item: bytes) -> bytes:
    """A MessagePack event with a list of so many items among its fields."""
    return b"\x82\xa4type\xa1a\xa6fields\x81\xa1a" + array(item, count)


def json_fields(item: bytes, size: int) -> bytes:
    return b'{"type":"a","fields":{"a":[' + (item + b",") * (size // (len(item) + 1)) + item + b"]}}\n"


BAD: dict[str, Callable[[int], bytes]] = {
    "opened lines": lambda n: b"{\n" * (n // 2),
    "wrong types": lambda n: b'{"type":1}\n' * (n // 11),
    "good and bad": lambda n: b'{"type":"a"}\n{"type":1}\n' * (n // 24),
    "one bad of ten": lambda n: (b'{"type":"a"}\n' * 9 + b'{"type":1}\n') * (n // 128),
    "two on a line": lambda n: b'{"type":"a"}{"type":"a"}\n' * (n // 25),
    "numbers out of range": lambda n: b'{"type":"a","fields":{"a":1e999}}\n' * (n // 34),
    "blank lines": lambda n: b" \n" * (n // 2),
    "nested": lambda n: b'{"type":"a","fields":{"a":' + b"[" * (n // 2) + b"]" * (n // 2) + b"}}\n",
    "empty lists": lambda n: json_fields(b"[]", n),
    "empty objects": lambda n: json_fields(b"{}", n),
    "tokens": lambda n: b'{"type":"a","tokens":[' + b'"",' * (n // 3) + b'""]}\n',
    "strings and depth": lambda n: b'{"type":"a","payload":"' + b"{" * 200 + b'","tokens":[' + b'"",' * (n // 3) + b'""]}\n',
    "escapes": lambda n: b'{"type":"a","payload":"' + b"{" * 200 + b'\\"' * (n // 2) + b'"}\n',
    "packed nils": lambda n: array(b"\xc0", n),
    "packed empty arrays": lambda n: array(b"\x90", n),
    "packed maps": lambda n: array(b"\x81\xa4type\x01", n // 7),
    "packed fields": lambda n: packed_fields(n, b"\x90"),
    "junk": lambda n: bytes(range(256)) * (n // 256),
    "control characters": lambda n: b"{" + b"\x01" * n,
}  # fmt: skip


def seconds(call: Callable[[], object], tries: int = 5) -> float:
    """Processor time of the call, the best of some; what other tests left in memory is not the collector's to look at."""
    found = []
    gc.freeze()
    try:
        for _ in range(tries):
            began = thread_time()
            call()
            found.append(thread_time() - began)
    finally:
        gc.unfreeze()
    return min(found)


@pytest.mark.parametrize("kind", BAD)
def test_no_frame_costs_more_than_ten_times_a_good_one_of_its_size(kind: str) -> None:
    frame = BAD[kind](SIZE)
    small = b'{"type":"a"}\n' * (SIZE // 13)
    good = max(seconds(lambda: validate(GOOD * (SIZE // len(GOOD)))), seconds(lambda: validate(small)))
    assert seconds(lambda: validate(frame)) < 10 * good


@pytest.mark.parametrize("kind", BAD)
def test_what_is_decoded_of_a_large_body_stays_near_its_size(kind: str) -> None:
    frame = BAD[kind](BIG)
    tracemalloc.start()
    try:
        with contextlib.suppress(TooManyEvents):
            validate(frame, limits=Limits(rejects=0, events=50_000))  # as of a body of the input http
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * BIG + (16 << 20)


@pytest.mark.slow
def test_the_work_for_large_bodies_grows_with_their_bytes() -> None:
    def cost(size: int) -> float:
        return seconds(lambda: validate(json_fields(b"[]", 30_000) * (size // 30_000)), 3)

    assert cost(BIG) < 3 * (BIG / (BIG // 8)) * cost(BIG // 8)


_PIECES = st.sampled_from(
    [
        b'{"type":"a"}',
        b'{"type":1}',
        b"{",
        b"",
        b" ",
        b'{"type":"a"}{"type":"b"}',
        b'{"type":"a","seq":-1}',
        b"\xff",
        b"[]",
    ]
)


@given(st.lists(st.tuples(_PIECES, st.integers(1, 60)), max_size=12))
def test_nothing_disappears_from_a_frame_with_bad_pieces(parts: list[tuple[bytes, int]]) -> None:
    lines = [piece for piece, times in parts for _ in range(times)]
    frame = b"{}\n" + b"\n".join(lines)
    found = validate(frame)
    assert found.count == found.lines.count(b"\n")
    assert len(found.invalid) <= LIMITS.rejects
    # Each line is among the good or among the rejects, in the order in which they came.
    left = sorted(b"\n".join([*found.lines.splitlines(), *[item.data for item in found.invalid]]).split(b"\n"))
    assert [line for line in left if line.strip()] == sorted(line for line in [b"{}", *lines] if line.strip())


def test_many_bad_pieces_are_one_dead_letter_with_their_number() -> None:
    few = validate(b"{\n" * LIMITS.rejects)
    assert len(few.invalid) == LIMITS.rejects
    many = validate(GOOD + b"{\n" * (LIMITS.rejects + 1) + GOOD)
    assert many.count == 2
    (letter,) = many.invalid
    assert letter.reason.startswith(f"many bad pieces: {LIMITS.rejects + 1}; the first is not JSON")
    assert letter.data == b"\n".join([b"{"] * (LIMITS.rejects + 1))
    (unread,) = validate(b"{\n" * 30_000).invalid
    assert "and a rest that was not read" in unread.reason
    assert len(unread.data) <= SIZE


def test_good_frames_beside_a_bad_one_of_the_same_source_are_taken() -> None:
    found = validate_frames([GOOD * 3, array(b"\xc0", 60_000), b"{\n" * 30_000, GOOD])
    assert (found.count, len(found.invalid)) == (4, 2)
    assert found.runs.runs == [("f00dfacef00dfacef00dfacef00dface", 1, 1)] * 4


@pytest.mark.parametrize(
    "frame",
    [
        json_fields(b"1", 2 * LIMITS.values - 200),
        packed_fields(LIMITS.values - 20, b"\x90"),
        packed_fields(LIMITS.values - 20, b"\xa0"),
    ],
)
def test_an_event_may_have_as_many_values_as_the_limit(frame: bytes) -> None:
    assert validate(frame).count == 1


@pytest.mark.parametrize(
    "frame",
    [
        json_fields(b"1", 2 * LIMITS.values + 2),
        json_fields(b"[]", 200_000),
        b'{"type":"a","tokens":[' + b'"",' * LIMITS.values + b'""]}',
        packed_fields(LIMITS.values, b"\x90"),
        packed_fields(LIMITS.values, b"\xd9\x01a"),
        packed_fields(LIMITS.values, b"\xc4\x01a"),
        packed_fields(LIMITS.values, b"\xd6\xff\0\0\0\0"),
        packed_fields(LIMITS.values, b"\xcb" + b"\0" * 8),
        array(packed_fields(LIMITS.values, b"\x80"), 2),
    ],
)
def test_an_event_of_more_values_is_rejected(frame: bytes) -> None:
    found = validate(frame)
    assert found.count == 0
    assert all(item.reason == f"not an event: it has more than {LIMITS.values} values" for item in found.invalid)
    assert found.invalid


def test_long_texts_full_of_separators_are_no_values() -> None:
    text = ',[{"}]\\' * 40_000
    line = msgspec.json.encode(Event(type="a", payload=text, fields={"a": text}))
    assert validate(line).count == 1


def test_a_packed_event_of_long_strings_is_no_event_of_many_values() -> None:
    frame = msgspec.msgpack.encode({"type": "a", "fields": {"text": ["x" * 300, "y" * 70_000, b"z" * 300]}})
    assert validate(frame).count == 1


def test_a_limit_of_events_holds_for_each_form() -> None:
    for frame in (GOOD * 11, array(b"\x81\xa4type\xa1a", 11)):
        assert validate(frame, limits=Limits(events=11)).count == 11
        with pytest.raises(TooManyEvents):
            validate(frame, limits=Limits(events=10))


def test_rejects_of_none_end_the_work_at_the_first() -> None:
    found = validate(GOOD + b"{\n" + b"{\n" * 1000, limits=Limits(rejects=0))
    assert [(item.position, item.data) for item in found.invalid] == [(1, b"{")]


# Dead letters.


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.binary(max_size=3000), st.integers(1, 40)), min_size=1, max_size=20),
    st.integers(2_000, 60_000),
)
def test_dead_letters_keep_to_their_bytes_also_within_a_batch(
    tmp_path_factory: pytest.TempPathFactory, letters: list[tuple[bytes, int]], limit: int
) -> None:
    path = tmp_path_factory.mktemp("dead")
    with Folder.root(path) as folder:
        dead = DeadLetters(folder, "input", limit)
        for _ in range(3):
            dead.add([(data, "udp://127.0.0.1:1", "not JSON: x") for data, times in letters for _ in range(times)])
            assert sum(file.stat().st_size for file in path.iterdir()) <= limit
        assert dead.counts == {"not JSON": 3 * sum(times for _, times in letters)}
        assert dead.unwritten == 0
        last = msgspec.json.decode((path / "input.ndjson").read_bytes().splitlines()[-1])
        assert last["reason"] == "not JSON: x"
        dead.close()


def test_a_letter_larger_than_a_file_is_cut(tmp_path: Path) -> None:
    with Folder.root(tmp_path) as folder:
        dead = DeadLetters(folder, "input", 20_000)
        dead.add([(b"\x01" * 100_000, "udp://127.0.0.1:1", "empty"), (b"x" * 100, "udp://127.0.0.1:1", "empty")])
        dead.close()
        first, second = map(msgspec.json.decode, folder.read("input.ndjson").splitlines())
    assert first["cut_from"] == 100_000
    assert "cut_from" not in second
    assert second["text"] == "x" * 100


# statsd.


def test_packed_values_cannot_repeat_large_tags_for_ever() -> None:
    assert len(parse(b"a:" + b":".join([b"1"] * 3000) + b"|c|#env:prod", "")[0]) == 3000
    with pytest.raises(BadLine, match="too many values"):
        parse(b"a:" + b":".join([b"1"] * 3000) + b"|c|#" + b"t" * 3000, "")


@given(st.integers(0, 400))
def test_rejects_beyond_their_number_are_one(count: int) -> None:
    rejects = Rejects(1000)
    for number in range(count):
        rejects.add(b"%d" % number, "bad: x", number)
    found = rejects.report()
    assert len(found) <= LIMITS.rejects
    assert b"\n".join(item.data for item in found) == b"\n".join(b"%d" % number for number in range(count))
    if count > LIMITS.rejects:
        assert re.match(rf"many bad pieces: {count};", found[0].reason)


def test_validated_input_needs_no_streams() -> None:
    assert Validated(b'{"type":"a"}\n', 1).runs.runs == ()
