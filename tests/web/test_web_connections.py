"""Nobody takes the page from the others: half-open connections, readers that do not read, endless queries, tails, wrong tokens."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from webdata import Served

from metlog.reports.library import save
from metlog.web.connections import network_of
from metlog.web.pool import Turns
from metlog.web.settings import Access, token_digest

ENDLESS = "SELECT count(*) FROM events, range(100000000000) r WHERE r.range % 7 = severity"
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


def until(met: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


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
    until(lambda: all(closed(sock) for sock in halves))
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
        until(lambda: b"metlog_page_queries 0" in httpx.get(f"{small[0].address}/metrics").content)
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


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=60), st.integers(1, 4))
def test_turns_go_round_and_none_is_lost(steps: list[tuple[str, bool]], running: int) -> None:
    """Takes, cancels and gives back at random; in the end every turn is free again, and nobody waits beside a free one."""

    async def run() -> None:
        turns = Turns(running, 100)
        tasks: list[tuple[str, asyncio.Task[None]]] = []
        for asker, take in steps:
            if take or not tasks:
                tasks.append((asker, asyncio.create_task(turns.take(asker))))
            else:
                owner, task = tasks.pop(0)
                if not task.done():
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                else:
                    turns.give_back(owner)
            await asyncio.sleep(0)
            held = {name: sum(task.done() for owner, task in tasks if owner == name) for name in "ab"}
            assert sum(held.values()) <= running
            assert all(count <= max(1, running - 1) for count in held.values())
            waits = {owner for owner, task in tasks if not task.done()}
            assert (
                not waits or sum(held.values()) == running or all(held[name] == max(1, running - 1) for name in waits)
            )
        for owner, task in tasks:
            task.cancel()
            if (await asyncio.gather(task, return_exceptions=True))[0] is None:
                turns.give_back(owner)
        assert not turns._has
        assert not turns._queues

    asyncio.run(run())


TOKENS = {
    token_digest("the-token-of-the-greedy"): Access("greedy"),
    token_digest("the-token-of-the-others"): Access("others"),
    token_digest("the-token-of-the-shop-1"): Access("shop", ("shop",), save=False),
}
GREEDY, OTHERS, SHOP = (
    {"authorization": f"Bearer the-token-of-the-{name}", "accept": "application/json"}
    for name in ("greedy", "others", "shop-1")
)


def test_endless_queries_of_one_token_delay_no_other(start: Callable[..., TestClient]) -> None:
    page = start(tokens=TOKENS, workers=2, waiting=2, timeout=4)
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(page.post("/api/query", json={"sql": ENDLESS}, headers=GREEDY).status_code)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    until(lambda: statuses.count(429) >= 12 - 2 - 2)  # the others run or wait
    for _ in range(10):
        answer = page.post("/api/query", json={"sql": "SELECT 1"}, headers=OTHERS)
        assert answer.status_code == 200
    assert len(statuses) < 12, "so the queries were still there"
    for thread in threads:
        thread.join()


def test_wrong_tokens_lock_out_no_right_one(start: Callable[..., TestClient]) -> None:
    page = start(tokens=TOKENS)
    wrong = [page.get("/api/reports", headers={"authorization": f"Bearer wrong{n}"}).status_code for n in range(30)]
    assert wrong == [401] * 10 + [429] * 20
    assert page.get("/api/reports", headers=OTHERS).status_code == 200


def test_wrong_tokens_are_remembered_of_a_bounded_number_of_addresses(start: Callable[..., TestClient]) -> None:
    sessions = start(tokens=TOKENS).app.page.sessions  # type: ignore[attr-defined]
    for number in range(5000):
        sessions.failed(f"10.0.{number // 256}.{number % 256}")
    assert len(sessions._failures) <= 1000


def test_logins_of_one_token_end_no_session_of_another(start: Callable[..., TestClient]) -> None:
    sessions = start(tokens=TOKENS).app.page.sessions  # type: ignore[attr-defined]
    mine = sessions.open(Access("others"))
    for _ in range(11_000):
        sessions.open(Access("greedy"))
    assert sessions.get(mine) is not None
    assert len(sessions._sessions) <= 101


def test_a_limited_token_sees_no_report_that_others_saved(start: Callable[..., TestClient], data: Path) -> None:
    sql = "SELECT count(*) AS n FROM events WHERE logger = 'bank'"
    save(data, "secret-bank", {"title": "Of the bank", "sql": sql})
    save(data, "logins", {"title": "Of the bank too", "sql": sql})  # in place of one of the package
    save(data, "shared", {"title": "Of the shop", "sql": "SELECT 1 AS n FROM events", "loggers": ["shop"]})
    save(data, "wider", {"title": "Of the bank", "sql": sql, "loggers": ["shop", "bank"]})
    (data / "reports" / "broken-bank.toml").write_text("title = 'bank'")
    page = start(tokens=TOKENS)
    for path in (
        "/",
        "/reports",
        "/api/reports",
        "/reports/logins",
        "/reports/secret-bank",
        "/reports/secret-bnak",
        "/api/reports/wider",
    ):
        asked = page.get(path, headers={**SHOP, "accept": "text/html"})
        assert "bank" not in asked.text.replace("secret-bank", "").replace("wider", "").lower(), path
        assert sql not in asked.text
    assert page.get("/api/reports/secret-bank", headers=SHOP).status_code == 404
    assert page.get("/reports/secret-bank.csv", headers=SHOP).status_code == 404
    assert page.get("/api/reports/shared", headers=SHOP).status_code == 200
    assert page.get("/metrics", headers=SHOP).status_code == 403
    names = {report["name"] for report in page.get("/api/reports", headers=OTHERS).json()["reports"]}
    assert {"secret-bank", "wider", "shared", "logins"} <= names


@given(st.ip_addresses(v=6))
def test_a_client_with_a_whole_network_is_one_client(address: object) -> None:
    known = network_of(str(address))
    assert known == network_of(f"{address}%eth0")
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:ffff") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1")
