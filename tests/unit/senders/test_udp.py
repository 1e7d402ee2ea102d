from __future__ import annotations

import contextlib
import errno
import logging
import os
import pickle
import socket
import threading
import time

import pytest

from metlog import MetlogClient, plugins
from metlog.errors import ConfigError, SenderError
from metlog.senders import _resolver
from metlog.senders.udp import UdpSender
from metlog.testing.peers import closed_port
from tests.helpers.ports import free_port, port_of
from tests.helpers.waiting import wait_for


@pytest.fixture
def peer():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(5)
        yield bound


class Dns:
    """Stands in for the name servers: names in `answers` resolve, the rest fail; `gate` holds a lookup up."""

    def __init__(self, monkeypatch, port):
        self.real, self.answers, self.asked, self.port = socket.getaddrinfo, {}, 0, port
        self.gate = threading.Event()
        self.gate.set()
        self.threads = set()
        monkeypatch.setattr(_resolver.socket, "getaddrinfo", self)

    def __call__(self, host, port, *args, **kwargs):
        if kwargs.get("flags") == socket.AI_NUMERICHOST:
            return self.real(host, port, *args, **kwargs)
        self.threads.add(threading.current_thread().name)
        self.gate.wait(10)
        self.asked += 1
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (ip, port)) for ip in self.answers[host]]


def test_each_frame_is_one_datagram(peer):
    sender = UdpSender(host="127.0.0.1", port=port_of(peer))
    for frame in (b"one", b"", b"x" * 65507):
        sender.send(frame)
    assert [peer.recv(70_000) for _ in range(3)] == [b"one", b"", b"x" * 65507]
    sender.close()


def test_ipv6():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        try:
            peer.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
        peer.settimeout(5)
        sender = plugins.build("sender", f"udp://[::1]:{port_of(peer)}", "sender")
        sender.send(b"six")
        assert peer.recv(100) == b"six"
        assert sender.max_frame == 8192
        sender.close()


def test_the_frame_after_a_refused_one_is_sent_once_more(peer):
    port = port_of(peer)
    sender = UdpSender(port=port)
    sender.send(b"before")
    assert peer.recv(100) == b"before"
    peer.close()
    sender.send(b"lost")  # leaves, and is refused by the kernel of the peer
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", port))
        again.settimeout(5)
        sender.send(b"after")
        assert again.recv(100) == b"after"
    assert sender.stats()["refused"] == 1
    sender.close()


def test_nobody_there_is_counted_and_never_raises_more_than_a_reason():
    sender = UdpSender(port=free_port(socket.SOCK_DGRAM))
    reasons = []
    for _ in range(10):
        try:
            sender.send(b"frame")
        except SenderError as error:
            reasons.append(error.reason)
    assert set(reasons) <= {"refused"}
    assert sender.stats()["refused"] >= 5
    sender.close()


def test_a_full_send_buffer_is_said_and_does_not_wait(peer, monkeypatch):
    sender = UdpSender(port=port_of(peer))
    sender.send(b"open")

    def full(frame):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    sender.transmit = full
    with pytest.raises(SenderError) as caught:
        sender.send(b"frame")
    assert caught.value.reason == "full"
    assert sender._socket is not None  # kept: to open a new one at each burst is what others were blamed for
    sender.close()


def test_a_frame_beyond_a_datagram_is_too_large_and_the_next_one_goes(peer):
    sender = UdpSender(port=port_of(peer))
    with pytest.raises(SenderError) as caught:
        sender.send(b"x" * 65_508)
    assert caught.value.reason == "too_large"
    sender.send(b"next")
    assert peer.recv(100) == b"next"
    sender.close()


def test_several_hosts_are_alternatives(peer):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
        second.bind(("127.0.0.2", port_of(peer)))
        second.settimeout(5)
        sender = UdpSender(host=["127.0.0.1", "127.0.0.2"], port=port_of(peer))
        sender.send(b"1")
        assert peer.recv(10) == b"1"
        peer.close()
        sender.send(b"2")  # left and was refused: nobody could know yet
        sender.send(b"3")
        sender.send(b"4")
        assert [second.recv(10), second.recv(10)] == [b"3", b"4"]
        assert sender.refused == 1
        sender.close()


