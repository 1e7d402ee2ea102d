"""Output `kafka`: each event as a message; the cursor moves on when the brokers have taken all of a batch."""

from __future__ import annotations

import logging
from typing import Any, ClassVar, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from metlog.listener.outputs import BaseOutput, Batch, Delivery, Rejected, Undelivered
from metlog.plugins.conversion import Seconds
from metlog.senders._kafka import RUNTIME, TOPIC, brokers_of, check_settings, code, flat, topic_of, words
from metlog.senders._topics import Template
from metlog.senders.options import at_least, at_most, positive

__all__ = ["KafkaOutput"]

_encode: Final = msgspec.json.Encoder().encode
_AT_FAULT: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD})
"""Errors of a message itself. All others are of the brokers or the connection, and may pass."""


class KafkaOutput(BaseOutput):
    """Produces each event as a message of its own, JSON.

    host, port, brokers
        A broker, or several as `HOST:PORT`; the others are learnt from it.
    topic
        Where to; in a URL the path (`kafka://broker:9092/events`). `{logger}`, `{type}`, `{hostname}` and `{stream}` are replaced by
        the event's; what Kafka does not take in a name becomes `_`.
    key
        The same for the message's key, which chooses the partition. By default the stream: the events of a client stay in order.
    compression
        `zstd`, `lz4`, `snappy`, `gzip` or `none`.
    acks, idempotence
        Who must have a message before it counts (`all`, `1`, `0`), and whether one that is tried again is written once.
    timeout
        Seconds that the brokers get for a batch; then it is tried again.
    settings
        Any other setting of librdkafka by its own name, here or as an option of its own.

    A message has the header `metlog-id`, the batch's id and the event's number in it, the same whenever a batch comes again: after
    a crash some events may be produced twice, and a consumer can tell by it.
    """

    batch_defaults: ClassVar[dict[str, Any]] = {"batch_events": 10_000, "batch_bytes": 8 << 20, "batch_age": 0.5}

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 9092,
        path: str = "",
        topic: str | None = None,
        brokers: list[str] | None = None,
        key: str = "{stream}",
        compression: str = "zstd",
        acks: str = "all",
        idempotence: bool = True,
        linger: Seconds = 0.005,
        timeout: Seconds = 30.0,
        settings: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        at_least("linger", linger, 0, "seconds")
        at_most("linger", linger, 900, "seconds")
        positive("timeout", timeout, "seconds")
        self._topic = Template("topic", topic_of(path, topic, "metlog"))
        if not self._topic.places and not TOPIC.fullmatch(self._topic.text):
            raise ValueError(f"topic = {self._topic.text!r}: wants letters, digits, dot, _ and -, 249 at most")
        self._key = Template("key", key)
        self._brokers = brokers_of(host, port, brokers)
        self._timeout = timeout
        self._settings: dict[str, Any] = {
            **RUNTIME, "bootstrap.servers": self._brokers, "compression.type": compression, "acks": acks,
            "enable.idempotence": idempotence, "linger.ms": linger * 1000, "message.timeout.ms": int(timeout * 1000),
            "queue.buffering.max.messages": 1_000_000, **flat({**(settings or {}), **more}),
        }  # fmt: skip
        check_settings(Producer, self._settings)
        # A topic that is made of an event may be one that the brokers never take.
        self._at_fault = _AT_FAULT | {KafkaError.TOPIC_EXCEPTION} if self._topic.places else _AT_FAULT
        self._producer: Producer | None = None
        self._counts = dict.fromkeys(("delivered", "undelivered", "too_large"), 0)

    def describe(self) -> str:
        return f"kafka://{self._brokers.split(',')[0]}/{self._topic.text}"

    def stats(self) -> dict[str, int]:
        """Delivery reports: events `delivered`; `undelivered`, which came again; `too_large`, which were rejected."""
        return dict(self._counts)

    def start(self) -> None:
        if self._producer is None:
            self._producer = Producer({**self._settings, "logger": logging.getLogger("metlog.kafka")})

    def write(self, batch: Batch) -> None:
        producer = self._producer
        assert producer is not None
        failed: list[KafkaError] = []
        rejected: list[tuple[Delivery, str]] = []

        def reported(delivery: Delivery, error: KafkaError | None) -> None:
            if error is None:
                self._counts["delivered"] += 1
            elif error.code() in self._at_fault:
                self._reject(rejected, delivery, error.str())
            else:
                failed.append(error)

        for index, delivery in enumerate(batch.deliveries):
            self._produce(producer, f"{batch.id}/{index}", delivery, reported, rejected)
        producer.flush(self._timeout + 1)
        if len(producer) or failed:
            # The batch is tried again as a whole: what is queued is dropped, and no later report of it counts.
            producer.purge()
            producer.flush(1)
            self._counts["undelivered"] += len(batch.deliveries)
            raise Undelivered(f"{self.describe()}: {failed[0].str() if failed else 'no report in time'}")
        if rejected:
            raise Rejected(rejected)

    def _produce(
        self, producer: Producer, ident: str, delivery: Delivery, reported: Any, rejected: list[tuple[Delivery, str]]
    ) -> None:
        event = delivery.event

        def report(error: KafkaError | None, _: Message) -> None:
            reported(delivery, error)

        while True:
            try:
                producer.produce(
                    self._topic.topic(event), _encode(event), self._key.fill(event).encode() or None, on_delivery=report,
                    headers=[("metlog-id", ident.encode())],
                )  # fmt: skip
                producer.poll(0)
                return
            except BufferError:
                producer.poll(0.1)
            except KafkaException as error:
                if code(error) not in self._at_fault:
                    raise Undelivered(f"{self.describe()}: {words(error)}") from error
                self._reject(rejected, delivery, words(error))
                return

    def _reject(self, rejected: list[tuple[Delivery, str]], delivery: Delivery, reason: str) -> None:
        self._counts["too_large"] += 1
        rejected.append((delivery, f"kafka: {reason}"))

    def close(self) -> None:
        if self._producer is not None:
            self._producer.flush(5)
