"""`metlog doctor`: a checklist that reaches what is configured, and says what to do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import zmq

from metlog.diagnose.doctor import Finding, Verdict, check_settings
from metlog.testing.peers import DatagramPeer, StreamPeer, closed_port, silent_peer
from tests.helpers import certificates

FAIL = Verdict.FAIL


def findings(sender: Any, **more: Any) -> list[Finding]:
    """What is said of the sender; all else is right."""
    found = list(check_settings({"logger": "x", "sender": sender, **more}))
    return [finding for finding in found if "sender" in finding.what or "statsd" in finding.what]


def one(sender: Any) -> Finding:
    (finding, statsd) = findings(sender)
    assert statsd == Finding(Verdict.OK, "statsd is off")
    assert (finding.verdict is FAIL) == bool(finding.remedy) or "UDP" in finding.what
    return finding


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    certificates.self_signed(folder)
    return folder


def test_tcp_that_listens_and_tcp_that_does_not() -> None:
    with StreamPeer() as peer:
        assert one(f"tcp://127.0.0.1:{peer.port}") == Finding(
            Verdict.OK, f"sender tcp: 127.0.0.1 port {peer.port} takes the connection"
        )
    dead = one(f"tcp://127.0.0.1:{closed_port()}")
    assert dead.verdict is FAIL
    assert "Connection refused" in dead.what
    assert "metlog listen" in dead.remedy


def test_each_of_several_hosts_is_tried() -> None:
    with StreamPeer() as peer:
        good, bad, _ = findings({"name": "tcp", "host": ["127.0.0.1", "127.0.0.2"], "port": peer.port})
    assert (good.verdict, bad.verdict) == (Verdict.OK, FAIL)
    assert "127.0.0.2" in bad.what


def test_tls_is_spoken_and_a_certificate_that_is_not_trusted_is_seen(tls: Path) -> None:
    with StreamPeer(tls=certificates.server_context(tls)) as peer:
        spec = {"name": "tcp", "port": peer.port, "tls": True}
        assert one({**spec, "ca_file": str(tls / "server.pem")}).verdict is Verdict.OK
        finding = one(spec)
        assert finding.verdict is FAIL
        assert "CERTIFICATE_VERIFY_FAILED" in finding.what
        assert "ca_file" in finding.remedy
        assert peer.data == b""


class Server:
    """Answers every request with one status; counts what had a body."""

    def __init__(self, status: int) -> None:
        self.requests: list[tuple[str, str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                outer.requests.append((self.command, self.path, self.headers.get("authorization")))
                self.send_response(status)
                self.end_headers()

            do_POST = do_GET = do_HEAD

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize(
    ("status", "verdict", "remedy"),
    [(200, Verdict.OK, ""), (405, Verdict.OK, ""), (403, Verdict.OK, ""), (401, FAIL, "correct the token"),
     (404, FAIL, "correct path"), (503, FAIL, "the receiver's own log")],
)  # fmt: skip
def test_http_is_asked_with_its_token_and_submits_nothing(status: int, verdict: Verdict, remedy: str) -> None:
    with Server(status) as server:
        finding = one({"name": "http", "port": server.port, "path": "/submit/x", "token": "hush"})
    assert finding.verdict is verdict
    assert remedy in finding.remedy
    assert str(status) in finding.what
    assert "hush" not in finding.what
    assert server.requests == [("HEAD", "/submit/x", "Bearer hush")]


def test_http_without_a_port_and_dead_http() -> None:
    finding = one(f"http://127.0.0.1:{closed_port()}")
    assert (finding.verdict, "refused" in finding.what) == (FAIL, True)
    finding = one("http://127.0.0.1:1/submit/x")
    assert finding.verdict is FAIL
    finding = one("http://metlog.invalid")  # the default port, a name that cannot be
    assert finding.verdict is FAIL
    assert "folder" not in finding.what + finding.remedy
    assert "DNS" in finding.remedy


def test_https_with_a_certificate_that_is_not_trusted(tls: Path) -> None:
    with StreamPeer(tls=certificates.server_context(tls)) as peer:
        finding = one(f"https://127.0.0.1:{peer.port}")
    assert (finding.verdict, "ca_file" in finding.remedy) == (FAIL, True)


def test_a_peer_that_accepts_and_says_nothing_costs_seconds_not_for_ever() -> None:
    with silent_peer() as port:
        finding = one({"name": "http", "port": port, "timeout": 0.2})
        assert finding.verdict is FAIL
        assert "no firewall" in finding.remedy
        finding = one({"name": "tcp", "port": port, "tls": True, "timeout": 0.2})
        assert finding.verdict is FAIL


def test_udp_on_the_loopback_is_seen() -> None:
    with DatagramPeer() as peer:
        finding = one(f"udp://127.0.0.1:{peer.port}")
        assert finding == Finding(Verdict.OK, f"sender udp: a datagram to 127.0.0.1:{peer.port} is taken")
        assert set(peer.frames) == {b"\n"}  # a blank line is no event
    dead = one(f"udp://127.0.0.1:{closed_port(socket.SOCK_DGRAM)}")
    assert dead.verdict is FAIL
    assert "nothing listens" in dead.what


def own_address() -> str | None:
    """An address of this machine that is not the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = str(probe.getsockname()[0])
        return None if address.startswith("127.") else address


