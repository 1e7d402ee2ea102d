"""Every built-in sender keeps every promise of SenderConformance."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import io
import logging
import os
import secrets
import socket
import sys
import threading
import time
import types

import pytest

from metlog.encoders.json import JsonEncoder
from metlog.plugins import installed
from metlog.senders import http as http_sender
from metlog.senders import stream
from metlog.senders.console import ConsoleSender
from metlog.senders.fallback import FallbackSender
from metlog.senders.file import FileSender
from metlog.senders.http import HttpSender, HttpsSender
from metlog.senders.logging import LoggingSender
from metlog.senders.memory import MemorySender
from metlog.senders.null import NullSender
from metlog.senders.stream import StderrSender, StdoutSender
from metlog.senders.tcp import TcpSender
from metlog.senders.udp import UdpSender
from metlog.senders.unix import UnixSender
from metlog.testing import SenderConformance
from metlog.testing.peers import DatagramPeer, StreamPeer
from tests.helpers import certificates
from tests.helpers.devices import FULL

pytestmark = pytest.mark.slow  # real peers, with the waits that the suite is made of


def test_none_is_left_out():
    covered = {name.removeprefix("Test").removesuffix("Sender").lower() for name in globals() if name[:4] == "Test"}
    builtin = {plugin.name for plugin in installed("sender") if plugin.origin.startswith("metlog ")}
    # tee is never given a frame: each of its branches is a pipeline with a sender of its own
    assert builtin - {"tee"} <= covered | {"unix"}


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A certificate for 127.0.0.1, as the server's context and as the file that a client trusts."""
    folder = tmp_path_factory.mktemp("tls")
    certificates.self_signed(folder)
    return certificates.server_context(folder), str(folder / "server.pem")


class TestUdpSender(SenderConformance):
    transport = "udp"

    @pytest.fixture(autouse=True)
    def peer(self):
        with DatagramPeer() as self.target:
            yield

    def make_sender(self):
        return UdpSender(port=self.target.port)

    def received(self, sender):
        return list(self.target.frames)

    def make_sender_to(self, host, port):
        return UdpSender(host=host, port=port)


class TestTcpSender(SenderConformance):
    transport = "tcp"

    @pytest.fixture(autouse=True)
    def peer(self):
        with StreamPeer() as self.target:
            yield

    def make_sender(self):
        return TcpSender(port=self.target.port)

    def received(self, sender):
        return self.target.data

    def make_sender_to(self, host, port):
        return TcpSender(host=host, port=port)


class TestTcpSenderWithTls(TestTcpSender):
    @pytest.fixture(autouse=True)
    def peer(self, tls):
        context, self.trusted = tls
        with StreamPeer(tls=context) as self.target:
            yield

    def make_sender(self):
        return self.make_sender_to("127.0.0.1", self.target.port)

    def make_sender_to(self, host, port):
        return TcpSender(host=host, port=port, tls=True, ca_file=self.trusted)