def test_a_name_is_looked_up_in_another_thread_and_what_was_sent_meanwhile_goes_first(peer, monkeypatch):
    dns = Dns(monkeypatch, port_of(peer))
    dns.answers["collector.example"] = ["127.0.0.1"]
    dns.gate.clear()
    sender = UdpSender(host="collector.example", port=port_of(peer))
    begun = time.perf_counter()
    sender.send(b"1")
    sender.send(b"2")
    assert time.perf_counter() - begun < 0.5
    assert sender.stats()["waiting"] == 2
    dns.gate.set()
    assert [peer.recv(10), peer.recv(10)] == [b"1", b"2"]
    sender.send(b"3")
    assert peer.recv(10) == b"3"
    assert dns.threads == {"metlog-resolver"}
    sender.close()


def test_close_waits_a_moment_for_the_first_lookup(peer, monkeypatch):
    dns = Dns(monkeypatch, port_of(peer))
    dns.answers["collector.example"] = ["127.0.0.1"]
    dns.gate.clear()
    sender = UdpSender(host="collector.example", port=port_of(peer))
    sender.send(b"short job")
    threading.Timer(0.05, dns.gate.set).start()
    sender.close()
    assert peer.recv(100) == b"short job"


def test_a_name_without_an_address_holds_so_much_and_then_drops_with_a_reason(monkeypatch):
    Dns(monkeypatch, 1)
    sender = UdpSender(host="nowhere.example", port=5565)
    sender.open()
    sender._resolver.answered.wait(5)
    for _ in range(256):
        sender.send(b"x" * 1024)
    with pytest.raises(SenderError, match=r"nowhere\.example not resolved yet .*Name or service") as caught:
        sender.send(b"x" * 1024)
    assert caught.value.reason == "unresolved"
    begun = time.perf_counter()
    sender.deadline(0.1)
    sender.close()
    assert time.perf_counter() - begun < 0.5
    assert sender.stats() == {"refused": 0, "waiting": 0, "lost": 256}


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


def test_what_waits_for_a_name_in_vain_is_dropped_and_told(monkeypatch, caplog):
    dns = Dns(monkeypatch, 1)
    dns.gate.clear()
    drops = []
    client = MetlogClient.from_config("udp://nowhere.example:5565", on_drop=lambda *loss: drops.append(loss))
    for _ in range(30):
        client.log("a")
    assert client.flush(20)
    assert (client.stats().sent, client.stats().dropped) == (30, {})
    assert client.stats().transport["waiting"] > 0
    dns.gate.set()
    wait_for(lambda: any("nowhere.example not resolved yet" in message for message in messages(caplog)))
    asked = dns.asked
    wait_for(lambda: dns.asked > asked)  # and tells it no second time
    client.close()
    stats = client.stats()
    assert (stats.accepted, stats.sent, stats.buffered) == (30, 0, 0)
    assert (stats.dropped, drops) == ({"unresolved": 30}, [("unresolved", 30)])
    waits, dropped = messages(caplog)
    assert "(Name or service not known): what is sent there waits, up to 256 KiB" in waits.replace("[Errno -2] ", "")
    assert dropped == "events are dropped: unresolved (counted in stats(); told once)"


def test_a_name_that_is_looked_up_in_time_is_no_news(peer, monkeypatch, caplog):
    dns = Dns(monkeypatch, port_of(peer))
    dns.answers["collector.example"] = ["127.0.0.1"]
    client = MetlogClient.from_config(f"udp://collector.example:{port_of(peer)}")
    client.log("a")
    assert client.flush(20)
    wait_for(lambda: not client.stats().transport)
    client.close()
    assert (client.stats().sent, client.stats().dropped, messages(caplog)) == (1, {}, [])
    assert b'"type":"a"' in peer.recv(1000)


def test_what_waited_and_no_address_takes_is_dropped_with_the_reason(monkeypatch):
    dns = Dns(monkeypatch, 1)
    dns.answers["collector.example"] = ["127.0.0.1"]
    dns.gate.clear()
    client = MetlogClient.from_config("udp://collector.example:1")

    def unreachable(*_):
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(client.sender, "_connect", unreachable)
    for _ in range(3):
        client.log("a")
    assert client.flush(20)
    assert client.stats().sent == 3
    dns.gate.set()
    wait_for(lambda: client.stats().dropped == {"unreachable": 3})
    assert client.stats().sent == 0
    client.close()


