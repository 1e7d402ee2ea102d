"""What a frame's first bytes say, and its events as they are encoded."""

from __future__ import annotations

import msgspec
import pytest

from metlog import Event
from metlog.encoders import BaseEncoder
from metlog.encoders.json import JsonEncoder
from metlog.encoders.msgpack import MsgpackEncoder
from metlog.encoders.signed import SignedEncoder
from metlog.encoders.wire import encoded_events, is_map, is_msgpack


def test_maps_and_arrays_of_every_size_are_told_apart() -> None:
    for size in (0, 1, 15, 16, 65_535, 65_536):
        packed_map = msgspec.msgpack.encode(dict.fromkeys(range(size)))
        packed_array = msgspec.msgpack.encode([None] * size)
        assert (is_msgpack(packed_map), is_map(packed_map)) == (True, True)
        assert (is_msgpack(packed_array), is_map(packed_array)) == (True, False)
    assert not any(is_map(text) or is_msgpack(text) for text in (b"", b"{}", b"[]", "ä".encode(), b"\xef\xbb\xbf{}"))


@pytest.mark.parametrize(
    "encoder",
    [JsonEncoder(), MsgpackEncoder(), SignedEncoder(key="x" * 20), SignedEncoder(key="x" * 20, encoder="msgpack")],
)
@pytest.mark.parametrize("count", [1, 2, 20])
def test_the_events_of_a_frame_are_told_apart(encoder: BaseEncoder, count: int) -> None:
    encoded = [encoder.encode(Event(type=f"t{number}")) for number in range(count)]
    assert encoded_events(encoder.frame(encoded)) == encoded


def test_an_array_that_is_cut_short_is_told() -> None:
    with pytest.raises(msgspec.DecodeError):
        encoded_events(msgspec.msgpack.encode([{"type": "a"}, {"type": "b"}])[:-1])
