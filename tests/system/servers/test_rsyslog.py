"""A real rsyslog, with the configurations that docs/rsyslog.md shows: events to it, and what others log from it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import metlog
from metlog.encoders.json import JsonEncoder
from tests.helpers.listener import Listener, metlog_command
from tests.helpers.paths import ROOT
from tests.helpers.ports import free_port
from tests.helpers.waiting import eventually

PAGE = ROOT / "docs" / "rsyslog.md"
RAW, PARSED, ONWARD = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
TO_RAW, TO_PARSED = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Starts rsyslog in the foreground with a configuration of the page; gives the port of its input."""
    program = shutil.which("rsyslogd", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if program is None:
        pytest.skip("needs rsyslogd (Debian: apt install rsyslog)")
    with contextlib.ExitStack() as stack:

        def start(configuration: str, **changes: str) -> int:
            port = free_port(socket.SOCK_DGRAM)
            for old, new in {"/var/log": str(tmp_path), **changes}.items():
                configuration = configuration.replace(old, new)
            configuration, inputs = re.subn(
                r'(input\(type="imudp" .*port=)"\d+"',
                rf'\1"{port}"',
                f'global(workDirectory="{tmp_path}")\n{configuration}',
            )
            assert inputs == 1
            file = tmp_path / "rsyslog.conf"
            file.write_text(configuration)
            process = subprocess.Popen(
                [program, "-n", "-f", str(file), "-i", str(tmp_path / "rsyslog.pid")],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip

            def end() -> None:
                process.terminate()
                try:
                    process.communicate(timeout=20)
                finally:
                    process.kill()

            stack.callback(end)
            if not eventually(lambda: taken(port) or process.poll() is not None) or process.poll() is not None:
                process.kill()
                pytest.fail(f"rsyslogd does not listen on {port}; it said: {process.communicate()[0]}")
            return port

        yield start


def client(settings: str, port: int) -> metlog.MetlogClient:
    """A client with the settings that the page shows, but for the port."""
    changed, ports = re.subn(r":\d+\"", f':{port}"', settings)
    assert ports == 1
    return metlog.MetlogClient.from_config(tomllib.loads(changed), logger="shop")


def lines_of(file: Path) -> list[str]:
    return file.read_text("utf-8").splitlines() if file.exists() else []


ODD = [
    "größe 日本 \U0001f600",
    'line\nfeed\t"quote" \\ back \x00 \x1b[31m \u2028',
    "%rawmsg% #012 <13>",
    "",
    "x" * 30_000,
]


def test_events_arrive_whole_whatever_is_in_them(rsyslog: Callable[..., int], tmp_path: Path) -> None:
    port = rsyslog(RAW)
    with client(TO_RAW, port) as sending:
        for number in range(200):
            sending.log(
                ("order", "paid"),
                ODD[number % 5] if number < 20 else "one order",
                fields={"number": number, "user": "ü"},
            )
        sending.flush(10)
    assert sending.stats().frames < 100  # several events a datagram
    file = tmp_path / "events.ndjson"
    assert eventually(lambda: len(lines_of(file)) >= 201), lines_of(file)[-1:]
    events = JsonEncoder().decode(file.read_bytes())
    assert [event.seq for event in events] == list(range(1, 202))
    assert [event.type for event in events] == ["order"] * 200 + ["metlog.end"]
    assert [event.fields.get("number") for event in events[:-1]] == list(range(200))
    assert [event.payload for event in events[:5]] == ODD
    assert {(event.tokens, event.logger, event.fields["user"]) for event in events[:-1]} == {
        (("order", "paid"), "shop", "ü")
    }


def test_rsyslog_routes_by_what_is_in_an_event(rsyslog: Callable[..., int], tmp_path: Path) -> None:
    port = rsyslog(PARSED)
    with client(TO_PARSED, port) as sending:
        for number in range(20):
            sending.log("login", f'nº {number} "in"', fields={"user": f"u{number}"})
            sending.log("login", "details", severity=7, fields={"user": "nobody"})
            sending.log("order", fields={"user": "nobody"})
    assert sending.stats().frames == 61
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.sendto(b"{not an event", ("127.0.0.1", port))
    assert eventually(lambda: lines_of(tmp_path / "refused.txt"))
    assert lines_of(tmp_path / "refused.txt") == ["{not an event"]
    assert lines_of(tmp_path / "logins.txt") == [f'u{number} nº {number} "in"' for number in range(20)]


def test_what_others_log_becomes_events_of_the_listener(
    rsyslog: Callable[..., int], listen: Callable[..., Listener], tmp_path: Path
) -> None:
    listener = listen()
    port = rsyslog(ONWARD, **{'port="5565"': f'port="{listener.address("udp").rpartition(":")[2]}"'})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for number in range(20):
            text = f'<36>Nov 24 07:03:0{number % 10} web-1 sshd[4711]: nº {number}: he said "no" \\ back'
            other.sendto(text.encode(), ("127.0.0.1", port))
    query = "SELECT logger, severity, hostname, payload FROM events WHERE type = 'syslog' ORDER BY payload"

    def rows() -> list[dict[str, Any]]:
        done = metlog_command("query", query, "--data", str(listener.data), "--format", "json")
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found if len(found) >= 20 else []

    found = eventually(rows)
    assert found, listener.status()
    wanted = sorted(f'nº {number}: he said "no" \\ back' for number in range(20))
    assert [row["payload"] for row in found] == wanted
    assert {(row["logger"], row["severity"], row["hostname"]) for row in found} == {("sshd", 4, "web-1")}
