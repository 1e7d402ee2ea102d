"""Hostile datagrams at a real listener, each with a known verdict; at the same time slow clients and bombs over HTTP.

    python -m tests.system.reliability.hostile --datagrams 1000000

Every datagram is of a kind whose verdict is known by how it is made: so many events taken, and one dead letter for each bad
part, with its reason. In the end the listener's counts, its dead letters and the bare Parquet files must say the same; it must
have answered every bomb with 413, put out every slow client, kept its memory, and must serve the next good datagram.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import random
import re
import shutil
import socket
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import msgpack
import zstandard

from tests.helpers.reliability import Listener, datagram
from tests.helpers.waiting import eventually, wait_for

WINDOW = 1000
"""Datagrams that are under way at one time: what is to be judged is the verdict, not the receive buffer."""
LARGEST = 65_507
"""Bytes that a datagram carries over IPv4."""


class Verdict(NamedTuple):
    """What must become of a datagram."""

    taken: int
    reason: str = ""
    """Of the dead letters, without its detail; empty when there is none."""
    letters: int = 1


Kind = Callable[[random.Random], tuple[bytes, Verdict]]

NEITHER = "neither JSON lines nor MessagePack"
NOT_JSON = "not JSON"
NOT_EVENT = "not an event"
DEEP = "nested too deeply"
UTF8 = "not UTF-8"
PACKED = "not MessagePack"
_FOREIGN = [byte for byte in range(256) if not (byte in b"{ \t\r\n" or 0x80 <= byte < 0xA0 or 0xDC <= byte <= 0xDF)]


def one(rng: random.Random, **more: Any) -> bytes:
    fields = {"n": rng.randrange(10**9), "text": "".join(rng.choices('aé漢\U0001f600\\"\n\0', k=rng.randrange(20)))}
    return json.dumps({"type": "hostile", "payload": "p" * rng.randrange(200), "fields": fields} | more).encode()


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(1, len(data))]


def lines(rng: random.Random) -> tuple[bytes, Verdict]:
    count = rng.randrange(1, 6)
    return rng.choice([b"\n", b"\r\n", b"\n\n"]).join(one(rng) for _ in range(count)), Verdict(count)


def lines_with_a_cut_one(rng: random.Random) -> tuple[bytes, Verdict]:
    frame, verdict = lines(rng)
    return frame + b"\n" + cut(one(rng), rng), Verdict(verdict.taken, NOT_JSON)


def noise(rng: random.Random) -> tuple[bytes, Verdict]:
    return bytes([rng.choice(_FOREIGN)]) + rng.randbytes(rng.randrange(1400)), Verdict(0, NEITHER)


def deep(rng: random.Random) -> tuple[bytes, Verdict]:
    depth = rng.choice([101, 200, 900, 990, 1000, 5000, 30_000])
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}")]) if depth <= 5000 else (b"[", b"]")
    key = rng.choice([b'"fields":{"a":%s}', b'"unknown":%s'])
    return b'{"type":"hostile",%s}' % (key % (opening * depth + b"1" + closing * depth)), Verdict(0, DEEP)


def broken_text(rng: random.Random) -> tuple[bytes, Verdict]:
    bad = rng.choice([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\x80"])
    place = rng.choice([b'"payload":"x%sx"', b'"unknown":"%s"', b'"fields":{"%s":1}'])
    return b'{"type":"hostile",%s}' % (place % bad), Verdict(0, UTF8)


def wrong_values(rng: random.Random) -> tuple[bytes, Verdict]:
    wrong = rng.choice([
        b'{"payload":"no type"}', b'{"type":5}', b'{"type":null}', b'{"type":"a","severity":8}', b'{"type":"a","severity":-1}',
        b'{"type":"a","weight":0}', b'{"type":"a","weight":-1}', b'{"type":"a","seq":9223372036854775808}', b"{}{}",
        b'{"type":"a","seq":-1}', b'{"type":"a","pid":-1}',
        b'{"type":"a","timestamp":"yesterday"}', b'{"type":"a","timestamp":12}', b'{"type":"a","fields":null}',
        b'{"type":"a","timestamp":"2026-02-30T00:00:00Z"}', b'{"type":"a","tokens":"a"}', b'{"type":"a","tokens":[1]}',
        b'{"type":"a","fields":[]}', b'{"type":"a","stream":7}', b'{"type":"a","fields":{"n":1e999}}',
        b'{"type":"a","fields":{"n":-1e999}}', b'{"type":"a","weight":1e999}', b'{"type":"a","pid":1e400}',
    ])  # fmt: skip
    return wrong, Verdict(0, NOT_EVENT)


def wrong_json(rng: random.Random) -> tuple[bytes, Verdict]:
    wrong = rng.choice([
        b'{"type":"a","fields":{"n":NaN}}', b'{"type":"a","fields":{"n":Infinity}}', b"{'type':'a'}", b'{"type":"a",}',
        b'{"type":"a"', b'{"type":"\\ud800"}', b'{"type":"a","payload":"\\x"}', b'{"type":"a"}}', b'{"type" "a"}',
        b'{"type":"a","fields":{"n":01}}', b'{"type":"a","fields":{"n":+1}}', b'{"type":"a","payload":"tab\there"}',
    ])  # fmt: skip
    return wrong, Verdict(0, NOT_JSON)


def line_end_in_a_text(rng: random.Random) -> tuple[bytes, Verdict]:
    return b'{"type":"a","payload":"line\nend"}', Verdict(0, NOT_JSON, 2)


def two_on_a_line(rng: random.Random) -> tuple[bytes, Verdict]:
    return one(rng) + one(rng), Verdict(0, "more than one event on a line")


def strange_and_right(rng: random.Random) -> tuple[bytes, Verdict]:
    right = rng.choice([
        b'{"type":"a","type":"b"}', b'{"type":"a","fields":{"k":1,"k":2}}', b'{"type":"a","fields":{"n":1e308}}',
        b'{"type":"a","fields":{"n":5e-324}}', b'{"type":"a","fields":{"n":123456789012345678901234567890}}',
        b'{"type":"a","timestamp":"9999-12-31T23:59:59.999999Z"}', b'{"type":"a","timestamp":"0001-01-01T00:00:00Z"}',
        b'{"type":"a","timestamp":"2026-08-22T10:00:00+14:00"}', b'{"type":"a","seq":0}', b'{"type":""}',
        b'{"type":"a","payload":"\\u0000\\ud83d\\ude00"}', b' \t{"type":"a"} ', b'{"type":"a","unknown":[{"x":[1,2]}]}',
        b'{"type":"a","fields":{"":{"":""}}}', b'{"type":"a","stream":"../../etc","seq":9223372036854775807}',
        b'{"type":"a","logger":"\'; DROP TABLE events; --","hostname":"<script>alert(1)</script>"}',
    ])  # fmt: skip
    return right, Verdict(1)


def large(rng: random.Random) -> tuple[bytes, Verdict]:
    shell = b'{"type":"hostile","payload":"%s"}'
    fill = rng.choice([b"x", b"\\n", "漢".encode()])
    return shell % (fill * ((LARGEST - len(shell) + 2) // len(fill))), Verdict(1)


def crowd(rng: random.Random) -> tuple[bytes, Verdict]:
    line = b'{"type":"a"}\n'
    count = LARGEST // len(line)
    return line * count, Verdict(count)


def packed(rng: random.Random) -> tuple[bytes, Verdict]:
    event = {"type": "hostile", "fields": {"n": rng.randrange(10**9), "f": rng.random()}, "seq": rng.randrange(10**9)}
    match rng.randrange(6):
        case 0:
            return msgpack.packb(event), Verdict(1)
        case 1:
            return msgpack.packb([event] * 3), Verdict(3)
        case 2:
            return msgpack.packb([event, {"severity": 3}, event]), Verdict(2, NOT_EVENT)
        case 3:
            whole = msgpack.packb(event)
            return whole[: rng.randrange(1, len(whole))], Verdict(0, PACKED)
        case 4:
            return b"\xdd\xff\xff\xff\xff" + rng.randbytes(20).replace(b"\0", b"\1"), Verdict(0, PACKED)
        case _:
            value: list[Any] = []
            for _ in range(rng.choice([120, 400])):
                value = [value]
            return msgpack.packb({"type": "a", "fields": {"a": value}}), Verdict(0, DEEP)


KINDS: dict[str, tuple[float, Kind]] = {
    "one": (20, lambda rng: (one(rng), Verdict(1))),
    "lines": (15, lines),
    "lines with a cut one": (8, lines_with_a_cut_one),
    "cut": (8, lambda rng: (cut(one(rng), rng), Verdict(0, NOT_JSON))),
    "noise": (12, noise),
    "empty": (2, lambda rng: (b"", Verdict(0, "empty"))),
    "deep": (2, deep),
    "broken text": (8, broken_text),
    "wrong values": (8, wrong_values),
    "wrong JSON": (8, wrong_json),
    "a line's end in a text": (1, line_end_in_a_text),
    "two on a line": (1, two_on_a_line),
    "an array": (2, lambda rng: (b"[" + one(rng) + b"]", Verdict(0, NEITHER))),
    "strange and right": (8, strange_and_right),
    "large": (0.5, large),
    "crowd": (0.05, crowd),
    "MessagePack": (6, packed),
}


class Attack:
    """Sends datagrams and keeps the account of what must come of them."""

    def __init__(self, made: Listener, seed: int) -> None:
        self._made = made
        self._rng = random.Random(seed)
        self.sent = 0
        self.taken = 0
        self.letters: Counter[str] = Counter()

    def send(self, count: int) -> None:
        names = list(KINDS)
        weights = [KINDS[name][0] for name in names]
        address = ("127.0.0.1", self._made.port("udp"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for name in self._rng.choices(names, weights, k=count):
                data, verdict = KINDS[name][1](self._rng)
                sock.sendto(data, address)
                self.sent += 1
                self.taken += verdict.taken
                if verdict.reason:
                    self.letters[verdict.reason] += verdict.letters
                if self.sent % (WINDOW // 2) == 0:
                    self.settle(WINDOW // 2)

    def settle(self, left: int = 0) -> None:
        """Waits until no more than so many datagrams are under way."""
        name = 'metlog_input_frames_total{input="udp"}'
        wait_for(lambda: self._made.metric(name) >= self.sent - left, 30), (self._made.metric(name), self.sent)


class Bystanders:
    """Slow clients that stay, and bombs that are thrown again and again, over HTTP."""

    def __init__(self, made: Listener, slow: int) -> None:
        self._made = made
        self._stop = threading.Event()
        self.put_out = 0
        self.bombs: Counter[int] = Counter()
        zeros = bytes(64 << 20)
        self._bombs = [("gzip", gzip.compress(zeros, 9)), ("zstd", zstandard.ZstdCompressor(19).compress(zeros))]
        packer = zlib.compressobj(9, wbits=31)  # 1 GB of spaces in 1 MB: whoever unpacks it whole is seen
        self._bombs.append(
            ("gzip", b"".join([packer.compress(b" " * (1 << 20)) for _ in range(1024)]) + packer.flush())
        )
        self._threads = [threading.Thread(target=self._trickle, daemon=True) for _ in range(slow)]
        self._threads.append(threading.Thread(target=self._throw, daemon=True))
        for thread in self._threads:
            thread.start()

    def _trickle(self) -> None:
        """A head, byte by byte, that never ends."""
        while not self._stop.is_set():
            with socket.create_connection(("127.0.0.1", self._made.port("http")), timeout=5) as sock:
                try:
                    sock.sendall(b"POST /submit/x HTTP/1.1\r\nhost: a\r\n")
                    while not self._stop.wait(0.1):
                        sock.sendall(b"x")
                except OSError:
                    self.put_out += 1

    def _throw(self) -> None:
        while not self._stop.is_set():
            for encoding, bomb in self._bombs:
                connection = http.client.HTTPConnection("127.0.0.1", self._made.port("http"), timeout=30)
                connection.request("POST", "/submit/x", bomb, {"content-encoding": encoding})
                self.bombs[connection.getresponse().status] += 1
                connection.close()
            self._stop.wait(0.2)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)


def memory(pid: int) -> int:
    """Bytes that a process has had at most."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int((re.search(r"VmHWM:\s+(\d+) kB", text) or ["", "0"])[1]) << 10


