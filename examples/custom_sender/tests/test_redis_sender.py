import json
import uuid

import pytest
import redis
from metlog_redis import RedisSender

import metlog
from metlog.testing import SenderConformance


class TestRedisSender(SenderConformance):
    transport = "tcp"

    @pytest.fixture(autouse=True)
    def server(self, redis_port):
        self.port, self.stream = redis_port, uuid.uuid4().hex

    def make_sender(self):
        return RedisSender(port=self.port, stream=self.stream)

    def received(self, sender):
        return [entry[b"frame"] for _, entry in redis.Redis(port=self.port).xrange(self.stream)]

    def make_sender_to(self, host, port):
        return RedisSender(host=host, port=port, timeout=1.0)


def test_by_name_and_url(redis_port):
    with metlog.MetlogClient.from_config(f"redis://127.0.0.1:{redis_port}?stream=by-name", logger="shop") as client:
        client.log("order", fields={"user": "u1"})
    frames = [entry[b"frame"] for _, entry in redis.Redis(port=redis_port).xrange("by-name")]
    events = [json.loads(line) for frame in frames for line in frame.splitlines()]
    assert [(event["type"], event["logger"]) for event in events] == [("order", "shop"), ("metlog.end", "shop")]
    assert client.stats().sent == 1


def test_the_stream_keeps_about_the_last(redis_port):
    sender = RedisSender(port=redis_port, stream="short", maxlen=100)
    for number in range(1000):
        sender.send(b'{"type":"a","seq":%d}\n' % number)
    server = redis.Redis(port=redis_port)
    assert 100 <= server.xlen("short") < 300
    assert server.xrevrange("short", count=1)[0][1] == {b"frame": b'{"type":"a","seq":999}\n'}
    sender.close()


def test_what_the_server_refuses_is_counted_with_the_reason(redis_port):
    redis.Redis(port=redis_port).set("no-stream", "text")
    client = metlog.MetlogClient.from_config(sender={"name": "redis", "port": redis_port, "stream": "no-stream"})
    client.log("lost")
    client.flush(5)
    assert client.stats().dropped == {"redis_error": 1}
    client.close()


def test_wrong_options_are_told_by_key_before_anything_is_opened():
    with pytest.raises(metlog.ConfigError) as told:
        metlog.MetlogClient.from_config("redis://127.0.0.1?maxlen=0")
    assert str(told.value) == "sender.maxlen = 0: wants 1 or more entries"
    with pytest.raises(metlog.ConfigError, match=r"sender\.port = 'x'"):
        metlog.MetlogClient.from_config({"sender": {"name": "redis", "port": "x"}})
