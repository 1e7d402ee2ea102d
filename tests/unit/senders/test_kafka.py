"""Options that sender, input and output `kafka` share."""

from __future__ import annotations

import pytest

from metlog.senders._kafka import brokers_of


@pytest.mark.parametrize(
    ("host", "brokers", "servers"),
    [
        ("kafka.example", None, "kafka.example:9092"),
        (" kafka.example ", [], "kafka.example:9092"),
        ("::1", None, "[::1]:9092"),
        ("[::1]", None, "[::1]:9092"),
        ("kafka.example", [" a:9092", "", "[::1]:9093 "], "a:9092,[::1]:9093"),
        ("", ["a:9092"], "a:9092"),
    ],
)
def test_brokers_are_named_as_librdkafka_wants_them(host: str, brokers: list[str] | None, servers: str) -> None:
    assert brokers_of(host, 9092, brokers) == servers


@pytest.mark.parametrize("port", [0, 65_536])
def test_a_port_is_checked(port: int) -> None:
    with pytest.raises(ValueError, match=f"port = {port}: wants a port from 1 to 65535"):
        brokers_of("kafka.example", port, ["a:9092"])


@pytest.mark.parametrize("host", ["", " ", "[]"])
def test_a_host_is_needed(host: str) -> None:
    with pytest.raises(ValueError, match="wants the host name of a broker"):
        brokers_of(host, 9092, None)
