"""Nobody takes the page from the others by asking: turns of queries, wrong tokens, sessions, saved reports."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from metlog.reports.library import save
from metlog.web.connections import network_of
from metlog.web.pool import Turns
from metlog.web.settings import Access, token_digest
from tests.helpers.waiting import wait_for

pytestmark = pytest.mark.process

ENDLESS = "SELECT count(*) FROM events, range(100000000000) r WHERE r.range % 7 = severity"


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=60), st.integers(1, 4))
def test_turns_go_round_and_none_is_lost(steps: list[tuple[str, bool]], running: int) -> None:
    """Takes, cancels and gives back at random; in the end every turn is free again, and nobody waits beside a free one."""

    async def run() -> None:
        turns = Turns(running, 100)
        asked: list[tuple[str, asyncio.Future[None]]] = []
        for asker, take in steps:
            if take or not asked:
                asked.append((asker, turns.queue(asker)))
            else:
                turns.leave(*asked.pop(0))
            held = {name: sum(turn.done() for owner, turn in asked if owner == name) for name in "ab"}
            assert sum(held.values()) <= running
            assert all(count <= max(1, running - 1) for count in held.values())
            waits = {owner for owner, turn in asked if not turn.done()}
            assert (
                not waits or sum(held.values()) == running or all(held[name] == max(1, running - 1) for name in waits)
            )
        for owner, turn in asked:
            turns.leave(owner, turn)
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
    page = start(tokens=TOKENS, workers=2, waiting=2, timeout=3)
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(page.post("/api/query", json={"sql": ENDLESS}, headers=GREEDY).status_code)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    wait_for(lambda: statuses.count(429) >= 12 - 2 - 2)  # the others run or wait
    for _ in range(4):
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


@pytest.mark.parametrize("separate", [False, True])
def test_an_address_is_the_one_that_the_last_proxy_names_in_one_header_or_its_own(
    start: Callable[..., TestClient], separate: bool
) -> None:
    page = start(tokens=TOKENS, trusted_proxies=(ipaddress.ip_network("127.0.0.1/32"),))

    def asked(number: int) -> int:
        said, seen = f"10.9.{number}.1", "192.0.2.7"
        forwarded = (
            [("x-forwarded-for", said), ("x-forwarded-for", seen)]
            if separate
            else [("x-forwarded-for", f"{said}, {seen}")]
        )
        return page.get("/api/reports", headers=[("authorization", f"Bearer wrong{number}"), *forwarded]).status_code

    assert [asked(number) for number in range(12)] == [401] * 10 + [429] * 2


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
