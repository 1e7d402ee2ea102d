"""A small lake with known events, and the page over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from webdata import HTML, event, write

from metlog.web.app import create_app
from metlog.web.settings import WebSettings


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def data(tmp_path: Path, now: datetime) -> Path:
    """120 requests of `shop` a second apart (seq 50 to 54 lost), the last ones a minute ago; and what `bank` must keep to itself."""
    folder = tmp_path / "data"
    folder.mkdir()
    begin = now - timedelta(seconds=180)
    rows = [event(n, begin + timedelta(seconds=n)) for n in range(1, 121) if not 50 <= n <= 54]
    rows += [
        event(1, begin, logger="bank", stream="bank1", type="transfer", tokens=["transfer", "money"], severity=3,
              payload="secret transfer", fields={"amount": 5, "a.b": "dotted", "deep": {"er": "nested"}}),
        event(2, begin, logger="bank", stream="bank1", type="html", payload=HTML, tokens=[HTML], hostname=HTML, fields={HTML: HTML}),
        event(121, begin, stream="shop1", type=HTML, payload="typed", fields={}),
    ]  # fmt: skip
    write(folder, rows)
    return folder


@dataclass
class Start:
    """Starts pages and ends them with the test."""

    data: Path
    clients: list[TestClient]

    def __call__(
        self,
        *,
        base_url: str = "http://127.0.0.1:8565",
        client: tuple[str, int] = ("127.0.0.1", 50000),
        **settings: Any,
    ) -> TestClient:
        made = TestClient(
            create_app(WebSettings(**{"data": self.data, "memory": "500MB", **settings})),
            base_url=base_url, follow_redirects=False, client=client, headers={"accept": "text/html"},
        )  # fmt: skip
        made.__enter__()
        self.clients.append(made)
        return made


@pytest.fixture
def start(data: Path) -> Iterator[Callable[..., TestClient]]:
    starter = Start(data, [])
    yield starter
    for client in starter.clients:
        client.__exit__(None, None, None)


@pytest.fixture
def page(start: Callable[..., TestClient]) -> TestClient:
    return start()
