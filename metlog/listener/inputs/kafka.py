"""Input `kafka`: messages of topics, each journaled with its offset; any number of listeners share a consumer group."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from metlog.errors import ConfigError
from metlog.journal.errors import Full
from metlog.journal.offsets import Partition
from metlog.journal.segment import LAST
from metlog.listener.inputs import BaseInput, Sink
from metlog.listener.inputs._heartbeat import Heartbeat
from metlog.listener.ordered import Messages, OrderedSink
from metlog.plugins.conversion import Seconds
from metlog.senders._kafka import RUNTIME, TOPIC, brokers_of, check_settings, code, flat, topic_of, words

__all__ = ["KafkaInput"]

log = logging.getLogger("metlog.listener")

_BATCH: Final = 4000
"""Messages taken at once."""
_TURN: Final = 0.2
"""Seconds that the loop waits for messages."""
_STUCK: Final = 30.0
"""Seconds without a turn of the loop after which it counts as stuck: a broker may take its time."""
_AGAIN: Final = 1.0
"""Seconds until another consumer is tried after one that failed."""
_PAUSE: Final = 0.25
"""Seconds between two tries of a journal that takes nothing."""
_ANSWER: Final = 10.0
"""Seconds that a broker gets to say which topic it has."""
_STEP: Final = 100
"""Milliseconds that the time of a message is rounded up to: messages of one step share a record."""
_LATEST: Final = LAST // 1000 // _STEP * _STEP
"""Milliseconds: the last time that a message may have; a producer that counts in microseconds says later ones."""
_FIXED: Final = ("enable.auto.commit", "enable.auto.offset.store", "group.id", "bootstrap.servers")
"""Settings that are this input's own."""

_Key = tuple[str, int]


