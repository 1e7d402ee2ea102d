from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

zmq = pytest.importorskip("zmq", reason="needs pyzmq")

from metlog import MetlogClient, plugins  # noqa: E402 - after the check that zmq is there
from metlog.errors import ConfigError, SenderError  # noqa: E402
from metlog.senders.zmq import ZmqSender  # noqa: E402
from tests.helpers.ports import free_port  # noqa: E402
from tests.helpers.waiting import wait_for  # noqa: E402

# A listener in a process of its own: prints its port (or `ready`), then each message as a line, until one says END.
LISTENER = """
import os, sys, zmq
kind, where, secret = sys.argv[1:4]
context = zmq.Context()
socket = context.socket(zmq.PULL if kind == "push" else zmq.SUB)
if kind == "pub":
    socket.setsockopt(zmq.SUBSCRIBE, b"")
if secret:
    socket.curve_secretkey = secret.encode()
    socket.curve_server = True
if where == "bind":
    print(socket.bind_to_random_port("tcp://127.0.0.1"), flush=True)
else:
    socket.connect(where)
    print("ready", flush=True)
poller = zmq.Poller()
poller.register(socket, zmq.POLLIN)
while poller.poll(float(os.environ.get("SILENCE", "20")) * 1000):
    message = socket.recv()
    print(message.decode(), flush=True)
    if message == b"END":
        break
socket.close(0)
context.term()
"""


class Listener:
    def __init__(self, kind, where="bind", secret="", silence=20.0):
        self.process = subprocess.Popen(
            [sys.executable, "-c", LISTENER, kind, where, secret],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "SILENCE": str(silence)},
        )  # fmt: skip

    def __enter__(self):
        self.port = self.process.stdout.readline().strip()
        return self

    def __exit__(self, *_):
        self.process.stdout.close()
        self.process.kill()
        self.process.wait(10)

    def line(self):
        return self.process.stdout.readline().strip()

    def rest(self):
        return self.process.stdout.read().split()


@pytest.mark.process
def test_push_to_another_process():
    with Listener("push") as listener:
        sender = plugins.build("sender", f"zmq:?endpoint=tcp://127.0.0.1:{listener.port}&pattern=push", "sender")
        for number in range(100):
            sender.send(b"%d" % number)
        sender.send(b"END")
        sender.close()
        assert listener.rest() == [*map(str, range(100)), "END"]


@pytest.mark.process
@pytest.mark.parametrize("bind", [False, True])
def test_pub_to_another_process(bind, tmp_path):
    endpoint = f"ipc://{tmp_path}/s"
    sender = ZmqSender(endpoint=endpoint, pattern="pub", bind=True) if bind else None
    with Listener("pub", endpoint if bind else "bind") as listener:
        sender = sender or ZmqSender(endpoint=f"tcp://127.0.0.1:{listener.port}", pattern="pub")
        _until_heard(sender, listener)
        for number in range(100):
            sender.send(b"%d" % number)
        sender.send(b"END")
        sender.close()
        assert [word for word in listener.rest() if word != "hello"] == [*map(str, range(100)), "END"]


def _until_heard(sender, listener):
    """A subscription takes a moment to arrive: says hello until it is heard."""
    heard = threading.Event()
    thread = threading.Thread(target=lambda: (listener.line(), heard.set()))
    thread.start()
    while not heard.wait(0.01):
        sender.send(b"hello")
    thread.join(5)


@pytest.mark.process
def test_curve_with_the_right_key():
    public, secret = (key.decode() for key in zmq.curve_keypair())
    own_public, own_secret = (key.decode() for key in zmq.curve_keypair())
    with Listener("push", secret=secret) as listener:
        endpoint = f"tcp://127.0.0.1:{listener.port}"
        anonymous = ZmqSender(endpoint=endpoint, server_key=public)
        anonymous.send(b"anonymous")
        assert listener.line() == "anonymous"
        anonymous.close()
        known = ZmqSender(endpoint=endpoint, server_key=public, public_key=own_public, secret_key=own_secret)
        known.send(b"END")
        known.close()
        assert listener.rest() == ["END"]


@pytest.mark.process
@pytest.mark.parametrize("key", ["wrong", "none"])
def test_curve_without_the_right_key_nothing_arrives_and_nothing_blocks(key):
    _, secret = (key.decode() for key in zmq.curve_keypair())
    wrong = zmq.curve_keypair()[0].decode() if key == "wrong" else None
    with Listener("push", secret=secret, silence=0.7) as listener:
        sender = ZmqSender(endpoint=f"tcp://127.0.0.1:{listener.port}", server_key=wrong, hwm=10, linger=0.3)
        reasons = []
        begun = time.monotonic()
        for _ in range(50):
            try:
                sender.send(b"secret")
            except SenderError as error:
                reasons.append(error.reason)
        assert listener.rest() == []  # it gave up after its silence
        sender.close()
        assert time.monotonic() - begun < 10
        assert set(reasons) <= {"full"}


def test_the_high_water_mark_is_said_and_does_not_wait():
    sender = ZmqSender(endpoint="tcp://127.0.0.1:1", hwm=5, linger=0)
    begun = time.monotonic()
    with pytest.raises(SenderError, match="messages wait already") as caught:  # noqa: PT012 - ZeroMQ rounds the mark
        for _ in range(100):
            sender.send(b"x")
    assert caught.value.reason == "full"
    assert time.monotonic() - begun < 1
    sender.close()


