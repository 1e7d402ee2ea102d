"""Topics and keys from templates."""

from __future__ import annotations

import msgspec
import pytest

from metlog.senders._topics import Named, Template, grouped


def line(**more: str) -> bytes:
    return msgspec.json.encode({"type": "t", "logger": "shop", "stream": "s", "hostname": "h", **more})


def parts(frame: bytes, topic: str, key: str = "") -> list[tuple[str, str, bytes]]:
    return [tuple(part) for part in grouped(frame, Template("topic", topic), Template("key", key))]


def test_a_frame_without_places_is_not_looked_at() -> None:
    assert parts(b"whatever", "events") == [("events", "", b"whatever")]


def test_a_frame_is_sent_in_parts_by_topic() -> None:
    frame = b"\n".join([line(type="a"), line(type="b"), line(type="a", payload="2"), b""])
    assert parts(frame, "ev-{type}", "{stream}") == [
        ("ev-a", "s", line(type="a") + b"\n" + line(type="a", payload="2") + b"\n"),
        ("ev-b", "s", line(type="b") + b"\n"),
    ]


def test_messagepack_is_sent_in_parts_too() -> None:
    events = [{"type": "a"}, {"type": "b"}, {"type": "a", "payload": "2"}]
    found = parts(msgspec.msgpack.encode(events), "ev-{type}")
    assert [(topic, msgspec.msgpack.decode(frame)) for topic, _, frame in found] == [
        ("ev-a", [events[0], events[2]]), ("ev-b", events[1])
    ]  # fmt: skip


def test_what_cannot_be_read_goes_whole() -> None:
    assert parts(b"plain text\nmore", "ev-{type}") == [("ev-", "", b"plain text\nmore")]
    signed = b'{"metlog.signed":1}\n' + line(type="a") + b"\n" + line(type="b") + b"\n"
    assert parts(signed, "ev-{type}") == [("ev-a", "", signed)]


@pytest.mark.parametrize(
    ("name", "topic"), [("a/b c", "a_b_c"), ("..", "_"), ("", "_"), ("x" * 300, "x" * 249), ("ä", "_")]
)
def test_what_kafka_does_not_take_in_a_name_is_replaced(name: str, topic: str) -> None:
    assert Template("topic", "{type}").topic(Named(type=name)) == topic


@pytest.mark.parametrize("text", ["{nothing}", "a{", "}", "{}"])
def test_a_template_that_cannot_be_filled_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="topic = "):
        Template("topic", text)
