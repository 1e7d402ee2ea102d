"""A small HTTP/1.1 server on h11 and asyncio that slow, greedy and broken clients cannot hold up.

h11 parses; what is here is what general servers leave out: a deadline for the head, for the body and for an idle
connection, a cap on connections that counts before the TLS handshake, limits on a body while it is read, and an answer
that reaches a client which is still sending.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import h11
import msgspec
from msgspec import Struct

from metlog.core.hosts import host_port
from metlog.values import whole_number

__all__ = ["HttpServer", "Limits", "Refusal", "Request", "Response"]

log = logging.getLogger("metlog.listener")

_CHUNK: Final = 65_536
_LINE_ENDS: Final = b"\r\n"
_LINGER: Final = 1.0
"""Seconds that a connection stays open after an early answer, so that the client reads it before it sees a reset."""


class Limits(Struct, frozen=True, kw_only=True):
    """What a client may take; times in seconds, sizes in bytes."""

    head_bytes: int = 16_384
    head_timeout: float = 10.0
    """For the TLS handshake, for the head of a request, and for a client to read its answer."""
    body_timeout: float = 60.0
    """For a whole body."""
    idle_timeout: float = 60.0
    """Between two requests of a connection."""
    connections: int = 512


class Response(Struct):
    """An answer; `body` is text when `content_type` says nothing else."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class Refusal(Exception):
    """Raised by a handler: the request is answered with this status and `{"error": …}`."""

    def __init__(self, status: int, error: str, *headers: tuple[str, str], **more: object) -> None:
        super().__init__(error)
        self.response = Response(status, msgspec.json.encode({"error": error, **more}), "application/json", headers)


class Request:
    """The head of a request, and the way to its body."""

    def __init__(self, event: h11.Request, peer: str, connection: _Connection) -> None:
        method = event.method.decode("ascii")
        self.method = "GET" if method == "HEAD" else method
        """As a handler sees it: HEAD is answered as GET, without the body (RFC 9110, section 9.3.2)."""
        target, _, self.query = event.target.decode("ascii", "replace").partition("?")
        self.path = _origin_form(target)
        self.peer = peer
        """`host:port` of the client."""
        self._headers = event.headers
        self._connection = connection

    def header(self, name: str) -> str:
        """A header's value, or the empty string; repeated headers joined by commas. `name` in lower case."""
        wanted = name.encode()
        return ", ".join(value.decode("latin-1") for key, value in self._headers if key == wanted)

    async def body(self, limit: int, take: Callable[[int], None] = lambda size: None) -> bytes:
        """Reads the whole body. Raises `Refusal` 413 as soon as it is longer than `limit` bytes, 408 when it takes
        too long. `take` is told of each part before it is kept."""
        announced = self.header("content-length")
        if (whole_number(announced) or 0) > limit:
            raise Refusal(413, f"the body has {announced} bytes; {limit} are taken")
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._connection.limits.body_timeout):
                while part := await self._connection.body_part():
                    size += len(part)
                    if size > limit:
                        raise Refusal(413, f"the body has more than the {limit} bytes that are taken")
                    take(len(part))
                    parts.append(part)
        except TimeoutError:
            raise Refusal(408, "the body took too long") from None
        return b"".join(parts)


Handler = Callable[[Request], Awaitable[Response]]


class _Gone(Exception):
    """The client closed the connection, or let it lapse."""


