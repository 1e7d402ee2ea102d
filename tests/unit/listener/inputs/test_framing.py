"""Byte streams to frames: however a stream is cut into reads, the frames are the same."""

from __future__ import annotations

import itertools
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metlog.listener.inputs._framing import FramingError, Lines, framing

BODIES = st.lists(st.binary(min_size=1, max_size=60).filter(lambda body: b"\n" not in body), max_size=12)


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def wire(name: str, bodies: list[bytes]) -> bytes:
    if name == "lines":
        return b"".join(body + b"\n" for body in bodies)
    if name == "length":
        return b"".join(struct.pack(">I", len(body)) + body for body in bodies)
    if name == "octets":
        return b"".join(b"%d %s" % (len(body), body) for body in bodies)
    return b"".join(msgspec.msgpack.encode({"n": body}) for body in bodies)


@pytest.mark.parametrize("name", ["lines", "length", "octets", "msgpack"])
@given(bodies=BODIES, cuts=st.lists(st.integers(0, 10_000), max_size=30))
def test_frames_do_not_depend_on_how_the_stream_was_cut(name: str, bodies: list[bytes], cuts: list[int]) -> None:
    made = framing(name, 100)
    data = wire(name, bodies)
    found = [frame for piece in in_pieces(data, cuts) for frame in made.feed(piece)]
    expected = [msgspec.msgpack.encode({"n": body}) for body in bodies] if name == "msgpack" else bodies
    assert found == expected
    assert made.rest() == b""
    assert made.pending == 0


@given(bodies=BODIES, cuts=st.lists(st.integers(0, 10_000), max_size=30))
def test_a_line_over_the_limit_is_skipped_and_counted_and_the_next_is_taken(
    bodies: list[bytes], cuts: list[int]
) -> None:
    made = Lines(20)
    data = wire("lines", bodies)
    found = [frame for piece in in_pieces(data, cuts) for frame in made.feed(piece)]
    assert found == [body for body in bodies if len(body) <= 20]
    assert made.oversized == sum(len(body) > 20 for body in bodies)


def test_lines_hold_no_more_than_their_limit() -> None:
    made = Lines(100)
    for _ in range(1000):
        assert list(made.feed(b"x" * 1000)) == []
        assert made.pending <= 1100
    assert made.oversized == 1


@given(bodies=BODIES, cuts=st.lists(st.integers(0, 10_000), max_size=30))
def test_of_a_line_that_is_skipped_its_own_beginning_is_kept(bodies: list[bytes], cuts: list[int]) -> None:
    made = Lines(20)
    data = wire("lines", bodies)
    skipped: list[bytes] = []
    for piece in in_pieces(data, cuts):
        list(made.feed(piece))
        skipped += made.skipped()
    long = [body for body in bodies if len(body) > 20]
    assert len(skipped) == len(long)
    assert all(body.startswith(part) and len(part) > 20 for body, part in zip(long, skipped, strict=True))
    assert made.ended == len(bodies)


@pytest.mark.parametrize("name", ["lines", "length", "octets", "msgpack"])
def test_a_read_may_hold_many_times_the_limit_of_one_frame(name: str) -> None:
    body = msgspec.msgpack.encode({"n": b"x" * 50}) if name == "msgpack" else b"x" * 55
    data = b"".join([body] * 5000) if name == "msgpack" else wire(name, [body] * 5000)
    made = framing(name, 64)
    assert list(made.feed(data)) == [body] * 5000
    assert made.ended == 5000


@pytest.mark.parametrize("size", [65, 100, 1 << 17])
def test_an_object_over_the_limit_is_no_frame(size: int) -> None:
    """Also one of many small parts, which MessagePack's own parser never holds at one time."""
    many = b"\xdd" + struct.pack(">I", size) + b"\x01" * size
    made = framing("msgpack", 64)
    with pytest.raises(FramingError, match="64 bytes"):
        list(made.feed(many))
    assert made.oversized == 1
    made = framing("msgpack", 64)
    with pytest.raises(FramingError, match="64 bytes"):
        list(itertools.chain.from_iterable(made.feed(bytes([byte])) for byte in many))
    assert made.pending <= 65


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("length", struct.pack(">I", 101) + b"x"),
        ("octets", b"101 x"),
        ("octets", b"5 abcdex"),
        ("octets", b"99999999999 x"),
        ("octets", b"3x abc"),
        ("msgpack", b"\xc1"),
        ("msgpack", b"\xc6" + struct.pack(">I", 1 << 20) + b"x" * (1 << 18)),
    ],
)
def test_what_cannot_be_framed_ends_the_connection_with_its_reason(name: str, data: bytes) -> None:
    made = framing(name, 100)
    with pytest.raises(FramingError):
        list(made.feed(data))


def test_frames_before_a_fault_are_taken() -> None:
    frames = framing("octets", 100).feed(b"3 abc2 dex")
    assert [next(frames), next(frames)] == [b"abc", b"de"]
    with pytest.raises(FramingError):
        next(frames)


def test_octet_counting_and_lines_are_told_apart_by_the_first_byte() -> None:
    assert list(framing("octets", 100).feed(b"<13>one\r\n<13>two\n")) == [b"<13>one", b"<13>two"]
