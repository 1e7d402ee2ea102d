"""`client.statsd` over real sockets: it never raises, never waits, comes back, and counts what it lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from metlog import ConfigError, MetlogClient
from metlog.core.lifecycle import live
from metlog.statsd.client import Settings, TcpStatsd, UdpStatsd, UnixStatsd, check_settings, make
from tests.helpers.ports import free_port
from tests.helpers.waiting import wait_for

DEADLINE = 5.0


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(DEADLINE)
        yield made


class StreamServer:
    """Accepts connections and gathers what arrives, over TCP or a Unix socket."""

    def __init__(self, address: tuple[str, int] | str) -> None:
        inet = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        family = socket.AF_UNIX if isinstance(address, str) else inet
        self.listening = socket.socket(family, socket.SOCK_STREAM)
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listening.bind(address)
        self.listening.listen()
        self.received = b""
        self.connections: list[socket.socket] = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def port(self) -> int:
        return self.listening.getsockname()[1]

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                self.connections.append(connection)
                with contextlib.suppress(OSError):
                    while data := connection.recv(65536):
                        self.received += data

    def stop(self) -> None:
        for each in [self.listening, *self.connections]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive()


def test_every_kind_of_metric_has_the_bytes_of_the_package(server: socket.socket) -> None:
    client = UdpStatsd("127.0.0.1", server.getsockname()[1], prefix="app")
    client.incr("hits", 2)
    client.decr("hits")
    client.timing("took", 320.5)
    client.gauge("size", 4)
    client.gauge("size", -4)
    client.gauge("size", 1, delta=True)
    client.set("users", "u1")
    assert [server.recv(512) for _ in range(7)] == [
        b"app.hits:2|c", b"app.hits:-1|c", b"app.took:320.500000|ms", b"app.size:4|g", b"app.size:0|g\napp.size:-4|g",
        b"app.size:+1|g", b"app.users:u1|s",
    ]  # fmt: skip
    assert client.stats().sent == 8
    client.close()


def test_a_pipeline_splits_at_maxudpsize(server: socket.socket) -> None:
    client = UdpStatsd("127.0.0.1", server.getsockname()[1], maxudpsize=30)
    with client.pipeline() as pipe:
        for index in range(4):
            pipe.incr(f"counter{index}")
    assert server.recv(512) == b"counter0:1|c\ncounter1:1|c"
    assert server.recv(512) == b"counter2:1|c\ncounter3:1|c"
    client.close()


def test_ipv6(server: socket.socket) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
        try:
            six.bind(("::1", 0))
        except OSError as error:
            pytest.skip(f"this machine has no IPv6 loopback: {error}")
        six.settimeout(DEADLINE)
        client = UdpStatsd("localhost", six.getsockname()[1], ipv6=True)
        client.incr("six")
        assert six.recv(512) == b"six:1|c"
        client.close()


def test_ipv6_over_tcp() -> None:
    try:
        server = StreamServer(("::1", 0))
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
    client = TcpStatsd("::1", server.port, ipv6=True)
    client.incr("six")
    wait_for(lambda: server.received == b"six:1|c\n")
    client.close()
    server.stop()


def test_a_udp_server_that_goes_away_costs_the_caller_nothing_and_is_found_again() -> None:
    first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    first.bind(("127.0.0.1", 0))
    address = first.getsockname()
    client = UdpStatsd(*address)
    client.incr("there")
    first.close()
    for _ in range(20):
        client.incr("nobody")  # the kernel tells of the refusal at the next call
    stats = client.stats()
    assert stats.sent + sum(stats.dropped.values()) == 21
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
        second.bind(address)
        second.settimeout(DEADLINE)
        client.incr("back")
        assert second.recv(512) == b"back:1|c"
    client.close()


def test_a_name_is_looked_up_off_the_call_and_metrics_wait_for_it(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    answer = threading.Event()
    real = socket.getaddrinfo

    def slow(host: str, *args: object, **kwargs: object) -> object:
        if host == "statsd.test":
            if kwargs.get("flags"):  # AI_NUMERICHOST: a question that nobody is asked
                raise socket.gaierror(socket.EAI_NONAME, "not a number")
            asked.set()
            answer.wait(DEADLINE)
            host = "127.0.0.1"
        return real(host, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    client = UdpStatsd("statsd.test", server.getsockname()[1])
    assert not asked.is_set()  # nor is a name asked for that nothing is sent to
    client.incr("early")
    assert asked.wait(DEADLINE)
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(512)
    answer.set()
    server.settimeout(DEADLINE)
    assert server.recv(512) == b"early:1|c"
    client.close()


def test_a_udp_name_is_asked_again_after_errors_and_metrics_follow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server moves: the name first stands for an address at which nobody is, then for another."""
    real = socket.getaddrinfo
    answers = ["127.0.0.1"]

    def moving(host: str, *args: object, **kwargs: object) -> object:
        if host == "statsd.test":
            if kwargs.get("flags"):
                raise socket.gaierror(socket.EAI_NONAME, "not a number")
            host = answers[-1]
        return real(host, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", moving)
    monkeypatch.setattr("metlog.senders._resolver.KICK_PAUSE", 0.0)  # seconds between two such questions
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as moved:
        moved.bind(("127.0.0.2", 0))
        moved.setblocking(False)
        client = UdpStatsd("statsd.test", moved.getsockname()[1])
        wait_for(lambda: client.incr("before") or client._line.sender.refused)  # type: ignore[func-returns-value]
        answers.append("127.0.0.2")

        def came() -> bool:
            client.incr("after")
            with contextlib.suppress(BlockingIOError):
                return moved.recv(512) in {b"before:1|c", b"after:1|c"}
            return False

        wait_for(came)
        client.close()


def test_a_tcp_name_is_asked_for_again_until_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name server is down at the start, and comes: the metric that waited arrives."""
    known = threading.Event()
    asked = threading.Event()
    real = socket.getaddrinfo

    def sometimes(host: str, *args: object, **kwargs: object) -> object:
        if host == "statsd.test":
            if kwargs.get("flags") or not known.is_set():
                asked.set()
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            host = "127.0.0.1"
        return real(host, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", sometimes)
    server = StreamServer(("127.0.0.1", 0))
    client = TcpStatsd("statsd.test", server.port, timeout=DEADLINE)
    client.incr("early")
    assert asked.wait(DEADLINE)
    known.set()
    wait_for(lambda: server.received == b"early:1|c\n")
    client.close()
    server.stop()


def test_a_name_that_does_not_exist_raises_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(host: str, *args: object, **kwargs: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    client = UdpStatsd("no.such.host.test", 8125, exit_timeout=0.1)
    client.incr("lost")
    client.close()
    assert client._line.sender.stats()["lost"] == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("call", [
    lambda client: client.gauge("g", "not a number"),
    lambda client: client.timing("t", None),
    lambda client: client.incr("i", rate="often"),
    lambda client: client.pipeline().gauge("g", object()),
])  # fmt: skip
def test_a_value_that_cannot_be_sent_is_counted_not_raised(
    call: Callable[[UdpStatsd], None], server: socket.socket
) -> None:
    client = UdpStatsd("127.0.0.1", server.getsockname()[1])
    call(client)
    assert client.stats().errors == 1
    client.close()


def test_a_name_beyond_ascii_is_sent(server: socket.socket) -> None:
    client = UdpStatsd("127.0.0.1", server.getsockname()[1])
    client.incr("größe\ud800")
    assert server.recv(512) == "größe\\ud800:1|c".encode()
    client.close()


def test_tcp_sends_lines() -> None:
    server = StreamServer(("127.0.0.1", 0))
    client = TcpStatsd("127.0.0.1", server.port, prefix="app")
    client.incr("one")
    with client.pipeline() as pipe:
        pipe.incr("two")
        pipe.incr("three")
    assert client.flush(DEADLINE)
    wait_for(lambda: server.received == b"app.one:1|c\napp.two:1|c\napp.three:1|c\n")
    assert client.stats().sent == 3
    client.close()
    server.stop()


def test_unix_sends_lines(tmp_path: object) -> None:
    path = f"{tmp_path}/statsd.sock"
    server = StreamServer(path)
    client = UnixStatsd(path)
    client.incr("one")
    assert client.flush(DEADLINE)
    wait_for(lambda: server.received == b"one:1|c\n")
    client.close()
    server.stop()


def test_a_unix_server_that_is_not_there_or_goes_away_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "statsd.sock"
    client = UnixStatsd(str(path), timeout=DEADLINE)
    client.incr("early")
    first = StreamServer(str(path))
    wait_for(lambda: first.received == b"early:1|c\n")
    first.stop()
    path.unlink()
    client.incr("between")
    second = StreamServer(str(path))
    wait_for(lambda: b"between:1|c\n" in second.received)
    client.close()
    second.stop()


def test_a_tcp_server_that_refuses_costs_the_caller_nothing_and_is_counted() -> None:
    client = TcpStatsd("127.0.0.1", free_port(), timeout=0.05)
    started = time.monotonic()
    for _ in range(1000):
        client.incr("x")
    assert time.monotonic() - started < 1.0
    wait_for(lambda: client.stats().dropped.get("refused", 0) >= 1)
    client.close()
    stats = client.stats()
    assert stats.sent == 0
    assert stats.buffered == 0
    assert sum(stats.dropped.values()) == 1000


def test_a_tcp_server_that_comes_up_late_gets_what_waited() -> None:
    port = free_port()
    client = TcpStatsd("127.0.0.1", port, timeout=10)
    client.incr("waited")
    server = StreamServer(("127.0.0.1", port))
    wait_for(lambda: server.received == b"waited:1|c\n")
    client.close()
    server.stop()


def test_a_tcp_server_that_restarts_is_found_again() -> None:
    first = StreamServer(("127.0.0.1", 0))
    port = first.port
    client = TcpStatsd("127.0.0.1", port, timeout=10)
    client.incr("before")
    wait_for(lambda: first.received == b"before:1|c\n")
    first.stop()
    client.incr("after")
    second = StreamServer(("127.0.0.1", port))
    wait_for(lambda: second.received == b"after:1|c\n")
    client.close()
    second.stop()


def test_reconnect_makes_a_new_connection() -> None:
    server = StreamServer(("127.0.0.1", 0))
    client = TcpStatsd("127.0.0.1", server.port)
    client.incr("one")
    assert client.flush(DEADLINE)
    client.reconnect()
    client.incr("two")
    wait_for(lambda: server.received == b"one:1|c\ntwo:1|c\n")
    assert len(server.connections) == 2
    client.close()
    server.stop()


def test_a_tcp_server_that_never_reads_neither_blocks_the_caller_nor_the_exit() -> None:
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client = TcpStatsd("127.0.0.1", silent.getsockname()[1], timeout=60, max_bytes=100_000, exit_timeout=0.3)
        name = "n" * 2000
        longest = 0.0
        for _ in range(5000):
            before = time.monotonic()
            client.incr(name)
            longest = max(longest, time.monotonic() - before)
        assert longest < 30  # one that waited for the server would have waited for `timeout`
        stats = client.stats()
        assert stats.dropped.get("queue_full", 0) > 0
        assert stats.sent + stats.buffered + sum(stats.dropped.values()) == 5000
        started = time.monotonic()
        client.close()
        assert time.monotonic() - started < 2.0


def test_close_sends_what_waits_and_later_calls_are_counted() -> None:
    server = StreamServer(("127.0.0.1", 0))
    client = TcpStatsd("127.0.0.1", server.port)
    for _ in range(500):
        client.incr("x")
    client.close()
    wait_for(lambda: server.received.count(b"x:1|c\n") == 500)
    client.incr("late")
    client.close()
    assert client.stats().dropped == {"closed": 1}
    server.stop()


def test_a_forked_child_has_its_own_socket_and_counts(server: socket.socket) -> None:
    client = UdpStatsd("127.0.0.1", server.getsockname()[1])
    client.incr("parent")
    assert server.recv(512) == b"parent:1|c"
    child = os.fork()
    if child == 0:
        client.incr("child")
        os._exit(0 if client.stats().sent == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert server.recv(512) == b"child:1|c"
    assert client.stats().sent == 1
    client.close()


def test_a_forked_child_sends_over_a_tcp_connection_of_its_own() -> None:
    server = StreamServer(("127.0.0.1", 0))
    client = TcpStatsd("127.0.0.1", server.port)
    client.incr("parent")
    assert client.flush(DEADLINE)
    child = os.fork()
    if child == 0:
        client.incr("child")
        os._exit(0 if client.flush(DEADLINE) else 1)
    # the server takes one connection after the other: the parent's has to end before the child's is read
    client.close()
    wait_for(lambda: server.received == b"parent:1|c\nchild:1|c\n")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    server.stop()


@contextlib.contextmanager
def interrupted(handler: Callable[[int, object], None]) -> Iterator[None]:
    """SIGALRM every half a millisecond."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_a_signal_handler_that_counts_cannot_deadlock_and_takes_no_count_away(
    server: socket.socket, closed: bool
) -> None:
    """Closed: both the thread and its handler count drops, for the same reason."""
    client = UdpStatsd("127.0.0.1", server.getsockname()[1])
    if closed:
        client.close()
    calls = made = 0

    def handler(number: int, frame: object) -> None:
        nonlocal calls
        calls += 1
        client.incr("from.handler")

    end = time.monotonic() + 20
    with interrupted(handler):
        while calls < 500 and time.monotonic() < end:
            client.incr("x")
            made += 1
    stats = client.stats()
    assert calls >= 500
    assert stats.sent + sum(stats.dropped.values()) == made + calls
    client.close()


