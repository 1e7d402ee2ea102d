"""PULL and SUB, CURVE with right and wrong keys, and messages that are too large."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers.ports import port_of

zmq = pytest.importorskip("zmq", reason="needs pyzmq: pip install metlog[zmq]")

from metlog import plugins  # noqa: E402
from metlog.errors import ConfigError  # noqa: E402
from metlog.listener.inputs import zmq as zmq_input  # noqa: E402
from metlog.listener.inputs.zmq import ZmqInput  # noqa: E402
from metlog.senders.zmq import ZmqSender  # noqa: E402
from tests.helpers.sink import FakeSink  # noqa: E402 - after the check for pyzmq
from tests.helpers.waiting import wait_for  # noqa: E402 - after the check for pyzmq

ONE = b'{"type":"a"}\n'
SERVER, CLIENT, STRANGER = (tuple(key.decode() for key in zmq.curve_keypair()) for _ in range(3))


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
def start(sink: FakeSink) -> Iterator[Callable[..., ZmqInput]]:
    made: list[ZmqInput] = []

    def build(endpoint: str = "tcp://127.0.0.1:*", **options: Any) -> ZmqInput:
        item = ZmqInput(endpoint=endpoint, **options)
        item.start(sink)
        made.append(item)
        return item

    yield build
    for item in made:
        item.stop()


@pytest.fixture
def send() -> Iterator[Callable[..., ZmqSender]]:
    made: list[ZmqSender] = []

    def build(endpoint: str, **options: Any) -> ZmqSender:
        made.append(ZmqSender(endpoint=endpoint, linger=0, **options))
        made[-1].open()
        return made[-1]

    yield build
    for sender in made:
        sender.close()


def test_pushed_frames_arrive(start: Any, send: Any, sink: FakeSink) -> None:
    item = start()
    sender = send(item.addresses[0])
    for _ in range(100):
        sender.send(ONE)
    wait_for(lambda: len(sink.events) == 100)
    assert set(sink.sources) == {"zmq://127.0.0.1"}
    assert item.stats()["frames"] == 100
    assert item.stats()["bytes"] == 100 * len(ONE)


def test_several_senders_and_a_bad_frame(start: Any, send: Any, sink: FakeSink) -> None:
    item = start()
    senders = [send(item.addresses[0]) for _ in range(5)]
    for sender in senders:
        sender.send(ONE)
    senders[0].send(b"nonsense")
    wait_for(lambda: len(sink.events) == 5 and len(sink.dead) == 1)


def unread(port: int) -> int:
    """Bytes that the kernel holds for the connections of a port, as /proc/net/tcp tells."""
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(f":{port:04X}") and row[3] != "0A")


def test_stop_takes_what_has_come() -> None:
    class Slow(FakeSink):
        def frames(self, *args: Any) -> None:
            assert self.gate.wait(20)
            super().frames(*args)

    sink = Slow()
    sink.gate.clear()
    item = ZmqInput(endpoint="tcp://127.0.0.1:*")
    item.start(sink)
    sender = ZmqSender(endpoint=item.addresses[0], linger=5)
    for _ in range(500):
        sender.send(ONE)
    sender.close()  # all is out
    wait_for(lambda: unread(port_of(item.addresses[0])) == 0)  # and in ZeroMQ's hands
    stopper = threading.Thread(target=item.stop)
    stopper.start()
    sink.gate.set()
    stopper.join(10)
    item.stop()
    assert len(sink.events) == item.stats()["frames"] == 500


def test_stop_ends_while_messages_keep_coming(
    start: Any, send: Any, sink: FakeSink, monkeypatch: Any, caplog: Any
) -> None:
    monkeypatch.setattr(zmq_input, "_MOST", 0.3)
    item = start()
    sender, over = send(item.addresses[0]), threading.Event()

    def keep_sending() -> None:
        while not over.wait(0.01):
            sender.send(ONE)

    traffic, stopper = threading.Thread(target=keep_sending), threading.Thread(target=item.stop)
    traffic.start()
    try:
        wait_for(lambda: sink.events)
        stopper.start()
        stopper.join(10)
        assert not stopper.is_alive()
    finally:
        over.set()
        traffic.join()
        stopper.join()
    assert "ends while messages keep coming" in caplog.text


def test_a_subscriber_takes_its_topics_with_and_without_a_part_of_their_own(
    start: Any, send: Any, sink: FakeSink
) -> None:
    publisher = send("tcp://127.0.0.1:*", pattern="pub", bind=True)
    endpoint = publisher._socket.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\0")
    start(endpoint, pattern="sub", bind=False, topics=["web", '{"type":"a"'])

    def publish() -> bool:
        publisher._socket.send_multipart([b"web.1", b'{"type":"parts"}'])
        publisher._socket.send_multipart([b"other", b'{"type":"unwanted"}'])
        publisher.send(ONE)
        publisher.send(b'{"type":"b"}')
        return {event["type"] for event in sink.events} == {"parts", "a"}

    wait_for(publish)  # a subscriber needs a moment to be known
    assert sink.dead == []


def test_messages_of_too_many_parts_are_dead_lettered(start: Any, sink: FakeSink) -> None:
    item = start()
    with zmq.Context() as context, context.socket(zmq.PUSH) as raw:
        raw.linger = 5000
        raw.connect(item.addresses[0])
        raw.send_multipart([b"x", ONE])
        raw.send(ONE)
        wait_for(lambda: len(sink.events) == 1 and len(sink.dead) == 1)
    assert sink.dead[0][2] == "zmq message of too many parts: 2"
    assert item.stats()["rejected"] == 1


def test_a_message_over_the_limit_does_not_arrive_and_others_do(start: Any, send: Any, sink: FakeSink) -> None:
    item = start(max_message=1000)
    send(item.addresses[0]).send(b'{"type":"' + b"x" * 2000 + b'"}')
    fine = send(item.addresses[0])
    fine.send(ONE)
    wait_for(lambda: len(sink.events) == 1)
    assert item.stats()["frames"] == 1


def test_curve_takes_listed_keys_only(start: Any, send: Any, sink: FakeSink, caplog: Any) -> None:
    item = start(secret_key=SERVER[1], allow_keys=[CLIENT[0]])
    endpoint = item.addresses[0]
    stranger = send(endpoint, server_key=SERVER[0], public_key=STRANGER[0], secret_key=STRANGER[1])
    stranger.send(b'{"type":"stranger"}')
    wait_for(lambda: item.stats()["refused_keys"] == 1)
    plain = send(endpoint)
    plain.send(b'{"type":"plain"}')
    wait_for(lambda: item.stats()["handshakes_failed"] >= 1)
    before = item.stats()["handshakes_failed"]
    mistaken = send(endpoint, server_key=STRANGER[0], public_key=CLIENT[0], secret_key=CLIENT[1])
    mistaken.send(b'{"type":"mistaken"}')
    wait_for(lambda: item.stats()["handshakes_failed"] > before)
    friend = send(endpoint, server_key=SERVER[0], public_key=CLIENT[0], secret_key=CLIENT[1])
    friend.send(b'{"type":"friend"}')
    wait_for(lambda: len(sink.events) == 1)
    assert [event["type"] for event in sink.events] == ["friend"]
    assert STRANGER[0] in caplog.text
    assert SERVER[1] not in caplog.text


def test_curve_with_a_star_takes_every_key_but_nothing_plain(start: Any, send: Any, sink: FakeSink) -> None:
    item = start(secret_key=SERVER[1], allow_keys=["*"])
    send(item.addresses[0], server_key=SERVER[0]).send(ONE)
    send(item.addresses[0]).send(ONE)
    wait_for(lambda: len(sink.events) == 1 and item.stats()["handshakes_failed"])
    assert len(sink.events) == 1


def test_a_subscriber_is_curves_client(start: Any, send: Any, sink: FakeSink) -> None:
    publisher = send("tcp://127.0.0.1:*", pattern="pub", bind=True, secret_key=SERVER[1])
    endpoint = publisher._socket.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\0")
    start(endpoint, pattern="sub", bind=False, server_key=SERVER[0])
    wait_for(lambda: (publisher.send(ONE), len(sink.events))[1])


def test_ipc_and_a_full_endpoint(start: Any, send: Any, sink: FakeSink, tmp_path: Any) -> None:
    item = start(f"ipc://{tmp_path}/socket")
    send(item.addresses[0]).send(ONE)
    wait_for(lambda: len(sink.events) == 1)
    assert sink.sources == ["zmq://local"]
    taken = start().addresses[0]
    with pytest.raises(OSError, match="--zmq ENDPOINT"):
        start(taken)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pattern": "push"}, "pull, sub"),
        ({"topics": ["a"]}, "topics"),
        ({"endpoint": "localhost"}, "endpoint = 'localhost'"),
        ({"secret_key": SERVER[1]}, "allow_keys"),
        ({"allow_keys": [CLIENT[0]]}, "secret_key"),
        ({"secret_key": "x", "allow_keys": ["*"]}, "secret_key: wants a CURVE key"),
        ({"secret_key": SERVER[1], "allow_keys": ["nokey"]}, "allow_keys: wants a CURVE key"),
        ({"server_key": SERVER[0], "allow_keys": [CLIENT[0]]}, "allow_keys"),
        ({"server_key": SERVER[0], "secret_key": CLIENT[1]}, "public_key"),
        ({"hwm": 0}, "hwm = 0"),
    ],
)
def test_settings_that_cannot_work_are_named_and_no_secret_is_shown(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plugins.build("input", {"name": "zmq", **options}, "inputs[0]")
    assert words in str(caught.value)
    assert SERVER[1] not in str(caught.value)
