"""SIGHUP: the listener goes over to its changed file without losing an event, and an invalid file changes nothing."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.helpers.certificates import self_signed
from tests.helpers.listener import Listener, metlog_command
from tests.helpers.load import in_parquet, kernel_drops, load
from tests.helpers.ports import port_of
from tests.helpers.waiting import wait_for

RATE = int(os.environ.get("METLOG_TEST_RATE", "10000"))
"""Events a second; METLOG_TEST_RATE=50000 where the machine is free for it."""
SECONDS = float(os.environ.get("METLOG_TEST_SECONDS", "6"))

UDP = '[[inputs]]\nname = "udp"\nport = 0\n'
LAKE = '[[outputs]]\nname = "lake"\n'
PATIENT = "[listener]\ndrain_timeout = 120\n"


class Reloaded:
    """A listener with its file."""

    def __init__(self, folder: Path, text: str) -> None:
        self.file = folder / "listener.toml"
        self.file.write_text(text, "utf-8")
        self.listener = Listener(folder / "data", "--config", str(self.file))
        self.data = folder / "data"

    def reload(self, text: str | None = None, *, refused: bool = False) -> dict[str, Any]:
        """Writes the file, tells the listener, and returns its status when it has read it."""
        before = self.listener.status()["reloads"]
        if text is not None:
            self.file.write_text(text, "utf-8")
        self.listener.process.send_signal(signal.SIGHUP)
        key = "refused" if refused else "done"
        wait_for(
            lambda: (
                self.listener.status()["reloads"]["done"] + self.listener.status()["reloads"]["refused"]
                > before["done"] + before["refused"]
            )
        )
        status = self.listener.status()
        assert status["reloads"][key] == before[key] + 1, status["reloads"]
        return status


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def started(text: str) -> Reloaded:
            made = Reloaded(tmp_path, text)
            stack.callback(made.listener.stop)
            return made

        yield started


def port_in(status: dict[str, Any], scheme: str) -> int:
    return port_of(next(address for address in status["addresses"] if address.startswith(f"{scheme}:")))


def send(port: int, numbers: range) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for n in numbers:
            sock.sendto(b'{"type":"numbered","stream":"s","seq":%d}\n' % n, ("127.0.0.1", port))


def numbers(data: Path) -> list[int]:
    sql = "SELECT seq FROM read_parquet(?) WHERE type = 'numbered' ORDER BY seq"
    return [row[0] for row in duckdb.connect().execute(sql, [f"{data}/events/*/*.parquet"]).fetchall()]


def lines(path: Path) -> list[int]:
    if not path.exists():
        return []
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [event["seq"] for event in found if event["type"] == "numbered"]


class Receiver:
    """An HTTP server that keeps the numbers of what it gets; `answer` is its status."""

    def __init__(self, answer: int = 200) -> None:
        self.numbers: list[int] = []
        self.asked = 0
        self.answer = answer
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.asked += 1
                if outer.answer == 200:
                    text = gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body
                    events = [json.loads(line) for line in text.splitlines()]
                    outer.numbers += [event["seq"] for event in events if event["type"] == "numbered"]
                self.send_response(outer.answer)
                self.send_header("content-length", "0")
                self.end_headers()

            do_PUT = do_POST

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@contextmanager
def receiver(answer: int = 200) -> Iterator[Receiver]:
    made = Receiver(answer)
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()


def http_output(port: int, more: str = "") -> str:
    options = 'batch_age = 0.1\ncompression = "none"\ntypes = ["numbered"]\n'
    return f'[[outputs]]\nname = "http"\nhost = "127.0.0.1"\nport = {port}\npath = "/x"\n{options}{more}'


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_reloads_under_load_lose_nothing(start: Any, tmp_path: Path) -> None:
    """Inputs with other options on the same port, inputs and outputs that come and go, invalid files, while events come without a pause."""
    first = PATIENT + UDP + LAKE
    running = start(first)
    file = f'[[outputs]]\nname = "file"\npath = "{tmp_path / "out.ndjson"}"\nfsync = false\ntypes = ["numbered"]\n'
    variants = [
        PATIENT + UDP + "receive_buffer = 67108863\n" + LAKE,
        PATIENT + UDP + "sockets = 2\n" + LAKE + file,
        'nonsense = "invalid"\n',
        PATIENT + UDP + '[[inputs]]\nname = "http"\nport = 0\n' + LAKE,
        PATIENT
        + UDP
        + "receive_buffer = 50000000\n[[inputs]]\nname = 'statsd'\nport = 0\n"
        + LAKE
        + "compression_level = 5\n",
        first,
    ]
    address = running.listener.address("udp")
    with load(address, rate=RATE, seconds=SECONDS) as going:
        count = 0
        while going.going:
            text = variants[count % len(variants)]
            status = running.reload(text, refused="nonsense" in text)
            assert port_in(status, "udp") == port_of(address)
            count += 1
            time.sleep(0.2)
        sent = going.end()
    assert count >= len(variants)
    assert running.listener.stop(patience=150) == 0
    dropped = kernel_drops(running.listener.status())
    lost, twice = in_parquet(running.data, sent["streams"])
    pace = sent["events"] / sent["seconds"]
    print(
        f"{sent['events']:,} events at {pace:,.0f} a second, {count} reloads: {lost} lost, {twice} twice, {dropped} dropped"
    )
    assert (lost, twice) == (0, 0)


def test_an_invalid_file_changes_nothing_and_is_told(start: Any) -> None:
    running = start(UDP + LAKE)
    port = port_of(running.listener.address("udp"))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        other = taken.getsockname()[1]
        elsewhere = f'[[inputs]]\nname = "udp"\nport = {port + 1 if port < 65535 else port - 1}\n'
        for text, told in [
            ("[[inputs]\n", "Expected ']]'"),
            ('[[inputs]]\nname = "udpp"\n', "did you mean 'udp'"),
            (UDP + '[listener]\ndata = "elsewhere"\n', ""),  # --data goes before it: nothing changes
            (UDP + '[listener]\njournal = "other"\n' + LAKE, "listener.journal = 'other': wants a restart"),
            (UDP + LAKE + '[lake]\ncompact = "never"\n', "lake.compact = 'never'"),
            (UDP + LAKE + LAKE + 'id = "second"\n', "the lakes 'lake' and 'second' would overwrite each other's files"),
            (UDP + LAKE + 'id = "renamed"\n', "outputs.renamed: the lake 'lake' still writes to"),
            (elsewhere + f'[[inputs]]\nname = "http"\nport = {other}\n' + LAKE, "is another process listening"),
        ]:  # fmt: skip
            status = running.reload(text, refused=bool(told))
            assert told in status["reloads"]["error"]
            assert port_in(status, "udp") == port
            assert [address.partition(":")[0] for address in status["addresses"]] == ["udp"]
            assert list(status["outputs"]) == ["lake"]
    send(port, range(1, 11))
    shown = metlog_command("status", "--data", str(running.data))
    assert "the last reload changed nothing: inputs" not in shown.stdout or shown.returncode == 1
    assert running.listener.stop() == 0
    assert numbers(running.data) == list(range(1, 11))


def test_the_log_says_what_was_changed_and_what_was_refused(tmp_path: Path) -> None:
    running = Reloaded(tmp_path, UDP + LAKE)
    running.reload(UDP + LAKE + '[[outputs]]\nname = "stdout"\ntypes = ["none"]\n')
    running.reload("x = 1\n", refused=True)
    running.listener.process.send_signal(signal.SIGTERM)
    _, told = running.listener.process.communicate(timeout=30)
    assert "reloaded: output stdout begins; listening on udp://127.0.0.1:" in told
    assert "not reloaded, everything goes on as before: " in told
    assert "x: no such table" in told


def test_a_port_that_changed_is_left_when_the_new_one_is_bound(start: Any) -> None:
    running = start(UDP + LAKE)
    old = port_of(running.listener.address("udp"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        new = probe.getsockname()[1]
    send(old, range(1, 1001))  # what the old socket holds is taken
    status = running.reload(f'[[inputs]]\nname = "udp"\nport = {new}\n' + LAKE)
    assert status["addresses"] == [f"udp://127.0.0.1:{new}"]
    send(new, range(1001, 1011))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(("127.0.0.1", old))  # free
    assert running.listener.stop() == 0
    assert numbers(running.data) == list(range(1, 1011))


def test_an_output_that_is_down_keeps_what_it_owes_for_the_one_with_its_new_address(start: Any) -> None:
    with receiver(503) as down, receiver() as up:
        running = start(UDP + LAKE + http_output(down.port))
        send(port_of(running.listener.address("udp")), range(1, 101))
        wait_for(lambda: down.asked)
        running.reload(UDP + LAKE + http_output(up.port))
        wait_for(lambda: len(up.numbers) >= 100)
        send(port_of(running.listener.address("udp")), range(101, 111))
        wait_for(lambda: len(up.numbers) >= 110)
        assert up.numbers == list(range(1, 111))
        assert running.listener.stop() == 0


def test_an_output_that_was_taken_out_hands_on_what_came_until_then(start: Any, tmp_path: Path) -> None:
    with receiver(503) as down:
        running = start(UDP + LAKE + http_output(down.port))
        port = port_of(running.listener.address("udp"))
        send(port, range(1, 101))
        wait_for(lambda: down.asked)
        wait_for(lambda: running.listener.status()["intake"]["journaled"] >= 100)
        status = running.reload(UDP + LAKE)
        assert status["outputs"]["http"]["leaving"]
        send(port, range(101, 111))
        wait_for(lambda: running.listener.status()["intake"]["journaled"] >= 110)
        segments = list((tmp_path / "data" / "journal" / "main").glob("*.seg"))
        wait_for(lambda: running.listener.status()["outputs"]["lake"]["at"][0] > 1)
        assert segments[0].exists(), "the journal keeps what the output that is down owes"
        down.answer = 200
        wait_for(lambda: len(down.numbers) >= 100, 60)
        wait_for(lambda: "http" not in running.listener.status()["outputs"])
        wait_for(lambda: not segments[0].exists())
        assert down.numbers == list(range(1, 101)), "what came later is not its business"
        assert running.listener.stop() == 0


def test_an_output_that_comes_again_goes_on_where_it_was(start: Any) -> None:
    with receiver(503) as down:
        running = start(UDP + LAKE + http_output(down.port))
        port = port_of(running.listener.address("udp"))
        send(port, range(1, 51))
        wait_for(lambda: down.asked)
        running.reload(UDP + LAKE)
        send(port, range(51, 61))
        wait_for(lambda: running.listener.status()["intake"]["journaled"] >= 60)
        down.answer = 200
        running.reload(UDP + LAKE + http_output(down.port))
        wait_for(lambda: len(down.numbers) >= 60, 60)
        assert down.numbers == list(range(1, 61))
        assert running.listener.stop() == 0


def test_a_new_output_gets_what_the_journal_holds_and_a_lake_taken_out_writes_its_last(
    start: Any, tmp_path: Path
) -> None:
    path = tmp_path / "out.ndjson"
    running = start(UDP + LAKE)
    port = port_of(running.listener.address("udp"))
    send(port, range(1, 21))
    wait_for(lambda: running.listener.status()["intake"]["journaled"] >= 20)
    running.reload(UDP + f'[[outputs]]\nname = "file"\npath = "{path}"\n')
    wait_for(lambda: numbers(running.data) if list(running.data.glob("events/*/*.parquet")) else [], 30)
    assert numbers(running.data) == list(range(1, 21))
    wait_for(lambda: len(lines(path)) >= 20)
    assert lines(path) == list(range(1, 21))
    assert running.listener.stop() == 0


def test_http_requests_are_answered_all_the_while(start: Any) -> None:
    """The input changes its options; the socket stays, so that no client is refused."""

    def config(body: int) -> str:
        return f'[[inputs]]\nname = "http"\nport = 0\nmax_body = {body}\n' + LAKE

    running = start(config(1 << 20))
    port = port_of(running.listener.address("http"))
    ended = threading.Event()
    taken: list[int] = []
    refused: list[str] = []

    def client() -> None:
        n = 0
        while not ended.is_set():
            n += 1
            while True:  # the same id until it is answered: the end of a connection says nothing
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                try:
                    connection.request("PUT", f"/submit/x/n{n}", b'{"type":"numbered","seq":%d}' % n)
                    if connection.getresponse().status == 201:
                        taken.append(n)
                        break
                except ConnectionRefusedError as error:
                    refused.append(str(error))
                    return
                except (OSError, http.client.HTTPException):
                    pass
                finally:
                    connection.close()

    thread = threading.Thread(target=client)
    thread.start()
    try:
        for turn in range(6):
            before = len(taken)
            status = running.reload(config((1 << 20) + turn + 1))
            assert port_in(status, "http") == port
            wait_for(lambda before=before: len(taken) > before + 3, 60)
    finally:
        ended.set()
        thread.join()
    assert running.listener.stop() == 0
    assert refused == []
    assert numbers(running.data) == taken == list(range(1, len(taken) + 1))


def test_a_certificate_that_was_renewed_is_taken_without_another_change(start: Any, tmp_path: Path) -> None:
    certificate = tmp_path / "server.pem"
    self_signed(tmp_path)
    first = certificate.read_text()
    files = f'cert_file = "{certificate}"\nkey_file = "{tmp_path / "server.key"}"\n'
    running = start(f'[[inputs]]\nname = "tcp"\nport = 0\n{files}' + LAKE)
    where = ("127.0.0.1", port_of(running.listener.address("tls")))
    assert ssl.get_server_certificate(where).strip() == first.strip()
    self_signed(tmp_path)
    running.reload()
    assert ssl.get_server_certificate(where).strip() == certificate.read_text().strip() != first.strip()
    assert running.listener.stop() == 0


@pytest.mark.parametrize("kind", ["dgram", "stream"])
def test_a_unix_socket_keeps_its_path(start: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "in.sock"

    def config(size: int) -> str:
        return f'[[inputs]]\nname = "unix"\npath = "{path}"\nkind = "{kind}"\nmax_frame = {size}\n' + LAKE

    running = start(config(65_536))
    inode = path.stat().st_ino
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if kind == "dgram" else socket.SOCK_STREAM) as sock:
        sock.connect(str(path))
        sock.send(b'{"type":"numbered","seq":1}\n')
        running.reload(config(65_537))
        assert path.stat().st_ino == inode
        if kind == "dgram":  # the same socket all the time: the peer has noticed nothing
            sock.send(b'{"type":"numbered","seq":2}\n')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if kind == "dgram" else socket.SOCK_STREAM) as sock:
        sock.connect(str(path))
        sock.send(b'{"type":"numbered","seq":3}\n')
    wait_for(lambda: running.listener.status()["intake"]["journaled"] >= (3 if kind == "dgram" else 2))
    assert running.listener.stop() == 0
    assert not path.exists()
    assert numbers(running.data) == ([1, 2, 3] if kind == "dgram" else [1, 3])


def test_zmq_binds_its_endpoint_anew_and_its_peers_come_again(start: Any) -> None:
    zmq = pytest.importorskip("zmq")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def config(hwm: int) -> str:
        return f'[[inputs]]\nname = "zmq"\nendpoint = "tcp://127.0.0.1:{port}"\nhwm = {hwm}\n' + LAKE

    running = start(config(1000))
    context = zmq.Context()
    try:
        push = context.socket(zmq.PUSH)
        push.connect(f"tcp://127.0.0.1:{port}")
        push.send(b'{"type":"numbered","seq":1}\n')
        wait_for(lambda: running.listener.status()["intake"]["journaled"] >= 1)
        running.reload(config(1001))
        push.send(b'{"type":"numbered","seq":2}\n')
        wait_for(lambda: running.listener.status()["intake"]["journaled"] >= 2)
    finally:
        context.destroy(linger=0)
    assert running.listener.stop() == 0
    assert numbers(running.data) == [1, 2]


def test_without_a_file_a_hangup_ends_the_listener(tmp_path: Path) -> None:
    listener = Listener(tmp_path / "data", "--udp", "127.0.0.1:0")
    assert listener.stop(signal.SIGHUP) == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_every_process_of_a_unit_ends_no_output(start: Any, number: int) -> None:
    """As `systemctl kill` sends it, and the terminal."""
    reloaded = start(UDP + LAKE)
    wait_for(lambda: "describe" in reloaded.listener.status()["outputs"]["lake"])
    pid = reloaded.listener.process.pid
    children = [
        int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()
    ]
    assert children
    for child in children:
        os.kill(child, number)
    reloaded.reload()
    output = reloaded.listener.status()["outputs"]["lake"]
    assert (output["restarts"], output["alive"]) == (0, True)
