"""What the middleware costs a request: a bare application and the same one wrapped, in turn, within one run and one process.

    python benchmarks/middleware.py [--rounds 61] [--requests 500] [--json] [--limit 15]

The applications are called without a server, so that the figure is the middleware's own: a request as a server hands it over (ten
headers, a request id and a traceparent among them), a route, a user named by the application, a body of one chunk. Events
go over UDP to a socket on this machine that another process reads, and so do the metrics. A round times the same requests
bare and wrapped, in changing order. `best` is the best wrapped round less the best bare one: what the code costs; `median` has what else
the machine did in it. With --limit the exit status is 1 when the best of the default set-up is more microseconds than that.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter
from typing import Any

import metlog
from metlog.integrations import asgi, wsgi

HEADERS = {
    "host": "shop.example", "user-agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0", "accept": "text/html",
    "accept-language": "en-GB,en;q=0.5", "accept-encoding": "gzip, deflate, br", "referer": "https://shop.example/",
    "connection": "keep-alive", "cookie": "session=8f1a2b3c4d5e6f708192a3b4c5d6e7f8", "x-request-id": "8f1a2b3c4d5e6f70",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}  # fmt: skip
PATH = "/product/1234"
BODY = b"x" * 2000
SETUPS: dict[str, dict[str, Any]] = {
    "event, counter and timer (the default)": {},
    "event only (statsd=False)": {"statsd": False},
    "excluded path": {"exclude": ["/product/*"]},
}
DEFAULT = next(iter(SETUPS))

Batch = Callable[[int], float]
"""Serves so many requests and gives the seconds."""

_DRAIN = """
import select, socket, sys, time
made = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
for each in made:
    each.bind(("127.0.0.1", 0))
    each.setblocking(False)
print(*(each.getsockname()[1] for each in made), flush=True)
while not select.select([sys.stdin], [], [], 0.002)[0]:  # it comes by itself: waking it would be on the sender's account
    for each in made:
        try:
            while each.recv(65536):
                pass
        except BlockingIOError:
            pass
"""


@contextlib.contextmanager
def client() -> Iterator[metlog.MetlogClient]:
    """A client whose datagrams another process reads."""
    process = subprocess.Popen([sys.executable, "-c", _DRAIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        events, metrics = process.stdout.readline().split()
        made = metlog.MetlogClient.from_config(
            f"udp://127.0.0.1:{events}", logger="bench", statsd=f"udp://127.0.0.1:{metrics}?prefix=bench"
        )
        with contextlib.closing(made):
            yield made
        stats, metric_stats = made.stats(), made.statsd.stats()
        for kind, counts in (("events", stats), ("metrics", metric_stats)):
            if counts.errors or counts.dropped or not counts.sent:  # a figure without the work is none
                raise SystemExit(f"not every one of the {kind} was sent: {counts}")
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def wsgi_batch(application: Any) -> Batch:
    """As a WSGI server: environ, call, iterate, close."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": PATH, "QUERY_STRING": "color=red", "SERVER_NAME": "shop.example",
        "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1", "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http", "wsgi.multithread": True, "wsgi.multiprocess": True, "wsgi.run_once": False,
        **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in HEADERS.items()},
    }  # fmt: skip

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        return sink

    def sink(data: bytes) -> None:
        """Nowhere."""

    def batch(number: int) -> float:
        began = perf_counter()
        for _ in range(number):
            body = application(environ.copy(), start_response)
            for chunk in body:
                sink(chunk)
            if hasattr(body, "close"):
                body.close()
        return perf_counter() - began

    return batch


def asgi_batch(application: Any, loop: asyncio.AbstractEventLoop) -> Batch:
    """As an ASGI server: scope, call, two messages."""
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": PATH,
        "raw_path": PATH.encode(), "query_string": b"color=red", "root_path": "", "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1234), "headers": [(name.encode(), value.encode()) for name, value in HEADERS.items()],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        """Nowhere."""

    async def serve(number: int) -> float:
        began = perf_counter()
        for _ in range(number):
            await application(scope.copy(), receive, send)
        return perf_counter() - began

    return lambda number: loop.run_until_complete(serve(number))


def wsgi_application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Names the user and answers."""
    metlog.context(user="u1")
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(BODY)))])
    return [BODY]


def wsgi_stream(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """Names the user and streams."""
    metlog.context(user="u1")
    start_response("200 OK", [("Content-Type", "text/html")])
    yield BODY


async def asgi_application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Names the user and answers."""
    metlog.context(user="u1")
    await receive()
    headers = [(b"content-type", b"text/html"), (b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY, "more_body": False})


def compare(bare: Batch, wrapped: Batch, rounds: int, requests: int) -> dict[str, float]:
    """Microseconds a request: bare, and what the wrapping adds, at best and in the median."""
    for batch in (bare, wrapped):
        batch(requests)
    without: list[float] = []
    with_it: list[float] = []
    for number in range(rounds):
        gc.collect()
        for batch, times in ((bare, without), (wrapped, with_it))[:: 1 if number % 2 else -1]:
            times.append(batch(requests) / requests * 1e6)
    typical = median(after - before for before, after in zip(without, with_it, strict=True))
    return {"bare_us": min(without), "best_us": min(with_it) - min(without), "median_us": typical}


def run(rounds: int, requests: int) -> list[dict[str, Any]]:
    """Every set-up under WSGI and ASGI."""
    rows: list[dict[str, Any]] = []
    loop = asyncio.new_event_loop()
    with contextlib.closing(loop), client() as made:
        for name, options in SETUPS.items():
            cases: list[tuple[str, Batch, Batch]] = []
            for kind, application in (("WSGI", wsgi_application), ("WSGI, iterator", wsgi_stream)):
                wrapped = wsgi.MetlogMiddleware(application, client=made, **options)
                cases.append((kind, wsgi_batch(application), wsgi_batch(wrapped)))
            wrapped_asgi = asgi.MetlogMiddleware(asgi_application, client=made, **options)
            cases.append(("ASGI", asgi_batch(asgi_application, loop), asgi_batch(wrapped_asgi, loop)))
            for kind, bare, with_it in cases:
                rows.append({"interface": kind, "setup": name, **compare(bare, with_it, rounds, requests)})
    return rows


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=61)
    parser.add_argument("--requests", type=int, default=500, help="a round")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--limit", type=float, metavar="US", help="microseconds that the default may add")
    arguments = parser.parse_args()
    rows = run(arguments.rounds, arguments.requests)
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        print(f"{'µs a request':58}{'bare':>8}{'added: best':>13}{'median':>8}")
        for row in rows:
            numbers = f"{row['bare_us']:8.2f}{row['best_us']:13.2f}{row['median_us']:8.2f}"
            print(f"{row['interface']:16}{row['setup']:42}{numbers}")
    slow = [row for row in rows if arguments.limit and row["setup"] == DEFAULT and row["best_us"] > arguments.limit]
    for row in slow:
        print(f"{row['interface']}: adds {row['best_us']:.1f} µs, at most {arguments.limit:g}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
