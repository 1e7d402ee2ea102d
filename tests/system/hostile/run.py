"""Everything that listens under generated attack, with a good client beside it, and what may not happen.

    python -m tests.system.hostile --seconds 600 [--seed N]

A listener with the inputs udp, zmq, http and statsd, and a page over its data, get what `generator` makes; an instrumented application is
asked for its paths. `LIMITS` are the numbers of docs/security.md.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from tests.helpers.waiting import eventually
from tests.system.hostile import generator
from tests.system.hostile.programs import Program

__all__ = ["LIMITS", "run"]


class Limits(msgspec.Struct, frozen=True):
    """What nobody can pass, whatever is sent."""

    listener: int = 500 << 20
    """Bytes of memory of the listener,"""
    worker: int = 500 << 20
    """of an output's process,"""
    page: int = 600 << 20
    """and of the page, without its engine and what draws."""
    wait: float = 10.0
    """Seconds in which a good client has its answer, on a machine that is busy with the attack."""
    dead: int = 2 * (64 << 20)
    """Bytes of dead letters, of inputs and of outputs."""
    cpu: float = 10.0
    """Times of what a good frame of the same size costs, that a hostile one costs in the mean."""


LIMITS: Final = Limits()


class _Good:
    """A client that does what it should, and notes how it is treated."""

    def __init__(self, name: str, ask: Callable[[], bool], every: float) -> None:
        self.asked = self.refused = 0
        self.slowest = 0.0
        self.told: Counter[str] = Counter()
        self._ask, self._every = ask, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            self.asked += 1
            try:
                if not self._ask():
                    self.refused += 1
            except (OSError, http.client.HTTPException) as error:
                self.refused += 1
                self.told[f"{type(error).__name__}: {error}"[:100]] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            self._stop.wait(self._every)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)


def _get(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"accept": "text/html", "host": "localhost"})
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200
    finally:
        connection.close()


class _Attack:
    """Threads that send until they are told to stop."""

    def __init__(self, seed: int, listener: Program, page: Program) -> None:
        self.sent: Counter[str] = Counter()
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._listener, self._page = listener, page
        self._threads = [
            threading.Thread(target=target, args=(random.Random(seed + number),))
            for number, target in enumerate(
                (self._udp, self._statsd, self._http, self._http, self._zmq, self._requests, self._idle)
            )
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, target: Callable[[random.Random], None], rng: random.Random) -> None:
        try:
            target(rng)
        except Exception as error:
            self.failed.append(f"{target.__name__}: {type(error).__name__}: {error}")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _datagrams(self, kind: str, made: Any) -> None:
        address = ("127.0.0.1", self._listener.port(kind))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for data in made:
                if self._stop.is_set():
                    return
                sock.sendto(data, address)
                self.sent[kind] += 1
                if self.sent[kind] % 16 == 0:
                    self._stop.wait(0.02)

    def _udp(self, rng: random.Random) -> None:
        self._datagrams("udp", generator.datagrams(rng))

    def _statsd(self, rng: random.Random) -> None:
        self._datagrams("statsd", generator.statsd(rng))

    def _zmq(self, rng: random.Random) -> None:
        import zmq

        with zmq.Context() as context, context.socket(zmq.PUB) as out:
            out.setsockopt(zmq.LINGER, 0)
            out.connect(f"tcp://127.0.0.1:{self._listener.port('zmq')}")
            for data in generator.datagrams(rng):
                if self._stop.wait(0.005):
                    return
                out.send_multipart([data] if rng.random() < 0.7 else [data[:10], data, b""])
                self.sent["zmq"] += 1

    def _http(self, rng: random.Random) -> None:
        for request in generator.bodies(rng):
            if self._stop.is_set():
                return
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self._listener.port("http"), timeout=20)
                try:
                    connection.request(request.method, request.path, request.body, request.headers)
                    self.sent[f"http {connection.getresponse().status}"] += 1
                finally:
                    connection.close()

    def _requests(self, rng: random.Random) -> None:
        for data in generator.requests(rng):
            if self._stop.is_set():
                return
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self._page.port("page")), timeout=5) as sock,
            ):
                sock.sendall(data)
                sock.settimeout(1.0)
                sock.recv(1 << 16)
            self.sent["page"] += 1

    def _idle(self, rng: random.Random) -> None:
        """Connections that are opened and left."""
        held: list[socket.socket] = []
        made = generator.requests(rng)
        while not self._stop.wait(0.02):
            with contextlib.suppress(OSError):
                sock = socket.create_connection(("127.0.0.1", self._page.port("page")), timeout=5)
                sock.sendall(next(made)[:40])
                held.append(sock)
            if len(held) > 400:
                held.pop(0).close()
            self.sent["left open"] += 1
        for sock in held:
            sock.close()


_PATHS: Final = (
    "/", "/?span=1h", "/reports/request-times", "/reports/request-times.svg", "/reports/events-by-type.svg", "/reports/delivery",
)  # fmt: skip
_APPLICATION: Final = """
import json, sys, metlog
from wsgiref.util import setup_testing_defaults
from metlog.integrations.wsgi import MetlogMiddleware
metlog.configure("udp://127.0.0.1:" + sys.argv[1], logger="shop")
def application(environ, start):
    start("200 OK", [])
    return [b"x"]
wrapped = MetlogMiddleware(application)
for path in json.load(sys.stdin):
    environ = {}
    setup_testing_defaults(environ)
    environ["PATH_INFO"] = path.encode("utf-8", "surrogatepass").decode("latin-1")
    list(wrapped(environ, lambda *_: None))
metlog.flush()
"""


