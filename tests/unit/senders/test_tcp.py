from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time

import pytest

from metlog import plugins
from metlog.errors import ConfigError, SenderError
from metlog.senders import _connection, _resolver, tcp
from metlog.senders.tcp import TcpSender
from metlog.testing.peers import StreamPeer, closed_port, silent_peer
from tests.helpers import certificates
from tests.helpers.waiting import wait_for


def in_thread(call):
    """Runs a call that should raise SenderError; `.reason` when it did."""

    def run():
        try:
            call()
        except SenderError as error:
            thread.reason = error.reason

    thread = threading.Thread(target=run)
    thread.reason = None
    thread.start()
    return thread


@pytest.fixture
def peer():
    with StreamPeer() as serving:
        yield serving


def test_frames_follow_each_other_in_one_stream(peer):
    sender = plugins.build("sender", f"tcp://127.0.0.1:{peer.port}", "sender")
    frames = [b'{"n":%d}\n' % number for number in range(100)] + [b"x" * 1_000_000]
    for frame in frames:
        sender.send(frame)
    wait_for(lambda: peer.data == b"".join(frames))
    assert len(peer.streams) == 1
    sender.close()


def test_what_was_sent_arrives_although_close_comes_at_once(peer):
    sender = TcpSender(port=peer.port)
    sender.send(b"x" * 500_000)
    sender.close()
    wait_for(lambda: peer.data == b"x" * 500_000)


def test_a_peer_that_hung_up_is_noticed_before_the_next_frame(peer):
    sender = TcpSender(port=peer.port)
    sender.send(b"1\n")
    wait_for(lambda: peer.data == b"1\n")
    peer.hang_up()
    wait_for(lambda: sender._gone(sender._socket))
    sender.send(b"2\n")
    wait_for(lambda: [bytes(stream) for stream in peer.streams] == [b"1\n", b"2\n"])
    sender.close()


def test_a_host_that_does_not_answer_leaves_the_others_their_share_of_the_time(monkeypatch):
    now, tried = [1000.0], []
    sender = TcpSender(host=["192.0.2.1", "two.example", "192.0.2.4"], port=5565, timeout=12)
    names = {"two.example": ["192.0.2.2", "192.0.2.3"]}
    monkeypatch.setattr(tcp, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        sender, "_lookup", lambda host, end: [(socket.AF_INET, (found, 5565)) for found in names.get(host, [host])]
    )

    def silent(host, address, end):
        tried.append((address[1][0], end - now[0]))
        now[0] = end
        raise TimeoutError

    monkeypatch.setattr(sender, "_connect_to", silent)
    with pytest.raises(TimeoutError):
        sender._connect(1012.0)
    assert tried == [("192.0.2.1", 4), ("192.0.2.2", 2), ("192.0.2.3", 2), ("192.0.2.4", 4)]
    sender.close()


def test_a_frame_waits_for_a_peer_that_restarts():
    port = closed_port()
    sender = TcpSender(port=port)
    sending = in_thread(lambda: sender.send(b"patient\n"))
    wait_for(lambda: sender._last_error is not None)
    with StreamPeer(("127.0.0.1", port)) as peer:
        wait_for(lambda: peer.data == b"patient\n")
        sending.join(5)
        assert sending.reason is None
        sender.close()


def test_nobody_there_is_refused_after_the_timeout_and_then_at_once_while_backing_off(monkeypatch):
    sender = TcpSender(port=closed_port(), timeout=0.3)
    begun = time.monotonic()
    with pytest.raises(SenderError, match=r"127\.0\.0\.1 port .*refused") as caught:
        sender.send(b"frame")
    assert caught.value.reason == "refused"
    assert time.monotonic() - begun < 1
    sender._not_before = time.monotonic() + 60
    begun = time.monotonic()
    with pytest.raises(SenderError):
        sender.send(b"frame")
    assert time.monotonic() - begun < 0.2
    sender.close()


