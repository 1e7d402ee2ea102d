"""Hostile input of every kind: frames, bodies, statsd lines, paths, requests.

What is drawn is sizes, counts, depths, names, numbers and characters, not a case out of a list.
"""

from __future__ import annotations

import gzip
import json
import random
import struct
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import msgspec

__all__ = ["Request", "bodies", "datagrams", "good", "paths", "requests", "statsd"]

LARGEST: Final = 60_000
"""Bytes of a datagram."""
CHARACTERS: Final = (
    "\0\x01\x08\t\n\r\x1b\x7f\x80\x9b\u202e\u2028\ufeff\ufffe\uffff\ud7ff\U0001f600aé漢'\"<>&=+-@%\\/{}[]$"
)
NUMBERS: Final = (
    0, 1, -1, 2**31, 2**53, 2**63 - 1, -(2**63), 2**64 - 1, 10**40, 1.7e308, -1.7e308, 5e-324, 1e15, 1e16, 0.1, True, None,
)  # fmt: skip
KEYS: Final = (
    "route",
    "ms",
    "status",
    "user",
    "name",
    "count",
    "success",
    "error",
    "last_seq",
    "dropped",
    "kernel_drops",
    "socket",
    "",
)
TYPES: Final = (
    "request",
    "timer",
    "counter",
    "login",
    "metlog.end",
    "metlog.report",
    "metlog.drops",
    "metlog.delete",
    "a",
)


def good(number: int) -> dict[str, Any]:
    """An event as a service sends it."""
    return {
        "type": "request", "logger": "good", "stream": "good", "seq": number, "payload": f"GET /{number % 7} 200",
        "fields": {"route": f"/{number % 7}", "ms": 5.0 + number % 10, "status": 200, "user": f"u{number % 50}", "n": number},
    }  # fmt: skip


def _size(rng: random.Random, most: int = LARGEST) -> int:
    """From nothing to the most, every order of magnitude as often as another."""
    return min(most, int(2 ** rng.uniform(0, 16.2)) - 1)


def _text(rng: random.Random, most: int = 2000) -> str:
    size = _size(rng, most)
    if rng.random() < 0.5:
        return rng.choice(CHARACTERS) * size
    return "".join(rng.choices(CHARACTERS, k=min(size, 300)))


