"""HTTPS and mutual TLS, from output to input."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from metlog.listener.inputs.http import HttpInput
from metlog.listener.outputs import Undelivered
from metlog.listener.outputs.http import HttpsOutput
from tests.helpers import certificates
from tests.helpers.sink import FakeSink, batch, numbered
from tests.helpers.waiting import wait_for


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    certificates.make(folder)
    return folder


@pytest.fixture
def server(pems: Path) -> Iterator[tuple[HttpInput, FakeSink, int]]:
    sink = FakeSink()
    item = HttpInput(
        port=0, cert_file=f"{pems}/server.pem", key_file=f"{pems}/server.key", client_ca_file=f"{pems}/ca.pem",
        head_timeout=1.0,
    )  # fmt: skip
    item.start(sink)
    assert item.addresses[0].startswith("https://127.0.0.1:")
    yield item, sink, urlsplit(item.addresses[0]).port or 0
    item.stop()


def output(pems: Path, port: int, name: str = "") -> HttpsOutput:
    own = {"cert_file": f"{pems}/{name}.pem", "key_file": f"{pems}/{name}.key"} if name else {}
    made = HttpsOutput(port=port, ca_file=f"{pems}/ca.pem", **own)
    made.start()
    return made


def test_a_client_of_our_authority_is_taken(pems: Path, server: tuple[HttpInput, FakeSink, int]) -> None:
    _, sink, port = server
    out = output(pems, port, "client")
    out.write(batch(*numbered(3)))
    out.close()
    assert len(sink.events) == 3


@pytest.mark.parametrize("name", ["", "other"])
def test_a_client_without_its_certificate_is_held(
    pems: Path, server: tuple[HttpInput, FakeSink, int], name: str
) -> None:
    item, sink, port = server
    out = output(pems, port, name)
    with pytest.raises(Undelivered):
        out.write(batch(*numbered(3)))
    out.close()
    assert sink.events == []
    wait_for(lambda: item.stats()["handshakes_failed"] == 1)


def test_a_server_of_another_authority_gets_nothing(pems: Path, server: tuple[HttpInput, FakeSink, int]) -> None:
    _, sink, port = server
    out = HttpsOutput(port=port, ca_file=f"{pems}/otherca.pem")
    out.start()
    with pytest.raises(Undelivered, match=r"(?i)certificate"):
        out.write(batch(*numbered(1)))
    out.close()
    assert sink.events == []


@pytest.mark.slow
def test_a_handshake_that_never_ends_is_ended(pems: Path, server: tuple[HttpInput, FakeSink, int]) -> None:
    item, _, port = server
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
    wait_for(lambda: item.stats()["open"] == 5)
    wait_for(lambda: item.stats()["open"] == 0, 5)
    for client in silent:
        client.close()


def test_plain_http_at_the_tls_port_is_closed(pems: Path, server: tuple[HttpInput, FakeSink, int]) -> None:
    _, sink, port = server
    with pytest.raises(httpx.HTTPError):
        httpx.post(f"http://127.0.0.1:{port}/submit/web", content=b'{"type":"a"}', trust_env=False)
    context = ssl.create_default_context(cafile=f"{pems}/ca.pem")
    context.load_cert_chain(f"{pems}/client.pem", f"{pems}/client.key")
    answer = httpx.post(
        f"https://127.0.0.1:{port}/submit/web", content=b'{"type":"a"}', verify=context, trust_env=False
    )
    assert answer.status_code == 201
    assert len(sink.events) == 1
