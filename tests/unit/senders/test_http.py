from __future__ import annotations

import contextlib
import gzip
import http.server
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.util import find_spec

import pytest

from metlog import MetlogClient, plugins
from metlog.errors import ConfigError, SenderError
from metlog.senders import http as http_sender
from metlog.senders.http import HttpSender, HttpsSender
from metlog.senders.http_client import retry_after
from metlog.testing.peers import closed_port, silent_peer
from tests.helpers import certificates

FRAME = b'{"type":"login"}\n'
HANG = object()


class Server:
    """A real HTTP server that answers what `script` says, one entry a request, and then 201."""

    def __init__(self, *script, tls=None):
        self.script, self.requests, self.released = list(script), [], threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((time.monotonic(), self.path, dict(self.headers), body))
                answer = outer.script.pop(0) if outer.script else 201
                if callable(answer):
                    answer = answer()
                if answer is HANG:
                    outer.released.wait(20)
                    self.close_connection = True
                elif isinstance(answer, bytes):
                    self.wfile.write(answer)
                    self.close_connection = True
                else:
                    status, headers, text = answer if isinstance(answer, tuple) else (answer, {}, b"")
                    self.send_response(status)
                    for name, value in {**headers, "Content-Length": str(len(text))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)

    @property
    def bodies(self):
        return [body for _, _, _, body in self.requests]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(http_sender, "FIRST_PAUSE", 0.01)


def send_in_thread(sender, frame=FRAME):
    def run():
        try:
            sender.send(frame)
        except SenderError as error:
            thread.reason = error.reason

    thread = threading.Thread(target=run)
    thread.reason = None
    thread.start()
    return thread


def test_a_frame_is_the_body_of_a_post_with_its_token():
    with Server() as server:
        sender = plugins.build(
            "sender",
            {"name": "http", "host": "127.0.0.1", "port": server.port, "path": "/submit/sync", "token": "t0ken"},
            "sender",
        )
        sender.send(FRAME)
        sender.send(b"\x81\xa4type\xa5login")
        sender.close()
    (_, path, headers, body), (_, _, packed, _) = server.requests
    assert (path, body, headers["Authorization"]) == ("/submit/sync", FRAME, "Bearer t0ken")
    assert (headers["Content-Type"], packed["Content-Type"]) == ("application/x-ndjson", "application/msgpack")
    assert "Content-Encoding" not in headers  # so small a body only grows


def test_a_url_gives_host_port_and_path():
    with Server() as server:
        sender = plugins.build("sender", f"http://127.0.0.1:{server.port}/1.0/submit/a?content_type=text/x", "sender")
        sender.send(FRAME)
        sender.close()
    assert server.requests[0][1:3][0] == "/1.0/submit/a"
    assert server.requests[0][2]["Content-Type"] == "text/x"


