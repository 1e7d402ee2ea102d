"""Sockets that another process bound and keeps: the listener restarts under load, and what came meanwhile is taken."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import pytest

from metlog.errors import ConfigError
from metlog.listener.inputs.http import HttpInput
from metlog.listener.inputs.statsd import StatsdInput
from metlog.listener.inputs.udp import UdpInput, _kernel_drops
from tests.helpers.paths import HELPERS, ROOT
from tests.helpers.ports import port_of

pytestmark = pytest.mark.process

PASSING = HELPERS / "passing.py"
UNITS = ROOT / "deploy/systemd"
SO_RCVBUFFORCE = 33  # Linux; the socket module does not name it
LISTEN = [sys.executable, "-m", "metlog", "listen"]

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts listeners on one data folder with passed sockets, and waits until they take events."""
    with contextlib.ExitStack() as stack:

        def started(
            sockets: list[socket.socket], names: str, *arguments: str, before: Sequence[str] = (), **more: str
        ) -> subprocess.Popen[str]:
            fds = [sock.fileno() for sock in sockets]
            process = subprocess.Popen(
                [*before, sys.executable, str(PASSING), ",".join(map(str, fds)), names,
                 *LISTEN, "--data", str(tmp_path / "data"), *arguments],
                pass_fds=fds, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **more},
            )  # fmt: skip
            stack.callback(process.communicate)
            stack.callback(process.kill)
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("ready"):
                    break
            return process

        yield started


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        yield sock


def numbers(data: Path, type: str = "numbered") -> list[int]:
    sql = "SELECT seq FROM read_parquet(?) WHERE type = ? ORDER BY seq"
    return [row[0] for row in duckdb.connect().execute(sql, [f"{data}/events/*/*.parquet", type]).fetchall()]


def test_restarts_under_load_lose_no_datagram(start: Start, udp: socket.socket, tmp_path: Path) -> None:
    ended = threading.Event()
    sent = 0

    def load() -> None:
        nonlocal sent
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not ended.is_set():
                for _ in range(5):
                    sent += 1
                    sock.sendto(b'{"type":"numbered","stream":"s","seq":%d}\n' % sent, udp.getsockname())
                time.sleep(0.002)

    sender = threading.Thread(target=load)
    sender.start()  # nobody has started yet: the kernel keeps it
    try:
        for option in ("systemd", "systemd:events", "fd://3", "systemd"):
            process = start([udp], "events", "--udp", option)
            time.sleep(0.3)
            end(process)
            time.sleep(0.1)
    finally:
        ended.set()
        sender.join()
    process = start([udp], "events", "--udp", "systemd")
    deadline = time.monotonic() + 20
    while udp_pending(udp) and time.monotonic() < deadline:
        time.sleep(0.05)
    end(process)
    assert sent > 500
    assert _kernel_drops()[os.fstat(udp.fileno()).st_ino] == 0
    assert numbers(tmp_path / "data") == list(range(1, sent + 1))


def udp_pending(sock: socket.socket) -> bool:
    """Whether there is something in the socket still; it is only looked at."""
    try:
        sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    return True


def test_http_clients_wait_while_the_listener_restarts(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()
        acknowledged: list[int] = []
        refused: list[str] = []

        def load() -> None:
            n = 0
            while not ended.is_set():
                n += 1
                while True:  # the same event under the same id, until it is taken
                    connection = http.client.HTTPConnection("127.0.0.1", server.getsockname()[1], timeout=30)
                    try:
                        connection.request("PUT", f"/submit/x/n{n}", b'{"type":"numbered","seq":%d}' % n)
                        if connection.getresponse().status == 201:
                            acknowledged.append(n)
                            break
                    except ConnectionRefusedError as error:
                        refused.append(str(error))
                        return
                    except (OSError, http.client.HTTPException):  # cut off by the end of the one that had taken it
                        pass
                    finally:
                        connection.close()

        client = threading.Thread(target=load)
        client.start()
        try:
            for option in ("systemd", "fd://3", "systemd:web"):
                process = start([server], "web", "--udp", "off", "--http", option)
                before = len(acknowledged)
                deadline = time.monotonic() + 20
                while len(acknowledged) < before + 20 and time.monotonic() < deadline:
                    time.sleep(0.01)
                assert len(acknowledged) >= before + 20
                end(process)
            process = start([server], "web", "--udp", "off", "--http", "systemd")
        finally:
            ended.set()
            client.join()
        end(process)
    assert refused == []
    assert numbers(tmp_path / "data") == acknowledged == list(range(1, len(acknowledged) + 1))


def test_each_input_takes_the_sockets_of_its_name_and_kind(start: Start, udp: socket.socket, tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as metrics,
        socket.create_server(("127.0.0.1", 0)) as web,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other,
    ):
        metrics.bind(("127.0.0.1", 0))
        process = start(
            [other, metrics, web, udp], "other:metrics:web:events",
            "--udp", "systemd:events", "--statsd", "systemd:metrics", "--http", "systemd",
        )  # fmt: skip
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b'{"type":"numbered","seq":1}', udp.getsockname())
            sock.sendto(b"hits:3|c", metrics.getsockname())
        status = json.loads((tmp_path / "data/status.json").read_text())
        bound = {"udp": udp, "statsd": metrics, "http": web}
        expected = {f"{scheme}://127.0.0.1:{sock.getsockname()[1]}" for scheme, sock in bound.items()}
        assert set(status["addresses"]) == expected
        deadline = time.monotonic() + 20
        while (udp_pending(udp) or udp_pending(metrics)) and time.monotonic() < deadline:
            time.sleep(0.02)
        end(process)
    assert numbers(tmp_path / "data") == [1]
    assert len(numbers(tmp_path / "data", "counter")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--udp", "systemd:nobody"], "no (further) socket of a ListenDatagram= line with FileDescriptorName=nobody"),
        (["--udp", "systemd", "--statsd", "systemd"], "no (further) socket of a ListenDatagram= line"),
        (["--udp", "off", "--http", "systemd"], "no (further) socket of a ListenStream= line"),
        (["--udp", "fd://3", "--statsd", "fd://3"], "fd://3: the descriptor 3 is taken by another input"),
        (["--udp", "fd://9"], "fd://9: the descriptor 9 is no open Internet socket of the right kind"),
        (["--udp", "systemd:"], "wants HOST:PORT, as 127.0.0.1:5565, or systemd"),
        (["--udp", f"127.0.0.1:{'9' * 5000}"], "wants HOST:PORT, as 127.0.0.1:5565, or systemd"),
        (["--http", f"fd://{'9' * 5000}"], "wants HOST:PORT, as 127.0.0.1:5565, or systemd"),
    ],
)
def test_what_was_not_passed_is_told_in_one_line(
    start: Start, udp: socket.socket, arguments: list[str], message: str
) -> None:
    process = start([udp], "events", *arguments)
    _, told = process.communicate(timeout=30)
    assert process.returncode in {1, 2}
    assert message in told
    assert len(told.splitlines()) == 1


