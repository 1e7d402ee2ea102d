"""A bare ASGI application that logs its requests. Run it, then: curl http://127.0.0.1:8000/orders/17

Events go to standard output; METLOG_SENDER=udp://127.0.0.1:5565 sends them to a listener.
"""

from __future__ import annotations

import os
from typing import Any

import metlog
from metlog.integrations.asgi import MetlogMiddleware

metlog.configure(os.environ.get("METLOG_SENDER", "stdout:"), logger="shop")


async def shop(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers in two chunks."""
    if scope["type"] != "http":
        return
    metlog.context(user="u1")  # on the request's own event, and on all that is logged below
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"you asked for ", "more_body": True})
    await send({"type": "http.response.body", "body": scope["path"].encode() + b"\n"})


application = MetlogMiddleware(shop)  # the one line

if __name__ == "__main__":
    import uvicorn

    uvicorn.run(application, port=int(os.environ.get("PORT", "8000")), lifespan="off")
