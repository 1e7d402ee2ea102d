"""A bare WSGI application that logs its requests. Run it, then: curl http://127.0.0.1:8000/orders/17

Events go to standard output; METLOG_SENDER=udp://127.0.0.1:5565 sends them to a listener.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any
from wsgiref.simple_server import make_server

import metlog
from metlog.integrations.wsgi import MetlogMiddleware

metlog.configure(os.environ.get("METLOG_SENDER", "stdout:"), logger="shop")


def shop(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    """Answers in two chunks."""
    metlog.context(user="u1")  # on the request's own event, and on all that is logged below
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    yield b"you asked for "
    yield environ["PATH_INFO"].encode("latin-1") + b"\n"


application = MetlogMiddleware(shop)  # the one line

if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    with make_server("127.0.0.1", port, application) as server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
