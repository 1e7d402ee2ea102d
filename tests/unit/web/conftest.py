"""A small lake with known events, and the page over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from metlog.web import events, waiting
from metlog.web.app import create_app
from metlog.web.settings import WebSettings
from tests.helpers.webdata import small_lake


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages wait for their queries, however busy the machine is; tests of what a page does without them set the times themselves."""
    monkeypatch.setattr(waiting, "_MOMENT", 60.0)
    monkeypatch.setattr(events, "_LEAST", 60.0)
    monkeypatch.setattr(events, "_COUNTING", 60.0)


@pytest.fixture(scope="module")
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, now: datetime) -> Path:
    """A lake that no test changes."""
    return small_lake(tmp_path_factory.mktemp("page") / "data", now)


@pytest.fixture
def own_data(tmp_path: Path, now: datetime) -> Path:
    """The same lake, for a test that changes it."""
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


@pytest.fixture(scope="module")
def share(data: Path) -> Iterator[Start]:
    """Starts pages that the tests of a module share: an engine is a process, and a page has one."""
    yield from started(data)


@pytest.fixture
def start(data: Path) -> Iterator[Start]:
    """Starts pages for one test."""
    yield from started(data)


def started(data: Path) -> Iterator[Start]:
    starter = Start(data, [])
    yield starter
    for client in starter.clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="module")
def shared_page(share: Start) -> TestClient:
    return share()


@pytest.fixture
def page(shared_page: TestClient) -> TestClient:
    """The page over `data`, for a test that leaves it as it found it."""
    shared_page.cookies.clear()
    return shared_page


@pytest.fixture
def own_page(start: Start, own_data: Path) -> TestClient:
    """A page of the test's own, over `own_data`."""
    return start(data=own_data)