def test_a_loss_is_told_while_others_may_send(peer, monkeypatch):
    """Whoever is told may log, and a handler of logging may wait for a thread that sends."""
    dns = Dns(monkeypatch, port_of(peer))
    dns.answers["collector.example"] = ["127.0.0.1"]
    dns.gate.clear()
    sender = UdpSender(host="collector.example", port=port_of(peer))
    others = []

    def lost(reason, events):
        thread = threading.Thread(target=send_quietly, args=(sender, b"x"), daemon=True)
        thread.start()
        thread.join(20)
        others.append((reason, events, thread.is_alive()))

    def too_large(*_):
        raise OSError(errno.EMSGSIZE, "Message too long")

    sender.on_loss(lost)
    monkeypatch.setattr(sender, "_connect", too_large)
    sender.send(b'{"type":"a"}\n')
    dns.gate.set()
    wait_for(lambda: others)
    assert others == [("too_large", 1, False)]
    sender.close()

    dns.gate.clear()
    sender = UdpSender(host="collector.example", port=port_of(peer))
    sender.on_loss(lost)
    sender.send(b'{"type":"a"}\n{"type":"b"}\n')
    sender.deadline(0)
    sender.close()
    assert others[1:] == [("unresolved", 2, False)]
    dns.gate.set()


def test_a_refusal_is_told_while_others_may_send(caplog):
    sender = UdpSender(port=closed_port(socket.SOCK_DGRAM))
    others = []

    class Sending(logging.Handler):
        def emit(self, record):
            sender.transmit = sender._send_unconnected  # as after a lookup with new addresses
            thread = threading.Thread(target=send_quietly, args=(sender, b"x"), daemon=True)
            thread.start()
            thread.join(20)
            others.append(thread.is_alive())

    handler = Sending()
    logging.getLogger("metlog").addHandler(handler)
    try:
        sender.send(b"lost")
        wait_for(lambda: sender.flush() or others)
    finally:
        logging.getLogger("metlog").removeHandler(handler)
    assert others == [False]
    sender.close()


def test_a_thread_that_comes_to_a_name_without_an_address_after_close_is_told_so(monkeypatch):
    Dns(monkeypatch, 1)
    sender = UdpSender(host="nowhere.example", port=5565)
    begun = sender.transmit
    sender.close()
    with pytest.raises(SenderError) as caught:
        begun(b"late")
    assert caught.value.reason == "closed"
    assert sender.stats()["waiting"] == 0


def send_quietly(sender, frame):
    with contextlib.suppress(SenderError):
        sender.send(frame)


def test_a_name_is_looked_up_again_and_frames_follow_it(peer, monkeypatch):
    dns = Dns(monkeypatch, port_of(peer))
    dns.answers["collector.example"] = ["127.0.0.1"]
    sender = UdpSender(host="collector.example", port=port_of(peer), resolve_interval=0.02)
    sender.send(b"first")
    assert peer.recv(10) == b"first"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as moved:
        moved.bind(("127.0.0.2", port_of(peer)))
        moved.settimeout(5)
        dns.answers["collector.example"] = ["127.0.0.2"]
        wait_for(lambda: sender._addresses[0][1][0] == "127.0.0.2")
        sender.send(b"second")
        assert moved.recv(10) == b"second"
        del dns.answers["collector.example"]  # the name server is down: the known address stays
        asked = dns.asked
        wait_for(lambda: dns.asked > asked + 2)
        sender.send(b"third")
        assert moved.recv(10) == b"third"
    sender.close()


def test_errors_ask_for_a_lookup(monkeypatch):
    monkeypatch.setattr(_resolver, "KICK_PAUSE", 0.0)
    port = free_port(socket.SOCK_DGRAM)
    dns = Dns(monkeypatch, port)
    dns.answers["collector.example"] = ["127.0.0.1"]
    sender = UdpSender(host="collector.example", port=port)
    sender.open()
    sender._resolver.answered.wait(5)
    assert dns.asked == 1

    def tell():
        try:
            sender.send(b"x")
        except SenderError as error:
            return error.reason == "unreachable"
        return False

    def unreachable(*_):
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(sender, "_connect", unreachable)
    assert tell()
    wait_for(lambda: dns.asked >= 2)
    sender.close()


def test_a_forked_child_looks_up_by_itself(peer, monkeypatch):
    dns = Dns(monkeypatch, port_of(peer))
    dns.answers["collector.example"] = ["127.0.0.1"]
    sender = UdpSender(host="collector.example", port=port_of(peer), resolve_interval=0.02)
    sender.send(b"parent")
    assert peer.recv(10) == b"parent"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as moved:
        moved.bind(("127.0.0.2", port_of(peer)))
        moved.settimeout(5)
        child = os.fork()
        if not child:
            try:
                sender.after_fork()
                sender.send(b"child")
                dns.answers["collector.example"] = ["127.0.0.2"]
                wait_for(lambda: sender._addresses[0][1][0] == "127.0.0.2")
                sender.send(b"moved")
            finally:
                os._exit(0)
        assert peer.recv(10) == b"child"
        assert moved.recv(10) == b"moved"
        os.waitpid(child, 0)
    sender.close()


