"""What the output `kafka` makes of errors; with brokers: tests/system/cluster."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError

from metlog.event import Event
from metlog.listener.outputs import Rejected, Undelivered
from metlog.listener.outputs.kafka import KafkaOutput
from tests.helpers.sink import batch


class Producer:
    """Reports an error for every message but those of one topic."""

    def __init__(self, code: int) -> None:
        self._error = KafkaError(code)

    def produce(self, topic: str, *_: Any, on_delivery: Any, headers: Any) -> None:
        on_delivery(None if topic == "good" else self._error, None)

    def poll(self, _: float) -> int:
        return 0

    flush = poll

    def purge(self) -> None:
        pass

    def __len__(self) -> int:
        return 0


def written(code: int, topic: str) -> Rejected:
    output = KafkaOutput(topic=topic)
    output._producer = Producer(code)  # type: ignore[assignment]
    with pytest.raises(Rejected) as caught:
        output.write(batch(Event(type="a", logger="good"), Event(type="a", logger="bad")))
    return caught.value


def test_an_event_whose_topic_the_brokers_never_take_is_rejected() -> None:
    assert [delivery.event.logger for delivery, _ in written(KafkaError.TOPIC_EXCEPTION, "{logger}").rejected] == [
        "bad"
    ]


def test_a_topic_of_the_configuration_is_no_fault_of_an_event() -> None:
    with pytest.raises(Undelivered):
        written(KafkaError.TOPIC_EXCEPTION, "metlog")


def test_what_may_pass_is_tried_again() -> None:
    with pytest.raises(Undelivered):
        written(KafkaError.TOPIC_AUTHORIZATION_FAILED, "{logger}")
