"""The microbenchmarks: what an event costs its caller and the whole process, beside the floor and what else one could use.

The rounds of all cases interleave, so that a machine that changes its speed changes it for all. Two figures each: seconds that the
caller spends in a call, and processor seconds of the whole process (background threads and the final flush included) an event.
"""

from __future__ import annotations

import gc
import io
import json
import logging
import logging.handlers
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from metlog.client import MetlogClient
from metlog.event import ENV_VERSION, ONE, Event

__all__ = ["CASES", "Case", "Row", "as_json", "as_svg", "as_table", "run"]

Loop = Callable[[int], None]


class Case(NamedTuple):
    """A case: `open()` gives the loop to time and what ends it."""

    name: str
    group: str
    open: Callable[[], tuple[Loop, Callable[[], None]]]


class Row(NamedTuple):
    """The figures of a case, seconds an event: medians of the rounds, and the spread (half the interquartile range) of the first."""

    name: str
    group: str
    caller: float
    spread: float
    cpu: float


def _fields() -> dict[str, Any]:
    return {"user": "u1", "path": "/a/b", "ms": 12.5}


def _drained() -> tuple[int, Callable[[], None]]:
    """The port of a UDP socket that a child process would read: here the kernel drops what does not fit, as for every case."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    return receiver.getsockname()[1], receiver.close


def _both(first: Callable[[], object], second: Callable[[], object]) -> Callable[[], None]:
    def close() -> None:
        first()
        second()

    return close


def _floor() -> tuple[Loop, Callable[[], None]]:
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


def _raw_send() -> tuple[Loop, Callable[[], None]]:
    port, close = _drained()
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(("127.0.0.1", port))
    data = b"x" * 280

    def loop(number: int) -> None:
        for _ in range(number):
            sender.send(data)

    return loop, _both(sender.close, close)


def _hand_made(limit: int) -> Callable[[], tuple[Loop, Callable[[], None]]]:
    def opened() -> tuple[Loop, Callable[[], None]]:
        port, close = _drained()
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.connect(("127.0.0.1", port))
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
                    if size + len(data) > limit:
                        sender.send(b"\n".join(held))
                        held, size = [], 0
                    held.append(data)
                    size += len(data) + 1

        return loop, _both(sender.close, close)

    return opened


def _metlog(url: str, call: str = "log", **settings: Any) -> Callable[[], tuple[Loop, Callable[[], None]]]:
    def opened() -> tuple[Loop, Callable[[], None]]:
        port, close = _drained() if "{port}" in url else (0, lambda: None)
        client = MetlogClient.from_config({"sender": url.format(port=port), "logger": "sync", **settings})
        if call == "bound":
            client = client.bind(a=1, b=2, c=3, d=4, e=5)

        def log(number: int) -> None:
            emit = client.log
            for _ in range(number):
                emit(("login", "sync"), "user logged in", fields={"user": "u1", "path": "/a/b", "ms": 12.5})
            client.flush(10)

        def debug(number: int) -> None:
            emit = client.log
            for _ in range(number):
                emit(("login", "sync"), "user logged in", severity=7, fields=None)

        def incr(number: int) -> None:
            emit = client.incr
            for _ in range(number):
                emit("orders")
            client.flush(10)

        def timer(number: int) -> None:
            make = client.timer
            for _ in range(number):
                with make("work"):
                    pass
            client.flush(10)

        @client.timer("work")
        def nothing() -> None:
            pass

        def decorated(number: int) -> None:
            for _ in range(number):
                nothing()
            client.flush(10)

        def handler(number: int) -> None:
            from metlog.integrations.logging import MetlogHandler

            logger = _logger(MetlogHandler(client=client))
            for _ in range(number):
                logger.info("user logged in", extra={"user": "u1", "path": "/a/b"})
            client.flush(10)

        loops = {
            "log": log,
            "bound": log,
            "debug": debug,
            "incr": incr,
            "timer": timer,
            "decorated": decorated,
            "handler": handler,
        }
        return loops[call], _both(lambda: client.close(1), close)

    return opened


def _logger(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("bench", logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    return logger


# ---- what else one could use: each is left out when it is not installed -----------------------------------------------


def _statsd() -> tuple[Loop, Callable[[], None]]:
    import statsd

    port, close = _drained()
    client = statsd.StatsClient("127.0.0.1", port)

    def loop(number: int) -> None:
        for _ in range(number):
            client.incr("orders")

    return loop, _both(client.close, close)


def _dogstatsd() -> tuple[Loop, Callable[[], None]]:
    from datadog.dogstatsd import DogStatsd

    port, close = _drained()
    client = DogStatsd(host="127.0.0.1", port=port, disable_buffering=False, telemetry_min_flush_interval=3600)
    tags = ["a:1", "b:2", "c:3"]

    def loop(number: int) -> None:
        for _ in range(number):
            client.increment("orders", tags=tags)
        client.flush()

    return loop, close


def _stdlib(make: Callable[[int], logging.Handler]) -> Callable[[], tuple[Loop, Callable[[], None]]]:
    def opened() -> tuple[Loop, Callable[[], None]]:
        port, close = _drained()
        handler = make(port)
        logger = _logger(handler)

        def loop(number: int) -> None:
            for _ in range(number):
                logger.info("user logged in", extra={"user": "u1", "path": "/a/b"})

        return loop, _both(handler.close, close)

    return opened


class _JsonDatagrams(logging.handlers.DatagramHandler):
    def emit(self, record: logging.LogRecord) -> None:
        self.send(
            json.dumps(
                {"message": record.getMessage(), "logger": record.name, "user": "u1", "time": record.created}
            ).encode()
        )


def _logstash(port: int) -> logging.Handler:
    from logstash import UDPLogstashHandler

    handler: logging.Handler = UDPLogstashHandler("127.0.0.1", port, version=1)
    return handler


def _structlog() -> tuple[Loop, Callable[[], None]]:
    import orjson
    import structlog

    processors = [structlog.processors.TimeStamper("iso"), structlog.processors.JSONRenderer(serializer=orjson.dumps)]
    log = structlog.wrap_logger(structlog.BytesLogger(io.BytesIO()), processors=processors)

    def loop(number: int) -> None:
        for _ in range(number):
            log.info("user logged in", user="u1", path="/a/b", ms=12.5)

    return loop, lambda: None


def _loguru() -> tuple[Loop, Callable[[], None]]:
    from loguru import logger

    logger.remove()
    identity = logger.add(lambda message: None, serialize=True)

    def loop(number: int) -> None:
        for _ in range(number):
            logger.info("user logged in", user="u1", path="/a/b", ms=12.5)

    return loop, lambda: logger.remove(identity)


def _syslog(port: int) -> logging.Handler:
    return logging.handlers.SysLogHandler(("127.0.0.1", port))


UDP = "udp://127.0.0.1:{port}"

CASES: tuple[Case, ...] = (
    Case("floor: build and encode, send nothing", "scale", _floor),
    Case("raw socket.send of 280 bytes", "scale", _raw_send),
    Case("hand-written, 8 KB frames, lock", "scale", _hand_made(8192)),
    Case("hand-written, 1,432-byte frames, lock", "scale", _hand_made(1432)),
    Case("metlog default (JSON, UDP)", "metlog", _metlog(UDP)),
    Case("metlog MessagePack", "metlog", _metlog(UDP, encoder="msgpack")),
    Case("metlog 1,432-byte frames", "metlog", _metlog(UDP + "?max_frame=1432")),
    Case("metlog one datagram an event", "metlog", _metlog(UDP + "?max_frame=64")),
    Case("metlog null sender", "metlog", _metlog("null:")),
    Case("metlog five bound fields", "metlog", _metlog(UDP, "bound")),
    Case("metlog incr", "metlog", _metlog(UDP, "incr")),
    Case("metlog timer, with", "metlog", _metlog(UDP, "timer")),
    Case("metlog timer, decorator", "metlog", _metlog(UDP, "decorated")),
    Case("metlog timer, disabled", "metlog", _metlog(UDP, "timer", disabled_timers=["*"])),
    Case(
        "metlog dropped by severity", "metlog", _metlog(UDP, "debug", filters=[{"name": "severity_max", "severity": 6}])
    ),
    Case("metlog sampled, 1 of 10", "metlog", _metlog(UDP, filters=[{"name": "sample", "rate": 0.1}])),
    Case("metlog stdlib handler", "metlog", _metlog(UDP, "handler")),
    Case("metlog file", "metlog", _metlog("file:///dev/null")),
    Case("statsd incr", "peer", _statsd),
    Case("dogstatsd, buffered, three tags", "peer", _dogstatsd),
    Case("structlog + orjson, to memory", "peer", _structlog),
    Case("stdlib SysLogHandler", "peer", _stdlib(_syslog)),
    Case("stdlib DatagramHandler, JSON", "peer", _stdlib(lambda port: _JsonDatagrams("127.0.0.1", port))),
    Case("python-logstash", "peer", _stdlib(_logstash)),
    Case("loguru, serialized, to nothing", "peer", _loguru),
)


@contextmanager
def _calm() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run(
    cases: Sequence[Case] = CASES,
    *,
    rounds: int = 15,
    calls: int = 5000,
    left_out: list[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Times the cases, `rounds` times `calls` calls each, in turn. `left_out` gets the names of peers that are not installed."""
    opened: list[tuple[Case, Loop, Callable[[], None]]] = []
    try:
        for case in cases:
            try:
                loop, close = case.open()
                loop(50)
            except ImportError as error:
                if left_out is not None:
                    left_out.append(f"{case.name}: {error}")
                continue
            opened.append((case, loop, close))
        figures: list[list[tuple[float, float]]] = [[] for _ in opened]
        for number in range(rounds):
            for index, (_, loop, _) in enumerate(opened):
                with _calm():
                    cpu, start = time.process_time(), time.perf_counter()
                    loop(calls)
                    caller, used = time.perf_counter() - start, time.process_time() - cpu
                figures[index].append((caller / calls, used / calls))
            if progress is not None:
                progress(number + 1, rounds)
    finally:
        for _, _, close in opened:
            close()
    rows = []
    for (case, _, _), pairs in zip(opened, figures, strict=True):
        times = sorted(pair[0] for pair in pairs)
        quarters = statistics.quantiles(times, n=4) if len(times) > 1 else [times[0]] * 3
        rows.append(
            Row(
                case.name,
                case.group,
                statistics.median(times),
                (quarters[2] - quarters[0]) / 2,
                statistics.median(pair[1] for pair in pairs),
            )
        )
    return rows