def _visit(port: int, rng: random.Random, count: int) -> None:
    """Visitors of an instrumented application ask for odd paths."""
    asked = json.dumps([path for path, _ in zip(generator.paths(rng), range(count), strict=False)])
    subprocess.run([sys.executable, "-c", _APPLICATION, str(port)], input=asked, text=True, check=True, timeout=60)


def _cpu_of(listener: Program, frames: list[bytes]) -> float:
    """Seconds of CPU of the listener for these datagrams."""
    began = listener.cpu()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number, data in enumerate(frames):
            sock.sendto(data, ("127.0.0.1", listener.port("udp")))
            if number % 64 == 63:
                listener.settle()
    listener.settle()
    return listener.cpu() - began


def _good_frame(size: int) -> bytes:
    lines, length, number = [], 0, 0
    while length < size:
        line = msgspec.json.encode(generator.good(number))
        if lines and length + len(line) > size:
            break
        lines.append(line)
        length += len(line) + 1
        number += 1
    return b"\n".join(lines)


def run(folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    """What was sent, what it took, and what is `wrong`."""
    wrong: list[str] = []
    data = folder / "data"
    listener = Program.listener(folder, data)
    page = Program.page(data)
    programs = [listener, page]
    try:
        sent = iter(range(10**9))

        def submit() -> bool:
            connection = http.client.HTTPConnection("127.0.0.1", listener.port("http"), timeout=30)
            try:
                body = msgspec.json.encode(generator.good(next(sent)))
                connection.request("POST", "/submit/good", body, {"content-type": "application/json"})
                return connection.getresponse().status == 201
            finally:
                connection.close()

        clients = {
            "health of the listener": _Good("health", lambda: _get(listener.port("http"), "/healthz"), 0.2),
            "a good submission": _Good("good", submit, 0.2),
            "health of the page": _Good("page", lambda: _get(page.port("page"), "/healthz"), 0.2),
        }
        attack = _Attack(seed, listener, page)
        time.sleep(seconds)
        attack.stop()
        wrong += attack.failed
        for client in clients.values():
            client.stop()
        listener.settle()
        rng = random.Random(seed)
        cost = _costs(listener, rng)
        _visit(listener.port("udp"), rng, 200)
        good = next(sent)
        for name, client in clients.items():
            if client.refused:
                wrong.append(f"{name}: {client.refused} of {client.asked} refused {dict(client.told)}")
            if client.slowest > LIMITS.wait:
                wrong.append(f"{name}: {client.slowest:.1f} s")
        for path in (
            "/",
            "/?span=1h",
            "/reports/request-times",
            "/reports/request-times.svg",
            "/reports/events-by-type.svg",
            "/reports/delivery",
        ):
            if not eventually(lambda path=path: _get(page.port("page"), path), 60):
                wrong.append(f"the page does not answer {path}")
        peaks = {name: program.peak() for name, program in (("listener", listener), ("page", page))}
        peaks["worker"] = listener.peak_of_children()
        for name, peak in peaks.items():
            if peak > getattr(LIMITS, name):
                wrong.append(f"{name}: {peak >> 20} MB of {getattr(LIMITS, name) >> 20}")
        if cost > LIMITS.cpu:
            wrong.append(f"a hostile frame costs {cost:.1f} times a good one")
        wrong += [
            f"{program.name} ended with {program.status()}: {program.told()[-500:]}"
            for program in programs
            if program.status() is not None
        ]
        dead = sum(path.stat().st_size for path in (data / "dead").iterdir())
        if dead > LIMITS.dead:
            wrong.append(f"dead letters of {dead >> 20} MB")
        if listener.stop() != 0:
            wrong.append(f"the listener did not end well: {listener.told()[-500:]}")
        sql = "SELECT count(*) FROM read_parquet(?) WHERE stream = 'good' AND type = 'request'"
        rows = duckdb.connect().execute(sql, [f"{data}/events/*/*.parquet"]).fetchone()
        if rows is None or rows[0] < good:
            wrong.append(f"{rows} of {good} good events are in the lake")
        return {
            "seconds": seconds, "seed": seed, "sent": dict(attack.sent), "good events": good,
            "peaks, MB": {k: v >> 20 for k, v in peaks.items()},
            "slowest, s": {name: round(client.slowest, 2) for name, client in clients.items()},
            "CPU of hostile frames, times good ones": round(cost, 2), "dead letters, MB": dead >> 20, "wrong": wrong,
        }  # fmt: skip
    finally:
        for program in programs:
            program.kill()


def _costs(listener: Program, rng: random.Random) -> float:
    """What hostile datagrams cost, in times of good ones of the same sizes."""
    made = generator.datagrams(rng)
    hostile = [data for data, _ in zip(made, range(400), strict=False) if data]
    return _cpu_of(listener, hostile) / max(_cpu_of(listener, [_good_frame(len(data)) for data in hostile]), 0.01)
