"""Input and output `kafka` keep every promise of the suites, against a real broker."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec
import pytest
from confluent_kafka import Producer

from metlog.listener.inputs import BaseInput
from metlog.listener.inputs.kafka import KafkaInput
from metlog.listener.outputs.kafka import KafkaOutput
from metlog.testing import InputConformance, OutputConformance
from metlog.testing.sinks import MemorySink
from tests.system.cluster.servers import make_topics, poll
from tests.system.cluster.test_kafka import consumed


class TestKafkaInput(InputConformance):
    patience = 30.0

    @pytest.fixture(autouse=True)
    def topic_of_this_test(self, kafka: str) -> None:
        self.broker = kafka
        self.topic = f"t{secrets.token_hex(6)}"
        make_topics(kafka, {self.topic: 1})

    def make_input(self) -> KafkaInput:
        options = {"session.timeout.ms": 3000, "heartbeat.interval.ms": 500}
        return KafkaInput(brokers=[self.broker], topic=self.topic, group=self.topic, settings=options)

    def send(self, address: str, numbers: Sequence[int]) -> None:
        producer = Producer({"bootstrap.servers": self.broker})
        for number in numbers:
            producer.produce(self.topic, b'{"type":"numbered","fields":{"n":%d}}' % number)
        assert producer.flush(10) == 0

    def test_stop_takes_what_was_sent_before(self, running: BaseInput, sink: MemorySink) -> None:
        """What was not taken stays in the broker, and the next listener of the group takes it, and nothing else."""
        # The broker of these tests keeps a place for a member that leaves while it joins.
        poll(lambda: running.stats()["rebalances"], self.patience, "the group is joined")
        self.send(running.addresses[0], range(50))
        running.stop()
        following = self.make_input()
        following.start(sink)
        try:
            self.arrives(sink, range(50))
        finally:
            following.stop()

    def send_junk(self, address: str) -> None:
        producer = Producer({"bootstrap.servers": self.broker})
        for junk in (b"", b"\xff" * 1000, b"{", b'{"type":7}\n', b"\xc0"):
            producer.produce(self.topic, junk)
        assert producer.flush(10) == 0


class TestKafkaOutput(OutputConformance):
    secret = "a-password-that-nobody-sees"

    @pytest.fixture(autouse=True)
    def topic_of_this_test(self, kafka: str) -> None:
        self.broker = kafka
        self.topic = f"t{secrets.token_hex(6)}"
        make_topics(kafka, {self.topic: 1})

    def make_output(self) -> KafkaOutput:
        return KafkaOutput(brokers=[self.broker], topic=self.topic, settings={"sasl.password": self.secret})

    def delivered(self) -> list[int]:
        from confluent_kafka import Consumer, TopicPartition

        reader = Consumer({"bootstrap.servers": self.broker, "group.id": "reader"})
        try:
            count = reader.get_watermark_offsets(TopicPartition(self.topic, 0), timeout=10)[1]
        finally:
            reader.close()
        found = consumed(self.broker, self.topic, 1, count) if count else []
        return [msgspec.json.decode(value)["fields"]["n"] for _, _, value in found]
