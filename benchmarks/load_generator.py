"""One process of the listener's load generator: events as the real client writes them, over real UDP, at a given pace.

Run by `listener_load.py`. A frame is made by filling a prepared one: `%` on bytes puts in the time, a random-looking number
and the `seq` of each event, so that every event is another one, for about a third of a microsecond of the
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
from datetime import UTC, datetime
from typing import Final

import metlog
from metlog.encoders.json import JsonEncoder
from metlog.event import END_TYPE, Event

TEMPLATES: Final = 64
"""Prepared frames a stream."""
TICK: Final = 0.001
"""Seconds between looks at what is due."""
_TIME: Final = datetime(2000, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
_NUMBER: Final = "77777777"
_ROUTES: Final = ("/orders/{id}", "/users/{id}", "/search", "/cart", "/login", "/items/{id}")


class Stream:
    """One client: a socket, an id, a count, and frames to be filled."""

    def __init__(self, host: str, port: int, per_frame: int, seed: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((host, port))
        self.id = secrets.token_hex(8)
        self.seq = 0
        self.bytes = 0
        self.per_frame = per_frame
        self._random = random.Random(seed)
        self._encoder = JsonEncoder()
        self._logger = self._random.choice(("checkout", "search", "accounts", "catalog"))
        self._hostname = f"web-{self._random.randrange(40):02d}"
        self._pid = self._random.randrange(1000, 60_000)
        self.templates = [b"".join(self._line() for _ in range(per_frame)) for _ in range(TEMPLATES)]

    def event(self) -> Event:
        """An event of a request, as a service's middleware sends it: 250 to 300 bytes of JSON."""
        chance = self._random
        route = chance.choice(_ROUTES)
        status = chance.choice((200, 200, 200, 201, 204, 302, 404, 500))
        return Event(
            timestamp=_TIME,
            type=chance.choice(("request", "request", "request", "login", "order", "search")),
            tokens=("web",),
            logger=self._logger,
            severity=6 if status < 500 else 3,
            payload=f"{chance.choice(('GET', 'POST'))} {status}",
            fields={"user": f"u{chance.randrange(100_000)}", "route": route, "ms": round(chance.uniform(1, 400), 2), "id": _NUMBER},
            pid=self._pid,
            hostname=self._hostname,
            stream=self.id,
            seq=1_234_567,
        )  # fmt: skip

    def _line(self) -> bytes:
        line = self._encoder.encode(self.event()).replace(b"%", b"%%") + b"\n"
        micros = b"%04d" % self._random.randrange(10_000)
        return (
            line.replace(b"2000-01-01T00:00:00.123456Z", b"%b" + micros + b"Z")
            .replace(_NUMBER.encode(), b"%08x")
            .replace(b"1234567", b"%d")
        )

    def send(self, stamp: bytes) -> None:
        """The next frame. `stamp`: the time up to hundredths of a second; the rest differs by event."""
        first = self.seq + 1
        self.seq += self.per_frame
        values: list[bytes | int] = []
        for seq in range(first, self.seq + 1):
            values += (stamp, (seq * 0x9E3779B1) & 0xFFFFFFFF, seq)
        frame = self.templates[(first // self.per_frame) % TEMPLATES] % tuple(values)
        self.bytes += len(frame)
        self.socket.send(frame)

    def end(self) -> None:
        self.seq += 1
        event = Event(type=END_TYPE, logger=self._logger, pid=self._pid, hostname=self._hostname, stream=self.id,
                      seq=self.seq, fields={"last_seq": self.seq, "dropped": {}})  # fmt: skip
        self.socket.send(self._encoder.encode(event) + b"\n")


def events_a_frame(frame: int) -> int:
    """How many of these events fit into a frame of so many bytes."""
    probe = Stream("127.0.0.1", 9, 1, 0)
    sizes = [len(probe._encoder.encode(probe.event())) + 1 for _ in range(200)]
    return max(1, int(frame // (sum(sizes) / len(sizes) + 2)))


def run(host: str, port: int, rate: float, seconds: float, per_frame: int, streams: int, seed: int) -> dict[str, object]:
    """Sends `rate` events a second for so long; says what was sent, and how far behind its pace it ever was."""
    clients = [Stream(host, port, per_frame, seed * 1000 + n) for n in range(streams)]
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
    given = parser.parse_args()
    print(
        json.dumps(run(given.host, given.port, given.rate, given.seconds, given.per_frame, given.streams, given.seed))
    )


if __name__ == "__main__":
    main()