def test_pauses_grow_with_jitter_and_start_again_after_a_success():
    backoff = _connection.Backoff(0.1, 5.0)
    pauses = [backoff.pause() for _ in range(10)]
    most = [min(0.1 * 2**n, 5.0) for n in range(10)]
    assert all(limit / 2 <= pause <= limit for pause, limit in zip(pauses, most, strict=True))
    assert len(set(pauses)) == 10
    backoff.reset()
    assert backoff.pause() <= 0.1


def test_a_peer_that_never_reads_costs_one_timeout():
    with silent_peer() as port:
        sender = TcpSender(port=port, timeout=0.2)
        begun = time.monotonic()
        with pytest.raises(SenderError) as caught:
            sender.send(b"x" * 50_000_000)
        assert caught.value.reason == "timeout"
        assert time.monotonic() - begun < 1.5
        sender.close()


@pytest.mark.parametrize("accept", [True, False])
def test_close_ends_a_send_that_waits(accept):
    with silent_peer(accept=accept) as port:
        sender = TcpSender(port=port, timeout=60)
        sending = in_thread(lambda: sender.send(b"x" * 50_000_000))
        wait_for(lambda: sender._socket is not None)
        begun = time.monotonic()
        sender.close()
        sending.join(5)
        assert time.monotonic() - begun < 1
        assert sending.reason is not None
        assert sender._socket is None


def test_close_ends_the_pause_between_two_attempts():
    sender = TcpSender(port=closed_port(), timeout=60)
    sending = in_thread(lambda: sender.send(b"x"))
    wait_for(lambda: sender._last_error is not None)
    begun = time.monotonic()
    sender.close()
    sending.join(5)
    assert time.monotonic() - begun < 1
    assert sending.reason == "refused"


def test_a_deadline_bounds_all_waiting_together():
    sender = TcpSender(port=closed_port(), timeout=60)
    sending = in_thread(lambda: sender.send(b"x"))
    wait_for(lambda: sender._last_error is not None)
    begun = time.monotonic()
    sender.deadline(0.2)
    sending.join(5)
    with pytest.raises(SenderError):
        sender.send(b"y")
    sender.flush()
    sender.close()
    assert time.monotonic() - begun < 1


def test_a_lookup_that_hangs_does_not_hold_close_up(monkeypatch):
    asked, go_on, real = threading.Event(), threading.Event(), socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        if host != "slow.example" or kwargs.get("flags"):
            return real(host, *args, **kwargs)
        asked.set()
        go_on.wait(10)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(_resolver.socket, "getaddrinfo", getaddrinfo)
    sender = TcpSender(host="slow.example", timeout=60)
    sending = in_thread(lambda: sender.send(b"x"))
    assert asked.wait(5)
    begun = time.monotonic()
    sender.close()
    sending.join(5)
    assert time.monotonic() - begun < 1
    assert sending.reason == "timeout"
    go_on.set()


def test_a_name_that_does_not_exist_is_unresolved(monkeypatch):
    real = socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        if kwargs.get("flags"):
            return real(host, *args, **kwargs)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(_resolver.socket, "getaddrinfo", getaddrinfo)
    sender = TcpSender(host="nowhere.example", timeout=0.2)
    with pytest.raises(SenderError) as caught:
        sender.send(b"x")
    assert caught.value.reason == "unresolved"
    sender.close()


def test_the_next_host_is_tried(peer):
    sender = TcpSender(host=["127.0.0.2", "127.0.0.1"], port=peer.port)
    sender.send(b"here\n")
    wait_for(lambda: peer.data == b"here\n")
    sender.close()


# TLS with a real certificate.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    for name, subject in (("server", "collector.example"), ("client", "app"), ("stranger", "collector.example")):
        certificates.self_signed(folder, name, subject)
    return folder


def server_context(folder, *, demand_client=False):
    context = certificates.server_context(folder)
    if demand_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / "client.pem")
    return context


def test_tls_with_a_trusted_certificate(folder):
    with StreamPeer(tls=server_context(folder)) as peer:
        for count, name in enumerate((None, "collector.example"), 1):
            sender = TcpSender(port=peer.port, tls=True, ca_file=str(folder / "server.pem"), server_name=name)
            sender.send(b"x" * 100_000)
            sender.send(b"secret\n")  # after the session tickets came, which are not an end
            arrived = [b"x" * 100_000 + b"secret\n"] * count
            wait_for(lambda arrived=arrived: list(map(bytes, peer.streams)) == arrived)
            sender.close()