def test_many_threads_lose_nothing_uncounted() -> None:
    server = StreamServer(("127.0.0.1", 0))
    client = TcpStatsd("127.0.0.1", server.port)
    threads = [threading.Thread(target=lambda: [client.incr("x") for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert client.flush(DEADLINE)
    wait_for(lambda: server.received == b"x:1|c\n" * 2000)
    client.close()
    server.stop()


def test_the_client_opens_it_follows_configure_and_closes_it(server: socket.socket) -> None:
    port = server.getsockname()[1]
    client = MetlogClient()
    client.statsd.incr("before")  # does nothing
    client.configure("memory:", statsd={"host": "127.0.0.1", "port": port, "prefix": "a"})
    client.statsd.incr("x")
    assert server.recv(512) == b"a.x:1|c"
    first = client.statsd
    client.configure("memory:", statsd=f"udp://127.0.0.1:{port}?prefix=b")
    client.statsd.incr("x")
    assert server.recv(512) == b"b.x:1|c"
    assert first._line not in live
    last = client.statsd
    client.close()
    assert last._line not in live


@pytest.mark.parametrize(("settings", "said"), [
    ({"host": "h", "prot": 1}, "statsd.prot = 1: no such setting; did you mean 'port'?"),
    ({"port": 0}, "statsd.port = 0: wants 1 to 65535"),
    ({"port": "many"}, "statsd.port = 'many'"),
    ("http://h:1", "statsd.transport = 'http': wants udp, tcp or unix"),
    ({"transport": "unix"}, "statsd.path: transport unix needs the path"),
    ({"path": "/run/x"}, "statsd.path: means nothing over udp"),
    ({"host": "::1"}, "statsd.host = '::1': of the other address family; set ipv6 = true"),
    ({"host": "127.0.0.1", "ipv6": True}, "leave ipv6 out"),
    ({"host": "a,b"}, "wants one host name"),
    ("localhost", "statsd = 'localhost': wants false, true, a URL"),
    (7, "statsd = 7: wants false, true, a URL"),
])  # fmt: skip
def test_a_fault_in_the_settings_names_key_value_and_remedy(settings: object, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_settings(settings)
    assert said in str(raised.value)


def test_settings_from_url_table_and_text_of_an_ini_file() -> None:
    assert check_settings("tcp://h:9125?prefix=app&timeout=2.5") == Settings(
        transport="tcp", host="h", port=9125, prefix="app", timeout=2.5
    )
    assert check_settings("unix:///run/statsd.sock") == Settings(transport="unix", path="/run/statsd.sock")
    assert check_settings({"host": "h", "port": "9125", "ipv6": "false"}) == Settings(host="h", port=9125)
    assert check_settings(True) == check_settings("yes") == check_settings({"prefix": None}) == Settings()


def test_make_gives_the_client_that_the_transport_asks_for() -> None:
    import statsd

    for url, kind in [
        ("udp://127.0.0.1:8125", statsd.StatsClient),
        ("tcp://127.0.0.1:1?exit_timeout=0", statsd.TCPStatsClient),
        ("unix:/nonexistent?exit_timeout=0", statsd.UnixSocketStatsClient),
    ]:
        client = make(check_settings(url))
        assert isinstance(client, kind)
        client.close()


def test_metrics_for_a_name_that_nobody_knows_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, known = threading.Event(), threading.Event()

    def nothing(*_: object, flags: int = 0, **__: object) -> list[object]:
        if not flags & socket.AI_NUMERICHOST:  # which asks no server, so that it takes no time
            asked.set()
            known.wait(DEADLINE)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    client = UdpStatsd("statsd.example")
    client.incr("a")
    with client.pipeline() as pipeline:
        pipeline.incr("b")
        pipeline.incr("c")
    assert asked.wait(DEADLINE)
    assert (client.stats().sent, client.stats().buffered, client.stats().dropped) == (0, 3, {})
    known.set()
    client.close()
    stats = client.stats()
    assert (stats.sent, stats.buffered, stats.dropped) == (0, 0, {"unresolved": 3})


def test_metrics_wait_for_an_address_of_the_family_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def other_family(host: object, port: int, family: int = 0, flags: int = 0, **_: object) -> list[object]:
        if flags & socket.AI_NUMERICHOST or family == socket.AF_INET:
            raise socket.gaierror(socket.EAI_ADDRFAMILY, "Address family for hostname not supported")
        return [(socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("::1", port, 0, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", other_family)
    client = UdpStatsd("statsd.example")
    client.incr("a")
    client.close()
    assert client.stats().dropped == {"unresolved": 1}
    waits, dropped = [record.getMessage() for record in caplog.records]
    assert "Address family for hostname not supported" in waits
    assert dropped == "statsd: metrics are dropped: unresolved (counted in client.statsd.stats(); told once)"
