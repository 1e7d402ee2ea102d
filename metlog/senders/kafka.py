"""Kafka: a frame is a message."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from metlog.errors import SenderError
from metlog.plugins.conversion import Seconds, Size
from metlog.senders._blocking import BlockingSender
from metlog.senders._events import events_in
from metlog.senders._kafka import RUNTIME, TOPIC, brokers_of, check_settings, code, flat, topic_of, words
from metlog.senders._topics import Template, grouped
from metlog.senders.options import at_least, at_most, positive

__all__ = ["KafkaSender"]

PROBE_WAIT: Final = 3.0
"""Seconds that `probe` waits for a broker."""
_TURN: Final = 0.1
"""Seconds between two looks at whether a full queue has room."""
_REASONS: Final = {
    KafkaError._MSG_TIMED_OUT: "timeout",
    KafkaError.MSG_SIZE_TOO_LARGE: "too_large",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "unauthorized",
    KafkaError._PURGE_QUEUE: "closed",
    KafkaError._PURGE_INFLIGHT: "closed",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "unknown_topic",
    KafkaError._UNKNOWN_TOPIC: "unknown_topic",
}


class KafkaSender(BlockingSender):
    """Produces each frame as a message, through librdkafka, which keeps what the brokers cannot take now and sends it later.

    host, port, brokers
        A broker, or several as `HOST:PORT`; the others are learnt from it.
    topic
        Where to; in a URL the path (`kafka://broker:9092/events`). `{logger}`, `{type}`, `{hostname}` and `{stream}` are replaced by
        the event's; with `{logger}` or `{type}` a frame is sent in parts. What Kafka does not take in a name becomes `_`.
    key
        The same for the message's key, which chooses the partition. By default the stream: the events of a client stay in order.
    compression
        `zstd`, `lz4`, `snappy`, `gzip` or `none`.
    acks
        Who must have a message before it counts: `all`, `1` or `0`.
    idempotence
        Whether a message that is tried again is written once and in order; needs `acks = all`.
    linger
        Seconds that a message may wait for others, to travel and to be compressed together.
    buffer
        Bytes that are held while the brokers do not take them; then frames wait in the client's own queue.
    give_up
        Seconds after which a message that no broker took is lost.
    max_frame
        Bytes, before compression; the brokers' `message.max.bytes` is 1 MB unless they say otherwise.
    settings
        Any other setting of librdkafka by its own name, such as `"security.protocol"`, here or as an option of its own.

    What no broker took counts as dropped, by the reason of the delivery report (`timeout`, `too_large`, `unauthorized`,
    `unknown_topic`, `undelivered`, and `closed` for what was left at the end); reports are taken with the next frame, at `flush` and at
    `close`. `client.sender.stats()` has the reports themselves. `send` raises `metlog.errors.SenderError` with the reason `full`,
    `too_large` or `closed`.
    """

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
        linger: Seconds = 0.02,
        buffer: Size = 64 << 20,
        give_up: Seconds = 300.0,
        max_frame: Size = 262144,
        settings: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        at_least("max_frame", max_frame, 64, "bytes")
        at_most("max_frame", max_frame, 999_900_000, "bytes")
        at_least("linger", linger, 0, "seconds")
        at_most("linger", linger, 900, "seconds")
        at_least("buffer", buffer, 1 << 20, "bytes")
        positive("give_up", give_up, "seconds")
        self.max_frame = max_frame
        self._topic = Template("topic", topic_of(path, topic, "metlog"))
        if not self._topic.places and not TOPIC.fullmatch(self._topic.text):
            raise ValueError(f"topic = {self._topic.text!r}: wants letters, digits, dot, _ and -, 249 at most")
        self._key = Template("key", key)
        self._brokers = brokers_of(host, port, brokers)
        self._settings: dict[str, Any] = {
            **RUNTIME, "bootstrap.servers": self._brokers, "compression.type": compression, "acks": acks,
            "enable.idempotence": idempotence, "linger.ms": linger * 1000, "queue.buffering.max.kbytes": buffer >> 10,
            "queue.buffering.max.messages": 1_000_000, "message.timeout.ms": int(give_up * 1000),
            "message.max.bytes": max(1_000_000, max_frame + 100_000), **flat({**(settings or {}), **more}),
        }  # fmt: skip
        check_settings(Producer, self._settings)
        self._lost: Callable[[str, int], None] | None = None
        super().__init__()

    def on_loss(self, lost: Callable[[str, int], None]) -> None:
        """Who counts the events of frames that no broker took."""
        self._lost = lost

    def _fresh_state(self) -> None:
        super()._fresh_state()
        self._producer: Producer | None = None
        self._counts: Counter[str] = Counter()

    def open(self) -> None:
        """Starts librdkafka, which connects in a thread of its own; brokers need not be there."""
        with self._busy:
            if not self._deadline.closed:
                self._open()

    def _open(self) -> Producer:
        if self._producer is None:
            logger = logging.getLogger("metlog.kafka")
            try:
                self._producer = Producer({**self._settings, "logger": logger, "on_delivery": self._reported})
            except KafkaException as error:
                raise ValueError(f"brokers = {self._brokers!r}: {words(error)}") from error
        return self._producer

    def _send(self, frame: bytes) -> None:
        producer = self._open()
        for topic, key, part in grouped(frame, self._topic, self._key):
            self._produce(producer, topic, key.encode() or None, part)
        producer.poll(0)

    def _produce(self, producer: Producer, topic: str, key: bytes | None, part: bytes) -> None:
        while True:
            try:
                producer.produce(topic, part, key)
                return
            except BufferError as error:  # librdkafka's queue is full; further frames wait in the client's
                if self._deadline.over:
                    raise SenderError(f"{self._brokers}: {error}", reason="full") from error
                producer.poll(_TURN)
            except KafkaException as error:
                raise SenderError(
                    f"{self._brokers}: {words(error)}", reason=_REASONS.get(code(error), "send_error")
                ) from error

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        """Counts what became of a message; called by librdkafka within poll and flush."""
        if error is None:
            self._counts["delivered"] += 1
            return
        reason = _REASONS.get(error.code(), "undelivered")
        self._counts["undelivered"] += 1
        self._counts[f"undelivered_{reason}"] += 1
        if self._lost is not None:
            self._lost(reason, events_in(message.value() or b""))

    def stats(self) -> dict[str, int]:
        """Returns counts of delivery reports, `delivered` and `undelivered`, the latter by reason too; and `waiting`, messages that have
        none yet."""
        producer = self._producer
        return {"delivered": 0, "undelivered": 0, **self._counts, "waiting": 0 if producer is None else len(producer)}

    def _flush(self) -> None:
        """Waits until every message was taken or given up, at most until the deadline."""
        if self._producer is None:
            return
        end = self._deadline.until(10.0)
        while len(self._producer) and monotonic() < end and not self._deadline.closed:
            self._producer.flush(_TURN)

    def _release(self) -> None:
        """What is still there when the client ends is given up, and counted as such."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(0.2)

    def after_fork(self) -> None:
        """The child makes a producer of its own: librdkafka's threads stayed with the parent, and so do its messages."""
        if self._producer is not None:
            _parents.append(self._producer)
        was_closed = self._deadline.closed
        self._fresh_state()
        if was_closed:
            self._deadline.close()

    def probe(self) -> Iterator[str | SenderError]:
        """Asks a broker for its topics: what `metlog doctor` tells."""
        settings = {
            key: value
            for key, value in self._settings.items()
            if key.startswith(("bootstrap.", "security.", "sasl.", "ssl."))
        }
        try:
            found = AdminClient({**settings, "logger": logging.getLogger("metlog.kafka")}).list_topics(
                timeout=PROBE_WAIT
            )
        except KafkaException as error:
            yield SenderError(f"{self._brokers}: {words(error)}", "unreachable")
            return
        yield f"{self._brokers} answers: {len(found.brokers)} broker(s)"
        if not self._topic.places and self._topic.text not in found.topics:
            yield f"{self._brokers} has no topic {self._topic.text} yet; it must be made, or the brokers make it at the first message"


_parents: list[object] = []
# What a forked child must neither use nor free: its threads are the parent's.
