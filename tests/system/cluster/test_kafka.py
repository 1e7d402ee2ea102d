"""Sender, output and input `kafka` against a real broker, and against librdkafka's own mock for what a broker does not do on demand."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

import metlog
from metlog.errors import ConfigError
from metlog.lake.query import Lake
from metlog.listener.config import from_mapping
from tests.system.cluster.servers import Listener, make_topics, poll, set_back

CONSUMER = '"session.timeout.ms" = 3000\n"heartbeat.interval.ms" = 500\n'


def consumed(address: str, topic: str, partitions: int, wanted: int) -> list[tuple[str, bytes | None, bytes]]:
    """Messages of a topic as topic, key and value, read without a group."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "reader", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        found: list[tuple[str, bytes | None, bytes]] = []
        deadline = time.monotonic() + 20
        while len(found) < wanted and time.monotonic() < deadline:
            for message in consumer.consume(500, 0.2):
                assert message.error() is None
                found.append((str(message.topic()), message.key(), message.value() or b""))
        return found
    finally:
        consumer.close()


def settings(address: str, topic: str, group: str, **more: str) -> str:
    extra = "".join(f"{key} = {value}\n" for key, value in more.items())
    return f"""
[journal]
segment_age = 1
[[inputs]]
name = "kafka"
brokers = ["{address}"]
topic = "{topic}"
group = "{group}"
commit_interval = 0.2
{CONSUMER}{extra}
"""


def test_a_client_sends_frames_under_the_streams_key(kafka: str) -> None:
    make_topics(kafka, {"sent-shop": 3})
    client = metlog.MetlogClient.from_config(
        {"logger": "shop", "sender": {"name": "kafka", "brokers": [kafka], "topic": "sent-{logger}"}}
    )
    for number in range(500):
        client.metlog("t", payload=str(number))
    client.close()
    stats = client.stats()
    assert (stats.accepted, stats.sent, dict(stats.dropped)) == (500, 500, {})
    frames = consumed(kafka, "sent-shop", 3, 2)
    events = [json.loads(line) for _, _, frame in frames for line in frame.splitlines()]
    assert [event["payload"] for event in events if event["type"] == "t"] == [str(number) for number in range(500)]
    assert {key for _, key, _ in frames} == {events[0]["stream"].encode()}


def test_a_caller_does_not_wait_for_brokers_that_are_not_there_and_the_loss_is_counted() -> None:
    client = metlog.MetlogClient.from_config(
        {"logger": "shop", "sender": {"name": "kafka", "port": 1, "give_up": 1, "linger": 0}}
    )
    began = time.monotonic()
    for _ in range(1000):
        client.log("t")
    assert time.monotonic() - began < 0.5
    client.flush(0.1)
    poll(lambda: client.flush(0.5) and client.stats().dropped.get("timeout", 0) == 1000, 15, "delivery reports came")
    assert client.stats().sent == 0
    client.close()


def test_reasons_of_delivery_reports_are_those_of_the_brokers() -> None:
    mock = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock"})
    (broker,) = mock.list_topics(timeout=10).brokers.values()
    sender = {
        "name": "kafka",
        "brokers": [f"{broker.host}:{broker.port}"],
        "topic": "t",
        "max_frame": 2_000_000,
        "linger": 0,
    }
    client = metlog.MetlogClient.from_config(
        {"logger": "shop", "sender": {**sender, "message.max.bytes": 200_000, "compression": "none"}}
    )
    client.log("t", "x" * 150_000)
    assert client.flush(5)
    client.log("t", "x" * 300_000)  # librdkafka refuses it at once, as brokers would
    client.flush(5)
    assert (client.stats().sent, dict(client.stats().dropped)) == (1, {"too_large": 1})
    client.close()


