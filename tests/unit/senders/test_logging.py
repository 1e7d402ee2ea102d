from __future__ import annotations

import logging

import pytest

from metlog import plugins
from metlog.encoders.json import JsonEncoder
from metlog.encoders.msgpack import MsgpackEncoder
from metlog.errors import SenderError
from metlog.event import Event


@pytest.mark.parametrize("encoder", [JsonEncoder(), MsgpackEncoder()], ids=["json", "msgpack"])
def test_each_event_is_a_record_with_level_time_and_the_event_itself(caplog, encoder):
    caplog.set_level(logging.DEBUG, "metlog.events")
    events = [Event(type=f"t{severity}", severity=severity, payload=f"100% {severity}") for severity in range(8)]
    sender = plugins.build("sender", "logging", "sender")
    sender.send(encoder.frame([encoder.encode(event) for event in events]))
    sender.close()
    assert [record.levelname for record in caplog.records] == [
        "CRITICAL", "CRITICAL", "CRITICAL", "ERROR", "WARNING", "INFO", "INFO", "DEBUG",
    ]  # fmt: skip
    assert [record.getMessage() for record in caplog.records] == [f"100% {severity}" for severity in range(8)]
    assert [record.metlog_event.type for record in caplog.records] == [event.type for event in events]
    assert caplog.records[0].created == pytest.approx(events[0].timestamp.timestamp(), abs=1e-5)


def test_the_level_of_the_logger_holds(caplog):
    caplog.set_level(logging.ERROR, "app")
    sender = plugins.build("sender", {"name": "logging", "logger": "app"}, "sender")
    sender.send(b'{"type":"quiet"}\n{"type":"loud","severity":2}\n')
    assert [record.getMessage() for record in caplog.records] == ["loud"]


def test_a_frame_that_cannot_be_read_is_a_reason():
    sender = plugins.build("sender", "logging", "sender")
    for frame in (b"{not json}\n", b"\xc1"):
        with pytest.raises(SenderError) as caught:
            sender.send(frame)
        assert caught.value.reason == "undecodable"
