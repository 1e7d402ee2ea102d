from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from metlog import Event, MetlogClient
from metlog.integrations.login import login_failure, login_success


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(5)
        yield made


@pytest.fixture
def client(server: socket.socket) -> Iterator[MetlogClient]:
    made = MetlogClient.from_config("memory:", statsd=f"udp://127.0.0.1:{server.getsockname()[1]}")
    yield made
    made.close()


def one(client: MetlogClient) -> Event:
    assert client.flush(5)
    (event,) = client.sender.events
    return event  # type: ignore[no-any-return]


def test_success(client: MetlogClient, server: socket.socket) -> None:
    login_success("u1", client=client, method="password")
    event = one(client)
    assert (event.type, event.tokens, event.severity) == ("login", ("login", "success"), 6)
    assert event.fields == {"user": "u1", "success": True, "method": "password"}
    assert server.recv(512) == b"login.success:1|c"


def test_failure(client: MetlogClient, server: socket.socket) -> None:
    login_failure("u1", reason="password", client=client, attempt=3)
    event = one(client)
    assert (event.type, event.tokens, event.severity) == ("login", ("login", "failure"), 5)
    assert event.fields == {"user": "u1", "success": False, "reason": "password", "attempt": 3}
    assert server.recv(512) == b"login.failure:1|c"


def test_failure_of_nobody_known(client: MetlogClient) -> None:
    login_failure(client=client)
    assert one(client).fields == {"success": False}
