"""Connections of the page: deadlines for what a client sends and takes, a bound an address, and room made by closing those that wait.

uvicorn has no deadline for the head or the body of a request, and counts connections where work should be counted: a few hundred that
send nothing would be the end of the page for everybody.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable
from typing import Any, Final, cast

import h11
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Connections", "RequestLimit", "network_of"]

_LOOK: Final = 0.5
"""Seconds between two looks at the deadlines."""


def network_of(address: str) -> str:
    """The address, or the /64 of an IPv6 address: a single client has all of that."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if known.version == 4 or known.ipv4_mapped is not None:
        return str(known.ipv4_mapped or known) if known.version == 6 else address
    return str(ipaddress.ip_network((known, 64), strict=False))


class Connections:
    """The open connections, by client address. Used from the event loop only.

    most: connections in all. each: of one address; addresses of which `shared` says that many people come from there have only `most`.
    head, body, answer: seconds for a request's head, for its body, and in which something of an answer must be taken.

    A connection that comes when there is no room closes the one of the same address (with `most` reached: of the address that has the
    most) that has waited the longest without a request; only where all of them have a request, the new one is closed.
    """

    def __init__(
        self,
        *,
        most: int = 512,
        each: int = 64,
        shared: Callable[[str], bool] = lambda _: False,
        head: float = 10.0,
        body: float = 30.0,
        answer: float = 60.0,
    ) -> None:
        self._most = most
        self._each = each
        self._shared = shared
        self._limits = {"head": head, "body": body, "answer": answer}
        self._open: dict[str, dict[_Protocol, None]] = {}
        self.refused = 0
        """Connections closed for want of room."""
        self.late = 0
        """Connections closed at a deadline."""

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def protocol(self, *arguments: Any, **named: Any) -> asyncio.Protocol:
        """For uvicorn's `http`: a connection that is known here."""
        return cast("asyncio.Protocol", _Protocol(self, *arguments, **named))

    async def watch(self) -> None:
        """Closes what is over its deadline, until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            now = time.monotonic()
            for connection in [connection for some in self._open.values() for connection in some]:
                phase, since = connection.phase(now)
                if phase in self._limits and now - since > self._limits[phase]:
                    self.late += 1
                    connection.drop()

    def enter(self, connection: _Protocol) -> bool:
        """Takes a new connection in; False when there is no room."""
        mine = self._open.setdefault(connection.address, {})
        crowded = None
        if len(mine) >= self._each and not self._shared(connection.host):
            crowded = mine
        elif len(self) >= self._most:
            crowded = max(self._open.values(), key=len)
        if crowded is not None:
            self.refused += 1
            idle = next((other for other in crowded if other.waits()), None)
            if idle is None:
                if not mine:
                    del self._open[connection.address]
                return False
            self.leave(idle)
            idle.drop()
            mine = self._open.setdefault(connection.address, {})
        mine[connection] = None
        return True

    def leave(self, connection: _Protocol) -> None:
        mine = self._open.get(connection.address)
        if mine is not None:
            mine.pop(connection, None)
            if not mine:
                del self._open[connection.address]

    def moved(self, connection: _Protocol) -> None:
        """Of those that wait, this one is the youngest again."""
        mine = self._open.get(connection.address)
        if mine is not None and connection in mine:
            del mine[connection]
            mine[connection] = None


class _Protocol(H11Protocol):
    """A connection, with the moment in which it began to wait for what it waits for."""

    def __init__(self, known: Connections, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._known = known
        self._phase = "head"
        self._since = time.monotonic()
        self._buffered = 0
        self.host = ""
        self.address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.host = self.client[0] if self.client else ""
        self.address = network_of(self.host)
        if not self._known.enter(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._known.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        began = self._phase
        super().data_received(data)
        self._enter(self._state())
        if began != "head" and self._phase == "head":
            self._known.moved(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._enter(self._state())
        self._known.moved(self)

    def waits(self) -> bool:
        """Whether no request of it is being answered: its head or its body has not come."""
        return self._state() in {"head", "idle", "body"}

    def phase(self, now: float) -> tuple[str, float]:
        """What is awaited, and since when."""
        self._enter(self._state())
        if self._phase == "answer":  # every byte that is taken counts as progress
            size = self.transport.get_write_buffer_size()
            if size < self._buffered or not size:
                self._since = now
            self._buffered = size
        return self._phase, self._since

    def drop(self) -> None:
        """Closes it at once."""
        self.transport.abort()

    def _enter(self, phase: str) -> None:
        if phase != self._phase:
            self._phase, self._since, self._buffered = phase, time.monotonic(), 0

    def _state(self) -> str:
        theirs = self.conn.their_state
        if theirs is h11.SEND_BODY:
            return "body"
        if theirs is h11.IDLE:
            # Between two requests uvicorn's own keep-alive timer runs; it stops at the first byte of the next.
            return "idle" if self.timeout_keep_alive_task is not None else "head"
        return "answer"


class RequestLimit:
    """Answers 503 to requests beyond `most` at once. Whether the page lives is always told; live tails have a limit of their own."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self.inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in {"/healthz", "/api/tail"}:
            await self._app(scope, receive, send)
            return
        if self.inside >= self._most:
            await send(
                {
                    "type": "http.response.start",
                    "status": 503,
                    "headers": [(b"content-type", b"application/json"), (b"retry-after", b"2")],
                }
            )
            body = b'{"error":"too many requests at once; try again in some seconds","kind":"full"}'
            await send({"type": "http.response.body", "body": body})
            return
        self.inside += 1
        try:
            await self._app(scope, self._uncounted(receive), send)
        finally:
            self.inside -= 1

    def _uncounted(self, receive: Receive) -> Receive:
        """A request whose body is still on its way takes no place; that wait has a deadline of its own."""
        whole = False

        async def taking() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            self.inside -= 1
            try:
                message = await receive()
            finally:
                self.inside += 1
            whole = not message.get("more_body", False)
            return message

        return taking
