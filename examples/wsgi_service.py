"""A service with one line of middleware. Run it: `python examples/wsgi_service.py`; it calls itself twice and ends.

Events go to standard output here; `METLOG_SENDER=udp://127.0.0.1:5565` sends them to a listener.
"""

from __future__ import annotations

import os
import threading
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import make_server

import metlog
from metlog.integrations.login import login_success
from metlog.integrations.wsgi import MetlogMiddleware


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    metlog.context(user="u1")  # on every event of this request, and on the request's own
    if environ["PATH_INFO"] == "/login":
        login_success("u1")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello\n"]


def main() -> None:
    metlog.configure(os.environ.get("METLOG_SENDER", "stdout"), logger="example")
    with make_server("127.0.0.1", 0, MetlogMiddleware(application)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for path in ("/login", "/item/7"):
            urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}").read()
        server.shutdown()
    metlog.close()


if __name__ == "__main__":
    main()
