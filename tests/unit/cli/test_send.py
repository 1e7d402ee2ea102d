"""`metlog send`: waits for its sender, says what was refused, shows a bar on a terminal."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from metlog.encoders.json import JsonEncoder
from metlog.testing.peers import closed_port

pytestmark = pytest.mark.process

COMMAND = [sys.executable, "-m", "metlog", "send"]


def run(*arguments: str, data: bytes | None = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *arguments], input=data, capture_output=True, timeout=100)


class Slow(ThreadingHTTPServer):
    """Takes every frame, a while after it came."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                time.sleep(0.05)
                self.send_response(201)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/submit/x?compression=none"

    def events(self) -> list[Any]:
        found = [event for body in self.bodies for event in JsonEncoder().decode(body)]
        return [event for event in found if not event.type.startswith("metlog.")]


@pytest.fixture
def slow() -> Iterator[Slow]:
    server = Slow()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("as_json", [False, True])
def test_more_than_a_queue_holds_is_sent_whole(slow: Slow, as_json: bool) -> None:
    count, size = 30_000, 400  # 12 MB of payload through a queue of 8 MiB
    lines = [json.dumps({"n": n, "x": "y" * size}) if as_json else f"{n} " + "y" * size for n in range(count)]
    done = run("--to", slow.url, *(["--json"] if as_json else []), data="\n".join(lines).encode())
    assert (done.returncode, done.stderr) == (0, f"{count} events sent\n".encode())
    events = slow.events()
    numbers = [event.fields["n"] if as_json else int(event.payload.split()[0]) for event in events]
    assert numbers == list(range(count))


def test_a_bar_on_a_terminal_and_none_elsewhere(slow: Slow, tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("".join(f"line {n}\n" for n in range(20_000)))
    controller, terminal = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with path.open("rb") as lines:
        process = subprocess.Popen([*COMMAND, "--to", slow.url], stdin=lines, stderr=terminal, env=environ)
        os.close(terminal)
        shown = b""
        while True:
            try:
                piece = os.read(controller, 65536)
            except OSError:  # Linux's word for a terminal whose other end is closed
                break
            if not piece:
                break
            shown += piece
    assert process.wait(30) == 0
    os.close(controller)
    assert b"events" in shown
    assert b"%" in shown  # a file has an end
    assert b"20000 events sent" in shown
    assert len(slow.events()) == 20_000


@pytest.mark.parametrize("arguments", [["hello"], []])
def test_what_nobody_takes_is_no_success(arguments: list[str]) -> None:
    port = closed_port(socket.SOCK_DGRAM)
    done = run("--to", f"udp://127.0.0.1:{port}", *arguments, data=b"a\nb\n")
    assert done.returncode == 1
    assert b"every datagram was refused" in done.stderr
    assert b"`metlog doctor`" in done.stderr


def test_what_somebody_takes_is() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        done = run("--to", f"udp://127.0.0.1:{peer.getsockname()[1]}", "hello")
        assert (done.returncode, done.stderr) == (0, b"")
        assert b'"payload":"hello"' in peer.recv(65536)


@pytest.mark.parametrize("scheme", ["tcp", "http"])
def test_a_connection_that_is_refused_is_no_success(scheme: str) -> None:
    port = closed_port()
    done = run("--to", f"{scheme}://127.0.0.1:{port}?timeout=0.3" + ("&give_up=0.3" if scheme == "http" else ""), "x")
    assert done.returncode == 1
    assert b"refused" in done.stderr
    assert b"`metlog doctor`" in done.stderr


class TestSettings:
    """The environment's settings hold for the command; what the command line says goes before them."""

    def sent(self, tmp_path: Path, *arguments: str, **environment: str) -> dict[str, Any]:
        done = subprocess.run(
            [*COMMAND, *arguments], input=b"", capture_output=True, timeout=100, cwd=tmp_path,
            env={**os.environ, "METLOG_SENDER": "stdout:", **environment},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        event: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
        return event

    def test_filters_and_logger_of_the_environment(self, tmp_path: Path) -> None:
        event = self.sent(
            tmp_path, "hi", "--field", "user=u1", "--field", "n=1", METLOG_FILTERS="redact:?drop=user", METLOG_LOGGER="shop"
        )  # fmt: skip
        assert (event["fields"], event["logger"]) == ({"n": 1}, "shop")

    def test_a_file_of_the_environment(self, tmp_path: Path) -> None:
        (tmp_path / "client.toml").write_text(
            'sender = "udp://127.0.0.1:1"\nlogger = "shop"\nfields = { region = "eu" }\n'
        )
        event = self.sent(tmp_path, "hi", "--logger", "other", METLOG_CONFIG="client.toml")
        assert (event["fields"], event["logger"]) == ({"region": "eu"}, "other")

    @pytest.mark.parametrize(("text", "number"), [("3", 3), ("error", 3), ("WARN", 4), ("info", 6)])
    def test_severity_by_number_or_name(self, tmp_path: Path, text: str, number: int) -> None:
        assert self.sent(tmp_path, "hi", "--severity", text)["severity"] == number

    @pytest.mark.parametrize("text", ["9", "-1", "nope", ""])
    def test_another_severity_is_refused(self, text: str) -> None:
        done = run("hi", f"--severity={text}", "--to", "stdout:")
        assert (done.returncode, done.stdout) == (2, b"")
        assert f"--severity {text!r}: wants 0 (emergency) to 7 (debug), or its name" in done.stderr.decode()