def test_sockets_for_another_process_are_not_ours(udp: socket.socket, tmp_path: Path) -> None:
    environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": "1"}
    done = subprocess.run(
        [*LISTEN, "--data", str(tmp_path / "data"), "--udp", "systemd"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert "systemd passed no sockets to this process" in done.stderr


def test_systemd_is_told_when_it_takes_events_and_when_it_ends(
    start: Start, udp: socket.socket, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(20)
        process = start([udp], "events", "--udp", "systemd", NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert ear.recv(100) == b"READY=1"
        end(process)
        assert ear.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("kind", [UdpInput, HttpInput, StatsdInput])
def test_options_that_cannot_be_meant_are_refused(kind: type) -> None:
    with pytest.raises(ConfigError, match="fd = 1: wants the number of a descriptor"):
        kind(fd=1)
    with pytest.raises(ConfigError, match="give one of the two"):
        kind(fd=3, systemd=True)


def test_a_listener_that_is_flooded_ends_all_the_same(tmp_path: Path) -> None:
    config = tmp_path / "listener.toml"
    config.write_text("[listener]\ndrain_timeout = 1\n[[inputs]]\nname = 'udp'\nport = 0\n")
    process = subprocess.Popen(
        [*LISTEN, "--data", str(tmp_path / "data"), "--config", str(config)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = port_of(process.stdout.readline())
        assert process.stdout.readline().startswith("ready")
        flood = subprocess.Popen(
            [sys.executable, "-c",
             # Many times what a listener takes, as its socket holds less than is sent between two pauses.
             "import socket, time\n"
             "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
             "frame = b'{\"type\":\"flood\"}\\n' * 50\n"
             "while True:\n"
             f"    for _ in range(500): sock.sendto(frame, ('127.0.0.1', {port}))\n"
             "    time.sleep(0.01)"],
        )  # fmt: skip
        try:
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            assert process.wait(40) == 0
            assert flood.poll() is None
        finally:
            flood.kill()
            flood.wait()
    finally:
        process.kill()
        process.communicate()


def may_pass_over_the_limit() -> bool:
    """Whether this process may give a socket a larger buffer than net.core.rmem_max, as systemd may."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 20)
        except OSError:
            return False
    return shutil.which("setpriv") is not None


@pytest.mark.skipif(not may_pass_over_the_limit(), reason="needs root and setpriv, to do as systemd does")
def test_a_listener_without_privileges_leaves_a_passed_socket_its_larger_receive_buffer(
    start: Start, udp: socket.socket, tmp_path: Path
) -> None:
    limit = int(Path("/proc/sys/net/core/rmem_max").read_text())
    udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, limit * 2)
    config = tmp_path / "listener.toml"
    config.write_text(f"[[inputs]]\nname = 'udp'\nsystemd = true\nreceive_buffer = {limit * 4}\n")
    without = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    process = start([udp], "events", "--config", str(config), before=without)
    status = json.loads((tmp_path / "data/status.json").read_text())
    end(process)
    assert status["sockets"]["udp"][0]["receive_buffer"] == limit * 2
    assert udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == limit * 4  # the kernel's figure is twofold
    assert f"gave a receive buffer of {limit * 2} bytes" in status["warnings"][0]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze: apt-get install systemd")
def test_the_units_are_what_systemd_takes(tmp_path: Path) -> None:
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/metlog/bin/metlog", sys.executable)  # it wants to see the program
        (tmp_path / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())], capture_output=True, text=True
    )
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "metlog" in line]
    assert ours == []
