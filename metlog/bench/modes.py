"""The scale (what cannot be done for less) and every mode of metlog itself, through its public calls."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from metlog.bench.run import Case, Opened, both, drained
from metlog.client import MetlogClient
from metlog.event import ENV_VERSION, ONE, Event

__all__ = ["CASES", "FLOOR", "SEND", "metlog", "plain_logger"]

UDP: Final = "udp://127.0.0.1:{port}"


def _floor() -> Opened:
    encode, now = msgspec.json.Encoder().encode, datetime.now

    def loop(number: int) -> None:
        for n in range(number):
            encode(
                Event(
                    now(UTC), "login", ("login", "sync"), "sync", 6, "user logged in",
                    {"user": "u1", "path": "/a/b", "ms": 12.5}, ONE, ENV_VERSION, 4711, "host", "0123456789abcdef", n,
                )
            )  # fmt: skip

    return loop, lambda: None


def _connected() -> tuple[socket.socket, Callable[[], None]]:
    port, close = drained()
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(("127.0.0.1", port))
    return sender, both(sender.close, close)


def _raw_send() -> Opened:
    sender, close = _connected()
    data = b"x" * 280

    def loop(number: int) -> None:
        for _ in range(number):
            sender.send(data)

    return loop, close


def _hand_made(limit: int) -> Callable[[], Opened]:
    """What one would write for oneself: the record, a list, a lock, and a datagram when `limit` bytes are together."""

    def opened() -> Opened:
        sender, close = _connected()
        encode, now = msgspec.json.Encoder().encode, datetime.now
        lock = threading.Lock()

        def loop(number: int) -> None:
            held: list[bytes] = []
            size = 0
            for n in range(number):
                data = encode(
                    Event(
                        now(UTC), "login", ("login", "sync"), "sync", 6, "user logged in",
                        {"user": "u1", "path": "/a/b", "ms": 12.5}, ONE, ENV_VERSION, 4711, "host", "0123456789abcdef", n,
                    )
                )  # fmt: skip
                with lock:
                    if size + len(data) > limit and held:
                        sender.send(b"\n".join(held))
                        held, size = [], 0
                    held.append(data)
                    size += len(data) + 1

        return loop, close

    return opened


def _hand_made_single() -> Opened:
    sender, close = _connected()
    encode, now = msgspec.json.Encoder().encode, datetime.now

    def loop(number: int) -> None:
        for n in range(number):
            sender.send(
                encode(
                    Event(
                        now(UTC), "login", ("login", "sync"), "sync", 6, "user logged in",
                        {"user": "u1", "path": "/a/b", "ms": 12.5}, ONE, ENV_VERSION, 4711, "host", "0123456789abcdef", n,
                    )
                )
            )  # fmt: skip

    return loop, close


def _log(client: MetlogClient, number: int) -> None:
    emit = client.log
    for _ in range(number):
        emit(("login", "sync"), "user logged in", fields={"user": "u1", "path": "/a/b", "ms": 12.5})
    client.flush(10)


def _texts(client: MetlogClient, number: int) -> None:
    emit = client.log
    for _ in range(number):
        emit(
            ("login", "sync"),
            "user logged in",
            fields={"user": "u1", "path": "/a/b", "agent": "Mozilla/5.0", "ms": 12.5},
        )
    client.flush(10)


def _keywords(client: MetlogClient, number: int) -> None:
    emit = client.log
    for _ in range(number):
        emit(("login", "sync"), "user logged in", user="u1", path="/a/b", ms=12.5)
    client.flush(10)


def _debug(client: MetlogClient, number: int) -> None:
    emit = client.log
    for _ in range(number):
        emit(("login", "sync"), "user logged in", severity=7, fields=None)


def _incr(client: MetlogClient, number: int) -> None:
    emit = client.incr
    for _ in range(number):
        emit("orders")
    client.flush(10)


def _timer(client: MetlogClient, number: int) -> None:
    make = client.timer
    for _ in range(number):
        with make("work"):
            pass
    client.flush(10)


def _decorated(client: MetlogClient, number: int) -> None:
    @client.timer("work")
    def nothing() -> None:
        pass

    for _ in range(number):
        nothing()
    client.flush(10)


def _handler(client: MetlogClient, number: int) -> None:
    from metlog.integrations.logging import MetlogHandler

    logger = plain_logger(MetlogHandler(client=client))
    for _ in range(number):
        logger.info("user logged in", extra={"user": "u1", "path": "/a/b"})
    client.flush(10)


def plain_logger(handler: Any) -> Any:
    """A stdlib logger with one handler, apart from all others."""
    import logging

    logger = logging.Logger("bench", logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    return logger


def metlog(
    sender: str, do: Callable[[MetlogClient, int], None] = _log, bound: dict[str, Any] | None = None, **settings: Any
) -> Callable[[], Opened]:
    """A case of metlog: `do(client, number)` with a client of these settings; `{port}` in `sender` is a drained UDP port."""

    def opened() -> Opened:
        port, close = drained() if "{port}" in sender else (0, lambda: None)
        client = MetlogClient.from_config({"sender": sender.format(port=port), "logger": "sync", **settings})
        used = client.bind(**bound) if bound else client

        def loop(number: int) -> None:
            do(used, number)

        return loop, both(lambda: client.close(1), close)

    return opened


def _to_dev_null() -> Opened:
    """The sender `stdout` in a process whose standard output is /dev/null; between the rounds ours is what it was."""
    null = os.open(os.devnull, os.O_WRONLY)

    @contextmanager
    def silenced() -> Iterator[None]:
        before = os.dup(1)
        os.dup2(null, 1)
        try:
            yield
        finally:
            os.dup2(before, 1)
            os.close(before)

    with silenced():
        inner, end = metlog("stdout:")()

    def loop(number: int) -> None:
        with silenced():
            inner(number)

    def close() -> None:
        with silenced():
            end()
        os.close(null)

    return loop, close


def _zmq() -> Opened:
    import zmq  # the extra

    pull: Any = zmq.Context.instance().socket(zmq.PULL)
    port = pull.bind_to_random_port("tcp://127.0.0.1")
    reading = threading.Event()

    def read() -> None:
        poller = zmq.Poller()
        poller.register(pull, zmq.POLLIN)
        while not reading.is_set():
            if poller.poll(50):
                pull.recv()
        pull.close(0)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    loop, close = metlog(f"zmq:?endpoint=tcp://127.0.0.1:{port}&pattern=push")()
    return loop, both(close, reading.set, lambda: reader.join(2))


FLOOR: Final = Case("floor: build and encode, send nothing", "scale", _floor)
SEND: Final = Case("raw socket.send of 280 bytes", "scale", _raw_send)
MASKING: Final = [{"name": "redact", "mask": ["email", "ipv4", "ipv6", "credit_card"]}]
QUIET: Final = [{"name": "severity_max", "severity": 6}]

CASES: Final[tuple[Case, ...]] = (
    FLOOR,
    SEND,
    Case("hand-written, 8 KB frames, lock", "scale", _hand_made(8192)),
    Case("hand-written, 1,432-byte frames, lock", "scale", _hand_made(1432)),
    Case("hand-written, one datagram an event", "scale", _hand_made_single),
    Case("metlog default (JSON, UDP)", "metlog", metlog(UDP)),
    Case("metlog MessagePack", "metlog", metlog(UDP, encoder="msgpack")),
    Case("metlog 1,432-byte frames", "metlog", metlog(UDP + "?max_frame=1432")),
    Case("metlog one datagram an event", "metlog", metlog(UDP, buffer={"flush_interval": 0})),
    Case("metlog five bound fields", "metlog", metlog(UDP, bound={"a": 1, "b": 2, "c": 3, "d": 4, "e": 5})),
    Case("metlog fields as keywords", "metlog", metlog(UDP, _keywords)),
    Case("metlog incr", "metlog", metlog(UDP, _incr)),
    Case("metlog incr, each an event", "metlog", metlog(UDP, _incr, counters="each")),
    Case("metlog timer, with", "metlog", metlog(UDP, _timer)),
    Case("metlog timer, decorator", "metlog", metlog(UDP, _decorated)),
    Case("metlog timer, with, summaries", "metlog", metlog(UDP, _timer, timers="summary")),
    Case("metlog timer, disabled", "metlog", metlog(UDP, _timer, disabled_timers=["*"])),
    Case("metlog dropped by severity", "metlog", metlog(UDP, _debug, filters=QUIET)),
    Case("metlog sampled, 1 of 10", "metlog", metlog(UDP, filters=[{"name": "sample", "rate": 0.1}])),
    Case("metlog redacting a field", "metlog", metlog(UDP, filters=[{"name": "redact", "drop": ["password"]}])),
    Case("metlog masking in three texts, four kinds", "metlog", metlog(UDP, _texts, filters=MASKING)),
    Case("metlog stdlib handler", "metlog", metlog(UDP, _handler)),
    Case("metlog ZeroMQ", "metlog", _zmq),
    Case("metlog file", "metlog", metlog("file:///dev/null")),
    Case("metlog stdout to /dev/null", "metlog", _to_dev_null),
)