@pytest.mark.parametrize(
    ("sender", "told"),
    [
        ({"acks": "1"}, "`acks` must be set to `all` when `enable.idempotence` is true"),
        ({"compresion": "zstd"}, 'No such configuration property: "compresion"'),
        ({"security": {"protocol": "tls"}}, 'Invalid value "tls" for configuration property "security.protocol"'),
        ({"ssl.ca.location": "/nowhere", "security.protocol": "ssl"}, "ssl.ca.location"),
        ({"topic": "a b"}, "wants letters, digits"),
        ({"topic": "{payload}"}, "there is no {payload}"),
        ({"linger": -1}, "linger = -1"),
    ],
)
def test_settings_are_checked_when_they_are_read(sender: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        metlog.MetlogClient.from_config({"logger": "shop", "sender": {"name": "kafka", **sender}})
    assert told in str(raised.value)
    assert str(raised.value).startswith("sender")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"enable.auto.commit": True}, "enable.auto.commit is set by this input"),
        ({"assignment": "best"}, "partition.assignment.strategy"),
        ({"start": "now"}, "wants earliest or latest"),
        ({"topics": []}, "wants one topic at least"),
        ({"topic": "a", "topics": ["b"]}, "not both"),
        ({"commit_interval": 0}, "commit_interval = 0"),
        ({"port": 0}, "port = 0"),
    ],
)
def test_an_inputs_settings_are_checked_with_all_others(given: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        from_mapping({"inputs": [{"name": "kafka", **given}], "listener": {"streams": 0}})
    assert told in str(raised.value)
    assert "listener.streams" in str(raised.value)


def test_from_client_to_sql_and_again_from_the_beginning(kafka: str, tmp_path: Path) -> None:
    make_topics(kafka, {"whole": 4})
    listener = Listener(tmp_path, settings(kafka, "whole", "whole"), "--data", str(tmp_path / "data"))
    listener.start()
    try:
        client = metlog.MetlogClient.from_config(
            {"logger": "shop", "sender": {"name": "kafka", "brokers": [kafka], "topic": "whole"}}
        )
        for number in range(2000):
            client.metlog("t", fields={"n": number})
        client.close()
        producer = Producer({"bootstrap.servers": kafka})
        for payload in (
            b"no event",
            b'{"type":"t","payload":"after"}',
            b'{"payload":"no type"}',
            b'{"type":"t"}\n{"type":"t"}\n',
        ):
            producer.produce("whole", payload, partition=1)
        producer.flush(10)
        sql = "SELECT count(*) FILTER (logger = 'shop' AND type = 't'), count(*) FILTER (logger = ''), count(*) FROM events"

        def rows() -> tuple[int, ...]:
            with Lake(tmp_path / "data") as lake:
                return tuple(lake.query(sql).rows[0])

        poll(lambda: rows()[:2] == (2000, 3), 30, "every event can be asked for, from the journal or from files")
        before = rows()
        poll(
            lambda: (
                listener.status()["inputs"]["kafka"]["lag"] == 0
                and len(listener.status()["partitions"].get("kafka", ())) == 4
            ),  # each is told once its position is known
            10,
            "the lag is told",
        )
        assert set(listener.status()["partitions"]["kafka"]) == {f"whole/{number}" for number in range(4)}
        assert listener.status()["dead_letters"] == {"neither JSON lines nor MessagePack": 1, "not an event": 1}
        assert listener.stop() == 0
        assert rows() == before

        set_back(kafka, "whole", {"whole": 4})
        listener.start()
        poll(lambda: listener.status()["inputs"]["kafka"]["bytes"] > 0, 20, "all is read again")
        for _ in range(10):  # while it lies in the journal, and when the journal went to files
            assert rows() == before
            time.sleep(0.2)
        poll(lambda: listener.status()["inputs"]["kafka"]["lag"] == 0, 10, "all is read again to the end")
        assert listener.stop() == 0
        assert rows() == before
        with Lake(tmp_path / "data") as lake:
            assert {row[0].rpartition("/")[0] for row in lake.query("SELECT DISTINCT source FROM events").rows} == {
                "kafka://whole"
            }
    finally:
        if listener.process is not None and listener.process.poll() is None:
            listener.kill()


def test_a_listener_hands_on_to_kafka_and_the_next_one_takes_it(kafka: str, tmp_path: Path) -> None:
    make_topics(kafka, {"chain": 2})
    first = f"""
[[inputs]]
name = "udp"
port = 0
[[outputs]]
name = "kafka"
brokers = ["{kafka}"]
topic = "chain"
"""
    one = Listener(tmp_path / "one", first, "--data", str(tmp_path / "one" / "data"))
    other = Listener(tmp_path / "other", settings(kafka, "chain", "chain"), "--data", str(tmp_path / "other" / "data"))
    one.start()
    other.start()
    try:
        client = metlog.MetlogClient.from_config({"logger": "shop", "sender": one.status()["addresses"][0]})
        for _ in range(1000):
            client.metlog("t")
        client.close()

        def whole() -> bool:
            with Lake(tmp_path / "other" / "data") as lake:
                found = lake.query("SELECT received, distinct_received, lost, ended FROM delivery").rows
                return [tuple(row) for row in found] == [(1001, 1001, 0, True)]

        poll(whole, 30, "every event came, once, in the second listener's lake")
        poll(
            lambda: one.status()["outputs"]["kafka"].get("delivered") == 1001, 10, "delivery reports are in the status"
        )
        assert one.stop() == other.stop() == 0
    finally:
        for item in (one, other):
            if item.process is not None and item.process.poll() is None:
                item.kill()


def test_a_listener_starts_without_brokers_and_says_so(tmp_path: Path) -> None:
    listener = Listener(tmp_path, settings("127.0.0.1:1", "none", "none"), "--data", str(tmp_path / "data"))
    listener.start()
    try:
        poll(lambda: any("brokers" in line for line in listener.status().get("health", [])), 20, "its health says it")
        assert listener.stop() == 0
    finally:
        if listener.process is not None and listener.process.poll() is None:
            listener.kill()


def test_a_forked_child_sends_through_a_producer_of_its_own(kafka: str) -> None:
    make_topics(kafka, {"forked": 1})
    client = metlog.MetlogClient.from_config(
        {"logger": "shop", "sender": {"name": "kafka", "brokers": [kafka], "topic": "forked"}}
    )
    client.metlog("parent")
    client.flush(10)
    child = os.fork()
    if child == 0:
        client.metlog("child")
        client.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    client.metlog("parent")
    client.close()
    events = [
        json.loads(line)["type"] for _, _, frame in consumed(kafka, "forked", 1, 5) for line in frame.splitlines()
    ]
    assert sorted(events) == ["child", "metlog.end", "metlog.end", "parent", "parent"]
