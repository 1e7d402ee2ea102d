"""How many events a frame holds."""

from __future__ import annotations

import pytest

from metlog import Event
from metlog.encoders import BaseEncoder
from metlog.encoders.json import JsonEncoder
from metlog.encoders.msgpack import MsgpackEncoder
from metlog.encoders.signed import SignedEncoder
from metlog.encoders.text import TextEncoder
from metlog.senders._events import events_in

ENCODERS: list[BaseEncoder] = [
    JsonEncoder(),
    MsgpackEncoder(),
    SignedEncoder(key="a secret of 20 bytes"),
    SignedEncoder(key="a secret of 20 bytes", encoder="msgpack"),
]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(
    "types", [["a"], ["a", "b", "c"], ["a"] * 40, ["metlog.end"], ["a", "metlog.report", "b", "metlog.end"]]
)
def test_the_clients_own_events_are_not_counted(encoder: BaseEncoder, types: list[str]) -> None:
    frame = encoder.frame([encoder.encode(Event(type=each)) for each in types])
    assert events_in(frame) == sum(not each.startswith("metlog.") for each in types)


def test_a_frame_that_cannot_be_read_counts_as_one_event() -> None:
    encoder = TextEncoder()
    assert events_in(encoder.frame([encoder.encode(Event(type="a"))])) == 1
    assert events_in(b"\x92\x81") == 1  # an array that is cut short
