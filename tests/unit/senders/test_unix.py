from __future__ import annotations

import os
import socket
import time

import pytest

from metlog import plugins
from metlog.errors import ConfigError, SenderError
from metlog.senders.unix import UnixSender
from metlog.testing.peers import DatagramPeer, StreamPeer
from tests.helpers.waiting import wait_for


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # keeps the path short
    return "collector.sock"


def test_each_frame_is_one_datagram_and_none_is_lost_while_the_peer_is_slow(path):
    with DatagramPeer(path) as peer:
        sender = plugins.build("sender", f"unix:{path}", "sender")
        frames = [b"%05d" % number * 2000 for number in range(300)]
        for frame in frames:
            sender.send(frame)
        wait_for(lambda: len(peer.frames) == 300)
        assert peer.frames == frames
        sender.close()


def test_the_largest_datagram_that_is_promised_goes_through(path):
    with DatagramPeer(path) as peer:
        sender = UnixSender(path=path)
        sender.send(b"x" * sender.max_event)
        wait_for(lambda: peer.frames == [b"x" * sender.max_event])
        with pytest.raises(SenderError) as caught:
            sender.send(b"x" * 1_000_000)
        assert caught.value.reason == "too_large"
        sender.close()


def test_a_path_bound_anew_while_the_old_socket_lives_is_noticed_at_the_next_frame(path):
    with DatagramPeer(path) as old:
        sender = UnixSender(path=path)
        sender.send(b"old")
        wait_for(lambda: old.frames == [b"old"])
        os.unlink(path)
        with DatagramPeer(path) as new:
            sender.send(b"new")
            wait_for(lambda: new.frames == [b"new"])
            assert old.frames == [b"old"]
        sender.close()


def test_a_datagram_peer_that_restarts_gets_the_frame_that_waited(path):
    with DatagramPeer(path) as peer:
        sender = UnixSender(path=path)
        sender.send(b"1")
        wait_for(lambda: peer.frames == [b"1"])
    with pytest.raises(SenderError) as caught:  # the path is there, nobody is behind it
        UnixSender(path=path, timeout=0.1).send(b"lost")
    assert caught.value.reason == "refused"
    os.unlink(path)
    with DatagramPeer(path) as peer:
        sender.send(b"2")
        wait_for(lambda: peer.frames == [b"2"])
    sender.close()


def test_no_path_is_refused(path):
    sender = UnixSender(path=path, timeout=0.1)
    with pytest.raises(SenderError, match=r"collector\.sock: .*No such file") as caught:
        sender.send(b"x")
    assert caught.value.reason == "refused"
    sender.close()


def test_stream(path):
    with StreamPeer(path) as peer:
        sender = plugins.build("sender", {"name": "unix", "path": path, "kind": "stream"}, "sender")
        sender.send(b"1\n")
        sender.send(b"x" * 1_000_000)
        wait_for(lambda: peer.data == b"1\n" + b"x" * 1_000_000)
        peer.hang_up()
        wait_for(lambda: sender._gone(sender._socket))
        sender.send(b"2\n")
        wait_for(lambda: peer.data.endswith(b"2\n"))
        assert len(peer.streams) == 2
        sender.close()


@pytest.mark.parametrize("kind", ["dgram", "stream"])
def test_a_peer_that_never_reads_costs_one_timeout(path, kind):
    with socket.socket(socket.AF_UNIX, getattr(socket, f"SOCK_{kind.upper()}")) as peer:
        peer.bind(path)
        if kind == "stream":
            peer.listen()
        sender = UnixSender(path=path, kind=kind, timeout=0.2)
        begun = time.monotonic()
        with pytest.raises(SenderError) as caught:  # noqa: PT012 - how many fit is the kernel's business
            for _ in range(10_000):
                sender.send(b"x" * 10_000)
        assert caught.value.reason == "timeout"
        assert time.monotonic() - begun < 2
        sender.close()


def test_an_abstract_name():
    with DatagramPeer(f"\0metlog-test-{os.getpid()}") as peer:
        sender = plugins.build("sender", f"unix:@metlog-test-{os.getpid()}", "sender")
        sender.send(b"1")
        sender.send(b"2")
        wait_for(lambda: peer.frames == [b"1", b"2"])
        sender.close()


def test_faults_name_key_value_and_remedy():
    for options, words in [
        ({}, "sender.path: sender 'unix' needs this option"),
        ({"path": ""}, "path = '': wants the path of a socket"),
        ({"path": "x" * 108}, "a socket's path has at most 107 bytes; use a shorter one"),
        ({"path": "x", "kind": "seqpacket"}, "kind = 'seqpacket': wants one of dgram, stream"),
        ({"path": "x", "max_frame": 200_000}, "max_frame = 200000: a datagram carries at most 131072 bytes"),
    ]:
        with pytest.raises(ConfigError, match=words):
            plugins.build("sender", {"name": "unix", **options}, "sender")