def _value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(6 if depth < 3 else 3)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind in {1, 2}:
        return _text(rng, 200)
    if kind == 3:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 4:
        return {_text(rng, 30): _value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return rng.choice([[], {}, [[]] * 50])


def event(rng: random.Random) -> dict[str, Any]:
    """An event of which any part may be odd; many are none."""
    found: dict[str, Any] = {"type": rng.choice(TYPES) if rng.random() < 0.7 else _text(rng)}
    found["fields"] = {
        rng.choice(KEYS) if rng.random() < 0.7 else _text(rng, 100): _value(rng) for _ in range(rng.randrange(6))
    }
    for key, make in (
        ("stream", lambda: _text(rng) or "s"), ("seq", lambda: rng.choice(NUMBERS)), ("weight", lambda: rng.choice(NUMBERS)),
        ("logger", lambda: _text(rng, 100)), ("hostname", lambda: _text(rng, 100)), ("pid", lambda: rng.choice(NUMBERS)),
        ("severity", lambda: rng.choice(NUMBERS)), ("payload", lambda: _text(rng, 5000)),
        ("tokens", lambda: [_text(rng, 20)] * rng.randrange(9)),
        ("timestamp", lambda: rng.choice(["", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", 1e308, None])),
        ("env_version", lambda: _text(rng, 20)),
    ):  # fmt: skip
        if rng.random() < 0.3:
            found[key] = make()
    return found


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def _pieces(rng: random.Random, most: int) -> bytes:
    """Very many very small pieces of one kind."""
    count = max(1, _size(rng, most))
    kind = rng.randrange(9)
    if kind == 0:
        return b"\xdd" + struct.pack(">I", count) + rng.choice([b"\xc0", b"\x90", b"\x80", b"\x01", b"\xa0"]) * count
    if kind == 1:
        return rng.choice([b"{\n", b"{}\n", b"\n", b"x\n", b"[]\n", b'""\n']) * (count // 2 + 1)
    if kind == 2:
        return (
            b'{"type":"a","fields":{"a":['
            + rng.choice([b"[],", b"{},", b"1,", b'"",', b"null,"]) * (count // 5)
            + b"0]}}"
        )
    if kind == 3:
        return (
            b"\x82\xa4type\xa1a\xa6fields\x81\xa1a\xdd"
            + struct.pack(">I", count)
            + rng.choice([b"\x90", b"\xc0"]) * count
        )
    if kind == 4:
        return b'{"type":"a","tokens":[' + b'"",' * (count // 3) + b'""]}'
    if kind == 5:
        opening = rng.choice([b"[", b'{"a":'])
        return b'{"type":"a","fields":{"a":' + opening * (count // len(opening))
    if kind == 6:
        return b"\x91" * count
    if kind == 7:
        return b'{"type":"a","fields":{' + b",".join(b'"%d":1' % n for n in range(count // 9)) + b"}}"
    return b'{"type":"t"}\n' * (count // 13 + 1)


def frame(rng: random.Random, most: int = LARGEST) -> bytes:
    """What one datagram, message or body holds."""
    return _frame(rng, most)[:most]


def _frame(rng: random.Random, most: int) -> bytes:
    kind = rng.randrange(6)
    if kind == 0:
        return rng.randbytes(_size(rng, most))
    if kind in {1, 2}:
        return _pieces(rng, most)[:most]
    if kind == 3:
        whole = b"\n".join(_json(event(rng)) for _ in range(rng.randrange(1, 20)))
        return whole[: rng.randrange(len(whole) + 1)] if rng.random() < 0.3 else whole[:most]
    if kind == 4:
        try:
            return msgspec.msgpack.encode([event(rng) for _ in range(rng.randrange(1, 9))])[:most]
        except (OverflowError, UnicodeEncodeError):
            return b"\xdc\xff\xff"
    signed = b'{"metlog.signed":"%s","key":"a","bytes":%d,"mac":"%s"}\n' % (
        rng.choice([b"none", b"hmac-sha256", b"x" * 400]), rng.randrange(10**9), b"0" * _size(rng, 300),
    )  # fmt: skip
    return signed + _pieces(rng, most - 1000)[: most - 1000]


def datagrams(rng: random.Random) -> Iterator[bytes]:
    while True:
        yield frame(rng)


class Request(msgspec.Struct):
    """An HTTP request to be made."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = {}


def bodies(rng: random.Random) -> Iterator[Request]:
    """Submissions to the input http."""
    while True:
        body = frame(rng, rng.choice([LARGEST, 1 << 20]))
        if rng.random() < 0.3:  # what is small packed and large unpacked
            body = _pieces(rng, LARGEST) * rng.randrange(1, 100)
        headers = {
            "content-type": rng.choice(
                ["application/json", "application/msgpack", "application/x-ndjson", "text/plain", "x"]
            )
        }
        if rng.random() < 0.5:
            body, headers["content-encoding"] = gzip.compress(body, 1), "gzip"
        name = quote(_text(rng, 30), safe="") if rng.random() < 0.3 else "x"
        yield Request("POST", f"/submit/{name}" + (f"/{rng.randrange(5)}" if rng.random() < 0.3 else ""), body, headers)


def statsd(rng: random.Random) -> Iterator[bytes]:
    while True:
        lines = []
        for _ in range(int(2 ** rng.uniform(0, 10))):
            name = _text(rng, 60).encode("utf-8", "replace") if rng.random() < 0.5 else b"n%d" % rng.randrange(10**9)
            value = str(rng.choice(NUMBERS)).encode()
            lines.append(
                name
                + b":"
                + value
                + b"|"
                + rng.choice([b"c", b"ms", b"g", b"s", b"h", b"", b"c|@0.000001", b"c|@nan", b"c|#" + b"a:b," * 50])
            )
        yield b"\n".join(lines)[:LARGEST]


def paths(rng: random.Random) -> Iterator[str]:
    """Paths that visitors of an instrumented service ask for."""
    while True:
        yield "/" + "/".join(_text(rng, 40) for _ in range(rng.randrange(1, 6)))


PAGES: Final = (
    "/",
    "/reports",
    "/reports/request-times",
    "/reports/events-by-type.svg",
    "/events",
    "/sql",
    "/tail",
    "/api/reports/volume",
    "/login",
)


def requests(rng: random.Random) -> Iterator[bytes]:
    """Bytes for a connection to the page: requests, halves of them, and what is none."""
    while True:
        kind = rng.randrange(5)
        query = "&".join(
            f"{quote(_text(rng, 20), safe='')}={quote(_text(rng, 200), safe='')}" for _ in range(rng.randrange(5))
        )
        for key in ("span", "since", "field", "sql", "_size", "top", "by", "tz"):
            if rng.random() < 0.2:
                query += f"&{key}={quote(_text(rng, 50), safe='')}"
        path = rng.choice(PAGES) if rng.random() < 0.7 else "/" + quote(_text(rng, 100), safe="/")
        head = f"GET {path}?{query} HTTP/1.1\r\nHost: localhost\r\n".encode()
        if kind == 0:
            yield (
                head
                + b"".join(b"x-%d: %s\r\n" % (n, b"y" * _size(rng, 3000)) for n in range(rng.randrange(20)))
                + b"\r\n"
            )
        elif kind == 1:
            yield head[: rng.randrange(len(head))]
        elif kind == 2:
            yield rng.randbytes(_size(rng))
        elif kind == 3:
            body = frame(rng)
            path = rng.choice(["/api/query", "/login", "/sql/save", "/logout"])
            length = rng.choice([len(body), len(body) + 1000, 10**12, 0])
            yield (
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()
                + body
            )
        else:
            yield head + b"\r\n"
