"""One process of the listener's load generator: events as the real client writes them, over real UDP, at a given pace.

Run by `listener_load.py`. A frame is made by filling a prepared one: `%` on bytes puts in each event's time, user, duration,
request id and `seq`, so that every event is another one and compresses as such, for about half a microsecond of the
processor. Every stream ends as a client's does, with a `metlog.end` that names its last `seq`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import socket
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

import metlog
from metlog.encoders.json import JsonEncoder, JsonRecord, JsonRecords
from metlog.event import END_TYPE, Event

TEMPLATES: Final = 64
"""Prepared frames a stream."""
POOL: Final = 1 << 16
"""Prepared values of each kind; every frame takes a run of them from a random place."""
TICK: Final = 0.001
"""Seconds between looks at what is due."""
_TIME: Final = datetime(2000, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
_USER, _MS, _ID, _SEQ = "u77777", 277.25, "77777777", 1_234_567
"""What stands in an event in the place of the values that are filled in."""
_ROUTES: Final = ("/orders/{id}", "/users/{id}", "/search", "/cart", "/login", "/items/{id}")


def pools(seed: int) -> tuple[list[bytes], ...]:
    """The values that differ from event to event, in the order in which they stand in one: rest of the time, user, duration, id."""
    chance = random.Random(seed)
    return (
        [b"%04dZ" % chance.randrange(10_000) for _ in range(POOL)],
        [b"u%d" % chance.randrange(100_000) for _ in range(POOL)],
        [b"%r" % round(chance.lognormvariate(3.5, 1.0), 2) for _ in range(POOL)],
        [b"%08x" % chance.getrandbits(32) for _ in range(POOL)],
    )


class Stream:
    """One client: a socket, an id, a count, and frames to be filled."""

    def __init__(
        self, host: str, port: int, per_frame: int, values: Sequence[list[bytes]], seed: int, prefix: bytes = b""
    ) -> None:
        """`prefix`: what each datagram begins with."""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((host, port))
        self.seq = 0
        self.bytes = 0
        self.per_frame = per_frame
        self.prefix = prefix
        self._pools = values
        self._random = chance = random.Random(seed)
        self._client = Event(
            type="", logger=chance.choice(("checkout", "search", "accounts", "catalog")), pid=chance.randrange(1000, 60_000),
            hostname=f"web-{chance.randrange(40):02d}", stream=secrets.token_hex(8),
        )  # fmt: skip
        self.id = self._client.stream
        self._records = JsonRecords()
        _, self._origin = self._records.maker(self._client)
        self.templates = [b"".join(self._line() for _ in range(per_frame)) for _ in range(TEMPLATES)]

    def event(self) -> bytes:
        """An event of a request, as a service's middleware sends it: 250 to 300 bytes of JSON, written by the client's encoder."""
        chance = self._random
        status = chance.choice((200, 200, 200, 201, 204, 302, 404, 500))
        record = JsonRecord(
            timestamp=_TIME,
            type=chance.choice(("request", "request", "request", "login", "order", "search")),
            tokens=("web",),
            severity=6 if status < 500 else 3,
            payload=f"{chance.choice(('GET', 'POST'))} {status}",
            fields={"user": _USER, "route": chance.choice(_ROUTES), "ms": _MS, "id": _ID},
            seq=_SEQ,
            stream=self._origin,
        )
        return self._records.frame([record])

    def _line(self) -> bytes:
        line = self.event().replace(b"%", b"%%")
        for value, place in (
            (b"2000-01-01T00:00:00.123456Z", b"%b%b"), (_USER.encode(), b"%b"), (b"%r" % _MS, b"%b"),
            (_ID.encode(), b"%b"), (b"%d" % _SEQ, b"%d"),
        ):  # fmt: skip
            assert line.count(value) == 1, (value, line)
            line = line.replace(value, place)
        return line

    def send(self, stamp: bytes) -> None:
        """The next frame. `stamp`: the time up to hundredths of a second; the rest differs by event."""
        count = self.per_frame
        first = self.seq + 1
        self.seq += count
        values: list[Any] = [stamp] * (6 * count)
        for place, pool in enumerate(self._pools, 1):
            at = self._random.randrange(POOL - count)
            values[place::6] = pool[at : at + count]
        values[5::6] = range(first, self.seq + 1)
        frame = self.templates[(first // count) % TEMPLATES] % tuple(values)
        self.bytes += len(frame)
        self.socket.send(self.prefix + frame if self.prefix else frame)

    def end(self) -> None:
        self.seq += 1
        event = msgspec.structs.replace(
            self._client, timestamp=datetime.now(UTC), type=END_TYPE, seq=self.seq, fields={"last_seq": self.seq, "dropped": {}}
        )  # fmt: skip
        self.socket.send(self.prefix + JsonEncoder().encode(event) + b"\n")


def events_a_frame(frame: int) -> int:
    """How many of these events fit into a frame of so many bytes."""
    probe = Stream("127.0.0.1", 9, 1, pools(0), 0)
    sizes = [len(probe.event()) for _ in range(200)]
    return max(1, int(frame // (sum(sizes) / len(sizes) + 2)))


def run(
    host: str, port: int, rate: float, seconds: float, per_frame: int, streams: int, seed: int, prefix: bytes
) -> dict[str, object]:
    """Sends `rate` events a second for so long; says what was sent, and how far behind its pace it ever was."""
    values = pools(seed)
    clients = [Stream(host, port, per_frame, values, seed * 1000 + n, prefix) for n in range(streams)]
    pace = rate / per_frame
    total = round(pace * seconds)
    sent = 0
    behind = 0.0
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    began = time.monotonic()
    while sent < total and not ended:
        now = time.monotonic() - began
        due = min(total, int(now * pace) + 1)
        behind = max(behind, now - sent / pace)
        stamp = datetime.now(UTC).isoformat(timespec="microseconds")[:22].encode()
        for number in range(sent, due):
            clients[number % streams].send(stamp)
        sent = due
        time.sleep(max(0.0, TICK - (time.monotonic() - began - now)))
    took = time.monotonic() - began
    for client in clients:
        client.end()
    cpu = os.times()
    return {
        "events": sum(client.seq for client in clients),
        "frames": sent + streams,
        "bytes": sum(client.bytes for client in clients),
        "seconds": took,
        "behind": behind,
        "cpu": cpu.user + cpu.system,
        "streams": {client.id: client.seq for client in clients},
        "metlog": metlog.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, required=True, help="events a second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--per-frame", type=int, required=True, help="events a datagram")
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prefix", default="", help="what each datagram begins with")
    given = parser.parse_args()
    found = run(
        given.host, given.port, given.rate, given.seconds, given.per_frame, given.streams, given.seed, given.prefix.encode()
    )  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