@pytest.mark.skipif(own_address() is None, reason="needs a network interface beside the loopback")
def test_udp_off_the_machine_says_that_it_cannot_know() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((own_address(), 0))
        finding = one(f"udp://{own_address()}:{silent.getsockname()[1]}")
    assert finding.verdict is Verdict.OK
    assert "UDP does not tell whether it arrives" in finding.what
    assert "metlog send" in finding.remedy


def test_a_name_that_does_not_resolve_is_seen_over_any_transport() -> None:
    for spec in ("udp://metlog.invalid", "tcp://metlog.invalid"):
        finding = one(spec)
        assert finding.verdict is FAIL
        assert "metlog.invalid" in finding.what
        assert "DNS" in finding.remedy


@pytest.mark.parametrize("kind", ["dgram", "stream"])
def test_unix(kind: str, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with (DatagramPeer if kind == "dgram" else StreamPeer)(path):
        assert one({"name": "unix", "path": path, "kind": kind}).verdict is Verdict.OK
        other = "stream" if kind == "dgram" else "dgram"
        assert one({"name": "unix", "path": path, "kind": other, "timeout": 0.2}).verdict is FAIL
    assert one({"name": "unix", "path": path, "kind": kind, "timeout": 0.2}).verdict is FAIL  # a socket nobody serves
    assert one({"name": "unix", "path": f"{path}2", "kind": kind, "timeout": 0.2}).verdict is FAIL


def test_a_file_that_can_be_written_and_one_that_cannot(tmp_path: Path) -> None:
    assert one(f"file:{tmp_path}/events").verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "link").symlink_to("/tmp")
    (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere")
    assert one(f"file:{tmp_path}/dangling").verdict is FAIL
    if os.geteuid():
        assert one("file:/events").verdict is FAIL
    (finding, *_) = check_settings({"sender": "file:/no/such/folder/x"})
    assert finding.verdict is FAIL
    assert finding.what.startswith("sender.path = '/no/such/folder/x': there is no folder")


KEYS, OTHER = zmq.curve_keypair(), zmq.curve_keypair()


@pytest.fixture
def pull() -> Iterator[Callable[[bool], str]]:
    context = zmq.Context()
    sockets = []

    def bind(curve: bool) -> str:
        made = context.socket(zmq.PULL)
        sockets.append(made)
        if curve:
            made.curve_secretkey, made.curve_server = KEYS[1], True
        made.bind("tcp://127.0.0.1:*")
        return made.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\0")

    yield bind
    for made in sockets:
        made.close(0)
    context.term()


def test_zeromq_that_answers_that_does_not_and_with_the_wrong_key(
    pull: Callable[[bool], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metlog.senders.zmq.PROBE_WAIT", 0.7)
    assert one({"name": "zmq", "endpoint": pull(False)}).verdict is Verdict.OK
    endpoint = pull(True)
    assert one({"name": "zmq", "endpoint": endpoint, "server_key": KEYS[0].decode()}).verdict is Verdict.OK
    for spec in ({"server_key": OTHER[0].decode()}, {}):
        finding = one({"name": "zmq", "endpoint": endpoint, **spec})
        assert (finding.verdict, "server_key" in finding.remedy) == (FAIL, True), finding
    dead = one({"name": "zmq", "endpoint": f"tcp://127.0.0.1:{closed_port()}"})
    assert (dead.verdict, "refused" in dead.what) == (FAIL, True)
    with silent_peer() as port:
        finding = one({"name": "zmq", "endpoint": f"tcp://127.0.0.1:{port}"})
        assert (finding.verdict, "no handshake" in finding.what) == (FAIL, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        finding = one({"name": "zmq", "endpoint": f"tcp://127.0.0.1:{taken.getsockname()[1]}", "bind": True})
        assert (finding.verdict, "in use" in finding.what) == (FAIL, True)
    assert one({"name": "zmq", "endpoint": "tcp://127.0.0.1:*", "bind": True}).verdict is Verdict.OK


def test_branches_and_alternatives_are_told_by_their_key(tmp_path: Path) -> None:
    with StreamPeer() as peer:
        fallback = {"name": "fallback", "senders": [f"tcp://127.0.0.1:{closed_port()}", f"file:{tmp_path}/x"]}
        found = findings({"name": "tee", "senders": [f"tcp://127.0.0.1:{peer.port}", {"sender": fallback}, "null"]})
    assert [(finding.verdict, finding.what.split(": ")[0]) for finding in found[:-1]] == [
        (Verdict.OK, "sender.senders[0].sender tcp"),
        (FAIL, "sender.senders[1].sender.senders[0] tcp"),
        (Verdict.OK, "sender.senders[1].sender.senders[1] file"),
        (Verdict.OK, "sender.senders[2].sender null"),
    ]


def test_a_sender_of_another_package_is_tried_by_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        max_frame = 1000

        def __init__(self, *, host: str = "127.0.0.1", port: int, paths: list[str] = []) -> None: ...  # noqa: B006
        def send(self, frame: bytes) -> None: ...
        def flush(self) -> None: ...
        def close(self) -> None: ...

    from metlog.plugins import registry

    real = registry.load
    monkeypatch.setattr(
        registry, "load", lambda kind, name, where: Other if name == "other" else real(kind, name, where)
    )
    with StreamPeer() as peer:
        assert one({"name": "other", "port": peer.port}).verdict is Verdict.OK
    assert one({"name": "other", "port": closed_port()}).verdict is FAIL


def test_statsd_is_tried_over_each_transport(tmp_path: Path) -> None:
    with StreamPeer() as stream, DatagramPeer() as datagrams, StreamPeer(str(tmp_path / "s")):
        for url in (f"udp://127.0.0.1:{datagrams.port}", f"tcp://127.0.0.1:{stream.port}", f"unix:{tmp_path}/s"):
            assert findings("null", statsd=url)[-1].verdict is Verdict.OK
    for url in (
        f"tcp://127.0.0.1:{closed_port()}",
        f"udp://127.0.0.1:{closed_port(socket.SOCK_DGRAM)}",
        f"unix:{tmp_path}/s",
    ):
        assert findings("null", statsd=url)[-1].verdict is FAIL


def doctor(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("METLOG_")}
    command = [sys.executable, "-m", "metlog", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd, env={**kept, **environment})


@pytest.mark.process
def test_the_command_tells_every_fault_of_a_file_at_once(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(
        '[metlog]\nlgger = "x"\nsender = "upd://h"\nfilters = [{name = "sample", rate = 2}, {name = "redact", dorp = ["x"]}]\n'
        '[metlog.buffer]\nmax_bytes = 5\n[[tests]]\nevent = {type = "a"}\n'
    )
    done = doctor("--config", "m.toml", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.count("\nFAIL ") == 5
    for words in ("lgger", "'udp'", "filters[0].rate", "filters[1].dorp", "buffer.max_bytes"):
        assert words in done.stdout
    assert "5 to mend" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.process
def test_the_command_says_where_settings_come_from(tmp_path: Path) -> None:
    done = doctor(cwd=tmp_path)
    assert "warn  no settings" in done.stdout
    done = doctor(cwd=tmp_path, METLOG_SENDER="null", METLOG_LOGGER="x")
    assert "ok    settings from the environment: METLOG_LOGGER, METLOG_SENDER" in done.stdout
    assert done.returncode == 0
    done = doctor(cwd=tmp_path, METLOG_SENDRE="null")
    assert done.returncode == 1
    assert "did you mean METLOG_SENDER?" in done.stdout


@pytest.mark.process
def test_wrong_tests_are_told_and_right_ones_pointed_at(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text('logger = "x"\nsender = "null"\n[[tests]]\nevent = {type = "a"}\nexpect = "dropt"\n')
    done = doctor("--config", str(path), cwd=tmp_path)
    assert (done.returncode, "FAIL  tests[0].expect = 'dropt'" in done.stdout) == (1, True)
    path.write_text(path.read_text().replace("dropt", "dropped"))
    done = doctor("--config", str(path), cwd=tmp_path)
    assert (done.returncode, "it has 1 test\n" in done.stdout) == (0, True)
