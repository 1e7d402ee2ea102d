"""Redaction happens before anything is encoded: a secret is on no wire, in no journal and in no Parquet file."""

from __future__ import annotations

import base64
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from metlog import MetlogClient
from metlog.testing.peers import closed_port
from tests.helpers.listener import Listener
from tests.helpers.waiting import wait_for

SECRET = "hunter2-tiger"
CARD = "4111 1111 1111 1111"
ADDRESS = "198.51.100.77"
MAIL = "ann@example.org"
CONTROL = "visible-zebra"
NEVER = [
    SECRET,
    base64.b64encode(SECRET.encode()).decode().rstrip("="),
    CARD,
    CARD.replace(" ", ""),
    ADDRESS,
    MAIL,
    "u-4711",
]

REDACT = {
    "name": "redact",
    "drop": ["**.password"],
    "pseudonymize": ["user"],
    "key": "0123456789abcdef0123456789abcdef",
    "cut_ip": ["ip"],
    "mask": [SECRET, "email", "credit_card", "ipv4"],
}


class Wire:
    """A relay of datagrams that keeps a copy of each: what really went from process to process."""

    def __init__(self, to: tuple[str, int]) -> None:
        self.datagrams: list[bytes] = []
        self._to = to
        self._in = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._in.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._in.bind(("127.0.0.1", 0))
        self._stop, self._stopper = socket.socketpair()
        self.port: int = self._in.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while self._stop not in select.select([self._in, self._stop], [], [])[0]:
            datagram = self._in.recv(1 << 17)
            self.datagrams.append(datagram)
            self._in.sendto(datagram, self._to)

    def close(self) -> None:
        self._stopper.close()
        self._thread.join()
        self._in.close()
        self._stop.close()


@pytest.fixture
def wire(listen: Callable[..., Listener], tmp_path: Path) -> Iterator[tuple[Wire, Listener]]:
    """A relay to a listener whose journal stays: one of its outputs, dead, still needs all of it."""
    config = tmp_path / "listener.toml"
    config.write_text(
        "[listener]\ndrain_timeout = 0.2\n[journal]\nsegment_age = 0.3\n"
        f'[[outputs]]\nname = "lake"\n[[outputs]]\nname = "http"\nport = {closed_port()}\n'
    )
    listener = listen("--config", str(config), "--udp", "127.0.0.1:0")
    host, port = listener.address("udp").removeprefix("udp://").rsplit(":", 1)
    relay = Wire((host, int(port)))
    yield relay, listener
    relay.close()


def log_secrets(client: MetlogClient) -> None:
    client.log(
        ("login", SECRET), f"{SECRET} from {ADDRESS}", fields={"user": "u-4711", "ip": ADDRESS, "password": SECRET}
    )
    client.log(
        "order", f"paid with {CARD}", fields={"deep": [{"password": SECRET, "mail": MAIL, "raw": SECRET.encode()}]}
    )
    client.metlog("x", logger=SECRET, payload=CONTROL, fields={CARD: 1, "number": int(CARD.replace(" ", ""))})
    client.incr(f"failed {SECRET}")
    with client.timer(SECRET):
        pass
    client.bind(token=SECRET).log("bound", CONTROL)
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ExceptionGroup(f"for {MAIL}", [ValueError(CARD), error]) from error
    except ExceptionGroup:
        client.exception("no login for %s with %s", MAIL, SECRET)


@pytest.mark.parametrize("encoder", ["json", "msgpack", {"name": "signed", "key": "s" * 32}], ids=str)
def test_a_secret_is_nowhere_and_another_word_is_everywhere(encoder: object, wire: tuple[Wire, Listener]) -> None:
    relay, listener = wire
    filters = [REDACT, {"name": "rate_limit", "rate": 1000}]
    settings = {
        "sender": f"udp://127.0.0.1:{relay.port}",
        "encoder": encoder,
        "filters": filters,
        "fields": {"own": SECRET},
    }
    with MetlogClient.from_config(settings) as client:
        log_secrets(client)
        assert client.flush(5)
        assert not client.stats().errors
    places = {}

    def parquet() -> list[Path]:
        return sorted(listener.data.rglob("*.parquet"))

    wait_for(lambda: any("metlog.end" in str(pq.read_table(path).column("type").to_pylist()) for path in parquet()))
    places["the wire"] = b"".join(relay.datagrams)
    places["the journal"] = b"".join(
        path.read_bytes() for path in (listener.data / "journal").rglob("*") if path.is_file()
    )
    places["Parquet, as columns"] = "".join(str(pq.read_table(path).to_pylist()) for path in parquet()).encode()
    places["Parquet, as bytes"] = b"".join(path.read_bytes() for path in parquet())
    rest = [path for path in listener.data.rglob("*") if path.is_file() and path not in parquet()]
    places["every other file"] = b"".join(path.read_bytes() for path in rest)
    for place, data in places.items():
        for secret in NEVER:
            assert secret.encode() not in data, f"{secret} is in {place}"
    for place in ("the wire", "the journal", "Parquet, as columns"):
        assert CONTROL.encode() in places[place], f"{CONTROL} is not in {place}: nothing would have been found there"
    assert b"198.51.100.0" in places["the wire"]


def test_without_the_filter_the_secret_is_in_every_place(wire: tuple[Wire, Listener]) -> None:
    """The control: the same search finds what was not redacted, so that finding nothing means something."""
    relay, listener = wire
    with MetlogClient.from_config(f"udp://127.0.0.1:{relay.port}") as client:
        log_secrets(client)
    wait_for(lambda: SECRET in "".join(str(pq.read_table(p).to_pylist()) for p in listener.data.rglob("*.parquet")))
    for data in (
        b"".join(relay.datagrams),
        b"".join(p.read_bytes() for p in listener.data.rglob("journal/**/*") if p.is_file()),
    ):
        for secret in (SECRET, CARD, ADDRESS, MAIL, "u-4711"):
            assert secret.encode() in data
