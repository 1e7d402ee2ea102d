"""Input `http`: submissions over HTTP by Bagheera's contract, `/healthz` and `/metrics`."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from pathlib import Path
from typing import ClassVar, Final

from metlog.core.hosts import host_port
from metlog.listener.inputs import BaseInput, Handed, Sink
from metlog.listener.inputs._framing import MAX_FRAME
from metlog.listener.inputs._handed import NONE
from metlog.listener.inputs._heartbeat import Heartbeat
from metlog.listener.inputs._http_app import App, Rules, Watched
from metlog.listener.inputs._http_server import HttpServer, Limits
from metlog.listener.inputs._listening import bind_stream, server_tls
from metlog.listener.inputs._systemd import check as check_passed
from metlog.listener.inputs._systemd import name_of
from metlog.plugins.conversion import Seconds, Size

__all__ = ["HttpInput"]

log = logging.getLogger("metlog.listener")

_BEAT: Final = 0.5
"""Seconds between two turns of the event loop, at most."""
_GRACE: Final = 5.0
"""Seconds that requests under way get at the end."""


class HttpInput(BaseInput):
    """Listens for HTTP/1.1.

    host, port
        Loopback and 5580 by default; port 0 takes a free one.
    namespaces
        Patterns (`sync`, `web-*`) of the namespaces that are taken; everything by default.
    deletable
        Patterns of the namespaces in which DELETE is allowed; none by default.
    token, token_file
        Bearer tokens, one or as many as the file has lines; without them everybody may send.
    cert_file, key_file, client_ca_file
        PEM files. With the first, HTTPS (the key may be in the same file); with the last, only clients with a
        certificate of that authority.
    max_body
        Bytes of a body, before and after it is unpacked.
    max_events
        Events in a body.
    max_pending
        Bytes of all bodies that are under way at one time, packed and unpacked; beyond, requests get 429.
    max_connections
        Beyond, new connections get 503.
    head_timeout, body_timeout, idle_timeout
        Seconds for a request's head (and the TLS handshake), for its body, and between two requests.
    workers
        Requests that are unpacked, checked and journaled at one time.
    systemd, fd
        As for the input `udp`: a ListenStream= socket of systemd's, or a descriptor that was passed; while the listener
        restarts, connections wait.
    """

    default_port: ClassVar[int] = 5580
    url_prefix: ClassVar[str] = ""
    """Before `http://` in the address, for another interface: `otlp+`."""
    port_option: ClassVar[str] = "--http HOST:PORT, or port of the input http"
    """What chooses the port."""

    takes_signed = True
    """A frame, or a body, comes whole, so that its signature can be checked."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        namespaces: list[str] | None = None,
        deletable: list[str] | None = None,
        token: str = "",
        token_file: str = "",
        cert_file: str = "",
        key_file: str = "",
        client_ca_file: str = "",
        max_body: Size = 8 << 20,
        max_events: int = 50_000,
        max_pending: Size = 64 << 20,
        max_connections: int = 512,
        head_timeout: Seconds = 10.0,
        body_timeout: Seconds = 60.0,
        idle_timeout: Seconds = 60.0,
        workers: int = 16,
        systemd: bool | str = False,
        fd: int = -1,
    ) -> None:
        port = self.default_port if port is None else port
        if not 0 <= port <= 65_535:
            raise ValueError(f"port = {port}: wants 0 to 65535")
        counts = {
            "max_body": max_body,
            "max_events": max_events,
            "max_connections": max_connections,
            "workers": workers,
        }
        times = {"head_timeout": head_timeout, "body_timeout": body_timeout, "idle_timeout": idle_timeout}
        for key, value in {**counts, **times}.items():
            if value <= 0:
                raise ValueError(f"{key} = {value}: wants a number above 0")
        if max_body > MAX_FRAME:
            raise ValueError(f"max_body = {max_body}: wants at most {MAX_FRAME} bytes")
        if max_pending < 2 * max_body:
            raise ValueError(f"max_pending = {max_pending}: wants twice max_body ({2 * max_body} bytes) or more")
        self._host, self._port = host, port
        check_passed("http", systemd, fd)
        self._systemd, self._fd = systemd, fd
        self._rules = Rules(
            namespaces=["*"] if namespaces is None else namespaces,
            deletable=deletable or [],
            tokens=_tokens(token, token_file),
            max_body=max_body,
            max_events=max_events,
            max_pending=max_pending,
        )
        self._limits = Limits(
            head_timeout=head_timeout, body_timeout=body_timeout, idle_timeout=idle_timeout, connections=max_connections
        )
        self._tls = server_tls(cert_file, key_file, client_ca_file)
        self._workers = workers
        self._watched: Watched | None = None
        self._app: App | None = None
        self._server: HttpServer | None = None
        self._sock: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Event | None = None
        self._address = ""
        self._heart: Heartbeat | None = None
        self.warnings: list[str] = []
        """What an operator should know."""

    def watch(self, service: Watched) -> None:
        """Called before `start` with what `/healthz` and `/metrics` shall tell of."""
        self._watched = service

    @property
    def addresses(self) -> list[str]:
        return [self._address] if self._address else []

    def bind_sockets(self, handed: Handed) -> None:
        self._sock = self._bind(handed)

    def listening(self) -> list[tuple[str, socket.socket]]:
        return [(self._name, self._sock)] if self._sock is not None else []

    @property
    def _name(self) -> str:
        return name_of("http", self._host, self._port, self._systemd, self._fd)

    def start(self, sink: Sink) -> None:
        sock = self._sock or self._bind(NONE)
        self._sock = sock
        host, port = sock.getsockname()[:2]
        self._address = f"{self.url_prefix}{'https' if self._tls else 'http'}://{host_port(host, port)}"
        if not (host == "::1" or host.startswith("127.") or self._rules.tokens or self._limits_clients):
            text = f"{self._address} takes events from everybody who reaches it; set token_file or client_ca_file"
            self.warnings.append(text)
            log.warning(text)
        self._app = self._make_app(sink)
        self._server = HttpServer(self._app, self._limits, self._tls)
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(sock, started), name="metlog-http", daemon=True)
        self._heart = Heartbeat(self._thread, self._address)
        self._thread.start()
        started.wait()

    def _make_app(self, sink: Sink) -> App:
        """What answers requests; inputs with another interface return their own."""
        return App(self._rules, sink, self._watched, self._workers)

    @property
    def _limits_clients(self) -> bool:
        return self._tls is not None and self._tls.verify_mode is ssl.CERT_REQUIRED

    def _bind(self, handed: Handed) -> socket.socket:
        sock = bind_stream(
            "http", self._host, self._port, self._systemd, self._fd, handed, f"choose another {self.port_option}"
        )
        sock.setblocking(False)
        return sock

    def _run(self, sock: socket.socket, started: threading.Event) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._serve(sock, started))

    async def _serve(self, sock: socket.socket, started: threading.Event) -> None:
        assert self._server is not None
        assert self._heart is not None
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        with sock:
            self._server.start(sock)
            started.set()
            while not self._ended.is_set():
                self._heart.beat()
                try:
                    async with asyncio.timeout(_BEAT):
                        await self._ended.wait()
                except TimeoutError:
                    pass
            await self._server.stop(_GRACE)

    def stop(self) -> None:
        if self._thread is None or self._loop is None or self._ended is None or self._app is None:
            if self._sock is not None:
                self._sock.close()
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join()
        self._app.close()

    def stats(self) -> dict[str, int]:
        """`frames` (requests journaled, or known already), `bytes` of their bodies, `events`, `repeated` (events of
        known ids); connections and what became of them; answers by status."""
        if self._app is None or self._server is None:
            return {"frames": 0, "bytes": 0}
        app, server = self._app, self._server
        own = {"frames": app.frames, "bytes": app.bytes, "events": app.events, "repeated": app.repeated}
        own |= {"open": server.open, "pending_bytes": app.pending_bytes, **server.counts.copy()}
        return own | {f"status_{status}": count for status, count in sorted(server.statuses.copy().items()) if count}

    def health(self) -> str:
        return self._heart.health() if self._heart is not None else ""


def _tokens(token: str, path: str) -> list[str]:
    tokens = [token] if token else []
    if path:
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"token_file = {path!r}: cannot be read: {error}") from error
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise ValueError(f"token_file = {path!r}: has no token; wants one a line")
        tokens += found
    return tokens