def run(made: Listener, datagrams: int, seed: int, *, slow: int = 20) -> dict[str, Any]:
    """What was sent, what became of it, and what is `wrong`."""
    made.config.write_text(made.config.read_text().replace('name = "http"\n', 'name = "http"\nhead_timeout = 1.0\n'))
    began = time.monotonic()
    assert made.start(), made.told.read_text()
    bystanders = Bystanders(made, slow)
    attack = Attack(made, seed)
    wrong = []
    try:
        attack.send(datagrams // 10)
        attack.settle()
        early = memory(made.pid)
        attack.send(datagrams - datagrams // 10)
        attack.settle()
        eventually(lambda: bystanders.put_out >= slow and sum(bystanders.bombs.values()) >= 3)
        grown = memory(made.pid) - early
    finally:
        bystanders.stop()
    datagram(made.port("udp"), b'{"type":"the next one"}')
    if not eventually(lambda: made.metric("metlog_events_journaled_total") == attack.taken + 1):
        wrong.append(
            f"{made.metric('metlog_events_journaled_total')} events were taken, not {attack.taken} and the next one"
        )
    letters = {reason: int(made.metric(f'metlog_dead_letters_total{{reason="{reason}"}}')) for reason in attack.letters}
    if letters != attack.letters or made.metric("metlog_dead_letters_total") != sum(letters.values()):
        wrong.append(f"dead letters: expected {dict(attack.letters)}, found {letters} and others")
    if drops := made.metric('metlog_input_kernel_drops_total{input="udp"}'):
        wrong.append(f"the kernel dropped {drops:.0f} datagrams: the run says nothing; try again on a quieter machine")
    if set(bystanders.bombs) != {413}:
        wrong.append(f"bombs were answered with {dict(bystanders.bombs)}")
    if bystanders.put_out < slow:
        wrong.append(f"only {bystanders.put_out} slow clients were put out")
    if grown > 64 << 20:
        wrong.append(f"the memory grew by {grown >> 20} MB")
    if made.stop() != 0:
        wrong.append("it did not end well")
    rows = (
        duckdb.connect().execute("SELECT count(*) FROM read_parquet(?)", [f"{made.data}/events/*/*.parquet"]).fetchone()
    )
    if rows != (attack.taken + 1,):
        wrong.append(f"{rows} rows in the lake for {attack.taken} events and one")
    dead = sum(path.stat().st_size for path in (made.data / "dead").iterdir())
    if dead > 64 << 20:
        wrong.append(f"the dead letters take {dead} bytes")
    return {
        "datagrams": attack.sent,
        "events taken": attack.taken,
        "dead letters": dict(attack.letters),
        "bombs": sum(bystanders.bombs.values()),
        "slow clients put out": bystanders.put_out,
        "seconds": round(time.monotonic() - began),
        "memory at a tenth, MB": early >> 20,
        "memory grown after it, MB": grown >> 20,
        "wrong": wrong,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--datagrams", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="metlog-hostile-"))
    print(f"seed {options.seed}, folder {folder}", flush=True)
    made = Listener(folder, segment_bytes=16 << 20)
    try:
        found = run(made, options.datagrams, options.seed)
    finally:
        made.close()
    print(json.dumps(found, indent=2))
    if not found["wrong"]:
        shutil.rmtree(folder)
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