def _scale(rows: Sequence[Row]) -> tuple[float, float]:
    by_name = {row.name: row.caller for row in rows}
    return by_name.get(CASES[0].name, float("nan")), by_name.get(CASES[1].name, float("nan"))


def as_table(rows: Sequence[Row]) -> str:
    """The figures as text: nanoseconds, and ratios to the floor and to a raw send."""
    floor, send = _scale(rows)
    head = f"{'':42} {'caller ns':>10} {'±':>6} {'x floor':>8} {'x send':>7} {'CPU ns':>8} {'x floor':>8}"
    lines = (
        f"{row.name:42} {row.caller * 1e9:10,.0f} {row.spread * 1e9:6,.0f} {row.caller / floor:8.2f} "
        f"{row.caller / send:7.2f} {row.cpu * 1e9:8,.0f} {row.cpu / floor:8.2f}"
        for row in rows
    )
    return "\n".join([head, *lines])


def as_json(rows: Sequence[Row]) -> str:
    """The figures as JSON; seconds."""
    floor, send = _scale(rows)
    cases = [{**row._asdict(), "floor_ratio": row.caller / floor, "send_ratio": row.caller / send} for row in rows]
    return json.dumps({"python": sys.version.split()[0], "unit": "seconds an event", "cases": cases}, indent=2)


