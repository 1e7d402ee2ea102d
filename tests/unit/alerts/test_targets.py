"""Who is told: a web server, a program, a syslog socket, a listener; each real."""

from __future__ import annotations

import hmac
import http.server
import json
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metlog.alerts.targets import Notice
from metlog.alerts.targets.command import CommandTarget
from metlog.alerts.targets.event import EventTarget
from metlog.alerts.targets.syslog import SyslogTarget
from metlog.alerts.targets.webhook import WebhookTarget
from metlog.errors import MetlogError
from metlog.event import Event
from tests.helpers.ports import free_port
from tests.helpers.receivers import receiver

NOTICE = Notice(
    id="errors-1", alert="errors", kind="firing", state="firing", text="alert errors fires: é\n<b>", severity=1, when="value > 5",
    value=9.0, row={"value": 9}, at="2026-11-29T00:00:00Z", since="2026-11-29T00:00:00Z",
)  # fmt: skip


@contextmanager
def hook(status: int = 200) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    taken: list[tuple[dict[str, str], bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            taken.append(({key.lower(): value for key, value in self.headers.items()}, body))
            self.send_response(status)
            self.send_header("content-length", "4")
            self.end_headers()
            self.wfile.write(b"said")

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hook?key=secret", taken
        server.shutdown()
        thread.join()


def test_a_webhook_gets_signed_json_and_a_header_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_TOKEN", "Bearer abc")
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    with hook() as (url, taken):
        options = {"headers": {"x-team": "shop"}, "headers_env": {"Authorization": "HOOK_TOKEN"}}
        WebhookTarget(url=url, secret_env="HOOK_SECRET", **options).send(NOTICE)  # type: ignore[arg-type] # of a dict
    ((headers, body),) = taken
    assert msgspec.json.decode(body, type=Notice) == NOTICE
    assert (headers["authorization"], headers["x-team"], headers["content-type"]) == (
        "Bearer abc",
        "shop",
        "application/json",
    )
    signed = headers["x-metlog-timestamp"].encode() + b"." + body
    assert headers["x-metlog-signature"] == f"sha256={hmac.new(b's3cret', signed, 'sha256').hexdigest()}"


def test_a_webhook_that_refuses_or_is_not_there_is_told_without_secrets(tmp_path: Path) -> None:
    with hook(500) as (url, _):
        target = WebhookTarget(url=url)
        with pytest.raises(MetlogError, match="500 Internal Server Error: said") as error:
            target.send(NOTICE)
        assert "secret" not in str(error.value)
        assert "secret" not in target.describe()
    with pytest.raises(MetlogError, match="refused"):
        WebhookTarget(url=f"http://127.0.0.1:{free_port()}/").send(NOTICE)
    with pytest.raises(MetlogError, match="NOSUCH is not set"):
        WebhookTarget(url="http://127.0.0.1:1/", headers_env={"Authorization": "NOSUCH"}).send(NOTICE)
    with pytest.raises(MetlogError, match="cannot be read, or is empty"):
        WebhookTarget(url="http://127.0.0.1:1/", secret_file=str(tmp_path / "none")).send(NOTICE)


@pytest.mark.process
def test_a_command_gets_json_without_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "x")
    program = "import sys, os, json; json.dump([sys.argv[1:], json.load(sys.stdin), sorted(os.environ)], open(sys.argv[1], 'w'))"
    out = tmp_path / "out; rm -rf $HOME"
    CommandTarget(argv=[sys.executable, "-c", program, str(out), "$(id)"]).send(NOTICE)
    arguments, notice, environment = json.loads(out.read_text())
    assert arguments == [str(out), "$(id)"]
    assert msgspec.convert(notice, Notice) == NOTICE
    assert "A_SECRET" not in environment


@pytest.mark.process
def test_a_command_that_fails_hangs_or_is_not_there_is_told() -> None:
    with pytest.raises(MetlogError, match="ended with 3: no pager"):
        CommandTarget(argv=[sys.executable, "-c", "import sys; sys.stderr.write('no pager'); sys.exit(3)"]).send(NOTICE)
    with pytest.raises(MetlogError, match=r"did not end within 0\.2 s"):
        CommandTarget(argv=[sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2).send(NOTICE)
    with pytest.raises(MetlogError, match="cannot be started: No such file"):
        CommandTarget(argv=["/no/such/program"]).send(NOTICE)


@pytest.mark.process
def test_a_command_has_ended_when_its_program_has_whatever_it_leaves_running(tmp_path: Path) -> None:
    # A process of another session, which nobody kills with the program, and which keeps its standard error open.
    leave = (
        "import subprocess, sys; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(30)'], start_new_session=True); "
        "open(sys.argv[1], 'w').write(str(child.pid)); sys.stderr.write('left'); sys.exit(int(sys.argv[2]))"
    )
    for status in (0, 3):
        pid = tmp_path / f"pid-{status}"
        target = CommandTarget(argv=[sys.executable, "-c", leave, str(pid), str(status)], timeout=20.0)
        try:
            if status:
                with pytest.raises(MetlogError, match="ended with 3: left"):
                    target.send(NOTICE)
            else:
                target.send(NOTICE)
        finally:
            os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.mark.process
def test_of_what_a_command_says_the_end_is_kept_and_no_more() -> None:
    talk = (
        "import sys\nfor _ in range(100): sys.stderr.write('x' * 1_000_000)\nsys.stderr.write('the end')\nsys.exit(3)"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MetlogError, match=r"ended with 3: x+the end"):
        CommandTarget(argv=[sys.executable, "-c", talk]).send(NOTICE)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB, of 100 MB that it said


@pytest.mark.process
def test_a_command_gets_a_long_notice_whole_or_need_not_read_it(tmp_path: Path) -> None:
    notice = msgspec.structs.replace(NOTICE, text="é" * 500_000)
    out = tmp_path / "out"
    CommandTarget(argv=["/bin/sh", "-c", f"cat > {out}"]).send(notice)
    assert msgspec.json.decode(out.read_bytes(), type=Notice) == notice
    CommandTarget(argv=["/bin/true"]).send(notice)


def test_a_webhook_that_answers_a_byte_at_a_time_is_left_at_its_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            taken, _ = server.accept()
            with taken, suppress(OSError):
                taken.sendall(b"HTTP/1.1 200 OK\r\nx: ")
                for _ in range(200):
                    taken.sendall(b"a")
                    over.wait(0.05)
                taken.sendall(b"\r\ncontent-length: 0\r\n\r\n")

        over = threading.Event()
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        target = WebhookTarget(url=f"http://127.0.0.1:{server.getsockname()[1]}/", timeout=0.5)
        with pytest.raises(MetlogError, match=r"no answer within 0\.5 s"):
            target.send(NOTICE)
        over.set()
        thread.join()


def test_syslog_has_facility_severity_and_one_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(tmp_path / "log"))
        SyslogTarget(path=str(tmp_path / "log"), facility="local0").send(NOTICE)
        assert log.recv(4096).decode() == f"<{16 * 8 + 1}>metlog[{os.getpid()}]: alert errors fires: é <b>"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        SyslogTarget(host="127.0.0.1", port=server.getsockname()[1]).send(NOTICE)
        line = server.recv(4096).decode()
    assert line.startswith("<25>1 20")
    assert line.endswith(f" metlog {os.getpid()} alert - alert errors fires: é <b>")
    with pytest.raises(OSError, match="No such file"):
        SyslogTarget(path=str(tmp_path / "none")).send(NOTICE)


def test_an_event_goes_to_the_listener_of_this_process_or_to_a_sender(tmp_path: Path) -> None:
    taken: list[Event] = []
    target = EventTarget()
    target.bind(taken.extend)
    target.send(NOTICE)
    (event,) = taken
    assert (event.type, event.tokens, event.severity, event.payload) == ("alert", ("alert", "firing"), 1, NOTICE.text)
    assert (event.fields["alert"], event.fields["value"], event.logger) == ("errors", 9.0, "metlog.alerts")
    with receiver("udp", tmp_path) as there:
        remote = EventTarget(to=there.sender)
        remote.bind(None)
        remote.send(NOTICE)
        (seen,) = there.application(1)
    assert (seen.type, seen.fields["alert"]) == ("alert", "errors")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"headers_env": {"Authorization": "NOSUCH"}}, "NOSUCH is not set"),
        ({"secret_env": "NOSUCH"}, "NOSUCH is not set"),
        ({"secret_file": "/nonexistent/secret"}, "cannot be read"),
    ],
)
def test_a_webhook_that_could_not_be_told_is_refused_with_the_configuration(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        WebhookTarget(url="http://127.0.0.1:1/", **options).bind(None)