class KafkaInput(BaseInput):
    """Consumes topics in a consumer group: start as many listeners as there is work for, up to one a partition.

    host, port, brokers
        A broker, or several as `HOST:PORT`; the others are learnt from it.
    topic, topics
        A topic (in a URL the path, `kafka://broker:9092/events`) or several; one that begins with `^` is a regular expression.
    group
        The consumer group.
    start
        Where a group begins that has no position yet: `earliest` or `latest`.
    assignment
        How partitions are divided: `cooperative-sticky`, `range` or `roundrobin`; all members of a group have the same.
    commit_interval
        Seconds between two commits of the group's position. Only what the journal holds durably is committed.
    settings
        Any other setting of librdkafka by its own name, such as `"security.protocol"`, here or as an option of its own.

    The lake holds each message exactly once, also when a listener was killed and when the group's position was set back. Other
    outputs get some again then.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 9092,
        path: str = "",
        topic: str | None = None,
        topics: list[str] | None = None,
        brokers: list[str] | None = None,
        group: str = "metlog",
        start: str = "earliest",
        assignment: str = "cooperative-sticky",
        commit_interval: Seconds = 1.0,
        settings: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        if topics is not None and (topic is not None or path.strip("/")):
            raise ValueError("topics: give `topic` or `topics`, not both")
        self._topics = topics if topics is not None else [topic_of(path, topic, "metlog")]
        for name in self._topics:
            if not name.startswith("^") and not TOPIC.fullmatch(name):
                raise ValueError(f"topic = {name!r}: wants letters, digits, dot, _ and -, 249 at most")
        if not self._topics:
            raise ValueError("topics = []: wants one topic at least")
        if start not in {"earliest", "latest"}:
            raise ValueError(f"start = {start!r}: wants earliest or latest")
        if not 0.05 <= commit_interval <= 300:
            raise ValueError(f"commit_interval = {commit_interval}: wants 0.05 to 300 seconds")
        if not group:
            raise ValueError("group = '': wants the name of a consumer group")
        given = flat({**(settings or {}), **more})
        for key in _FIXED:
            if key in given:
                raise ValueError(
                    f"settings: {key} is set by this input; use its options (group, brokers, commit_interval)"
                )
        self._brokers = brokers_of(host, port, brokers)
        self._address = f"kafka://{self._brokers.split(',')[0]}/{','.join(self._topics)}"
        self._clients = {**RUNTIME, "bootstrap.servers": self._brokers}
        self._given = given
        self._settings: dict[str, Any] = {
            **self._clients, "auto.offset.reset": start, "partition.assignment.strategy": assignment, **given,
            "group.id": group, "enable.auto.commit": False, "enable.auto.offset.store": False,
        }  # fmt: skip
        check_settings(Consumer, self._settings)
        self._interval = commit_interval
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._heart: Heartbeat | None = None
        self._trouble = ""
        self._idents: dict[str, str] = {}
        self._next: dict[_Key, int] = {}
        """The offset after the last one that was journaled, since the partition was assigned."""
        self._due: dict[_Key, int] = {}
        """Positions that are not committed yet."""
        self._lsn = 0
        self._resume = 0.0
        self._places: dict[str, dict[str, int]] = {}
        self._counts = dict.fromkeys(("frames", "bytes", "commits", "commit_errors", "rebalances", "refused"), 0)

    @property
    def addresses(self) -> list[str]:
        return [self._address] if self._thread is not None else []

    def start(self, sink: Sink) -> None:
        if not isinstance(sink, OrderedSink):
            raise TypeError(f"the input kafka needs the listener's own sink, not {type(sink).__name__}")
        self._sink = sink
        self._consumer = self._subscribed()
        self._thread = threading.Thread(target=self._run, name="metlog-kafka", daemon=True)
        self._heart = Heartbeat(self._thread, self._address, _STUCK)
        self._thread.start()

    def _subscribed(self) -> Consumer:
        logger = logging.getLogger("metlog.kafka")
        try:
            consumer = Consumer(
                {**self._settings, "error_cb": self._error, "on_commit": self._committed, "logger": logger}
            )
            consumer.subscribe(self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        except KafkaException as error:
            raise ConfigError(f"kafka {self._brokers}: {words(error)}") from error
        return consumer

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def stats(self) -> dict[str, int]:
        """`frames`, `bytes` taken; `commits`, `commit_errors` (the position is committed again later), `rebalances`, `refused`: times
        that the journal took nothing; now: `partitions` that are ours, `lag`: messages in them that are not journaled yet."""
        places = self._places
        return {**self._counts, "partitions": len(places), "lag": sum(place["lag"] for place in places.values())}

    def partitions(self) -> dict[str, dict[str, int]]:
        """Of each partition that is ours, as `TOPIC/NUMBER`: `offset` of the next message and `lag` behind the last one."""
        return self._places

    def health(self) -> str:
        if self._heart is None or self._stop.is_set():
            return ""
        return self._heart.health() or self._trouble

    # In the thread, callbacks included: librdkafka calls them from consume() and close().

    def _run(self) -> None:
        while True:
            try:
                self._consume(self._consumer)
            except KafkaException as error:  # a consumer that cannot go on: another one begins where the group is
                self._trouble = f"{self._address}: {words(error)}"
                log.error("%s; joining the group again", self._trouble)
            finally:
                self._consumer.close()
                self._next, self._due, self._places, self._resume = {}, {}, {}, 0.0
            if self._stop.wait(_AGAIN):
                return
            self._consumer = self._subscribed()

    def _consume(self, consumer: Consumer) -> None:
        """Until the listener stops. Raises KafkaException."""
        assert self._heart is not None
        committed = looked = time.monotonic()
        while not self._stop.is_set():
            self._heart.turned = now = time.monotonic()
            if self._resume and now >= self._resume:
                self._resume = 0.0
                consumer.resume(consumer.assignment())
            messages = consumer.consume(_BATCH, _TURN)
            if messages:
                self._take(messages)
            if now - committed >= self._interval:
                committed = now
                self._commit(wait=False)
            if now - looked >= 1.0:
                looked = now
                self._look()
        self._commit(wait=True)

    def _take(self, messages: Sequence[Message]) -> None:
        good: dict[_Key, list[Message]] = {}
        for message in messages:
            if (error := message.error()) is not None:
                self._error(error)
                continue
            good.setdefault((message.topic() or "", message.partition() or 0), []).append(message)
        if not good:
            return
        self._trouble = ""
        try:
            batch = [part for key, found in good.items() for part in self._runs(key, found)]
            self._lsn = self._sink.messages(batch) or self._lsn
        except (Full, OSError, KafkaException) as error:
            self._put_back(good, error)
            return
        for key, found in good.items():
            self._next[key] = self._due[key] = _offset(found[-1]) + 1
            self._counts["frames"] += len(found)
            self._counts["bytes"] += sum(len(message.value() or b"") for message in found)

    def _runs(self, key: _Key, messages: Sequence[Message]) -> Iterator[Messages]:
        """The messages of a partition cut where offsets do not follow on each other, and where the time does not hold."""
        first = _offset(messages[0])
        begin = self._next.get(key, first)
        if begin > first:  # a topic of this name that was made anew: its numbers begin again
            self._idents.pop(key[0], None)
            begin = first
        partition = Partition(key[0], self._ident(key[0]), key[1])
        frames: list[bytes] = []
        moment = 0
        for message in messages:
            at, offset = _moment(message), _offset(message)
            if frames and (at != moment or offset != first + len(frames)):
                yield Messages(partition, begin, first, frames, moment * 1000)
                begin = first + len(frames)
                frames = []
            if not frames:
                first, moment = offset, at
            frames.append(message.value() or b"")
        if frames:
            yield Messages(partition, begin, first, frames, moment * 1000)

    def _ident(self, topic: str) -> str:
        """What tells the topic from another of its name: from the topic's id, or from the cluster's where topics have none. Raises
        KafkaException or OSError when the broker does not say."""
        if topic not in self._idents:
            name = _topic_id({**self._clients, **_of_clients(self._given)}, topic)
            self._idents[topic] = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
        return self._idents[topic]

    def _put_back(self, good: dict[_Key, list[Message]], error: Exception) -> None:
        """Nothing of these was journaled: they are fetched again when it takes events."""
        self._counts["refused"] += 1
        self._trouble = f"{self._address} waits: {error}"
        for key, found in good.items():
            self._consumer.seek(TopicPartition(key[0], key[1], _offset(found[0])))
        self._consumer.pause(self._consumer.assignment())
        self._resume = time.monotonic() + _PAUSE

    def _commit(self, *, wait: bool) -> None:
        """Commits what the journal holds durably."""
        due = self._due
        if not due:
            return
        try:
            self._sink.wait(self._lsn)
        except Full as error:  # not durable: another listener, or this one, will read it again
            self._trouble = f"{self._address}: {error}"
            return
        offsets = [TopicPartition(topic, number, offset) for (topic, number), offset in due.items()]
        self._due = {}
        self._counts["commits"] += 1
        try:
            self._consumer.commit(offsets=offsets, asynchronous=not wait)
        except (
            KafkaException
        ) as error:  # while the group is being divided anew, say; what was not committed is dropped by the lake
            self._counts["commit_errors"] += 1
            log.info("%s: cannot commit now: %s", self._address, words(error))

    def _committed(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        if error is not None:
            self._counts["commit_errors"] += 1
            log.info("%s: a commit failed: %s", self._address, error.str())

    def _assigned(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._counts["rebalances"] += 1
        self._trouble = ""
        for place in partitions:
            self._next.pop((place.topic, place.partition), None)  # others may have read on from where it was left
            self._idents.pop(place.topic, None)

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit(wait=True)
        self._forget(partitions)

    def _lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._forget(partitions)

    def _forget(self, partitions: list[TopicPartition]) -> None:
        for place in partitions:
            self._next.pop((place.topic, place.partition), None)
            self._due.pop((place.topic, place.partition), None)
        self._look()

    def _look(self) -> None:
        """Notes where each partition is, from what the last fetches said."""
        places = {}
        for place in self._consumer.assignment():
            try:
                bounds = self._consumer.get_watermark_offsets(place, cached=True)
            except KafkaException:  # not fetched from yet
                continue
            if bounds is None or bounds[1] < 0:
                continue
            low, high = max(bounds[0], 0), bounds[1]
            offset = self._next.get((place.topic, place.partition))
            if offset is None:
                known = self._consumer.position([place])[0].offset
                offset = known if known >= 0 else low
            places[f"{place.topic}/{place.partition}"] = {"offset": offset, "lag": max(0, high - offset)}
        self._places = places

    def _error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            return
        if error.code() in {KafkaError._ALL_BROKERS_DOWN, KafkaError.UNKNOWN_TOPIC_OR_PART} or error.fatal():
            self._trouble = f"{self._address}: {error.str()}"
        log.warning("%s: %s", self._address, error.str())


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None
    return offset


def _moment(message: Message) -> int:
    """The message's own time in milliseconds, rounded up to a step, `_LATEST` at most; now, of brokers that have none (older than
    0.10)."""
    kind, moment = message.timestamp()
    if kind == 0 or moment <= 0:
        moment = int(time.time() * 1000)
    return min(-(-moment // _STEP) * _STEP, _LATEST)


def _of_clients(settings: dict[str, Any]) -> dict[str, Any]:
    """Of a consumer's settings those that every client has: how to connect."""
    prefixes = ("security.", "sasl.", "ssl.", "enable.ssl.", "socket.", "broker.", "client.", "debug", "https.")
    return {key: value for key, value in settings.items() if key.startswith(prefixes)}


def _topic_id(settings: dict[str, Any], topic: str) -> str:
    admin = AdminClient(settings)
    unsupported = {KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE}
    try:
        answer = admin.describe_topics(TopicCollection([topic]), request_timeout=_ANSWER)
        found = str(answer[topic].result(_ANSWER + 1).topic_id or "")
        if found.strip("A=0-"):  # a topic without an id has one of zeros
            return found
    except KafkaException as error:
        if code(error) not in unsupported:
            raise
    except TimeoutError as error:
        raise OSError(f"no broker says which topic {topic!r} is") from error
    return f"{admin.list_topics(timeout=_ANSWER).cluster_id}/{topic}"