@pytest.mark.parametrize(
    ("encoder", "kind"),
    [
        ("json", "application/x-ndjson"),
        ("msgpack", "application/msgpack"),
        ("text", "text/plain; charset=utf-8"),
        ({"name": "signed", "key": "a secret of 20 bytes"}, "application/x-metlog-signed"),
        ({"name": "signed", "key": "a secret of 20 bytes", "encoder": "msgpack"}, "application/x-metlog-signed"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_body_has_the_media_type_that_its_encoder_says(encoder, kind, wrapped):
    with Server() as server:
        sender = {"name": "http", "port": server.port}
        settings = {"name": "fallback", "senders": [sender, "null"]} if wrapped else sender
        with MetlogClient.from_config(sender=settings, encoder=encoder) as client:
            client.log("a")
        with MetlogClient.from_config(sender={**sender, "content_type": "text/x"}, encoder=encoder) as client:
            client.log("a")
    assert [headers["Content-Type"] for _, _, headers, _ in server.requests] == [kind, kind, "text/x", "text/x"]


def test_a_sender_without_a_client_says_what_a_frame_looks_like():
    with Server() as server:
        sender = HttpSender(port=server.port)
        for frame in (b"[1]", b"\x91\x01", b"2026-05-09T07:35:25.123Z INFORMATIONAL login:"):
            sender.send(frame)
        sender.close()
    kinds = [headers["Content-Type"] for _, _, headers, _ in server.requests]
    assert kinds == ["application/x-ndjson", "application/msgpack", "application/octet-stream"]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_compression(compression):
    import zstandard

    undo = {"gzip": gzip.decompress, "zstd": zstandard.decompress, "none": bytes}[compression]
    with Server() as server:
        sender = HttpSender(port=server.port, compression=compression)
        sender.send(FRAME * 1000)
        sender.close()
    _, _, headers, body = server.requests[0]
    assert headers.get("Content-Encoding", "none") == compression
    assert undo(body) == FRAME * 1000
    assert compression == "none" or len(body) < 500


def test_one_connection_serves_many_frames():
    with Server() as server:
        sender = HttpSender(port=server.port)
        opened = []
        real, sender._trace = sender._trace, lambda event, info: (opened.append(event), real(event, info))
        for _ in range(5):
            sender.send(FRAME)
        sender.close()
    assert opened.count("connection.connect_tcp.complete") == 1


def test_a_failing_server_gets_the_same_frame_again():
    with Server(500, 503, 502, 429, 408) as server:
        sender = HttpSender(port=server.port)
        sender.send(FRAME)
        sender.close()
    assert server.bodies == [FRAME] * 6


def test_half_an_answer_is_asked_again_unless_its_status_came():
    with Server(b"HTTP/1.1 2", b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nhalf") as server:
        sender = HttpSender(port=server.port)
        sender.send(FRAME)
        sender.close()
    assert len(server.requests) == 2


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(status, form):
    def answer():
        later = datetime.now(UTC) + timedelta(seconds=2)  # whose fraction of a second the header leaves out
        return status, {"Retry-After": "1" if form == "seconds" else format_datetime(later, usegmt=True)}, b""

    with Server(answer) as server:
        sender = HttpSender(port=server.port)
        sender.send(FRAME)
        sender.close()
    first, second = (moment for moment, *_ in server.requests)
    assert second - first >= 0.9


@pytest.mark.slow
def test_retry_after_holds_for_the_next_frame_too_and_is_capped_by_give_up():
    with Server((503, {"Retry-After": "3600"}, b"")) as server:
        sender = HttpSender(port=server.port, give_up=1)
        begun = time.monotonic()
        sender.send(FRAME)
        assert 0.9 <= time.monotonic() - begun < 20, "not the hour that was asked for"
        sender.close()


@pytest.mark.slow
def test_a_frame_that_waits_for_the_retry_after_of_another_has_all_its_time_afterwards():
    busy = (503, {"Retry-After": "3600"}, b"")

    def slowly():
        time.sleep(0.1)  # which a request in the last millisecond would not wait for
        return 201

    with Server(busy, busy, slowly) as server:
        sender = HttpSender(port=server.port, give_up=1)
        with pytest.raises(SenderError) as caught:
            sender.send(FRAME)  # the second answer is one too many
        assert caught.value.reason == "busy"
        sender.send(FRAME)
        sender.close()
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [("7", 7, 7), ("soon", None, None), ("", None, None), ("-3", None, None), ("Fri, 01 Jan 2010 00:00:00 GMT", 0, 0)],
)
def test_forms_of_retry_after(value, low, high):
    found = retry_after(value)
    assert found is None if low is None else low <= found <= high


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 301])
def test_what_the_server_will_not_have_is_rejected_at_once_with_its_words(status):
    with Server((status, {}, b"no such namespace")) as server:
        sender = HttpSender(port=server.port)
        with pytest.raises(SenderError, match=rf"/submit/metlog: {status} .*no such namespace") as caught:
            sender.send(FRAME)
        assert caught.value.reason == "rejected"
        sender.send(FRAME)
        sender.close()
    assert len(server.requests) == 2


def test_a_server_that_keeps_failing_costs_give_up():
    with Server(*[500] * 1000) as server:
        sender = HttpSender(port=server.port, give_up=0.3)
        begun = time.monotonic()
        with pytest.raises(SenderError) as caught:
            sender.send(FRAME)
        assert caught.value.reason == "server_error"
        assert time.monotonic() - begun < 1.5
        sender.close()


def test_a_server_that_hangs_costs_the_timeout_and_the_frame_is_sent_again():
    with Server(HANG) as server:
        sender = HttpSender(port=server.port, timeout=0.2)
        sender.send(FRAME)
        sender.close()
    assert server.bodies == [FRAME, FRAME]


def test_nobody_there_is_refused():
    sender = HttpSender(port=closed_port(), give_up=0.2)
    with pytest.raises(SenderError) as caught:
        sender.send(FRAME)
    assert caught.value.reason == "refused"
    sender.close()


def test_an_error_names_the_proxy_that_it_may_come_from_and_no_password():
    port = closed_port()
    sender = HttpSender(host="collector.test", proxy=f"http://u:hush@127.0.0.1:{port}", give_up=0.2)
    with pytest.raises(SenderError) as caught:
        sender.send(FRAME)
    words = f"http://collector.test/submit/metlog (by the proxy http://127.0.0.1:{port}): "
    assert str(caught.value).startswith(words)
    assert [str(said).startswith(words) for said in sender.probe()] == [True]
    assert "hush" not in str(caught.value)
    sender.close()


def test_close_ends_a_request_that_waits_for_its_answer():
    with Server(HANG) as server:
        sender = HttpSender(port=server.port, timeout=60)
        sending = send_in_thread(sender)
        while not server.requests:
            time.sleep(0.002)
        begun = time.monotonic()
        sender.close()
        sending.join(5)
        assert time.monotonic() - begun < 1
        assert sending.reason is not None
        assert sender._client is None


def test_close_ends_the_pause_that_the_server_asked_for():
    with Server((429, {"Retry-After": "50"}, b"")) as server:
        sender = HttpSender(port=server.port)
        sending = send_in_thread(sender)
        while not sender._not_before:
            time.sleep(0.002)
        begun = time.monotonic()
        sender.close()
        sending.join(5)
        assert time.monotonic() - begun < 1
        assert sending.reason == "busy"


def test_an_answer_without_end_is_not_read_to_its_end():
    with socket.create_server(("127.0.0.1", 0)) as endless:

        def serve():
            connection, _ = endless.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    connection.sendall(b"x" * 65536)

        thread = threading.Thread(target=serve)
        thread.start()
        sender = HttpSender(port=endless.getsockname()[1])
        sender.send(FRAME)
        sender.close()
        thread.join(5)
        assert not thread.is_alive()


def test_proxies_and_passwords_of_the_environment_are_not_used(monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    with Server() as server:
        sender = HttpSender(port=server.port, give_up=1)
        sender.send(FRAME)
        sender.close()
    assert "Authorization" not in server.requests[0][2]


def test_https_checks_the_certificate(tmp_path):
    certificates.self_signed(tmp_path)
    pem, tls = tmp_path / "server.pem", certificates.server_context(tmp_path)
    with Server(tls=tls) as server:
        good = plugins.build("sender", f"https://127.0.0.1:{server.port}/submit/x?ca_file={pem}", "sender")
        good.send(FRAME)
        good.close()
        stranger = HttpsSender(port=server.port, give_up=0.2)
        with pytest.raises(SenderError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            stranger.send(FRAME)
        assert caught.value.reason == "tls"
        stranger.close()
    assert server.bodies == [FRAME]
    assert HttpsSender(host="collector.example").url == "https://collector.example/submit/metlog"


def test_a_peer_that_accepts_and_says_nothing_costs_give_up():
    with silent_peer() as port:
        sender = HttpSender(port=port, timeout=0.1, give_up=0.3)
        begun = time.monotonic()
        with pytest.raises(SenderError) as caught:
            sender.send(FRAME)
        assert caught.value.reason == "timeout"
        assert time.monotonic() - begun < 2
        sender.close()


def test_faults_name_key_value_and_remedy_and_never_the_token():
    for options, words in [
        ({"path": "submit"}, "path = 'submit': wants a path that begins with /"),
        ({"compression": "lz4"}, "compression = 'lz4': wants one of gzip, zstd, none"),
        ({"timeout": 0}, "timeout = 0.0: wants"),
        ({"give_up": -1}, "give_up = -1: wants"),
        ({"port": 0}, "port = 0: wants"),
        ({"host": ["a", "b"]}, "host = .*wants a text"),
        ({"host": "a,b"}, "wants one host"),
        ({"host": "collector..test"}, "host = 'collector..test', .*: encoding with 'idna' codec failed"),
        ({"host": "a" * 64}, "label (empty or )?too long"),
        ({"host": "xn--a"}, "host = 'xn--a', .*: Codepoint"),
        ({"proxy": "nonsense"}, "proxy = 'nonsense'"),
        ({"proxy": "http://a..b:3128"}, "proxy = 'http://a..b:3128': encoding with 'idna' codec failed"),
    ]:
        with pytest.raises(ConfigError, match=words):
            plugins.build("sender", {"name": "http", **options}, "sender")
    with pytest.raises(ConfigError, match="token: wants printable ASCII") as caught:
        plugins.build("sender", {"name": "http", "token": "hush\n"}, "sender")
    assert "hush" not in str(caught.value)


@pytest.mark.skipif(find_spec("socksio") is not None, reason="socksio is installed")
def test_a_socks_proxy_without_its_package_is_refused_at_the_start():
    with pytest.raises(ConfigError, match=r"pip install httpx\[socks\]") as caught:
        plugins.build("sender", {"name": "http", "proxy": "socks5://u:hush@127.0.0.1:1080"}, "sender")
    assert "hush" not in str(caught.value)


@pytest.fixture
def dripping():
    """A server that says a byte every 50 ms, from the given place of its answer on."""
    ended = threading.Event()
    servers = []

    def start(at_once, drop):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def answer(peer):
            with contextlib.suppress(OSError), peer:
                peer.recv(65536)
                peer.sendall(at_once)
                while not ended.wait(0.05):
                    peer.sendall(drop)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        return server.getsockname()[1]

    yield start
    ended.set()
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    ("at_once", "drop", "taken"),
    [
        (b"", b"H", False),
        (b"HTTP/1.1 20", b"0", False),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b".", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", True),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 60000\r\n\r\n", b".", False),
    ],
)
@pytest.mark.slow
def test_a_server_that_drips_bytes_has_one_deadline_for_a_request(dripping, at_once, drop, taken):
    sender = HttpSender(port=dripping(at_once, drop), timeout=0.3, give_up=0.8)
    begin = time.monotonic()
    if taken:
        sender.send(FRAME)  # the status is the receipt
    else:
        with pytest.raises(SenderError) as raised:
            sender.send(FRAME)
        assert raised.value.reason in {"timeout", "busy", "unreachable"}
    assert 0.25 < time.monotonic() - begin < 4
    sender.close()


def test_the_deadline_of_one_request_is_not_that_of_the_next():
    with Server() as server:
        sender = HttpSender(port=server.port, timeout=0.2)
        for _ in range(8):
            sender.send(FRAME)
            time.sleep(0.06)
        assert len(server.requests) == 8
        sender.close()
