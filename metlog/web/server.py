"""Runs the page under uvicorn: few limits, no surprises, a quick end."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, cast

import uvicorn

from metlog.core.hosts import host_port
from metlog.lake.result import Queryable
from metlog.web.app import Application, create_app
from metlog.web.connections import Connections
from metlog.web.settings import WebSettings

__all__ = ["AddressError", "serve"]

_GRACE: Final = 3
"""Seconds that requests have left when the page is told to end."""


class AddressError(OSError):
    """The address to listen on is taken, or not one of this machine."""


class _Server(uvicorn.Server):
    """Ends live tails and queries first: they would keep the others waiting."""

    def __init__(self, config: uvicorn.Config, app: Application, on_ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._page = app.page
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's own, but a signal that was obeyed is not raised again: it is a clean end, with status 0."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            self._on_ready(address_of(sockets[0]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._page.broadcaster.close()
        self._page.pool.cancel()
        await super().shutdown(sockets)


def address_of(sock: socket.socket) -> str:
    """The address to open in a browser."""
    host, port = sock.getsockname()[:2]
    return f"http://{host_port(host, port)}/"


def _bind(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _connections(settings: WebSettings) -> Connections:
    """Half of the descriptors that the process may have are for connections; queries, tails and files need the others."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = settings.connections if soft == resource.RLIM_INFINITY else min(settings.connections, max(soft // 2, 1))

    def shared(address: str) -> bool:
        try:
            known = ipaddress.ip_address(address)
        except ValueError:  # a /64
            return False
        return known.is_loopback or any(known in network for network in settings.trusted_proxies)

    return Connections(
        most=most, each=settings.connections_each, shared=shared, head=settings.head_timeout, body=settings.body_timeout,
        answer=settings.answer_timeout,
    )  # fmt: skip


async def _run(server: _Server, connections: Connections, sock: socket.socket) -> None:
    watch = asyncio.create_task(connections.watch())
    try:
        await server.serve([sock])
    finally:
        watch.cancel()


def serve(settings: WebSettings, on_ready: Callable[[str], None] = lambda _: None) -> None:
    """Serves until SIGTERM or Ctrl-C. `on_ready` gets the address when requests are taken.

    Raises FileNotFoundError (no data folder), QueryError (the engine does not start) and AddressError.
    """
    app = create_app(settings)
    lake = app.page.lake
    try:
        if isinstance(lake, Queryable):
            lake.start()
        try:
            sock = _bind(settings.host, settings.port)
        except OSError as error:
            raise AddressError(*error.args) from error
    except BaseException:
        lake.close()
        raise
    connections = _connections(settings)
    try:
        config = uvicorn.Config(
            app,
            http=cast("type[asyncio.Protocol]", connections.protocol),
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,  # who is believed is for `AccessMiddleware` to say
            limit_concurrency=None,  # requests are counted in the application, connections by `Connections`
            backlog=128,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=_GRACE,
            h11_max_incomplete_event_size=64 * 1024,
        )
        asyncio.run(_run(_Server(config, app, on_ready), connections, sock))
    finally:
        sock.close()
