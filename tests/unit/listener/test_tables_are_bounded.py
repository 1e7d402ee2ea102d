"""Every table whose keys come from outside has a bound in bytes, measured while generated names, numbers and sizes go in."""

from __future__ import annotations

import gc
import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import thread_time
from typing import Any

import pytest

from metlog import Event
from metlog.journal import tails
from metlog.journal.folder import Folder
from metlog.journal.idempotency import IdempotencyKeys
from metlog.listener import accounting as accounts
from metlog.listener.accounting import Accounting, SeqRuns
from metlog.listener.metrics import Bounded
from metlog.listener.signed import SignedSink, Signing
from metlog.listener.validate import validate
from metlog.web.cache import Cache
from metlog.web.metrics import Metrics
from metlog.web.security import Sessions
from metlog.web.settings import Access

pytestmark = pytest.mark.untraced  # memory is traced, which takes long enough


def name(chance: random.Random) -> str:
    """Any name: short, long, of any characters, new nearly every time."""
    size = chance.choice([1, 8, 64, 200, 5000, 60_000])
    return f"{chance.getrandbits(64):x}" + chance.choice("aé漢\0\U0001f600") * size


def grown(fill: Callable[[], Any]) -> int:
    """Bytes that are still held after it, by what it gives."""
    gc.collect()
    tracemalloc.start()
    try:
        kept = fill()
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        del kept
        return size
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_the_accounting_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "_SHARED", 2400)

    def fill() -> Accounting:
        chance, made = random.Random(1), Accounting(600)
        for _ in range(1200):
            stream = name(chance)
            for step in range(4):
                events = [Event(type="a", stream=stream, seq=1 + step * chance.randrange(1, 50)) for _ in range(2)]
                told = {name(chance)[:300]: chance.randrange(1, 10**9) for _ in range(3)}
                events.append(Event(type="metlog.report", stream=stream, seq=500 + step, fields={"dropped": told}))
                made.note(events)
        return made

    assert grown(fill) < 3 << 20


def test_counts_by_name() -> None:
    def fill() -> Bounded:
        chance, made = random.Random(2), Bounded()
        for _ in range(800):
            made.add(name(chance))
        return made

    assert grown(fill) < 1 << 20


def test_keys_of_submissions(tmp_path: Path) -> None:
    def fill() -> IdempotencyKeys:
        chance = random.Random(3)
        made = IdempotencyKeys(Folder.root(tmp_path), limit=300)
        for number in range(800):
            key = name(chance)
            made.claim(key)
            made.settle(key, number)
        return made

    assert grown(fill) < 1 << 20


@pytest.mark.slow
def test_failures_of_logins_and_sessions() -> None:
    def fill() -> Sessions:
        chance, made = random.Random(4), Sessions()
        for _ in range(2500):
            made.failed(f"{chance.getrandbits(128):x}")
            made.open(Access(f"user{chance.randrange(3)}"))
        return made

    assert grown(fill) < 2 << 20


def test_signatures_that_were_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metlog.listener.signed._REMEMBERED", 1000)

    def fill() -> SignedSink:
        chance = random.Random(5)
        made = SignedSink(None, Signing({"a": b"x" * 32}))  # type: ignore[arg-type]
        for _ in range(3000):
            made._check_new(chance.randbytes(16), "")
        return made

    assert grown(fill) < 1 << 20


@pytest.mark.slow
def test_what_the_lines_of_a_client_end_in() -> None:
    def fill() -> None:
        chance = random.Random(8)
        tails.origin_of.cache_clear()
        usual = 0
        for number in range(6000):
            logger = (
                f"{number}" + "x" * chance.choice([1, 100, 400, 900, 3000, 60_000]) + chance.choice("aé漢\U0001f600")
            )
            line = {"type": "a", "stream": "s", "logger": logger, "env_version": "1", "pid": 1, "hostname": "h"}
            found = validate(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
            assert found.count == 1
            usual += bool(found.tail)
        assert usual > 3000  # the others are longer than what is remembered

    try:
        assert grown(fill) < 24 << 20
    finally:
        tails.origin_of.cache_clear()


def test_results_that_are_shown_again() -> None:
    def fill() -> Cache[bytes]:
        chance = random.Random(6)
        made: Cache[bytes] = Cache(60.0, 64, size=4 << 20, bytes_of=len)
        for number in range(300):
            made.put(number, bytes(chance.choice([10, 10_000, 900_000, 5_000_000])))
            assert made.size <= 4 << 20
        return made

    assert grown(fill) < 5 << 20


def _accounting(_: Path) -> Callable[[int], object]:
    made = Accounting(FULL)
    return lambda number: made.take(SeqRuns([(f"{number:x}", 1, 1)]))


def _keys(folder: Path) -> Callable[[int], object]:
    made = IdempotencyKeys(Folder.root(folder), limit=FULL)
    return lambda number: (made.claim(f"{number:x}"), made.settle(f"{number:x}", number))


def _signatures(_: Path) -> Callable[[int], object]:
    made = SignedSink(None, Signing({"a": b"x" * 32}))  # type: ignore[arg-type]
    return lambda number: made._check_new(number.to_bytes(16), "")


FULL = 30_000


@pytest.mark.slow
@pytest.mark.parametrize("table", [_accounting, _keys, _signatures])
def test_a_new_name_costs_no_more_when_a_table_is_full(
    table: Callable[[Path], Callable[[int], object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metlog.listener.signed._REMEMBERED", FULL)
    add = table(tmp_path)

    def cost(numbers: range) -> float:
        began = thread_time()
        for number in numbers:
            add(number)
        return thread_time() - began

    filling = cost(range(FULL))
    full = [cost(range(start, start + FULL)) for start in range(FULL, 5 * FULL, FULL)]
    assert max(full) < 4 * filling, (filling, full)


def test_requests_by_page() -> None:
    def fill() -> Metrics:
        made = Metrics(["/events"])
        chance = random.Random(7)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": chance.choice([200, 404])})

        async def send(_: Any) -> None:
            pass

        counted = made.around(app)
        for _ in range(400):
            scope = {"type": "http", "path": "/" + name(chance)}
            coroutine: Any = counted(scope, None, send)  # type: ignore[arg-type]
            try:
                coroutine.send(None)
            except StopIteration:
                pass
        return made

    assert grown(fill) < 1 << 20
