"""What an encoder raises while frames are made is counted, and stays inside."""

from __future__ import annotations

from typing import Any

import pytest

from metlog import Event, MetlogClient
from metlog.encoders.json import JsonEncoder, JsonRecords
from metlog.senders.memory import MemorySender


class OnlyTheirs(JsonEncoder):
    """Expects a field that all events of the application have, and metlog's own do not."""

    def encode(self, event: Event) -> bytes:
        assert event.fields["user"]
        return super().encode(event)


def client(sender: MemorySender, encoder: JsonEncoder, interval: float = 600.0, **more: Any) -> MetlogClient:
    return MetlogClient.from_config(
        {"sender": sender, "encoder": encoder, "buffer": {"flush_interval": interval, **more}}
    )


@pytest.mark.parametrize("interval", [0.0, 600.0])
@pytest.mark.parametrize("end", ["close", "configure"])
def test_an_encoder_that_cannot_encode_metlog_s_own_events_loses_none_but_those(interval: float, end: str) -> None:
    sender = MemorySender()
    made = client(sender, OnlyTheirs(), interval)
    pipeline = made._state.pipeline
    made.log("first", fields={"user": "u1"})
    made.log("bad")
    made.log("last", fields={"user": "u1"})
    assert made.flush(20)
    if end == "close":
        made.close()
    else:
        made.configure("memory:")
    assert sender.closed
    assert [event.type for event in sender.events] == ["first", "last"]
    stats = pipeline.stats()
    assert (stats.accepted, stats.sent, stats.dropped, stats.buffered) == (3, 2, {"encode_error": 1}, 0)
    assert stats.errors == 3, "the event, the report and the end"
    made.close()


class Faulty(JsonEncoder):
    """An encoder with records of which one step fails."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self.records = FaultyRecords(step)
        self.step = step

    def frame(self, encoded: list[bytes]) -> bytes:
        if self.step == "frame":
            raise ValueError("no frame")
        return super().frame(encoded)


class FaultyRecords(JsonRecords):
    def __init__(self, step: str) -> None:
        super().__init__()
        self.step = step
        lines = self.frame
        self.frame = lambda items: self._frame(lines, items)

    def _frame(self, lines: Any, items: list[Any]) -> bytes:
        if self.step == "frame" and any(getattr(item, "type", "") == "bad" for item in items):
            raise ValueError("no frame")
        frame: bytes = lines(items)
        return frame

    def split(self, frame: bytes) -> list[bytes]:
        if self.step == "split":
            raise ValueError("cannot tell")
        return super().split(frame)


def test_events_that_an_encoder_with_records_makes_no_frame_of_are_counted_once() -> None:
    """They are not pending again: each flush would fail at them."""
    sender = MemorySender()
    made = client(sender, Faulty("frame"))
    made.log("bad")
    assert made.flush(20)
    made.log("good")
    assert made.flush(20)
    stats = made.stats()
    assert (stats.sent, stats.dropped, stats.buffered) == (1, {"encode_error": 1}, 0)
    assert [event.type for event in sender.events if not event.type.startswith("metlog.")] == ["good"]
    made.close()


def test_events_that_an_encoder_with_records_cannot_tell_apart_are_counted_once() -> None:
    sender = MemorySender()
    made = client(sender, Faulty("split"), max_frame=1000)
    made.log("event", "x" * 600)
    made.log("event", "x" * 600)
    assert made.flush(20)
    made.log("good")
    assert made.flush(20)
    stats = made.stats()
    assert (stats.sent, stats.dropped, stats.buffered) == (1, {"frame_error": 2}, 0)
    made.close()


class Returning(JsonEncoder):
    """An encoder of which one method returns something else for an event of type `bad`, as bytes where `what` is None."""

    def __init__(self, method: str, what: Any) -> None:
        super().__init__()
        self.records = None
        self.method, self.what = method, what

    def encode(self, event: Event) -> bytes:
        data = super().encode(event)
        return self._other(data) if self.method == "encode" else data

    def frame(self, encoded: list[bytes]) -> bytes:
        data = super().frame(encoded)
        return self._other(data) if self.method == "frame" else data

    def _other(self, data: bytes) -> Any:
        return self.what(data) if b'"bad"' in data else data


@pytest.mark.parametrize("interval", [0.0, 600.0])
@pytest.mark.parametrize("method", ["encode", "frame"])
@pytest.mark.parametrize("what", [lambda _: None, bytes.decode, lambda _: 1, list, lambda data: [data]])
def test_what_is_not_bytes_is_counted_and_no_call_raises(method: str, what: Any, interval: float) -> None:
    sender = MemorySender()
    made = client(sender, Returning(method, what), interval)
    for name in ("first", "bad", "last"):
        made.log(name)
        assert made.flush(20)
    stats = made.stats()
    assert (stats.accepted, stats.sent, stats.dropped, stats.buffered) == (3, 2, {f"{method}_error": 1}, 0)
    made.close()
    assert all(sender.frames), "a frame of nothing is none"
    assert [event.type for event in sender.events if not event.type.startswith("metlog.")] == ["first", "last"]


@pytest.mark.parametrize("interval", [0.0, 600.0])
@pytest.mark.parametrize("method", ["encode", "frame"])
@pytest.mark.parametrize("what", [bytearray, memoryview])
def test_what_holds_bytes_is_as_good(method: str, what: Any, interval: float) -> None:
    sender = MemorySender()
    made = client(sender, Returning(method, what), interval)
    made.log("bad")
    made.close()
    assert made.stats().sent == 1
    assert {type(frame) for frame in sender.frames} == {bytes}