def test_localhost_and_literals_need_no_thread():
    before = threading.active_count()
    senders = [UdpSender(host=host) for host in ("localhost", "127.0.0.1", "::1", "192.0.2.1")]
    assert threading.active_count() == before
    assert [sender.max_frame for sender in senders] == [8192, 8192, 8192, 1432]
    for sender in senders:
        sender.close()


def test_options_come_from_a_url_and_faults_name_key_value_and_remedy():
    sender = plugins.build("sender", "udp://127.0.0.1:5999?max_frame=1000&send_buffer=65536", "sender")
    assert (sender.hosts, sender.port, sender.max_frame) == (["127.0.0.1"], 5999, 1000)
    sender.close()
    sender = plugins.build("sender", {"name": "udp", "host": "127.0.0.1, 127.0.0.2"}, "sender")
    assert sender.hosts == ["127.0.0.1", "127.0.0.2"]
    sender.close()
    for options, words in [
        ({"port": 0}, r"sender\.port = 0: wants a port from 1 to 65535"),
        ({"host": ""}, r"sender\.host = '': wants a host name"),
        ({"max_frame": 70_000}, r"max_frame = 70000: a datagram carries at most 65507"),
        ({"max_frame": 1}, r"max_frame = 1: wants a number of bytes, 64 or more"),
        ({"resolve_interval": 0}, r"resolve_interval = 0.0: wants"),
        ({"send_buffer": -1}, r"send_buffer = -1: wants"),
    ]:
        with pytest.raises(ConfigError, match=words):
            plugins.build("sender", {"name": "udp", **options}, "sender")


def test_send_buffer_reaches_the_socket(peer):
    sender = UdpSender(port=port_of(peer), send_buffer=50_000)
    sender.send(b"x")
    assert sender._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 100_000  # Linux doubles what it is told
    sender.close()


def test_nothing_after_close_and_close_twice(peer):
    sender = UdpSender(port=port_of(peer))
    sender.send(b"1")
    sender.close()
    sender.close()
    with pytest.raises(SenderError) as caught:
        sender.send(b"2")
    assert caught.value.reason == "closed"
    assert peer.recv(10) == b"1"
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(10)


def test_pickling_is_refused_by_name():
    sender = UdpSender()
    with pytest.raises(TypeError, match="a UdpSender cannot be pickled"):
        pickle.dumps(sender)
    sender.close()


def test_the_client_says_that_nobody_takes_it(caplog):
    port = closed_port(socket.SOCK_DGRAM)
    client = MetlogClient.from_config(f"udp://127.0.0.1:{port}")
    for _ in range(3):
        client.log("a")
        client.flush(5)
    stats = client.stats()
    assert stats.transport == {"refused": 3}
    assert stats.accepted == stats.sent + sum(stats.dropped.values())
    client.close()
    told = [record.getMessage() for record in caplog.records if "nobody takes datagrams" in record.getMessage()]
    assert len(told) == 1
    assert f"port {port}" in told[0]
    assert "`metlog doctor`" in told[0]


def test_a_peer_that_takes_it_is_no_news(caplog):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        client = MetlogClient.from_config(f"udp://127.0.0.1:{peer.getsockname()[1]}")
        client.log("a")
        client.flush(5)
        client.close()
        assert client.stats().transport == {}
    assert caplog.records == []


@pytest.mark.untraced
def test_threads_may_send_while_the_address_changes_and_none_uses_a_closed_socket(peer):
    sender = UdpSender(port=port_of(peer))
    address = sender._addresses[0]
    sent, failed, stop = [0] * 4, [], threading.Event()

    def work(number: int) -> None:
        while not stop.is_set() and sent[number] < 5000:
            try:
                sender.send(b"x")
                sent[number] += 1
            except SenderError as error:
                if error.reason != "full":
                    failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        sender._resolved([address])
        time.sleep(0.0005)
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sum(sent) > 0
    sender.close()
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before


def test_a_signal_handler_may_send_while_the_socket_is_made(peer, monkeypatch):
    sender = UdpSender(port=port_of(peer))
    real, inside = sender._connect, []

    def connect() -> None:
        if not inside:  # as a handler that logs, in the middle of the first send
            inside.append(True)
            sender.send(b"handler")
        real()

    monkeypatch.setattr(sender, "_connect", connect)
    sender.send(b"own")
    assert {peer.recv(100), peer.recv(100)} == {b"handler", b"own"}
    sender.close()