class HttpServer:
    """Serves connections of one listening socket in the running event loop."""

    def __init__(self, handler: Handler, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._limits = limits
        self._tls = tls
        self._tasks: dict[asyncio.Task[None], _Connection | None] = {}
        self._accepting: asyncio.Task[None] | None = None
        self._stopping = False
        self.counts = dict.fromkeys(
            ("connections", "refused", "timeouts", "handshakes_failed", "malformed", "aborted"), 0
        )
        """`connections`, `refused` (over the cap), `timeouts`, `handshakes_failed`, `malformed`, `aborted` bodies."""
        self.statuses: Counter[int] = Counter()

    @property
    def open(self) -> int:
        """Connections now."""
        return len(self._tasks)

    def start(self, sock: socket.socket) -> None:
        self._accepting = asyncio.get_running_loop().create_task(self._accept(sock))

    async def stop(self, grace: float) -> None:
        """Accepts no more, closes idle connections, and waits `grace` seconds for requests that are under way."""
        self._stopping = True
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        for task, connection in list(self._tasks.items()):
            if connection is None or connection.idle:
                task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=grace)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, address = await loop.sock_accept(sock)
            except OSError as error:  # out of descriptors or memory: those who are served must end first
                log.warning("http: cannot accept: %s", error)
                await asyncio.sleep(0.5)
                continue
            self.counts["connections"] += 1
            if len(self._tasks) >= self._limits.connections:
                self.counts["refused"] += 1
                self.statuses[503] += self._tls is None
                _turn_away(client, told=self._tls is None)
                continue
            task = loop.create_task(self._connection(client, address))
            self._tasks[task] = None
            task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _connection(self, client: socket.socket, address: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_CHUNK, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                client,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits.head_timeout if self._tls else None,
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            self.counts["handshakes_failed"] += 1
            log.debug("http: handshake with %s failed: %s", address[0], error)
            client.close()
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        connection = _Connection(reader, writer, host_port(*address[:2]), self._limits)
        task = asyncio.current_task()
        if task is not None:
            self._tasks[task] = connection
        try:
            await self._serve(connection)
        except (_Gone, ConnectionError, ssl.SSLError):
            pass
        except TimeoutError:
            self.counts["timeouts"] += 1
        except Exception:
            log.exception("http: the connection of %s ended by an error of the listener", connection.peer)
        finally:
            self.counts["aborted"] += connection.aborted
            transport.abort() if not transport.is_closing() else None

    async def _serve(self, connection: _Connection) -> None:
        first = True
        while True:
            try:
                head = await connection.head(first=first)
            except h11.RemoteProtocolError as error:
                self.counts["malformed"] += 1
                refusal = Refusal(error.error_status_hint, f"not an HTTP/1.1 request: {error}")
                await self._answer(connection, refusal.response)
                break
            first = False
            request = Request(head, connection.peer, connection)
            response = _fault(head) or await self._handle(connection, request)
            await self._answer(connection, response, close=self._stopping)
            if self._stopping or not connection.next():
                break
        await connection.close()

    async def _handle(self, connection: _Connection, request: Request) -> Response:
        try:
            return await self._handler(request)
        except Refusal as refusal:
            return refusal.response
        except h11.RemoteProtocolError as error:
            self.counts["malformed"] += 1
            return Refusal(error.error_status_hint, f"the body is malformed: {error}").response
        except (_Gone, ConnectionError):
            raise
        except Exception:
            log.exception("http: %s %s failed", request.method, request.path)
            return Refusal(500, "an error of the listener, told in its log").response

    async def _answer(self, connection: _Connection, response: Response, *, close: bool = False) -> None:
        self.statuses[response.status] += 1
        await connection.send(response, close=close)


class _Connection:
    """One client: its bytes, and h11's view of them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str, limits: Limits) -> None:
        self._reader = reader
        self._writer = writer
        self.peer = peer
        self.limits = limits
        self._h11 = self._parser()
        self._headers_only = False
        self.idle = True
        """Between requests: nothing of the next one was read."""
        self.aborted = False
        """The client left in the middle of a body."""

    async def head(self, *, first: bool) -> h11.Request:
        """The next request. Raises TimeoutError, `_Gone`, `h11.RemoteProtocolError`."""
        limits = self.limits
        loop = asyncio.get_running_loop()
        self.idle = True
        async with asyncio.timeout(limits.head_timeout if first else limits.idle_timeout) as deadline:
            while True:
                event = self._h11.next_event()
                if isinstance(event, h11.Request):
                    self.idle = False
                    self._headers_only = event.method == b"HEAD"
                    return event
                if event is not h11.NEED_DATA:  # closed by the client, as it should be
                    raise _Gone
                if not await self._read(beginning=self.idle):
                    raise _Gone
                if self._h11.trailing_data[0] == b"" and self.idle:
                    continue  # empty lines alone: no request has begun
                if self.idle and not first:
                    deadline.reschedule(loop.time() + limits.head_timeout)
                self.idle = False

    async def body_part(self) -> bytes:
        """Some of the body; empty at its end."""
        if self._h11.they_are_waiting_for_100_continue:
            self._write(h11.InformationalResponse(status_code=100, headers=[]))
            await self._writer.drain()
        while True:
            event = self._h11.next_event()
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage):
                return b""
            if event is not h11.NEED_DATA or not await self._read():
                self.aborted = True
                raise _Gone

    async def _read(self, *, beginning: bool = False) -> bytes:
        data = await self._reader.read(_CHUNK)
        if data:
            # Empty lines before a request are to be ignored (RFC 9112, section 2.2): old clients send one behind a body.
            wanted = data.lstrip(_LINE_ENDS) if beginning else data
            if wanted:  # without any, h11 would take the connection for closed
                self._h11.receive_data(wanted)
        return data

    def _write(self, event: h11.Event) -> None:
        if data := self._h11.send(event):
            self._writer.write(data)

    async def send(self, response: Response, *, close: bool = False) -> None:
        if self._h11.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        headers = [
            ("date", formatdate(usegmt=True)),
            ("content-length", str(len(response.body))),
            ("content-type", response.content_type),
            ("x-content-type-options", "nosniff"),
            *response.headers,
        ]
        if self._h11.their_state is h11.SEND_BODY and not self._h11.they_are_waiting_for_100_continue:
            try:
                self._h11.next_event()  # the end of a body that is empty; of any other, a part that nobody wants
            except h11.RemoteProtocolError:  # malformed, and not wanted either
                pass
        # A body that was not read whole is in the way of the next request: this connection ends with the answer.
        closing = any(name == "connection" for name, _ in response.headers)
        if (close or self._h11.their_state is not h11.DONE) and not closing:
            headers.append(("connection", "close"))
        phrase = HTTPStatus(response.status).phrase.encode()
        self._write(h11.Response(status_code=response.status, headers=headers, reason=phrase))
        if response.body and not self._headers_only:
            self._write(h11.Data(data=response.body))
        self._write(h11.EndOfMessage())
        async with asyncio.timeout(self.limits.head_timeout):
            await self._writer.drain()

    def next(self) -> bool:
        """Ready for another request; False when the connection must close."""
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            rest, closed = self._h11.trailing_data
            if rest[:1] in {b"\r", b"\n"}:
                self._h11 = self._parser()
                if rest := rest.lstrip(_LINE_ENDS):
                    self._h11.receive_data(rest)
                if closed:
                    self._h11.receive_data(b"")
            else:
                self._h11.start_next_cycle()
            return True
        return False

    def _parser(self) -> h11.Connection:
        return h11.Connection(h11.SERVER, max_incomplete_event_size=self.limits.head_bytes)

    async def close(self) -> None:
        """Closes; first takes, for a moment, what the client still sends: a reset would take away its answer."""
        try:
            unread = self._h11.trailing_data[0] or self._h11.their_state not in {h11.DONE, h11.CLOSED, h11.MUST_CLOSE}
            if unread:
                async with asyncio.timeout(_LINGER):
                    if self._writer.can_write_eof():
                        self._writer.write_eof()
                    while await self._reader.read(_CHUNK):
                        pass
        except TimeoutError:
            pass
        self._writer.close()
        async with asyncio.timeout(self.limits.head_timeout):
            await self._writer.wait_closed()


def _origin_form(target: str) -> str:
    """The path of a request's target, which may be a whole URL (RFC 9112, section 3.2.2), as proxies send it."""
    scheme, colon, rest = target.partition("://")
    if not colon or scheme.lower() not in {"http", "https"}:
        return target
    return "/" + rest.partition("/")[2]


def _fault(head: h11.Request) -> Response | None:
    """What h11 lets pass and two servers in a row may read in two ways."""
    names = [name for name, _ in head.headers]
    if b"transfer-encoding" in names and b"content-length" in names:  # RFC 9112, section 6.1: request smuggling
        return Refusal(400, "a body has a length or comes in chunks, not both", ("connection", "close")).response
    if head.http_version not in {b"1.1", b"1.0"}:
        return Refusal(505, "HTTP/1.1 is spoken here", ("connection", "close")).response
    return None


def _turn_away(client: socket.socket, *, told: bool) -> None:
    """Over the cap: one answer that fits the socket's buffer, and goodbye."""
    with client:
        if told:
            client.setblocking(False)
            try:
                client.send(
                    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n"
                    b"content-type: application/json\r\ncontent-length: 33\r\n\r\n"
                    b'{"error": "too many connections"}'
                )
            except OSError:  # gone already
                pass
