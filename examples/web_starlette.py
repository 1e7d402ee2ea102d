"""A Starlette application that logs its requests, streams and websockets.

Run it, then: curl http://127.0.0.1:8000/orders/17
Events go to standard output; METLOG_SENDER=udp://127.0.0.1:5565 sends them to a listener.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

import metlog
from metlog.integrations.asgi import MetlogMiddleware

metlog.configure(os.environ.get("METLOG_SENDER", "stdout:"), logger="shop")


async def order(request: Request) -> Response:
    """One order."""
    metlog.context(user="u1")  # on the request's own event, and on all that is logged below
    metlog.log(("order", "shown"), fields={"order": request.path_params["number"]})
    return JSONResponse({"order": request.path_params["number"]})


async def export(request: Request) -> Response:
    """All orders, in pieces: the request's time ends with the last of them."""

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d\n" % number

    return StreamingResponse(pieces(), media_type="text/plain")


async def broken(request: Request) -> Response:
    """Fails: the event has severity 3 and the exception's name."""
    raise LookupError("no such thing")


async def prices(websocket: WebSocket) -> None:
    """One event for the whole connection."""
    await websocket.accept()
    await websocket.send_text("3.50")
    await websocket.close()


app = Starlette(
    routes=[
        Route("/orders/{number:int}", order),
        Route("/export", export),
        Route("/broken", broken),
        WebSocketRoute("/prices/{item}", prices),
        Mount("/admin", routes=[Route("/orders/{number:int}", order)]),
    ],
    middleware=[Middleware(MetlogMiddleware)],  # the one line
)

if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
