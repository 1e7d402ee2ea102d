"""ZeroMQ messages to another listener: a batch counts only when all of it was written to a listener's connection."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from metlog import plugins
from metlog.errors import ConfigError
from metlog.event import Event
from metlog.listener.inputs.zmq import ZmqInput
from metlog.listener.outputs import Rejected, Undelivered
from metlog.listener.outputs.zmq import ZmqOutput
from tests.helpers.ports import free_port
from tests.helpers.sink import FakeSink, batch, numbered
from tests.helpers.waiting import wait_for


@pytest.fixture
def connect() -> Iterator[Callable[..., ZmqOutput]]:
    made: list[ZmqOutput] = []

    def build(**options: Any) -> ZmqOutput:
        made.append(ZmqOutput(**options))
        made[-1].start()
        return made[-1]

    yield build
    for output in made:
        output.close()


@pytest.mark.parametrize("encoder", ["json", "msgpack"])
@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_the_other_listener_gets_the_same_events(connect: Any, encoder: str, kind: str, tmp_path: Path) -> None:
    sink = FakeSink()
    there = ZmqInput(endpoint="tcp://127.0.0.1:*" if kind == "tcp" else f"ipc://{tmp_path}/z.sock")
    there.start(sink)
    try:
        events = [Event(type="login", stream="s1", seq=n + 1, fields={"n": n}, weight=2.5) for n in range(3000)]
        output = connect(endpoint=there.addresses[0], encoder=encoder)
        output.write(batch(*events))
        wait_for(lambda: len(sink.events) == 3000)
        assert sink.events == [msgspec.to_builtins(event) | {"tokens": []} for event in events]
        assert output.stats()["messages"] > 1
        assert output.stats()["undelivered"] == 0
    finally:
        there.stop()


def test_what_nobody_takes_is_held(connect: Any) -> None:
    output = connect(endpoint=f"tcp://127.0.0.1:{free_port()}", timeout=0.1)
    for _ in range(2):
        with pytest.raises(Undelivered, match=r"nobody takes messages within 0\.1 s"):
            output.write(batch(*numbered(3)))
    assert output.stats() == {"messages": 0, "bytes": 0, "undelivered": 2}


def test_a_peer_that_reads_nothing_holds_the_batch(connect: Any) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as puller:
        puller.setsockopt(zmq.RCVHWM, 1)
        puller.setsockopt(zmq.RCVBUF, 4096)
        port = puller.bind_to_random_port("tcp://127.0.0.1")
        output = connect(endpoint=f"tcp://127.0.0.1:{port}", timeout=0.3)
        large = [Event(type="large", payload="x" * 60_000) for _ in range(300)]  # more than the kernel's buffers hold
        with pytest.raises(Undelivered, match=r"not all of the batch could be written within 0\.3 s"):
            output.write(batch(*large))


def test_a_peer_that_dies_in_the_middle_holds_the_batch(connect: Any) -> None:
    context = zmq.Context()
    puller = context.socket(zmq.PULL)
    puller.setsockopt(zmq.RCVHWM, 1)
    puller.setsockopt(zmq.RCVBUF, 4096)
    port = puller.bind_to_random_port("tcp://127.0.0.1")
    output = connect(endpoint=f"tcp://127.0.0.1:{port}", timeout=5.0)
    large = [Event(type="large", payload="x" * 60_000) for _ in range(300)]
    told = puller.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)

    def die() -> None:
        told.recv_multipart()
        time.sleep(0.2)  # the kernel's buffers fill
        puller.disable_monitor()
        context.destroy(linger=0)

    dying = threading.Thread(target=die)
    dying.start()
    with pytest.raises(Undelivered, match="the connection broke before all of the batch was written"):
        output.write(batch(*large))
    dying.join()


@pytest.mark.slow
def test_keys_that_do_not_fit_are_told(connect: Any) -> None:
    server, ours = zmq.curve_keypair(), zmq.curve_keypair()
    there = ZmqInput(endpoint="tcp://127.0.0.1:*", secret_key=server[1].decode(), allow_keys=[ours[0].decode()])
    there.start(FakeSink())
    try:
        options = {"endpoint": there.addresses[0], "server_key": server[0].decode(), "timeout": 1.0}
        with pytest.raises(Undelivered, match=r"nobody takes|handshake failed"):
            connect(**options).write(batch(*numbered(1)))  # a pair of the occasion, which nobody allows
        connect(**options, public_key=ours[0].decode(), secret_key=ours[1].decode()).write(batch(*numbered(1)))
    finally:
        there.stop()


def test_an_event_that_the_receiver_would_not_take_is_rejected(connect: Any) -> None:
    sink = FakeSink()
    there = ZmqInput(endpoint="tcp://127.0.0.1:*", max_message=100_000)
    there.start(sink)
    try:
        output = connect(endpoint=there.addresses[0], max_message=100_000)
        with pytest.raises(Rejected) as refused:
            output.write(batch(numbered(1)[0], Event(type="large", payload="x" * 100_000), numbered(1, 1)[0]))
        assert [reason[:9] for _, reason in refused.value.rejected] == ["too large"]
        wait_for(lambda: len(sink.events) == 2)
    finally:
        there.stop()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"endpoint": "nowhere"}, "endpoint = 'nowhere'"),
        ({"server_key": "short"}, "server_key: wants a CURVE key"),
        ({"max_message": 1000}, "max_message = 1000"),
        ({"timeout": 0}, "timeout = 0"),
        ({"timeout": 90_000}, "86400 or less"),
    ],
)
def test_settings_that_cannot_work_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        plugins.build("output", {"name": "zmq", **options}, "outputs[0]")