def as_svg(rows: Sequence[Row]) -> str:
    """A bar chart of the caller's time as multiples of the floor; the hatched end is what the whole process spends beyond it."""
    floor, _ = _scale(rows)
    shown = sorted(rows, key=lambda row: row.caller)
    most = max(max(row.caller, row.cpu) for row in shown) / floor
    colours = {"metlog": "#2563eb", "peer": "#94a3b8", "scale": "#0f172a"}
    height = 24 * len(shown) + 64
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {height}" font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="860" height="{height}" fill="#fff"/>',
        '<text x="16" y="26" font-size="16" font-weight="600" fill="#0f172a">What an event costs its caller, in multiples of '
        "building and encoding it</text>",
    ]
    for index, row in enumerate(shown):
        y = 48 + 24 * index
        width = row.caller / floor / most * 470
        name = row.name.replace("&", "&amp;").replace("<", "&lt;")
        parts += [
            f'<text x="290" y="{y + 13}" text-anchor="end" fill="#334155">{name}</text>',
            f'<rect x="300" y="{y}" width="{width:.1f}" height="17" rx="2" fill="{colours[row.group]}"/>',
            f'<text x="{306 + width:.1f}" y="{y + 13}" fill="#334155">{row.caller / floor:.2f}</text>',
        ]
    return "\n".join([*parts, "</svg>\n"])
