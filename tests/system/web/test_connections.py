"""Nobody takes the page from the others by what they leave open: half-open connections, readers that do not read."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.helpers.waiting import wait_for
from tests.helpers.webdata import Served

REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX-a: b\r\n\r\n",
    b"POST /api/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
    + b"{" * 20,
    b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\na",
)


@pytest.fixture
def small(data: Path, tmp_path: Path) -> Iterator[tuple[Served, tuple[str, int]]]:
    config = tmp_path / "page.toml"
    config.write_text("connections = 30\nhead_timeout = 2\nbody_timeout = 2\nanswer_timeout = 2\n")
    with Served(data, "--config", str(config)) as served:
        parts = urlsplit(served.address)
        yield served, (str(parts.hostname), int(parts.port or 0))


def closed(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        while part := sock.recv(1 << 16):
            del part
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def test_half_open_connections_keep_nobody_out_and_are_closed(small: tuple[Served, tuple[str, int]]) -> None:
    served, address = small
    chance = random.Random(13)
    halves = []
    for _ in range(100):  # of a bound of 30
        whole = chance.choice(REQUESTS)
        halves.append(socket.create_connection(address, 5))
        with contextlib.suppress(OSError):
            halves[-1].sendall(whole[: chance.randrange(len(whole) - 1)])
        if len(halves) % 10 == 0:
            assert httpx.get(f"{served.address}/healthz", timeout=10).status_code == 200
            assert httpx.get(f"{served.address}/api/reports", timeout=10).status_code == 200
    wait_for(lambda: all(closed(sock) for sock in halves))
    for sock in halves:
        sock.close()


def test_a_head_that_drips_is_closed_at_its_deadline(small: tuple[Served, tuple[str, int]]) -> None:
    with socket.create_connection(small[1], 5) as sock:
        began = time.monotonic()
        ended = False
        for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\nX-" + b"a" * 1000:
            try:
                sock.sendall(bytes([byte]))
            except OSError:
                ended = True
                break
            time.sleep(0.1)
            if closed(sock):
                ended = True
                break
            sock.setblocking(True)
            assert time.monotonic() - began < 15
        assert ended


def test_a_reader_that_takes_nothing_of_its_answer_is_closed(small: tuple[Served, tuple[str, int]]) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(small[1])
        sql = "SELECT repeat('x', 100000) FROM range(300)".replace(" ", "+")
        sock.sendall(f"GET /sql/result.csv?sql={sql} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_for(lambda: b"metlog_page_queries 0" in httpx.get(f"{small[0].address}/metrics").content)
        time.sleep(6)
        sock.settimeout(20)
        size = 0
        with contextlib.suppress(OSError):
            while part := sock.recv(1 << 16):
                size += len(part)
        assert size < 30_000_000


def test_a_connection_that_is_used_slowly_stays(small: tuple[Served, tuple[str, int]]) -> None:
    with httpx.Client() as client:
        for _ in range(4):
            assert client.get(f"{small[0].address}/healthz").status_code == 200
            time.sleep(1)
