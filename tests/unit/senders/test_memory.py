from __future__ import annotations

import pytest

from metlog import plugins
from metlog.errors import ConfigError, DecodeError, SenderError


def test_frames_stay_readable_after_close_and_decode_to_events():
    sender = plugins.build("sender", "memory", "sender")
    sender.send(b'{"type":"a"}\n')
    sender.send(b"")
    sender.send(b'{"type":"b"}\n{"type":"c"}\n')
    sender.close()
    assert [event.type for event in sender.events] == ["a", "b", "c"]
    with pytest.raises(SenderError, match="the MemorySender is closed"):
        sender.send(b"x")
    sender.clear()
    assert not sender.events


def test_only_the_last_frames_are_kept():
    sender = plugins.build("sender", "memory:?limit=2", "sender")
    for frame in (b"1", b"2", b"3"):
        sender.send(frame)
    assert list(sender.frames) == [b"2", b"3"]


def test_events_of_a_strange_frame_say_so():
    sender = plugins.build("sender", "memory", "sender")
    sender.send(b"\xc1")
    with pytest.raises(DecodeError):
        sender.events  # noqa: B018 - reading it is the test


@pytest.mark.parametrize("name", ["memory", "null"])
def test_faults_name_key_value_and_remedy(name):
    with pytest.raises(ConfigError, match="max_frame = 1: wants a number of bytes, 64 or more"):
        plugins.build("sender", {"name": name, "max_frame": 1}, "sender")
