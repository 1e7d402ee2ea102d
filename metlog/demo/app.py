"""A small shop: a WSGI application as one writes it, with metlog in it. Run as a process, it serves until it is ended.

`python -m metlog.demo.app SENDER-URL STATSD-PORT` prints the port that it listens on.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import metlog
from metlog.integrations.login import login_failure, login_success
from metlog.integrations.wsgi import MetlogMiddleware

__all__ = ["application"]

Respond = Callable[..., Any]

_MS = {"/": 1.0, "/search": 4.0, "/product": 2.0, "/cart": 2.0, "/login": 3.0, "/checkout": 7.0, "/account": 2.0}


def application(environ: dict[str, Any], start_response: Respond) -> Iterable[bytes]:
    """Answers after a few milliseconds of pretended work."""
    path = environ["PATH_INFO"]
    query = parse_qs(environ.get("QUERY_STRING", ""))
    user = query.get("user", [""])[0]
    page = "/product" if path.startswith("/product/") else path
    if page not in _MS:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"no such page\n"]
    if user:
        metlog.context(user=user)  # every event of this request says who it is for
    if page != "/":
        with metlog.timer("db.query"):  # an event: it says for whom
            time.sleep(random.expovariate(1000.0 / _MS[page]))
    metlog.incr("cache.hit", rate=0.1)  # one of ten is sent, and stands for ten
    if page == "/login":
        if query.get("password") != ["right"]:
            login_failure(user, reason="password")
            start_response("401 Unauthorized", [("Content-Type", "text/plain")])
            return [b"wrong password\n"]
        login_success(user)
    if page == "/cart":
        metlog.get_client().statsd.incr("cart.add")  # a metric, for statsd: it is only counted
    if page == "/checkout":
        if query.get("card") == ["broken"]:
            metlog.error("the payment of order %d failed", random.randrange(100_000))
            raise TimeoutError("the payment provider does not answer")
        metlog.get_client().statsd.incr("orders")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello " * 20 + b"\n"]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A visitor went away: nothing to say."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """The events say it all."""

    def get_stderr(self) -> Any:
        return open("/dev/null", "w")  # noqa: PTH123 - the failing payment's traceback is an event already


def main() -> None:
    """Serves until SIGTERM."""
    metlog.configure(
        sys.argv[1],
        logger="shop",
        statsd={"host": "127.0.0.1", "port": int(sys.argv[2])},
    )
    server = make_server("127.0.0.1", 0, MetlogMiddleware(application), server_class=_Server, handler_class=_Quiet)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(server.server_port, flush=True)
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