def test_close_keeps_to_linger_and_to_the_deadline():
    for linger, deadline, most in [(0.2, None, 1), (30, 0.2, 1)]:
        sender = ZmqSender(endpoint="tcp://127.0.0.1:1", linger=linger)
        sender.send(b"x")
        if deadline is not None:
            sender.deadline(deadline)
        begun = time.monotonic()
        sender.close()
        assert 0.1 < time.monotonic() - begun < most


@pytest.mark.process
def test_a_forked_child_has_a_context_of_its_own_and_both_go_on():
    with Listener("push") as listener:
        sender = ZmqSender(endpoint=f"tcp://127.0.0.1:{listener.port}")
        sender.send(b"parent1")
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                sender.after_fork()
                sender.send(b"child")
                sender.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        sender.send(b"parent2")
        lines = [listener.line() for _ in range(3)]
        assert sorted(lines) == ["child", "parent1", "parent2"]
        sender.close()


def test_a_forked_child_cannot_share_a_bound_endpoint(monkeypatch, tmp_path):
    sender = ZmqSender(endpoint=f"ipc://{tmp_path}/s", bind=True, linger=0)
    real = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: real + 1)
    sender.after_fork()
    with pytest.raises(SenderError, match="bound by the process that forked this one"):
        sender.send(b"x")
    monkeypatch.undo()
    sender.close()


def test_nothing_after_close_and_close_twice():
    sender = ZmqSender(linger=0)
    sender.close()
    sender.close()
    with pytest.raises(SenderError) as caught:
        sender.send(b"x")
    assert caught.value.reason == "closed"


def test_faults_name_key_value_and_remedy_and_never_a_secret():
    public, secret = (key.decode() for key in zmq.curve_keypair())
    for options, words in [
        ({"pattern": "req"}, "pattern = 'req': wants one of push, pub"),
        ({"hwm": 0}, "hwm = 0: wants"),
        ({"linger": -1}, "linger = -1: wants"),
        ({"endpoint": "nonsense"}, "endpoint = 'nonsense': .*wants an endpoint such as tcp://"),
        ({"server_key": "short"}, "server_key: wants a CURVE key, 40 characters"),
        ({"server_key": public, "public_key": public}, "public_key, secret_key: one is of no use without the other"),
        ({"public_key": public, "secret_key": secret}, "server_key: needed too"),
        ({"bind": True, "server_key": public}, "server_key: with bind = true we are the server"),
    ]:
        with pytest.raises(ConfigError, match=words) as caught:
            plugins.build("sender", {"name": "zmq", **options}, "sender")
        assert secret not in str(caught.value)


class TestNoListener:
    """What still waits for a listener at the end did not leave, and is not told as sent."""

    LINES = b'{"type":"a"}\n{"type":"b"}\n'

    @staticmethod
    def lost_by(sender):
        losses = []
        sender.on_loss(lambda reason, events: losses.append((reason, events)))
        return losses

    def test_the_events_count_as_dropped(self):
        sender = ZmqSender(endpoint=f"tcp://127.0.0.1:{free_port()}", linger=0.05)
        losses = self.lost_by(sender)
        sender.send(self.LINES)
        sender.send(self.LINES)
        sender.close()
        sender.close()
        assert losses == [("unreachable", 4)]

    def test_a_listener_that_comes_while_close_waits_gets_them(self):
        context = zmq.Context()
        late = context.socket(zmq.PULL)
        sender = ZmqSender(endpoint=f"tcp://127.0.0.1:{free_port()}", linger=30)
        losses = self.lost_by(sender)
        try:
            sender.send(self.LINES)
            closing = threading.Thread(target=sender.close)
            closing.start()
            late.bind(sender.endpoint)
            assert late.poll(30_000)
            assert late.recv() == self.LINES
            closing.join(30)
            assert not closing.is_alive()
            assert losses == []
        finally:
            late.close(0)
            context.term()

    def test_of_a_listener_that_went_away_what_was_sent_since(self):
        context = zmq.Context()
        listener = context.socket(zmq.PULL)
        port = listener.bind_to_random_port("tcp://127.0.0.1")
        sender = ZmqSender(endpoint=f"tcp://127.0.0.1:{port}", linger=0.05)
        losses = self.lost_by(sender)
        try:
            sender.send(self.LINES)
            assert listener.poll(30_000)
            assert listener.recv() == self.LINES
            listener.close(0)
            wait_for(lambda: not sender._connected())
            sender.send(self.LINES)
            sender.close()
            assert losses == [("unreachable", 2)]
        finally:
            listener.close(0)
            context.term()

    def test_the_client_counts_them(self):
        client = MetlogClient.from_config(f"zmq:?endpoint=tcp://127.0.0.1:{free_port()}&linger=0.05")
        for _ in range(5):
            client.log("a")
        client.close()
        stats = client.stats()
        assert (stats.accepted, stats.sent, stats.dropped) == (5, 0, {"unreachable": 5})


def test_a_signal_handler_may_close_in_the_middle_of_send(tmp_path):
    """`send` ends what it was doing; then the socket is closed."""
    sender = ZmqSender(endpoint=f"ipc://{tmp_path}/s", linger=0)
    sender.open()
    real = sender._socket

    class Interrupted:
        close, disable_monitor = real.close, real.disable_monitor

        def send(self, frame, flags):
            sender.close()
            assert not real.closed
            real.send(frame, flags)

    sender._socket = Interrupted()
    thread = threading.Thread(target=sender.send, args=(b"x",), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "it waits for its own lock"
    assert real.closed
    with pytest.raises(SenderError, match="closed"):
        sender.send(b"x")
    sender.close()