class _Unix(SenderConformance):
    kind = "dgram"

    @pytest.fixture(autouse=True)
    def place(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # a socket's path is short

    def make_sender(self):
        return UnixSender(path="collector", kind=self.kind)

    @contextlib.contextmanager
    def troubled(self, trouble):
        with socket.socket(socket.AF_UNIX, getattr(socket, f"SOCK_{self.kind.upper()}")) as silent:
            silent.bind("silent")
            if self.kind == "stream":
                silent.listen()
            if trouble == "dead":
                yield UnixSender(path="nobody", kind=self.kind)
            elif trouble == "never_reads":
                yield UnixSender(path="silent", kind=self.kind)
            else:
                with (DatagramPeer if self.kind == "dgram" else StreamPeer)("swallows"):
                    yield UnixSender(path="swallows", kind=self.kind)


class TestUnixDatagramSender(_Unix):
    @pytest.fixture(autouse=True)
    def peer(self, place):
        with DatagramPeer("collector") as self.target:
            yield

    def received(self, sender):
        return list(self.target.frames)


class TestUnixStreamSender(_Unix):
    kind = "stream"

    @pytest.fixture(autouse=True)
    def peer(self, place):
        with StreamPeer("collector") as self.target:
            yield

    def received(self, sender):
        return self.target.data


class TestZmqSender(SenderConformance):
    transport = "tcp"

    @pytest.fixture(autouse=True)
    def peer(self):
        zmq = pytest.importorskip("zmq", reason="needs pyzmq")
        context = zmq.Context()
        pull = context.socket(zmq.PULL)
        self.port = pull.bind_to_random_port("tcp://127.0.0.1")
        pull.setsockopt(zmq.RCVTIMEO, 20)
        self.frames, stop = [], threading.Event()

        def read():
            while not stop.is_set():
                with contextlib.suppress(zmq.Again):
                    self.frames.append(pull.recv())

        thread = threading.Thread(target=read)
        thread.start()
        yield
        stop.set()
        thread.join(5)
        pull.close(0)
        context.term()

    def make_sender(self):
        return self.make_sender_to("127.0.0.1", self.port)

    def received(self, sender):
        return list(self.frames)

    def make_sender_to(self, host, port):
        from metlog.senders.zmq import ZmqSender

        return ZmqSender(endpoint=f"tcp://{host}:{port}")


@pytest.fixture(scope="module")
def kafka_broker():
    """librdkafka's own mock of a broker."""
    kafka = pytest.importorskip("confluent_kafka", reason="needs confluent-kafka")
    owner = kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock"})
    (broker,) = owner.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    del owner


class TestKafkaSender(SenderConformance):
    @pytest.fixture(autouse=True)
    def peer(self, kafka_broker):
        self.broker = kafka_broker

    def make_sender(self):
        from metlog.senders.kafka import KafkaSender

        self.topic = f"t{secrets.token_hex(8)}"
        return KafkaSender(brokers=[self.broker], topic=self.topic, key="one", linger=0)

    def received(self, sender):
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.broker, "group.id": "test"})
        try:
            found = consumer.list_topics(self.topic, timeout=10).topics[self.topic].partitions
            consumer.assign([TopicPartition(self.topic, number, 0) for number in found])
            sender.flush()
            left = sum(consumer.get_watermark_offsets(TopicPartition(self.topic, number), 5)[1] for number in found)
            frames, end = [], time.monotonic() + 10
            while len(frames) < left and time.monotonic() < end:
                frames += [message.value() for message in consumer.consume(100, 0.2) if message.error() is None]
            return frames
        finally:
            consumer.close()


class TestHttpSender(SenderConformance):
    transport = "tcp"

    @pytest.fixture(autouse=True)
    def peer(self, monkeypatch):
        monkeypatch.setattr(http_sender, "FIRST_PAUSE", 0.01)
        with self.serving() as self.port:
            yield

    @contextlib.contextmanager
    def serving(self, tls=None):
        frames = self.frames = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                frames.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
                self.send_response(201)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        server.server_close()
        thread.join(5)

    def make_sender(self):
        return HttpSender(port=self.port)

    def received(self, sender):
        return list(self.frames)

    def make_sender_to(self, host, port):
        return HttpSender(host=host, port=port)


class TestHttpsSender(TestHttpSender):
    @pytest.fixture(autouse=True)
    def peer(self, monkeypatch, tls):
        monkeypatch.setattr(http_sender, "FIRST_PAUSE", 0.01)
        context, self.trusted = tls
        with self.serving(context) as self.port:
            yield

    def make_sender(self):
        return self.make_sender_to("127.0.0.1", self.port)

    def make_sender_to(self, host, port):
        return HttpsSender(host=host, port=port, ca_file=self.trusted)


class _OnPipe:
    """Stands in for a standard stream on a descriptor of the test's own."""

    def __init__(self, fd):
        self.fd = fd

    def fileno(self):
        return self.fd

    def flush(self):
        pass


