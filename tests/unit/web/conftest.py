"""A small lake with known events, and the page over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from metlog.web.app import create_app
from metlog.web.settings import WebSettings
from tests.helpers.webdata import small_lake


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def data(tmp_path: Path, now: datetime) -> Path:
    return small_lake(tmp_path / "data", now)


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
