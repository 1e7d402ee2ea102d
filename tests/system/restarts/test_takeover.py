"""`metlog listen --takeover`: a new process takes sockets and journal of the one that runs, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from metlog.listener.takeover import Predecessor
from tests.helpers.commands import metlog_here
from tests.helpers.listener import Listener, environment
from tests.helpers.load import in_parquet, kernel_drops, load
from tests.helpers.ports import port_of
from tests.helpers.waiting import wait_for
from tests.system.restarts.test_reload import LAKE, PATIENT, RATE, SECONDS, UDP, numbers, send

CONFIG = UDP + '[[inputs]]\nname = "http"\nport = 0\n' + LAKE

Start = Any


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def started(text: str = CONFIG, *arguments: str, data: Path | None = None) -> Listener:
            file = tmp_path / "listener.toml"
            file.write_text(text, "utf-8")
            made = Listener(data or tmp_path / "data", "--config", str(file), *arguments)
            stack.callback(made.stop)
            return made

        yield started


def told(listener: Listener) -> str:
    """What a listener that has ended said on standard error."""
    _, text = listener.process.communicate(timeout=60)
    return str(text)


def refused(data: Path, file: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "metlog", "listen", "--takeover", "--data", str(data), "--config", str(file)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**environment(), **more}, timeout=60, start_new_session=True
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_takeovers_under_load_lose_nothing(start: Start, tmp_path: Path) -> None:
    patient = PATIENT + CONFIG
    old = start(patient)
    address = old.address("udp")
    count = dropped = 0
    with load(address, rate=RATE, seconds=SECONDS) as going:
        time.sleep(0.5)
        while going.going:
            new = start(patient, "--takeover")
            assert new.addresses == old.addresses
            text = told(old)
            assert f"handed over to process {new.process.pid}" in text
            print(text.strip().splitlines()[-1])
            assert old.process.returncode == 0
            old = new
            count += 1
            time.sleep(0.3)
        sent = going.end()
    assert count >= 2
    assert old.stop(patience=150) == 0
    dropped = kernel_drops(old.status())
    lost, twice = in_parquet(tmp_path / "data", sent["streams"])
    pace = sent["events"] / sent["seconds"]
    print(
        f"{sent['events']:,} events at {pace:,.0f} a second, {count} takeovers: {lost} lost, {twice} twice, {dropped} dropped"
    )
    assert (lost, twice) == (0, 0)


def test_the_socket_is_for_the_same_user_alone(start: Start, tmp_path: Path) -> None:
    listener = start()
    path = tmp_path / "data" / "journal" / "main" / "takeover"
    assert path.exists()
    facts = path.stat()
    assert stat.S_ISSOCK(facts.st_mode)
    assert stat.S_IMODE(facts.st_mode) == 0o600
    checked = metlog_here("journal", "check", "--data", str(tmp_path / "data"))
    assert checked.returncode == 0, checked.stdout
    assert listener.stop() == 0
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_another_user_is_refused(start: Start, tmp_path: Path) -> None:
    listener = start()
    path = tmp_path / "data" / "journal" / "main" / "takeover"
    assert path.exists()
    path.chmod(0o666)  # as if the file's mode did not keep others out
    path.parent.chmod(0o755)
    code = (
        f"import os, socket; os.chdir({str(path.parent)!r}); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect('takeover')\n"
        's.send(b\'{"what": "ask"}\'); print(len(s.recv(100)))'
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout == "0\n" or "ConnectionReset" in done.stderr or "BrokenPipe" in done.stderr, done.stderr
    send(port_of(listener.address("udp")), range(1, 4))
    assert listener.stop() == 0
    assert numbers(tmp_path / "data") == [1, 2, 3]


def test_without_a_listener_it_starts_by_itself(start: Start, tmp_path: Path) -> None:
    listener = start(CONFIG, "--takeover")
    send(port_of(listener.address("udp")), range(1, 4))
    listener.process.send_signal(signal.SIGTERM)
    assert "there was no listener to take over from" in told(listener)
    assert numbers(tmp_path / "data") == [1, 2, 3]


@pytest.mark.parametrize("left", [True, False])
def test_a_listener_that_was_killed_is_taken_over_from_too(start: Start, tmp_path: Path, left: bool) -> None:
    old = start()
    old.stop(signal.SIGKILL)
    path = tmp_path / "data" / "journal" / "main" / "takeover"
    if not left:
        path.unlink(missing_ok=True)
    new = start(CONFIG, "--takeover")
    assert new.stop() == 0


def test_a_new_process_that_cannot_start_leaves_the_old_one_running(start: Start, tmp_path: Path) -> None:
    old = start()
    file = tmp_path / "other.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = f'[[inputs]]\nname = "tcp"\nport = {taken.getsockname()[1]}\n'
        for text, problem in [(UDP + other + LAKE, "is another process listening there"), ("x = 1\n", "no such table")]:
            file.write_text(text, "utf-8")
            done = refused(tmp_path / "data", file)
            assert done.returncode in {1, 2}
            assert problem in done.stderr
            send(port_of(old.address("udp")), range(1, 4))
            assert old.process.poll() is None
    assert old.stop() == 0
    assert numbers(tmp_path / "data") == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("point", ["recover", "create"])
def test_one_that_dies_while_it_takes_over_gives_everything_back(start: Start, tmp_path: Path, point: str) -> None:
    """Killed after the old process has closed the journal, in the middle of opening it."""
    old = start()
    port = port_of(old.address("udp"))
    send(port, range(1, 101))
    done = (
        refused(tmp_path / "data", tmp_path / "listener.toml", METLOG_FAULT="recover") if point == "recover" else None
    )
    if done is None:  # one that says it is ready, and dies when the journal is its own
        before = Predecessor.of(tmp_path / "data" / "journal" / "main")
        assert before is not None
        before.release()
        send(port, range(101, 201))  # nobody reads: the kernel keeps them
        before._socket.close()
        before.handed.close_all()
    else:
        assert done.returncode == -signal.SIGKILL
        send(port, range(101, 201))
    wait_for(lambda: old.status()["intake"]["journaled"] >= 100, 30)
    wait_for(lambda: old.status()["addresses"] == old.addresses)
    send(port, range(201, 211))
    new = start(CONFIG, "--takeover")
    assert new.addresses == old.addresses
    assert "this one takes events again" in told(old)
    assert new.stop() == 0
    assert numbers(tmp_path / "data") == list(range(1, 211))


def test_what_the_outputs_had_not_handed_on_is_handed_on_by_the_new_process(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "out.ndjson"
    text = CONFIG + f'[[outputs]]\nname = "file"\npath = "{path}"\n'
    old = start(text)
    for turn in range(3):
        send(port_of(old.address("udp")), range(turn * 500 + 1, turn * 500 + 501))
        new = start(text, "--takeover")
        assert old.process.wait(30) == 0
        old = new
    assert old.stop() == 0
    found = [json.loads(line)["seq"] for line in path.read_text("utf-8").splitlines() if '"numbered"' in line]
    assert sorted(found) == list(range(1, 1501))
    assert numbers(tmp_path / "data") == list(range(1, 1501))


def test_submissions_that_were_answered_are_known_to_the_new_process(start: Start, tmp_path: Path) -> None:
    import http.client

    def put(port: int) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("PUT", "/submit/x/one", b'{"type":"numbered","seq":1}')
        answer = connection.getresponse()
        assert answer.status == 201
        return answer.read()

    old = start()
    put(port_of(old.address("http")))
    new = start(CONFIG, "--takeover")
    put(port_of(new.address("http")))
    wait_for(lambda: new.status()["intake"]["repeated"] == 1)
    assert new.stop() == 0
    assert numbers(tmp_path / "data") == [1]


def test_sockets_of_systemd_are_handed_on(tmp_path: Path) -> None:
    """The new process has none of its own: LISTEN_FDS belongs to the one that systemd started."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        helper = Path(__file__).parents[2] / "helpers" / "passing.py"
        arguments = [sys.executable, "-m", "metlog", "listen", "--data", str(tmp_path / "data"), "--udp", "systemd"]
        old = subprocess.Popen(
            [sys.executable, str(helper), str(sock.fileno()), "events", *arguments], pass_fds=[sock.fileno()], stdout=subprocess.PIPE,
            text=True, env=environment(),
        )  # fmt: skip
        try:
            assert old.stdout is not None
            assert any(line.startswith("ready") for line in old.stdout)
            send(port, range(1, 11))
            new = Listener(tmp_path / "data", "--takeover", "--udp", "systemd")
            try:
                assert old.wait(30) == 0
                assert port_of(new.address("udp")) == port
                send(port, range(11, 21))
            finally:
                assert new.stop() == 0
        finally:
            old.kill()
            old.communicate()
    assert numbers(tmp_path / "data") == list(range(1, 21))


def test_a_unix_socket_keeps_its_path_in_a_takeover(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "in.sock"
    text = f'[[inputs]]\nname = "unix"\npath = "{path}"\n' + LAKE
    old = start(text)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(str(path))
        sock.send(b'{"type":"numbered","seq":1}\n')
        new = start(text, "--takeover")
        assert old.process.wait(30) == 0
        sock.send(b'{"type":"numbered","seq":2}\n')  # the socket is the same
    assert path.exists()
    assert new.stop() == 0
    assert not path.exists()
    assert numbers(tmp_path / "data") == [1, 2]