class _Stream(SenderConformance):
    make = StdoutSender

    @pytest.fixture(autouse=True)
    def pipe(self, monkeypatch):
        self.monkeypatch, self.data = monkeypatch, bytearray()
        with self.on_pipe("swallows"):
            yield

    @contextlib.contextmanager
    def on_pipe(self, trouble):
        """Puts a pipe in place of both streams, as the sender sees them: pytest puts its own there all the time."""
        reader, writer = os.pipe()
        fake = types.SimpleNamespace(stdout=_OnPipe(writer), stderr=_OnPipe(writer))
        with self.monkeypatch.context() as patched:
            patched.setattr(stream, "sys", fake)
            if trouble == "swallows":
                thread = threading.Thread(target=self._read, args=(reader,))
                thread.start()
            elif trouble == "dead":
                os.close(reader)
            yield
            os.close(writer)
            if trouble == "swallows":
                thread.join(5)
            if trouble != "dead":
                os.close(reader)

    def _read(self, fd):
        while chunk := os.read(fd, 65536):
            self.data += chunk

    def make_sender(self):
        return self.make()

    def received(self, sender):
        return bytes(self.data)

    @contextlib.contextmanager
    def troubled(self, trouble):
        with self.on_pipe(trouble):
            yield self.make_sender()


class TestStdoutSender(_Stream):
    pass


class TestStderrSender(_Stream):
    make = StderrSender


class TestFileSender(SenderConformance):
    @pytest.fixture(autouse=True)
    def place(self, tmp_path):
        self.path = tmp_path / "app.ndjson"

    def make_sender(self):
        return FileSender(path=str(self.path), fsync="always")

    def received(self, sender):
        return self.path.read_bytes() if self.path.exists() else b""

    @contextlib.contextmanager
    def troubled(self, trouble):
        if trouble == "dead":
            os.mkfifo(self.path)
            yield FileSender(path=str(self.path))
        elif trouble == "swallows":
            yield FileSender(path="/dev/null")
        else:
            if not FULL.is_char_device():
                pytest.skip("needs the device /dev/full")
            yield FileSender(path=str(FULL))


class TestLoggingSender(SenderConformance):
    in_process = True

    @pytest.fixture(autouse=True)
    def handler(self, monkeypatch):
        encoder, self.frames = JsonEncoder(), []

        class Handler(logging.Handler):
            def emit(handler, record):
                self.frames.append((os.getpid(), encoder.frame([encoder.encode(record.metlog_event)])))

        logger = logging.getLogger("metlog.events")
        handler = Handler()
        logger.addHandler(handler)
        monkeypatch.setattr(logger, "level", logging.DEBUG)
        logger.manager._clear_cache()  # of isEnabledFor, since the level was patched
        yield
        logger.removeHandler(handler)

    def make_sender(self):
        return LoggingSender()

    def received(self, sender):
        return b"".join(frame for pid, frame in self.frames if pid == os.getpid())


class TestConsoleSender(SenderConformance):
    """What it writes is for people: the frames are noted as it reads them."""

    in_process = True

    @pytest.fixture(autouse=True)
    def lines(self, monkeypatch):
        encoder, self.frames = JsonEncoder(), []
        real = ConsoleSender._line

        def line(sender, event):
            self.frames.append((os.getpid(), encoder.frame([encoder.encode(event)])))
            return real(sender, event)

        monkeypatch.setattr(ConsoleSender, "_line", line)
        monkeypatch.setattr("metlog.senders.console.END_TYPE", "")  # the suite wants to see the end of a stream
        monkeypatch.setattr(sys, "stderr", io.StringIO())

    def make_sender(self):
        return ConsoleSender()

    def received(self, sender):
        return b"".join(frame for pid, frame in self.frames if pid == os.getpid())


class TestFallbackSender(SenderConformance):
    @pytest.fixture(autouse=True)
    def peer(self):
        with StreamPeer() as self.target:
            yield

    def make_sender(self):
        return FallbackSender(senders=["tcp://127.0.0.1:1?timeout=0.01", f"tcp://127.0.0.1:{self.target.port}"])

    def received(self, sender):
        return self.target.data

    transport = "tcp"

    def make_sender_to(self, host, port):
        return FallbackSender(senders=[f"tcp://{host}:{port}"] * 2)


class TestMemorySender(SenderConformance):
    in_process = True

    def make_sender(self):
        return MemorySender()

    def received(self, sender):
        return list(sender.frames)


class TestNullSender(SenderConformance):
    delivers = False

    def make_sender(self):
        return NullSender()
