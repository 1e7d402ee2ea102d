"""Names are looked up in a thread, and where none can be started (Python 3.12 and later, while the interpreter ends) in place."""

from __future__ import annotations

import socket
import sys
import threading
import time
from types import FrameType
from typing import Any

import pytest

from metlog.errors import SenderError
from metlog.senders import _resolver
from metlog.senders._deadline import Deadline
from metlog.senders._resolver import Resolver
from metlog.senders.tcp import TcpSender
from metlog.senders.udp import UdpSender
from metlog.statsd.client import TcpStatsd
from metlog.testing.peers import DatagramPeer, StreamPeer
from tests.helpers.waiting import wait_for

NAME = "collector.example"


@pytest.fixture
def threads_that_looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`NAME` stands for the loopback, no other name is known; returns the threads in which one was looked up."""
    real, names = socket.getaddrinfo, list[str]()

    def answer(host, *rest, **more):
        if more.get("flags") == socket.AI_NUMERICHOST:
            return real(host, *rest, **more)
        names.append(threading.current_thread().name)
        if host != NAME:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real("127.0.0.1", *rest, **more)

    monkeypatch.setattr(_resolver.socket, "getaddrinfo", answer)
    return names


@pytest.fixture
def no_new_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_tcp_looks_the_name_up_in_the_thread_that_sends(threads_that_looked_up, request) -> None:
    with StreamPeer() as peer:
        request.getfixturevalue("no_new_thread")
        sender = TcpSender(host=NAME, port=peer.port)
        sender.send(b"last words\n")
        sender.close()
        wait_for(lambda: peer.data == b"last words\n")
    assert threads_that_looked_up == [threading.current_thread().name]


def test_statsd_over_tcp_sends_what_is_queued(threads_that_looked_up, request) -> None:
    with StreamPeer() as peer:
        request.getfixturevalue("no_new_thread")
        client = TcpStatsd(NAME, peer.port)
        client.incr("a")
        client.close()
        wait_for(lambda: peer.data == b"a:1|c\n")
    assert (client.stats().sent, client.stats().dropped) == (1, {})


def test_a_name_that_nobody_knows_is_unresolved(threads_that_looked_up, no_new_thread) -> None:
    sender = TcpSender(host="nowhere.example", timeout=0.2)
    with pytest.raises(SenderError) as caught:
        sender.send(b"x")
    assert caught.value.reason == "unresolved"
    sender.close()


def test_nothing_is_looked_up_after_the_deadline(threads_that_looked_up, no_new_thread) -> None:
    deadline = Deadline()
    deadline.limit(0)
    with pytest.raises(TimeoutError):
        _resolver.lookup(NAME, 5565, socket.SOCK_STREAM, deadline, time.monotonic())
    assert threads_that_looked_up == []


def test_udp_asks_at_close_for_the_address_of_what_it_keeps(threads_that_looked_up, request) -> None:
    with DatagramPeer() as peer:
        request.getfixturevalue("no_new_thread")
        sender = UdpSender(host=NAME, port=peer.port)
        sender.open()
        sender.send(b"last words")
        assert sender.stats()["waiting"] == 1
        sender.close()
        wait_for(lambda: peer.frames == [b"last words"])
    assert threads_that_looked_up == [threading.current_thread().name]
    assert sender.stats() == {"refused": 0, "waiting": 0, "lost": 0}


def test_udp_does_not_ask_where_close_may_not_wait(threads_that_looked_up, no_new_thread) -> None:
    sender = UdpSender(host=NAME, port=5565)
    sender.send(b"last words")
    sender.deadline(0)
    sender.close()
    assert threads_that_looked_up == []
    assert sender.stats()["lost"] == 1


def test_udp_needs_no_thread_for_an_address_that_is_known(threads_that_looked_up, request) -> None:
    with DatagramPeer() as peer:
        sender = UdpSender(host=NAME, port=peer.port)
        sender.send(b"parent")
        wait_for(lambda: peer.frames == [b"parent"])
        looked_up = len(threads_that_looked_up)
        request.getfixturevalue("no_new_thread")
        sender.after_fork()
        sender.send(b"child")
        sender.close()
        wait_for(lambda: peer.frames == [b"parent", b"child"])
        assert len(threads_that_looked_up) == looked_up


def test_a_thread_that_could_not_be_started_is_started_with_a_later_frame(threads_that_looked_up, monkeypatch) -> None:
    with DatagramPeer() as peer:
        sender = UdpSender(host=NAME, port=peer.port)
        with monkeypatch.context() as patch:

            def refuse(thread: threading.Thread) -> None:
                raise RuntimeError("can't start new thread")  # the limit of the machine

            patch.setattr(threading.Thread, "start", refuse)
            sender.send(b"1")
        sender.send(b"2")
        wait_for(lambda: peer.frames == [b"1", b"2"])
        sender.close()
    assert threads_that_looked_up == ["metlog-resolver"]


@pytest.mark.untraced
@pytest.mark.parametrize("handler", ["kick", "close"])
def test_a_signal_handler_may_ask_or_close_in_the_middle_of_asking(handler: str) -> None:
    """Between any two lines of it."""
    resolver = Resolver(["localhost"], 1, socket.SOCK_DGRAM, lambda addresses: None, lambda error: None)
    calls: list[str] = []

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            sys.settrace(None)
            frame.f_trace = None
            calls.append(frame.f_code.co_name)
            resolver._asked = 0.0
            getattr(resolver, handler)()
            sys.settrace(trace)
        return trace

    def work() -> None:
        sys.settrace(trace)
        resolver.kick()
        sys.settrace(None)

    resolver._asked = 0.0
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), f"it waits for itself in {calls[-1]}"
    assert "kick" in calls


def test_an_error_makes_it_ask_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_resolver, "KICK_PAUSE", 0.0)
    asked: list[float] = []

    class Counting(Resolver):
        def _lookup(self) -> list[Any]:
            asked.append(1)
            return [(socket.AF_INET, ("127.0.0.1", 1))]

    resolver = Counting(["localhost"], 1, socket.SOCK_DGRAM, lambda addresses: None, lambda error: None, interval=600)
    resolver.start()
    assert resolver.answered.wait(20)
    resolver.kick()
    wait_for(lambda: len(asked) == 2)
    resolver.close()