def test_tls_connects_again_after_a_restart_with_pauses_and_a_whole_handshake(folder, monkeypatch):
    pauses, real = [], _connection.Backoff.pause
    monkeypatch.setattr(_connection.Backoff, "pause", lambda self: pauses.append(real(self)) or pauses[-1])
    sender = None
    with StreamPeer(tls=server_context(folder)) as peer:
        port = peer.port
        sender = TcpSender(port=port, tls=True, ca_file=str(folder / "server.pem"), timeout=10.0)
        sender.send(b"before\n")
        wait_for(lambda: peer.data == b"before\n")
        peer.hang_up()
    wait_for(lambda: sender._gone(sender._socket))
    sending = in_thread(lambda: sender.send(b"after\n"))
    wait_for(lambda: len(pauses) >= 3)
    assert pauses[0] < pauses[2]
    with StreamPeer(("127.0.0.1", port), tls=server_context(folder)) as again:
        wait_for(lambda: again.data == b"after\n", 10)
        sending.join(5)
        assert sending.reason is None
        assert sender._socket.version().startswith("TLS")
        sender.close()


@pytest.mark.slow  # each tries again until its time is over
@pytest.mark.parametrize(("ca", "name"), [("stranger.pem", None), (None, None), ("server.pem", "other.example")])
def test_tls_sends_nothing_to_a_peer_that_is_not_trusted(folder, ca, name):
    with StreamPeer(tls=server_context(folder)) as peer:
        ca_file = str(folder / ca) if ca else None
        sender = TcpSender(port=peer.port, tls=True, ca_file=ca_file, server_name=name, timeout=2.0)
        with pytest.raises(SenderError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            sender.send(b"secret\n")
        assert caught.value.reason == "tls"
        sender.close()
        assert b"secret" not in peer.data


@pytest.mark.slow
def test_tls_with_a_certificate_of_our_own(folder):
    options = {"tls": True, "ca_file": str(folder / "server.pem"), "timeout": 5.0}
    own = {"cert_file": str(folder / "client.pem"), "key_file": str(folder / "client.key")}
    with StreamPeer(tls=server_context(folder, demand_client=True)) as peer:
        sender = TcpSender(port=peer.port, **options, **own)
        sender.send(b"who I am\n")
        wait_for(lambda: peer.data == b"who I am\n")
        sender.close()
        without = TcpSender(port=peer.port, **options)
        with contextlib.suppress(SenderError):  # TLS 1.3: the handshake is over before the server's verdict, mostly
            without.send(b"nobody\n")
        wait_for(lambda: peer.errors)
        without.close()
        assert b"nobody" not in peer.data


def test_tls_to_a_peer_that_does_not_speak_it_ends_in_time():
    with silent_peer() as port:
        sender = TcpSender(port=port, tls=True, timeout=0.3)
        begun = time.monotonic()
        with pytest.raises(SenderError) as caught:
            sender.send(b"secret")
        assert caught.value.reason == "timeout"
        assert time.monotonic() - begun < 1.5
        sender.close()


def test_faults_name_key_value_and_remedy(folder):
    missing, pem = str(folder / "none.pem"), str(folder / "server.pem")
    for options, words in [
        ({"port": 70_000}, "port = 70000: wants a port"),
        ({"timeout": 0}, "timeout = 0.0: wants a number of seconds above 0"),
        ({"max_frame": 3}, "max_frame = 3: wants"),
        ({"ca_file": pem}, "ca_file = .*: means nothing without TLS; set tls = true"),
        ({"tls": True, "ca_file": missing}, "ca_file = '.*none.pem': .*No such file.*wants a PEM file"),
        ({"tls": True, "key_file": pem}, "key_file = .*needs cert_file"),
        ({"tls": True, "cert_file": pem}, "cert_file = .*want PEM files of a certificate and its key"),
    ]:
        with pytest.raises(ConfigError, match=words):
            plugins.build("sender", {"name": "tcp", **options}, "sender")
